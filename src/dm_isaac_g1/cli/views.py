"""What events look like as plain text: tables of hosts, jobs, checkpoints and forecasts, lines for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dm_isaac_g1.cli.data_views import datasets
from dm_isaac_g1.cli.serving_views import serving
from dm_isaac_g1.cli.table import table
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.forecasts import Forecast
from dm_isaac_g1.core.runs import JobInfo
from dm_isaac_g1.core.samples import Gpu, HostSample, Memory
from dm_isaac_g1.core.units import UNKNOWN, duration, size

#: Metrics that `curves` shows, in this order.
SHOWN = ("loss", "grad_norm", "learning_rate")


def lines(events: Sequence[ev.Event], now: float) -> list[str]:
    """A table for each kind of thing among `events`, in the order of first appearance."""
    blocks: list[list[str]] = []
    statuses = [each for each in events if isinstance(each, ev.HostStatus)]
    samples = {each.sample.host: each.sample for each in events if isinstance(each, ev.Sample)}
    if statuses:
        blocks.append(hosts(statuses, samples, now))
    else:
        blocks += [gpus(sample) for sample in samples.values()]
    known = {each.host: each.datasets for each in events if isinstance(each, ev.Datasets)}
    blocks.append(datasets(each for listed in known.values() for each in listed))
    seen = {d.host: d for each in events if isinstance(each, ev.Deployments) for d in each.deployments}
    blocks.append(serving(seen.values(), now))
    jobs_ = {each.job.id: each.job for each in events if isinstance(each, ev.Job)}
    blocks.append(jobs(jobs_.values(), now))
    saved = {each.run: each for each in events if isinstance(each, ev.Checkpoints)}
    blocks.append(checkpoints(saved.values(), now))
    blocks.append(curves([each for each in events if isinstance(each, ev.Metrics | ev.MetricColumns)]))
    blocks += [
        forecasts(each.forecasts) for each in {e.host: e for e in events if isinstance(e, ev.Forecasts)}.values()
    ]
    out: list[str] = []
    for block in filter(None, blocks):
        out += [*([""] if out else []), *block]
    return out


def hosts(statuses: Iterable[ev.HostStatus], samples: dict[str, HostSample], now: float) -> list[str]:
    """A line for each host, and its problem under the table."""
    rows, problems = [], []
    for status in statuses:
        sample = samples.get(status.host)
        rows.append(
            (
                status.host + (" (simulated)" if sample and sample.simulated else ""),
                status.state if status.state == "up" else f"{status.state} {_since(status.since, now)}",
                gpu_line(sample),
                memory_line(sample.memory if sample else None),
                disk_line(sample),
            )
        )
        if status.problem:
            problems.append(status.problem if status.host in status.problem else f"{status.host}: {status.problem}")
    return [*table(("HOST", "STATE", "GPU", "MEMORY", "DISK FREE"), rows), *problems]


def gpu_line(sample: HostSample | None) -> str:
    """The first GPU in a few words, or why there is none."""
    if sample is None:
        return UNKNOWN
    if not sample.gpus:
        return sample.gpu_note or "none"
    first = sample.gpus[0]
    parts = [
        _percent(first.util),
        f"{first.temp_c:.0f} °C" if first.temp_c is not None else "",
        f"{first.power_w:.0f} W" if first.power_w is not None else "",
        first.fault or "",
        "stale" if sample.gpu_state == "stale" else "",
        f"+{len(sample.gpus) - 1} more" if len(sample.gpus) > 1 else "",
    ]
    return " ".join(part for part in parts if part)


def memory_line(memory: Memory | None) -> str:
    return f"{size(memory.used)} of {size(memory.total)}" if memory else UNKNOWN


def disk_line(sample: HostSample | None) -> str:
    """The fullest of the disks that the profile's paths lie on."""
    if sample is None or not sample.disks:
        return UNKNOWN
    disk = min(sample.disks, key=lambda each: each.avail / max(1, each.total))
    return f"{size(disk.avail)} of {size(disk.total)} on {disk.mount}"


def gpus(sample: HostSample) -> list[str]:
    """All GPUs of a host, its memory, and the processes on them."""
    title = sample.host + ("  SIMULATED" if sample.simulated else "")
    rows = [_gpu_row(each, sample) for each in sample.gpus]
    processes = [(str(each.pid), each.name, size(each.mem), each.container or "") for each in sample.processes]
    head = ("GPU", "NAME", "UTIL", "MEMORY", "TEMP", "POWER", "SM CLOCK", "DRIVER")
    return [
        title,
        *(table(head, rows) or [sample.gpu_note or "no GPU"]),
        f"host memory: {memory_line(sample.memory)}",
        *table(("PID", "PROCESS", "MEMORY", "CONTAINER"), processes),
    ]


