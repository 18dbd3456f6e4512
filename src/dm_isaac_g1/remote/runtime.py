"""Where commands run: on the host itself, or in one of its containers. The same few verbs for both.

A command is an argv list; where a transport needs one string, it is quoted once, in `remote.quoting`.
Pipes carry bytes; nothing here decodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """A command that ran to its end. `exit` None: the connection was lost first; it is never success."""

    argv: tuple[str, ...]
    exit: int | None
    stdout: bytes
    stderr: bytes


class Spawned(Protocol):
    """A running command's pipes. `close` is safe to call twice and in any state; the command sees EOF on stdin."""

    async def read(self, size: int = 65536) -> bytes:
        """Up to `size` bytes of stdout; b"" at its end."""

    async def write(self, data: bytes) -> None:
        """Send to stdin; waits while the far side is slow."""

    async def write_eof(self) -> None:
        """End stdin, where the transport can."""

    async def errors(self) -> bytes:
        """What stderr held so far, bounded to its last 64 KiB."""

    async def wait(self) -> int | None:
        """The exit status; negative for a signal, None when the connection was lost."""

    async def close(self) -> None:
        """Let go of the command and its channel."""


class Runtime(Protocol):
    """Runs commands where the profile says: `bare` over SSH, `docker` in the named container."""

    #: For messages: "workstation" or "workstation:dm-workstation".
    where: str

    async def spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> Spawned:
        """Start a command. Raises HostUnreachable, DockerUnavailable, RemoteFailed."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Completed:
        """Run a command to its end, gathering its output. Raises as `spawn`, and RemoteFailed after `timeout`."""

    def command(self, argv: Sequence[str]) -> list[str]:
        """How a user's command is started there: through `conda run` where the profile names an environment."""
