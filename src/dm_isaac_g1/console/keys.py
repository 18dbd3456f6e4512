"""Every key of the Overview, declared once: bindings, footer, help and palette are made from this table.

A profile re-binds by name: `defaults.keys: {train.start: n, quit: ctrl+q}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from textual.binding import Binding


class Key(NamedTuple):
    """A key: the name a profile re-binds it by, the key, what it calls, and what it does in a few words."""

    name: str
    key: str
    call: str
    title: str
    group: str
    #: The word in the footer; empty: it isn't shown there.
    footer: str = ""


KEYS = (
    Key("train.start", "t", "train", "Start a fine-tune from a recipe", "Act", "train"),
    Key("train.stop", "s", "stop", "Stop the selected run, gently first", "Act", "stop"),
    Key("checkpoints.clean", "c", "clean", "Free disk space", "Act", "clean"),
    Key("palette", "colon,ctrl+p", "command_palette", "Find anything there is to do", "Go", "palette"),
    Key("filter", "slash", "filter", "Show only what contains a text", "Go", "filter"),
    Key("next", "tab", "focus_pane(1)", "Next pane", "Go", "pane"),
    Key("previous", "shift+tab", "focus_pane(-1)", "Previous pane", "Go"),
    Key("open", "enter", "open", "The focused pane on the whole screen", "Go", "zoom"),
    Key("back", "escape", "back", "Back: pane, filter, selection", "Go"),
    Key("plot.log", "l", "plot_log", "Logarithmic or linear scale", "Plot"),
    Key("plot.rougher", "left_square_bracket", "plot_smooth(-1)", "Less smoothing", "Plot"),
    Key("plot.smoother", "right_square_bracket", "plot_smooth(1)", "More smoothing", "Plot"),
    Key("plot.metric", "v", "plot_metric", "Next metric", "Plot"),
    Key("plot.dots", "b", "dots", "Braille or block graphs", "Plot"),
    Key("log.left", "left", "log_side(-1)", "Back to where its lines begin", "Log"),
    Key("log.right", "right", "log_side(1)", "The rest of its long lines", "Log"),
    Key("follow", "f", "follow", "Follow the end of the log", "Log"),
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
    "escape": "esc",
    "left": "←",
    "right": "→",
    "shift+tab": "shift+tab",
}


def sign(key: str) -> str:
    """ "colon,ctrl+p" -> ": ctrl+p"."""
    return " ".join(_SIGNS.get(each, each) for each in key.split(","))


def rebound(keys: Mapping[str, str]) -> tuple[tuple[Key, ...], list[str]]:
    """The table with the user's keys in it, and what was wrong with them, a line each."""
    known = {each.name for each in KEYS}
    problems = [
        f"keys: no key is named {name!r}; there are {', '.join(sorted(known))}" for name in keys if name not in known
    ]
    table: list[Key] = []
    taken: dict[str, str] = {}
    for each in KEYS:
        wanted = keys.get(each.name, each.key)
        for key in wanted.split(","):
            if taken.setdefault(key, each.name) != each.name:
                problems.append(f"keys: {key!r} is {taken[key]} already, so {each.name} keeps {sign(each.key)}")
                wanted = each.key
        table.append(each._replace(key=wanted))
    return tuple(table), problems


def bindings(table: tuple[Key, ...]) -> list[Binding]:
    """The table as Textual bindings."""
    return [Binding(each.key, each.call, each.title, show=False, priority=each.key == "tab") for each in table]
