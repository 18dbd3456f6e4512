"""A model served by an existing container whose command names it: another one takes its place that differs in nothing
but that path, and two labels that say which deploy made it.

The one before waits under the name <name>-prev, stopped. The candidate is the same container without the host's ports:
on the host's network with a port of its own, else reached by its own address.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any

from dm_isaac_g1.core import profile
from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.deploy.runtimes import cmdline, likeness, mounts
from dm_isaac_g1.deploy.runtimes.by_engine import ANYWHERE, LOOPBACK, ByEngine, first, running, started
from dm_isaac_g1.deploy.runtimes.served import RELEASE, STOP_S, TXN, Launch, Served, Switched
from dm_isaac_g1.remote.around import Around, around
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.engine import Json, address
from dm_isaac_g1.remote.host import Host

#: What GR00T's servers listen on where their command names no port.
DEFAULT_PORT = 5555
#: Containers that no deploy made and that wait beside the last one.
ASIDES = 9


class ContainerRuntime(ByEngine):
    """See `served.ServeRuntime`."""

    kind = "container"

    def __init__(self, host: Host, name: str | None = None) -> None:
        super().__init__(host)
        runtime = host.profile.runtime
        inside = runtime.docker.container if isinstance(runtime, profile.DockerRuntime) else None
        name = name or self._serve.container or inside
        if name is None:
            raise UsageError("the profile names no container to serve in", where=host.name, fix="set serve.container")
        self.name = name
        self.title = f"container {name}"

    async def check(self, launch: Launch) -> tuple[str, ...]:
        container = await self._find()
        if container is None:
            return (f"there is no container {self.name}; make it there once, with any model",)
        problems = [] if running(container) else await self._taken()
        words = (*words_of(container, "Entrypoint"), *words_of(container, "Cmd"))
        if cmdline.value(words, cmdline.MODEL) is None:
            problems.append(f"the command of {self.name} names no model ({cmdline.MODEL[0]} PATH)")
        if (container.get("HostConfig") or {}).get("AutoRemove"):
            problems.append(f"{self.name} was made with --rm: stopped, it would be gone; make it anew without")
        tag, wanted = cmdline.value(words, cmdline.TAG), launch.release.embodiment
        if tag and wanted and tag.upper() != wanted.upper():
            problems.append(f"{self.name} serves the embodiment {clean(tag)}, and the model is for {wanted}")
        _, port = self._place(container)
        if _published(container, self._port) is None and port != self._port:
            problems.append(f"{self.name} listens on port {port}, and the profile says {self._port}")
        try:
            self._path(container, launch)
        except RefusedError as error:
            problems.append(error.line())
        return (*problems, *await self._image_problems(str(container.get("Image") or "")))

    async def around(self) -> Around:
        container = await self._find()
        pid = ((container or {}).get("State") or {}).get("Pid")
        on_host = ((container or {}).get("HostConfig") or {}).get("NetworkMode") == "host"
        inside = (pid, self._inner(container)) if container and isinstance(pid, int) and pid and not on_host else None
        return await around(self._host.host_runtime, self._port, inside=inside)

    async def start_candidate(self, launch: Launch) -> Served:
        known = await self.candidate(launch.txn)
        if known is not None and known.state != "down":
            return known
        await self.drop_candidate(launch.txn)
        container = await self._there()
        on_host = (container.get("HostConfig") or {}).get("NetworkMode") == "host"
        port = await self._spare() if on_host else self._inner(container)
        body, networks = await self._like(container, launch, port if on_host else None)
        return await self._begin(likeness.candidate(body), networks, launch, port)

    async def switch(self, launch: Launch) -> Switched:
        begun, ended = await self._over(launch.txn, "switch")
        if ended is not None:
            return ended
        return await self._perform(launch.txn, "switch", {} if begun else await self._plan(launch))

    async def settle(self, txn: str, keep: int) -> None:
        """The last one before waits for a rollback; those before it are made anew from their release's files.

        One that no deploy made is its owner's: nobody could make it anew, and it stays, stopped.
        """
        await self.drop_candidate(txn)
        for name in (*self._asides(), *((f"{self.name}-prev",) if keep < 1 else ())):
            found = await self._engine.inspect(name)
            if found is not None and _ours(found) and not (found.get("State") or {}).get("Running"):
                await self._engine.remove(str(found.get("Id")))

    # The exchange.

    async def _plan(self, launch: Launch) -> dict[str, Any]:
        container = await self._there()
        runs = bool((container.get("State") or {}).get("Running"))
        taken = [] if runs else await self._taken()
        if taken:
            raise RefusedError(taken[0], where=self._host.name, fix="stop it there, then deploy again")
        prev = f"{self.name}-prev"
        old: str | None = str(container["Id"])
        older, reuse = None, None
        waits = await self._engine.inspect(prev)
        path = self._path(container, launch)
        if not runs and model_of(container) == path:
            old, reuse = None, old  # it only has to be started
        elif waits is not None and model_of(waits) == path:
            reuse = str(waits["Id"])
        elif waits is not None:
            older = [str(waits["Id"]), await self._aside()]
        body, networks = await self._like(container, launch, None)
        body["Labels"] = {**(body.get("Labels") or {}), RELEASE: launch.release.id, TXN: launch.txn}
        place, port = self._place(container)
        return {
            "driver": "docker",
            "socket": self._socket,
            "old": old,
            "park": [self.name, prev],
            "older": older,
            "reuse": reuse,
            "new": {"name": f"{self.name}-next", "final": self.name, "body": body, "networks": networks},
            "policy": (container.get("HostConfig") or {}).get("RestartPolicy") or {"Name": "no"},
            "address": "" if place == address(container) else place,
            "port": port,
            "load_s": self._serve.load_s,
            "stop_s": STOP_S,
        }

    def _asides(self) -> tuple[str, ...]:
        """Names under which the ones before the last one wait."""
        return tuple(f"{self.name}-prev-{number}" for number in range(2, ASIDES + 2))

    async def _aside(self) -> str:
        """One of these names that is free, or is made so. Raises RefusedError."""
        for name in self._asides():
            found = await self._engine.inspect(name)
            if found is not None and _ours(found):
                await self._engine.remove(str(found["Id"]))
            if found is None or _ours(found):
                return name
        raise RefusedError(
            f"{ASIDES} containers like {self.name} wait there that no deploy made",
            where=self._host.name,
            fix=f"remove those you do not need: `docker ps -a --filter name={self.name}-prev`",
        )

    async def _like(self, container: Json, launch: Launch, port: int | None) -> tuple[Json, Json]:
        """What makes a container like this one, with the release's path (and another port)."""
        path = self._path(container, launch)
        cmd, entrypoint = words_of(container, "Cmd"), words_of(container, "Entrypoint")
        made = cmdline.replaced(cmd, cmdline.MODEL, path)
        start = cmdline.replaced(entrypoint, cmdline.MODEL, path) if made is None else None
        if made is None and start is None:
            raise RefusedError(
                f"the command of {self.name} names no model", where=self._host.name, fix=f"{cmdline.MODEL[0]} PATH"
            )
        words = list(cmd) if made is None else made
        if port is not None:
            words = cmdline.with_port(words, port)
        return likeness.like(container, await self._image(container), cmd=words or None, entrypoint=start)

    async def _image(self, container: Json) -> str:
        """The image's name, if that still means the same image; else its id."""
        name, id = str((container.get("Config") or {}).get("Image") or ""), str(container.get("Image") or "")
        found = await self._engine.image(name) if name else None
        return name if found is not None and found.get("Id") == id else id

    async def _find(self) -> Json | None:
        """The container that serves, or should."""
        return await self._engine.inspect(self.name)

    async def _there(self) -> Json:
        container = await self._find()
        if container is None:
            raise RefusedError(
                f"there is no container {self.name}", where=self._host.name, fix="make it there once, with any model"
            )
        return container

    def _path(self, container: Json, launch: Launch) -> str:
        return mounts.inside(mounts.read(container), launch.release.path, where=self._host.name)

    async def _taken(self) -> list[str]:
        found = await self._foreign()
        return [] if found is None else [f"port {self._port} belongs to {found.title}"]

    # What is found.

    def _served(self, container: Json) -> Served:
        place, port = self._place(container)
        path = model_of(container)
        folder, name = posixpath.split(path)
        return Served(
            id=str(container.get("Id")),
            title=self.title,
            port=port,
            address=place,
            state="loading" if running(container) else "down",
            foreign=False,
            release=name if posixpath.basename(folder) == "rel" else "",
            path=path,
            since=started(container),
            pid=first(container),
            restarts=int(container.get("RestartCount") or 0),
        )

    def _place(self, container: Json) -> tuple[str, int]:
        """Where the host reaches what this container serves."""
        if (container.get("HostConfig") or {}).get("NetworkMode") == "host":
            bind = cmdline.value(words_of(container, "Cmd"), cmdline.BIND) or ""
            return (LOOPBACK if bind in (*ANYWHERE, "*") else bind), self._inner(container)
        published = _published(container, self._port)
        if published is not None:
            return published, self._port
        return address(container) or LOOPBACK, self._inner(container)

    def _inner(self, container: Json) -> int:
        said = cmdline.value((*words_of(container, "Entrypoint"), *words_of(container, "Cmd")), cmdline.PORT) or ""
        return int(said) if said.isdigit() and int(said) < 65536 else DEFAULT_PORT


def words_of(container: Json, which: str) -> Sequence[str]:
    found = (container.get("Config") or {}).get(which) or []
    return [str(word) for word in ([found] if isinstance(found, str) else found)]


def _ours(container: Json) -> bool:
    """Whether a deploy made it."""
    return bool(((container.get("Config") or {}).get("Labels") or {}).get(TXN))


def model_of(container: Json) -> str:
    """The model's path in the container's command, as it sees it."""
    found = cmdline.value((*words_of(container, "Entrypoint"), *words_of(container, "Cmd")), cmdline.MODEL)
    return clean(found or "").rstrip("/")


def _published(container: Json, port: int) -> str | None:
    """The address at which the host publishes `port` for the container; None: it does not."""
    bindings = (container.get("HostConfig") or {}).get("PortBindings") or {}
    for each in bindings.values():
        for row in each or []:
            if str(row.get("HostPort") or "") == str(port):
                place = str(row.get("HostIp") or "")
                return LOOPBACK if place in ANYWHERE else place
    return None
