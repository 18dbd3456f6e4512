"""The forms before what is done with datasets: what will be read, what will be written and where, and the room there.

The form is the confirmation. What it says is made from what the form holds and what is known of the dataset; a repair
is asked for its own plan (`dry_run`), which is what it will do.
"""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from dm_isaac_g1.actions.registry import Action, Params
from dm_isaac_g1.console import shown
from dm_isaac_g1.console.forms.fields import Changed
from dm_isaac_g1.console.forms.form import ActionForm
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.events import Event, Failure, Progress, Result
from dm_isaac_g1.core.units import UNKNOWN, many, size

if TYPE_CHECKING:
    from dm_isaac_g1.core.datasets import DatasetSummary

Perform = Callable[[Action, Params], AsyncIterator[Event]]
#: A word, and what it is about: "reads", "200 episodes".
Line = tuple[str, str]

#: Cells of the words at the left.
_WORD = 9
#: What a converted dataset is called, by format.
SUFFIXES = {"groot": "groot", "inspire": "inspire53", "v3.0": "v30", "v2.1": "v21"}


# --- What will happen -------------------------------------------------------------------------------------------------


def will(action: str, values: Mapping[str, Any], datasets: Sequence[DatasetSummary], free: int | None) -> list[Line]:
    """What an action is about to do, a line each. `free`: bytes where datasets lie on that host, None: not known."""
    told = _WILL.get(action)
    lines = told(values, datasets) if told is not None else []
    if (
        any(word == "writes" for word, _ in lines)
        and free is not None
        and action not in ("data.validate", "data.stats")
    ):
        lines.append(("room", f"{size(free)} free there; it is checked before anything is written"))
    if values.get("detach"):
        lines.append(("job", "detached: it goes on when this console is closed, Overview shows its run"))
    return lines


def _where(values: Mapping[str, Any], name: str, datasets: Sequence[DatasetSummary]) -> str:
    on = values.get("on")
    if not on:
        return f"{name} on this machine"
    if name.startswith("/"):
        return f"{name} on {on}"
    # A dataset's path ends with its name, before which stands the folder that all of them lie in.
    known = next((each for each in datasets if each.path.endswith(f"/{each.name}")), None)
    return f"{known.path.removesuffix(known.name)}{name} on {on}" if known else f"{name} in the datasets folder of {on}"


def _held(dataset: DatasetSummary) -> str:
    parts = [many(dataset.episodes, "episode")] if dataset.episodes is not None else []
    parts += [f"{dataset.frames:,} frames"] if dataset.frames is not None else []
    return f"{dataset.name}: {', '.join([*parts, size(dataset.bytes)])}"


def _download(values: Mapping[str, Any], datasets: Sequence[DatasetSummary]) -> list[Line]:
    repo = values.get("repo") or "OWNER/NAME"
    name = values.get("output") or str(repo).rstrip("/").rpartition("/")[2]
    part = "only meta/ of " if values.get("meta_only") else ""
    revision = values.get("revision") or "the newest revision, which is recorded"
    return [
        ("fetches", f"{part}{repo} from the Hugging Face Hub, {revision}"),
        ("writes", _where(values, name, datasets)),
        ("until", f"it is complete it is called {name}.partial; the same download goes on where this one ends"),
    ]


def _made(what: str) -> Callable[[Mapping[str, Any], Sequence[DatasetSummary]], list[Line]]:
    """Something new from what is there."""

    def told(values: Mapping[str, Any], datasets: Sequence[DatasetSummary]) -> list[Line]:
        name = values.get("output") or "?"
        return [
            *(("reads", _held(each)) for each in datasets),
            ("writes", f"{_where(values, name, datasets)}{what}"),
            ("until", f"it is complete it is called {name}.partial; what is read is not changed"),
        ]

    return told


def _validate(values: Mapping[str, Any], datasets: Sequence[DatasetSummary]) -> list[Line]:
    how = "every row, and each video's packets" if values.get("deep") else "structure, schema, counts, video headers"
    return [
        *(("reads", f"{_held(each)}; {how}") for each in datasets),
        ("writes", "its verdict into meta/dm_g1.json, nothing else"),
    ]


def _stats(values: Mapping[str, Any], datasets: Sequence[DatasetSummary]) -> list[Line]:
    del values
    return [
        *(("reads", f"every row of {_held(each)}") for each in datasets),
        ("writes", "meta/stats.json and what else its readers want; statistics that are there are replaced"),
    ]


def _repair(values: Mapping[str, Any], datasets: Sequence[DatasetSummary]) -> list[Line]:
    del values
    return [("repairs", f"{each.path}, on {each.host}; nothing that is there is overwritten") for each in datasets]


