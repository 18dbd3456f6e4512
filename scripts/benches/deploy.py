"""What it takes to bring a model to a serve host, beside rsync over ssh in the same run.

    scripts/bench deploy [--bytes 2e9] [--files 2000] [--folder FOLDER] [--runs 3] [--json FILE]

Two real OpenSSH servers on loopback, `source` and `store`. A deploy hashes the model at its source when it is planned,
before anybody is asked (`plan`; known files are not read again). Then it copies (`deploy`): a key for one use, the way
over, straight from host to host or through this process, sha256 of every chunk on arrival, the flush to the disk, a
release of hard links. `rsync -a` flushes nothing. CPU seconds are those of all processes on both sides. The best of
the runs counts; the order changes from run to run. Files lie in memory (/dev/shm) where it has room, so that it is the
copy that is measured; --folder says another place.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import getpass
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dm_isaac_g1.core.deployments import Release
from dm_isaac_g1.core.profile import Host as HostProfile
from dm_isaac_g1.core.profile import Paths
from dm_isaac_g1.deploy.manifest import Manifest, manifest_of
from dm_isaac_g1.deploy.store import Store, release_id
from dm_isaac_g1.deploy.transfer.console import Console
from dm_isaac_g1.deploy.transfer.copying import copy
from dm_isaac_g1.deploy.transfer.direct import Direct
from dm_isaac_g1.deploy.transfer.way import Way
from dm_isaac_g1.remote.host import Host, open_host

HOSTS = ("source", "store")
#: The goal of issue 4: a deploy's copy, verified, at this many times rsync's speed at least.
GOAL = 0.9
#: A model of small files: 66 KB on average, as 2,000 of them with 133 MB.
SMALL = (1_000, 132_000)


@dataclass(frozen=True)
class Machines:
    """Two SSH servers; `client`: an OpenSSH configuration that knows them as `source` and `store`."""

    folder: Path
    client: Path
    servers: tuple[int, ...]

    def home(self, name: str) -> Path:
        return self.folder / name

    def cpu(self) -> float:
        """CPU seconds so far, of this process, of both servers, and of all that they have started."""
        return cpu_of([os.getpid(), *self.servers])


@contextlib.contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "user")], check=True)
    client, servers = folder / "ssh_config", []
    client.touch()
    try:
        for name in HOSTS:
            servers.append(serve(folder, name, client))
        yield Machines(folder, client, tuple(server.pid for server in servers))
    finally:
        for server in servers:
            server.terminate()
            server.wait()


def serve(folder: Path, name: str, client: Path) -> subprocess.Popen[bytes]:
    home = folder / name
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / ".ssh" / "authorized_keys").write_text((folder / "user.pub").read_text())
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "key")], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (home / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/key\nAuthorizedKeysFile {home}/.ssh/authorized_keys\n"
        f'StrictModes no\nUsePAM no\nPidFile none\nSetEnv "HOME={home}"\nSubsystem sftp internal-sftp\n'
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    known = folder / f"known_{name}"
    known.write_text(f"[127.0.0.1]:{port} {(home / 'key.pub').read_text()}")
    with client.open("a") as file:
        file.write(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n"
        )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    binary = shutil.which("sshd") or "/usr/sbin/sshd"
    server = subprocess.Popen([binary, "-D", "-e", "-f", str(home / "sshd_config")], stderr=(home / "log").open("wb"))
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            break
        time.sleep(0.05)
    return server


def adopt() -> None:
    """What a session of sshd leaves when it ends is ours from then on, and counted."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER, prctl(2)


def cpu_of(roots: list[int]) -> float:
    """CPU seconds of processes, of all below them, and of those that have ended and were waited for."""
    rows: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                rows[int(entry.name)] = (int(fields[1]), sum(int(each) for each in fields[11:15]))
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += [each for each, (parent, _) in rows.items() if parent == pid]
    return sum(rows[pid][1] for pid in found if pid in rows) / os.sysconf("SC_CLK_TCK")


def make(folder: Path, size: int, count: int) -> int:
    """`count` files of `size` bytes in all (0: small ones) that no compression helps; the bytes."""
    folder.mkdir(parents=True)
    chance, total = random.Random(1), 0
    for number in range(count):
        wanted = size // count if size else chance.randint(*SMALL)
        path = folder / f"{number // 100:03}" / f"{number:05}.bin"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            while wanted:
                piece = os.urandom(min(wanted, 1 << 24))
                file.write(piece)
                wanted -= len(piece)
                total += len(piece)
    return total


async def deploy(source: Host, store: Store, folder: Path, manifest: Manifest, way: Way) -> None:
    """From the plan to the release."""
    copied = await copy(source, str(folder), store, manifest, "bench", ways=[way])
    assert copied.method == way.method and copied.bytes_sent == manifest.bytes, copied
    id = release_id("bench", manifest)
    await store.commit("bench", manifest, Release(id=id, name="bench", digest=manifest.digest, kind="bc", path=""))


async def rsync(client: Path, folder: Path, to: Path, *more: str) -> None:
    """As a user would: from this process's machine straight to the store."""
    argv = ["rsync", "-a", *more, "-e", f"ssh -F {client}", f"{folder}/", f"store:{to}/"]
    process = await asyncio.create_subprocess_exec(*argv)
    assert await process.wait() == 0


