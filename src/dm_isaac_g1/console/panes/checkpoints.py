"""The selected run's checkpoints, and the guard's word on the saves to come on the disk they go to."""

from __future__ import annotations

import textwrap

from textual import on
from textual.content import Content

from dm_isaac_g1.console import columns, marks, shown
from dm_isaac_g1.console.columns import Column
from dm_isaac_g1.console.marks import FAINT, MUTED, Mark
from dm_isaac_g1.console.panes.pane import View, retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.forecasts import Forecast, Remedy, SaveForecast, Verdict
from dm_isaac_g1.core.runs import Checkpoint, Diagnosis
from dm_isaac_g1.core.units import size
from dm_isaac_g1.fleet.store import RunView

SAVED = (
    Column("step", 8, "right", keep=100),
    Column("size", 9, "right", keep=90),
    Column("age", 10, "right", keep=50),
    Column("state", 0, keep=95),
)
COMING = (
    Column("step", 8, "right", keep=100),
    Column("left after", 10, "right", keep=60),
    Column("in", 10, "right", keep=70),
    Column("fits?", 0, keep=95),
)


COMPLETE = Mark("✓", "complete", "$success")
WRITING = Mark("◢", "being written", "$warning")
PARTIAL = Mark("✗", "partial", "$error")


def saved(checkpoint: Checkpoint, now: float, *, ended: bool = False) -> list[Content]:
    """A checkpoint's cells, in the order of SAVED. `ended`: nobody writes any more, whatever the times of files say."""
    if checkpoint.writing and not ended:
        state = WRITING.content()
    elif not checkpoint.complete:
        state = PARTIAL.content()
    else:
        state = COMPLETE.content()
        if not checkpoint.full:
            state += Content.styled(", weights only", MUTED)
    if checkpoint.best:
        state += Content.styled(", best", "$primary")
    return [
        Content(str(checkpoint.step)),
        Content(size(checkpoint.size)),
        Content.styled(shown.age(now - checkpoint.mtime), MUTED),
        state,
    ]


def coming(save: SaveForecast) -> list[Content]:
    """A save to come: its cells, in the order of COMING."""
    mark = marks.VERDICTS[save.verdict]
    left = "none" if save.verdict is Verdict.FAIL else size(save.free_after)
    final = Content.styled(", final model", MUTED) if save.kind == "final" else Content("")
    return [Content(str(save.step)), Content(left), Content(shown.age(save.eta)), mark.content(strong=True) + final]


def guard(forecast: Forecast, run: RunView, width: int, room: int) -> list[Content]:
    """The guard's word on the disk that `run` saves to, in at most `room` lines."""
    mark = marks.VERDICTS[forecast.verdict]
    free = Content.styled(f"{size(forecast.avail)} free", MUTED)
    mount = Content.styled(f"  {shown.name(forecast.mount, 40)}", MUTED)
    head = Content.assemble(("Next saves", "bold"), "  ", mark.content(strong=True), "  ")
    lines = [Content(""), head + free + mount]
    if forecast.failing is not None:
        what = "final model" if forecast.failing.kind == "final" else f"save at step {forecast.failing.step}"
        when = f" in {shown.age(forecast.failing.eta)}" if forecast.failing.eta is not None else ""
        lines.append(Content.styled(f"the {what}{when} misses {size(forecast.missing)}", "bold $error"))
    elif forecast.reason:
        lines.append(Content.styled(shown.line(forecast.reason), MUTED))
    layout = columns.fit(COMING, width)
    saves = [save for save in forecast.saves if save.run == run.id]
    remedies = [_remedy(each, run) for each in forecast.remedies]
    if remedies and forecast.verdict in (Verdict.FAIL, Verdict.TIGHT):
        remedies.insert(0, Content.assemble(("c", "bold $primary"), (" frees space:", MUTED)))
    else:
        remedies = []
    spare = max(1, room - len(lines) - 1 - min(len(remedies), 4))
    chosen = saves if len(saves) <= spare else _telling(saves, spare)
    if chosen:
        lines += [columns.titles(COMING, layout), *(columns.row(COMING, layout, coming(save)) for save in chosen)]
    elif forecast.full_in is not None:
        lines.append(Content.styled(f"other writers fill it in {shown.age(forecast.full_in)}", "$warning"))
    return lines + remedies[:4]


def cause(diagnosis: Diagnosis, width: int) -> list[Content]:
    """Why a run failed: the cause, the line of its log that shows it, and what to do."""
    parts = [
        (diagnosis.cause, "bold $error"),
        (diagnosis.evidence, MUTED),
        (f"→ {diagnosis.fix}" * bool(diagnosis.fix), ""),
    ]
    lines = [Content(""), Content.styled("Why it failed", "bold")]
    for text, style in parts:
        wrapped = textwrap.wrap(shown.line(text, 600), max(8, width), max_lines=3, placeholder="…")
        lines += [Content.styled(line, style) for line in wrapped]
    return lines


