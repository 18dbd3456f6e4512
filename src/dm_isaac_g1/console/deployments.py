"""The Deployments room: what serves where, how well and for whom, what was there before, and the way back to it.

It shows what the fleet's monitors tell; what the user starts runs through the declared actions. Imported when the room
is first entered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from textual import on
from textual.content import Content
from textual.geometry import Region, Size
from textual.widget import Widget

from dm_isaac_g1.console import arrangement, keys
from dm_isaac_g1.console.memory import Memory
from dm_isaac_g1.console.panes.deployment import Answers, Facts
from dm_isaac_g1.console.panes.deployments import DeploymentView, Serving, cut_off, gone, listed
from dm_isaac_g1.console.panes.releases import History, Releases
from dm_isaac_g1.console.panes.steps import Steps, latest
from dm_isaac_g1.console.room import Room
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.fleet.store import Store

if TYPE_CHECKING:
    from dm_isaac_g1.core.events import Result
    from dm_isaac_g1.core.profile import Profile

#: The order that tab walks, and the panes that share one place where there is no room for all.
PANES = ("serving", "steps", "facts", "answers", "releases", "history")
STAGE = ("facts", "releases", "history")
#: What is done with the selected host.
ON_ONE = ("deploy.rollback", "deploy.verify", "deploy.resume")
#: Lines that the panes below keep, however many hosts there are.
LEAST = 12
#: Lines that a graph of answers needs inside its frame.
MIN_GRAPH = 5


class Wishes(NamedTuple):
    """Lines that a pane would like to have inside its frame; 0: it need not be there."""

    serving: int = 0
    steps: int = 0
    facts: int = 0
    #: The server tells of its requests.
    answers: bool = False
    releases: int = 0
    #: Something is known of the selected host.
    chosen: bool = False


def left_width(width: int) -> int:
    """Of the facts: what their words and graphs need."""
    return min(80, max(56, width * 44 // 100))


def arrange(size: Size, wishes: Wishes, *, stage: str, maximised: str | None) -> dict[str, Region]:
    """Regions by name. Frames take two lines when wide, one (the title) when not."""
    width, height = size
    regions = {"header": Region(0, 0, width, 1), "footer": Region(0, height - 1, width, 1)}
    body = Region(0, 1, width, max(0, height - 2))
    if maximised is not None:
        return regions | {maximised: body}
    wide = arrangement.is_wide(size)
    frame = 2 if wide else 1
    if not wishes.chosen and not wishes.steps:
        return regions | {"serving": body}
    most = max(wishes.serving if wide else 3, body.height - LEAST) - frame
    regions["serving"], rest = arrangement.split(body, min(wishes.serving, most) + frame)
    if wishes.steps:
        lines = min(wishes.steps + frame, rest.height if not wide else rest.height * 6 // 10)
        regions["steps"], rest = arrangement.split(rest, lines)
    if rest.height < 3 or not wishes.chosen:
        return regions
    if not wide:
        return regions | {stage: rest}
    left, right = rest.split_vertical(left_width(width))
    spare = left.height - wishes.facts - frame
    if wishes.answers and spare >= MIN_GRAPH + frame:
        regions["facts"], regions["answers"] = arrangement.split(left, wishes.facts + frame)
    else:
        regions["facts"] = left
    kept = min(wishes.releases + frame, max(4, right.height * 45 // 100))
    regions["releases"], regions["history"] = arrangement.split(right, kept)
    return regions


def make(
    profile: Profile,
    store: Store,
    *,
    now: Callable[[], float],
    table: tuple[keys.Key, ...],
    clock: bool = True,
    memory: Memory | None = None,
) -> DeploymentsRoom:
    """The room."""
    return DeploymentsRoom(profile, store, now=now, table=table, clock=clock, memory=memory)


class DeploymentsRoom(Room):
    """Room 5."""

    room: ClassVar[str] = keys.DEPLOYMENTS
    view: DeploymentView

    def __init__(
        self,
        profile: Profile,
        store: Store,
        *,
        now: Callable[[], float],
        table: tuple[keys.Key, ...],
        clock: bool = True,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(profile.name, store, now=now, table=table, clock=clock, memory=memory)
        self.view.serves = tuple(name for name, host in profile.hosts.items() if "serve" in host.roles)
        self.view.tasks = lambda: self.dm.runner.tasks
        self.stage = STAGE[0]
        self.serving = Serving(self.view)
        self.steps = Steps(self.view)
        self.facts = Facts(self.view)
        self.answers = Answers(self.view)
        self.releases = Releases(self.view)
        self.history = History(self.view)
        self.panes = (self.serving, self.steps, self.facts, self.answers, self.releases, self.history)

    def make_view(self, store: Store, now: Callable[[], float]) -> DeploymentView:
        return DeploymentView(store, now)

    # -- showing

    def show_topics(self, topics: frozenset[str]) -> None:
        if topics & {"deployments", "hosts"}:
            self.choose()
            if self.relayout():
                self.action_sync_all()
                return
        super().show_topics(topics)

    def regions(self) -> dict[str, Region]:
        size = self.size
        self.view.wide = arrangement.is_wide(size)
        self.set_class(not self.view.wide, "-brief")
        wishes = Wishes(
            serving=self.serving.wish(),
            steps=self.steps.wish(size.width - 5),
            facts=self.facts.wish(left_width(size.width) - 5),
            answers=self.view.host is not None and bool(self.view.host.traffic_history),
            releases=self.releases.wish(),
            chosen=self.view.deployment is not None,
        )
        return arrange(size, wishes, stage=self.stage, maximised=self.maximised)

    def home(self) -> Widget:
        return self.serving

    def order(self) -> list[str]:
        there = {"serving"} | (set(STAGE) if self.view.deployment is not None else set())
        if latest(self.view) is not None:
            there.add("steps")
        if self.maximised is None and self.view.wide:
            there &= set(self._arranged.regions)
        return [id for id in PANES if id in there]

    def bring(self, id: str) -> None:
        if id in STAGE:
            self.stage = id

    def choose(self) -> None:
        """Keep the selected host selected; without one, the first that is shown."""
        names = [host.name for host in listed(self.view)]
        if self.view.chosen not in names:
            self.view.chosen = names[0] if names else None
            self.view.release = None

    @on(Rows.Selected, "#serving")
    def _selected(self, message: Rows.Selected) -> None:
        self.view.chosen, self.view.release = message.key, None
        if not self.relayout():
            for pane in (self.steps, self.facts, self.answers, self.releases, self.history):
                pane.sync()
        self.offer()

    @on(Rows.Selected, "#releases")
    def _release(self, message: Rows.Selected) -> None:
        self.view.release = message.key
        self.releases.sync()
        self.offer()

    def show_work(self) -> None:
        self.relayout()
        self.steps.sync()
        self.offer()
        shown = latest(self.view)
        others = [task for task in self.dm.runner.going if task is not shown]
        if others or "steps" not in self._arranged.regions:
            super().show_work()
        else:
            self.footer.say(Content(""))

    @property
    def tells_work(self) -> bool:
        return latest(self.view) is not None and self.maximised in (None, "steps")

    def note_result(self, result: Result) -> None:
        """A deploy's host becomes the selected one."""
        host = result.data.get("host")
        if isinstance(host, str) and host in self.view.store.hosts:
            self.view.chosen, self.view.release = host, None

    # -- keys

    def enabled(self) -> set[str]:
        enabled = super().enabled() - {"train.start", "data.download"}
        seen, host = self.view.deployment, self.view.host
        if host is not None and gone(host):
            enabled -= {"deploy.start", *ON_ONE}
        if seen is None or self.view.target is None or seen.unfinished is not None:
            enabled.discard("deploy.rollback")
        if seen is None or seen.current is None:
            enabled.discard("deploy.verify")
        if seen is None or seen.unfinished is None or not cut_off(seen.unfinished, self.view.clock()):
            enabled.discard("deploy.resume")
        task = latest(self.view)
        if task is None or not task.going:
            enabled.discard("work.cancel")
        return enabled

    def go_back(self) -> None:
        shown = latest(self.view)
        if shown is not None and not shown.going:
            self.view.seen_task = shown.id
        self.view.release = None
        self.serving.focus()

    def action_look(self) -> None:
        self.dm.look_again()

    def action_cancel(self) -> None:
        task = latest(self.view)
        if task is not None and task.going:
            self.dm.runner.cancel(task)

    # -- for the doors to the actions

    def one(self) -> str:
        """The host that an action is about. Raises UsageError."""
        host = self.view.host
        if host is None:
            raise UsageError("no host that serves is selected", fix="give one roles: [serve] in the profile")
        if gone(host):
            raise UsageError(f"{host.name} is {host.status.state}", fix="wait until it is back")
        return host.name

    def values(self, action: str) -> dict[str, Any]:
        """What an action on the selected host is asked for. Raises UsageError."""
        host, seen = self.one(), self.view.deployment
        if action == "deploy.rollback":
            target = self.view.target
            if target is None:
                raise UsageError(f"{host} has no release to go back to", fix="d deploys a checkpoint")
            return {"to": host, "release": target.id}
        if action == "deploy.resume" and (seen is None or seen.unfinished is None):
            raise UsageError(f"no deploy on {host} was cut off")
        return {"to": host}
