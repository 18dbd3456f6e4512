"""Each rule says what it must, and nothing when all is well."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fakehost import PLAN, job, sample

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.forecasts import Forecast, Remedy, SaveForecast, Verdict
from dm_isaac_g1.core.profile import Thresholds
from dm_isaac_g1.core.runs import Diagnosis, JobState, MetricPoint, StopRequest, TrainProgress
from dm_isaac_g1.fleet import alerts
from dm_isaac_g1.fleet.store import Store

RUN = "20261120T120000-run-0a0a0a"
NOW = 1_000_000.0


def store(**more: Any) -> Store:
    """A host that is up, with a training that made a step a second until `NOW`."""
    there = Store()
    there.apply(ev.HostStatus(host="ws", state="up", since=NOW - 10_000))
    there.apply(ev.Sample(sample=sample(**more)))
    there.apply(ev.Job(job=job(save=PLAN, started=NOW - 5000)))
    points = tuple(MetricPoint(name="loss", step=s, value=0.5, wall=NOW - 100 + s) for s in range(0, 101, 10))
    there.apply(
        ev.Metrics(at=NOW, host="ws", run=RUN, points=points, progress=TrainProgress(step=100, phase="training"))
    )
    there.runs[RUN].ticks.clear()
    there.runs[RUN].ticks.append((NOW, 100))
    return there


def holds(there: Store, now: float = NOW, **limits: Any) -> dict[str, ev.Alert]:
    return alerts.evaluate(there, Thresholds(**limits), now)


def only(found: dict[str, ev.Alert]) -> ev.Alert:
    (alert,) = found.values()
    return alert


def test_all_is_well() -> None:
    assert holds(store()) == {}


def forecast(verdict: Verdict) -> ev.Forecasts:
    save = SaveForecast(
        run=RUN, step=300, eta=600.0, free_before=0, free_at_peak=-5, free_after=0, verdict=Verdict.FAIL
    )
    return ev.Forecasts(
        host="ws",
        forecasts=(
            Forecast(
                host="ws",
                dev=1,
                mount="/data",
                verdict=verdict,
                avail=1,
                total=10,
                reserve=1,
                failing=save if verdict is Verdict.FAIL else None,
                missing=21_000_000_000,
                reason="because",
                remedies=(Remedy(kind="old-run", title="old: checkpoint-1", bytes=5 * 10**9, risk="low"),),
            ),
        ),
    )


def test_a_save_that_will_fail_is_named_with_its_time_and_the_bytes_missing() -> None:
    there = store()
    there.apply(forecast(Verdict.FAIL))
    alert = only(holds(there))
    assert (alert.kind, alert.severity, alert.run) == ("disk", "critical", RUN)
    assert alert.title == "save at step 300 will not fit, 21.0 GB missing"
    assert alert.detail == "on /data, in 10 m: because"
    assert "checkpoint-1" in alert.fix


def test_a_tight_disk_is_a_warning() -> None:
    there = store()
    there.apply(forecast(Verdict.TIGHT))
    assert only(holds(there)).severity == "warning"


@pytest.mark.parametrize("verdict", [Verdict.FIT, Verdict.UNKNOWN])
def test_a_disk_that_fits_or_is_not_known_is_no_alert(verdict: Verdict) -> None:
    there = store()
    there.apply(forecast(verdict))
    assert holds(there) == {}


def test_no_step_for_long_is_a_stall() -> None:
    there = store()
    assert holds(there, NOW + 119) == {}
    alert = only(holds(there, NOW + 130))
    assert (alert.kind, alert.run) == ("stall", RUN)
    assert "after step 100" in alert.title
    assert holds(there, NOW + 130, stall_min_s=300.0) == {}


def test_a_slow_training_may_take_its_usual_time_twenty_times() -> None:
    there = store()
    slow = tuple(MetricPoint(name="loss", step=s, value=0.5, wall=NOW - 3000 + 30 * s) for s in range(0, 101, 10))
    there.runs[RUN].curves.by_name.clear()
    there.apply(ev.Metrics(host="ws", run=RUN, points=slow))
    assert holds(there, NOW + 500) == {}
    assert only(holds(there, NOW + 700)).kind == "stall"


@pytest.mark.parametrize("phase", ["caching", "saving", "starting"])
def test_caching_shards_and_saving_are_no_stall(phase: str) -> None:
    there = store()
    there.apply(ev.Metrics(at=NOW, host="ws", run=RUN, points=(), progress=TrainProgress(step=100, phase=phase)))
    assert holds(there, NOW + 500) == {}
    assert only(holds(there, NOW + 5000)).kind == "stall"


def test_a_host_that_was_away_gives_its_runs_time() -> None:
    there = store()
    there.apply(ev.HostStatus(host="ws", state="away", since=NOW + 10))
    there.apply(ev.HostStatus(at=NOW + 1000, host="ws", state="up", since=NOW + 1000))
    assert holds(there, NOW + 1100) == {}
    assert only(holds(there, NOW + 1130)).kind == "stall"


def test_a_stall_that_began_before_we_looked_is_told_at_once() -> None:
    there = store()
    there.apply(ev.HostStatus(host="ws", state="up", since=NOW + 1000))
    assert only(holds(there, NOW + 1001)).kind == "stall"


def test_a_run_that_is_being_stopped_is_not_stalled() -> None:
    there = store()
    stop = StopRequest(mode="checkpoint", requested=NOW, by="me")
    there.apply(ev.Job(job=msgspec.structs.replace(there.runs[RUN].job, stop=stop)))
    assert holds(there, NOW + 1000) == {}


def test_the_nan_that_prints_as_zero_is_told() -> None:
    there = store()
    progress = TrainProgress(step=101, phase="training", nan_step=90, nan_now=True)
    there.apply(ev.Metrics(at=NOW, host="ws", run=RUN, points=(), progress=progress))
    alert = only(holds(there))
    assert (alert.kind, alert.severity) == ("nan", "critical")
    assert "step 90" in alert.title


def test_a_host_away_is_told_after_a_moment_and_its_old_figures_alarm_nobody() -> None:
    there = store(gpu={"temp_c": 99.0})
    there.apply(ev.HostStatus(host="ws", state="away", since=NOW, problem="ws: no answer"))
    assert holds(there, NOW + 1) == {}
    alert = only(holds(there, NOW + 10))
    assert (alert.kind, alert.severity) == ("host-away", "warning")
    assert "1 jobs were running" in alert.detail


def test_a_refusal_is_critical_at_once() -> None:
    there = store()
    there.apply(ev.HostStatus(host="ws", state="refused", since=NOW, problem="ws: the host key has CHANGED"))
    alert = only(holds(there, NOW))
    assert (alert.kind, alert.severity) == ("host-refused", "critical")
    assert "CHANGED" in alert.detail


def test_a_stuck_clock_is_told_with_both_clocks() -> None:
    there = store(gpu={"fault": "stuck-clock", "sm_mhz": 507.0, "sm_max_mhz": 3003.0})
    alert = only(holds(there))
    assert alert.kind == "stuck-clock"
    assert "507 MHz" in alert.detail
    assert "3003 MHz" in alert.detail


def test_a_hot_gpu_does_not_flicker_around_the_threshold() -> None:
    there = store(gpu={"temp_c": 88.0})
    (event,) = alerts.changes(there.alerts, holds(there), NOW)
    there.apply(event)
    assert event.kind == "temperature"
    there.apply(ev.Sample(sample=sample(gpu={"temp_c": 86.0})))
    assert len(holds(there)) == 1
    there.apply(ev.Sample(sample=sample(gpu={"temp_c": 84.9})))
    assert holds(there) == {}


@pytest.mark.parametrize("state", ["stale", "error"])
def test_an_nvidia_smi_that_hangs_is_told(state: str) -> None:
    there = store(gpu_state=state, gpu_note="nvidia-smi gave nothing for 5 s")
    alert = only(holds(there))
    assert alert.kind == "gpu"
    assert "gave nothing" in alert.detail


def test_no_gpu_at_all_is_no_alert() -> None:
    assert holds(store(gpu_state="none", gpus=(), gpu_note="nvidia-smi not found")) == {}


def test_a_failed_job_is_told_with_its_cause_for_a_day() -> None:
    there = store()
    cause = Diagnosis(code="disk-full", cause="the disk was full", evidence="No space left", fix="free some space")
    failed = job(state=JobState.FAILED, ended=NOW, diagnosis=cause)
    there.apply(ev.Job(job=failed))
    alert = only(holds(there))
    assert alert.kind == "job-failed"
    assert "the disk was full" in alert.title
    assert alert.fix == "free some space"
    assert holds(there, NOW + alerts.FAILED_FOR + 1) == {}


def test_a_failure_found_at_the_first_look_is_told_once_and_with_its_cause() -> None:
    there = store()
    failed = job(state=JobState.FAILED, ended=NOW - 3600)
    there.apply(ev.Job(job=failed))
    there.runs[failed.id].followed = NOW
    assert holds(there, NOW + 0.1) == {}
    cause = Diagnosis(code="disk-full", cause="the disk was full")
    there.apply(ev.Job(job=msgspec.structs.replace(failed, diagnosis=cause)))
    assert "the disk was full" in only(holds(there, NOW + 0.2)).title


def test_a_failure_whose_cause_is_not_found_is_told_after_a_few_seconds_all_the_same() -> None:
    there = store()
    failed = job(state=JobState.FAILED, ended=NOW - 3600)
    there.apply(ev.Job(job=failed))
    assert "exit 1" in only(holds(there)).title  # nobody reads its log: nothing to wait for
    there.runs[failed.id].followed = NOW
    assert "exit 1" in only(holds(there, NOW + alerts.DIAGNOSED_WITHIN)).title


def test_a_job_that_was_lost_is_told() -> None:
    there = store()
    there.apply(ev.Job(job=job(state=JobState.LOST, ended=NOW)))
    assert only(holds(there)).kind == "job-failed"


def test_an_alert_keeps_its_beginning_and_is_cleared_once() -> None:
    there = store(gpu={"temp_c": 90.0})
    (raised,) = alerts.changes(there.alerts, holds(there), NOW)
    there.apply(raised)
    assert alerts.changes(there.alerts, holds(there), NOW + 5) == []
    there.apply(ev.Sample(sample=sample(gpu={"temp_c": 95.0})))
    (updated,) = alerts.changes(there.alerts, holds(there), NOW + 6)
    assert (updated.key, updated.since) == (raised.key, NOW)
    there.apply(updated)
    there.apply(ev.Sample(sample=sample(gpu={"temp_c": 40.0})))
    (cleared,) = alerts.changes(there.alerts, holds(there), NOW + 7)
    assert cleared.cleared
    there.apply(cleared)
    assert there.alerts == {}
