"""What the user should know: rules over the live picture, each a small pure function. None does I/O.

A rule yields the alerts that hold now; `changes` compares them with those that stand. The same key is the same
matter: it is updated, keeps its beginning, and is cleared when its rule says it no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from dm_isaac_g1.core.deployments import Release
from dm_isaac_g1.core.events import Alert
from dm_isaac_g1.core.forecasts import Forecast, Verdict
from dm_isaac_g1.core.profile import Thresholds
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.core.units import duration, size
from dm_isaac_g1.deploy.history import before
from dm_isaac_g1.finetuning.remedies import enough
from dm_isaac_g1.fleet.runs import step_of, step_time
from dm_isaac_g1.fleet.store import HostView, RunView, Store

#: Seconds before a host that is away is worth an alert: a reconnect within them is none.
AWAY_AFTER = 5.0
#: A GPU that was too hot counts as cool again this many degrees below the threshold.
COOLED_BY = 3.0
#: Phases in which no step comes for a while, and how many times longer they may take before it is a stall after all.
PATIENT_PHASES = {"starting": 10.0, "caching": 10.0, "saving": 5.0}
#: Seconds for which a job that failed is worth an alert.
FAILED_FOR = 24 * 3600.0
#: Seconds that finding the cause of a failure may take, from its end or from when we began to read its log, before it
#: is told without.
DIAGNOSED_WITHIN = 5.0


def evaluate(store: Store, thresholds: Thresholds, now: float) -> dict[str, Alert]:
    """All alerts that hold at `now`, by key."""
    found: dict[str, Alert] = {}
    for host in store.hosts.values():
        for rule in HOST_RULES:
            found |= {each.key: each for each in rule(host, store, thresholds, now)}
    for run in store.runs.values():
        for check in RUN_RULES:
            found |= {each.key: each for each in check(run, store, thresholds, now)}
    return found


def changes(standing: Mapping[str, Alert], holds: Mapping[str, Alert], now: float) -> list[Alert]:
    """The events that bring the alerts that stand to those that hold."""
    events: list[Alert] = []
    for key, alert in holds.items():
        before = standing.get(key)
        since = before.since if before else alert.since or now
        alert = msgspec.structs.replace(alert, since=since, at=now)
        if before is None or msgspec.structs.replace(before, at=now) != alert:
            events.append(alert)
    for key, before in standing.items():
        if key not in holds:
            events.append(msgspec.structs.replace(before, cleared=True, at=now))
    return events


# Hosts


def host_gone(host: HostView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """A host that is away, or refuses us."""
    status = host.status
    if status.state == "refused":
        yield Alert(
            key=f"host:{host.name}",
            kind="host-refused",
            severity="critical",
            host=host.name,
            title="refused",
            detail=status.problem or "",
            since=status.since,
        )
    elif status.state == "away" and now - status.since >= AWAY_AFTER:
        running = sum(not run.job.state.ended and run.job.host == host.name for run in store.runs.values())
        going = f"; {running} jobs were running there, they go on without us" if running else ""
        yield Alert(
            key=f"host:{host.name}",
            kind="host-away",
            severity="warning",
            host=host.name,
            title="away",
            detail=(status.problem or "no answer") + going,
            since=status.since,
        )


def disk(host: HostView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """A save that will not fit, or fits with less than the reserve left."""
    for forecast in host.forecasts:
        if forecast.verdict not in (Verdict.FAIL, Verdict.TIGHT):
            continue
        fails = forecast.verdict is Verdict.FAIL
        failing = forecast.failing
        yield Alert(
            key=f"disk:{host.name}:{forecast.dev}",
            kind="disk",
            severity="critical" if fails else "warning",
            host=host.name,
            run=failing.run if failing else None,
            title=disk_title(forecast),
            detail=disk_detail(forecast),
            fix=disk_fix(forecast),
        )


def disk_title(forecast: Forecast) -> str:
    """A few words that stay the same: what will not fit, and by how much."""
    if forecast.verdict is not Verdict.FAIL:
        return "saves fit, with less than the reserve left" if forecast.saves else "less than the reserve is left"
    failing = forecast.failing
    if failing is None:
        return "a disk will be full"
    what = "final model" if failing.kind == "final" else f"save at step {failing.step}"
    if forecast.coincidence:
        return f"{what} may not fit if runs save at once, {size(forecast.missing)} missing then"
    return f"{what} will not fit, {size(forecast.missing)} missing"


def disk_detail(forecast: Forecast) -> str:
    """Where, when and why."""
    failing = forecast.failing
    eta = failing.eta if failing is not None else forecast.full_in
    when = f", in {duration(eta)}" if eta and forecast.verdict is Verdict.FAIL else ""
    return f"on {forecast.mount}{when}: {forecast.reason}"


def disk_fix(forecast: Forecast) -> str:
    """What would free enough, the least risk first; else what would free most."""
    helps = enough(forecast, forecast.remedies) or sorted(forecast.remedies, key=lambda each: -each.bytes)[:1]
    own = f"{forecast.failing.run}: " if forecast.failing is not None else ""
    return "; ".join(f"{each.title.removeprefix(own)}: {size(each.bytes)}" for each in helps[:3])


def temperature(host: HostView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """A GPU at or above the threshold; cool again a few degrees below it, so that it does not flicker."""
    for gpu in host.sample.gpus if host.sample and host.status.state == "up" else ():
        key = f"temperature:{host.name}:{gpu.index}"
        limit = thresholds.gpu_temp_c - (COOLED_BY if key in store.alerts else 0.0)
        if gpu.temp_c is not None and gpu.temp_c >= limit:
            yield Alert(
                key=key,
                kind="temperature",
                severity="warning",
                host=host.name,
                title=f"GPU {gpu.index} is at {gpu.temp_c:.0f} °C",
                detail=f"the threshold is {thresholds.gpu_temp_c:.0f} °C",
                fix="check fans and air",
            )


def stuck_clock(host: HostView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """A GPU whose clock stays low under load (GB10 after a reboot)."""
    for gpu in host.sample.gpus if host.sample and host.status.state == "up" else ():
        if gpu.fault == "stuck-clock":
            clock = f"{gpu.sm_mhz:.0f} MHz under load" if gpu.sm_mhz is not None else "low under load"
            yield Alert(
                key=f"stuck-clock:{host.name}:{gpu.index}",
                kind="stuck-clock",
                severity="critical",
                host=host.name,
                title=f"GPU {gpu.index}'s clock is stuck",
                detail=f"{clock}, {gpu.sm_max_mhz:.0f} MHz is its most" if gpu.sm_max_mhz is not None else clock,
                fix="shut the machine down, unplug it for a minute, start it again",
            )


def gpu_silent(host: HostView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """An nvidia-smi that hangs, or answers what makes no sense."""
    sample = host.sample
    if sample is not None and host.status.state == "up" and sample.gpu_state in ("stale", "error"):
        yield Alert(
            key=f"gpu:{host.name}",
            kind="gpu",
            severity="warning",
            host=host.name,
            title="no fresh GPU figures",
            detail=sample.gpu_note or f"nvidia-smi: {sample.gpu_state}",
        )


#: Seconds by which a deploy's lease may be over before it counts as cut off: clocks of two machines differ.
LEASE_SLACK = 10.0


def serving(host: HostView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """A server that should serve, and does not answer as one that does."""
    seen = host.deployment
    if seen is None or seen.current is None or host.status.state != "up" or seen.state not in ("down", "unhealthy"):
        return
    if seen.unfinished is not None and seen.unfinished.lease + LEASE_SLACK > now:
        return  # a deploy is at work there
    back = before(seen.history, seen.releases, seen.current.id)
    problem = seen.problem or (seen.health.problem if seen.health is not None else None)
    ways = [f"`{_again(seen.current)}` starts it again"] if seen.current.source else []
    ways += [f"`dm-g1 deploy rollback` goes back to {back.name}"] if back is not None else []
    yield Alert(
        key=f"serving:{host.name}",
        kind="serving",
        severity="critical",
        host=host.name,
        title=f"{seen.current.name} {'does not answer' if seen.state == 'down' else 'is not well'} on port {seen.port}",
        detail=problem or "",
        fix="; ".join(ways) or "`dm-g1 deploy verify` says whether its files are whole",
    )


def _again(release: Release) -> str:
    """The command that puts a release into service once more; nothing of it is sent again."""
    hub = release.source.removeprefix("hub:")
    where = f"--from-hub {hub}" if hub != release.source else release.source
    return f"dm-g1 deploy {where}"


def deploy_cut_off(host: HostView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """A deploy that nobody vouches for any more: its console is gone."""
    seen = host.deployment
    left = seen.unfinished if seen is not None else None
    if left is None or host.status.state != "up" or left.lease + LEASE_SLACK > now:
        return
    yield Alert(
        key=f"deploy:{host.name}",
        kind="deploy",
        severity="warning",
        host=host.name,
        title=f"a deploy of {left.release} was cut off at its step {left.step}",
        detail=f"begun by {left.by}" if left.by else "",
        fix="`dm-g1 deploy resume` goes on with it, or takes it back",
        since=left.began,
    )


# Runs


def stall(run: RunView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """A running training that makes no step for many times its usual. Loading, caching and saving are given longer."""
    host = store.hosts.get(run.job.host)
    if run.job.state is not JobState.RUNNING or run.job.spec.kind != "train" or run.job.stop is not None:
        return
    if host is None or host.status.state != "up" or run.progress.phase in ("finished", "failed"):
        return
    usual = step_time(run)
    limit = max(thresholds.stall_min_s, thresholds.stall_factor * (usual or 0.0))
    limit *= PATIENT_PHASES.get(run.progress.phase, 1.0)
    # What may have happened while the host was away is given time to be read.
    last = max(run.ticks[-1][0] if run.ticks else 0.0, run.phase_since, run.job.started or 0.0, host.returned)
    if last and now - last > limit:
        step = step_of(run)
        yield Alert(
            key=f"stall:{run.id}",
            kind="stall",
            severity="warning",
            host=run.job.host,
            run=run.id,
            title=f"no step for {duration(now - last)}" + (f" after step {step}" if step is not None else ""),
            detail=f"it is {run.progress.phase}" + (f"; a step usually takes {duration(usual)}" if usual else ""),
            fix="look at its log; a data loader that hangs or a host out of memory are the usual causes",
            since=last,
        )


def nan(run: RunView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """A loss that has become NaN, also the one that prints as 0.0 beside a gradient that is not finite."""
    job = run.job
    if not run.progress.nan_now or not (job.state is JobState.RUNNING or recent(run, now)):
        return
    yield Alert(
        key=f"nan:{run.id}",
        kind="nan",
        severity="critical",
        host=job.host,
        run=run.id,
        title=f"the loss is NaN since step {run.progress.nan_step}",
        detail="it may print as 0.0: the trainer filters NaN out of what it logs",
        fix="stop it; start from the last checkpoint with a lower learning rate",
    )


def job_failed(run: RunView, store: Store, thresholds: Thresholds, now: float) -> Iterator[Alert]:
    """A job that failed or was lost lately, with its cause."""
    job = run.job
    if job.state not in (JobState.FAILED, JobState.LOST) or not recent(run, now):
        return
    soon = any(begun and 0 <= now - begun < DIAGNOSED_WITHIN for begun in (job.ended, run.followed))
    if job.state is JobState.FAILED and job.diagnosis is None and soon:
        return
    how = "no exit was left"
    if job.exit is not None:
        how = f"signal {job.exit.signal}" if job.exit.signal else f"exit {job.exit.code}"
    cause = job.diagnosis.cause if job.diagnosis else how
    yield Alert(
        key=f"job-failed:{run.id}",
        kind="job-failed",
        severity="critical",
        host=job.host,
        run=run.id,
        title=f"{job.spec.name} {job.state.value}: {cause}",
        detail=job.diagnosis.evidence if job.diagnosis else "",
        fix=job.diagnosis.fix if job.diagnosis else "",
        since=job.ended or 0.0,
    )


def recent(run: RunView, now: float) -> bool:
    """Whether it ended so lately that its failure is news."""
    return run.job.ended is not None and now - run.job.ended < FAILED_FOR


HostRule = Callable[[HostView, Store, Thresholds, float], Iterable[Alert]]
RunRule = Callable[[RunView, Store, Thresholds, float], Iterable[Alert]]
HOST_RULES: tuple[HostRule, ...] = (
    host_gone,
    disk,
    temperature,
    stuck_clock,
    gpu_silent,
    serving,
    deploy_cut_off,
)
RUN_RULES: tuple[RunRule, ...] = (stall, nan, job_failed)
