"""The hosts that serve: what serves there, how well, and for whom. Pure cells, then the pane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from dm_isaac_g1.console import columns, marks, shown, traffic
from dm_isaac_g1.console.columns import Column
from dm_isaac_g1.console.marks import FAINT, MUTED, Mark
from dm_isaac_g1.console.panes.pane import View, retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.console.traffic import milliseconds, per_second
from dm_isaac_g1.core.deployments import Deployment, Release, Unfinished
from dm_isaac_g1.core.units import UNKNOWN, many
from dm_isaac_g1.deploy.history import before
from dm_isaac_g1.fleet.alerts import LEASE_SLACK
from dm_isaac_g1.fleet.store import HostView

if TYPE_CHECKING:
    from dm_isaac_g1.console.tasks import Task

#: Cells of the latency's graph.
GRAPH = 16
COLUMNS = (
    Column("state", 12, keep=100),
    Column("host", 16, keep=99),
    Column("release", 0, keep=98),
    Column("kind", 11, keep=30),
    Column("since", 8, "right", keep=70),
    Column("req/s", 6, "right", keep=85),
    Column("p50 ms", 6, "right", keep=55),
    Column("p99 ms", 6, "right", keep=80),
    Column("latency", GRAPH, keep=40),
    Column("health", 15, keep=60),
    Column("clients", 7, "right", keep=75),
)
#: Columns that a host which is not seen yet, or nothing of, says something across.
_SAYS = 2


@dataclass(slots=True)
class DeploymentView(View):
    """What the panes of the Deployments room look at."""

    #: Names of the hosts that serve, as the profile has them.
    serves: tuple[str, ...] = ()
    #: The selected host's name, and the release that a rollback would go to.
    chosen: str | None = None
    release: str | None = None
    #: What is being done and what was.
    tasks: Callable[[], Sequence[Task]] = lambda: ()
    #: Tasks up to this one are not shown any more, once they have ended.
    seen_task: int = 0

    @property
    def host(self) -> HostView | None:
        return self.store.hosts.get(self.chosen) if self.chosen is not None else None

    @property
    def deployment(self) -> Deployment | None:
        host = self.host
        return host.deployment if host is not None else None

    @property
    def target(self) -> Release | None:
        """What a rollback would go to: the release that was chosen, else the one that served before."""
        seen = self.deployment
        if seen is None:
            return None
        current = seen.current.id if seen.current is not None else None
        others = [each for each in seen.releases if each.id != current]
        chosen = next((each for each in others if each.id == self.release), None)
        return chosen or before(seen.history, others, current)


def gone(host: HostView) -> bool:
    """Whether what is known of it is old."""
    return host.status.state in ("away", "refused", "off")


def cut_off(left: Unfinished, now: float) -> bool:
    """Whether nobody vouches for a deploy any more."""
    return left.lease + LEASE_SLACK < now


def mark_of(seen: Deployment, now: float) -> Mark:
    """How it serves; a deploy that is at work or was cut off stands before the rest."""
    left = seen.unfinished
    if left is not None and seen.state != "unhealthy":
        return marks.CUT_OFF if cut_off(left, now) else marks.DEPLOYING
    return marks.SERVES[seen.state]


def health(seen: Deployment) -> Content:
    """What the last look at the server found, in a few cells."""
    found = seen.health
    if found is None:
        return Content.styled(UNKNOWN, MUTED)
    if not found.ok:
        word = {"nothing": "no port", "port": "no greeting", "greeting": "no ping", "ping": "no action"}
        return Content.styled(f"✗ {word.get(found.passed, 'bad answer')}", "$error")
    for name, value in (("action", found.action_ms), ("ping", found.ping_ms)):
        if value is not None:
            return Content.assemble(("✓ ", "$success"), (f"{name} {milliseconds(value)} ms", MUTED))
    return Content.assemble(("✓ ", "$success"), (found.passed, MUTED))


def cells(host: HostView, seen: Deployment, view: DeploymentView) -> list[Content]:
    """A host's cells, in the order of COLUMNS."""
    now = view.clock()
    mark = mark_of(seen, now)
    loud = seen.state in ("unhealthy", "down")
    heard, current = seen.traffic, seen.current
    graph = traffic.graph(host.traffic_history, traffic.p99, now, GRAPH, braille=view.braille)
    return [
        mark.content(strong=loud),
        where(seen),
        _release(seen),
        Content.styled(shown.line(current.kind, 16) if current is not None else UNKNOWN, MUTED),
        Content.styled(shown.age(now - seen.since) if seen.since else UNKNOWN, MUTED),
        Content(per_second(heard.per_second)) if heard is not None else Content.styled(UNKNOWN, MUTED),
        Content(milliseconds(heard.p50_ms if heard is not None else None)),
        Content(milliseconds(heard.p99_ms if heard is not None else None)),
        Content.styled(graph, "$smooth"),
        health(seen),
        Content(UNKNOWN if seen.clients is None else str(seen.clients)),
    ]


