"""The hosts: state, GPU, memory, CPU and disks of each, with the last minutes' load. Pure rows, then the pane."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from textual.content import Content

from dm_isaac_g1.console import bars, marks, shown
from dm_isaac_g1.console.marks import FAINT, MUTED
from dm_isaac_g1.console.panes.pane import View, retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.console.traffic import milliseconds, per_second
from dm_isaac_g1.core.forecasts import Forecast, Verdict
from dm_isaac_g1.core.samples import Disk, Gpu, HostSample, Memory
from dm_isaac_g1.core.units import UNKNOWN, size
from dm_isaac_g1.fleet.store import HostView

#: Cells: a label (a mount point fits), a figure at the right edge, a graph of the last minutes (a disk's: last hour).
_LABEL = 11
_FIGURE = 18
_GRAPH = 12
#: Columns from which a pool that CPU and GPU share has room for a graph beside its parts.
_ROOMY = 62


def block(host: HostView, view: View, width: int, *, role: str = "", detail: int = 3) -> list[Content]:
    """A host's lines: detail 3 is everything, 2 what fills up (GPU, its memory, disks), 1 is two lines."""
    now = view.clock()
    sample = host.sample
    lines = [_head(host, role, now, width)]
    if detail == 1:
        return [*lines, _brief(host, width)]
    if host.status.problem and host.status.state != "up":
        lines += _problem(host.status.problem, width, 3 if detail == 3 else 1)
    if sample is None:
        if not host.status.problem:
            lines.append(Content.styled("  no sample yet", MUTED))
        return lines
    body: list[Content] = _serving(host, width)
    for gpu in sample.gpus:
        body += _gpu(gpu, host, sample, view, width, detail)
    if not sample.gpus:
        note = sample.gpu_note or "no GPU"
        body.append(Content.styled(f"  {shown.line(note)}", MUTED))
    if detail == 3:
        if not any(gpu.unified for gpu in sample.gpus):
            body.append(_memory(sample.memory, host, view, width))
        body.append(_cpu(sample, host, view, width))
    body += [_disk(disk, host, view, width) for disk in sample.disks]
    if host.status.state != "up":
        # What is shown is old: the whole block stands back, its head says since when.
        body = [Content.styled(each.plain, FAINT) for each in body]
    return lines + body


def _head(host: HostView, role: str, now: float, width: int) -> Content:
    mark = marks.HOSTS[host.status.state]
    since = shown.age(now - host.status.since)
    word = {"away": f"away since {shown.clock(host.status.since)}", "refused": "refused"}.get(
        host.status.state, f"{mark.word} {since}"
    )
    left = Content.assemble((mark.glyph, mark.style), " ", (shown.name(host.name, 24), "bold"))
    if role:
        left += Content.styled(f"  {role}", MUTED)
    if host.sample is not None and host.sample.simulated:
        left += Content.styled("  simulated", "$warning")
    right = Content.styled(word, mark.style if host.status.state != "up" else MUTED)
    return _spread(left, right, width)


def _problem(text: str, width: int, most: int) -> list[Content]:
    """Why a host is not there and what to do, on up to `most` lines."""
    lines = textwrap.wrap(shown.line(text, 600), max(8, width - 2), max_lines=most, placeholder="…")
    return [Content.styled(f"  {line}", "$warning") for line in lines]


def _serving(host: HostView, width: int) -> list[Content]:
    """What serves there, if anything does or should; room 5 tells the rest."""
    seen = host.deployment
    if seen is None or seen.state in ("none", "unknown"):
        return []
    mark, heard = marks.SERVES[seen.state], seen.traffic
    told = "" if heard is None else f"{per_second(heard.per_second)}/s  p99 {milliseconds(heard.p99_ms)} ms"
    room = max(8, width - len(told) - len(mark.word) - 8)
    name = shown.name(seen.current.name, room) if seen.current is not None else ""
    left = Content.assemble("  ", mark.content(), "  ", (name, "bold"))
    return [_spread(left, Content.styled(told, MUTED), width)]


