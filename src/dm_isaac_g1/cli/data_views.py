"""What datasets look like as plain text: which lie where, what is wrong with one, what is in it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from dm_isaac_g1.cli.table import table
from dm_isaac_g1.core.datasets import DatasetSummary
from dm_isaac_g1.core.units import UNKNOWN, duration, many, size

#: Findings under which the file names would drown what is said: the rest is counted.
MOST = 100
INDENT = " " * 8
#: Where a result comes from that names no host.
LOCAL = "here"

Graphics = Literal["none", "blocks", "sixel", "kitty"]


def datasets(known: Iterable[DatasetSummary]) -> list[str]:
    """A line for each dataset, and why some cannot be used under the table."""
    rows, problems = [], []
    for each in known:
        rows.append(
            (
                each.host,
                each.name,
                f"v{each.version} {each.family}" if each.version else UNKNOWN,
                str(each.episodes) if each.episodes is not None else UNKNOWN,
                duration(each.seconds),
                size(each.bytes),
                state(each),
            )
        )
        if each.problem:
            problems.append(f"{each.host}: {each.name}: {each.problem}")
    head = ("HOST", "DATASET", "FORMAT", "EPS", "LENGTH", "SIZE", "STATE")
    return [*table(head, rows, right=frozenset({3, 5})), *problems]


def state(each: DatasetSummary) -> str:
    """Valid, or not, or how far it is."""
    if each.validity == "partial" and each.done is not None:
        return f"partial, {each.done} of {each.of}" if each.of else f"partial, {each.done}"
    if each.validity == "invalid" and each.errors:
        return f"invalid: {many(each.errors, 'error')}"
    return {"unknown": "not checked"}.get(each.validity, each.validity)


def findings(found: Sequence[Mapping[str, Any]], *, left_out: int = 0, width: int = 80) -> list[str]:
    """What a validation found, worst first: severity and code, where, what, and what repairs it."""
    out: list[str] = []
    for each in found[:MOST]:
        where = str(each.get("where") or "")
        out.append(
            f"{str(each.get('severity', 'error')).upper():<8}{each.get('code', '')}" + (f"  {where}" if where else "")
        )
        out += textwrap.wrap(
            str(each.get("what", "")),
            max(40, width),
            initial_indent=INDENT,
            subsequent_indent=INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        if each.get("fix"):
            out.append(f"{INDENT}-> {each['fix']}")  # a command in one piece can be copied
    left_out += max(0, len(found) - MOST)
    return [*out, f"… and {left_out} more; --json tells them"] if left_out else out


def shown(action: str, data: Mapping[str, Any]) -> list[str]:
    """`result`, or a line that says so where the data, which a host may have sent, is none."""
    try:
        return result(action, data)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return [f"{data.get('host') or LOCAL}: an answer that makes no sense"]


def result(action: str, data: Mapping[str, Any]) -> list[str]:
    """What an action's result shows before its sentence. `data` is cleaned: it may come from a host or a dataset.

    Findings of what was made were told on the way; a validation tells them all in the end, worst first.
    """
    width, height = shutil.get_terminal_size()
    match action:
        case "data.validate":
            return findings(_list(data, "findings"), left_out=int(data.get("left_out") or 0), width=width)
        case "data.repair":
            return [str(line) for line in _list(data, "lines")]
        case "data.show" if data:
            from dm_isaac_g1.data.show import text

            terminal = sys.stdout.isatty()
            colour = terminal and not os.environ.get("NO_COLOR")
            if "episode" not in data:
                return text.render_summary(data, width, colour=colour)
            pictures = graphics() if terminal else "none"
            return text.render_episode(data, width=width, height=height, graphics=pictures, colour=colour)
        case "deploy.start" | "deploy.history" if data:
            from dm_isaac_g1.cli import deploy_views

            return deploy_views.shown(action, data)
        case "infer.test" if data:
            from dm_isaac_g1.cli import infer_views

            colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
            return infer_views.tested(data, width, colour=colour)
    return []


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    return list(value) if isinstance(value, list | tuple) else []


def graphics() -> Graphics:
    """What pictures the terminal can show, by what it says of itself; half blocks are text, and work in all.

    Kitty's protocol: kitty, Ghostty, WezTerm. Sixel: mlterm, foot, contour. Not through tmux or screen.
    """
    environment = os.environ
    if environment.get("TMUX") or environment.get("STY"):
        return "blocks"
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "").lower()
    if (
        environment.get("KITTY_WINDOW_ID")
        or term in ("xterm-kitty", "xterm-ghostty")
        or program in ("ghostty", "wezterm")
    ):
        return "kitty"
    if term.startswith(("mlterm", "foot", "contour")) or "sixel" in term:
        return "sixel"
    return "blocks"
