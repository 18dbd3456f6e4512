"""Who may be asked for what opens a host: one question at a time, each once, and only where an answer would help."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from dm_isaac_g1.core.passwords import Passwords

if TYPE_CHECKING:
    from dm_isaac_g1.core.config import Config
    from dm_isaac_g1.core.errors import AuthFailed
    from dm_isaac_g1.remote.host import Host

#: Puts a question to the user; what was typed, unseen, or None.
Ask = Callable[[str], Awaitable[str | None]]


class Admission:
    """The secrets of a fleet's logins, and the questions that were asked for them. `ask` is None: nobody is there."""

    def __init__(self, config: Config | None, ask: Ask | None) -> None:
        self.passwords = Passwords(config)
        self._ask = ask
        self._asked: set[str] = set()
        self._one = asyncio.Lock()

    @property
    def asks(self) -> bool:
        return self._ask is not None

    async def let_in(self, host: Host, refused: AuthFailed) -> bool:
        """Ask for the passphrase or the password that `refused` speaks of. True: `host` is trying again."""
        # A password that a jump host wants is not this host's.
        about = refused.locked or (host.name if refused.password and refused.where == host.name else None)
        if self._ask is None or about is None:
            return False
        async with self._one:
            if host.status.state != "refused":
                return True  # somebody else asked meanwhile
            if about in self._asked:
                return False
            self._asked.add(about)
            what = "Passphrase for" if refused.locked else f"Password of {host.profile.ssh} for"
            typed = await self._ask(f"{what} {about}: ")
            if typed is None:
                return False
            self.passwords.give(about, typed)
            host.retry()
            return True