def _brief(host: HostView, width: int) -> Content:
    """One line of figures: GPU and memory with short bars, the worst disk."""
    sample = host.sample
    if host.status.state != "up" or sample is None:
        text = host.status.problem or ("last figures are old" if sample else "no sample yet")
        return Content.styled(f"  {shown.line(text)}", MUTED)
    gpu = sample.gpus[0] if sample.gpus else None
    parts: list[Content] = [Content("  ")]
    cells = max(4, min(16, (width - 62) // 2))
    util = gpu.util if gpu else None
    parts += [Content.styled("GPU ", MUTED), *_bar(_share(util, 100), cells, "$gpu")]
    parts.append(Content(f" {shown.percent(util):>5}  "))
    used, total = _gpu_memory(gpu, sample)
    parts += [Content.styled("mem ", MUTED), *_bar(_share(used, total), cells, "$memory")]
    parts.append(Content(f" {shown.pair(used, total)}  "))
    if sample.disks:
        disk = min(sample.disks, key=lambda each: _order(host, each))
        mark = marks.VERDICTS[_verdict(host, disk)]
        parts += [Content.styled("disk ", MUTED), Content(f"{size(disk.avail)} free ")]
        if _verdict(host, disk) is not Verdict.UNKNOWN:
            parts.append(mark.content(strong=True))
    return Content("").join(parts)


def _gpu(gpu: Gpu, host: HostView, sample: HostSample, view: View, width: int, detail: int) -> list[Content]:
    facts = [shown.whole(gpu.temp_c, "°C"), _of(gpu.power_w, gpu.power_limit_w, "W"), _of(gpu.sm_mhz, None, "MHz")]
    facts = [fact for fact in facts if fact != UNKNOWN]
    name = shown.name(_short(gpu.name) or "GPU", max(12, width - 4 - len("  ".join(facts))))
    lines = [_spread(Content(f"  {name}"), Content.styled("  ".join(facts), MUTED), width)] if detail == 3 else []
    if gpu.fault:
        lines.append(Content.styled(f"  ▲ {shown.line(gpu.fault)}", "bold $warning"))
    stale = sample.gpu_state in ("stale", "error")
    first = gpu.index == sample.gpus[0].index
    past = _graph(host.gpu_history, view, "$gpu") if first else None
    style = FAINT if stale else "$gpu"
    lines.append(_meter("GPU", _share(gpu.util, 100), style, shown.percent(gpu.util), past, width))
    if gpu.unified and sample.memory:
        lines += _pool(sample.memory, host, view, width)[: 2 if detail == 3 else 1]
    else:
        used, total = gpu.mem_used, gpu.mem_total
        past = _graph(host.vram_history, view, "$memory") if first else None
        lines.append(_meter("VRAM", _share(used, total), "$memory", shown.pair(used, total), past, width))
    if stale:
        lines.append(Content.styled(f"  ▲ {shown.line(sample.gpu_note or 'GPU figures are old')}", "$warning"))
    return lines


def _pool(memory: Memory, host: HostView, view: View, width: int) -> list[Content]:
    """Unified memory: one pool that CPU and GPU share, split into who holds it. GPU-held is not known on every
    machine: then it counts as used by "other"."""
    gpu = memory.gpu or 0
    reclaimable = max(0, memory.available - memory.free)
    other = max(0, memory.used - gpu)
    parts = [
        ("GPU", gpu, "$gpu"),
        ("other", other, "$memory"),
        ("cache", reclaimable, MUTED),
        ("free", memory.free, FAINT),
    ]
    past = [Content(" "), _graph(host.memory_history, view, "$memory")] if width >= _ROOMY else []
    cells = width - _LABEL - 4 - _FIGURE - (_GRAPH + 1 if past else 0)
    places = 0 if memory.total >= 100e9 else 1
    strip = bars.stacked([amount for _, amount, _ in parts], cells)
    bar = [Content.styled(text, style) for text, (_, _, style) in zip(strip, parts, strict=False)]
    figure = shown.pair(memory.used, memory.total)
    legend = [
        Content.assemble((shade, style), (f" {name} ", MUTED), f"{amount / 1e9:.{places}f}")
        for shade, (name, amount, style) in zip(bars.SHADES, parts, strict=True)
    ]
    return [
        Content("").join([_label("pool"), *bar, *past, Content(f"  {figure:>{_FIGURE}}")]),
        _spread(Content(""), Content("  ").join(legend) + Content.styled(" GB", MUTED), width),
    ]


def _memory(memory: Memory | None, host: HostView, view: View, width: int) -> Content:
    used, total = (memory.used, memory.total) if memory else (None, None)
    past = _graph(host.memory_history, view, "$memory")
    return _meter("RAM", _share(used, total), "$memory", shown.pair(used, total), past, width)


def _cpu(sample: HostSample, host: HostView, view: View, width: int) -> Content:
    load = UNKNOWN if sample.load1 is None else f"load {sample.load1:.1f}"
    load += f"/{sample.cpus}" if sample.cpus else ""
    past = _graph(host.cpu_history, view, "$cpu")
    return _meter("CPU", _share(sample.cpu, 100), "$cpu", f"{load}  {shown.percent(sample.cpu)}", past, width)


def _disk(disk: Disk, host: HostView, view: View, width: int) -> Content:
    """Bar and graph as above it, then the guard's word; a graph gives way where the word is a long one."""
    verdict = _verdict(host, disk)
    mark = marks.VERDICTS[verdict]
    share = _share(disk.total - disk.avail, disk.total)
    style = mark.style if verdict in (Verdict.FAIL, Verdict.TIGHT) else "$disk"
    word, glyph = ("read-only", "▲") if disk.readonly else (mark.word, mark.glyph)
    said = Content.styled(f"{glyph} {word}", f"bold {mark.style}")
    if verdict is Verdict.UNKNOWN and not disk.readonly:
        said = Content("")
    label = disk.mount if len(disk.mount) < _LABEL or not disk.paths else disk.paths[0]
    figure = f"{size(disk.avail)} free"
    bar = max(4, width - _LABEL - 4 - _FIGURE - _GRAPH - 1)
    left = width - _LABEL - 2 - bar - 1
    graph = max(0, min(_GRAPH, left - said.cell_length - 1 - len(figure) - 1))
    past = _graph(host.disk_history.get(disk.dev, ()), view, style, graph)
    line = Content("").join(
        [_label(shown.name(label, _LABEL - 1)), *_bar(share, bar, style), Content(" "), past, Content(" "), said]
    )
    return _spread(line, Content(figure), width)


def _meter(label: str, share: float | None, style: str, figure: str, past: Content | None, width: int) -> Content:
    """Label, bar, history, figure; the bar takes what is left, so that figures align at the right edge."""
    cells = width - _LABEL - 4 - _FIGURE - (_GRAPH + 1 if past is not None else 0)
    parts = [_label(label), *_bar(share, max(4, cells), style)]
    if past is not None:
        parts += [Content(" "), past]
    return Content("").join([*parts, Content(f"  {figure:>{_FIGURE}}")])


def _bar(share: float | None, width: int, style: str) -> list[Content]:
    full, rest = bars.bar(share, width)
    return [Content.styled(full, style), Content.styled(rest, "$track")]


def _label(text: str) -> Content:
    return Content.styled(f"  {text:<{_LABEL}}", MUTED)


def _graph(values: Iterable[float], view: View, style: str, width: int = _GRAPH) -> Content:
    return Content.styled(bars.history(list(values), width, braille=view.braille), style)


def _spread(left: Content, right: Content, width: int) -> Content:
    room = width - left.cell_length - right.cell_length
    if room < 1:
        left = left.truncate(max(1, width - right.cell_length - 1), ellipsis=True)
        room = max(1, width - left.cell_length - right.cell_length)
    return Content("").join([left, Content(" " * room), right])


def _short(name: str) -> str:
    """A GPU's name without what every one of them says."""
    return name.removeprefix("NVIDIA ").replace(" Workstation Edition", "").replace(" Generation", "")


def _of(value: float | None, limit: float | None, unit: str) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.0f}/{limit:.0f} {unit}" if limit else f"{value:.0f} {unit}"


def _share(value: float | None, total: float | None) -> float | None:
    return None if value is None or not total else value / total


def _gpu_memory(gpu: Gpu | None, sample: HostSample) -> tuple[float | None, float | None]:
    if gpu is not None and not gpu.unified:
        return gpu.mem_used, gpu.mem_total
    return (sample.memory.used, sample.memory.total) if sample.memory else (None, None)


def _forecast(host: HostView, disk: Disk) -> Forecast | None:
    return next((each for each in host.forecasts if each.dev == disk.dev), None)


def _verdict(host: HostView, disk: Disk) -> Verdict:
    forecast = _forecast(host, disk)
    return forecast.verdict if forecast else Verdict.UNKNOWN


def _order(host: HostView, disk: Disk) -> tuple[int, bool, int]:
    """The disk that stands for the host: the worst verdict, then where checkpoints go, then the fullest."""
    return marks.WORST.index(_verdict(host, disk)), "checkpoints" not in disk.paths, disk.avail


class Hosts(Rows):
    """All hosts, in as much detail as there is room for."""

    def __init__(self, view: View, roles: dict[str, str]) -> None:
        super().__init__(id="hosts")
        self.view = view
        self.roles = roles
        retitle(self, title("Hosts"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return any(topic in ("hosts", "deployments") or topic.startswith(("host:", "disk:")) for topic in topics)

    def lines(self, width: int, detail: int) -> list[Content]:
        rows: list[Content] = []
        for name, host in self.view.store.hosts.items():
            if self.view.filter and self.view.filter not in name.lower():
                continue
            if rows and detail > 1:
                rows.append(Content(""))
            rows += block(host, self.view, width, role=self.roles.get(name, ""), detail=detail)
        return rows

    def sync(self) -> None:
        width, height = self.scrollable_content_region.size
        if not width:
            return
        details = (3, 2, 1) if self.view.wide else (1,)
        rows = next((rows for d in details if len(rows := self.lines(width, d)) <= height), self.lines(width, 1))
        self.show(rows or [Content.styled("No hosts in this profile. `dm-g1 profile new` writes one.", MUTED)])
