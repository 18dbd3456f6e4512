"""The Datasets room: what lies on which host, whether it can be trusted, and what can be made of it.

It shows what the fleet's monitors tell; what the user starts runs through the declared actions, on the host where the
dataset lies. Imported when the room is first entered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from textual import events, on
from textual.content import Content
from textual.geometry import Region, Size
from textual.widget import Widget

from dm_isaac_g1.console import arrangement, keys
from dm_isaac_g1.console.memory import Memory
from dm_isaac_g1.console.panes.dataset import Facts, Joints, Problems, away
from dm_isaac_g1.console.panes.datasets import SORTS, Datasets, DatasetView, ordered
from dm_isaac_g1.console.panes.work import Work
from dm_isaac_g1.console.room import Room
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.datasets import DatasetSummary
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.fleet.store import Store

if TYPE_CHECKING:
    from dm_isaac_g1.core.events import Result
    from dm_isaac_g1.core.profile import Profile

#: The order that tab walks, and the panes that share one place where there is no room for all.
PANES = ("datasets", "facts", "problems", "joints", "work")
STAGE = ("facts", "problems", "joints")
#: What is done with the selected dataset.
ON_ONE = ("data.show", "data.validate", "data.convert", "data.stats", "data.repair", "data.split")
#: Lines that a pane below the list keeps, however long the list is.
LEAST = 14
#: Lines of work that are shown at most beside other panes.
MOST_WORK = 6


class Wishes(NamedTuple):
    """Lines that a pane would like to have inside its frame; 0: it need not be there."""

    datasets: int = 0
    problems: int = 0
    work: int = 0
    #: A dataset is selected.
    chosen: bool = False


def left_width(width: int) -> int:
    """Of the facts: what their words need, the rest is the joints'."""
    return min(72, max(50, width * 42 // 100))


def arrange(size: Size, wishes: Wishes, *, stage: str, maximised: str | None) -> dict[str, Region]:
    """Regions by name. Frames take two lines when wide, one (the title) when not."""
    width, height = size
    regions = {"header": Region(0, 0, width, 1), "footer": Region(0, height - 1, width, 1)}
    body = Region(0, 1, width, max(0, height - 2))
    if maximised is not None:
        return regions | {maximised: body}
    wide = arrangement.is_wide(size)
    frame = 2 if wide else 1
    if wishes.work:
        lines = min(wishes.work, MOST_WORK if wide else 3) + frame
        body, regions["work"] = arrangement.split(body, max(0, body.height - lines))
    if not wishes.chosen:
        return regions | {"datasets": body}
    most = max(body.height - LEAST, body.height * 45 // 100) if wide else max(5, body.height * 55 // 100)
    regions["datasets"], rest = arrangement.split(body, min(wishes.datasets + frame, most))
    if not wide:
        return regions | {stage: rest}
    regions["facts"], right = rest.split_vertical(left_width(width))
    if wishes.problems:
        regions["problems"], right = arrangement.split(right, min(wishes.problems + frame, right.height // 2))
    return regions | {"joints": right}


def make(
    profile: Profile,
    store: Store,
    *,
    now: Callable[[], float],
    table: tuple[keys.Key, ...],
    clock: bool = True,
    memory: Memory | None = None,
) -> DatasetsRoom:
    """The room."""
    return DatasetsRoom(profile.name, store, now=now, table=table, clock=clock, memory=memory)


class DatasetsRoom(Room):
    """Room 4."""

    room: ClassVar[str] = keys.DATASETS
    view: DatasetView

    def __init__(
        self,
        profile_name: str,
        store: Store,
        *,
        now: Callable[[], float],
        table: tuple[keys.Key, ...],
        clock: bool = True,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(profile_name, store, now=now, table=table, clock=clock, memory=memory)
        self.view.tasks = lambda: self.dm.runner.tasks
        self.stage = STAGE[0]
        self._staged = False
        self._by_user = False
        #: The path or name of a dataset that was just made.
        self._made: str | None = None
        self.datasets = Datasets(self.view)
        self.facts = Facts(self.view)
        self.problems = Problems(self.view)
        self.joints = Joints(self.view)
        self.work = Work(self.view)
        self.panes = (self.datasets, self.facts, self.problems, self.joints, self.work)

    def make_view(self, store: Store, now: Callable[[], float]) -> DatasetView:
        return DatasetView(store, now)

    # -- showing

    def show_topics(self, topics: frozenset[str]) -> None:
        if topics & {"datasets", "dataset", "hosts"}:
            self.choose()
            if self.relayout():
                self.action_sync_all()
                return
        super().show_topics(topics)

    def regions(self) -> dict[str, Region]:
        size = self.size
        self.view.wide = arrangement.is_wide(size)
        self.set_class(not self.view.wide, "-brief")
        inner = size.width - left_width(size.width) - 5 if self.view.wide else size.width - 4
        problems = self.problems.wish(inner)
        if not self._staged:
            # Of a dataset that is not as it should be, why and what to do is what one wants to see.
            bad = self.view.dataset is not None and self.view.dataset.validity == "invalid"
            self.stage = "problems" if bad else STAGE[0]
        wishes = Wishes(
            datasets=self.datasets.wish(),
            problems=problems,
            work=self.work.wish(),
            chosen=self.view.dataset is not None,
        )
        return arrange(size, wishes, stage=self.stage, maximised=self.maximised)

    def home(self) -> Widget:
        return self.datasets

    def order(self) -> list[str]:
        there = {"datasets"} | (set(STAGE) if self.view.dataset is not None else set())
        if not self.problems.found():
            there.discard("problems")
        if self.dm.runner.tasks:
            there.add("work")
        if self.maximised is None and self.view.wide:
            there &= set(self._arranged.regions)
        return [id for id in PANES if id in there]

    def bring(self, id: str) -> None:
        if id in STAGE:
            self.stage, self._staged = id, True

    def choose(self) -> None:
        """Keep the selected dataset selected; without one, the first that is shown."""
        shown = [each for _, found in ordered(self.view) for each in found]
        there = {(each.host, each.path) for each in shown}
        every = {(h.name, each.path) for h in self.view.store.hosts.values() for each in h.datasets or ()}
        self.view.marked &= every
        made = next((each for each in shown if self._made in (each.path, each.name)), None)
        if made is not None and made.validity != "partial":
            self._by_user, self._made = True, None
            self.select(made)
        elif self.view.chosen not in there or not self._by_user:
            self._by_user = False
            self.select(shown[0] if shown else None)

    def select(self, dataset: DatasetSummary | None) -> None:
        """Show this one from near."""
        chosen = (dataset.host, dataset.path) if dataset is not None else None
        self.view.chosen = chosen
        self.dm.look_near(*(chosen or (None, None)))

    @on(Rows.Selected, "#datasets")
    def _selected(self, message: Rows.Selected) -> None:
        host, _, path = message.key.partition("\0")
        self._by_user = True
        self.view.chosen = (host, path)
        self._staged = self._staged and self.stage != "problems"
        self.select(self.view.dataset)
        if not self.relayout():
            for pane in (self.facts, self.problems, self.joints):
                pane.sync()
        self.offer()

    @on(events.Click, "#datasets")
    def _clicked(self, event: events.Click) -> None:
        if event.chain == 2 and self.view.dataset is not None:
            self.action_show()

    def show_work(self) -> None:
        self.relayout()
        self.work.sync()
        self.datasets.sync()
        self.offer()
        if "work" not in self._arranged.regions:
            super().show_work()  # in the footer, where the pane has no place
        else:
            self.footer.say(Content(""))

    @property
    def tells_work(self) -> bool:
        return bool(self.dm.runner.tasks) and self.maximised in (None, "work")

    def note_result(self, result: Result) -> None:
        """A dataset that was made becomes the selected one as soon as it is seen."""
        made = result.data.get("path")
        if isinstance(made, str) and made != (self.view.chosen or ("", ""))[1]:
            self._made = made

    # -- keys

    def enabled(self) -> set[str]:
        enabled = super().enabled()
        dataset = self.view.dataset
        if dataset is None:
            enabled -= {"sort", "mark", *ON_ONE}
        elif dataset.validity == "partial" or away(self.view):
            enabled -= {"mark", *ON_ONE}
        elif not self.problems.found():
            enabled.discard("data.repair")
        if len(self.view.marked) < 2:
            enabled.discard("data.combine")
        if self.work.chosen() is None or not self.dm.runner.going:
            enabled.discard("work.cancel")
        return enabled

    def go_back(self) -> None:
        if self.view.marked:
            self.view.marked.clear()
        else:
            self.datasets.focus()

    def action_sort(self) -> None:
        self.view.sort = (self.view.sort + 1) % len(SORTS)
        self.view.reverse = False
        self.datasets.sync()

    def action_reverse(self) -> None:
        self.view.reverse = not self.view.reverse
        self.datasets.sync()

    def action_mark(self) -> None:
        dataset = self.view.dataset
        if dataset is None:
            return
        self.view.marked ^= {(dataset.host, dataset.path)}
        self.datasets.action_move(1)
        self.datasets.sync()
        self.offer()

    def action_look(self) -> None:
        self.dm.look_again()

    def action_cancel(self) -> None:
        task = self.work.chosen()
        if task is not None and task.going:
            self.dm.runner.cancel(task)

    def action_show(self) -> None:
        """What is under the cursor from near: an episode, or what an action said in full."""
        if self.focused_pane() == "work":
            self.action_open()
        else:
            self.dm.open_form("data.show")

    # -- for the doors to the actions

    def one(self) -> DatasetSummary:
        """The dataset that an action is about. Raises UsageError."""
        dataset = self.view.dataset
        if dataset is None:
            raise UsageError("no dataset is selected", fix="choose one in the list, or get one with g")
        self._ready(dataset)
        return dataset

    def several(self) -> list[DatasetSummary]:
        """The marked ones, in the order of the list. Raises UsageError."""
        listed = [each for _, found in ordered(self.view) for each in found]
        found = [each for each in listed if (each.host, each.path) in self.view.marked]
        if len(found) < 2:
            raise UsageError("nothing to combine", fix="mark two or more datasets with the space bar")
        if len({each.host for each in found}) > 1:
            hosts = " and ".join(sorted({each.host for each in found}))
            raise UsageError(f"the marked datasets lie on {hosts}", fix="mark those of one host")
        for each in found:
            self._ready(each)
        return found

    def _ready(self, dataset: DatasetSummary) -> None:
        if dataset.validity == "partial":
            raise UsageError(f"{dataset.name} is not finished", fix="the command that began it goes on with it")
        host = self.view.host_of(dataset)
        if host is not None and host.status.state in ("away", "refused", "off"):
            raise UsageError(f"{dataset.host} is {host.status.state}", fix="wait until it is back")
