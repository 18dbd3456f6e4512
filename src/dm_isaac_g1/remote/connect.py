"""One SSH login: over the user's jump hosts, with their keys, and a password only where the keys were refused.

Why one fails is told by `remote.refusals`. Nothing is sent to a host whose key is not trusted.
Figures: keepalive 5 s x (2 + 1) finds a frozen peer in 15 s; AES-GCM before ChaCha20 costs a third less CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dm_isaac_g1.core.errors import AuthFailed, HostUnreachable
from dm_isaac_g1.remote import tasks
from dm_isaac_g1.remote.hostkeys import KnownHosts
from dm_isaac_g1.remote.refusals import Seen, encrypted_keys, explain
from dm_isaac_g1.remote.target import Target, resolve

if TYPE_CHECKING:
    import asyncssh

KEEPALIVE_INTERVAL = 5.0
KEEPALIVE_COUNT = 2
#: Until the host has said its SSH version.
CONNECT_TIMEOUT = 5.0
LOGIN_TIMEOUT = 15.0
#: Counter mode stands last for old hosts; it is never chosen where GCM is spoken.
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes128-ctr",
)
#: Kinds of host keys that are asked for where none is known: plain keys, whose fingerprint a user can compare.
KEY_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


class Revealed(Protocol):
    """A secret, as `core.config.Secret`."""

    def reveal(self) -> str: ...


class Secrets(Protocol):
    """Where passwords come from (`core.passwords.Passwords`); None: there is none.

    It may also have `passphrase(host, key_file)`; either may be a coroutine. `advice(host)` says where a password may
    be put, for the user who is not let in.
    """

    def password(self, host: str) -> Revealed | Awaitable[Revealed | None] | None: ...


async def _secret(secrets: Secrets, kind: str, *about: str) -> str | None:
    ask = getattr(secrets, kind, None)
    found = ask(*about) if ask is not None else None
    if inspect.isawaitable(found):
        found = await found
    return found if found is None or isinstance(found, str) else str(found.reveal())


@dataclass
class Credentials:
    """What was asked for once and is kept in memory for the next connection. Shows nothing of itself."""

    password: str | None = field(default=None, repr=False)
    #: Decrypted keys.
    keys: list[Any] = field(default_factory=list, repr=False)
    #: What was asked for since the last `retry`: "passphrase", "password".
    asked: set[str] = field(default_factory=set)

    def again(self) -> None:
        """Ask anew at the next refusal."""
        self.asked.clear()


@dataclass
class Connection:
    """A logged-in connection and the jump connections under it."""

    ssh: asyncssh.SSHClientConnection
    target: Target
    jumps: list[asyncssh.SSHClientConnection]

    async def wait_closed(self) -> None:
        """Returns once the connection is gone, for whatever reason."""
        await self.ssh.wait_closed()

    async def close(self) -> None:
        """Let go of it now, without waiting for the far side's goodbye."""
        for each in (self.ssh, *reversed(self.jumps)):
            each.abort()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    await each.wait_closed()


async def login(
    target: Target,
    *,
    secrets: Secrets | None = None,
    credentials: Credentials | None = None,
    reach: float = CONNECT_TIMEOUT,
    opened: socket.socket | None = None,
) -> Connection:
    """Connect and authenticate. `reach`: seconds until the host must have answered at all.

    `opened`: a TCP connection to the host, to begin with; it is ours from now on.
    Raises HostUnreachable, HostUntrusted, AuthFailed, ConfigError.
    """
    kept = credentials if credentials is not None else Credentials()
    jumps = await _jump(target, secrets, reach)
    try:
        while True:
            try:
                return Connection(await _attempt(target, jumps, kept, reach, opened), target, jumps)
            except AuthFailed as refusal:
                opened = None
                if not await _ask(target, secrets, kept, refusal):
                    # A password that was refused is not sent a second time.
                    kept.password = None
                    raise _advised(refusal, target, secrets) from refusal
    except BaseException:
        for jump in reversed(jumps):
            jump.abort()
        raise


async def _jump(target: Target, secrets: Secrets | None, reach: float) -> list[asyncssh.SSHClientConnection]:
    """Log in to each ProxyJump host, the next through the one before."""
    chain: list[asyncssh.SSHClientConnection] = []
    for hop in target.jumps:
        via = await resolve(f"{target.name} (jump host {hop})", hop, target.config[0] if target.config else None)
        try:
            chain.append(await _attempt(via, chain, Credentials(), reach))
        except BaseException:
            for each in reversed(chain):
                each.abort()
            raise
    return chain


async def _attempt(
    target: Target,
    jumps: list[asyncssh.SSHClientConnection],
    kept: Credentials,
    reach: float,
    opened: socket.socket | None = None,
) -> asyncssh.SSHClientConnection:
    """One connection attempt; what asyncssh raises becomes our errors."""
    import asyncssh

    seen = Seen()
    task = asyncio.create_task(_connect(target, jumps, kept, seen, **({} if opened is None else {"sock": opened})))
    try:
        await _answered(task, seen, reach)
        return await task
    except (OSError, asyncssh.Error, ValueError) as error:
        if seen.key is None and seen.spoke() and not isinstance(error, asyncssh.PermissionDenied):
            # Only the kind of key that is known was asked for. A host that has another kind ends it there, or hangs up.
            seen.key, seen.address = await _fetch_key(target, jumps)
        raise explain(error, target, seen) from error
    finally:
        await tasks.end(task)
        if opened is not None and (task.cancelled() or task.exception() is not None):
            opened.close()