def _gpu_row(gpu: Gpu, sample: HostSample) -> tuple[str, ...]:
    if gpu.unified:
        held = sample.memory.gpu if sample.memory else None
        memory = f"{size(held)} of the host's {size(sample.memory.total if sample.memory else None)}"
    else:
        memory = f"{size(gpu.mem_used)} of {size(gpu.mem_total)}"
    return (
        str(gpu.index),
        gpu.name,
        _percent(gpu.util),
        memory,
        f"{gpu.temp_c:.0f} °C" if gpu.temp_c is not None else UNKNOWN,
        f"{gpu.power_w:.1f} W" if gpu.power_w is not None else UNKNOWN,
        (f"{gpu.sm_mhz:.0f} MHz" if gpu.sm_mhz is not None else UNKNOWN) + (f" ({gpu.fault})" if gpu.fault else ""),
        gpu.driver or UNKNOWN,
    )


def jobs(listed: Iterable[JobInfo], now: float) -> list[str]:
    """A line for each job, and the cause under it where one failed."""
    rows, causes = [], []
    for job in listed:
        state = job.state.value if not job.rung or job.state.ended else f"{job.state.value}, stopping: {job.rung}"
        begun = job.started or job.spec.created
        took = ((job.ended or now) - begun) if begun else None
        rows.append((job.id, job.host, state, job.spec.trainer or job.spec.name, duration(took)))
        if job.diagnosis:
            causes.append(f"{job.id}: {job.diagnosis.cause}" + (f"; {job.diagnosis.fix}" if job.diagnosis.fix else ""))
    return [*table(("JOB", "HOST", "STATE", "WHAT", "TIME"), rows), *causes]


def checkpoints(events: Iterable[ev.Checkpoints], now: float) -> list[str]:
    """All checkpoints, newest first in each run."""
    rows = []
    for event in events:
        for each in sorted(event.checkpoints, key=lambda one: one.step, reverse=True):
            state = "complete" if each.complete else "being written" if each.writing else "partial"
            kind = "full" if each.full else "weights only"
            rows.append(
                (
                    event.run,
                    each.name,
                    str(each.step),
                    size(each.size),
                    state,
                    kind,
                    duration(max(0.0, now - each.mtime)),
                )
            )
    return table(("RUN", "CHECKPOINT", "STEP", "SIZE", "STATE", "KIND", "AGE"), rows, right=frozenset({2, 3}))


def curves(events: Iterable[ev.Metrics | ev.MetricColumns], last: int = 10) -> list[str]:
    """The last points of the curves, a line for each step at which the loss was logged."""
    values: dict[str, dict[int, float]] = {}
    before = 0
    for event in events:
        if isinstance(event, ev.MetricColumns):
            for name, column in event.columns.items():
                values.setdefault(name, {}).update(zip(column.steps[-last:], column.values[-last:], strict=True))
                before += max(0, len(column) - last) if name == "loss" else 0
            continue
        for point in event.points:
            values.setdefault(point.name, {})[point.step] = point.value
    steps = sorted(values.get("loss", ()))
    names = [name for name in SHOWN if name in values]
    rows = [
        (str(step), *(f"{values[name][step]:.4g}" if step in values[name] else "" for name in names))
        for step in steps[-last:]
    ]
    head = ("STEP", *(name.replace("_", " ").upper() for name in names))
    lines = table(head, rows, right=frozenset(range(len(head))))
    count = before + len(steps)
    return [*lines, f"the last {len(rows)} of {count} points"] if count > len(rows) else lines


def forecasts(said: Iterable[Forecast]) -> list[str]:
    """The guard's word on each file system, with the next saves and what would help."""
    out: list[str] = []
    for each in said:
        out.append(f"{each.verdict.value:<8}{each.host} {each.mount}  {size(each.avail)} free of {size(each.total)}")
        if each.reason:
            out.append(f"        {each.reason}")
        rows = [
            (
                f"        {save.kind}",
                save.run,
                str(save.step),
                duration(save.eta),
                size(save.free_before),
                size(save.free_at_peak),
                save.verdict.value,
            )
            for save in each.saves
        ]
        out += table(("        SAVE", "RUN", "STEP", "IN", "FREE BEFORE", "AT ITS PEAK", "VERDICT"), rows)
        if each.failing:
            out.append(f"        {size(each.missing)} missing at step {each.failing.step} of {each.failing.run}")
        out += [f"        {help.title}: {size(help.bytes)}, risk {help.risk}" for help in each.remedies]
    return out


def alert(event: ev.Alert) -> str:
    """One line: severity, what, where, and what to do."""
    text = f"{event.severity.upper()}: {event.host}: {event.title}"
    return text + (f" ({event.detail})" if event.detail else "") + (f"; {event.fix}" if event.fix else "")


def progress(event: ev.Progress) -> str:
    """A step of an action."""
    if event.done is None or event.unit == "steps":
        return event.text
    return f"{event.text} [{figures(event)}]"


def figures(event: ev.Progress) -> str:
    """How far it is: "12/200 episodes", "1.2 MB of 40.0 MB"."""
    if event.unit == "bytes":
        return size(event.done) + (f" of {size(event.total)}" if event.total is not None else "")
    total = f"/{event.total:g}" if event.total is not None else ""
    return f"{event.done or 0:g}{total} {event.unit}".rstrip()


def _percent(value: float | None) -> str:
    return f"{value:.0f} %" if value is not None else UNKNOWN


def _since(since: float, now: float) -> str:
    return f"for {duration(max(0.0, now - since))}"
