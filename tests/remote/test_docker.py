"""Commands in a real container, through a real engine's socket over SSH."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dockerd import Engine, engine  # noqa: F401 - a fixture
from localruntime import agent_ask
from places import QUICK, Link, ssh_link
from sshd import Proxy

from dm_isaac_g1.core.errors import DockerUnavailable, HostUnreachable, RemoteFailed
from dm_isaac_g1.core.profile import Docker
from dm_isaac_g1.core.runs import JobSpec, JobState
from dm_isaac_g1.remote.docker import DockerRuntime
from dm_isaac_g1.remote.jobs import Jobs, new_job_id

pytestmark = [pytest.mark.dockerd, pytest.mark.timeout(90)]


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    async with ssh_link() as found:
        yield found


@pytest.fixture
def box(engine: Engine) -> Any:  # noqa: F811
    name = engine.container(f"box-{os.urandom(4).hex()}")
    yield name
    engine.docker("rm", "-f", name, check=False)


@pytest.fixture
async def runtime(engine: Engine, box: str, link: Link) -> AsyncIterator[DockerRuntime]:  # noqa: F811
    async with DockerRuntime("spark", Docker(container=box, socket=engine.socket), link) as found:
        yield found


async def nothing_left(engine: Engine, box: str, within: float = 3.0) -> None:  # noqa: F811
    deadline = time.monotonic() + within
    while left := engine.processes(box):
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.1)


# Running.


async def test_a_command_gets_its_stdin_folder_and_settings_and_its_streams_come_apart(runtime: DockerRuntime) -> None:
    script = (
        "import os,sys;print(len(sys.stdin.buffer.read()),os.getcwd(),os.environ['A']);"
        "sys.stderr.write('e\\n');sys.exit(7)"
    )
    done = await runtime.run(["python3", "-c", script], stdin=b"\xff" * 300_000, env={"A": "b c"}, cwd="/workspace")
    assert (done.exit, done.stdout, done.stderr) == (7, b"300000 /workspace b c\n", b"e\n")


async def test_words_arrive_as_they_are(runtime: DockerRuntime) -> None:
    words = ["'; touch /tmp/pwned; '", "$(id)", "`id`", "a\nb", "-rf", "é", "%h"]
    done = await runtime.run(["printf", "%s|", *words])
    assert done.stdout.decode() == "".join(f"{word}|" for word in words)
    assert (await runtime.run(["ls", "/tmp"])).stdout == b""


async def test_large_output_arrives_whole(runtime: DockerRuntime) -> None:
    done = await runtime.run(["head", "-c", "5000000", "/dev/zero"])
    assert done.stdout == b"\0" * 5_000_000


async def test_a_program_that_is_not_there_ends_with_its_code(runtime: DockerRuntime) -> None:
    assert (await runtime.run(["no-such-program"])).exit in (126, 127)


async def test_a_conversation_goes_back_and_forth(runtime: DockerRuntime) -> None:
    cat = await runtime.spawn(["cat"])
    for line in (b"one\n", b"two\n"):
        await cat.write(line)
        assert await cat.read() == line
    await cat.write_eof()
    assert await cat.read() == b"" and await cat.wait() == 0
    await cat.close()
    await cat.close()


async def test_an_empty_stdin_ends_where_the_engine_is_late_to_read_it(
    engine: Engine,  # noqa: F811
    box: str,
    link: Link,
    tmp_path: Path,
) -> None:
    """What a busy machine does now and then, done each time: an end of stdin with no byte ahead of it gets lost."""

    async def late(ours: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        theirs, forth = await asyncio.open_unix_connection(engine.socket)
        stdin = 0  # its bytes so far, once the connection carries a command's streams

        async def there() -> None:
            nonlocal stdin
            while data := await ours.read(65536):
                stdin += len(data) if upgraded.is_set() else 0
                forth.write(data)
            if stdin or not upgraded.is_set():
                forth.write_eof()

        async def here() -> None:
            while data := await theirs.read(65536):
                if data.startswith(b"HTTP/1.1 101"):
                    upgraded.set()
                back.write(data)
            back.close()

        upgraded = asyncio.Event()
        await asyncio.gather(there(), here())
        forth.close()

    async with (
        await asyncio.start_unix_server(late, str(tmp_path / "late")),
        DockerRuntime("spark", Docker(container=box, socket=str(tmp_path / "late")), link) as runtime,
    ):
        assert (await runtime.run(["cat"], timeout=10)).exit == 0
        assert (await runtime.run(["cat"], stdin=b"\nx", timeout=10)).stdout == b"\nx"


async def test_a_user_command_runs_in_the_conda_environment_uncaptured(engine: Engine, link: Link) -> None:  # noqa: F811
    plain = DockerRuntime("spark", Docker(container="x"), link)
    inside = DockerRuntime("spark", Docker(container="x", conda_env="unitree_sim_env"), link)
    assert plain.command(["python", "x.py"]) == ["python", "x.py"]
    assert inside.command(["python", "x.py"]) == [
        "conda", "run", "--no-capture-output", "-n", "unitree_sim_env", "python", "x.py",
    ]  # fmt: skip


async def test_a_job_in_a_conda_environment_finds_conda_where_the_path_does_not(
    engine: Engine,  # noqa: F811
    box: str,
    link: Link,
) -> None:
    stand_in = '#!/bin/sh\n[ "$1 $2 $3" = "run --no-capture-output -n" ] || exit 9\necho "env $4"\nshift 4\nexec "$@"\n'
    async with DockerRuntime("spark", Docker(container=box, socket=engine.socket, conda_env="g1"), link) as runtime:
        script = "mkdir -p /opt/conda/bin && cat > /opt/conda/bin/conda && chmod +x /opt/conda/bin/conda"
        assert (await runtime.run(["sh", "-c", script], stdin=stand_in.encode())).exit == 0
        jobs = Jobs("spark", runtime, agent_ask(runtime), lambda: "/workspace/jobs")
        spec = JobSpec(
            id=new_job_id("c", time.time()), name="c", kind="command", argv=("echo", "hello there"), cwd="/workspace"
        )
        job = await jobs.start(spec)
        assert job.spec.argv == ("echo", "hello there")
        while not (job := await jobs.get(job.id)).state.ended:
            await asyncio.sleep(0.05)
        assert (await runtime.run(["cat", f"{job.folder}/log"])).stdout == b"env g1\nhello there\n"


# Letting go.


async def test_letting_go_ends_what_reads_its_stdin_and_what_does_not(
    engine: Engine,  # noqa: F811
    box: str,
    runtime: DockerRuntime,
) -> None:
    polite = await runtime.spawn(["cat"])
    deaf = await runtime.spawn(["bash", "-c", "(setsid sleep 300 &); trap '' TERM HUP; while :; do sleep 1; done"])
    await asyncio.sleep(0.3)
    assert len(engine.processes(box)) >= 3
    await polite.close()
    await deaf.close()
    await nothing_left(engine, box)


async def test_a_command_that_takes_too_long_is_an_error_and_ended(
    engine: Engine,  # noqa: F811
    box: str,
    runtime: DockerRuntime,
) -> None:
    with pytest.raises(RemoteFailed, match="sleep did not end within"):
        await runtime.run(["sleep", "300"], timeout=0.5)
    await nothing_left(engine, box)


async def test_an_interrupted_start_leaves_no_command(
    engine: Engine,  # noqa: F811
    box: str,
    runtime: DockerRuntime,
) -> None:
    await runtime.check()
    for delay in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16):
        starting = asyncio.create_task(runtime.run(["sleep", "300"]))
        await asyncio.sleep(delay)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    await nothing_left(engine, box, within=6)


async def test_a_command_that_reads_its_stdin_dies_with_the_connection(
    engine: Engine,  # noqa: F811
    box: str,
    link: Link,
    runtime: DockerRuntime,
) -> None:
    cat = await runtime.spawn(["cat"])
    await link.cut()
    assert await cat.read() == b"" and await cat.wait() is None, "lost is never success"
    with pytest.raises(HostUnreachable):
        await cat.write(b"x")
    await nothing_left(engine, box)
    await cat.close()


async def test_letting_go_over_a_frozen_link_does_not_hold_up_who_leaves(
    engine: Engine,  # noqa: F811
    box: str,
    link: Link,
) -> None:
    proxy = Proxy(link.port)
    async with proxy.running():
        through = Link(proxy.port)
        async with DockerRuntime("spark", Docker(container=box, socket=engine.socket), through) as runtime:
            cat = await runtime.spawn(["cat"])
            proxy.freeze()
            began = time.monotonic()
            await cat.close()
            assert time.monotonic() - began < 6
        proxy.thaw()
    await nothing_left(engine, box)


async def test_a_job_goes_on_when_the_connection_that_started_it_is_cut(
    engine: Engine,  # noqa: F811
    link: Link,
    runtime: DockerRuntime,
) -> None:
    jobs = Jobs("spark", runtime, agent_ask(runtime), lambda: "/workspace/jobs")
    script = "echo begun; sleep 1; echo done"
    spec = JobSpec(id=new_job_id("j", time.time()), name="j", kind="command", argv=("bash", "-c", script), cwd="/")
    job = await jobs.start(spec, waits=QUICK)
    await link.cut()
    while not (job := await jobs.get(job.id)).state.ended:
        await asyncio.sleep(0.1)
    assert job.state is JobState.SUCCEEDED
    assert (await runtime.run(["cat", f"{job.folder}/log"])).stdout == b"begun\ndone\n"


async def test_a_job_whose_container_was_restarted_is_lost_and_says_so(
    engine: Engine,  # noqa: F811
    box: str,
    runtime: DockerRuntime,
) -> None:
    jobs = Jobs("spark", runtime, agent_ask(runtime), lambda: "/workspace/jobs")
    spec = JobSpec(id=new_job_id("j", time.time()), name="j", kind="command", argv=("sleep", "300"), cwd="/")
    job = await jobs.start(spec, waits=QUICK)
    engine.docker("restart", "-t", "0", box)
    job = await jobs.get(job.id)
    assert job.state is JobState.LOST
    assert job.diagnosis is not None and "container was restarted" in job.diagnosis.cause


# Connecting.


async def test_our_end_of_the_socket_is_private_and_goes_when_we_go(runtime: DockerRuntime) -> None:
    await runtime.check()
    [folder] = Path(tempfile.gettempdir()).glob(f"dm-g1-docker-{os.getpid()}-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await runtime.close()
    assert not folder.exists()
    assert (await runtime.check()).running, "and comes back when it is needed"


async def test_after_a_cut_the_next_command_runs_over_a_new_connection(link: Link, runtime: DockerRuntime) -> None:
    assert (await runtime.run(["echo", "1"])).stdout == b"1\n"
    await link.cut()
    began = time.monotonic()
    assert (await runtime.run(["echo", "2"])).stdout == b"2\n"
    assert time.monotonic() - began < 2


async def test_many_commands_at_once_share_one_forward(runtime: DockerRuntime) -> None:
    done = await asyncio.gather(*(runtime.run(["echo", str(number)]) for number in range(12)))
    assert [each.stdout for each in done] == [f"{number}\n".encode() for number in range(12)]


async def test_no_local_setting_reaches_the_container(runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    monkeypatch.setenv("DOCKER_HOST", "ssh://nowhere")
    assert b"canary" not in (await runtime.run(["env"])).stdout


async def test_containers_are_listed_with_their_state(engine: Engine, box: str, runtime: DockerRuntime) -> None:  # noqa: F811
    other = engine.container(f"other-{os.urandom(4).hex()}")
    engine.docker("stop", "-t", "0", other)
    try:
        found = {each.name: each for each in await runtime.containers()}
        assert found[box].running and found[other].state == "exited" and found[other].status.startswith("Exited (137)")
    finally:
        engine.docker("rm", "-f", other)


async def test_stats_say_what_the_container_uses(runtime: DockerRuntime) -> None:
    stats = await runtime.stats()
    assert stats.pids == 1 and stats.memory is not None and 0 < stats.memory < 50_000_000
    assert stats.cpu is not None and stats.memory_limit is not None


# Advice.


def at(engine: Engine, link: Link, container: str, preflight: Any = None) -> DockerRuntime:  # noqa: F811
    return DockerRuntime("spark", Docker(container=container, socket=engine.socket), link, preflight)


async def test_a_misspelt_container_is_told_the_nearest_names(engine: Engine, box: str, link: Link) -> None:  # noqa: F811
    async with at(engine, link, box[:-1]) as runtime:
        for asking in (runtime.check(), runtime.run(["true"]), runtime.spawn(["true"]), runtime.stats()):
            with pytest.raises(DockerUnavailable, match=f"no container {box[:-1]}; there are: .*{box}"):
                await asking


async def test_a_container_that_does_not_run_says_how_to_start_it(engine: Engine, box: str, link: Link) -> None:  # noqa: F811
    async with at(engine, link, box) as runtime:
        engine.docker("pause", box)
        for asking in (runtime.check(), runtime.run(["true"])):
            with pytest.raises(DockerUnavailable, match=f"docker unpause {box}"):
                await asking
        engine.docker("unpause", box)
        engine.docker("stop", "-t", "0", box)
        for asking in (runtime.check(), runtime.run(["true"])):
            with pytest.raises(DockerUnavailable, match=f"not running.*docker start {box}"):
                await asking
        assert (await runtime.stats()).memory is None


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        ({"exists": False, "access": False}, "no Docker engine at /no/docker.sock; .*systemctl start docker"),
        ({"exists": True, "access": False}, r"no permission for /no/docker.sock; `sudo usermod -aG docker \$USER`"),
        ({"exists": True, "access": True}, "its engine does not answer; .*systemctl start docker"),
        (None, "no engine, or no permission; .*usermod -aG docker"),
    ],
)
async def test_an_engine_that_cannot_be_reached_is_told_apart(link: Link, found: Any, advice: str) -> None:
    async def preflight() -> Mapping[str, Any]:
        if found is None:
            raise HostUnreachable("away")
        return dict(found)

    async with DockerRuntime("spark", Docker(container="x", socket="/no/docker.sock"), link, preflight) as runtime:
        for asking in (runtime.check(), runtime.run(["true"])):
            with pytest.raises(DockerUnavailable, match=advice) as caught:
                await asking
            assert "\n" not in str(caught.value)


async def test_a_host_that_is_away_is_away_not_without_docker() -> None:
    async def away() -> Any:
        raise HostUnreachable("the host is away", where="spark")

    with pytest.raises(HostUnreachable):
        await DockerRuntime("spark", Docker(container="x"), away).run(["true"])


async def test_an_engine_that_never_answers_is_given_up(link: Link, tmp_path: Path, monkeypatch: Any) -> None:
    silent = await asyncio.start_unix_server(lambda reader, writer: asyncio.sleep(60), str(tmp_path / "s"))
    monkeypatch.setattr("dm_isaac_g1.remote.docker.ANSWER_S", 0.5)
    async with silent, DockerRuntime("spark", Docker(container="x", socket=str(tmp_path / "s")), link) as runtime:
        with pytest.raises(DockerUnavailable, match=r"did not answer within"):
            await runtime.containers()


async def test_an_engine_that_answers_garbage_is_an_error_in_one_line(link: Link, tmp_path: Path) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"ApiVersion": 5, "x": "\x1b[2J"'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        writer.close()

    async with (
        await asyncio.start_unix_server(garbage, str(tmp_path / "g")),
        DockerRuntime("spark", Docker(container="x", socket=str(tmp_path / "g")), link) as runtime,
    ):
        with pytest.raises(DockerUnavailable) as caught:
            await runtime.containers()
        assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
