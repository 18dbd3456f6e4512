"""A model served by a container of its own, made of the profile's image for each release, on the host's network.

The models folder is mounted read-only at the path that it has on the host, so that a release has one path everywhere.
What a container is for stands in its labels; the ones before stay, stopped, until they are settled.
"""

from __future__ import annotations

from typing import Any

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.deploy.runtimes.by_engine import ANYWHERE, LOOPBACK, ByEngine, first, running, started
from dm_isaac_g1.deploy.runtimes.served import MODEL, PORT, RELEASE, ROLE, STOP_S, TXN, Launch, Served, Switched
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.engine import Json
from dm_isaac_g1.remote.host import Host
from dm_isaac_g1.remote.quoting import check_name

POLICY = {"Name": "unless-stopped"}


class ReleaseRuntime(ByEngine):
    """See `served.ServeRuntime`."""

    kind = "release"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        if self._serve.image is None:
            raise UsageError("the profile names no image to serve with", where=host.name, fix="set serve.image")
        self._image = self._serve.image
        self.title = f"image {self._image}"

    async def check(self, launch: Launch) -> tuple[str, ...]:
        problems = await self._image_problems(self._image)
        if await self._find() is None:
            foreign = await self._foreign()
            if foreign is not None:
                problems.append(f"port {self._port} belongs to {foreign.title}, which no deploy put there")
        return tuple(problems)

    async def start_candidate(self, launch: Launch) -> Served:
        known = await self.candidate(launch.txn)
        if known is not None and known.state != "down":
            return known
        await self.drop_candidate(launch.txn)
        port = await self._spare()
        body = await self._body(launch, port)
        body["HostConfig"]["RestartPolicy"] = {"Name": "no"}
        return await self._begin(body, {}, launch, port)

    async def switch(self, launch: Launch) -> Switched:
        begun, ended = await self._over(launch.txn, "switch")
        if ended is not None:
            return ended
        return await self._perform(launch.txn, "switch", {} if begun else await self._plan(launch))

    async def settle(self, txn: str, keep: int) -> None:
        await self.drop_candidate(txn)
        waiting = [each for each in await self._all() if each.get("State") != "running"]
        for each in waiting[keep:]:
            await self._engine.remove(str(each.get("Id")))

    async def _plan(self, launch: Launch) -> dict[str, Any]:
        old = await self._find()
        name = check_name(f"dm-g1-{launch.release.id}-{launch.txn}"[:128], "container")
        own = str((old or {}).get("Name") or "").lstrip("/")
        body = await self._body(launch, self._port)
        body["Labels"] |= {ROLE: "main"}
        return {
            "driver": "docker",
            "socket": self._socket,
            "old": str(old["Id"]) if old is not None else None,
            "park": [own, own],
            "new": {"name": name, "final": name, "body": body},
            "policy": POLICY,
            "address": _place(self._serve.bind),
            "port": self._port,
            "load_s": self._serve.load_s,
            "stop_s": STOP_S,
        }

    async def _body(self, launch: Launch, port: int) -> Json:
        """What makes its container (Docker Engine API, ContainerCreate)."""
        models = (await self.home()).folder
        command = launch.command(launch.release.path, port, self._serve.bind)
        binds = [f"{models}:{models}:ro"]
        if self._serve.token_file:
            binds.append(f"{self._serve.token_file}:{self._serve.token_file}:ro")
        host: Json = {"NetworkMode": "host", "Binds": binds, "RestartPolicy": POLICY}
        if "nvidia" in ((await self._engine.info()).get("Runtimes") or {}):
            host["DeviceRequests"] = [{"Count": -1, "Capabilities": [["gpu"]]}]  # --gpus all
        return {
            "Image": self._image,
            "Cmd": list(command.argv),
            "StopSignal": "SIGINT",  # the first process of a container ignores a SIGTERM that it does not handle
            **({"WorkingDir": command.cwd} if command.cwd else {}),
            "Env": [f"{name}={value}" for name, value in command.env.items()],
            "Labels": {
                RELEASE: launch.release.id,
                TXN: launch.txn,
                PORT: str(port),
                MODEL: launch.release.path,
            },
            "HostConfig": host,
        }

    async def _all(self) -> list[Json]:
        """Our containers for this port, newest first."""
        found = await self._engine.named({ROLE: "main", PORT: str(self._port)})
        return sorted(found, key=lambda each: each.get("Created") or 0, reverse=True)

    async def _find(self) -> Json | None:
        """The one that serves; else the last that did."""
        found = await self._all()
        chosen = next((each for each in found if each.get("State") == "running"), found[0] if found else None)
        return None if chosen is None else await self._engine.inspect(str(chosen.get("Id")))

    def _served(self, container: Json) -> Served:
        labels = (container.get("Config") or {}).get("Labels") or {}
        return Served(
            id=str(container.get("Id")),
            title=self.title,
            port=self._port,
            address=_place(self._serve.bind),
            state="loading" if running(container) else "down",
            release=clean(str(labels.get(RELEASE) or "")),
            path=clean(str(labels.get(MODEL) or "")),
            since=started(container),
            txn=clean(str(labels.get(TXN) or "")),
            pid=first(container),
            restarts=int(container.get("RestartCount") or 0),
        )


def _place(bind: str) -> str:
    return LOOPBACK if bind in ANYWHERE else bind
