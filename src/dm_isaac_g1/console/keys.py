"""Every key of every room, declared once: bindings, footer, help and palette are made from this table.

A profile re-binds by name: `defaults.keys: {train.start: n, quit: ctrl+q}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from textual.binding import Binding

OVERVIEW, DATASETS, DEPLOYMENTS = "overview", "datasets", "deployments"


class Key(NamedTuple):
    """A key: the name a profile re-binds it by, the key, what it calls, and what it does in a few words."""

    name: str
    key: str
    call: str
    title: str
    group: str
    #: The word in the footer; empty: it isn't shown there.
    footer: str = ""
    #: The rooms it works in, with blanks between; empty: in all of them.
    room: str = ""

    def works_in(self, room: str) -> bool:
        return not self.room or room in self.room.split()


KEYS = (
    Key("room.overview", "1", f"room('{OVERVIEW}')", "Overview: hosts, runs, loss, log, checkpoints", "Rooms"),
    Key("room.datasets", "4", f"room('{DATASETS}')", "Datasets: what lies on which host", "Rooms"),
    Key("room.deployments", "5", f"room('{DEPLOYMENTS}')", "Deployments: what serves where, and how well", "Rooms"),
    Key("train.start", "t", "train", "Start a fine-tune from a recipe", "Act", "train"),
    Key("train.stop", "s", "stop", "Stop the selected run, gently first", "Act", "stop", OVERVIEW),
    Key("checkpoints.clean", "c", "clean", "Free disk space", "Act", "clean", OVERVIEW),
    Key(
        "deploy.start",
        "d",
        "act('deploy.start')",
        "Put a checkpoint into service",
        "Act",
        "deploy",
        f"{OVERVIEW} {DEPLOYMENTS}",
    ),
    Key("data.download", "g", "act('data.download')", "Get a dataset from the Hub", "Act", "get"),
    Key(
        "work.cancel",
        "x",
        "cancel",
        "Cancel what is being done; what is finished is kept",
        "Act",
        "cancel",
        f"{DATASETS} {DEPLOYMENTS}",
    ),
    Key("data.show", "enter", "show", "Its episodes: joints over time, cameras", "Datasets", "show", DATASETS),
    Key(
        "data.validate",
        "v",
        "act('data.validate')",
        "Check it: structure, schema, videos",
        "Datasets",
        "check",
        DATASETS,
    ),
    Key(
        "data.convert",
        "c",
        "act('data.convert')",
        "Convert it: GR00T, Inspire, v2.1, v3.0",
        "Datasets",
        "convert",
        DATASETS,
    ),
    Key("data.stats", "s", "act('data.stats')", "Compute its statistics", "Datasets", "stats", DATASETS),
    Key("data.repair", "r", "act('data.repair')", "Repair what can be repaired", "Datasets", "repair", DATASETS),
    Key("mark", "space", "mark", "Mark it, to combine it with others", "Datasets", "mark", DATASETS),
    Key(
        "data.combine",
        "plus",
        "act('data.combine')",
        "Combine the marked ones into one",
        "Datasets",
        "combine",
        DATASETS,
    ),
    Key(
        "data.split",
        "minus",
        "act('data.split')",
        "Split it into a file for each episode",
        "Datasets",
        "split",
        DATASETS,
    ),
    Key("sort", "o", "sort", "Sort by the next column", "Datasets", "sort", DATASETS),
    Key("reverse", "O", "reverse", "Sort the other way round", "Datasets", "", DATASETS),
    Key(
        "deploy.rollback",
        "r",
        "act('deploy.rollback')",
        "Go back to the release before, or the one chosen in Releases",
        "Deployments",
        "roll back",
        DEPLOYMENTS,
    ),
    Key(
        "deploy.verify",
        "V",
        "act('deploy.verify')",
        "Verify it: its files, and a real get_action",
        "Deployments",
        "verify",
        DEPLOYMENTS,
    ),
    Key(
        "deploy.resume",
        "c",
        "act('deploy.resume')",
        "Continue a deploy that was cut off",
        "Deployments",
        "continue",
        DEPLOYMENTS,
    ),
    Key("look", "R", "look", "Look at the hosts again now", "Go", "", f"{DATASETS} {DEPLOYMENTS}"),
    Key("palette", "colon,ctrl+p", "command_palette", "Find anything there is to do", "Go", "palette"),
    Key("filter", "slash", "filter", "Show only what contains a text", "Go", "filter"),
    Key("next", "tab", "focus_pane(1)", "Next pane", "Go", "pane"),
    Key("previous", "shift+tab", "focus_pane(-1)", "Previous pane", "Go"),
    Key("open", "enter", "open", "The focused pane on the whole screen", "Go", "zoom", f"{OVERVIEW} {DEPLOYMENTS}"),
    Key("zoom", "z", "open", "The focused pane on the whole screen", "Go", "zoom", DATASETS),
    Key("back", "escape", "back", "Back: pane, filter, selection", "Go"),
    Key("plot.log", "l", "plot_log", "Logarithmic or linear scale", "Plot", "", OVERVIEW),
    Key("plot.rougher", "left_square_bracket", "plot_smooth(-1)", "Less smoothing", "Plot", "", OVERVIEW),
    Key("plot.smoother", "right_square_bracket", "plot_smooth(1)", "More smoothing", "Plot", "", OVERVIEW),
    Key("plot.metric", "v", "plot_metric", "Next metric", "Plot", "", OVERVIEW),
    Key("plot.dots", "b", "dots", "Braille or block graphs", "Plot"),
    Key("log.left", "left", "log_side(-1)", "Back to where its lines begin", "Log", "", OVERVIEW),
    Key("log.right", "right", "log_side(1)", "The rest of its long lines", "Log", "", OVERVIEW),
    Key("follow", "f", "follow", "Follow the end of the log", "Log", "", OVERVIEW),
    Key("picture", "P", "picture", "Save a picture of the screen (SVG)", "Console"),
    Key("theme", "T", "next_theme", "Next theme", "Console"),
    Key("help", "question_mark", "help", "Every key, and what the signs mean", "Console", "help"),
    Key("quit", "q", "quit", "Quit; every run goes on", "Console", "quit"),
)

#: How keys are written on the screen.
_SIGNS = {
    "colon": ":",
    "slash": "/",
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "minus": "-",
    "escape": "esc",
    "left": "←",
    "right": "→",
    "shift+tab": "shift+tab",
}


def sign(key: str) -> str:
    """ "colon,ctrl+p" -> ": ctrl+p"."""
    return " ".join(_SIGNS.get(each, each) for each in key.split(","))


def rebound(keys: Mapping[str, str]) -> tuple[tuple[Key, ...], list[str]]:
    """The table with the user's keys in it, and what was wrong with them, a line each. Two rooms may share a key."""
    known = {each.name for each in KEYS}
    problems = [
        f"keys: no key is named {name!r}; there are {', '.join(sorted(known))}" for name in keys if name not in known
    ]
    table: list[Key] = []
    taken: list[tuple[str, Key]] = []
    for each in KEYS:
        wanted = keys.get(each.name, each.key)
        for key in wanted.split(","):
            there = next((other for had, other in taken if had == key and _meet(other, each)), None)
            if there is not None:
                problems.append(f"keys: {key!r} is {there.name} already, so {each.name} keeps {sign(each.key)}")
                wanted = each.key
                break
        taken += [(key, each) for key in wanted.split(",")]
        table.append(each._replace(key=wanted))
    return tuple(table), problems


def _meet(one: Key, other: Key) -> bool:
    """Whether there is a room in which both work."""
    meet = not one.room or not other.room or set(one.room.split()) & set(other.room.split())
    return one.name != other.name and bool(meet)


def of_room(table: tuple[Key, ...], room: str) -> tuple[Key, ...]:
    """The keys that work there."""
    return tuple(each for each in table if each.works_in(room))


def bindings(table: tuple[Key, ...]) -> list[Binding]:
    """The table as Textual bindings."""
    return [Binding(each.key, each.call, each.title, show=False, priority=each.key == "tab") for each in table]
