"""A port of a host, reached over its SSH connection: an endpoint here that leads to address:port there.

Our end is a Unix socket in a folder that only we may enter. It lives as long as the connection it was made over; a
reconnected host is reached anew. ZeroMQ "connects" to anything, so whoever wants to know whether somebody listens asks
`answers` first: over SSH a refused connection is a definite answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal

from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.docker_forward import private_folder
from dm_isaac_g1.remote.link import Link

if TYPE_CHECKING:
    import asyncssh

PREFIX = "dm-g1-port-"
#: refused: nobody listens. silent: the connection is taken and nothing is said. other: no ZMTP. zmtp: a ZeroMQ socket.
Answer = Literal["refused", "silent", "other", "zmtp"]
#: A ZMTP greeting begins with the signature: ff, eight bytes of padding, 7f (rfc.zeromq.org/spec/23).
SIGNATURE_BYTES = 10
#: RFC 4254 5.1: SSH_OPEN_ADMINISTRATIVELY_PROHIBITED.
PROHIBITED = 1


@contextlib.asynccontextmanager
async def reach(link: Link, port: int, address: str = "127.0.0.1") -> AsyncIterator[str]:
    """A ZeroMQ endpoint here (ipc://...) for address:port as the host sees it.

    Raises HostUnreachable, HostUntrusted, AuthFailed. That nobody listens there shows only in use.
    """
    import asyncssh

    connection = link.connection or await link.up()
    folder = await asyncio.to_thread(private_folder, PREFIX)
    path = str(folder / "s")
    listener: asyncssh.SSHListener | None = None
    try:
        try:
            listener = await connection.ssh.forward_local_path_to_port(path, address, port)
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(f"its port {port} cannot be reached: {clean(str(error))}", where=link.name) from error
        yield f"ipc://{path}"
    finally:
        if listener is not None:
            listener.close()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def answers(link: Link, port: int, address: str = "127.0.0.1", *, patience: float = 2.0) -> Answer:
    """Whether somebody listens on address:port there, and speaks ZeroMQ.

    Raises HostUnreachable, and RemoteFailed where its sshd forwards no ports.
    """
    import asyncssh

    connection = link.connection or await link.up()
    try:
        async with asyncio.timeout(patience):
            reader, writer = await connection.ssh.open_connection(address, port, encoding=None)
    except asyncssh.ChannelOpenError as error:
        if connection.ssh.is_closed():
            raise HostUnreachable("the connection was lost", where=link.name) from error
        if error.code == PROHIBITED:
            raise RemoteFailed(
                "its sshd forwards no ports", where=link.name, fix="set `AllowTcpForwarding yes` in its sshd_config"
            ) from error
        return "refused"
    except TimeoutError:
        return "silent"
    except (asyncssh.Error, OSError) as error:
        raise HostUnreachable(f"the connection was lost: {clean(str(error))}", where=link.name) from error
    try:
        said = b""
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(patience):
                said = await reader.readexactly(SIGNATURE_BYTES)
        return judge(said)
    finally:
        writer.close()


def judge(said: bytes) -> Answer:
    """What the first ten bytes of a connection tell."""
    if not said:
        return "silent"
    return "zmtp" if len(said) == SIGNATURE_BYTES and said[0] == 0xFF and said[9] & 1 else "other"
