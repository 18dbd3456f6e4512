"""The socket of Docker's engine on a host, forwarded over its SSH connection, and the client that speaks through it.

Our end lies in a folder that only we may enter. A new SSH connection means a new forward and a new client.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiodocker
    import asyncssh

#: An answer of the engine that takes longer is none (stats take a second, exec a tenth).
ANSWER_S = 15.0
_PREFIX = "dm-g1-docker-"
#: sun_path of a Unix socket address holds 108 bytes (unix(7)).
_SOCKET_PATH_MAX = 100


class Forward:
    """The engine's socket, forwarded over one SSH connection, and the client that speaks through it."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._via: asyncssh.SSHClientConnection | None = None
        self._listener: asyncssh.SSHListener | None = None
        self._folder: Path | None = None
        self._client: aiodocker.Docker | None = None

    @property
    def client(self) -> aiodocker.Docker:
        assert self._client is not None
        return self._client

    async def over(self, connection: asyncssh.SSHClientConnection) -> None:
        """Be forwarded over this connection; a new one takes the place of an old one's."""
        import aiodocker
        import aiohttp

        if self._via is connection and self._client is not None:
            return
        await self.close()
        self._folder = private_folder(_PREFIX)
        path = str(self._folder / "docker.sock")
        self._listener = await connection.forward_local_path(path, self._socket)
        self._client = aiodocker.Docker(f"unix://{path}", timeout=aiohttp.ClientTimeout(total=ANSWER_S, connect=5))
        self._via = connection

    async def close(self) -> None:
        client, listener, folder = self._client, self._listener, self._folder
        self._via = self._client = self._listener = self._folder = None
        if client is not None:
            await client.close()
        if listener is not None:
            listener.close()
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def private_folder(prefix: str) -> Path:
    """A folder that only we may enter, short enough for a socket's path; those of dead processes are removed."""
    base = Path(tempfile.gettempdir())
    if len(str(base)) > _SOCKET_PATH_MAX - 50:
        base = Path("/tmp")  # noqa: S108 - mkdtemp makes it 0700 and unguessable
    for old in base.glob(f"{prefix}*"):
        pid = old.name.removeprefix(prefix).partition("-")[0]
        if pid.isdigit() and _dead(int(pid)):
            shutil.rmtree(old, ignore_errors=True)  # only what is ours can be removed
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=base))


def _dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
