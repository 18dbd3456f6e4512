"""What two hosts need to speak without us: where the one is, which key it must show, and a key for one use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dm_isaac_g1.core.errors import RemoteFailed

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host


@dataclass(frozen=True)
class Door:
    """A host's SSH server as we reached it: another host may, or may not. `host_key`: the one it showed us, verified
    against our known_hosts; nobody who shows another one is to be spoken to."""

    #: A name that may mean something to us alone, and the address that it has for us.
    addresses: tuple[str, ...]
    port: int
    user: str
    host_key: str


@dataclass(frozen=True)
class OneShotKey:
    """A key pair that was made for one transfer, in memory. `private`: in OpenSSH's format; shows nothing of itself."""

    public: str
    private: str = field(repr=False)


async def door_of(host: Host) -> Door:
    """Where `host` is reached. Raises RemoteFailed if only a certificate vouches for it, and as `Link.up`."""
    connection = host.link.connection or await host.link.up()
    key = connection.ssh.get_server_host_key()
    if key is None:
        raise RemoteFailed("no host key was shown", where=host.name)
    words = key.export_public_key("openssh").decode().split()[:2]
    if "-cert-" in words[0]:
        raise RemoteFailed("its host key is a certificate's", where=host.name)
    settings = connection.ssh.get_extra_info
    addresses = [str(settings("host") or connection.target.host)]
    peer = settings("peername")
    if peer and not connection.jumps:
        addresses.append(str(peer[0]))
    port = int(settings("port") or 22)
    return Door(tuple(dict.fromkeys(addresses)), port, str(settings("username")), " ".join(words))


def one_shot_key() -> OneShotKey:
    """A new ed25519 pair."""
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key("openssh").decode().split()[:2]
    return OneShotKey(public=" ".join(public), private=key.export_private_key("openssh").decode())
