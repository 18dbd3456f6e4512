"""The agent on real sshd, on hosts as they are: noisy shells, broken nvidia-smis, no python3, few sessions."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import itertools
import os
import shlex
import sys
import time
import unicodedata
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import calls, nvidia_smi, tools
from sshd import Sshd, agents, running

from dm_isaac_g1.core.errors import DockerUnavailable, RemoteFailed
from dm_isaac_g1.core.profile import Docker, DockerRuntime
from dm_isaac_g1.core.samples import HostSample
from dm_isaac_g1.remote import agent
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.host import Host
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(60)]

Box = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path) -> Box:
    """A host whose commands have the PATH and HOME that the test made for it."""
    require_sshd()
    (tmp_path / "bin").mkdir()
    home = tmp_path / "home"
    home.mkdir()

    @contextlib.asynccontextmanager
    async def up(path: str | None = None, **options: str) -> AsyncIterator[tuple[Sshd, Host]]:
        search = path or f"{tmp_path}/bin:/usr/bin:/bin"
        with running(tmp_path / "sshd", SetEnv=f"PATH={search} HOME={home}", **options) as box:
            async with box.host() as host:
                await host.ready(20)
                yield box, host

    return up


async def sample(host: Host, good: Callable[[HostSample], bool], timeout: float = 20.0) -> HostSample:
    """The first sample that is as wanted."""
    async with asyncio.timeout(timeout):
        async for each in host.samples():
            if good(each):
                return each
    raise AssertionError


GB10 = r"""
printf 'index, uuid, name, utilization.gpu [%%], memory.total [MiB], memory.used [MiB], '
echo 'clocks.current.sm [MHz], clocks.max.sm [MHz]'
while :; do echo '0, GPU-1, NVIDIA GB10, 12, [N/A], [N/A], 2405, 3003'; sleep 0.5; done
"""


async def test_the_whole_agent_is_at_most_15_kb_on_the_wire() -> None:
    assert len(agent.payload({"host": True, "paths": {}, "mark": "x" * 24})) <= 15 * 1024


def test_the_agent_is_written_for_python_3_8_and_its_standard_library() -> None:
    for name, source in agent.parts():
        for node in ast.walk(ast.parse(source, name, feature_version=(3, 8))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for module in modules:
                    assert module.split(".")[0] in sys.stdlib_module_names or module.startswith("dm_isaac_g1.remote")


async def test_a_machine_without_a_gpu_says_so_and_all_the_rest(make: Box) -> None:
    async with make() as (_, host):
        seen = await sample(host, lambda each: bool(each.disks) and each.cpu is not None)
        assert (seen.gpu_state, seen.gpu_note) == ("none", "nvidia-smi not found")
        assert seen.memory is not None
        assert 0 < seen.memory.available <= seen.memory.total
        assert seen.memory.total == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        assert seen.cpus == os.cpu_count()
        assert {name for disk in seen.disks for name in disk.paths} >= {"workspace", "checkpoints", "caches"}
        assert seen.disks[0].total == os.statvfs("/").f_blocks * os.statvfs("/").f_frsize


async def test_samples_come_each_second_and_arrive_at_once(make: Box) -> None:
    async with make() as (_, host):
        late, times = [], []
        async for each in host.samples():
            late.append(time.time() - each.t_wall)
            times.append(each.t_mono)
            if len(times) == 6:
                break
        assert sorted(late)[len(late) // 2] < 0.025
        assert all(0.8 < b - a < 1.4 for a, b in itertools.pairwise(times[1:]))


async def test_one_nvidia_smi_streams_and_its_processes_are_asked_for_every_five_seconds(
    make: Box, tmp_path: Path
) -> None:
    nvidia_smi(tmp_path / "bin", GB10, apps=r"GPU-1, 4711, python3, --x=1,2, 2048\n")
    async with make() as (_, host):
        seen = await sample(host, lambda each: bool(each.processes))
        await asyncio.sleep(3)
        assert seen.gpu_state == "ok"
        assert seen.gpus[0].unified
        assert (seen.gpus[0].util, seen.gpus[0].sm_mhz) == (12.0, 2405.0)
        assert [(each.pid, each.name, each.mem) for each in seen.processes] == [(4711, "python3, --x=1,2", 2 << 30)]
        assert seen.memory is not None
        assert seen.memory.gpu == 2 << 30
        assert not seen.simulated
        made = calls(tmp_path / "bin")
        assert sum("-lms" in each for each in made) == 1
        assert sum("--help-query-gpu" in each for each in made) == 1
        assert sum("compute-apps" in each for each in made) <= 2


async def test_only_fields_that_this_driver_knows_are_asked_for(make: Box, tmp_path: Path) -> None:
    nvidia_smi(tmp_path / "bin", GB10)
    async with make() as (_, host):
        await sample(host, lambda each: each.gpu_state == "ok")
    (query,) = [each for each in calls(tmp_path / "bin") if "-lms" in each]
    assert "--query-gpu=index,uuid,name,memory.total,memory.used,utilization.gpu,clocks.current.sm" in query


async def test_a_stand_in_is_marked_as_simulated(make: Box, tmp_path: Path) -> None:
    nvidia_smi(tmp_path / "bin", GB10, version="SIMULATED by the lab")
    async with make() as (_, host):
        assert (await sample(host, lambda each: each.gpu_state == "ok")).simulated


async def test_an_nvidia_smi_that_hangs_is_ended_and_started_again(make: Box, tmp_path: Path) -> None:
    nvidia_smi(tmp_path / "bin", "exec sleep 1000")
    async with make() as (_, host):
        seen = await sample(host, lambda each: each.gpu_note is not None)
        assert (seen.gpu_state, seen.gpus) == ("stale", ())
        assert seen.gpu_note == "nvidia-smi gave nothing for 5 s"
        nvidia_smi(tmp_path / "bin", GB10)
        await sample(host, lambda each: each.gpu_state == "ok")


async def test_an_nvidia_smi_whose_help_hangs_does_not_stop_the_samples(make: Box, tmp_path: Path) -> None:
    nvidia_smi(tmp_path / "bin", "true", help_="exec sleep 1000")
    async with make() as (_, host):
        for _ in range(3):
            assert (await sample(host, lambda each: each.memory is not None)).gpu_state == "stale"


@pytest.mark.parametrize(
    ("loop", "state", "note"),
    [
        (
            "echo 'NVIDIA-SMI has failed: it could not communicate with the NVIDIA driver.'; exit 9",
            "error",
            "communicate",
        ),
        (
            "echo 'Unable to determine the device handle for GPU0000:01:00.0: Unknown Error'; exit 15",
            "error",
            "device handle",
        ),
        ("head -c 100000 /dev/urandom", "error", ""),
        ("printf 'index\\n'; exit 0", "error", "ended"),
        ("exit 0", "error", "ended"),
    ],
)
async def test_garbage_and_failures_of_nvidia_smi_are_said_and_do_no_harm(
    make: Box, tmp_path: Path, loop: str, state: str, note: str
) -> None:
    nvidia_smi(tmp_path / "bin", loop)
    async with make() as (_, host):
        seen = await sample(host, lambda each: each.gpu_note is not None)
        assert seen.gpu_state == state
        assert note in (seen.gpu_note or "")
        said = seen.gpu_note or ""
        assert clean(said) == said
        assert not any(unicodedata.category(each) == "Cc" for each in said.replace("\t", ""))
        assert seen.gpus == ()
        assert seen.memory is not None


def alive(pid: int) -> bool:
    """Whether the process runs: one that ended and was not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