def where(seen: Deployment) -> Content:
    return Content.assemble((shown.name(seen.host, 24), "bold"), (f":{seen.port}", MUTED))


def _release(seen: Deployment) -> Content:
    if seen.state == "foreign":
        return Content.styled("not deployed from here", "$warning")
    if seen.current is None:
        keys = Content.assemble(("d", "bold $primary"), (" deploys", MUTED))
        return Content.styled("nothing yet  ", MUTED) + keys
    name = Content.styled(shown.name(seen.current.name, 48), "bold")
    step = seen.current.step
    told = step is None or str(step) in seen.current.name.split("-")  # "run-checkpoint-400" says it
    return name + Content.styled("" if told else f"  step {step}", MUTED)


def listed(view: DeploymentView) -> list[HostView]:
    """The hosts that serve, in the profile's order, as far as the filter leaves them."""
    names = [*view.serves, *(n for n, h in view.store.hosts.items() if h.deployment is not None)]
    hosts = [view.store.hosts[name] for name in dict.fromkeys(names) if name in view.store.hosts]
    return [host for host in hosts if _passes(host, view.filter)]


def _passes(host: HostView, wanted: str) -> bool:
    seen = host.deployment
    current = seen.current if seen is not None else None
    words = (host.name, seen.state if seen else "", *((current.name, current.kind, current.source) if current else ()))
    return not wanted or wanted in " ".join(words).lower()


class Serving(Rows):
    """The list; its cursor chooses what the other panes show."""

    def __init__(self, view: DeploymentView) -> None:
        super().__init__(id="serving", selectable=True, head=True)
        self.view = view
        retitle(self, title("Deployments"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return bool(topics & {"deployments", "hosts"})

    def wish(self) -> int:
        """Lines that it would like to have inside its frame."""
        return 1 + max(1, len(listed(self.view)))

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        hosts = listed(self.view)
        self._retitle(hosts)
        if not hosts:
            self.show([_none(self.view)])
            return
        layout = columns.fit(COLUMNS, width, least=22)
        rows = [columns.titles(COLUMNS, layout), *(self._row(host, layout, width) for host in hosts)]
        self.show(rows, [None, *(host.name for host in hosts)])
        self.select(self.view.chosen)

    def _row(self, host: HostView, layout: list[tuple[int, int]], width: int) -> Content:
        seen = host.deployment
        if seen is None:
            words = "not seen yet" if gone(host) else "looking…"
            name = Content.styled(shown.name(host.name, 24), "bold")
            return _across(layout, [Content.styled("·", FAINT), name], Content.styled(words, FAINT), width)
        row = columns.row(COLUMNS, layout, cells(host, seen, self.view))
        if gone(host):
            # What is shown of a host that is away is old: it stands back.
            mark = marks.HOSTS[host.status.state]
            state = Content.styled(f"{mark.glyph} {mark.word}".ljust(layout[0][1]), mark.style)
            return state + Content.styled(row.plain[layout[0][1] :], FAINT)
        return row

    def _retitle(self, hosts: list[HostView]) -> None:
        seen = [host.deployment for host in hosts if host.deployment is not None and not gone(host)]
        going = sum(each.state in ("serving", "busy") for each in seen)
        rate = sum(each.traffic.per_second for each in seen if each.traffic is not None)
        if not seen:
            retitle(self, title("Deployments"))
            return
        told = f"{going} of {many(len(hosts), 'host')} serving"
        told += f", {per_second(rate)} requests a second" if any(each.traffic for each in seen) else ""
        retitle(self, title("Deployments", told))


def _across(layout: Sequence[tuple[int, int]], first: list[Content], text: Content, width: int) -> Content:
    """The first cells in their columns, then a text across the rest."""
    parts: list[Content] = []
    for (_, cells_wide), cell in zip(layout, first, strict=False):
        parts.append(cell.truncate(cells_wide, ellipsis=True).pad_right(max(0, cells_wide - cell.cell_length)))
        parts.append(Content(" " * columns.GAP))
    return Content("").join([*parts, text]).truncate(width, ellipsis=True)


def _none(view: DeploymentView) -> Content:
    if view.filter:
        return Content.styled(f"No host that serves matches {shown.line(view.filter, 40)}.", MUTED)
    return Content.assemble(
        ("No host of this profile serves: give one ", MUTED), ("roles: [serve]", "bold"), (" in it.", MUTED)
    )
