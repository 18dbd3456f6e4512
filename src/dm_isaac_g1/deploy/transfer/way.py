"""What a way of copying is: begun early, given what is missing, it brings it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dm_isaac_g1.deploy.manifest import Manifest, runtime_of
from dm_isaac_g1.deploy.store import Missing, Store

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host
    from dm_isaac_g1.remote.runtime import Runtime

#: nothing: all of it was there. local: on the serve host itself. direct: from host to host. console: through us.
Method = Literal["nothing", "local", "direct", "console"]
#: Bytes that have arrived so far.
Tell = Callable[[int], None]
#: Bring these chunks: {"arrived": bytes, "bad": [[file, chunk], ...]} of those that came damaged.
#: Raises NoWay where this way does not work here, HostUnreachable where it broke off, NoSpace, Changed.
Send = Callable[[Missing, Tell], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Trip:
    """What is to be brought where."""

    #: None: this machine.
    source: Host | None
    folder: str
    also: tuple[str, ...]
    #: The folder as the source's host sees it, outside any container; None: it does not.
    host_folder: str | None
    store: Store
    manifest: Manifest
    txn: str

    @property
    def runtime(self) -> Runtime:
        """Where `folder` is seen."""
        return runtime_of(self.source)


class Way(Protocol):
    """`begin` starts what can be started before it is known what is missing; nothing of it outlives the block."""

    method: Method

    def begin(self, trip: Trip) -> AbstractAsyncContextManager[Send]: ...
