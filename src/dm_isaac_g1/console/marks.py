"""States as people see them: a glyph, a word and a colour. The first two alone say it all."""

from __future__ import annotations

from typing import NamedTuple

from textual.content import Content

from dm_isaac_g1.core.deployments import Outcome, ServeState
from dm_isaac_g1.core.forecasts import Verdict
from dm_isaac_g1.core.runs import JobState

MUTED = "$muted"
FAINT = "$faint"
STRONG = "bold"


class Mark(NamedTuple):
    """How a state is shown."""

    glyph: str
    word: str
    style: str

    def content(self, *, strong: bool = False) -> Content:
        return Content.styled(f"{self.glyph} {self.word}", f"bold {self.style}" if strong else self.style)


HOSTS: dict[str, Mark] = {
    "connecting": Mark("◌", "connecting", "$warning"),
    "up": Mark("●", "up", "$success"),
    "away": Mark("○", "away", "$warning"),
    "refused": Mark("✗", "refused", "$error"),
    "off": Mark("·", "off", MUTED),
}

RUNS: dict[JobState, Mark] = {
    JobState.QUEUED: Mark("◌", "queued", MUTED),
    JobState.RUNNING: Mark("►", "running", "$primary"),
    JobState.SUCCEEDED: Mark("✓", "done", "$success"),
    JobState.FAILED: Mark("✗", "failed", "$error"),
    JobState.STOPPED: Mark("■", "stopped", MUTED),
    JobState.LOST: Mark("?", "lost", "$warning"),
}

VERDICTS: dict[Verdict, Mark] = {
    Verdict.FIT: Mark("✓", "FIT", "$success"),
    Verdict.TIGHT: Mark("▲", "TIGHT", "$warning"),
    Verdict.FAIL: Mark("✗", "FAIL", "$error"),
    Verdict.UNKNOWN: Mark("?", "UNKNOWN", MUTED),
}

SEVERITIES: dict[str, Mark] = {
    "critical": Mark("✗", "critical", "$error"),
    "warning": Mark("▲", "warning", "$warning"),
    "info": Mark("·", "info", "$primary"),
}

#: Worst first, for the one verdict that stands for a host.
WORST = (Verdict.FAIL, Verdict.TIGHT, Verdict.UNKNOWN, Verdict.FIT)

#: By `DatasetSummary.validity`; a partial one that is being written is WRITING.
DATASETS: dict[str, Mark] = {
    "valid": Mark("✓", "valid", "$success"),
    "invalid": Mark("✗", "invalid", "$error"),
    "unknown": Mark("·", "unchecked", MUTED),
    "partial": Mark("◌", "partial", "$warning"),
}
WRITING = Mark("◢", "writing", "$warning")

#: By `tasks.State`.
TASKS: dict[str, Mark] = {
    "running": Mark("►", "running", "$primary"),
    "cancelling": Mark("◢", "cancelling", "$warning"),
    "done": Mark("✓", "done", "$success"),
    "failed": Mark("✗", "failed", "$error"),
    "cancelled": Mark("■", "cancelled", MUTED),
}

#: By `Deployment.state`; one with a deploy at work on it is DEPLOYING, with one that nobody is at CUT_OFF.
SERVES: dict[ServeState, Mark] = {
    "serving": Mark("●", "serving", "$success"),
    "busy": Mark("◆", "busy", "$primary"),
    "loading": Mark("◌", "loading", "$warning"),
    "unhealthy": Mark("✗", "unhealthy", "$error"),
    "down": Mark("▼", "down", "$error"),
    "foreign": Mark("◇", "foreign", "$warning"),
    "none": Mark("·", "nothing", MUTED),
    "unknown": Mark("?", "unknown", "$warning"),
}
DEPLOYING = Mark("◢", "deploying", "$warning")
CUT_OFF = Mark("▲", "cut off", "$warning")

#: By `HistoryEntry.outcome`.
OUTCOMES: dict[Outcome, Mark] = {
    "done": Mark("✓", "deployed", "$success"),
    "rolled-back": Mark("▲", "taken back", "$warning"),
    "failed": Mark("✗", "failed", "$error"),
    "refused": Mark("■", "refused", MUTED),
}
