"""The selected dataset from near: what it holds, what is wrong with it, and how far its joints move. Pure lines, then
the panes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator

from textual.content import Content

from dm_isaac_g1.console import bars, marks, shown
from dm_isaac_g1.console.marks import FAINT, MUTED
from dm_isaac_g1.console.panes.datasets import DatasetView, mark_of
from dm_isaac_g1.console.panes.pane import retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.datasets import DatasetDetail, DatasetFinding, DatasetSummary, JointRange
from dm_isaac_g1.core.units import many, size

#: Cells of the words at the left.
_WORD = 10
#: A joint's limits may be passed by so much, in rad, before it counts: encoders and float32.
SLACK = 1e-3

NOTHING = [Content.styled("What the selected dataset holds.", FAINT)]


# --- What it holds ----------------------------------------------------------------------------------------------------


def facts(dataset: DatasetSummary, detail: DatasetDetail | None, now: float, width: int) -> list[Content]:
    """State, then a line or more for everything that is known."""
    lines = list(_state(dataset, detail, now, width))
    for word, values in _facts(dataset, detail, now):
        for index, value in enumerate(values):
            wrapped = textwrap.wrap(shown.line(value, 600), max(12, width - _WORD), break_on_hyphens=False) or [""]
            for number, text in enumerate(wrapped):
                lead = word if index == number == 0 else ""
                lines.append(Content.assemble((f"{lead:<{_WORD}}", MUTED), text))
    return lines


def _state(dataset: DatasetSummary, detail: DatasetDetail | None, now: float, width: int) -> Iterator[Content]:
    mark = mark_of(dataset, now)
    word = mark.content(strong=True)
    if dataset.validity == "partial":
        yield word + Content.styled(f"  {shown.line(dataset.making or 'not finished', 200)}", MUTED)
        if dataset.done is not None:
            yield _progress(dataset, width)
        if mark is not marks.WRITING:
            yield Content.styled(
                f"nothing was written for {shown.age(now - dataset.changed)}: the same command goes on", MUTED
            )
        return
    if dataset.validity == "unknown":
        since = " since it changed" if detail is not None and detail.validated else ""
        yield word + Content.assemble((f"{since}  ", MUTED), ("v", "bold $primary"), (" checks it", MUTED))
        return
    counts = [many(n, w) for n, w in ((dataset.errors, "error"), (dataset.warnings, "warning")) if n]
    if detail is not None and detail.validated:
        counts.append(f"{'every row' if detail.deep else 'structure'} checked {shown.age(now - detail.validated)} ago")
    yield word + Content.styled(f"  {', '.join(counts)}", MUTED)


def _progress(dataset: DatasetSummary, width: int) -> Content:
    of = dataset.of if dataset.of is not None else dataset.episodes
    done = dataset.done or 0
    if dataset.unit == "bytes":
        figure = f"{size(done)} of {size(of)}" if of else size(done)
    else:
        figure = f"{done} of {of} {shown.line(dataset.unit, 20)}" if of else f"{done} {shown.line(dataset.unit, 20)}"
    if not of:
        return Content(figure)
    full, rest = bars.bar(min(1.0, done / of), max(8, min(40, width - len(figure) - 2)))
    return Content.assemble((full, "$warning"), (rest, "$track"), f"  {figure}")


def _facts(dataset: DatasetSummary, detail: DatasetDetail | None, now: float) -> Iterator[tuple[str, list[str]]]:
    yield "path", [dataset.path]
    if dataset.version:
        robot = f", robot {dataset.robot}" if dataset.robot else ""
        family = dataset.family if dataset.family != "unknown" else "no known family"
        yield "format", [f"LeRobot v{dataset.version}, {family}{robot}"]
    if dataset.episodes is not None and dataset.frames is not None and dataset.fps:
        length = f"{shown.age(dataset.seconds)} at {dataset.fps:g} fps"
        yield "holds", [f"{many(dataset.episodes, 'episode')}, {dataset.frames:,} frames, {length}"]
    age = f", changed {shown.age(now - dataset.changed)} ago" if dataset.changed else ""
    yield "size", [f"{size(dataset.bytes)} in {dataset.files:,} files{age}"]
    if dataset.source:
        yield "from", [dataset.source]
    if dataset.version and dataset.validity != "partial":
        yield "reads", [_readers(dataset)]
    if detail is None:
        if dataset.cameras:
            yield "cameras", [key.removeprefix("observation.images.") for key in dataset.cameras]
        return
    if detail.cameras:
        yield "cameras", list(detail.cameras)
    if detail.tasks:
        total = detail.total_tasks or len(detail.tasks)
        more = [f"and {total - len(detail.tasks)} more"] if total > len(detail.tasks) else []
        yield "tasks" if total > 1 else "task", [*detail.tasks, *more]
    elif detail.total_tasks:
        yield "tasks", [f"{detail.total_tasks}, in meta/tasks.parquet"]
    if detail.conversion:
        yield "made by", list(detail.conversion)
    if detail.columns:
        yield "columns", [f"{name}  {width}" for name, width in detail.columns]


def _readers(dataset: DatasetSummary) -> str:
    """What GR00T wants beside a dataset, and whether it is there."""
    modality = "modality.json ✓" if dataset.modality else "no modality.json"
    stats = "stats.json ✓" if dataset.stats else "no stats.json of this data"
    return f"{modality}, {stats}"


class Facts(Rows):
    """What the selected dataset holds."""

    def __init__(self, view: DatasetView) -> None:
        super().__init__(id="facts")
        self.view = view
        retitle(self, title("Dataset"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return bool(topics & {"datasets", "dataset"})

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        dataset = self.view.dataset
        if dataset is None:
            retitle(self, title("Dataset"))
            self.show(NOTHING)
            return
        host = self.view.host_of(dataset)
        since = Content("")
        if host is not None and away(self.view):
            mark = marks.HOSTS[host.status.state]
            since = Content.styled(f"  {mark.word} since {shown.clock(host.status.since)}", mark.style)
        where = Content.styled(shown.name(dataset.host, 16), MUTED) + since
        retitle(self, title(shown.name(dataset.name, max(12, width - 20)), where))
        lines = facts(dataset, self.view.detail, self.view.clock(), width)
        if away(self.view):
            lines = [Content.styled(line.plain.removesuffix("  v checks it"), FAINT) for line in lines]
        if self.view.wide:
            lines.insert(1, Content(""))
        self.show(lines)


def away(view: DatasetView) -> bool:
    """Whether what is known of the selected dataset is old."""
    host = view.host_of(view.dataset) if view.dataset is not None else None
    return host is not None and host.status.state in ("away", "refused", "off")


# --- What is wrong with it --------------------------------------------------------------------------------------------

_SEVERITIES = {
    "error": marks.SEVERITIES["critical"],
    "warning": marks.SEVERITIES["warning"],
    "note": marks.SEVERITIES["info"],
}


def problems(dataset: DatasetSummary, detail: DatasetDetail | None) -> list[DatasetFinding]:
    """What is known to be wrong, errors first; of what could not even be read, why."""
    found = list(detail.findings) if detail is not None else []
    if dataset.validity == "unknown":
        found = []  # said of what was there before it changed
    if dataset.problem and not any(each.severity == "error" for each in found):
        found.append(DatasetFinding(severity="error", what=dataset.problem))
    known = " ".join(each.what for each in found)
    found += [
        DatasetFinding(severity="note", what=each) for each in (detail.problems if detail else ()) if each not in known
    ]
    return sorted(found, key=lambda each: ("error", "warning", "note").index(each.severity))


def problem_lines(found: Iterable[DatasetFinding], width: int) -> list[Content]:
    """Each problem: what and where, and what repairs it."""
    lines: list[Content] = []
    for each in found:
        mark = _SEVERITIES[each.severity]
        where = f"  {each.place}" if each.place and each.place not in each.what else ""
        text = shown.line(each.what + where, 600)
        first, *rest = textwrap.wrap(text, max(12, width - 2), break_on_hyphens=False) or [""]
        lines.append(Content.assemble((f"{mark.glyph} ", f"bold {mark.style}"), first))
        lines += [Content(f"  {line}") for line in rest]
        for index, line in enumerate(
            textwrap.wrap(shown.line(each.fix, 400), max(12, width - 4), break_on_hyphens=False)
        ):
            lines.append(Content.assemble(("  → " if index == 0 else "    ", "$primary"), (line, MUTED)))
    return lines


class Problems(Rows):
    """What is wrong with the selected dataset; not there at all where nothing is known to be."""

    def __init__(self, view: DatasetView) -> None:
        super().__init__(id="problems")
        self.view = view
        retitle(self, title("Problems"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return bool(topics & {"datasets", "dataset"})

    def found(self) -> list[DatasetFinding]:
        dataset = self.view.dataset
        return problems(dataset, self.view.detail) if dataset is not None else []

    def wish(self, width: int) -> int:
        return len(problem_lines(self.found(), width))

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        found = self.found()
        repairs = "  r repairs what can be" if any("repair" in each.fix for each in found) else ""
        retitle(self, title("Problems", f"{len(found)}{repairs}" if found else ""))
        self.show(problem_lines(found, width) or [Content.styled("None is known.", MUTED)])


# --- How far its joints move ------------------------------------------------------------------------------------------

#: Cells of a name, of a figure, and the least of a bar.
_NAME, _FIGURE, _BAR = 26, 7, 8


class _Pair:
    """A value's range in the state and in the action."""

    __slots__ = ("action", "column", "name", "state")

    def __init__(self, name: str, column: str) -> None:
        self.name, self.column = name, column
        self.state: JointRange | None = None
        self.action: JointRange | None = None