async def timed(box: Machines, work: Callable[[], Awaitable[None]]) -> dict[str, float]:
    cpu, begun = box.cpu(), time.monotonic()
    await work()
    wall = time.monotonic() - begun
    await asyncio.sleep(0.3)  # what ended is waited for
    return {"wall_s": wall, "cpu_s": box.cpu() - cpu}


async def measure(box: Machines, folder: Path, total: int, runs: int) -> dict[str, dict[str, float]]:
    """Each contestant's best run."""
    found: dict[str, list[dict[str, float]]] = {}
    paths = {name: HostProfile(ssh=name, paths=Paths(workspace=str(box.home(name)))) for name in HOSTS}
    async with (
        open_host("source", paths["source"], ssh_config=str(box.client)) as source,
        open_host("store", paths["store"], ssh_config=str(box.client)) as host,
    ):
        await source.ready(30)
        await host.ready(30)
        store = Store(host, str(box.home("store") / "models"))
        models, copied = box.home("store") / "models", box.home("store") / "copied"

        manifest = await manifest_of(source, str(folder))

        async def verify() -> None:
            (release,) = await store.releases()
            assert not await store.verify(release.id)

        async def plan() -> None:
            shutil.rmtree(box.home("source") / ".cache", ignore_errors=True)
            await manifest_of(source, str(folder))

        gcm = ("--rsh", f"ssh -F {box.client} -c aes128-gcm@openssh.com")
        contestants: dict[str, Callable[[], Awaitable[None]]] = {
            "rsync": lambda: rsync(box.client, folder, copied),
            "rsync gcm": lambda: rsync(box.client, folder, copied, *gcm),
            "deploy": lambda: deploy(source, store, folder, manifest, Direct()),
            "console": lambda: deploy(source, store, folder, manifest, Console()),
        }
        for turn in range(runs):
            for name in sorted(contestants, reverse=bool(turn % 2)):
                clear(models, copied)
                async with store.held():
                    await store.look()  # a deploy has looked there before it copies
                    row = await timed(box, contestants[name])
                    found.setdefault(name, []).append(row | {"mb_s": total / row["wall_s"] / 1e6})
                    if name == "deploy":
                        found.setdefault("verify", []).append(await timed(box, verify))
            found.setdefault("plan", []).append(await timed(box, plan))
    return {name: min(rows, key=lambda row: row["wall_s"]) for name, rows in found.items()}


def clear(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def room(needed: int) -> Path:
    """Memory, if three times `needed` fit; else the temporary folder."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 3 * needed:
        return memory
    return Path(tempfile.gettempdir())


def table(title: str, rows: dict[str, dict[str, float]]) -> bool:
    names = {
        "rsync": "rsync -a over ssh",
        "rsync gcm": "  the same with AES-GCM",
        "plan": "plan: all of it hashed",
        "deploy": "deploy, host to host",
        "console": "deploy, through the console",
        "verify": "verify: all of it hashed again",
    }
    print(f"\n{title}\n  {'':<30}{'s':>8}{'MB/s':>8}{'CPU s':>8}")
    for name, shown in names.items():
        row = rows[name]
        speed = f"{row['mb_s']:>8.0f}" if "mb_s" in row else " " * 8
        print(f"  {shown:<30}{row['wall_s']:>8.2f}{speed}{row['cpu_s']:>8.2f}")
    ratio = rows["rsync"]["wall_s"] / rows["deploy"]["wall_s"]
    whole = rows["rsync"]["wall_s"] / (rows["deploy"]["wall_s"] + rows["plan"]["wall_s"])
    print(f"  deploy at {ratio:.2f}x of rsync's speed (goal: {GOAL}); with the plan's hashing {whole:.2f}x")
    return ratio >= GOAL


def main(argv: list[str]) -> int:
    flags = argparse.ArgumentParser(prog="scripts/bench deploy", description=(__doc__ or "").partition("\n")[0])
    flags.add_argument("--bytes", type=float, default=2e9)
    flags.add_argument("--files", type=int, default=2000)
    flags.add_argument("--folder", type=Path)
    flags.add_argument("--runs", type=int, default=3)
    flags.add_argument("--json", type=Path)
    given = flags.parse_args(argv)
    if shutil.which("rsync") is None or not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()):
        print("bench: needs rsync and an OpenSSH server", file=sys.stderr)
        return 1
    adopt()
    base = given.folder or room(int(given.bytes))
    report: dict[str, Any] = {"folder": str(base), "cores": os.cpu_count()}
    good = True
    with tempfile.TemporaryDirectory(prefix="dm-g1-bench-", dir=base) as temporary:
        for name, size, count in (("one file", int(given.bytes), 1), ("small files", 0, given.files)):
            folder = Path(temporary) / name.replace(" ", "-")
            with machines(make_folder(Path(temporary), f"machines-{count}")) as box:
                total = make(folder, size, count)
                rows = asyncio.run(measure(box, folder, total, given.runs))
            good = table(f"{count} file{'s' * (count > 1)}, {total / 1e6:,.0f} MB, in {base}", rows) and good
            report[name] = {"bytes": total, "files": count, "rows": rows}
            clear(folder)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))
    return 0 if good else 1


def make_folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name
