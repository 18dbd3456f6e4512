"""The help screen: every key and every action, made from their declarations, and what each sign on the screen means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TypeVar

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from dm_isaac_g1.console import bars, marks
from dm_isaac_g1.console.forms.dialog import Dialog
from dm_isaac_g1.console.keys import Key, sign
from dm_isaac_g1.console.marks import MUTED, Mark
from dm_isaac_g1.console.panes import checkpoints, runs
from dm_isaac_g1.core.deployments import Outcome, ServeState
from dm_isaac_g1.core.forecasts import Verdict
from dm_isaac_g1.core.runs import JobState

K = TypeVar("K")

#: Cells of the left column.
_LEFT = 16

RUNS = {
    JobState.QUEUED: "waits to be started",
    JobState.RUNNING: "goes on, whether a console looks or not",
    JobState.SUCCEEDED: "came to its end",
    JobState.FAILED: "ended with an error: Checkpoints says why, and what to do",
    JobState.STOPPED: "ended because somebody asked",
    JobState.LOST: "nothing of it is left, not even how it ended",
}
HOSTS = {
    "connecting": "the first answer is waited for",
    "up": "it answers; its figures are of this second",
    "away": "no answer since then: its figures are the last ones, its runs go on",
    "refused": "it does not let us in, or is not the one we know: its line says what to do",
    "off": "not watched",
}
VERDICTS = {
    Verdict.FIT: "every save fits, and the reserve stays free",
    Verdict.TIGHT: "it fits, with less than the reserve left",
    Verdict.FAIL: "a save will not fit: which, when, and how much is missing",
    Verdict.UNKNOWN: "a size or a speed is not known yet",
}
DATASETS = {
    "valid": "a check found no error, and nothing of it changed since",
    "invalid": "a check found errors, or it cannot be read: Problems says which, and what repairs them",
    "unknown": "it was not checked since it changed: v checks it",
    "partial": "it is not finished: the command that began it goes on with it",
}
SERVES: dict[ServeState, str] = {
    "serving": "it answers, at once",
    "busy": "it answers, when the get_action before is done",
    "loading": "the model is being loaded",
    "unhealthy": "it is there, and does not answer as a server does: the rungs say where it breaks",
    "down": "it should serve, and nobody listens on its port",
    "foreign": "something serves there that was not deployed from here",
    "none": "nothing was deployed there",
    "unknown": "the host did not say: its line says why",
}
OUTCOMES: dict[Outcome, str] = {
    "done": "it serves, or did until the next",
    "rolled-back": "the new one did not stand the test: the one before serves on",
    "failed": "it broke off; the reason stands below",
    "refused": "nothing was changed",
}
WORK = {
    "running": "how far it is, and how long it still takes",
    "cancelling": "what it started on a host is being ended",
    "done": "it did what it was asked to",
    "failed": "it says why; what it had finished is kept",
    "cancelled": "ended because you asked; what it had finished is kept",
}
SEVERITIES = {
    "critical": "work is being lost, or will be",
    "warning": "look at it when you can",
    "info": "good to know",
}


class Help(Dialog[None]):
    """Keys, then what the signs mean, then the commands that do the same."""

    READS = True

    def __init__(self, table: tuple[Key, ...], actions: list[tuple[str, str]]) -> None:
        super().__init__("Keys and signs")
        self.table = table
        self.actions = actions

    def keys(self) -> list[tuple[str, str]]:
        return [("↑ ↓ page up/down", "read on"), *super().keys()]

    def body(self) -> list[Widget]:
        lines: list[Content] = []
        for group, keys in groupby(self.table, key=lambda key: key.group):
            lines.append(Content.styled(group, "bold"))
            for key in keys:
                # Two rooms may share a key: which is meant is said where the group does not.
                rooms = ", ".join(room.capitalize() for room in key.room.split())
                where = f"  in {rooms}" if rooms and rooms != group else ""
                sign_ = f"  {sign(key.key):<14}"
                lines.append(Content.assemble((sign_, "bold $primary"), (key.title, ""), (where, MUTED)))
        width = min(96, self.app.size.width * 96 // 100) - 8
        lines += [Content(""), *signs(width)]
        if self.actions:
            lines += [Content(""), Content.styled("The same from the command line", "bold")]
            lines += [
                Content.assemble((f"  dm-g1 {name.replace('.', ' '):<22}", "$primary"), (title, MUTED))
                for name, title in self.actions
            ]
        return [Static(Content("\n").join(lines))]


def signs(width: int) -> list[Content]:
    """What stands on the screen and what it means, group by group."""
    lines: list[Content] = []
    for group, rows in _legend():
        lines.append(Content.styled(group, "bold"))
        for mark, meaning in rows:
            first, *more = textwrap.wrap(meaning, max(20, width - _LEFT))
            pad = " " * max(1, _LEFT - 2 - mark.cell_length)
            lines.append(Content.assemble("  ", mark, pad, (first, MUTED)))
            lines += [Content.styled(" " * _LEFT + line, MUTED) for line in more]
    return lines


def _legend() -> Iterator[tuple[str, list[tuple[Content, str]]]]:
    yield "Runs", [*_rows(marks.RUNS, RUNS), (runs.STOPPING.content(), "asked to end: the ladder goes on by itself")]
    yield "Hosts", _rows(marks.HOSTS, HOSTS)
    yield "Saves to come, on a disk", _rows(marks.VERDICTS, VERDICTS)
    yield (
        "Checkpoints",
        [
            (checkpoints.COMPLETE.content(), "all of it is there; weights only: it serves, a training cannot resume"),
            (checkpoints.WRITING.content(), "the trainer is at it"),
            (checkpoints.PARTIAL.content(), "its writing broke off: of no use, c removes it"),
        ],
    )
    yield (
        "Datasets",
        [*_rows(marks.DATASETS, DATASETS), (marks.WRITING.content(), "it is not finished, and grows")],
    )
    yield (
        "Deployments",
        [
            *_rows(marks.SERVES, SERVES),
            (marks.DEPLOYING.content(), "a deploy is at work there, from here or from another console"),
            (marks.CUT_OFF.content(), "a deploy that nobody is at any more: c continues it, or takes it back"),
        ],
    )
    yield "How a deploy ended", _rows(marks.OUTCOMES, OUTCOMES)
    yield "What is done from here", _rows(marks.TASKS, WORK)
    yield "Alerts", _rows(marks.SEVERITIES, SEVERITIES)
    shades = [("GPU", "$gpu"), ("other", "$memory"), ("cache", MUTED), ("free", "$faint")]
    pool = Content(" ").join(
        [Content.styled(shade, style) for shade, (_, style) in zip(bars.SHADES, shades, strict=True)]
    )
    yield (
        "Figures",
        [
            (Content.assemble((bars.FULL * 3 + bars.HALF, "$gpu"), (bars.EMPTY * 3, "$track")), "how much is in use"),
            (
                Content.styled(bars.history([10, 30, 60, 90, 60, 40, 70, 100], 4), "$gpu"),
                "the last ten minutes, of a disk the last hour; the newest at the right",
            ),
            (pool, "one memory for CPU and GPU: held by GPU, by others, cache that gives way, free"),
            (
                Content.assemble((bars.FULL, "$raw"), " ", (bars.FULL, "$smooth")),
                "a curve as it was logged, and smoothed; a red line stands where NaN began",
            ),
            (Content.styled("–", MUTED), "the host does not say; never 0"),
            (
                Content.assemble((bars.EMPTY * 2, "$track"), (bars.FULL * 3, "$smooth"), (bars.EMPTY * 2, "$track")),
                "how far a joint moved, within its limits; red where it left them",
            ),
            (
                Content.styled("SIMULATED", "$warning"),
                "the lab's GPUs are stand-ins; its runs, files and links are real",
            ),
        ],
    )


def _rows(table: Mapping[K, Mark], meanings: Mapping[K, str]) -> list[tuple[Content, str]]:
    return [(mark.content(), meanings[key]) for key, mark in table.items()]
