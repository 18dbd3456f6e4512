"""The API token of a host's servers: it lies in a file on the host, and is read when a server is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dm_isaac_g1.core import redact
from dm_isaac_g1.core.errors import RefusedError

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host

LONGEST = 4096


async def api_token(host: Host) -> str | None:
    """The token, None where the profile names no file. Raises RefusedError for an empty file, RemoteFailed for none."""
    path = host.profile.serve.token_file
    if path is None:
        return None
    data = (await host.files.read(path, size=LONGEST)).data
    token = data.decode("utf-8", "replace").strip()
    if not token:
        raise RefusedError(
            "the token file is empty", where=f"{host.name}:{path}", fix="write the servers' token into it"
        )
    redact.register(token)
    return token
