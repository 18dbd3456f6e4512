"""From a host straight to the store's host: the chunks' stream into an `ssh` of the host's own, with a key for one use.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later. The key comes
over stdin, lies in a private folder (in memory, where there is /dev/shm) until `ssh` is in, and nowhere after. The
store's host must show the key that our console knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.disk_program import MARK, Refused, erase, say
from dm_isaac_g1.deploy.transfer.send_program import stream

if TYPE_CHECKING:
    from typing import IO

PREFIX = "dm-g1-key-"
BASES = ("/dev/shm", "/tmp")  # noqa: S108  a folder in it is ours alone
#: Seconds to connect, and until the other side has said its word.
CONNECT_S, HELLO_S = 5.0, 20.0
#: fcntl(2), F_SETPIPE_SZ: fewer turns between us and ssh than with 64 KiB.
F_SETPIPE_SZ, PIPE = 1031, 1 << 20
ALIAS = "dm-g1-store"
OPTIONS = {
    "BatchMode": "yes",
    "IdentitiesOnly": "yes",
    "IdentityAgent": "none",
    "PreferredAuthentications": "publickey",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "HostKeyAlias": ALIAS,
    "CheckHostIP": "no",
    "UpdateHostKeys": "no",
    "ControlPath": "none",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "Compression": "no",
    "ConnectTimeout": "8",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "LogLevel": "ERROR",
    # AES in hardware before ChaCha20: half the time at the same bytes.
    "Ciphers": "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr",
}


def reach(addresses: list[str], port: int) -> dict[str, Any]:
    """Whether it could: {"ssh": there is a client, "open": the address that answers, "source": ours towards it}."""
    found: dict[str, Any] = {"ssh": has_ssh(), "open": None, "source": None, "why": ""}
    for address in addresses:
        try:
            with contextlib.closing(socket.create_connection((address, port), CONNECT_S)) as connection:
                # An SSH server speaks first.
                if connection.recv(4) == b"SSH-":
                    return dict(found, open=address, source=connection.getsockname()[0].split("%")[0])
                found["why"] = "no SSH server answers there"
        except OSError as error:
            found["why"] = error.strerror or str(error)
    return found


def has_ssh() -> bool:
    return any(os.access(os.path.join(folder, "ssh"), os.X_OK) for folder in os.get_exec_path())


def push(
    folder: str, manifest: dict[str, Any], addresses: list[str], port: int, also: list[str] | None = None
) -> dict[str, Any]:
    """Says whether it could; then takes a line {"door", "key", "wanted"} and sends the chunks; the store's answer.

    Ends with our stdin: nobody waits any more.
    """
    say({"reach": reach(addresses, port)})
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(1)
    order = json.loads(line)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    private = private_folder()
    ssh = None
    try:
        ssh = start(private, order["door"], order["key"])
        threading.Thread(target=watch, args=(ssh, private), daemon=True).start()
        listener = Listener(ssh)
        if not listener.greeted.wait(HELLO_S) or not listener.hello:
            raise Refused(listener.why(), "no-way")
        erase(private)
        say({"hello": "push"})
        try:
            assert ssh.stdin is not None
            stream(folder, manifest, order["wanted"], also or [], ssh.stdin.fileno())
            ssh.stdin.close()
        except BrokenPipeError:
            pass  # its answer says why, or there is none
        return listener.answer()
    finally:
        erase(private)
        if ssh is not None:
            ssh.kill()
            ssh.wait()


def start(private: str, door: dict[str, Any], key: str) -> subprocess.Popen[bytes]:
    identity, known = os.path.join(private, "key"), os.path.join(private, "known_hosts")
    for path, text in ((identity, key), (known, f"{ALIAS} {door['host_key']}\n")):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
    options = [f"-o{name}={value}" for name, value in OPTIONS.items()]
    argv = ["ssh", "-F", "/dev/null", "-T", "-i", identity, *options, f"-oUserKnownHostsFile={known}"]
    argv += ["-p", str(int(door["port"])), "-l", door["user"], "--", door["address"], "receive"]
    pipe = subprocess.PIPE
    ssh = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, close_fds=True)
    assert ssh.stdin is not None
    with contextlib.suppress(OSError):
        fcntl.fcntl(ssh.stdin.fileno(), F_SETPIPE_SZ, PIPE)
    return ssh


class Listener:
    """What the other side says: its hello, how far it is (which is passed on), its answer."""

    def __init__(self, ssh: subprocess.Popen[bytes]) -> None:
        self.greeted = threading.Event()
        self.hello = False
        self._ssh = ssh
        self._answer: dict[str, Any] | None = None
        self._complaint = b""
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._listen, self._complain)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        lines: IO[bytes] = os.fdopen(os.dup(self._ssh.stdout.fileno()), "rb")  # type: ignore[union-attr]
        for line in iter(lambda: lines.readline(1 << 20), b""):
            _, mark, said = line.partition(MARK.encode())
            with contextlib.suppress(ValueError):
                word = json.loads(said) if mark else {}
                if "hello" in word:
                    self.hello = True
                    self.greeted.set()
                elif "ok" in word or "error" in word:
                    self._answer = word
                elif "at" in word:
                    say({"at": word["at"], "total": word.get("total")})
        self.greeted.set()

    def _complain(self) -> None:
        while True:
            data = os.read(self._ssh.stderr.fileno(), 4096)  # type: ignore[union-attr]
            if not data:
                return
            self._complaint = (self._complaint + data)[-4096:]

    def why(self) -> str:
        """Why there was no hello."""
        if self._answer is not None and "error" in self._answer:
            return str(self._answer["error"])
        self._ssh.kill()
        self._threads[1].join(2)
        lines = self._complaint.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its command did not answer"

    def answer(self) -> dict[str, Any]:
        self._threads[0].join()
        if self._answer is None:
            raise Refused("the stream was cut off", "cut")
        if "error" in self._answer:
            raise Refused(str(self._answer["error"]), str(self._answer.get("kind")), str(self._answer.get("fix") or ""))
        found: dict[str, Any] = self._answer["ok"]
        return found


def watch(ssh: subprocess.Popen[bytes], private: str) -> None:
    """The end of stdin: whoever asked is gone."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    erase(private)
    ssh.kill()
    os._exit(1)


def private_folder() -> str:
    """A folder that only we may enter; those of programs that were killed are removed."""
    base = os.path.realpath(next(each for each in BASES if os.access(each, os.W_OK) or each == BASES[-1]))
    for name in os.listdir(base):
        pid = name[len(PREFIX) :].partition("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):
                erase(os.path.join(base, name))
    path = os.path.join(base, f"{PREFIX}{os.getpid()}-{os.urandom(8).hex()}")
    os.mkdir(path, 0o700)  # fails where somebody guessed it
    return path
