"""How a server that is a process is exchanged: each is a job (`remote.jobs`), with a supervisor of its own.

A part of `switch_program`, standard library only, Python 3.8 and later. The plan: `root` of the jobs, `old`: ids that
may be running, `new`: {spec, plan} of a job, `back`: the id of the job whose spec is started again (None: nothing).
Where a switch is undone, also the ids that it started: `made` of the new one, `brought` of the old one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.runtimes.switch_program import SOURCES, Failed, last_words, library, read

#: Beyond the ladder's own time before its processes are killed from here.
SLACK_S = 10.0


class Process:
    """Jobs, by the very programs that `remote.jobs` sends."""

    def __init__(self, plan: dict[str, Any], progress: dict[str, Any], note: Callable[..., None]) -> None:
        self.plan, self.progress, self.note = plan, progress, note
        self.lib = library("supervisor")
        self.hands = library("hands")
        self.running = ""

    def prepare(self) -> None:
        """Find the program before anything is stopped."""
        new = self.plan["new"]
        if not os.path.isdir(new["spec"]["cwd"]):
            raise Failed(f"no such folder: {new['spec']['cwd']}")
        try:
            self.hands.program(new["plan"]["argv"], new["spec"])
        except self.hands.Refused as error:
            raise Failed(str(error)) from None

    def unprepare(self) -> None:
        pass

    def probe(self) -> tuple[str, int]:
        return self.plan["address"], self.plan["port"]

    def stop_old(self) -> None:
        for id in self.plan["old"]:
            self.stop(id)

    def start_new(self) -> None:
        self.start(dict(self.plan["new"]["spec"]), dict(self.plan["new"]["plan"]), "new")

    def confirmed(self) -> None:
        pass

    def stop_new(self) -> None:
        for id in (self.progress.get("new"), self.plan.get("made")):
            if id is not None:
                self.stop(id)

    def had_old(self) -> bool:
        return self.plan.get("back") is not None

    def start_old(self) -> None:
        back = self.plan["back"]
        job = read(os.path.join(self.plan["root"], back), "job.json")
        if not isinstance(job, dict):
            raise Failed(f"job {back} is not there any more")
        plan = job.pop("supervisor", None) or {}
        # The switch may have brought it back itself, as another job.
        ours = [id for id in (self.plan.get("brought"), back) if id is not None]
        running = next((id for id in ours if self.alive(id)), None)
        for id in {*self.plan["old"], *ours} - {running}:
            self.stop(id)
        if running is not None:
            self.running = running
            return
        self.start(job, plan, "old")

    def serves(self) -> str:
        return self.running

    def identity(self) -> tuple[str, int]:
        """By what its processes are known: the job, or an ancestor's pid."""
        return self.running, 0

    def gone(self) -> str | None:
        """Why the server that was started will not listen any more."""
        folder = os.path.join(self.plan["root"], self.running)
        exited = self.lib.get(os.path.join(folder, "exit.json"))
        state = self.lib.get(os.path.join(folder, "state.json")) or {}
        if exited is None and not state.get("restarts"):
            return None
        how = "it ended before it listened"
        if exited is not None and exited.get("error"):
            how = f"it could not be started: {exited['error']}"
        elif exited is not None and exited.get("code") is not None:
            how += f", with exit {exited['code']}"
        return with_words(how, last_words(os.path.join(folder, "log")))

    def start(self, spec: dict[str, Any], plan: dict[str, Any], which: str) -> None:
        """Start a job, unless it was started already and runs."""
        known = self.progress.get(which)
        if known and self.alive(known):
            self.running = known
            return
        if known or os.path.lexists(os.path.join(self.plan["root"], spec["id"])):
            spec["id"] = f"{spec['id'][:-6]}{os.urandom(3).hex()}"
        spec.pop("created", None)
        self.note(**{which: spec["id"]})
        self.running = spec["id"]
        try:
            self.hands.job_create(self.lib, self.plan["root"], spec, plan, SOURCES["supervisor"])
        except self.hands.Refused as error:
            raise Failed(str(error)) from None

    def alive(self, id: str) -> bool:
        """Whether it runs and nobody wants it to stop."""
        folder = os.path.join(self.plan["root"], id)
        return not os.path.exists(os.path.join(folder, "stop.json")) and self.supervised(id)

    def stop(self, id: str) -> None:
        """Down the ladder, beginning with a plain request to end: the request in flight is answered."""
        try:
            self.hands.job_stop(self.lib, self.plan["root"], id, "terminate", self.plan["by"])
        except self.hands.Refused:
            pass  # it has ended, or is not there
        finally:
            os.chdir("/")
        until = time.monotonic() + self.plan["stop_s"] + SLACK_S
        while (left := self.lib.family(id)) or self.supervised(id):
            if time.monotonic() > until:
                self.lib.send(left, signal.SIGKILL)
            if time.monotonic() > until + SLACK_S:
                raise Failed(f"job {id} cannot be stopped")
            time.sleep(0.02)

    def supervised(self, id: str) -> bool:
        state = self.lib.get(os.path.join(self.plan["root"], id, "state.json")) or {}
        return bool(self.lib.alive(state.get("pid"), state.get("ticks")))


def with_words(how: str, words: str) -> str:
    return f"{how}: {words[:300]}" if words else how
