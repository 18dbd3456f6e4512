"""Why a login failed, as one of our errors: what asyncssh and the operating system say, told in one line for people.

Not reachable is worth another try; not trusted and not authorised are not.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dm_isaac_g1.core.errors import AuthFailed, DmG1Error, HostUnreachable, HostUntrusted
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.target import Target

if TYPE_CHECKING:
    import asyncssh


@dataclass
class Seen:
    """What an attempt got to see of the host, and offered it, before it failed."""

    connection: asyncssh.SSHClientConnection | None = None
    key: asyncssh.SSHKey | None = None
    address: str = ""
    #: A key that had to be unlocked was at hand; the password was sent.
    unlocked: bool = False
    password: bool = False
    #: The host would take one.
    takes_password: bool = False

    def spoke(self) -> bool:
        """Whether the host said that it speaks SSH."""
        return self.connection is not None and bool(self.connection.get_extra_info("server_version"))


def explain(error: Exception, target: Target, seen: Seen) -> DmG1Error:
    """What asyncssh or the operating system said, as our error with one line for people."""
    import asyncssh

    where = target.name
    address = target.address
    if seen.key is not None:
        judged = target.judge(seen.address, seen.key)
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
        return _refused(target, seen)
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


def _refused(target: Target, seen: Seen) -> AuthFailed:
    address = target.address
    locked = [] if seen.unlocked or seen.password else encrypted_keys(target)
    if locked:
        return AuthFailed(
            f"{address} was not opened: the key {locked[0]} needs its passphrase",
            where=target.name,
            fix=f"ssh-add {locked[0]}",
            locked=str(locked[0]),
            password=seen.takes_password,
        )
    who = f"{target.user}@{address}" if target.user else address
    instead = "wants a password" if seen.takes_password else "gave no other way in"
    way = "the password" if seen.password else instead
    return AuthFailed(
        f"{who} refuses our keys and {way}",
        where=target.name,
        fix=f"check the user name; give the host your key: ssh-copy-id {_copy_id(target)}",
        password=seen.takes_password,
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
