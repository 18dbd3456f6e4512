"""The datasets of every host: what each is, how much, and whether it can be trusted. Pure cells, then the pane."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textual.content import Content

from dm_isaac_g1.console import bars, columns, marks, shown
from dm_isaac_g1.console.columns import Column
from dm_isaac_g1.console.marks import FAINT, MUTED, Mark
from dm_isaac_g1.console.panes.pane import View, retitle, title
from dm_isaac_g1.console.rows import Late, Rows
from dm_isaac_g1.core.datasets import DatasetDetail, DatasetSummary
from dm_isaac_g1.core.units import UNKNOWN, many, size
from dm_isaac_g1.fleet.store import HostView

if TYPE_CHECKING:
    from dm_isaac_g1.console.tasks import Task

#: Seconds within which a partial dataset must have grown to count as being written.
GROWING = 30.0

COLUMNS = (
    Column("state", 11, keep=100),
    Column("dataset", 0, keep=99),
    Column("family", 11, keep=80),
    Column("format", 6, keep=78),
    Column("episodes", 8, "right", keep=70),
    Column("frames", 9, "right", keep=55),
    Column("length", 9, "right", keep=60),
    Column("fps", 3, "right", keep=20),
    Column("cams", 4, "right", keep=40),
    Column("size", 9, "right", keep=90),
    Column("", 10, keep=5),
    Column("stats", 5, keep=45),
    Column("gr00t", 5, keep=44),
    Column("changed", 9, "right", keep=30),
)

#: What `sort` walks: its name, what is compared, and whether the largest comes first.
SORTS: tuple[tuple[str, Callable[[DatasetSummary], Any], bool], ...] = (
    ("name", lambda each: each.name.lower(), False),
    ("size", lambda each: each.bytes, True),
    ("length", lambda each: each.seconds or 0.0, True),
    ("changed", lambda each: each.changed, True),
    ("state", lambda each: ("invalid", "partial", "unknown", "valid").index(each.validity), False),
    ("family", lambda each: each.family, False),
)


@dataclass(slots=True)
class DatasetView(View):
    """What the panes of the Datasets room look at."""

    #: The selected dataset, by host and path.
    chosen: tuple[str, str] | None = None
    marked: set[tuple[str, str]] = field(default_factory=set)
    #: An index into SORTS, and whether the other way round.
    sort: int = 0
    reverse: bool = False
    #: What is being done and what was.
    tasks: Callable[[], Sequence[Task]] = lambda: ()

    @property
    def dataset(self) -> DatasetSummary | None:
        """The selected one, if it is still there."""
        if self.chosen is None:
            return None
        host = self.store.hosts.get(self.chosen[0])
        found = host.datasets if host is not None else None
        return next((each for each in found or () if each.path == self.chosen[1]), None)

    @property
    def detail(self) -> DatasetDetail | None:
        return self.store.details.get(self.chosen) if self.chosen is not None else None

    def host_of(self, dataset: DatasetSummary) -> HostView | None:
        return self.store.hosts.get(dataset.host)


def key_of(dataset: DatasetSummary) -> str:
    """A row's key."""
    return f"{dataset.host}\0{dataset.path}"


def ordered(view: DatasetView) -> list[tuple[HostView, list[DatasetSummary]]]:
    """Each host that the filter leaves anything of, and its datasets in the order that was chosen."""
    _, by, largest = SORTS[view.sort]
    found = []
    for host in view.store.hosts.values():
        kept = sorted(
            (each for each in host.datasets or () if _passes(each, view.filter)), key=lambda e: e.name.lower()
        )
        kept.sort(key=by, reverse=largest != view.reverse)
        if kept or not view.filter:
            found.append((host, kept))
    return found


def _passes(dataset: DatasetSummary, wanted: str) -> bool:
    if not wanted:
        return True
    words = (dataset.name, dataset.host, dataset.family, f"v{dataset.version}", marks.DATASETS[dataset.validity].word)
    return wanted in " ".join(words).lower()


def mark_of(dataset: DatasetSummary, now: float) -> Mark:
    """Valid, invalid, unchecked, partial, or being written."""
    if dataset.validity == "partial" and now - dataset.changed < GROWING:
        return marks.WRITING
    return marks.DATASETS[dataset.validity]