_WILL: dict[str, Callable[[Mapping[str, Any], Sequence[DatasetSummary]], list[Line]]] = {
    "data.download": _download,
    "data.convert": _made("; videos are linked or cut, not encoded again"),
    "data.split": _made(""),
    "data.combine": _made("; videos are linked"),
    "data.validate": _validate,
    "data.stats": _stats,
    "data.repair": _repair,
}


def suggested(action: str, values: Mapping[str, Any], datasets: Sequence[DatasetSummary]) -> str | None:
    """A name for what will be made; None where nothing is, or the action knows one itself."""
    if action == "data.combine":
        return "combined"
    if not datasets:
        return None
    name = datasets[0].name
    if action == "data.split":
        return f"{name}-split"
    if action == "data.convert":
        return f"{name}-{SUFFIXES.get(str(values.get('format') or 'groot'), 'converted')}"
    return None


# --- The form ---------------------------------------------------------------------------------------------------------


class DataForm(ActionForm):
    """Dismisses with the parameters, or None. `free`: bytes free where datasets lie, by host."""

    def __init__(
        self,
        action: Action,
        perform: Perform,
        *,
        datasets: Sequence[DatasetSummary] = (),
        free: Mapping[str, int | None],
        values: Mapping[str, Any],
        fixed: Mapping[str, Any],
        options: Mapping[str, tuple[str, ...]],
        title: str,
    ) -> None:
        self.perform = perform
        self.datasets = datasets
        self.free = free
        self._suggested = suggested(action.name, {**values, **fixed}, datasets)
        given = dict(values) | ({"output": self._suggested} if self._suggested is not None else {})
        super().__init__(action, values=given, options=options, fixed=fixed, title=title)
        #: What the action itself says that it would do.
        self.plans = any(field.name == "dry_run" for field in action.fields())
        self.will = Static("", id="will")
        self.preview = Static("", id="preview")
        self.preview.display = self.plans

    def body(self) -> list[Widget]:
        return [self.will, self.preview, Static("", classes="gap"), *super().body()[2:]]

    def on_mount(self) -> None:
        super().on_mount()
        self.say_will()
        first = next((row for row in self.rows if row.field.required and row.value is None), None)
        if first is not None:
            first.editor.focus()
        if self.plans:
            self.run_worker(self._plan(), exit_on_error=False)

    @on(Changed)
    def _data_changed(self) -> None:
        self._suggest()
        self.say_will()

    def _suggest(self) -> None:
        """A name that was suggested follows what it was made from; one that was typed stays."""
        row = next((row for row in self.rows if row.field.name == "output"), None)
        if row is None or not isinstance(row.editor, Input) or row.editor.value != self._suggested:
            return
        new = suggested(self.action.name, self.values(), self.datasets)
        if new is not None and new != self._suggested:
            self._suggested = new
            row.editor.value = new

    def say_will(self) -> None:
        values = self.values()
        lines = will(self.action.name, values, self.datasets, self.free.get(str(values.get("on"))))
        width = min(96, self.app.size.width * 96 // 100) - 2 * (1 if self.app.size.height < 30 else 2) - 3
        rows: list[Content] = []
        for word, text in lines:
            for index, line in enumerate(
                textwrap.wrap(shown.line(text, 400), max(20, width - _WORD), break_on_hyphens=False)
            ):
                rows.append(Content.assemble((f"{word if index == 0 else '':<{_WORD}}", "bold $primary"), line))
        self.will.update(Content("\n").join(rows))

    async def _plan(self) -> None:
        """What the action says that it would do."""
        self.preview.update(Content.styled("asking what can be repaired…", "$muted"))
        lines: list[Content] = []
        try:
            async for event in self.perform(self.action, self.action.parse(self.values() | {"dry_run": True})):
                match event:
                    case Failure():
                        lines = [Content.styled(f"✗ {shown.line(event.what, 600)}", "$error")]
                        if event.fix:
                            lines.append(Content.styled(f"  → {shown.line(event.fix, 400)}", "$muted"))
                    case Result(text=text, data=data):
                        lines = [Content.styled(shown.line(text, 400), "bold")]
                        listed = data.get("lines")
                        for each in listed if isinstance(listed, list) else ():
                            lines.append(Content.assemble(("· ", "$primary"), shown.line(str(each), 400)))
                    case Progress(text=text):
                        self.preview.update(Content.styled(f"{shown.line(text, 200)}…", "$muted"))
                await asyncio.sleep(0)
        except DmG1Error as error:
            lines = [Content.styled(f"✗ {shown.line(error.line(), 600)}", "$error")]
        self.preview.update(Content("\n").join(lines or [Content.styled(UNKNOWN, "$muted")]))
