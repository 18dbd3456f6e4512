"""The right to deploy on a host, for as long as one works: its store's lock, renewed meanwhile.

The lock fences: whoever took it over is the only one whose writes are taken. A console that was killed leaves it until
its lease is over; one of this machine finds that out by its process and goes on at once, with the token that the dead
one noted in the state folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from dm_isaac_g1.core import paths
from dm_isaac_g1.core.errors import DmG1Error, RemoteFailed
from dm_isaac_g1.deploy.program import Locked
from dm_isaac_g1.deploy.record import ID
from dm_isaac_g1.deploy.transaction import LeaseLost

#: Seconds that a lease is good for, and between two renewals: three may be missed.
LEASE_S = 30.0
EVERY_S = 8.0
#: Seconds between two tries for a lock that somebody else holds.
RETRY_S = 1.0


class Lockable(Protocol):
    """The part of `deploy.store.Store` that is needed here."""

    token: str | None

    async def acquire_lock(self, owner: str, lease_s: float, txn: str = "") -> None: ...
    async def renew(self, lease_s: float) -> None: ...
    async def release_lock(self) -> None: ...


class Lease:
    """An async context manager. Raises Locked on entering, where somebody else deploys there.

    `held`: the deploy that the lock was last seen to belong to: if its console was one of this machine and is gone,
    its lock is ours. `wait`: seconds to wait for a lock to become free.
    """

    def __init__(self, store: Lockable, owner: str, txn: str, *, held: str = "", wait: float = 0.0) -> None:
        self._store = store
        self._owner = owner
        self._txn = txn
        self._held = held
        self._wait = wait
        self._lost: DmG1Error | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._store.token = left_behind(self._held) if self._held else None
        deadline = time.monotonic() + self._wait
        while True:
            try:
                await self._store.acquire_lock(self._owner, LEASE_S, self._txn)
                break
            except Locked:
                if self._store.token is not None:
                    self._store.token = None  # somebody else took it over before us
                elif time.monotonic() >= deadline:
                    raise
                else:
                    await asyncio.sleep(RETRY_S)
        assert self._store.token is not None
        note(self._txn, self._store.token)
        if self._held and self._held != self._txn:
            forget(self._held)
        self._renewing = asyncio.create_task(self._renew(), name=f"lease {self._txn}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewing
        try:
            await self._store.release_lock()
        except Locked:
            pass
        except DmG1Error:
            return  # the host is away: our note lets the next one of this machine go on at once
        forget(self._txn)

    def check(self) -> None:
        """Raises LeaseLost once somebody has taken the deploy over."""
        if self._lost is not None:
            raise LeaseLost(f"somebody else has taken this deploy over ({self._lost.what})", where=self._lost.where)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self._store.renew(LEASE_S)
            except Locked as lost:
                self._lost = lost
                return
            except (DmG1Error, TimeoutError):  # away: the next write will say so
                continue


# --- Notes of tokens, in the state folder -----------------------------------------------------------------------------


def note(txn: str, token: str) -> None:
    """Remember the token of a deploy of ours, and whose process it is. Without a state folder nothing is remembered."""
    with contextlib.suppress(OSError):
        place = _note(txn, make=True)
        text = json.dumps({"token": token, **_self()})
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)


def forget(txn: str) -> None:
    with contextlib.suppress(OSError, RemoteFailed):
        _note(txn).unlink(missing_ok=True)


def left_behind(txn: str) -> str | None:
    """The token of a deploy whose console ran on this machine and is no more; None: not known, or it still runs."""
    try:
        said: Any = json.loads(_note(txn).read_bytes()[:4096])
        token, pid, start = said["token"], said["pid"], said["start"]
        same = said["place"] == _place()
    except (OSError, ValueError, KeyError, TypeError, RemoteFailed):
        return None
    if not same or not isinstance(token, str) or not isinstance(pid, int) or pid <= 1 or _alive(pid, start):
        return None
    return token


def _note(txn: str, *, make: bool = False) -> Path:
    if not ID.fullmatch(txn):  # it came from the host's disk
        raise RemoteFailed("a lock that makes no sense")
    folder = (paths.make_state_dir() if make else paths.state_dir()) / "deploys"
    if make:
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{txn}.json"


def _self() -> dict[str, Any]:
    return {"pid": os.getpid(), "start": _start(os.getpid()), "place": _place()}


def _place() -> str:
    """Where process numbers mean the same: this boot and its process namespace; elsewhere, the machine's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  a namespace is no path
    except OSError:
        return socket.gethostname()


def _start(pid: int) -> int | None:
    """When a process began, in ticks since the boot (proc_pid_stat(5), field 22). None: it is gone, or no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _alive(pid: int, start: Any) -> bool:
    if isinstance(start, int):
        return _start(pid) == start
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
