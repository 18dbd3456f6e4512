"""What the ways of serving by containers have in common: the engine, candidates, paths, and the exchange's place."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from dm_isaac_g1.core import profile
from dm_isaac_g1.core.errors import DmG1Error, RefusedError
from dm_isaac_g1.deploy.runtimes import mounts, switching
from dm_isaac_g1.deploy.runtimes.served import RELEASE, ROLE, STOP_S, TXN, Home, Launch, Served, Switched
from dm_isaac_g1.remote import around
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.engine import Engine, Json, address
from dm_isaac_g1.remote.host import Host
from dm_isaac_g1.remote.quoting import check_name

#: What Docker calls the machines that `uname -m` names.
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "arm": "armv7l", "386": "i686"}
LOOPBACK = "127.0.0.1"
ANYWHERE = ("", "0.0.0.0", "::")  # noqa: S104  compared, not bound


class ByEngine:
    """See `served.ServeRuntime`; a subclass says what serves and how another takes its place."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._port = host.profile.port
        self._serve = host.profile.serve
        self._socket = socket_of(host.profile)
        self._engine: Engine = host.engine(self._socket)

    async def home(self) -> Home:
        models = self._host.path("models")
        runtime = self._host.profile.runtime
        if isinstance(runtime, profile.DockerRuntime):
            container = await self._standing(runtime.docker.container)
            models = mounts.outside(mounts.read(container or {}), models, where=self._host.name)
        return Home(self._host.host_runtime, models)

    async def _standing(self, name: str) -> Json | None:
        """A container by its name; in the middle of an exchange it has another one."""
        for each in (name, f"{name}-prev", f"{name}-next"):
            found = await self._host.engine().inspect(each)
            if found is not None:
                return found
        return None

    async def around(self) -> around.Around:
        return await around.around(self._host.host_runtime, self._port)

    async def last_words(self, id: str) -> str:
        return await self._engine.logs(id)

    async def current(self) -> Served | None:
        container = await self._find()
        if container is None or not (container.get("State") or {}).get("Running"):
            return await self._foreign() or (None if container is None else self._served(container))
        return await self._listens(self._served(container))

    async def _find(self) -> Json | None:
        """The container that serves, or should; None: there is none."""
        raise NotImplementedError

    def _served(self, container: Json) -> Served:
        raise NotImplementedError

    async def candidate(self, txn: str) -> Served | None:
        found = await self._engine.named({TXN: txn, ROLE: "candidate"})
        if not found:
            return None
        container = await self._engine.inspect(str(found[0].get("Id")))
        return None if container is None else self._as_candidate(container)

    async def drop_candidate(self, txn: str) -> None:
        for each in await self._engine.named({TXN: txn, ROLE: "candidate"}):
            await self._engine.remove(str(each.get("Id")))

    async def restore(self, txn: str) -> Switched:
        what = f"{check_name(txn, 'deploy')}-switch"
        return await self._perform(txn, "restore", {"undoes": what, "load_s": self._serve.load_s, "stop_s": STOP_S})

    async def _begin(self, body: Mapping[str, Any], networks: Mapping[str, Any], launch: Launch, port: int) -> Served:
        """Make and start a candidate. Raises RefusedError; nothing of it is left then."""
        labels = {RELEASE: launch.release.id, TXN: launch.txn, ROLE: "candidate", "dm-g1.port": str(port)}
        made = {**body, "Labels": {**(body.get("Labels") or {}), **labels}}
        id = await self._engine.create(f"dm-g1-candidate-{check_name(launch.txn, 'deploy')}", made)
        try:
            for name, settings in networks.items():
                await self._engine.connect(name, id, settings)
            await self._engine.start(id)
        except RefusedError:
            await self._engine.remove(id)
            raise
        container = await self._engine.inspect(id)
        if container is None:
            raise RefusedError("the candidate's container is gone", where=self._host.name)
        return self._as_candidate(container)

    def _as_candidate(self, container: Json) -> Served:
        labels = (container.get("Config") or {}).get("Labels") or {}
        port = str(labels.get("dm-g1.port") or "")
        return Served(
            id=str(container.get("Id")),
            title=f"container {name_of(container)}",
            port=int(port) if port.isdigit() else self._port,
            address=address(container) or LOOPBACK,
            state="loading" if running(container) else "down",
            release=clean(str(labels.get(RELEASE) or "")),
            since=started(container),
            txn=clean(str(labels.get(TXN) or "")),
            pid=first(container),
        )

    async def _spare(self) -> int:
        spare = (await self.around()).spare
        if spare is None:
            raise RefusedError(f"no free port above {self._port} for the candidate", where=self._host.name)
        return spare

    async def _perform(self, txn: str, what: switching.What, plan: Mapping[str, Any]) -> Switched:
        longest = 2 * (self._serve.load_s + STOP_S)
        return await switching.perform(await self.home(), txn, what, plan, longest=longest)

    async def _over(self, txn: str, what: switching.What) -> tuple[bool, Switched | None]:
        return await switching.outcome(await self.home(), txn, what)

    async def _listens(self, served: Served) -> Served:
        """The same, with its state as the port tells it."""
        with contextlib.suppress(DmG1Error):
            if await self._host.answers(served.port, served.address) == "zmtp":
                return replace(served, state="serving")
        return replace(served, state="loading")

    async def _foreign(self) -> Served | None:
        """Somebody else on the profile's port."""
        listening = (await self.around()).listening
        if not listening:
            return None
        first = listening[0]
        id = f"pid {first.pid}" if first.pid else ""
        place = LOOPBACK if first.address in ANYWHERE else first.address
        return Served(id=id, title=first.title, port=self._port, address=place, foreign=True)

    async def _image_problems(self, reference: str) -> list[str]:
        """Whether an image is there and made for this machine."""
        image = await self._engine.image(reference)
        if image is None:
            return [f"the image {reference} is not on this host; `docker pull` it there"]
        made, machine = str(image.get("Architecture") or ""), (await self.around()).arch
        if made and machine and ARCHITECTURES.get(made, made) != machine:
            return [f"the image {reference} is made for {clean(made)}, and this host is {machine}"]
        return []


def socket_of(made: profile.Host) -> str:
    """Where the engine listens: what `serve` says, else what the runtime does."""
    if isinstance(made.runtime, profile.DockerRuntime) and made.serve.socket == profile.Serve().socket:
        return made.runtime.docker.socket
    return made.serve.socket


def name_of(container: Mapping[str, Any]) -> str:
    return clean(str(container.get("Name") or "")).lstrip("/")


def running(container: Mapping[str, Any]) -> bool:
    state = container.get("State") or {}
    return bool(state.get("Running")) and not state.get("Restarting") and not container.get("RestartCount")


def first(container: Mapping[str, Any]) -> int | None:
    """The first process of a container that runs on the host's network, whose ports only /proc tells from others'."""
    pid = (container.get("State") or {}).get("Pid")
    on_host = (container.get("HostConfig") or {}).get("NetworkMode") == "host"
    return pid if on_host and isinstance(pid, int) and pid > 0 else None


def started(container: Mapping[str, Any]) -> float | None:
    """Seconds since the epoch; the engine says 2026-11-20T23:59:59.123456789Z, and year 1 for never."""
    from datetime import datetime

    said = str((container.get("State") or {}).get("StartedAt") or "")
    try:
        at = datetime.fromisoformat(f"{said[:19]}+00:00").timestamp()
    except ValueError:
        return None
    return at if at > 0 else None