def doing(dataset: DatasetSummary, tasks: Iterable[Task]) -> Task | None:
    """What is being done with a dataset."""
    return next(
        (task for task in tasks if task.going and task.host == dataset.host and dataset.path in task.paths), None
    )


def cells(dataset: DatasetSummary, view: DatasetView, largest: int) -> list[Content]:
    """A dataset's cells, in the order of COLUMNS. `largest`: bytes of the largest one, whose bar is full."""
    now = view.clock()
    mark = mark_of(dataset, now)
    task = doing(dataset, view.tasks())
    state = mark.content(strong=dataset.validity == "invalid")
    if task is not None:
        share = f"{int(task.share * 100)} %" if task.share is not None else "working"
        state = Content.styled(f"{marks.TASKS['running'].glyph} {share}", f"bold {marks.TASKS['running'].style}")
    name = Content.styled(shown.name(dataset.name, 64), "" if dataset.validity == "partial" else "bold")
    if (dataset.host, dataset.path) in view.marked:
        name = Content.styled("◆ ", "$primary") + name
    unknown = dataset.family == "unknown"
    full, rest = bars.bar(dataset.bytes / max(1, largest), 10)
    return [
        state,
        name,
        Content.styled(UNKNOWN if unknown else shown.line(dataset.family, 24), MUTED if unknown else ""),
        Content.styled(f"v{shown.line(dataset.version, 6)}" if dataset.version else UNKNOWN, MUTED),
        _episodes(dataset),
        Content(_count(dataset.frames)),
        Content(shown.age(dataset.seconds)),
        Content.styled(f"{dataset.fps:g}" if dataset.fps else UNKNOWN, MUTED),
        Content.styled(str(len(dataset.cameras)) if dataset.version else UNKNOWN, MUTED),
        Content(size(dataset.bytes)),
        Content.assemble((full, "$disk"), (rest, "$track")),
        _tick(dataset.stats),
        _tick(dataset.modality),
        Content.styled(shown.age(now - dataset.changed) if dataset.changed else UNKNOWN, MUTED),
    ]


def _episodes(dataset: DatasetSummary) -> Content:
    if dataset.validity != "partial":
        return Content(_count(dataset.episodes))
    of = dataset.of if dataset.of is not None else dataset.episodes
    if dataset.done is None:
        return Content(UNKNOWN)
    if dataset.unit == "bytes":
        share = f"{int(100 * min(1.0, dataset.done / of))} %" if of else UNKNOWN
        return Content.styled(share, "$warning")
    return Content.styled(f"{dataset.done}/{of}" if of is not None else str(dataset.done), "$warning")


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _tick(there: bool) -> Content:
    return Content.styled("✓", "$success") if there else Content.styled(UNKNOWN, FAINT)


def head(host: HostView, count: int, width: int, now: float) -> Content:
    """A host's line above its datasets: how many hold how much, what is free, since when it is away."""
    mark = marks.HOSTS[host.status.state]
    left = Content.assemble((mark.glyph, mark.style), " ", (shown.name(host.name, 24), "bold"))
    found = host.datasets
    if found:
        held = sum(each.bytes for each in found)
        some = f"{count} of " if count != len(found) else ""
        left += Content.styled(f"  {some}{many(len(found), 'dataset')}, {size(held)}", MUTED)
    words = {
        "away": f"away since {shown.clock(host.status.since)}",
        "refused": "refused: Overview says why",
        "connecting": "connecting",
        "off": "off",
    }
    right = Content.styled(words.get(host.status.state, ""), mark.style)
    if host.status.state == "up" and (free := free_of(host)) is not None:
        right = Content.styled(f"{size(free)} free", MUTED)
    room = width - left.cell_length - right.cell_length
    return Content("").join(
        [left.truncate(max(1, width - right.cell_length - 1), ellipsis=True), Content(" " * max(1, room)), right]
    )


def free_of(host: HostView) -> int | None:
    """Bytes free where datasets lie."""
    disks = host.sample.disks if host.sample is not None else ()
    for wanted in ("datasets", "workspace"):
        for disk in disks:
            if wanted in disk.paths:
                return disk.avail
    return None