def paired(ranges: Iterable[JointRange]) -> list[_Pair]:
    """State and action of the same name side by side, in the order of the columns."""
    pairs: dict[str, _Pair] = {}
    for each in ranges:
        acts = each.column.startswith("action")
        pair = pairs.setdefault(each.name, _Pair(each.name, each.column))
        if acts and pair.action is None:
            pair.action = each
        elif not acts and pair.state is None:
            pair.state = each
    return list(pairs.values())


def range_bar(each: JointRange, width: int) -> Content:
    """Where in its joint's limits a value was; red where it left them. A constant value is a dot."""
    limits = each.limits
    beyond = limits is not None and (each.low < limits[0] - SLACK or each.high > limits[1] + SLACK)
    style = "bold $error" if beyond else "$smooth"
    if limits is None:
        return Content.styled(" " * width, "")
    span = limits[1] - limits[0]
    if not all(map(math.isfinite, (each.low, each.high))) or span <= 0:
        return Content.styled("?" * width, "$error")
    first, last = (min(width - 1, max(0, int((v - limits[0]) / span * width))) for v in (each.low, each.high))
    body = bars.FULL * (last - first + 1) if last > first else "●"
    return Content.assemble((bars.EMPTY * first, "$track"), (body, style), (bars.EMPTY * (width - last - 1), "$track"))


