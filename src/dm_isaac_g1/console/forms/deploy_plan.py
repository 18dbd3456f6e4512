"""What a deploy is about to do, in words: pure lines from the plan that the action made."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from textual.content import Content

from dm_isaac_g1.console import shown
from dm_isaac_g1.core.deployments import DeployPlan
from dm_isaac_g1.core.units import duration, many, size

#: Cells of the words at the left.
_WORD = 11


def plan_lines(plan: DeployPlan, width: int) -> list[Content]:
    """What, from where, where to, what is sent, what it replaces, what robots notice; then what stands against it."""
    rows: list[Content] = []
    for word, text, style in said(plan):
        rows += line(word, text, width, style=style)
    for text in () if plan.serves else plan.warnings:
        rows += marked("▲", "$warning", text, width)
    for text in plan.problems:
        rows += marked("✗", "$error", text, width)
    return rows


def head_lines(plan: DeployPlan, width: int) -> list[Content]:
    """What is being put where, while the steps go on below."""
    return [row for word, text, style in list(said(plan))[:3] for row in line(word, text, width, style=style)]


def said(plan: DeployPlan) -> Iterator[tuple[str, str, str]]:
    """(word, what is said, style), in the order of reading."""
    new = plan.release
    step = f", step {new.step}" if new.step is not None else ""
    tag = f", {new.embodiment}" if new.embodiment else ""
    yield (
        "deploys",
        f"{new.name}{step}: {new.kind}{tag}, {size(plan.bytes or new.bytes)} in {many(plan.files, 'file')}",
        "bold",
    )
    yield "from", new.source, ""
    yield "to", f"{plan.host}, port {plan.port}{f', {plan.how}' if plan.how else ''}", ""
    if plan.serves:
        yield "serves", "it serves there already: nothing to do", "bold $success"
        return
    yield "sends", _sends(plan), ""
    yield "replaces", _replaces(plan), ""
    if (room := _room(plan)) is not None:
        yield "room", room, ""
    # A warning says of clients what they will notice: once is enough.
    if plan.clients is not None and not (plan.clients and any("connected" in each for each in plan.warnings)):
        told = (
            "nobody is connected" if plan.clients == 0 else f"{many(plan.clients, 'client')} connected to the port now"
        )
        yield "clients", told, "bold" if plan.clients else ""
    yield "outage", _outage(plan), "" if plan.beside else "$warning"
    yield "otherwise", _otherwise(plan), ""


def _sends(plan: DeployPlan) -> str:
    took = f", about {shown.age(plan.seconds)} in all" if plan.seconds is not None else ""
    if plan.method == "none" or not plan.to_send:
        return f"nothing: all {size(plan.bytes)} are there already{took}"
    ways = {"copy": "straight from host to host", "relay": "through this machine", "hub": "from the Hub, onto the host"}
    part = f" of {size(plan.bytes)}" if plan.to_send < plan.bytes else ""
    return f"{size(plan.to_send)}{part}, {ways.get(plan.method, plan.method)}{took}"


def _replaces(plan: DeployPlan) -> str:
    if plan.foreign:
        return f"{plan.foreign}, which was not deployed from here"
    if plan.replaces is None:
        return "nothing: nothing serves there"
    step = f", step {plan.replaces.step}" if plan.replaces.step is not None else ""
    return f"{plan.replaces.name}{step}; it stays there for a rollback"


def _room(plan: DeployPlan) -> str | None:
    parts = []
    if plan.memory_needed is not None or plan.memory_free is not None:
        parts.append(f"memory {size(plan.memory_needed)} of {size(plan.memory_free)} free")
    if plan.disk_free is not None:
        parts.append(f"disk {size(plan.to_send)} of {size(plan.disk_free)} free")
    return "; ".join(parts) or None


def _outage(plan: DeployPlan) -> str:
    if plan.replaces is None and not plan.foreign:
        return "none: nothing serves there yet"
    lasts = f"about {duration(plan.outage_s)}" if plan.outage_s is not None else "as long as the model loads"
    if plan.beside:
        return f"{lasts}, on the port; before, the new one stands a test beside the old one, which serves meanwhile"
    return f"{lasts}: the old one is stopped before the new one has answered"


def _otherwise(plan: DeployPlan) -> str:
    if plan.replaces is None and not plan.foreign:
        return "a model that fails its test does not serve"
    kept = "serves on, as if nothing had been" if plan.beside else "is started again"
    return f"if the new one fails its test, the old one {kept}"


def line(word: str, text: str, width: int, *, style: str = "") -> list[Content]:
    """A word and what is said, on as many lines as that takes."""
    pieces = textwrap.wrap(shown.line(text, 600), max(20, width - _WORD), break_on_hyphens=False) or [""]
    return [
        Content.assemble((f"{word if index == 0 else '':<{_WORD}}", "bold $primary"), (piece, style))
        for index, piece in enumerate(pieces)
    ]


def marked(glyph: str, style: str, text: str, width: int) -> list[Content]:
    """A sentence behind a sign."""
    pieces = textwrap.wrap(shown.line(text, 600), max(20, width - 2), break_on_hyphens=False) or [""]
    return [
        Content.assemble((f"{glyph if index == 0 else ' '} ", f"bold {style}"), (piece, style))
        for index, piece in enumerate(pieces)
    ]
