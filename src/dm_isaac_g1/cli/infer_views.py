"""What the test of a policy server found as plain text: what it is, how fast, how far from what was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from dm_isaac_g1.cli.table import table
from dm_isaac_g1.core.units import UNKNOWN, many
from dm_isaac_g1.data.show import ink
from dm_isaac_g1.data.show.ink import Ink, Line
from dm_isaac_g1.data.show.plot import plot

#: Rows of cells of one joint's curves.
TALL = 3
#: Trajectories in the table; the rest is counted.
MOST = 50


def tested(data: Mapping[str, Any], width: int, *, colour: bool = False) -> list[str]:
    """All of a test's result; parts that were not asked for are left out."""
    width = max(width, 50)
    blocks = [
        _server(data["probe"], width),
        _latency(data.get("latency") or []),
        _errors(data.get("open_loop")),
        _curves(data.get("curves"), width, colour=colour),
        [f"saved {path}" for path in [*(data.get("plots") or []), *filter(None, [data.get("out")])]],
    ]
    lines: list[str] = []
    for block in filter(None, blocks):
        lines += [*([""] if lines else []), *block]
    return lines


def _server(seen: Mapping[str, Any], width: int) -> list[str]:
    takes = seen["takes"]
    model = " ".join(str(each) for each in (seen.get("kind"), seen.get("model")) if each)
    rows = [
        ("server", f"{seen['server']}, {seen['dialect']}, ping {_ms(seen['ping_ms'])}"),
        ("model", model),
        ("takes", "; ".join(filter(None, [_list("state", takes["state"]), _list("cameras", takes["cameras"])]))),
        ("", f"instruction {takes['language']}" if takes.get("language") else ""),
        ("gives", f"{many(seen['steps'], 'step')} of {_groups(seen['gives'])}"),
        ("first", f"{_ms(seen.get('first_ms'))} for the first answer"),
    ]
    return [line for label, text in rows if text for line in _wrapped(label, text, width)]


def _list(what: str, names: Sequence[str]) -> str:
    return f"{what} {', '.join(names)}" if names else ""


def _groups(gives: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {values}" for name, values in gives.items())


def _wrapped(label: str, text: str, width: int) -> list[str]:
    import textwrap

    lines = textwrap.wrap(text, width - 9, break_long_words=True, break_on_hyphens=False)
    return [f"{label if number == 0 else '':<9}{line}" for number, line in enumerate(lines)]


def _latency(measured: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ("CLIENTS", "CALLS/S", "P50", "P95", "P99", "LONGEST", "CALLS", "FAILED")
    rows = [
        (
            str(each["clients"]),
            f"{each['per_second']:.1f}",
            *(_ms(each[name]) for name in ("p50", "p95", "p99", "most")),
            str(each["calls"]),
            str(sum(each["errors"].values())),
        )
        for each in measured
    ]
    failed = [f"{count} x {what}" for each in measured for what, count in each["errors"].items()]
    return [*table(head, rows, right=frozenset(range(8))), *failed]


def _errors(found: Mapping[str, Any] | None) -> list[str]:
    """MSE and MAE of each trajectory, then of each group of the action."""
    if not found:
        return []
    every = found["trajectories"]
    rows = [_row(str(each["episode"]), each["steps"], each["mse"], each["mae"]) for each in every[:MOST]]
    if len(every) > 1:
        rows.append(_row("average", sum(each["steps"] for each in every), found["mse"], found["mae"]))
    title = f"{found['dataset']}: open loop, action horizon {found['action_horizon']}, in the dataset's own units"
    more = [f"… and {len(every) - MOST} more; --out keeps them"] if len(every) > MOST else []
    lines = [title, *table(("EPISODE", "STEPS", "MSE", "MAE"), rows, right=frozenset({1, 2, 3})), *more, ""]
    groups = [
        (name, *_means(list(joints)))
        for name, joints in groupby(found["joints"], key=lambda joint: str(joint["group"]))
    ]
    return [*lines, *table(("GROUP", "MSE", "MAE", "LARGEST", "OF JOINT"), groups, right=frozenset({1, 2, 3}))]


def _row(name: str, steps: int, mse: float, mae: float) -> tuple[str, str, str, str]:
    return (name, str(steps), _number(mse), _number(mae))


def _means(joints: Sequence[Mapping[str, Any]]) -> tuple[str, str, str, str]:
    worst = max(joints, key=lambda joint: float(joint["worst"]))
    mse, mae = (sum(joint[name] for joint in joints) / len(joints) for name in ("mse", "mae"))
    return _number(mse), _number(mae), _number(worst["worst"]), str(worst["name"])


def _curves(curves: Mapping[str, Any] | None, width: int, *, colour: bool) -> list[str]:
    """The worst joints of the worst trajectory; without colours the two curves one below the other."""
    if not curves or not curves["joints"]:
        return []
    name = min(28, max(ink.cells(str(joint["name"])) for joint in curves["joints"]) + 3)
    room = width - name - 10
    lead: Line = [(f"episode {curves['episode']}, where it is furthest off", "plain")]
    if colour:
        lead += [("   ⣀⡠⠔ recorded", "state"), ("   ⣀⡠⠔ predicted", "action")]
    lines = [lead]
    for joint in curves["joints"]:
        both: list[tuple[str, Ink]] = [("recorded", "state"), ("predicted", "action")]
        known = [value for word, _ in both for value in joint[word] if value is not None]
        if not known:
            continue
        edges = (min(known), max(known))
        for kinds in [both] if colour else [[kind] for kind in both]:
            lines += _joint(joint, kinds, curves, edges, name, room)
    return [ink.painted(line, colour=colour) for line in lines]


def _joint(
    joint: Mapping[str, Any],
    kinds: Sequence[tuple[str, Ink]],
    curves: Mapping[str, Any],
    edges: tuple[float, float],
    name: int,
    room: int,
) -> list[Line]:
    drawn = [(curves["times"], joint[word]) for word, _ in kinds]
    alone = kinds[0][0] if len(kinds) == 1 else f"MAE {_number(joint['mae'])}"
    leads = {0: str(joint["name"]), 1: alone}
    lines: list[Line] = []
    for row, cells in enumerate(plot(drawn, room, TALL, span=(0.0, curves["seconds"]), values=edges)):
        line: Line = [(f"{ink.padded(leads.get(row, ''), name - 1)} ", "plain" if row == 0 else "faint")]
        for curve, run in groupby(cells, key=lambda cell: cell[1]):
            line.append(("".join(text for text, _ in run), "plain" if curve is None else kinds[curve][1]))
        edge = edges[1] if row == 0 else edges[0] if row == TALL - 1 else None
        lines.append([*line, (f" {edge:.3g}" if edge is not None else "", "faint")])
    return lines


def _ms(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4g}"
