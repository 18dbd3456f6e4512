"""The runs: newest first, each with its state, progress, loss, speed and the time it still takes or how it ended."""

from __future__ import annotations

import math

from textual.content import Content
from textual.message import Message

from dm_isaac_g1.console import bars, columns, marks, shown
from dm_isaac_g1.console.columns import Column
from dm_isaac_g1.console.marks import MUTED
from dm_isaac_g1.console.panes.pane import View, retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.core.units import UNKNOWN, speed
from dm_isaac_g1.fleet.runs import RunPicture, picture
from dm_isaac_g1.fleet.store import RunView

COLUMNS = (
    Column("state", 10, keep=100),
    Column("run", 20, keep=99),
    Column("began", 6, keep=25),
    Column("host", 12, keep=20),
    Column("progress", 17, keep=80),
    Column("step", 12, "right", keep=60),
    Column("loss", 8, "right", keep=70),
    Column("speed", 10, "right", keep=50),
    Column("saved", 5, "right", keep=30),
    Column("ends", 0, keep=90),
)

#: The same in 80 columns: the share without its bar leaves room for when it ends.
BRIEF = (
    Column("state", 10, keep=100),
    Column("run", 16, keep=99),
    Column("began", 6, keep=25),
    Column("host", 12, keep=20),
    Column("done", 5, "right", keep=80),
    Column("step", 12, "right", keep=60),
    Column("loss", 8, "right", keep=70),
    Column("speed", 10, "right", keep=50),
    Column("saved", 5, "right", keep=30),
    Column("ends", 0, keep=90),
)
#: A run that somebody asked to stop, until it has.
STOPPING = marks.Mark("◢", "stopping", "$warning")
#: Cells at which the bars come in.
FULL_WIDTH = 110


def cells(run: RunView, now: float, *, brief: bool = False) -> list[Content]:
    """A run's cells, in the order of COLUMNS and of BRIEF."""
    job = run.job
    at = picture(run, now)
    mark = marks.RUNS[job.state]
    state = STOPPING if job.stop and not job.state.ended else mark
    # A trainer prints NaN as 0.0.
    loss = math.nan if run.progress.nan_now else at.loss
    complete = sum(checkpoint.complete for checkpoint in run.checkpoints)
    return [
        state.content(),
        Content.styled(shown.name(job.spec.name, 40), "bold" if not job.state.ended else ""),
        Content.styled(shown.day(job.spec.created, now) if job.spec.created else UNKNOWN, MUTED),
        Content.styled(shown.name(job.host, 24), MUTED),
        _share(at) if brief else _progress(at, mark.style),
        Content(_steps(at)),
        Content.styled(shown.figure(loss), "bold $error" if loss is not None and not math.isfinite(loss) else ""),
        Content(speed(at.rate)),
        Content(str(complete) if complete else UNKNOWN),
        _ends(run, at, now),
    ]


def _progress(at: RunPicture, style: str) -> Content:
    full, rest = bars.bar(at.share, 11)
    return Content.assemble((full, style), (rest, "$track"), f" {_share(at).plain:>5}")


def _share(at: RunPicture) -> Content:
    return Content(UNKNOWN if at.share is None else f"{int(at.share * 100)} %")


def _steps(at: RunPicture) -> str:
    if at.step is None:
        return f"{UNKNOWN}/{at.max_steps}" if at.max_steps else UNKNOWN
    return f"{at.step}/{at.max_steps}" if at.max_steps else str(at.step)


def _ends(run: RunView, at: RunPicture, now: float) -> Content:
    """When it will be done, or how it ended."""
    job = run.job
    if job.stop is not None and not job.state.ended:
        return Content.styled(
            f"{shown.name(job.rung or job.stop.mode, 24)}, asked by {shown.name(job.stop.by, 24)}", "$warning"
        )
    if job.state is JobState.RUNNING:
        if at.eta is not None:
            return Content.assemble(f"in {shown.age(at.eta)}", (f", at {shown.clock(now + at.eta)}", MUTED))
        return Content.styled(shown.name(at.phase, 32), MUTED)
    if job.diagnosis is not None:
        return Content.styled(shown.line(job.diagnosis.cause), marks.RUNS[job.state].style)
    if job.state is JobState.FAILED and job.exit is not None:
        how = f"signal {job.exit.signal}" if job.exit.signal else f"exit {job.exit.code}"
        return Content.styled(how, "$error")
    if job.ended is not None:
        took = f", took {shown.age(job.ended - job.started)}" if job.started else ""
        return Content.styled(f"{shown.age(now - job.ended)} ago{took}", MUTED)
    return Content.styled("waits" if job.state is JobState.QUEUED else "", MUTED)


def ordered(view: View) -> list[RunView]:
    """The runs that the filter lets through, newest first."""
    runs = sorted(view.store.runs.values(), key=lambda run: run.job.spec.created, reverse=True)
    if not view.filter:
        return runs
    return [run for run in runs if view.filter in f"{run.id} {run.job.spec.name} {run.job.host}".lower()]


def _step(key: str, text: str) -> Content:
    return Content.assemble((f"  {key:<4}", "bold $primary"), text)


CONNECTING = [Content.styled("Connecting. Runs stand here as soon as their host has told them.", MUTED)]
#: What stands where runs will stand.
FIRST_STEPS = [
    Content.styled("No run yet.", "bold"),
    Content(""),
    _step("t", "start a fine-tune: pick a recipe, see that its saves fit, Enter"),
    _step(":", "find anything there is to do"),
    _step("?", "every key, and what the signs on the screen mean"),
    Content(""),
    Content.styled("A run outlives this console: close it, open it again, the run is here.", MUTED),
]


class Runs(Rows):
    """The table of runs; its cursor chooses what plot, checkpoints and log show."""

    class Seen(Message):
        """Rows of these runs are on the screen."""

        def __init__(self, runs: tuple[str, ...]) -> None:
            self.runs = runs
            super().__init__()

    def __init__(self, view: View) -> None:
        super().__init__(id="runs", selectable=True, head=True)
        self.view = view
        retitle(self, title("Runs"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return any(topic == "runs" or topic.startswith("run:") for topic in topics)

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        runs = ordered(self.view)
        going = sum(not run.job.state.ended for run in runs)
        retitle(self, title("Runs", f"{going} going, {len(runs)} in all" if runs else ""))
        if not runs:
            filtered = [Content.styled(f"No run matches {shown.line(self.view.filter, 40)}.", MUTED)]
            waits = any(host.status.state == "connecting" for host in self.view.store.hosts.values())
            self.show(filtered if self.view.filter else CONNECTING if waits else FIRST_STEPS)
            return
        brief = width < FULL_WIDTH
        table = BRIEF if brief else COLUMNS
        layout = columns.fit(table, width, least=22)
        now = self.view.clock()
        rows = [columns.titles(table, layout)]
        rows += [columns.row(table, layout, cells(run, now, brief=brief)) for run in runs]
        self.show(rows, [None, *(run.id for run in runs)])
        self.select(self.view.run)
        self._look()

    def _look(self) -> None:
        """Say which rows can be seen: of older runs nothing more is read than what their row shows."""
        top, height = int(self.scroll_offset.y), self.scrollable_content_region.height
        seen = tuple(key for key in self._keys[top : top + height] if key is not None)
        if seen:
            self.post_message(self.Seen(seen))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._look()
