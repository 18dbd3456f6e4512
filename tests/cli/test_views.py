"""What people read: aligned, and true to what is not known."""

from __future__ import annotations

import math

import pytest

from dm_isaac_g1.cli import views
from dm_isaac_g1.cli.headless import thinned
from dm_isaac_g1.cli.table import table
from dm_isaac_g1.cli.writing import writer
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.datasets import DatasetSummary
from dm_isaac_g1.core.runs import JobInfo, JobSpec, JobState, MetricPoint
from dm_isaac_g1.core.samples import Gpu, HostSample, Memory

GB10 = HostSample(
    host="spark",
    seq=1,
    t_mono=1.0,
    t_wall=1.0,
    memory=Memory(total=128 * 10**9, available=100 * 10**9, free=2 * 10**9, gpu=20 * 10**9),
    gpus=(Gpu(index=0, name="NVIDIA GB10", unified=True, util=0.0, temp_c=36.0, power_w=4.5),),
    gpu_state="ok",
)


def test_columns_stand_under_each_other_also_with_wide_characters() -> None:
    lines = table(("A", "B"), [("機械", "1"), ("x", "22")], right=frozenset({1}))
    assert lines == ["A      B", "機械   1", "x     22"]
    assert table(("A",), []) == []


def test_unified_memory_is_the_hosts_and_never_zero() -> None:
    text = "\n".join(views.gpus(GB10))
    assert "20.0 GB of the host's 128.0 GB" in text
    assert "28.0 GB of 128.0 GB" in text


def test_a_host_that_is_away_says_since_when_and_why() -> None:
    status = ev.HostStatus(host="spark", state="away", since=100.0, problem="spark: no answer")
    lines = views.hosts([status], {}, 220.0)
    assert "away for 2 m" in lines[1]
    assert lines[2] == "spark: no answer"


def test_a_curve_is_shown_by_its_last_points_and_nan_by_its_name() -> None:
    points = tuple(MetricPoint(name="loss", step=step, value=1 / step) for step in range(1, 31))
    nan = MetricPoint(name="grad_norm", step=30, value=math.nan)
    lines = views.curves([ev.Metrics(host="ws", run="r", points=(*points, nan))])
    assert lines[0].split() == ["STEP", "LOSS", "GRAD", "NORM"]
    assert lines[-2].split() == ["30", "0.03333", "nan"]
    assert lines[-1] == "the last 10 of 30 points"


def test_of_many_samples_a_script_gets_the_last_and_of_all_else_everything() -> None:
    samples = [ev.Sample(sample=GB10) for _ in range(5)]
    said = [ev.Progress(text="a"), *samples, ev.Progress(text="b")]
    assert thinned(said) == [said[0], samples[-1], said[-1]]


def test_a_job_that_failed_says_why() -> None:
    from dm_isaac_g1.core.runs import Diagnosis

    job = JobInfo(
        host="ws",
        spec=JobSpec(id="j", name="j", kind="train", argv=("x",), cwd="/", created=1.0),
        folder="/j",
        state=JobState.FAILED,
        started=10.0,
        ended=20.0,
        diagnosis=Diagnosis(code="disk-full", cause="the disk was full", fix="free some"),
    )
    assert views.jobs([job], 100.0)[-1] == "j: the disk was full; free some"


def test_a_run_that_failed_is_told_on_stderr_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    out = writer("train.monitor", json=False)
    out.write(ev.Result(text="j: failed: the disk was full; free some", code=1))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "dm-g1: j: failed: the disk was full; free some\n")


def test_an_alert_whose_time_runs_down_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    def alert(title: str, detail: str) -> ev.Alert:
        return ev.Alert(key="disk", kind="disk", severity="critical", host="ws", title=title, detail=detail)

    out = writer("train.monitor", json=False)
    for seconds in (30, 20, 10):
        out.write(alert("save at step 60 will not fit", f"in {seconds} s"))
    out.write(alert("save at step 90 will not fit", "in 5 s"))
    said = capsys.readouterr().err
    assert said.count("step 60") == said.count("step 90") == 1


def test_datasets_stand_in_one_table_with_how_they_are_and_what_is_wrong_below() -> None:
    known = (
        DatasetSummary(
            host="ws", name="a", path="/a", version="2.1", family="dex3", episodes=200, frames=3000, fps=30, bytes=10**9
        ),
        DatasetSummary(host="ws", name="b", path="/b", validity="invalid", errors=3, problem="episode 3: a NaN"),
        DatasetSummary(host="ws", name="c", path="/c.partial", validity="partial", done=12, of=200),
    )
    assert views.lines([ev.Datasets(host="ws", datasets=known)], now=0.0) == [
        "HOST  DATASET  FORMAT     EPS  LENGTH      SIZE  STATE",
        "ws    a        v2.1 dex3  200  1 m 40 s  1.0 GB  not checked",
        "ws    b        –            –  –            0 B  invalid: 3 errors",
        "ws    c        –            –  –            0 B  partial, 12 of 200",
        "ws: b: episode 3: a NaN",
    ]