async def _connect(
    target: Target, jumps: list[asyncssh.SSHClientConnection], kept: Credentials, seen: Seen, **more: Any
) -> asyncssh.SSHClientConnection:
    import asyncssh

    class Client(asyncssh.SSHClient):
        """Notes what the host shows; trusts nothing that known_hosts does not."""

        tried = False

        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            seen.connection = conn

        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            seen.key, seen.address = key, addr
            return False

        def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            seen.key, seen.address = key, addr
            return False

        def password_auth_requested(self) -> str | None:
            seen.takes_password = True
            return self._once()

        def kbdint_auth_requested(self) -> str | None:
            seen.takes_password = True
            return "" if kept.password is not None and not self.tried else None

        def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> list[str] | None:
            """A password is the answer to one question that hides what is typed, and to no other."""
            if not prompts:
                return []
            answer = self._once() if len(prompts) == 1 and not prompts[0][1] else None
            return None if answer is None else [answer]

        def _once(self) -> str | None:
            if self.tried:
                return None
            self.tried = True
            seen.password = kept.password is not None
            return kept.password

    seen.unlocked = bool(kept.keys)
    options: dict[str, Any] = {
        **target.options(),
        "client_factory": Client,
        "known_hosts": lambda host, addr, port: target.lookup(addr),
        "keepalive_interval": KEEPALIVE_INTERVAL,
        "keepalive_count_max": KEEPALIVE_COUNT,
        "connect_timeout": None,
        "login_timeout": LOGIN_TIMEOUT,
        "x11_forwarding": False,
        "encoding": None,
        **more,
    }
    if target.user is not None:
        options["username"] = target.user
    if not target.own_ciphers:
        options["encryption_algs"] = list(CIPHERS)
    if target.keys is not None or kept.keys:
        options["client_keys"] = [*kept.keys, *(target.key_files() if target.keys is not None else ())]
        options["ignore_encrypted"] = True
    if jumps:
        options["tunnel"] = jumps[-1]
    elif target.jumps == ():
        options["tunnel"] = None
    return await asyncssh.connect(**options)


async def _answered(task: asyncio.Task[Any], seen: Seen, reach: float) -> None:
    """Wait until the host has said its version, or the attempt ended. Raises TimeoutError after `reach` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + reach
    while not task.done():
        if seen.spoke():
            return
        left = deadline - loop.time()
        if left <= 0:
            raise TimeoutError
        await asyncio.wait({task}, timeout=min(left, 0.05))


async def _ask(target: Target, secrets: Secrets | None, kept: Credentials, refusal: AuthFailed) -> bool:
    """Ask once for what may open the door: passphrases of encrypted keys, then a password. True: try again."""
    if secrets is None:
        return False
    if "passphrase" not in kept.asked:
        kept.asked.add("passphrase")
        for path in encrypted_keys(target):
            passphrase = await _secret(secrets, "passphrase", target.name, str(path))
            if passphrase is not None:
                kept.keys.append(_unlock(target, path, passphrase))
                return True
    if "password" not in kept.asked and refusal.password:
        kept.asked.add("password")
        kept.password = await _secret(secrets, "password", target.name)
        return kept.password is not None
    return False


def _unlock(target: Target, path: Path, passphrase: str) -> asyncssh.SSHKey:
    import asyncssh

    try:
        return asyncssh.read_private_key(path, passphrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise AuthFailed(
            f"the passphrase does not open {path}",
            where=target.name,
            fix=f"try again, or ssh-add {path}",
            locked=str(path),
        ) from error


def _advised(refusal: AuthFailed, target: Target, secrets: Secrets | None) -> AuthFailed:
    """The refusal, with where else a password may come from."""
    advise = getattr(secrets, "advice", None)
    advice = advise(target.name) if advise is not None and refusal.password else None
    if not advice:
        return refusal
    fix = f"{advice}; or {refusal.fix}"
    return AuthFailed(refusal.what, where=refusal.where, fix=fix, locked=refusal.locked, password=True)


async def _fetch_key(target: Target, jumps: list[asyncssh.SSHClientConnection]) -> tuple[asyncssh.SSHKey | None, str]:
    """The key a host shows to somebody who knows nobody, and the address it came from; None if it cannot be had.

    Nothing of ours is sent: whatever key is shown, it is refused, and the connection ends before a login.
    """
    import asyncssh

    seen = Seen()
    stranger = replace(target, known=KnownHosts(()))
    with contextlib.suppress(OSError, asyncssh.Error, ValueError):
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await _connect(stranger, jumps, Credentials(), seen, server_host_key_algs=list(KEY_KINDS))
    return seen.key, seen.address


async def show_key(target: Target, secrets: Secrets | None = None) -> tuple[asyncssh.SSHKey, str]:
    """The host's key, to show its fingerprint, and where it was shown. Raises HostUnreachable, and as `login` for
    jump hosts."""
    jumps = await _jump(target, secrets, CONNECT_TIMEOUT)
    try:
        key, address = await _fetch_key(target, jumps)
    finally:
        for each in reversed(jumps):
            each.abort()
    if key is None:
        raise HostUnreachable(
            f"{target.address} shows no host key",
            where=target.name,
            fix="check the address and port",
        )
    return key, address
