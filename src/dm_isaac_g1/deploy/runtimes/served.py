"""What serves on a host and how it is started, exchanged and brought back: the words that all runtimes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from dm_isaac_g1.core.deployments import Release
from dm_isaac_g1.remote.around import Around
from dm_isaac_g1.remote.runtime import Runtime

#: serving: it listens. loading: it runs and does not listen yet. down: it is there and does not run.
State = Literal["serving", "loading", "down"]
#: Labels of jobs and containers of ours.
RELEASE, TXN, ROLE, PORT, MODEL = "dm-g1.release", "dm-g1.txn", "dm-g1.role", "dm-g1.port", "dm-g1.model"
#: Seconds that a server may take to answer its last request before it is killed.
STOP_S = 15.0


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A server on a host: ours, or whatever else is found on the port."""

    #: A job's id, a container's, or "pid N" of what is not ours.
    id: str
    #: For people: "process", "container groot-server", "python3 serve.py (pid 12)".
    title: str
    port: int
    #: Where the host itself reaches it.
    address: str = "127.0.0.1"
    state: State = "serving"
    #: No deploy put it there.
    foreign: bool = False
    #: The release's id; empty where it is none of ours.
    release: str = ""
    #: The model, as the server sees it; empty where its command does not say.
    path: str = ""
    #: Seconds since the epoch.
    since: float | None = None
    txn: str = ""
    #: A container's first process, where the container listens on the host's own ports; else None.
    pid: int | None = None
    #: How often it crashed and was started again.
    restarts: int = 0


class Switched(msgspec.Struct, frozen=True, kw_only=True):
    """How an exchange ended. `ok`: the new one listens. Else `back`: the one before listens again."""

    ok: bool
    back: bool = False
    problem: str | None = None
    #: Seconds in which nothing listened, and those from the new one's start until it listened.
    outage_s: float | None = None
    load_s: float | None = None
    #: What serves now.
    id: str = ""


class Command(Protocol):
    """What starts a server (`inference.serving.ServerCommand`)."""

    @property
    def argv(self) -> Sequence[str]: ...

    @property
    def cwd(self) -> str | None: ...

    @property
    def env(self) -> Mapping[str, str]: ...


#: (model's path as the server sees it, port, address to bind to) -> the command.
Compose = Callable[[str, int, str], Command]


@dataclass(frozen=True)
class Launch:
    """A release to be served, by which deploy, and how its server is started where its command is ours to make."""

    release: Release
    txn: str
    command: Compose


@dataclass(frozen=True)
class Home:
    """A models folder as a runtime sees it. Releases lie on the host itself: a container has them by a mount."""

    runtime: Runtime
    folder: str


class ServeRuntime(Protocol):
    """One way to serve on one host. Everything may be called again after a kill: what was begun is found by its txn.

    All raise HostUnreachable, HostUntrusted, AuthFailed, DockerUnavailable, RemoteFailed.
    """

    #: "process", "container", "release" or "compose"; and for people, with the container's or service's name.
    kind: str
    title: str

    async def home(self) -> Home:
        """Where releases lie on the host itself, as their `path` says. Raises RefusedError: no mount leads there."""

    async def around(self) -> Around:
        """Who owns the port, who is connected, memory, architecture."""

    async def check(self, launch: Launch) -> tuple[str, ...]:
        """Why this release cannot be served this way (image, architecture, command, port): a sentence each."""

    async def current(self) -> Served | None:
        """What serves on the profile's port, foreign or ours."""

    async def start_candidate(self, launch: Launch) -> Served:
        """The release beside what serves, on a port of its own; once the server was started, not once it listens."""

    async def candidate(self, txn: str) -> Served | None:
        """The candidate as it is now."""

    async def last_words(self, id: str) -> str:
        """The last lines of a server's log, cleaned; empty where there is none."""

    async def drop_candidate(self, txn: str) -> None:
        """Stop the candidate and remove what it left."""

    async def switch(self, launch: Launch) -> Switched:
        """Stop what serves, start the release on the port, wait until it listens; else the one before is back.

        One step on the host that ends by itself, whatever becomes of the console and the connection. Called again with
        the same txn it waits for that step, or gives its outcome. Raises RefusedError: what serves is foreign and
        cannot be stopped by us; nothing was changed then.
        """

    async def restore(self, txn: str) -> Switched:
        """What served before this txn's switch serves again, its successor is gone. The same kind of step."""

    async def settle(self, txn: str, keep: int) -> None:
        """The deploy is done: what was kept for `restore` may go, but for the `keep` last ones."""
