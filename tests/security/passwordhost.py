"""Hosts that take a password: an asyncssh server that takes nothing else, and OpenSSH's sshd with its own shadow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from sshd import Sshd, free_port


class PasswordHost:
    """A server in a thread; knows one password, takes no keys, and remembers every password it was offered."""

    def __init__(self, password: str, method: str = "password") -> None:
        self.password = password
        self.method = method
        self.heard: list[str] = []
        #: Who began to log in, which also tells the user's name.
        self.users: list[str] = []
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def known_hosts_line(self) -> str:
        public = " ".join(self.key.export_public_key().decode().split()[:2])
        return f"[127.0.0.1]:{self.port} {public}\n"

    @contextlib.contextmanager
    def running(self) -> Iterator[PasswordHost]:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(server.close)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    async def _serve(self) -> asyncssh.SSHAcceptor:
        host = self

        class Server(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                host.users.append(username)
                return True

            def password_auth_supported(self) -> bool:
                return host.method == "password"

            def validate_password(self, username: str, password: str) -> bool:
                host.heard.append(password)
                return password == host.password

            def kbdint_auth_supported(self) -> bool:
                return host.method != "password"

            def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> object:
                shown = host.method == "shown"
                return "", "", "", [("Name your first pet: " if shown else "Password: ", shown)]

            def validate_kbdint_response(self, username: str, responses: list[str]) -> bool:
                host.heard += responses
                return responses == [host.password]

        return await asyncssh.create_server(
            Server, "127.0.0.1", 0, server_host_keys=[self.key], process_factory=_command, encoding=None
        )


async def _command(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Runs what was asked for, as sshd would."""
    child = await asyncio.create_subprocess_shell(
        process.command or "true",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None and child.stderr is not None
    await process.redirect(stdin=child.stdin)
    # Not by redirect: an exit right after the child's end would overtake its last output.
    await asyncio.gather(_pass_on(child.stdout, process.stdout), _pass_on(child.stderr, process.stderr))
    process.exit(await child.wait())


async def _pass_on(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    while data := await source.read(1 << 16):
        sink.write(data)
        await sink.drain()


@contextlib.contextmanager
def openssh(folder: Path, password: str) -> Iterator[Sshd]:
    """A real sshd that knows `password` for root: in a mount namespace where /etc/shadow is ours."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("a shadow file of one's own needs root and unshare")
    sshd = Sshd(folder, free_port(), {"PasswordAuthentication": "yes", "PermitRootLogin": "yes"}).prepare()
    (folder / "authorized_keys").write_text("")
    made = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    )
    shadow = folder / "shadow"
    shadow.write_text(f"root:{made.stdout.strip()}:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n")
    shadow.chmod(0o600)
    real = shutil.which("sshd") or "/usr/sbin/sshd"
    inside = folder / "bin" / "sshd"
    inside.parent.mkdir()
    # sshd wants to be started by its absolute path, for it starts itself again.
    inside.write_text(
        f'#!/bin/sh\nexec unshare --mount sh -c \'mount --bind {shadow} /etc/shadow && exec {real} "$@"\' sshd "$@"\n'
    )
    inside.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{inside.parent}:{before}"
    try:
        sshd.start()
    finally:
        os.environ["PATH"] = before
    try:
        yield sshd
    finally:
        sshd.stop()
