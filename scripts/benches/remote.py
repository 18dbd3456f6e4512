"""What watching hosts over SSH costs, beside what a user would use instead, in one run.

    scripts/bench remote [--seconds 20] [--hosts 200] [--json FILE]

One real OpenSSH server on loopback answers for every host. Measured: how old a sample is when it arrives, CPU a
sample on each side (the client's process; the server's sshd and agent), many hosts at once, and how long a log line
takes from write to store. Beside it: a new `ssh` process a sample, and the same over a ControlMaster connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.profile import Host as HostProfile
from dm_isaac_g1.core.profile import Paths
from dm_isaac_g1.core.runs import JobInfo, JobSpec, JobState
from dm_isaac_g1.fleet.store import Store
from dm_isaac_g1.remote.host import Host, open_host

PROBE = ["cat /proc/meminfo /proc/loadavg; df -B1 /"]


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie, by linear interpolation."""
    return statistics.quantiles(values, n=1000, method="inclusive")[int(share * 1000) - 1]


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Path]:
    """A real sshd on loopback; yields an OpenSSH client configuration with the alias `bench`."""
    binary = shutil.which("sshd") or "/usr/sbin/sshd"
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = folder / "sshd_config"
    server.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPidFile none\nMaxStartups 1000\nMaxSessions 1000\nSubsystem sftp internal-sftp\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    client = folder / "ssh_config"
    client.write_text(
        f"Host bench bench-*\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True) if os.geteuid() == 0 else None
    process = subprocess.Popen([binary, "-D", "-e", "-f", str(server)], stderr=(folder / "sshd.log").open("wb"))
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.05)
        yield client
    finally:
        process.terminate()
        process.wait()


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def cpu_of(pids: list[int]) -> float:
    """CPU seconds of processes so far, from the scheduler's own clock (ns)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def server_processes() -> list[int]:
    """This run's sshd and everything below it."""
    return [pid for pid in descendants(os.getpid()) if pid != os.getpid()]


@contextlib.asynccontextmanager
async def host(client: Path, folder: Path, name: str = "bench") -> AsyncIterator[Host]:
    paths = Paths(workspace=str(folder / "workspace"))
    async with open_host(name, HostProfile(ssh="bench", paths=paths), ssh_config=str(client)) as opened:
        await opened.ready(30)
        yield opened


async def sample_cost(client: Path, folder: Path, seconds: float) -> dict[str, float]:
    """Age of a sample on arrival and CPU a sample, one host at 1 Hz."""
    ages: list[float] = []
    async with host(client, folder) as one:
        stream = one.samples()
        for _ in range(3):
            await anext(stream)
        pids = server_processes()
        client_cpu, server_cpu, end = time.process_time(), cpu_of(pids), time.monotonic() + seconds
        while time.monotonic() < end:
            sample = await anext(stream)
            ages.append(1000 * (time.monotonic() - sample.t_mono))
        client_cpu, server_cpu = time.process_time() - client_cpu, cpu_of(pids) - server_cpu
    return {
        "samples": len(ages),
        "p50_ms": statistics.median(ages),
        "p99_ms": percentile(ages, 0.99),
        "client_cpu_ms": 1000 * client_cpu / len(ages),
        "server_cpu_ms": 1000 * server_cpu / len(ages),
    }


def shell_cost(argv: list[str], count: int) -> dict[str, float]:
    """The same for a command run afresh for each sample."""
    walls: list[float] = []
    pids = server_processes()
    before, server = resource.getrusage(resource.RUSAGE_CHILDREN), cpu_of(pids)
    sshd_pid = pids[:1]
    server_before = cputime_with_children(sshd_pid)
    for _ in range(count):
        start = time.monotonic()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        walls.append(1000 * (time.monotonic() - start))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    time.sleep(0.3)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    server_spent = max(cpu_of(pids) - server, cputime_with_children(server_processes()[:8]) - server_before)
    return {
        "samples": count,
        "p50_ms": statistics.median(walls),
        "p99_ms": percentile(walls, 0.99),
        "client_cpu_ms": 1000 * spent / count,
        "server_cpu_ms": 1000 * server_spent / count,
    }