async def test_no_nvidia_smi_is_left_when_the_host_is_left(make: Box, tmp_path: Path) -> None:
    nvidia_smi(tmp_path / "bin", "exec sleep 1000")
    async with make() as (_, host):
        await sample(host, lambda each: any("-lms" in call for call in calls(tmp_path / "bin")))
    await asyncio.sleep(1.5)
    for line in (tmp_path / "bin" / "calls").read_text().splitlines():
        assert not alive(int(line.split()[0]))


async def test_what_a_login_shell_prints_does_no_harm(make: Box, tmp_path: Path) -> None:
    (tmp_path / "home" / ".bashrc").write_text('echo welcome; printf \'{"kind":"hello"}\\n\\033[2J\\377no newline\'\n')
    async with make() as (_, host):
        assert host.hello is not None
        assert host.hello.home == str(tmp_path / "home")
        assert (await sample(host, lambda each: True)).memory is not None
        done = await host.runtime.run(["printf", "a"])
        assert done.stdout.endswith(b"a")


async def test_a_shell_that_prints_without_end_is_given_up_with_a_reason(make: Box, tmp_path: Path) -> None:
    (tmp_path / "home" / ".bashrc").write_text("yes\n")
    async with make() as (_, host):
        assert host.status.state == "up"
        assert "prints without end" in (host.status.problem or "")


