"""One SSH login: over the user's jump hosts, with their keys, and with one clear line when it fails.

What fails is told apart here: not reachable (worth another try), not trusted and not authorised (never tried again).
Figures: keepalive 5 s x (2 + 1) finds a frozen peer in 15 s; AES-GCM before ChaCha20 costs a third less CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dm_isaac_g1.core.errors import AuthFailed, DmG1Error, HostUnreachable, HostUntrusted
from dm_isaac_g1.remote import tasks
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.hostkeys import bracketed
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


class Revealed(Protocol):
    """A secret, as `core.config.Secret`."""

    def reveal(self) -> str: ...


class Secrets(Protocol):
    """Where passwords come from (`core.config.Config`); None: there is none.

    It may also have `passphrase(host, key_file)`; either may be a coroutine, so that it can ask the user.
    """

    def password(self, host: str) -> Revealed | None: ...


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
    asked: bool = False


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
) -> Connection:
    """Connect and authenticate. `reach`: seconds until the host must have answered at all.

    Raises HostUnreachable, HostUntrusted, AuthFailed, ConfigError.
    """
    kept = credentials if credentials is not None else Credentials()
    jumps = await _jump(target, secrets, reach)
    try:
        try:
            ssh = await _attempt(target, jumps, kept, reach)
        except AuthFailed as refusal:
            if not await _ask(target, secrets, kept):
                raise
            try:
                ssh = await _attempt(target, jumps, kept, reach)
            except AuthFailed as again:
                kept.password = None
                raise again from refusal
        return Connection(ssh, target, jumps)
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
    target: Target, jumps: list[asyncssh.SSHClientConnection], kept: Credentials, reach: float
) -> asyncssh.SSHClientConnection:
    """One connection attempt; what asyncssh raises becomes our errors."""
    import asyncssh

    seen = _Seen()
    task = asyncio.create_task(_connect(target, jumps, kept, seen))
    try:
        await _answered(task, seen, reach)
        return await task
    except (OSError, asyncssh.Error, ValueError) as error:
        if seen.key is None and seen.spoke() and not isinstance(error, asyncssh.PermissionDenied):
            # Only the kind of key that is known was asked for. A host that has another kind ends it there, or hangs up.
            seen.key = await _fetch_key(target, jumps)
        raise explain(error, target, seen) from error
    finally:
        await tasks.end(task)


@dataclass
class _Seen:
    """What an attempt got to see of the host before it failed."""

    connection: asyncssh.SSHClientConnection | None = None
    key: asyncssh.SSHKey | None = None
    address: str = ""

    def spoke(self) -> bool:
        """Whether the host said that it speaks SSH."""
        return self.connection is not None and bool(self.connection.get_extra_info("server_version"))


async def _connect(
    target: Target, jumps: list[asyncssh.SSHClientConnection], kept: Credentials, seen: _Seen
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
            return self._once()

        def kbdint_auth_requested(self) -> str | None:
            return "" if kept.password is not None and not self.tried else None

        def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> list[str] | None:
            if not prompts:
                return []
            answer = self._once() if len(prompts) == 1 else None
            return None if answer is None else [answer]

        def _once(self) -> str | None:
            if self.tried:
                return None
            self.tried = True
            return kept.password

    options: dict[str, Any] = {
        **target.options(),
        "client_factory": Client,
        "known_hosts": lambda host, addr, port: target.known.lookup(target.known_as, addr, target.known_port),
        "keepalive_interval": KEEPALIVE_INTERVAL,
        "keepalive_count_max": KEEPALIVE_COUNT,
        "connect_timeout": None,
        "login_timeout": LOGIN_TIMEOUT,
        "x11_forwarding": False,
        "encoding": None,
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


async def _answered(task: asyncio.Task[Any], seen: _Seen, reach: float) -> None:
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


async def _ask(target: Target, secrets: Secrets | None, kept: Credentials) -> bool:
    """Ask once for what may open the door: passphrases of encrypted keys, then a password. True: try again."""
    if secrets is None or kept.asked:
        return False
    kept.asked = True
    for path in encrypted_keys(target):
        passphrase = await _secret(secrets, "passphrase", target.name, str(path))
        if passphrase is not None:
            kept.keys.append(_unlock(target, path, passphrase))
            return True
    kept.password = await _secret(secrets, "password", target.name)
    return kept.password is not None


def _unlock(target: Target, path: Path, passphrase: str) -> asyncssh.SSHKey:
    import asyncssh

    try:
        return asyncssh.read_private_key(path, passphrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise AuthFailed(
            f"the passphrase does not open {path}", where=target.name, fix="try again, or ssh-add the key"
        ) from error


def encrypted_keys(target: Target) -> list[Path]:
    """Key files that would be tried if only their passphrase were known."""
    import asyncssh

    locked = []
    for path in target.key_files():
        try:
            asyncssh.read_private_key(path)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            if "assphrase" in str(error):
                locked.append(path)
        except OSError:
            continue
    return locked


async def _fetch_key(target: Target, jumps: list[asyncssh.SSHClientConnection]) -> asyncssh.SSHKey | None:
    """The key a host shows to somebody who knows nothing of it; None if it cannot be had."""
    import asyncssh

    with contextlib.suppress(OSError, asyncssh.Error, ValueError):
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return await asyncssh.get_server_host_key(
                **target.options(),
                tunnel=jumps[-1] if jumps else None,
                server_host_key_algs=[
                    "ssh-ed25519",
                    "ecdsa-sha2-nistp256",
                    "ecdsa-sha2-nistp384",
                    "ecdsa-sha2-nistp521",
                    "rsa-sha2-512",
                    "rsa-sha2-256",
                ],
            )
    return None


async def show_key(target: Target, secrets: Secrets | None = None) -> asyncssh.SSHKey:
    """The host's key, to show its fingerprint. Raises HostUnreachable, and as `login` for jump hosts."""
    jumps = await _jump(target, secrets, CONNECT_TIMEOUT)
    try:
        key = await _fetch_key(target, jumps)
    finally:
        for each in reversed(jumps):
            each.abort()
    if key is None:
        raise HostUnreachable(
            f"{bracketed(target.known_as, target.known_port)} shows no host key",
            where=target.name,
            fix="check the address and port",
        )
    return key