def cputime_with_children(pids: list[int]) -> float:
    """CPU seconds of processes and of their ended children."""
    tick, total = os.sysconf("SC_CLK_TCK"), 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(int(value) for value in fields[11:15])
    return total / tick


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def many_hosts(client: Path, folder: Path, count: int, seconds: float) -> dict[str, float]:
    """`count` hosts at 1 Hz in one process: share of a core, memory, and how late the event loop runs."""
    seen = 0
    store = Store()

    async def watch(opened: Host) -> None:
        nonlocal seen
        async for sample in opened.samples():
            store.apply(ev.Sample(sample=sample))
            seen += 1

    async with contextlib.AsyncExitStack() as stack:
        hosts: list[Host] = []
        for index in range(count):
            paths = Paths(workspace=str(folder / "workspace"))
            profile = HostProfile(ssh="bench", paths=paths)
            hosts.append(await stack.enter_async_context(open_host(f"h{index}", profile, ssh_config=str(client))))
            if index % 10 == 9:
                await asyncio.gather(*(one.ready(60) for one in hosts[-10:]))
        await asyncio.gather(*(one.ready(60) for one in hosts))
        tasks = [asyncio.create_task(watch(one)) for one in hosts]
        await asyncio.sleep(5)
        lags: list[float] = []
        seen, cpu, start = 0, time.process_time(), time.monotonic()
        while time.monotonic() - start < seconds:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(1000 * (time.monotonic() - before - 0.01))
        wall, cpu = time.monotonic() - start, time.process_time() - cpu
        rss = resident()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "hosts": count,
        "samples_a_second": seen / wall,
        "core_percent": 100 * cpu / wall,
        "rss_mb": rss / 1e6,
        "loop_lag_p99_ms": percentile(lags, 0.99),
    }


async def log_latency(client: Path, folder: Path, seconds: float) -> dict[str, float]:
    """From a line's write on the host to its stand in the store."""
    path, latencies, store = folder / "train.log", [], Store()
    path.write_bytes(b"")
    spec = JobSpec(id="log", name="log", kind="train", argv=("true",), cwd="/")
    store.apply(ev.Job(job=JobInfo(host="bench", spec=spec, folder="/", state=JobState.RUNNING)))

    async def write() -> None:
        with path.open("ab", buffering=0) as log:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                log.write(f"{time.monotonic()!r}\n".encode())
                await asyncio.sleep(0.02)

    async with host(client, folder) as one:

        async def follow() -> None:
            async for chunk in one.files.follow(str(path)):
                lines = tuple(chunk.data.decode(errors="replace").splitlines())
                store.apply(ev.Log(host="bench", source="log", lines=lines))
                now = time.monotonic()
                latencies.extend(1000 * (now - float(line)) for line in lines)

        task = asyncio.create_task(follow())
        await asyncio.sleep(0.5)
        await write()
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return {"lines": len(latencies), "p50_ms": statistics.median(latencies), "p99_ms": percentile(latencies, 0.99)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench remote", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--count", type=int, default=40, help="samples of each compared way")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="dm-g1-bench-") as temporary:
        folder = Path(temporary)
        (folder / "workspace").mkdir()
        with sshd(folder) as client:
            ssh = ["ssh", "-F", str(client)]
            figures: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
            figures["dm-g1"] = asyncio.run(sample_cost(client, folder, options.seconds))
            figures["ssh a sample"] = shell_cost([*ssh, "bench", *PROBE], options.count)
            master = [*ssh, "-o", f"ControlPath={folder}/mux", "-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
            subprocess.run([*master, "bench", "true"], check=True, stderr=subprocess.DEVNULL)
            figures["ControlMaster"] = shell_cost([*master, "bench", *PROBE], options.count)
            subprocess.run([*master, "-O", "exit", "bench"], check=False, stderr=subprocess.DEVNULL)
            figures["log"] = asyncio.run(log_latency(client, folder, options.seconds))
            figures["many"] = asyncio.run(many_hosts(client, folder, options.hosts, options.seconds))
    report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def report(figures: dict[str, Any]) -> None:
    print(f"{figures['machine']}; OpenSSH server on loopback\n")
    print(f"{'way':<16}{'p50 ms':>9}{'p99 ms':>9}{'client CPU ms':>15}{'server CPU ms':>15}")
    for way in ("dm-g1", "ControlMaster", "ssh a sample"):
        row = figures[way]
        print(
            f"{way:<16}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}"
            f"{row['client_cpu_ms']:>15.2f}{row['server_cpu_ms']:>15.2f}"
        )
    many, log = figures["many"], figures["log"]
    print(
        f"\n{many['hosts']} hosts: {many['samples_a_second']:.0f} samples/s, {many['core_percent']:.1f} % of a core, "
        f"{many['rss_mb']:.0f} MB, loop lag p99 {many['loop_lag_p99_ms']:.1f} ms"
    )
    print(f"log write to store: p50 {log['p50_ms']:.1f} ms, p99 {log['p99_ms']:.1f} ms over {log['lines']} lines")
