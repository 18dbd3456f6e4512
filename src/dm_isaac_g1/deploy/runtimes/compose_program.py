"""How a compose project's service is exchanged: with a file of ours over the project's own, which sets its command.

A part of `switch_program`, standard library only, Python 3.8 and later. The plan:

    argv          docker compose, with the project's files
    environment   DOCKER_HOST
    service       its name
    override      path of our file, absolute
    new, before   its text, and that of the one which serves (None: there is none, the project's own command serves)
    socket, labels   the engine's, and what the service's containers carry
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.runtimes.docker_program import Api, first
    from dm_isaac_g1.deploy.runtimes.process_program import with_words
    from dm_isaac_g1.deploy.runtimes.switch_program import Failed, write

#: Images are there already: pulling would be another deploy.
UP = ("up", "-d", "--no-deps", "--pull", "never")
UP_S = 120.0


class Compose:
    """`docker compose up` stops the service's container and starts the new one."""

    def __init__(self, plan: dict[str, Any], progress: dict[str, Any], note: Callable[..., None]) -> None:
        self.plan, self.progress, self.note = plan, progress, note
        self.api = Api(plan["socket"])

    def prepare(self) -> None:
        """Whether compose understands the files, before anything is stopped."""
        beside = f"{self.plan['override']}.new"
        self.put(beside, self.plan["new"])
        try:
            self.compose(["config", "--quiet"], beside, 30.0)
        finally:
            os.unlink(beside)

    def unprepare(self) -> None:
        pass

    def probe(self) -> tuple[str, int]:
        return self.plan["address"] or "127.0.0.1", self.plan["port"]

    def had_old(self) -> bool:
        return bool(self.plan["had"])

    def stop_old(self) -> None:
        self.compose(["stop", "-t", str(int(self.plan["stop_s"])), self.plan["service"]], self.over(), UP_S)

    def start_new(self) -> None:
        self.put(self.plan["override"], self.plan["new"])
        self.compose([*UP, self.plan["service"]], self.plan["override"], UP_S)

    def confirmed(self) -> None:
        pass

    def stop_new(self) -> None:
        self.compose(["stop", "-t", str(int(self.plan["stop_s"])), self.plan["service"]], self.over(), UP_S)

    def start_old(self) -> None:
        if self.plan["before"] is None:
            if os.path.exists(self.plan["override"]):
                os.unlink(self.plan["override"])
        else:
            self.put(self.plan["override"], self.plan["before"])
        self.compose([*UP, self.plan["service"]], self.over(), UP_S)

    def over(self) -> str | None:
        return self.plan["override"] if os.path.exists(self.plan["override"]) else None

    def put(self, path: str, text: Any) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        write(os.path.dirname(path), os.path.basename(path), text)

    def compose(self, words: list[str], override: str | None, seconds: float) -> None:
        argv = [*self.plan["argv"], *(("-f", override) if override else ()), *words]
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds + self.plan["stop_s"],
                env=dict(os.environ, **self.plan["environment"]),
                cwd="/",
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"`docker compose {words[0]}` did not end in time") from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Failed(with_words(f"`docker compose {words[0]}` failed", said[-1] if said else ""))

    def containers(self) -> list[Any]:
        filters = json.dumps({"label": [f"{name}={value}" for name, value in self.plan["labels"].items()]})
        found: list[Any] = self.api.ask("GET", "/containers/json", all="1", filters=filters) or []
        return found

    def gone(self) -> str | None:
        found = self.containers()
        if any(each.get("State") == "running" for each in found):
            return None
        return with_words("it ended before it listened", self.api.words(found[0]["Id"]) if found else "")

    def identity(self) -> tuple[str, int]:
        return "", first(self.api.inspect(self.serves()))

    def serves(self) -> str:
        return next((str(each["Id"]) for each in self.containers() if each.get("State") == "running"), "")
