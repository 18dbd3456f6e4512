"""How long work speaks while it runs: progress, findings, and whether it should stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dm_isaac_g1.core.errors import Interrupted
from dm_isaac_g1.core.events import Event, Progress
from dm_isaac_g1.data.problems import Finding

#: Takes what is reported; called in the thread that works.
Tell = Callable[[Event], None]


class Work:
    """Given to everything in `data` that takes long. `Work()` is silent and never stops.

    `cancel` may be called from any thread; the work ends at the next `check`, and what is finished is kept.
    """

    def __init__(self, tell: Tell = lambda event: None) -> None:
        self._tell = tell
        self._cancelled = threading.Event()

    def progress(self, text: str, done: float | None = None, total: float | None = None, unit: str = "") -> None:
        """A step: `done` of `total` in `unit` ("episodes", "bytes"). Raises Interrupted, as `check`."""
        self.check()
        self._tell(Progress(text=text, done=done, total=total, unit=unit))

    def note(self, finding: Finding) -> None:
        """Something the user should know although the work goes on."""
        place = str(finding.place)
        text = f"{finding.severity}: {f'{place}: ' if place else ''}{finding.what}"
        self._tell(Progress(text=f"{text}; {finding.fix}" if finding.fix else text))

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self) -> None:
        """Raises Interrupted once `cancel` was called."""
        if self._cancelled.is_set():
            raise Interrupted("interrupted", fix="the same command goes on where this one ended")