async def test_a_broken_python3_on_the_path_is_passed_over(make: Box, tmp_path: Path) -> None:
    shim = tmp_path / "bin" / "python3"
    shim.write_text("#!/bin/sh\necho 'pyenv: version not installed' >&2\nexit 1\n")
    shim.chmod(0o755)
    async with make() as (_, host):
        assert host.hello is not None
        assert host.hello.python
        assert host.status.problem is None


async def test_without_python3_the_machine_is_still_watched(
    make: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dm_isaac_g1.remote.host.PYTHONS", ("python3",))
    path = tools(tmp_path / "tools")
    nvidia_smi(
        path,
        "echo 'index, name, utilization.gpu [%], memory.total [MiB]';"
        "while :; do echo '0, NVIDIA X, 7, 1000'; sleep 0.5; done",
    )
    async with make(str(path)) as (_, host):
        seen = await sample(host, lambda each: each.gpu_state == "ok" and each.cpu is not None)
        assert seen.gpus[0].util == 7.0
        assert seen.memory is not None
        assert seen.memory.total > 1 << 28
        assert {name for disk in seen.disks for name in disk.paths} >= {"workspace", "caches"}
        assert "python3" in (host.status.problem or "")
        assert host.status.state == "up"
        assert host.path("checkpoints").endswith("/workspace/checkpoints")
        with pytest.raises(RemoteFailed, match="no agent there"):
            await host.files.stat("/")


async def test_a_host_that_allows_three_sessions_is_enough(make: Box) -> None:
    async with make(MaxSessions="3") as (_, host):
        results = await asyncio.gather(*(host.runtime.run(["sh", "-c", "sleep 0.2; echo done"]) for _ in range(12)))
        assert [each.stdout for each in results] == [b"done\n"] * 12
        assert host.status.state == "up"


async def test_a_host_that_allows_one_session_says_what_is_in_the_way(
    make: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dm_isaac_g1.remote.sessions.PATIENCE", 1.0)
    async with make(MaxSessions="1") as (_, host):
        with pytest.raises(RemoteFailed, match="MaxSessions"):
            await host.runtime.run(["true"])
        assert (await sample(host, lambda each: True)).memory is not None


async def test_a_killed_agent_is_started_again(make: Box) -> None:
    async with make() as (box, host):
        assert box.process is not None
        (first,) = agents(box.process.pid)
        os.kill(first, 9)
        await asyncio.sleep(0.2)
        assert (await sample(host, lambda each: True)).memory is not None
        assert host.status.state == "up"
        assert agents(box.process.pid) != [first]


async def test_an_agent_on_a_dead_link_ends_by_itself(make: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    source = dict(agent.parts())
    source["dm_isaac_g1.remote.agent_program"] = source["dm_isaac_g1.remote.agent_program"].replace(
        "LONELY = 60.0", "LONELY = 2.0"
    )
    monkeypatch.setattr(agent, "parts", lambda: tuple(source.items()))
    async with make() as (box, host):
        assert box.process is not None
        (first,) = agents(box.process.pid)
        await asyncio.sleep(3.5)  # pings come every ten seconds
        assert not alive(first)
        assert host.status.state == "up"


async def test_a_docker_host_without_docker_says_so_and_is_watched_all_the_same(make: Box, tmp_path: Path) -> None:
    async with make() as (box, _):
        docker = Docker(container="dm-workstation", socket=str(tmp_path / "docker.sock"))
        async with box.host(runtime=DockerRuntime(docker=docker)) as host:
            await host.ready(20)
            assert host.status.state == "up"
            assert "docker" in (host.status.problem or "").lower()
            assert (await sample(host, lambda each: True)).memory is not None
            with pytest.raises(DockerUnavailable):
                await host.files.stat("/")
            assert await host.host_files.stat("/") is not None


async def test_the_agent_reads_nothing_but_what_it_is_asked_and_writes_nothing(make: Box, tmp_path: Path) -> None:
    async with make() as (box, host):
        before = sorted(str(each) for each in (tmp_path / "home").rglob("*"))
        await host.files.list(str(box.workspace))
        assert sorted(str(each) for each in (tmp_path / "home").rglob("*")) == before
        assert list(box.workspace.iterdir()) == []


# An agent, or who passes for one, that sends what it likes.

LIES = [
    b"not json\n",
    b"\xff\xfe\x00\n",
    b"{" * 100_000 + b"\n",
    b"[" * 100_000 + b"]" * 100_000 + b"\n",
    b'{"kind":"sample","seq":1,"t_mono":NaN,"t_wall":1}\n',
    b'{"kind":"sample","seq":1,"t_mono":1,"t_wall":Infinity}\n',
    b'{"kind":"sample","seq":' + b"9" * 4000 + b',"t_mono":1,"t_wall":1}\n',
    b'{"kind":"sample","seq":1,"t_mono":1e400,"t_wall":1}\n',
    b'{"kind":"sample","seq":-1,"t_mono":1,"t_wall":1}\n',
    b'{"kind":"sample","seq":"x","t_mono":1,"t_wall":1}\n',
    b'{"kind":"sample","seq":1,"t_mono":1,"t_wall":1,"memory":[1,2]}\n',
    b'{"kind":"what"}\n',
    b"null\n",
    b'"' + b"x" * 9_000_000 + b'"\n',
]


def impostor(lines: str = "[]", then: str = "sys.stdin.buffer.read()") -> str:
    """A python3 that answers as an agent would, and then with `lines` (an expression)."""
    body = (
        "import json,sys,time,zlib\n"
        "size = int(sys.argv[-1].split('read(')[1].split(')')[0])\n"
        "config = json.loads(zlib.decompress(sys.stdin.buffer.read(size)))['config']\n"
        "out = sys.stdout.buffer\n"
        "out.write(('\\n%s\\n' % config['mark']).encode())\n"
        "hello = {'kind': 'hello', 'version': 1, 'home': '/root', 'paths': config['paths']}\n"
        "out.write(json.dumps(hello).encode() + b'\\n')\n"
        f"for line in {lines}: out.write(line); out.flush()\n"
        "good = {'kind': 'sample', 'seq': 7, 't_mono': 1.0, 't_wall': time.time() - 365 * 86400}\n"
        "out.write(json.dumps(good).encode() + b'\\n'); out.flush()\n"
        f"{then}\n"
    )
    return f'#!/bin/sh\nexec /usr/bin/python3 -c {shlex.quote(body)} "$@"\n'


@pytest.mark.parametrize("lie", LIES, ids=range(len(LIES)))
async def test_a_senseless_line_costs_only_itself(make: Box, tmp_path: Path, lie: bytes) -> None:
    script = tmp_path / "bin" / "python3"
    (tmp_path / "lie").write_bytes(lie)
    script.write_text(impostor(f'[open("{tmp_path}/lie", "rb").read()]'))
    script.chmod(0o755)
    async with make() as (_, host):
        seen = await sample(host, lambda each: True)
        # Its clock is a year behind: said as it is, and nobody's trouble.
        assert seen.seq == 7
        assert seen.t_wall < time.time() - 300 * 86400


async def test_an_agent_that_talks_only_nonsense_is_given_up_with_a_reason(make: Box, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "python3"
    script.write_text(impostor(then="while True: out.write(b'nonsense\\n'); out.flush(); time.sleep(0.01)"))
    script.chmod(0o755)
    async with make() as (_, host):
        async with asyncio.timeout(20):
            async for status in host.statuses():
                if status.problem and "make no sense" in status.problem:
                    break


async def test_an_agent_that_floods_a_follower_is_stopped_before_memory_is(make: Box, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "python3"
    chunk = "{'kind':'chunk','id':1,'data':'A'*1000000,'dev':1,'inode':1,'offset':1,'size':1}"
    flood = f"line = json.dumps({chunk}).encode() + bytes([10])\nwhile True: out.write(line); time.sleep(0.001)"
    script.write_text(impostor(then=flood))
    script.chmod(0o755)
    async with make() as (_, host):
        chunks = host.files.follow("/log")
        await anext(chunks)
        async with asyncio.timeout(20):
            async for status in host.statuses():
                if status.problem and "more than it was allowed" in status.problem:
                    break
        await chunks.aclose()  # type: ignore[attr-defined]


async def test_names_from_a_host_cannot_reach_the_terminal(make: Box, tmp_path: Path) -> None:
    evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\u202eGPU"
    nvidia_smi(
        tmp_path / "bin",
        f"printf 'index, name\\n'; while :; do printf '0, {evil}\\n'; sleep 0.5; done",
        fields="index name",
        apps=f"GPU-1, 1, {evil}, 5\\n",
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / f"a{evil}").write_text("")
    async with make() as (_, host):
        seen = await sample(host, lambda each: bool(each.processes))
        assert seen.gpus[0].name == "GPU"
        assert seen.processes[0].name == "GPU"
        (entry,) = await host.files.list(str(tmp_path / "folder"))
        assert entry.name == "aGPU"
        with pytest.raises(RemoteFailed) as caught:
            await host.files.list(str(tmp_path / f"missing{evil}"))
        assert "\x1b" not in str(caught.value)