def explain(error: Exception, target: Target, seen: _Seen) -> DmG1Error:
    """What asyncssh or the operating system said, as our error with one line for people."""
    import asyncssh

    where = target.name
    address = bracketed(target.known_as, target.known_port)
    if seen.key is not None:
        judged = target.known.judge(target.known_as, seen.address, target.known_port, seen.key, name=where)
        if judged is not None:
            return judged
    if isinstance(error, asyncssh.HostKeyNotVerifiable | asyncssh.KeyExchangeFailed):
        if "revoked" in str(error).lower():
            return HostUntrusted(
                f"the host key of {address} is REVOKED: somebody declared it stolen or retired",
                kind="revoked",
                where=where,
                fix="do not connect; give the host a new key",
            )
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return HostUntrusted(
                f"the host key of {address} is not trusted: {clean(str(error))}",
                kind="unknown",
                where=where,
                fix=f"compare the fingerprint on the host itself, then: dm-g1 hosts trust {where}",
            )
        return HostUnreachable(f"no common SSH algorithm with {address}: {clean(error.reason)}", where=where)
    if isinstance(error, asyncssh.PermissionDenied):
        return _refused(target, address)
    if isinstance(error, asyncssh.KeyImportError | asyncssh.KeyEncryptionError):
        return AuthFailed(f"a key cannot be used: {clean(str(error))}", where=where, fix="check IdentityFile")
    if isinstance(error, socket.gaierror):
        return HostUnreachable(
            f"no address is known for {target.known_as!r}", where=where, fix="check the name in the profile and DNS"
        )
    if isinstance(error, TimeoutError):
        return HostUnreachable(
            f"{address} does not answer", where=where, fix="check that the machine is on and the network reaches it"
        )
    if isinstance(error, OSError):
        return _os_error(error, target, address)
    if isinstance(error, asyncssh.ProtocolError):
        return HostUnreachable(
            f"{address} does not speak SSH: {clean(error.reason)}", where=where, fix="check the port"
        )
    return HostUnreachable(f"{address} closed the connection: {clean(str(error))}", where=where)


def _refused(target: Target, address: str) -> AuthFailed:
    locked = encrypted_keys(target)
    if locked:
        return AuthFailed(
            f"{address} was not opened: the key {locked[0]} needs its passphrase",
            where=target.name,
            fix=f"ssh-add {locked[0]}",
        )
    who = f"{target.user}@{address}" if target.user else address
    return AuthFailed(
        f"{who} refuses our keys and gave no other way in",
        where=target.name,
        fix=f"check the user name; give the host your key: ssh-copy-id {_copy_id(target)}",
    )


def _copy_id(target: Target) -> str:
    port = f"-p {target.port} " if target.port else ""
    user = f"{target.user}@" if target.user else ""
    return f"{port}{user}{target.host}"


def _os_error(error: OSError, target: Target, address: str) -> HostUnreachable:
    """Connection refused, no route and their like; asyncio joins several addresses' errors into one text."""
    if error.errno == errno.ECONNREFUSED or "Connect call failed" in str(error):
        return HostUnreachable(
            f"nothing listens at {address} (connection refused)",
            where=target.name,
            fix="check the port, and that sshd runs there",
        )
    return HostUnreachable(f"{address} cannot be reached: {error.strerror or clean(str(error))}", where=target.name)
