"""What an action is given: the profile, the configuration, the hosts, and a way to ask before it does harm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.errors import RefusedError

if TYPE_CHECKING:
    from types import TracebackType

    from dm_isaac_g1.core.config import Config
    from dm_isaac_g1.core.profile import Profile, Role
    from dm_isaac_g1.core.runs import JobInfo
    from dm_isaac_g1.fleet.hosts import Hosts
    from dm_isaac_g1.remote.host import Host


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly what a dangerous action is about to do: a sentence, a line for each thing, and what is lost."""

    title: str
    lines: tuple[str, ...] = ()
    #: What cannot be had back afterwards; empty: nothing.
    loses: str = ""


Confirm = Callable[[Plan], Awaitable[bool]]


async def refuse(plan: Plan) -> bool:
    """The confirmation of somebody who is not there."""
    del plan
    return False


class Context:
    """The world of one or more actions. An async context manager: it opens hosts when they are first needed.

    The console hands in the fleet's `hosts`, which are open already and stay open. `ask`: how to ask the user for a
    password, where somebody sits at a terminal. `dashes`: parameters are named as the command line does (`--force`)
    when an error speaks of them.
    """

    def __init__(
        self,
        profile: Profile,
        config: Config | None,
        *,
        hosts: Hosts | None = None,
        confirm: Confirm = refuse,
        by: str = "",
        profile_name: str | None = None,
        ask: Callable[[str], Awaitable[str | None]] | None = None,
        stdin: AsyncIterator[bytes] | None = None,
        dashes: bool = False,
    ) -> None:
        from dm_isaac_g1.fleet.hosts import Hosts

        self.profile = profile
        self.config = config
        self.hosts = hosts or Hosts(profile, config, ask=ask)
        self.by = by or _whoami()
        #: What the user said with --profile, for actions on profiles themselves.
        self.profile_name = profile_name
        #: What a command on a host is fed; None: nothing.
        self.stdin = stdin
        self._dashes = dashes
        self._owned = hosts is None
        self._confirm = confirm

    async def __aenter__(self) -> Context:
        if self._owned:
            await self.hosts.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            await self.hosts.__aexit__(kind, error, trace)

    async def host(self, name: str) -> Host:
        """The host, up. Raises UsageError (no such host), HostUnreachable, HostUntrusted, AuthFailed."""
        return await self.hosts.up(name)

    def name_for(self, name: str | None, role: Role) -> str:
        """The host named, or the one that the profile means for `role`. Raises UsageError."""
        return self.hosts.name_for(name, role)

    async def find_job(self, id: str) -> tuple[Host, JobInfo]:
        """The job of that id (or its last six digits) and its host. Raises JobNotFound, UsageError."""
        return await self.hosts.find_job(id)

    async def confirm(self, plan: Plan) -> None:
        """Go on only if the user agrees to `plan`. Raises RefusedError."""
        if not await self._confirm(plan):
            fix = "say --yes to agree" if self._dashes else None
            raise RefusedError(f"{plan.title}: not confirmed, nothing was done", fix=fix)

    def option(self, name: str) -> str:
        """A parameter as the user knows it: "--save-steps" on the command line, "save steps" in a form."""
        return "--" + name.replace("_", "-") if self._dashes else name.replace("_", " ")


def _whoami() -> str:
    import getpass
    import socket

    return f"{getpass.getuser()}@{socket.gethostname()}"
