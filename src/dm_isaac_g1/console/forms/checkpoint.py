"""The choice of a checkpoint: those that the picture has, and in a moment all that lie on the hosts that train."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from dm_isaac_g1.actions.registry import Action, Params
from dm_isaac_g1.console import columns, shown
from dm_isaac_g1.console.columns import Column
from dm_isaac_g1.console.forms.dialog import Dialog
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.events import Checkpoints, Event
from dm_isaac_g1.core.runs import Checkpoint
from dm_isaac_g1.core.units import size
from dm_isaac_g1.fleet.store import Store

Perform = Callable[[Action, Params], AsyncIterator[Event]]
COLUMNS = (
    Column("", 1, keep=100),
    Column("run", 0, keep=99),
    Column("step", 8, "right", keep=98),
    Column("weights", 9, "right", keep=60),
    Column("age", 9, "right", keep=70),
    Column("host", 14, keep=80),
)
#: Another way than from the list: the action's whole form.
OTHER = ""


class Choice(NamedTuple):
    """A checkpoint and where it lies."""

    host: str
    run: str
    checkpoint: Checkpoint

    @property
    def place(self) -> str:
        """As `dm-g1 deploy` takes it."""
        return f"{self.host}:{self.checkpoint.path}"


def known(store: Store) -> list[Choice]:
    """What the picture has."""
    return [Choice(run.job.host, run.id, each) for run in store.runs.values() for each in run.checkpoints]


def sorted_choices(found: Iterable[Choice]) -> list[Choice]:
    """Each place once, complete ones only, the newest first."""
    by_place = {each.place: each for each in found if each.checkpoint.complete and not each.checkpoint.writing}
    return sorted(by_place.values(), key=lambda each: (each.checkpoint.mtime, each.checkpoint.step), reverse=True)


class CheckpointPicker(Dialog[str]):
    """Dismisses with HOST:PATH, with OTHER for the whole form, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False, priority=True),
        Binding("down,j", "move(1)", show=False, priority=True),
        Binding("pageup", "move(-10)", show=False, priority=True),
        Binding("pagedown", "move(10)", show=False, priority=True),
        Binding("enter", "agree", show=False, priority=True),
        Binding("o", "other", show=False),
    ]

    def __init__(
        self,
        store: Store,
        perform: Perform,
        listing: Action,
        hosts: Sequence[str],
        *,
        to: str,
        now: Callable[[], float],
    ) -> None:
        super().__init__(f"Which checkpoint to {shown.name(to, 24)}?")
        self.found = sorted_choices(known(store))
        self.perform, self.listing, self.hosts = perform, listing, tuple(hosts)
        self.now = now
        self.at = 0
        self.asking = bool(hosts)
        self.choices = Static("", id="choices")

    def body(self) -> list[Widget]:
        return [self.choices]

    def keys(self) -> list[tuple[str, str]]:
        choose = [("↑ ↓", "choose"), ("enter", "see the plan")] if self.found else []
        return [*choose, ("o", "another place, or the Hub"), ("esc", "back")]

    def on_mount(self) -> None:
        self.show()
        self.run_worker(self._ask(), exit_on_error=False)

    async def _ask(self) -> None:
        """All checkpoints of the hosts, those of runs that nobody follows, too."""

        async def of(host: str) -> list[Choice]:
            listed: list[Choice] = []
            try:
                async for event in self.perform(self.listing, self.listing.parse({"host": host})):
                    if isinstance(event, Checkpoints):
                        listed += [Choice(event.host, event.run, each) for each in event.checkpoints]
            except DmG1Error:
                pass  # what the picture has is shown all the same
            return listed

        more = [each for listed in await asyncio.gather(*map(of, self.hosts)) for each in listed]
        before = self.found[self.at].place if self.found else None
        self.found = sorted_choices([*self.found, *more])
        self.at = next((index for index, each in enumerate(self.found) if each.place == before), 0)
        self.asking = False
        self.show()

    def show(self) -> None:
        """Draw the choices around the cursor."""
        low = self.app.size.height < 30
        width = (self.app.size.width if low else min(96, self.app.size.width * 96 // 100)) - (7 if low else 9)
        room = max(4, self.app.size.height - (7 if low else 14))
        first = max(0, min(self.at - room // 2, len(self.found) - room))
        layout = columns.fit(COLUMNS, width)
        rows = [columns.titles(COLUMNS, layout)]
        for index, each in enumerate(self.found[first : first + room], start=first):
            row = columns.row(COLUMNS, layout, _cells(each, self.now(), chosen=index == self.at))
            row = row.pad_right(max(0, width - row.cell_length))
            rows.append(row.stylize("on $cursor-bg") if index == self.at else row)
        if self.asking:
            rows.append(Content.styled("  looking for more…", "$faint"))
        elif not self.found:
            rows = [Content.styled("No complete checkpoint lies on the hosts that train.", "$muted")]
        elif len(self.found) > room:
            rows.append(Content.styled(f"  {self.at + 1} of {len(self.found)}", "$faint"))
        self.choices.update(Content("\n").join(rows))
        for foot in self.query("#keys").results(Static):
            foot.update(self.foot())

    def action_move(self, by: int) -> None:
        self.at = max(0, min(len(self.found) - 1, self.at + by))
        self.show()

    def action_agree(self) -> None:
        if self.found:
            self.dismiss(self.found[self.at].place)

    def action_other(self) -> None:
        self.dismiss(OTHER)


def _cells(each: Choice, now: float, *, chosen: bool) -> list[Content]:
    checkpoint = each.checkpoint
    return [
        Content.styled("►" if chosen else "", "$primary"),
        Content.styled(shown.name(each.run, 60), "bold" if chosen else ""),
        Content(str(checkpoint.step)),
        Content.styled(size(checkpoint.weights or checkpoint.size), "$muted"),
        Content.styled(shown.age(now - checkpoint.mtime), "$muted"),
        Content.styled(shown.name(each.host, 24), "$muted"),
    ]
