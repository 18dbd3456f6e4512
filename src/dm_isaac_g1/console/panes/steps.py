"""A deploy that is being done from here, step by step: what is done, what it is at, what comes. Pure lines, then the
pane."""

from __future__ import annotations

import textwrap

from textual.content import Content

from dm_isaac_g1.console import bars, marks, shown
from dm_isaac_g1.console.marks import FAINT, MUTED
from dm_isaac_g1.console.panes.deployments import DeploymentView
from dm_isaac_g1.console.panes.pane import retitle, title
from dm_isaac_g1.console.panes.work import figures
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.console.tasks import Task
from dm_isaac_g1.core.deployments import STEPS, Step
from dm_isaac_g1.core.units import duration

#: What each step is about, before it is its turn.
ABOUT: dict[Step, str] = {
    "plan": "what it is, what is missing there",
    "preflight": "room, memory, port, embodiment; the lock",
    "copy": "only what the host does not have",
    "verify": "sha256 of every chunk, on the host",
    "candidate": "the new one starts beside the old one, which serves on",
    "gate": "a real get_action: names, shapes, finite values",
    "switch": "the old one ends, the new one loads on the port",
    "confirm": "it answers there; the old one stays for a rollback",
}
#: Actions that walk the steps, and those that do something else on a host that serves.
STEPPING = ("deploy.start", "deploy.rollback", "deploy.resume")
#: Cells of a step's name, of what it took, and of the bar.
_NAME, _TOOK, _BAR = 12, 8, 24
#: Seconds for which one that ended stays on the screen.
RECENT = 900.0

PENDING = marks.Mark("·", "", FAINT)


def about_deploys(tasks: list[Task]) -> list[Task]:
    """What was started here on hosts that serve, the newest first."""
    return [task for task in reversed(tasks) if task.action.startswith("deploy.")]


def about(task: Task) -> str:
    """What is put where: "g1-pick-n16/checkpoint-6000 to spark"."""
    what = str(task.values.get("checkpoint") or task.values.get("from_hub") or task.values.get("release") or "")
    parts = what.rstrip("/").split("/")
    short = "/".join(parts[-2:]) if len(parts) > 2 else what
    where = shown.name(task.host or "", 24)
    return f"{shown.name(short, 56)} to {where}" if short and where else shown.name(short, 56) or where


def latest(view: DeploymentView) -> Task | None:
    """What is shown: the newest that goes on, else the newest that ended lately; on the selected host if any is."""
    lately = view.clock() - RECENT
    found = [
        task
        for task in about_deploys(list(view.tasks()))
        if task.going or (task.id > view.seen_task and (task.ended is None or task.ended > lately))
    ]
    here = [task for task in found if task.host in (view.chosen, None)]
    return next((task for task in found if task.going), next(iter(here or found), None))


def step_lines(task: Task, now: float, width: int) -> list[Content]:
    """A line for each step: a sign, its name, what it is about or says, how long it took."""
    begun = {each.step: index for index, each in enumerate(task.steps)}
    at = task.steps[-1].step if task.steps else None
    # A rollback has no copy, a resume no plan: what was not begun and lies before is left out.
    walked = [step for step in STEPS if step in begun or at is None or STEPS.index(step) > STEPS.index(at)]
    rows: list[Content] = []
    for step in walked:
        index = begun.get(step)
        if index is None:
            rows.append(Content.assemble((f"· {step:<{_NAME}}", FAINT), (ABOUT[step] if task.going else "", FAINT)))
            continue
        each = task.steps[index]
        last = index == len(task.steps) - 1
        end = task.steps[index + 1].began if not last else task.ended
        took = duration(end - each.began) if end is not None else shown.age(now - each.began)
        if last and task.going:
            rows.append(_current(task, step, took, width))
            continue
        bad = last and task.state != "done"
        mark = marks.TASKS[task.state] if bad else marks.TASKS["done"]
        text = shown.line(each.text or ABOUT[step], 300)
        rows.append(_line(mark, step, Content.styled(text, MUTED), took, width))
    return rows


def _line(mark: marks.Mark, step: str, text: Content, took: str, width: int) -> Content:
    room = max(4, width - _NAME - _TOOK - 4)
    text = text.truncate(room, ellipsis=True)
    return Content.assemble(
        (f"{mark.glyph} ", f"bold {mark.style}"),
        (f"{step:<{_NAME}}", "" if mark is marks.TASKS["done"] else "bold"),
        text.pad_right(room - text.cell_length),
        (f"  {took:>{_TOOK}}", MUTED),
    )


def _current(task: Task, step: str, took: str, width: int) -> Content:
    """The step that it is at: a bar where it says how far it is, else what it says."""
    mark = marks.TASKS[task.state]
    told = task.progress
    if told is None or told.done is None or not told.total:
        text = Content(shown.line(told.text if told is not None else "", 300))
        return _line(mark, step, text, took, width)
    full, rest = bars.bar(task.share, min(_BAR, max(6, width - 62)))
    left = f", {shown.age(task.left)} left" if task.left is not None else ""
    text = Content.assemble((full, mark.style), (rest, "$track"), f"  {figures(task)}", (left, MUTED))
    return _line(mark, step, text, took, width)


def ending(task: Task, width: int) -> list[Content]:
    """How it ended, and what to do about it."""
    if task.going:
        return []
    mark = marks.TASKS[task.state]
    said = "ended because you asked; what served before serves on" if task.state == "cancelled" else task.said
    out = []
    for index, line in enumerate(textwrap.wrap(shown.line(said or mark.word, 1200), max(12, width - 2))):
        lead = f"{mark.glyph} " if index == 0 else "  "
        out.append(Content.assemble((lead, f"bold {mark.style}"), (line, "bold" if task.state == "done" else "$error")))
    for index, line in enumerate(textwrap.wrap(shown.line(task.fix, 600), max(12, width - 4))):
        out.append(Content.assemble(("  → " if index == 0 else "    ", "$primary"), line))
    return out


def task_lines(task: Task, now: float, width: int) -> list[Content]:
    """All that is told of a task: its steps where it walks them, then how it ended."""
    rows = step_lines(task, now, width) if task.action in STEPPING else []
    if not rows and task.going:
        text = shown.line(task.progress.text, 300) if task.progress is not None else "begins"
        rows = [
            _line(
                marks.TASKS[task.state],
                task.action.partition(".")[2],
                Content(text),
                shown.age(now - task.began),
                width,
            )
        ]
    return rows + ending(task, width)


class Steps(Rows):
    """What is being done from here on a host that serves; not there at all where nothing is."""

    def __init__(self, view: DeploymentView) -> None:
        super().__init__(id="steps")
        self.view = view
        retitle(self, title("Deploy"))

    def concerns(self, topics: frozenset[str]) -> bool:
        del topics
        return False

    def wish(self, width: int) -> int:
        task = latest(self.view)
        return len(task_lines(task, self.view.clock(), width)) if task is not None else 0

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        task = latest(self.view)
        if task is None:
            retitle(self, title("Deploy"))
            self.show([Content.styled("What is being done from here.", FAINT)])
            return
        mark = marks.TASKS[task.state]
        what = Content.assemble((about(task), MUTED), "  ", (mark.word, mark.style))
        key = ("x", "cancels it") if task.going else ("esc", "puts it away")
        if self.view.wide:
            what += Content.assemble((f"  {key[0]}", "bold $primary"), (f" {key[1]}", MUTED))
        retitle(self, title(task.action.partition(".")[2].replace("start", "deploy").capitalize(), what))
        self.show(task_lines(task, self.view.clock(), width))
