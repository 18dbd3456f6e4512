"""What is being done from here: a line for each action that runs or ran, how far it is, how long it still takes."""

from __future__ import annotations

import posixpath
import textwrap

from textual.content import Content

from dm_isaac_g1.console import bars, columns, marks, shown
from dm_isaac_g1.console.columns import Column
from dm_isaac_g1.console.marks import MUTED
from dm_isaac_g1.console.panes.datasets import DatasetView
from dm_isaac_g1.console.panes.pane import retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.console.tasks import Task
from dm_isaac_g1.core.units import many, rate, size

COLUMNS = (
    Column("", 12, keep=100),
    Column("", 34, keep=70),
    Column("", 12, keep=40),
    Column("", 17, keep=90),
    Column("", 13, "right", keep=60),
    Column("", 0, keep=80),
)
#: In 80 columns: what is said of it comes before where it runs.
BRIEF = (
    Column("", 12, keep=100),
    Column("", 16, keep=70),
    Column("", 12, keep=10),
    Column("", 5, keep=90),
    Column("", 10, "right", keep=60),
    Column("", 0, keep=80),
)
#: Cells at which the bars come in, and of a bar.
FULL_WIDTH, BAR = 110, 11
#: Seconds for which an ended one stays in the list where the room is small.
RECENT = 600.0


def verb(task: Task) -> str:
    """ "data.validate" -> "validate"."""
    return task.action.rpartition(".")[2]


def about(task: Task) -> str:
    """The datasets that it is about, by their last names."""
    names = [posixpath.basename(path.rstrip("/")) or path for path in task.paths]
    if not names:
        return shown.line(task.title, 60)
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    output = task.values.get("output")
    to = f" → {posixpath.basename(output.rstrip('/'))}" if isinstance(output, str) and output else ""
    return shown.line(f"{names[0]}{more}{to}", 120)


def cells(task: Task, now: float, *, brief: bool = False) -> list[Content]:
    """A task's cells, in the order of COLUMNS and of BRIEF."""
    mark = marks.TASKS[task.state]
    share = task.share
    percent = Content("" if share is None else f"{int(share * 100)} %")
    bar: Content = percent
    if not brief:
        full, rest = bars.bar(share, BAR) if task.going else ("", "")
        bar = (
            Content.assemble((full, mark.style), (rest, "$track"), f" {percent.plain:>5}")
            if task.going
            else Content("")
        )
    return [
        Content.styled(
            f"{mark.glyph} {shown.line(verb(task), 20)}", f"bold {mark.style}" if task.going else mark.style
        ),
        Content.styled(about(task), "bold" if task.going else ""),
        Content.styled(shown.name(task.host or "here", 24), MUTED),
        bar if task.going else Content.styled("" if brief else mark.word, mark.style),
        _left(task, now),
        _said(task),
    ]


def _left(task: Task, now: float) -> Content:
    if not task.going:
        return Content.styled(f"at {shown.clock(task.ended)}" if task.ended else "", MUTED)
    if task.state == "cancelling":
        return Content.styled("ending", "$warning")
    return Content(f"{shown.age(task.left)} left" if task.left is not None else shown.age(now - task.began))


def _said(task: Task) -> Content:
    if not task.going:
        fix = f"; {task.fix}" if task.fix else ""
        kept = "ended because you asked; what it had finished is kept"
        said = kept if task.state == "cancelled" else f"{_plain(task, task.said)}{fix}"
        return Content.styled(shown.line(said, 400), "$error" if task.state == "failed" else MUTED)
    told = task.progress
    if told is None:
        return Content.styled("begins", MUTED)
    text = _plain(task, shown.line(told.text, 300))
    return Content.assemble((figures(task), ""), (f"  {text}" if figures(task) else text, MUTED))


def _plain(task: Task, text: str) -> str:
    """What it said, without where: that stands beside it."""
    return text.removeprefix(f"{task.host}: ") if task.host else text


def figures(task: Task) -> str:
    """ "12.4 of 21.4 GB, 98.1 MB/s" or "124 of 200 episodes, 11.8/s"."""
    told = task.progress
    if told is None or told.done is None:
        return ""
    if told.unit == "bytes":
        of = f" of {size(told.total)}" if told.total is not None else ""
        speed = f", {rate(task.rate)}" if task.rate is not None else ""
        return f"{size(told.done)}{of}{speed}"
    of = f" of {told.total:g}" if told.total is not None else ""
    speed = f", {task.rate:.3g}/s" if task.rate is not None else ""
    return f"{told.done:g}{of} {shown.line(told.unit, 20)}{speed}".strip()


def in_full(task: Task, width: int) -> list[Content]:
    """All that it said, on as many lines as that takes."""
    lines: list[Content] = []
    for text, style, lead in ((_plain(task, task.said), "", ""), (task.fix, "$primary", "→ ")):
        for index, line in enumerate(_wrap(text, width - 6 - len(lead))):
            lines.append(Content.assemble("    ", (lead if index == 0 else " " * len(lead), "$primary"), (line, style)))
    return lines


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(shown.line(text, 4000), max(8, width), break_on_hyphens=False)


class Work(Rows):
    """The list, newest first; its cursor chooses what `cancel` cancels."""

    def __init__(self, view: DatasetView) -> None:
        super().__init__(id="work", selectable=True)
        self.view = view
        retitle(self, title("Work"))

    def concerns(self, topics: frozenset[str]) -> bool:
        del topics
        return False

    def listed(self) -> list[Task]:
        """What runs, the newest first, then what ended, the last first."""
        return sorted(self.view.tasks(), key=lambda task: (task.going, task.ended or 0.0, task.id), reverse=True)

    def wish(self) -> int:
        """Lines inside its frame: all that runs, and some of what ended lately."""
        tasks = self.listed()
        going = sum(task.going for task in tasks)
        lately = sum(not task.going and self.view.clock() - (task.ended or 0.0) < RECENT for task in tasks)
        more = sum(len(self._more(task, self.size.width - 4)) for task in tasks[: going + 2])
        return going + min(2 if self.view.wide else 1, lately) + (more if lately else 0)

    def _more(self, task: Task, width: int) -> list[Content]:
        """What stands below a task's line: all of what it said, where the pane has the screen, or where it failed and
        there is room."""
        if self.view.zoomed == self.id:
            return in_full(task, width)
        ended = [each for each in self.listed() if not each.going]
        failed = task.state == "failed" and task is ended[0] and self.view.wide
        return in_full(task, width)[:3] if failed else []

    def chosen(self) -> Task | None:
        """The task under the cursor, else the newest that runs."""
        tasks = self.listed()
        under = next((task for task in tasks if str(task.id) == self.selected), None)
        going = [task for task in tasks if task.going]
        return under if under is not None and under.going else going[0] if going else under

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        tasks = self.listed()
        going = sum(task.going for task in tasks)
        retitle(self, title("Work", f"{going} going" if going else many(len(tasks), "action") if tasks else ""))
        if not tasks:
            self.show([Content.styled("What you start here shows how far it is; x cancels it.", MUTED)])
            return
        brief = width < FULL_WIDTH
        table = BRIEF if brief else COLUMNS
        layout = columns.fit(table, width, least=24)
        rows: list[Content] = []
        keys: list[str | None] = []
        for task in tasks:
            rows.append(columns.row(table, layout, cells(task, self.view.clock(), brief=brief)))
            keys.append(str(task.id))
            more = self._more(task, width)
            rows += more
            keys += [None] * len(more)
        self.show(rows, keys)
