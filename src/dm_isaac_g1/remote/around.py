"""A port and its surroundings on a host: who listens, who is connected, free memory, the machine's architecture.

One question by a program of its own (`remote.around_program`): it is asked now and then, and the agent stays small.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dm_isaac_g1.core.errors import RemoteFailed
from dm_isaac_g1.remote import around_program, hands
from dm_isaac_g1.remote.runtime import Runtime


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Who listens. `pid` None: a process that we may not look into, or one in another container."""

    address: str
    pid: int | None = None
    argv: tuple[str, ...] = ()
    #: The id of the job of ours that it belongs to.
    job: str = ""
    #: Its parent's pid, that one's parent's, and so on.
    ancestors: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """For people: what it is."""
        if self.pid is None:
            return "a process that cannot be looked into"
        return f"{' '.join(self.argv)[:120] or 'a process'} (pid {self.pid})"


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a host says of a port. Bytes; `clients`: address:port of each established connection to the port."""

    listening: tuple[Listener, ...] = ()
    clients: tuple[str, ...] = ()
    memory_free: int | None = None
    memory_total: int | None = None
    #: As `uname -m`: x86_64, aarch64.
    arch: str = ""
    #: A free port above it.
    spare: int | None = None


def stranger(listening: tuple[Listener, ...], address: str, *, job: str = "", pid: int = 0) -> Listener | None:
    """Who listens at `address` and is neither of the job nor of the process; None: nobody, or it is not known. Pure."""
    found = around_program.stranger(msgspec.to_builtins(listening), address, job, pid)
    return None if found is None else msgspec.convert(found, Listener)


async def around(
    runtime: Runtime,
    port: int,
    *,
    inside: tuple[int, int] | None = None,
    python: str = "python3",
    timeout: float = 30.0,
) -> Around:
    """As commands of `runtime` see it: a container on a network of its own sees its own ports.

    `inside`: (pid, port) of a server in such a container, whose clients are seen from there only. Raises RemoteFailed,
    HostUnreachable, DockerUnavailable.
    """
    args = {"port": port, **({"inside": inside[0], "inner": inside[1]} if inside is not None else {})}
    answer = await hands.ask(runtime, "around", args, python=python, timeout=timeout)
    return read(answer, runtime.where)


def read(answer: Any, where: str) -> Around:
    try:
        return msgspec.convert(answer, Around)
    except msgspec.ValidationError as error:
        raise RemoteFailed(f"what it says of its ports makes no sense: {error}", where=where) from None
