"""Where a host's SSH connection goes: the profile's `ssh`, the user's OpenSSH configuration, keys and known_hosts.

The configuration is read by asyncssh; it ignores StrictHostKeyChecking (a key is always verified) and reads
`UserKnownHostsFile none` as "verify nothing", which is taken back here.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core import targets
from dm_isaac_g1.core.errors import ConfigError, HostUntrusted
from dm_isaac_g1.remote.hostkeys import KnownHosts, bracketed

if TYPE_CHECKING:
    import asyncssh

_DEFAULT_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_SYSTEM_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
#: Settings that make it more than a connection to a name and a port.
_OTHER_WAYS = ("ProxyCommand", "BindAddress", "AddressFamily", "CanonicalizeHostname")
#: Key files that OpenSSH tries without being told, ssh(1) -i.
_DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")


@dataclass(frozen=True)
class Target:
    """Where to connect, with all that the user's configuration says of it."""

    #: What the profile calls the host: for messages.
    name: str
    host: str
    user: str | None
    port: int | None
    config: tuple[str, ...] | None
    known: KnownHosts
    #: What known_hosts knows it by: the real host name and its port, or a HostKeyAlias, which stands for itself alone:
    #: no port and no address belongs to it, as in OpenSSH.
    known_as: str
    known_port: int | None
    alias: bool
    #: Name and port, for messages.
    address: str
    #: ProxyJump, hop by hop.
    jumps: tuple[str, ...]
    #: Host and port of a plain TCP connection to it; None where the configuration has another way there.
    door: tuple[str, int] | None
    #: Key files that exist; None: asyncssh's defaults.
    keys: tuple[str, ...] | None
    own_ciphers: bool

    def options(self) -> dict[str, Any]:
        """Arguments that say where to, for asyncssh.connect and get_server_host_key."""
        chosen: dict[str, Any] = {"host": self.host}
        if self.port is not None:
            chosen["port"] = self.port
        if self.config is not None:
            chosen["config"] = list(self.config)
        return chosen

    def lookup(self, addr: str) -> tuple[Sequence[Any], ...]:
        """What asyncssh asks of known_hosts, for a host that answered from `addr`."""
        return self.known.lookup(self.known_as, "" if self.alias else addr, self.known_port)

    def judge(self, addr: str, key: asyncssh.SSHKey) -> HostUntrusted | None:
        """Why the key that was shown from `addr` is not trusted, or None if it is."""
        return self.known.judge(self.known_as, "" if self.alias else addr, self.known_port, key, name=self.name)

    def key_files(self) -> list[Path]:
        """The private keys that would be tried."""
        if self.keys is not None:
            return [Path(key).expanduser() for key in self.keys]
        folder = Path("~/.ssh").expanduser()
        return [folder / key for key in _DEFAULT_KEYS if (folder / key).is_file()]


async def resolve(name: str, ssh: str, ssh_config: str | None = None) -> Target:
    """Read the configuration for one target. Raises ConfigError when it, or the target, makes no sense."""
    # A tenth of a second: in a thread, so that a console that waits for keys goes on.
    await asyncio.to_thread(importlib.import_module, "asyncssh")
    import asyncssh

    try:
        wanted = targets.parse(ssh)
    except ConfigError as error:
        raise ConfigError(error.what, where=name, fix=error.fix) from None
    user, host, port = wanted.user, wanted.host, wanted.port
    config = None if ssh_config is None else (_existing(ssh_config),)
    where: dict[str, Any] = {"host": host}
    if port is not None:
        where["port"] = port
    if user is not None:
        where["username"] = user
    if config is not None:
        where["config"] = list(config)
    try:
        # No keys are loaded here: which exist is decided below.
        options = await asyncssh.SSHClientConnectionOptions.construct(client_keys=None, **where)
    except (asyncssh.ConfigParseError, OSError, ValueError, UnicodeError) as error:
        raise ConfigError(f"the SSH configuration cannot be used: {error}", where=name) from error
    settings = options.config
    files = settings.get("UserKnownHostsFile") or ()
    files = [each for each in files if each.lower() != "none"] or list(_DEFAULT_KNOWN_HOSTS)
    files += settings.get("GlobalKnownHostsFile") or list(_SYSTEM_KNOWN_HOSTS)
    jump = settings.get("ProxyJump")
    jumps = () if not jump or str(jump).lower() == "none" else tuple(str(jump).split(","))
    identities = settings.get("IdentityFile")
    keys: tuple[str, ...] | None = None
    if identities:
        keys = tuple(str(each) for each in identities if _readable(str(each)))
    alias = settings.get("HostKeyAlias")
    return Target(
        name=name,
        host=host,
        user=user if user is not None else settings.get("User"),
        port=port,
        config=config,
        known=KnownHosts.load(files),
        known_as=str(alias or options.host),
        known_port=None if alias else options.port,
        alias=bool(alias),
        address=bracketed(str(alias or options.host), options.port),
        jumps=jumps,
        door=None if jumps or any(settings.get(each) for each in _OTHER_WAYS) else (options.host, options.port),
        keys=keys,
        own_ciphers=settings.get("Ciphers") is not None,
    )


def _existing(ssh_config: str) -> str:
    path = Path(ssh_config).expanduser()
    if not path.is_file():
        raise ConfigError("no such SSH configuration", where=str(path))
    return str(path)


def _readable(path: str) -> bool:
    with contextlib.suppress(OSError), Path(path).expanduser().open("rb"):
        return True
    return False
