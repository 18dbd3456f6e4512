"""What serves on the selected host, from near: the release, its health rung by rung, what it answers, and what is not
finished there. Pure lines, then the pane."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from textual.content import Content

from dm_isaac_g1.console import marks, shown, traffic
from dm_isaac_g1.console.marks import FAINT, MUTED
from dm_isaac_g1.console.panes.deployments import (
    DeploymentView,
    cut_off,
    gone,
)
from dm_isaac_g1.console.panes.pane import retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.console.traffic import milliseconds, per_second
from dm_isaac_g1.core.deployments import STEPS, Deployment, Health, Release, Unfinished
from dm_isaac_g1.core.units import UNKNOWN, size
from dm_isaac_g1.fleet.store import HostView

#: Cells of the words at the left.
_WORD = 10
NOTHING = [Content.styled("What serves on the selected host.", FAINT)]
#: What stands where nothing was ever deployed.
FIRST_STEPS = [
    Content(""),
    Content.assemble(("d   ", "bold $primary"), "puts a checkpoint into service; its plan is shown first"),
    Content.styled("    It is copied, and asked for an action beside what serves;", MUTED),
    Content.styled("    only then it takes the port. If it fails, nothing changed.", MUTED),
    Content.assemble(("r   ", "bold $primary"), "goes back to what served before"),
]
#: The rungs of a look at a server, in the order they are climbed, and what each says when it holds.
RUNGS = (
    ("port", "somebody listens"),
    ("greeting", "it speaks ZeroMQ"),
    ("ping", "it answers"),
    ("action", "a real get_action: shapes, names, finite"),
)


def lines(host: HostView, seen: Deployment, view: DeploymentView, width: int) -> list[Content]:
    """State, what is not finished, the release, the rungs, the traffic."""
    now = view.clock()
    out = _state(seen, now, width)
    if view.wide:
        out.append(Content(""))
    if seen.unfinished is not None:
        out += unfinished(seen.unfinished, now, width)
    for word, text in _facts(seen, now):
        out += _wrapped(word, text, width)
    if seen.traffic is not None:
        out += _traffic(host, seen, view, width)
    if seen.state == "none" and not seen.releases:
        out += FIRST_STEPS
    if seen.state not in ("none", "unknown"):
        out += [*([Content("")] if view.wide else []), *rungs(seen.health, now)]
    return out


def _state(seen: Deployment, now: float, width: int) -> list[Content]:
    """How it serves and since when, or what is wrong."""
    mark = marks.SERVES[seen.state]
    since = f"since {shown.day(seen.since, now)}, {shown.age(now - seen.since)}" if seen.since else ""
    told = {
        "foreign": "it serves, and no deploy of ours put it there: a deploy would replace it",
        "none": "nothing was deployed to this port",
        "busy": f"{since}; a ping waits behind a get_action",
    }
    said = shown.line(seen.problem, 400) if seen.problem else told.get(seen.state, since)
    style = "$error" if seen.state in ("unhealthy", "down") else MUTED
    head = mark.content(strong=True)
    pieces = textwrap.wrap(said, max(12, width - head.cell_length - 2)) or [""]
    indent = " " * (head.cell_length + 2)
    return [
        (head + Content("  ") if index == 0 else Content(indent)) + Content.styled(piece, style)
        for index, piece in enumerate(pieces)
    ]


def unfinished(left: Unfinished, now: float, width: int) -> list[Content]:
    """A deploy that has not ended: who is at it, or that nobody is, and what to do."""
    step = f"step {left.step}, {STEPS.index(left.step) + 1} of {len(STEPS)}"
    by = f", begun by {shown.line(left.by, 60)}" if left.by else ""
    if not cut_off(left, now):
        mark, said, fix = marks.DEPLOYING, f"{left.release}: {step}{by}", ""
    else:
        mark = marks.CUT_OFF
        said = f"{left.release}: {step}{by} {shown.age(now - left.began)} ago, and nobody is at it"
        touched = STEPS.index(left.step) >= STEPS.index("switch")
        fix = (
            "c goes on: the new one is confirmed, or the one before is put back"
            if touched
            else "c goes on where it ended; what served before serves on"
        )
    head = f"{mark.glyph} {mark.word}  "
    first, *rest = textwrap.wrap(head + shown.line(said, 300), max(12, width - 2)) or [head]
    out = [Content.assemble((first[: len(head)], f"bold {mark.style}"), first[len(head) :])]
    out += [Content(f"  {line}") for line in rest]
    for index, line in enumerate(textwrap.wrap(fix, max(12, width - 4))):
        out.append(Content.assemble(("  → " if index == 0 else "    ", "$primary"), (line, MUTED)))
    return [*out, Content("")]


def _facts(seen: Deployment, now: float) -> Iterator[tuple[str, str]]:
    how = f"{seen.how}, " if seen.how else ""
    clients = "" if seen.clients is None else f", {_clients(seen.clients)}"
    yield "serves by", f"{how}port {seen.port}{clients}"
    if seen.current is not None:
        yield from release_facts(seen.current, now)


def _clients(count: int) -> str:
    return "nobody is connected" if count == 0 else f"{count} client{'s' if count > 1 else ''} connected"


def release_facts(release: Release, now: float) -> Iterator[tuple[str, str]]:
    """A release, a line for everything that is known of it."""
    step = f", step {release.step}" if release.step is not None else ""
    yield "release", f"{release.name}{step}"
    yield "model", f"{release.kind}{f', {release.embodiment}' if release.embodiment else ''}, {size(release.bytes)}"
    if release.source:
        yield "from", release.source
    if release.digest:
        yield "sha256", f"{release.digest[:12]}… of its file list"
    if release.path:
        yield "lies in", release.path
    if release.created:
        yield "copied", f"{shown.age(now - release.created)} ago"


def _wrapped(word: str, text: str, width: int) -> list[Content]:
    pieces = textwrap.wrap(shown.line(text, 600), max(12, width - _WORD), break_on_hyphens=False) or [""]
    return [
        Content.assemble((f"{word if index == 0 else '':<{_WORD}}", MUTED), piece) for index, piece in enumerate(pieces)
    ]


def _traffic(host: HostView, seen: Deployment, view: DeploymentView, width: int) -> list[Content]:
    """What the server says of its requests; a graph of each where no pane has one."""
    heard = seen.traffic
    assert heard is not None
    failed = Content.styled(f", {heard.errors:,} failed", "bold $error" if heard.errors else MUTED)
    rate = Content.assemble(
        (f"{'requests':<{_WORD}}", MUTED), f"{per_second(heard.per_second)}/s", (f"  {heard.requests:,} so far", MUTED)
    )
    speed = Content.assemble(
        (f"{'latency':<{_WORD}}", MUTED),
        f"{milliseconds(heard.p50_ms)} ms",
        (f"  p99 {milliseconds(heard.p99_ms)} ms", MUTED),
    )
    rows = [rate + failed, speed]
    cells = min(24, width - 46)
    if view.wide or cells < 8:
        return rows
    looks, now = host.traffic_history, view.clock()
    graphs = [
        traffic.graph(looks, value, now, cells, braille=view.braille) for value in (traffic.requests, traffic.p99)
    ]
    styles = ("$gpu", "$smooth")
    return [
        _beside(row, Content.styled(graph, style), width - 1)
        for row, graph, style in zip(rows, graphs, styles, strict=True)
    ]


def _beside(left: Content, right: Content, width: int) -> Content:
    room = width - left.cell_length - right.cell_length
    return Content("").join([left, Content(" " * max(1, room)), right])


def rungs(found: Health | None, now: float) -> list[Content]:
    """The ladder of a look: what held, where it broke, what was not asked."""
    if found is None:
        return [Content.assemble((f"{'health':<{_WORD}}", MUTED), ("not looked at yet", FAINT))]
    names = [name for name, _ in RUNGS]
    reached = names.index(found.passed) if found.passed in names else -1
    figures = {"ping": found.ping_ms, "action": found.action_ms}
    out: list[Content] = []
    for index, (name, meaning) in enumerate(RUNGS):
        lead = Content.styled(f"{'health' if index == 0 else '':<{_WORD}}", MUTED)
        if index <= reached:
            took = figures.get(name)
            dialect = f", {shown.line(found.dialect, 12)}" if name == "ping" and found.dialect else ""
            text = f"{milliseconds(took)} ms{dialect}" if took is not None else f"{meaning}{dialect}"
            row = Content.assemble(("✓ ", "$success"), f"{name:<10}", (text, MUTED))
        elif index == reached + 1 and not found.ok:
            row = Content.assemble(("✗ ", "bold $error"), (f"{name:<10}", "bold"), (_why(found), "$error"))
        elif index == reached + 1 and name == "action":
            # A look from afar asks for no action: a robot would wait behind it.
            row = Content.assemble(("· ", FAINT), (f"{name:<10}", FAINT), ("V asks for one", FAINT))
        else:
            row = Content.assemble(("· ", FAINT), (f"{name:<10}", FAINT))
        out.append(lead + row)
    if found.checked:
        out.append(Content.styled(f"{'':<{_WORD}}  looked at {shown.age(now - found.checked)} ago", FAINT))
    return out


def _why(found: Health) -> str:
    return shown.line(found.problem or UNKNOWN, 400)


class Facts(Rows):
    """What serves on the selected host."""

    def __init__(self, view: DeploymentView) -> None:
        super().__init__(id="facts")
        self.view = view
        retitle(self, title("Serving"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return bool(topics & {"deployments", "hosts"})

    def wish(self, width: int) -> int:
        """Lines that it would like to have inside its frame."""
        host = self.view.host
        if host is None or host.deployment is None:
            return 1
        return len(lines(host, host.deployment, self.view, width))

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        host = self.view.host
        seen = host.deployment if host is not None else None
        if host is None or seen is None:
            retitle(self, title("Serving"))
            self.show(NOTHING)
            return
        since = Content("")
        if gone(host):
            mark = marks.HOSTS[host.status.state]
            since = Content.styled(f"  {mark.word} since {shown.clock(host.status.since)}", mark.style)
        name = shown.name(seen.current.name, max(12, width - 24)) if seen.current is not None else "Serving"
        retitle(self, title(name, Content.styled(shown.name(seen.host, 16), MUTED) + since))
        rows = lines(host, seen, self.view, width)
        if gone(host):
            rows = [Content.styled(row.plain, FAINT) for row in rows]
        self.show(rows)


class Answers(Rows):
    """Latency and requests of the selected host's server over the last ten minutes."""

    def __init__(self, view: DeploymentView) -> None:
        super().__init__(id="answers")
        self.view = view
        retitle(self, title("Answers"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return bool(topics & {"deployments", "hosts"})

    def sync(self) -> None:
        width, height = self.scrollable_content_region.size
        if not width:
            return
        host = self.view.host
        if host is None or not host.traffic_history:
            retitle(self, title("Answers"))
            self.show([Content.styled("Latency and requests, where the server tells them: ours do.", FAINT)])
            return
        retitle(self, title("Answers", "the last ten minutes, the worst of each stretch"))
        rows = charts(host, self.view, width, height)
        self.show([Content.styled(row.plain, FAINT) for row in rows] if gone(host) else rows)


#: The two graphs: what, its unit, its value, its colour.
GRAPHS = (
    ("latency p99", "ms", traffic.p99, "$smooth"),
    ("latency p50", "ms", traffic.p50, "$raw"),
    ("requests", "/s", traffic.requests, "$gpu"),
)
#: Cells of the axis at the left.
_AXIS = 9


def charts(host: HostView, view: DeploymentView, width: int, height: int) -> list[Content]:
    """The graphs that fit, one above the other, each with its top and its last value, and the time below."""
    shown_graphs = GRAPHS if height >= 17 else (GRAPHS[0], GRAPHS[2]) if height >= 9 else GRAPHS[:1]
    each = max(1, (height - 1 - len(shown_graphs)) // len(shown_graphs))
    looks, now = host.traffic_history, view.clock()
    cells = max(8, width - _AXIS - 1)
    rows: list[Content] = []
    for name, unit, value, style in shown_graphs:
        lines, top = traffic.chart(looks, value, now, cells, each, braille=view.braille)
        last = next((found for _, heard in reversed(looks) if (found := value(heard)) is not None), None)
        told = UNKNOWN if last is None else f"{milliseconds(last)} {unit}".replace(" /", "/")
        rows.append(Content.assemble((" " * _AXIS, ""), (name, MUTED), "  ", (told, "bold")))
        for index, line in enumerate(lines):
            label = f"{top:g} {unit}".replace(" /", "/") if index == 0 else "0" if index == each - 1 else ""
            rows.append(Content.assemble((f"{label:>{_AXIS - 1}} ", FAINT), (line, style)))
    ago = "10 m ago"
    rows.append(Content.styled(f"{' ' * _AXIS}{ago}{'now':>{max(1, cells - len(ago))}}", FAINT))
    return rows
