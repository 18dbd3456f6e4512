"""Where the password of a host, or the passphrase of a key, comes from: `.env` or the environment, then the desktop's
keyring, then what the user typed since the program started.

    keyring set dm-g1 workstation         a host's password, by its name in the profile
    keyring set dm-g1 ~/.ssh/id_ed25519   a key's passphrase, by the key's whole path

Nothing is asked for here: whoever sits at a terminal asks and hands it in (`give`). A keyring that is not installed, is
locked or fails counts as empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from dm_isaac_g1.core import redact
from dm_isaac_g1.core.config import Config, Secret

SERVICE = "dm-g1"
#: Seconds that a keyring may take: it may ask the user to unlock it.
KEYRING_TIMEOUT = 60.0


class Passwords:
    """Secrets for SSH logins, by host; as `remote.connect.Secrets`. Shows nothing of itself."""

    def __init__(self, config: Config | None) -> None:
        self._config = config
        self._given: dict[str, Secret] = {}

    def __repr__(self) -> str:
        return f"Passwords(given for {sorted(self._given)})"

    def give(self, about: str, typed: str) -> None:
        """What the user typed: the password of host `about`, or the passphrase of the key file `about`."""
        redact.register(typed)
        self._given[about] = Secret(about, typed)

    async def password(self, host: str) -> Secret | None:
        """The password for a host, None where none is known. What was typed last counts first."""
        if host in self._given:
            return self._given[host]
        written = self._config.password(host) if self._config else None
        if written is not None or not self._keyring_speaks_of_hosts:
            return written
        return await from_keyring(host)

    async def passphrase(self, host: str, key_file: str) -> Secret | None:
        """The passphrase of a key file of ours, None where none is known."""
        del host
        return self._given.get(key_file) or await from_keyring(key_file)

    def advice(self, host: str) -> str:
        """Where the user may put a host's password."""
        ways = [f"keyring set {SERVICE} {host}"] if self._keyring_speaks_of_hosts else []
        name = self._config.password_name(host) if self._config else None
        if name:
            ways.append(f"{name} in .env")
        return ", or ".join(ways)

    @property
    def _keyring_speaks_of_hosts(self) -> bool:
        return self._config is None or not self._config.own_machines


async def from_keyring(user: str) -> Secret | None:
    """What the keyring holds for `user` of our service. Silent where there is no keyring; does not hold up an exit."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def told(found: str | None) -> None:
        if not answer.done():
            answer.set_result(found)

    def look() -> None:
        found = None
        with contextlib.suppress(Exception):  # a backend may raise anything
            import keyring

            found = keyring.get_password(SERVICE, user)
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            loop.call_soon_threadsafe(told, found)

    # A daemon thread, not the loop's executor: a keyring that waits for its user must not keep the program from ending.
    threading.Thread(target=look, name="keyring", daemon=True).start()
    try:
        async with asyncio.timeout(KEYRING_TIMEOUT):
            found = await answer
    except TimeoutError:
        return None
    if not found:
        return None
    redact.register(found)
    return Secret(user, found)
