"""Docker's engine on a host, in the few verbs that serving a model needs. Answers are taken as untrusted text.

What the API says differs by version (remote.containers); nothing of it is relied upon. Shapes: Docker Engine API,
/containers and /images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dm_isaac_g1.core.errors import DockerUnavailable, RefusedError
from dm_isaac_g1.remote.clean import clean, clean_bytes
from dm_isaac_g1.remote.docker import CANNOT_CONNECT

if TYPE_CHECKING:
    from dm_isaac_g1.remote.docker import DockerRuntime

Json = dict[str, Any]


class Engine:
    """Asks over the host's connection. All raise DockerUnavailable, HostUnreachable."""

    def __init__(self, docker: DockerRuntime) -> None:
        self._docker = docker
        self.host = docker.where.partition(":")[0]

    async def inspect(self, name: str) -> Json | None:
        """A container, whole; None where there is none."""
        status, answer = await self._ask(f"containers/{quote(name, safe='')}/json")
        return answer if self._good(status, answer, missing=404) and isinstance(answer, dict) else None

    async def image(self, reference: str) -> Json | None:
        status, answer = await self._ask(f"images/{quote(reference, safe='/:@')}/json")
        return answer if self._good(status, answer, missing=404) and isinstance(answer, dict) else None

    async def named(self, labels: Mapping[str, str]) -> list[Json]:
        """Containers with these labels, running or not, as listed."""
        filters = json.dumps({"label": [f"{name}={value}" if value else name for name, value in labels.items()]})
        status, answer = await self._ask("containers/json", params={"all": 1, "filters": filters})
        self._good(status, answer)
        return [each for each in answer or [] if isinstance(each, dict)]

    async def info(self) -> Json:
        status, answer = await self._ask("info")
        self._good(status, answer)
        return answer if isinstance(answer, dict) else {}

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """A new container's id. Raises RefusedError where the engine does not take it."""
        status, answer = await self._ask("containers/create", "POST", params={"name": name}, data=dict(body))
        if status >= 300:
            raise RefusedError(f"Docker does not make the container: {str(answer)[:300]}", where=self.host)
        return str(answer.get("Id") or "")

    async def start(self, id: str) -> None:
        """Raises RefusedError where it cannot be started (a port is taken, a mount or the program is missing)."""
        status, answer = await self._ask(f"containers/{id}/start", "POST")
        if status >= 400:
            raise RefusedError(f"Docker does not start the container: {str(answer)[:300]}", where=self.host)

    async def remove(self, id: str) -> None:
        """End a container and remove it, and its unnamed volumes."""
        status, answer = await self._ask(f"containers/{id}", "DELETE", params={"force": 1, "v": 1})
        self._good(status, answer, missing=404)

    async def connect(self, network: str, id: str, settings: Mapping[str, Any]) -> None:
        data = {"Container": id, "EndpointConfig": dict(settings)}
        status, answer = await self._ask(f"networks/{quote(network, safe='')}/connect", "POST", data=data)
        self._good(status, answer)

    async def logs(self, id: str, lines: int = 20) -> str:
        """The last lines that a container said, cleaned; empty where there is none."""
        raw = await self._raw(f"containers/{id}/logs", {"stdout": 1, "stderr": 1, "tail": lines})
        said = [clean_bytes(line) for line in frames(raw).splitlines() if line.strip()]
        return "\n".join(said[-lines:])

    async def _ask(
        self, path: str, method: str = "GET", *, params: Mapping[str, Any] | None = None, data: Any = None
    ) -> tuple[int, Any]:
        """One question of the API: (status, JSON or text). Raises only where there was no answer."""
        import aiodocker

        async with self._docker.engine() as engine:
            try:
                return 200, await engine._query_json(path, method, params=dict(params or {}), data=data)
            except aiodocker.DockerError as error:
                if error.status == CANNOT_CONNECT:
                    raise
                return error.status, clean(str(error.message))

    async def _raw(self, path: str, params: Mapping[str, Any]) -> bytes:
        """What the engine answers as bytes, such as a log; empty where it refuses."""
        import aiodocker

        async with self._docker.engine() as engine:
            try:
                async with engine._query(path, params=dict(params)) as answer:
                    return await answer.read()
            except aiodocker.DockerError as error:
                if error.status == CANNOT_CONNECT:
                    raise
                return b""

    def _good(self, status: int, answer: Any, missing: int = 0) -> bool:
        if status == missing:
            return False
        if status >= 400:
            raise DockerUnavailable(f"Docker answered {status}: {clean(str(answer))[:300]}", where=self.host)
        return True


def frames(raw: bytes) -> bytes:
    """A log's bytes without the 8-byte headers that a container without a terminal has: stream, 0 0 0, length."""
    out, at = b"", 0
    while at + 8 <= len(raw) and raw[at] in (0, 1, 2) and raw[at + 1 : at + 4] == b"\0\0\0":
        size = int.from_bytes(raw[at + 4 : at + 8], "big")
        out += raw[at + 8 : at + 8 + size]
        at += 8 + size
    return out if at else raw


def address(container: Mapping[str, Any]) -> str:
    """The container's own address on its networks; empty on the host's network, or without one."""
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    found: Sequence[str] = [
        str(each.get("IPAddress") or "") for each in networks.values() if isinstance(each, dict) and each
    ]
    return next((each for each in found if each), "")