def _side(each: JointRange | None, bar: int) -> Content:
    if each is None:
        return Content(" " * (2 * _FIGURE + bar + 2))
    low, high = f"{shown.figure(round(each.low, 3)):>{_FIGURE}}", f"{shown.figure(round(each.high, 3)):<{_FIGURE}}"
    return Content.assemble((low[:_FIGURE], MUTED), " ", range_bar(each, bar), " ", (high[:_FIGURE], MUTED))


def joint_lines(ranges: Iterable[JointRange], width: int) -> list[Content]:
    """A line a value: its name, its range in the state, and in the action where there is room."""
    pairs = paired(ranges)
    if not pairs:
        return []
    both = width >= _NAME + 2 * (2 * _FIGURE + _BAR + 3)
    name = min(_NAME, max(len(pair.name) for pair in pairs)) if width < 100 else _NAME
    sides = 2 if both else 1
    bar = max(_BAR, (width - name - sides * (2 * _FIGURE + 4)) // sides)
    words = ("state", "action")[:sides]
    lines = [Content.assemble((" " * name, ""), *((f"  {word:^{2 * _FIGURE + bar + 2}}", FAINT) for word in words))]
    for pair in pairs:
        shown_sides = (pair.state, pair.action) if both else (pair.state or pair.action,)
        parts = [Content(f"{shown.name(pair.name, name):<{name}}")]
        for each in shown_sides:
            parts += [Content("  "), _side(each, bar)]
        lines.append(Content("").join(parts).rstrip())
    return lines


class Joints(Rows):
    """How far the selected dataset's joints move, within what they can."""

    def __init__(self, view: DatasetView) -> None:
        super().__init__(id="joints", head=True)
        self.view = view
        retitle(self, title("Joints"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return bool(topics & {"datasets", "dataset"})

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        detail, dataset = self.view.detail, self.view.dataset
        lines = joint_lines(detail.ranges, width) if detail is not None else []
        if lines and detail is not None:
            beyond = sum(
                each.limits is not None and (each.low < each.limits[0] - SLACK or each.high > each.limits[1] + SLACK)
                for each in detail.ranges
            )
            said = Content.styled("range seen, in the joint's own limits", MUTED)
            if beyond:
                said += Content.styled(f"  ✗ {beyond} beyond", "bold $error")
            retitle(self, title("Joints", said))
            self.show([Content.styled(line.plain, FAINT) for line in lines] if away(self.view) else lines)
            return
        retitle(self, title("Joints"))
        if dataset is None:
            self.show([Content.styled("How far its joints move.", FAINT)])
        elif dataset.validity == "partial":
            self.show([Content.styled("Told when it is finished.", FAINT)])
        elif detail is None:
            self.show([Content.styled("not seen yet" if away(self.view) else "reading…", FAINT)])
        else:
            keys = Content.assemble(
                ("No statistics of this data.  ", MUTED), ("s", "bold $primary"), (" computes them", MUTED)
            )
            self.show([keys])