def _remedy(remedy: Remedy, run: RunView) -> Content:
    what = shown.line(remedy.title.removeprefix(f"{run.id}: "))
    return Content(f"  frees {size(remedy.bytes):>9}  {what}") + _risk(remedy.risk)


def _telling(saves: list[SaveForecast], count: int) -> list[SaveForecast]:
    """The next saves, and always the first that doesn't fit."""
    first = next((save for save in saves if save.verdict is Verdict.FAIL), saves[-1])
    head = saves[: max(0, count - 1)]
    return head if first in head else [*head, first]


def _risk(risk: str) -> Content:
    return Content("") if risk == "none" else Content.styled(f"  {risk} risk", "$warning" if risk == "high" else MUTED)


class Checkpoints(Rows):
    """Checkpoints of the selected run, newest first, and what the disk holds for the next ones.

    Its cursor is there while it has the focus; without one, the newest complete checkpoint is meant.
    """

    def __init__(self, view: View, *, deploys: bool = False) -> None:
        """`deploys`: there is a host that serves, so that one can be put into service."""
        super().__init__(id="checkpoints", selectable=True)
        self.view = view
        self.deploys = deploys
        self._meant: str | None = None
        retitle(self, title("Checkpoints"))

    def chosen(self) -> Checkpoint | None:
        """The checkpoint that is meant: the one under the cursor, else the newest complete one."""
        run = self.view.selected
        kept = sorted(run.checkpoints, key=lambda each: (each.step, each.mtime), reverse=True) if run else []
        whole = [each for each in kept if each.complete and not each.writing]
        meant = self.selected or self._meant
        return next((each for each in whole if each.path == meant), whole[0] if whole else None)

    def on_focus(self) -> None:
        chosen = self.chosen()
        self.select(chosen.path if chosen is not None else None)

    @on(Rows.Selected)
    def _selected(self, message: Rows.Selected) -> None:
        message.stop()
        self.sync()

    def on_blur(self) -> None:
        self._meant = self.selected
        self.select(None)

    def concerns(self, topics: frozenset[str]) -> bool:
        return any(topic.startswith(("disk:", "checkpoints:")) or topic == f"run:{self.view.run}" for topic in topics)

    def sync(self) -> None:
        width, height = self.scrollable_content_region.size
        if not width:
            return
        run = self.view.selected
        if run is None:
            retitle(self, title("Checkpoints"))
            self.show([Content.styled("What the selected run saved, and whether its next saves fit.", FAINT)])
            return
        kept = sorted(run.checkpoints, key=lambda each: (each.step, each.mtime), reverse=True)
        held = sum(each.size for each in kept)
        detail = Content.styled(f"{len(kept)} hold {size(held)}" if kept else "none yet", MUTED)
        chosen = self.chosen() if self.deploys else None
        if chosen is not None:
            detail += Content.assemble(("  d", "bold $primary"), (f" deploys {chosen.step}", MUTED))
        retitle(self, title("Checkpoints", detail))
        forecast = self._forecast(run)
        below = guard(forecast, run, width, max(6, height - min(len(kept), 5) - 1)) if forecast else []
        if run.job.diagnosis is not None:
            below = cause(run.job.diagnosis, width)
        layout = columns.fit(SAVED, width)
        rows: list[Content] = []
        keys: list[str | None] = []
        if kept:
            rows = [columns.titles(SAVED, layout)]
            rows += [
                columns.row(SAVED, layout, saved(each, self.view.clock(), ended=run.job.state.ended)) for each in kept
            ]
            keys = [None, *(each.path for each in kept)]
            spare = max(2, height - len(below))
            if len(rows) > spare:
                # The title counts them: where none of them fits in, what stands below is more urgent.
                older = Content.styled(f"{'':>8}  and {len(rows) - spare + 1} older", FAINT)
                rows = [*rows[: spare - 1], older] if spare > 2 else []
                keys = [*keys[: spare - 1], None] if spare > 2 else []
        elif run.job.spec.save is not None and not run.job.state.ended:
            rows = [Content.styled(f"The first is saved at step {run.job.spec.save.save_steps}.", MUTED)]
        else:
            rows = [Content.styled("None was saved.", MUTED)]
        shown_rows = rows + below
        self.show(shown_rows, [*keys, *[None] * (len(shown_rows) - len(keys))])

    def _forecast(self, run: RunView) -> Forecast | None:
        """The forecast of the file system that this run saves to: the one that knows its saves."""
        host = self.view.store.hosts.get(run.job.host)
        if host is None or run.job.state.ended:
            return None
        mine = [each for each in host.forecasts if any(save.run == run.id for save in each.saves)]
        return mine[0] if mine else None
