"""A model served by a service of a compose project on the host: a file of ours over the project's own sets its command.

The project's files are never changed. What serves is what `docker compose -f PROJECT -f OURS up -d SERVICE` makes of
them; without our file the project serves what it says itself.
"""

from __future__ import annotations

import posixpath
from typing import Any

import msgspec

from dm_isaac_g1.core.errors import RefusedError, RemoteFailed, UsageError
from dm_isaac_g1.deploy.runtimes import cmdline, mounts, switching
from dm_isaac_g1.deploy.runtimes.container import ContainerRuntime, words_of
from dm_isaac_g1.deploy.runtimes.served import RELEASE, ROLE, STOP_S, TXN, Launch, Served
from dm_isaac_g1.remote.clean import clean_bytes
from dm_isaac_g1.remote.engine import Json
from dm_isaac_g1.remote.host import Host
from dm_isaac_g1.remote.quoting import check_name

COMPOSE_S = 120.0
#: Labels that compose itself gives its containers.
PROJECT, SERVICE, ONE_OFF = "com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.oneoff"


class ComposeRuntime(ContainerRuntime):
    """See `served.ServeRuntime`. As an existing container, but for who makes it."""

    kind = "compose"

    def __init__(self, host: Host) -> None:
        serve = host.profile.serve
        if serve.compose is None or serve.service is None:
            raise UsageError(
                "the profile names no compose file or service", where=host.name, fix="set serve.compose, serve.service"
            )
        self._file, self._service = serve.compose, check_name(serve.service, "service")
        super().__init__(host, name=self._service)
        self.title = f"compose service {self._service}"
        self._known: Json | None = None

    async def check(self, launch: Launch) -> tuple[str, ...]:
        try:
            service = await self._in_project()
            if await self._find() is not None:
                return await super().check(launch)
            await self._command(launch)
        except RefusedError as error:
            return (error.line(),)
        return (*await self._taken(), *await self._image_problems(str(service.get("image") or "")))

    async def start_candidate(self, launch: Launch) -> Served:
        known = await self.candidate(launch.txn)
        if known is not None and known.state != "down":
            return known
        await self.drop_candidate(launch.txn)
        service = await self._in_project()
        on_host = service.get("network_mode") == "host"
        words = await self._command(launch)
        port = await self._spare() if on_host else int(cmdline.value(words, cmdline.PORT) or 5555)
        labels = {RELEASE: launch.release.id, TXN: launch.txn, ROLE: "candidate", "dm-g1.port": str(port)}
        named = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
        name = f"dm-g1-candidate-{check_name(launch.txn, 'deploy')}"
        words = cmdline.with_port(words, port) if on_host else words
        await self._compose("run", "-d", "--no-deps", "--name", name, *named, self._service, *words)
        found = await self.candidate(launch.txn)
        if found is None:
            raise RemoteFailed("compose started no candidate", where=self._host.name)
        return found

    async def settle(self, txn: str, keep: int) -> None:
        await self.drop_candidate(txn)

    async def _plan(self, launch: Launch) -> dict[str, Any]:
        project = await self._project()
        container = await self._find()
        override = await self._override()
        words = [word.replace("$", "$$") for word in await self._command(launch)]
        labels = {RELEASE: launch.release.id, TXN: launch.txn}
        place = self._place(container)[0] if container is not None else "127.0.0.1"
        return {
            "driver": "compose",
            "argv": list(self._words()),
            "environment": self._environment(),
            "service": self._service,
            "override": override,
            "new": {"services": {self._service: {"command": words, "labels": labels}}},
            "before": await self._before(override),
            "had": container is not None,
            "socket": self._socket,
            "labels": self._labels(project),
            "address": place,
            "port": self._port,
            "load_s": self._serve.load_s,
            "stop_s": STOP_S,
        }

    # The project.

    async def _find(self) -> Json | None:
        found = await self._engine.named(self._labels(await self._project()))
        found.sort(key=lambda each: each.get("State") != "running")
        return await self._engine.inspect(str(found[0].get("Id"))) if found else None

    def _labels(self, project: Json) -> dict[str, str]:
        return {PROJECT: str(project.get("name") or ""), SERVICE: self._service, ONE_OFF: "False"}

    async def _in_project(self) -> Json:
        services = (await self._project()).get("services") or {}
        service = services.get(self._service)
        if not isinstance(service, dict):
            known = ", ".join(map(str, services)) or "none"
            raise RefusedError(
                f"{self._file} has no service {self._service}", where=self._host.name, fix=f"has: {known}"
            )
        return service

    async def _command(self, launch: Launch) -> list[str]:
        """The service's command with the release's path."""
        service = await self._in_project()
        said = service.get("command")
        words = [str(word).replace("$$", "$") for word in said] if isinstance(said, list) else []
        if not words:
            words = list(words_of(await self._find() or {}, "Cmd"))
        made = cmdline.replaced(words, cmdline.MODEL, self._inside(service, launch))
        if made is None:
            raise RefusedError(
                f"the command of {self._service} names no model", where=self._host.name, fix=f"{cmdline.MODEL[0]} PATH"
            )
        return made

    def _inside(self, service: Json, launch: Launch) -> str:
        volumes = [each for each in service.get("volumes") or [] if isinstance(each, dict)]
        rows = [{"Source": each.get("source"), "Destination": each.get("target")} for each in volumes]
        return mounts.inside(mounts.read({"Mounts": rows}), launch.release.path, where=self._host.name)

    async def _project(self) -> Json:
        """The project as compose understands it. Raises RefusedError where there is no compose, or no such project."""
        if self._known is None:
            said = await self._compose("config", "--format", "json")
            try:
                self._known = msgspec.json.decode(said, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise RefusedError(f"{self._file} makes no sense: {error}", where=self._host.name) from None
        return self._known

    async def _override(self) -> str:
        home = await self.home()
        return f"{home.folder}/{switching.FOLDER}/compose-{self._service}.json"

    async def _before(self, override: str) -> Json | None:
        if await self._host.host_files.stat(override) is None:
            return None
        said = await self._host.host_files.read(override)
        try:
            return msgspec.json.decode(said.data, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _words(self) -> tuple[str, ...]:
        return ("docker", "compose", "--project-directory", posixpath.dirname(self._file), "-f", self._file)

    def _environment(self) -> dict[str, str]:
        return {"DOCKER_HOST": f"unix://{self._socket}"}

    async def _compose(self, *words: str) -> bytes:
        """What compose says of the project's own file. Raises RefusedError."""
        argv = [*self._words(), *words]
        done = await self._host.host_runtime.run(argv, env=self._environment(), timeout=COMPOSE_S)
        if done.exit == 0:
            return done.stdout
        said = clean_bytes(done.stderr.strip().rpartition(b"\n")[2][:300])
        if done.exit in (126, 127) or b"unknown command" in done.stderr or b"unknown flag" in done.stderr[:80]:
            raise RefusedError(
                "docker compose is not installed",
                where=self._host.name,
                fix="`sudo apt install docker-compose-plugin` there, or serve by a container",
            )
        raise RefusedError(f"`docker compose {words[0]}` failed: {said}", where=self._host.name)