def _nothing(host: HostView) -> Content:
    """What stands below a host that has no datasets, as far as is known."""
    if host.datasets is not None:
        return Content.styled("  none yet", MUTED)
    if host.status.state in ("away", "refused", "off"):
        return Content.styled("  not seen yet", FAINT)
    return Content.styled("  looking…", FAINT)


def _step(key: str, text: str) -> Content:
    return Content.assemble((f"  {key:<4}", "bold $primary"), text)


#: What stands below hosts that have none.
FIRST_STEPS = [
    Content(""),
    _step("g", "get a dataset from the Hugging Face Hub, onto the host that trains"),
    _step("?", "every key, and what the signs on the screen mean"),
    Content(""),
    Content.styled("A LeRobot dataset (v2.0, v2.1, v3.0) that is copied into a host's datasets folder", MUTED),
    Content.styled("appears here by itself.", MUTED),
]


class Datasets(Rows):
    """The list; its cursor chooses what the other panes show."""

    def __init__(self, view: DatasetView) -> None:
        super().__init__(id="datasets", selectable=True, head=True)
        self.view = view
        #: Rows by key, and what each was made from: hundreds cost more than a key press may take.
        self._made: dict[str, tuple[object, Late]] = {}
        retitle(self, title("Datasets"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return bool(topics & {"datasets", "hosts"}) or any(topic.startswith("host:") for topic in topics)

    def wish(self) -> int:
        """Lines that it would like to have inside its frame."""
        return 1 + sum(1 + max(1, len(found)) for _, found in ordered(self.view))

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        listed = ordered(self.view)
        self._retitle([each for _, found in listed for each in found])
        if not listed:
            text = (
                f"No dataset matches {shown.line(self.view.filter, 40)}."
                if self.view.filter
                else "No host in this profile."
            )
            self.show([Content.styled(text, MUTED)])
            return
        layout = columns.fit(COLUMNS, width, least=20)
        largest = max((each.bytes for _, found in listed for each in found), default=0)
        if len(self._made) > 4 * sum(len(found) for _, found in listed) + 100:
            self._made.clear()
        rows: list[Content | Late] = [columns.titles(COLUMNS, layout)]
        keys: list[str | None] = [None]
        for host, found in listed:
            rows.append(head(host, len(found), width, self.view.clock()))
            keys.append(None)
            away = host.status.state in ("away", "refused", "off")
            for each in found:
                rows.append(self._row(each, layout, largest, away))
                keys.append(key_of(each))
            if not found:
                rows.append(_nothing(host))
                keys.append(None)
        if not self.view.filter and all(host.datasets == () for host, _ in listed):
            rows += FIRST_STEPS
            keys += [None] * len(FIRST_STEPS)
        self.show(rows, keys)
        self.select("\0".join(self.view.chosen) if self.view.chosen else None)

    def _row(self, dataset: DatasetSummary, layout: Sequence[tuple[int, int]], largest: int, away: bool) -> Late:
        key, now = key_of(dataset), self.view.clock()
        task = doing(dataset, self.view.tasks())
        stamp = (
            dataset,
            layout,
            largest,
            away,
            (dataset.host, dataset.path) in self.view.marked,
            (task.id, task.share) if task is not None else None,
            shown.age(now - dataset.changed),
            mark_of(dataset, now),
        )
        before = self._made.get(key)
        if before is not None and before[0] == stamp:
            return before[1]

        def make() -> Content:
            line = columns.row(COLUMNS, layout, cells(dataset, self.view, largest))
            # What is shown of a host that is away is old: it stands back, its head says since when.
            return Content.styled(line.plain, FAINT) if away else line

        made = Late(make)
        self._made[key] = stamp, made
        return made

    def _retitle(self, found: list[DatasetSummary]) -> None:
        if not found:
            retitle(self, title("Datasets"))
            return
        hosts = len({each.host for each in found})
        seconds = sum(each.seconds or 0.0 for each in found)
        held = size(sum(each.bytes for each in found))
        detail = f"{len(found)} on {many(hosts, 'host')}, {held}" + (f", {shown.age(seconds)}" if seconds else "")
        name, _, falls = SORTS[self.view.sort]
        arrow = "↓" if falls != self.view.reverse else "↑"
        if self.view.marked:
            detail += f"  {len(self.view.marked)} marked"
        retitle(self, title("Datasets", f"{detail}  by {name} {arrow}"))
