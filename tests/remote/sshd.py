"""A real OpenSSH sshd on loopback, with keys and a client configuration of its own, and a proxy that can fail it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dm_isaac_g1.core import profile
from dm_isaac_g1.remote.host import Host, open_host


def _die_with_parent() -> None:
    """A killed test run leaves no sshd behind: prctl(2), PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    return path


def public(path: Path) -> str:
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


@dataclass
class Sshd:
    """One sshd and the user's side of it: `config` is an OpenSSH client configuration with the alias `box`."""

    folder: Path
    port: int
    options: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def host_key(self) -> Path:
        return self.folder / "host_ed25519"

    @property
    def user_key(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def prepare(self) -> Sshd:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.workspace.mkdir(exist_ok=True)
        keygen(self.host_key)
        keygen(self.user_key)
        (self.folder / "authorized_keys").write_text(public(self.user_key) + "\n")
        self.know(self.port)
        self.write_config()
        return self

    def know(self, port: int, key: Path | None = None, marker: str = "") -> None:
        with self.known_hosts.open("a") as file:
            file.write(f"{marker}[127.0.0.1]:{port} {public(key or self.host_key)}\n")

    def write_config(self, port: int | None = None, **more: str) -> None:
        lines = {
            "HostName": "127.0.0.1",
            "Port": str(port or self.port),
            "User": os.environ.get("USER") or "root",
            "IdentityFile": str(self.user_key),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            **more,
        }
        body = "".join(f"  {name} {value}\n" for name, value in lines.items())
        self.config.write_text(f"Host box\n{body}")

    def start(self) -> Sshd:
        config = self.folder / "sshd_config"
        options = {
            "Port": str(self.port),
            "ListenAddress": "127.0.0.1",
            "HostKey": str(self.host_key),
            "AuthorizedKeysFile": str(self.folder / "authorized_keys"),
            "PidFile": str(self.folder / "sshd.pid"),
            "PermitRootLogin": "prohibit-password",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            "StrictModes": "no",
            "Subsystem": "sftp internal-sftp",
            **self.options,
        }
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            assert time.monotonic() < deadline, (self.folder / "sshd.log").read_text()
            time.sleep(0.05)

    def children(self) -> list[int]:
        """Every process below this sshd."""
        assert self.process is not None
        return descendants(self.process.pid)

    def stop(self) -> None:
        """End it and everything that it started."""
        if self.process is not None:
            for pid in [self.process.pid, *self.children()]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def profile(self, **more: object) -> profile.Host:
        paths = profile.Paths(workspace=str(self.workspace), caches=str(self.workspace / "caches"))
        return profile.Host(**{"ssh": "box", "paths": paths, **more})  # type: ignore[arg-type]

    def host(self, name: str = "box", **more: object) -> Host:
        return open_host(name, self.profile(**more), ssh_config=str(self.config))


def descendants(pid: int) -> list[int]:
    """Processes below `pid`, from /proc."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def agents(under: int | None = None) -> list[int]:
    """Agents that run on this machine (below a process)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if b"types,zlib;M=sys.modules" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found if under is None else [pid for pid in found if pid in descendants(under)]


@contextlib.contextmanager
def running(folder: Path, **options: str) -> Iterator[Sshd]:
    sshd = Sshd(folder, free_port(), options).prepare()
    try:
        yield sshd.start()
    finally:
        sshd.stop()


class Proxy:
    """A TCP proxy in this process that can be frozen (bytes stop, connections stay) and cut (they are reset)."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._flow = asyncio.Event()
        self._flow.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        #: Connections so far.
        self.taken = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        await self.restore()
        try:
            yield self
        finally:
            await self.cut()

    def freeze(self) -> None:
        self._flow.clear()

    def thaw(self) -> None:
        self._flow.set()

    async def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def restore(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._flow.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
        self._writers.discard(sink)
