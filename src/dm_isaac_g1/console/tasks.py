"""What is being done from this console: one record for each action that runs, with how far it is, and how it ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dm_isaac_g1.core.deployments import Step
from dm_isaac_g1.core.events import Progress

#: Ended ones that are remembered.
KEPT = 20
#: Steps that speed is told from, and the shortest time that tells it, in seconds.
STEPS, LEAST = 40, 1.0


@dataclass(slots=True)
class Walked:
    """A step of a deploy that was begun, when, and what was last said in it."""

    step: Step
    began: float
    text: str = ""


State = Literal["running", "cancelling", "done", "failed", "cancelled"]


@dataclass(slots=True)
class Task:
    """An action that was started here. Times: seconds since the epoch, by the console's clock."""

    id: int
    action: str
    title: str
    #: What was asked for: parameter -> value.
    values: Mapping[str, Any]
    began: float
    state: State = "running"
    progress: Progress | None = None
    #: How it ended, in a sentence; and what can be done, where it failed.
    said: str = ""
    fix: str = ""
    ended: float | None = None
    #: What its result has for scripts.
    data: dict[str, Any] = field(default_factory=dict)
    #: Of a deploy: the steps that were begun, in their order.
    steps: list[Walked] = field(default_factory=list)
    _steps: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=STEPS))

    @property
    def going(self) -> bool:
        return self.state in ("running", "cancelling")

    @property
    def host(self) -> str | None:
        """Where it runs; None: here."""
        deploys = self.action.startswith("deploy.")
        on = self.values.get("to") if deploys else self.values.get("on") or self.values.get("host")
        return on if isinstance(on, str) else None

    @property
    def paths(self) -> tuple[str, ...]:
        """What it is about: a dataset's path, several, or a repository's id."""
        for name in ("path", "input", "inputs", "repo", "checkpoint"):
            value = self.values.get(name)
            if value:
                return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)
        return ()

    @property
    def share(self) -> float | None:
        """0..1, if it says how much there is to do."""
        told = self.progress
        if told is None or told.done is None or not told.total:
            return None
        return min(1.0, max(0.0, told.done / told.total))

    @property
    def rate(self) -> float | None:
        """Of its unit, a second: over the last steps."""
        if len(self._steps) < 2:
            return None
        (then, had), (now, has) = self._steps[0], self._steps[-1]
        return (has - had) / (now - then) if now - then >= LEAST and has > had else None

    @property
    def left(self) -> float | None:
        """Seconds that it still takes, going on like this."""
        told, rate = self.progress, self.rate
        if told is None or told.done is None or told.total is None or rate is None:
            return None
        return max(0.0, (told.total - told.done) / rate)

    def advance(self, progress: Progress, now: float) -> None:
        """Take a step in. Another unit or total is another part of the work: its speed begins anew."""
        before = self.progress
        if progress.step is not None:
            if not self.steps or self.steps[-1].step != progress.step:
                self.steps.append(Walked(progress.step, now))
                before = None
            self.steps[-1].text = progress.text or self.steps[-1].text
        if before is None or (before.unit, before.total) != (progress.unit, progress.total):
            self._steps.clear()
        if progress.done is not None:
            if self._steps and progress.done < self._steps[-1][1]:
                self._steps.clear()
            self._steps.append((now, progress.done))
        if progress.done is None and before is not None and before.done is not None and progress.text:
            # A word between two steps: the bar stays.
            progress = Progress(text=progress.text, done=before.done, total=before.total, unit=before.unit)
        self.progress = progress
