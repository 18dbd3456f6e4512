"""Every action on two real SSH hosts, with what can go wrong."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import msgspec
import pytest
from actionlab import context, failure, perform, result

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import ExitCode
from dm_isaac_g1.core.runs import JobSpec
from dm_isaac_g1.remote.jobs import new_job_id

pytestmark = pytest.mark.usefixtures("lab")


def make_checkpoint(folder: Path, step: int, size: int = 50_000, *, complete: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"w" * size)
    (path / "optimizer.pt").write_bytes(b"o" * size)
    if complete:
        (path / "trainer_state.json").write_text("{}")
    for file in [*path.iterdir(), path]:
        os.utime(file, (1e9, 1e9))
    return path


def checkpoints(lab: Path) -> Path:
    return lab / "workstation" / "workspace" / "checkpoints"


async def start_command(ctx, *argv: str, stop_file: str | None = None, **more: object):  # type: ignore[no-untyped-def]
    """A job that is no training."""
    host = await ctx.host("workstation")
    spec = JobSpec(
        id=new_job_id("test", 1.7e9),
        name="test",
        kind="command",
        argv=argv,
        cwd="/tmp",
        stop_file=stop_file,
        **more,  # type: ignore[arg-type]
    )
    return await host.jobs.start(spec)


async def test_hosts_are_listed_with_what_they_are() -> None:
    async with context() as (ctx, _):
        events = await perform(ctx, "hosts.list")
        assert {name: host["state"] for name, host in result(events).data["hosts"].items()} == {
            "workstation": "up",
            "spark": "up",
        }
        samples = [event.sample for event in events if isinstance(event, ev.Sample)]
        assert all(sample.simulated and sample.gpus for sample in samples)


async def test_a_hosts_gpu_is_shown() -> None:
    async with context() as (ctx, _):
        data = result(await perform(ctx, "remote.gpu", host="spark")).data
        assert data["gpus"][0]["name"] == "NVIDIA GB10"
        assert data["simulated"]


@pytest.mark.train
async def test_a_hosts_gpu_is_shown_with_who_holds_its_memory() -> None:
    work = (
        "import torch,time; torch.set_num_threads(1); a=torch.ones(300,300); e=time.time()+25\nwhile time.time()<e: a@a"
    )
    async with context() as (ctx, _):
        job = await start_command(ctx, sys.executable, "-c", work)
        try:
            await seen_by_nvidia_smi(ctx)
            async with context() as (fresh, _):
                shown = result(await perform(fresh, "remote.gpu", host="workstation"))
            assert shown.text == "workstation: 1 GPU, 1 process on it"
            assert shown.data["processes"][0]["mem"] > 60 * 2**20
        finally:
            await perform(ctx, "train.stop", job_id=job.id, mode="kill", wait=True)


async def seen_by_nvidia_smi(ctx) -> None:  # type: ignore[no-untyped-def]
    query = "nvidia-smi --query-compute-apps=used_memory --format=csv,noheader,nounits"
    async with asyncio.timeout(20):
        while True:
            said = await perform(ctx, "remote.exec", command=query)
            shown = [line for event in said if isinstance(event, ev.Log) for line in event.lines]
            if shown and int(shown[0]) > 60:
                return
            await asyncio.sleep(0.3)


async def test_who_does_not_agree_is_told_so_in_the_words_of_where_he_sits() -> None:
    async with context(agree=False) as (ctx, _):
        job = await start_command(ctx, "sleep", "60")
        refused = failure(await perform(ctx, "train.stop", job_id=job.id, mode="kill"))
        assert (refused.code, refused.fix) == (ExitCode.REFUSED, None)
        assert ctx.option("save_steps") == "save steps"
    async with context() as (ctx, _):
        await perform(ctx, "train.stop", job_id=job.id, mode="kill", wait=True)


async def test_a_command_runs_as_it_was_written_and_its_exit_code_comes_back() -> None:
    async with context() as (ctx, _):
        events = await perform(ctx, "remote.exec", command="echo \"a  'b' $((1+1))\"; echo no >&2; exit 7")
        said = {event.source: event.lines for event in events if isinstance(event, ev.Log)}
        assert said == {"stdout": ("a  'b' 2",), "stderr": ("no",)}
        assert (result(events).data["exit"], result(events).code) == (7, 7)


async def test_escape_sequences_from_a_host_reach_nobody() -> None:
    async with context() as (ctx, _):
        events = await perform(ctx, "remote.exec", command=r"printf 'a\033]52;c;eA==\007b\n'")
        assert [event.lines for event in events if isinstance(event, ev.Log)] == [("ab",)]


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("remote.exec", {"command": "true", "host": "workstatoin"}, "did you mean workstation"),
        ("remote.gpu", {"host": "moon"}, "no host 'moon'"),
        ("train.start", {"recipe": "lab-bd"}, "lab-bc"),
        ("train.start", {"datasets": ["nothing"]}, "no dataset 'nothing'"),
        ("train.start", {"host": "moon"}, "no host 'moon'"),
        ("train.start", {"output": "../../escape"}, "escape"),
        ("train.stop", {"job_id": "20991231T000000-no-ffffff"}, "no job"),
        ("train.logs", {"job_id": "20991231T000000-no-ffffff"}, "no job"),
        ("train.monitor", {"job_id": ""}, "empty job id"),
        ("checkpoints.list", {"job_id": "nope"}, "no job"),
        ("disk.forecast", {"host": "moon"}, "no host 'moon'"),
    ],
)
async def test_what_is_not_there_is_told_as_a_usage_error(name: str, given: dict[str, object], says: str) -> None:
    async with context() as (ctx, _):
        wrong = failure(await perform(ctx, name, **given))
        assert wrong.code == ExitCode.USAGE
        assert says in f"{wrong.what} {wrong.fix}"


async def test_a_dry_start_says_the_command_and_starts_nothing() -> None:
    async with context() as (ctx, _):
        before = (await ctx.hosts.jobs())[0]
        data = result(await perform(ctx, "train.start", steps=10, dry_run=True)).data
        assert data["dry_run"]
        assert "10" in " ".join(data["argv"])
        assert (await ctx.hosts.jobs())[0] == before


async def test_a_used_output_folder_is_never_resumed_by_accident(lab: Path) -> None:
    make_checkpoint(checkpoints(lab) / "used", 50)
    async with context() as (ctx, _):
        wrong = failure(await perform(ctx, "train.start", output="used", steps=100, dry_run=True))
        assert wrong.code == ExitCode.REFUSED
        assert "RESUME from step 50" in wrong.what
        events = await perform(ctx, "train.start", output="used", steps=100, resume=True, dry_run=True)
        assert any("RESUME from step 50" in event.text for event in events if isinstance(event, ev.Progress))


async def test_a_finished_run_is_not_begun_again(lab: Path) -> None:
    make_checkpoint(checkpoints(lab) / "finished", 100)
    async with context() as (ctx, _):
        wrong = failure(await perform(ctx, "train.start", output="finished", steps=100, resume=True, dry_run=True))
        assert (wrong.code, "finished run" in wrong.what) == (ExitCode.REFUSED, True)


async def test_an_incomplete_checkpoint_is_offered_to_be_set_aside(lab: Path) -> None:
    make_checkpoint(checkpoints(lab) / "half", 50, complete=False)
    async with context() as (ctx, _):
        wrong = failure(await perform(ctx, "train.start", output="half", steps=100, dry_run=True))
        assert wrong.code == ExitCode.REFUSED
        assert "checkpoint-50" in wrong.what
        assert wrong.fix == "quarantine sets them aside"
    async with context(dashes=True) as (ctx, _):
        wrong = failure(await perform(ctx, "train.start", output="half", steps=100, dry_run=True))
        assert wrong.fix == "--quarantine sets them aside"
    async with context() as (ctx, _):
        result(await perform(ctx, "train.start", output="half", steps=100, quarantine=True, dry_run=True))


async def test_a_clean_up_says_what_it_does_then_does_just_that(lab: Path) -> None:
    folder = checkpoints(lab) / "many"
    kept = [make_checkpoint(folder, 300)]
    gone = [make_checkpoint(folder, 100), make_checkpoint(folder, 200), make_checkpoint(folder, 400, complete=False)]
    best = make_checkpoint(folder / "x", 1).rename(folder / "checkpoint-200-best-0.1")
    (folder / "x").rmdir()
    other = [path for path in checkpoints(lab).rglob("checkpoint-*") if folder not in path.parents]
    async with context(agree=False) as (ctx, asked):
        dry = result(await perform(ctx, "checkpoints.clean", dry_run=True)).data
        assert not asked.plans
        assert failure(await perform(ctx, "checkpoints.clean")).code == ExitCode.REFUSED
        assert all(str(path) in "\n".join(asked.plans[0].lines) for path in gone)
    assert all(path.is_dir() for path in [*kept, *gone, *other])
    async with context() as (ctx, asked):
        done = result(await perform(ctx, "checkpoints.clean")).data
    assert done["said"] == done["freed"] == dry["would_free"]
    assert set(done["removed"]) >= {str(path) for path in gone}
    assert not any(path.exists() for path in gone)
    assert all(path.is_dir() for path in [*kept, best])


async def test_nothing_to_clean_is_no_failure() -> None:
    async with context() as (ctx, _):
        await perform(ctx, "checkpoints.clean")
        assert result(await perform(ctx, "checkpoints.clean")).text == "Nothing to remove"


async def test_a_job_is_stopped_rung_by_rung_and_leaves_no_process() -> None:
    async with context() as (ctx, asked):
        job = await start_command(ctx, "sh", "-c", "trap '' INT; sleep 1000.731 & wait")
        assert failure(await perform(ctx, "train.stop", job_id="2")).code == ExitCode.USAGE
        events = await perform(ctx, "train.stop", job_id=job.id, mode="kill", wait=True)
        assert asked.plans[0].title == f"Stop {job.id} on workstation"
        assert result(events).data["state"] == "stopped"
        again = result(await perform(ctx, "train.stop", job_id=job.id))
        assert "ended already" in again.text
        assert "sleep 1000.731" not in json.dumps(
            msgspec.to_builtins(
                await perform(ctx, "remote.exec", command="ps -ef | grep -v grep | grep 1000.73[1] || true")
            )
        )


async def test_who_stops_second_sees_who_was_first() -> None:
    async with context(by="ann@desk") as (first, _), context(by="bob@lab") as (second, _):
        job = await start_command(first, "sh", "-c", "trap '' INT TERM; sleep 30", stop_file="stop")
        await perform(first, "train.stop", job_id=job.id, mode="checkpoint")
        events = await perform(second, "train.stop", job_id=job.id, mode="checkpoint")
        assert any("ann@desk asked first" in event.text for event in events if isinstance(event, ev.Progress))
        ended = result(await perform(second, "train.stop", job_id=job.id, mode="kill", wait=True))
        assert ended.data["state"] == "stopped"


async def test_a_log_is_shown_by_its_last_lines_or_whole() -> None:
    async with context() as (ctx, _):
        job = await start_command(ctx, "sh", "-c", "seq 1 5000")
        await asyncio.sleep(0.5)
        events = await perform(ctx, "train.logs", job_id=job.id, tail=3)
        assert [line for event in events if isinstance(event, ev.Log) for line in event.lines] == [
            "4998",
            "4999",
            "5000",
        ]
        whole = await perform(ctx, "train.logs", job_id=job.id, tail=0)
        assert [line for event in whole if isinstance(event, ev.Log) for line in event.lines] == [
            str(n) for n in range(1, 5001)
        ]


async def test_a_log_is_followed_to_the_jobs_end() -> None:
    async with context() as (ctx, _):
        job = await start_command(ctx, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done")
        async with asyncio.timeout(20):
            events = await perform(ctx, "train.logs", job_id=job.id, follow=True)
        assert [line for event in events if isinstance(event, ev.Log) for line in event.lines] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("script", "state", "code", "says"),
    [
        ("echo fine", "succeeded", 0, "succeeded"),
        ("echo 'OSError: [Errno 28] No space left on device' >&2; exit 1", "failed", 1, "disk"),
        ("exit 3", "failed", 1, "code 3"),
    ],
)
async def test_who_follows_a_job_is_told_by_the_exit_code_how_it_ended(
    lab: Path, script: str, state: str, code: int, says: str
) -> None:
    folder = checkpoints(lab) / f"ends-{state}-{says.replace(' ', '')}"
    make = f"mkdir -p {folder}/checkpoint-7; touch {folder}/checkpoint-7/trainer_state.json"
    async with context() as (ctx, _):
        job = await start_command(ctx, "sh", "-c", f"sleep 0.5; {make}; {script}", output_dir=str(folder))
        async with asyncio.timeout(30):
            events = await perform(ctx, "train.monitor", job_id="last", follow=True)
    ended = result(events)
    assert (ended.data["id"], ended.data["state"], ended.code) == (job.id, state, code)
    assert says in ended.text.lower()
    assert "\n" not in ended.text
    saved = [each.checkpoints for each in events if isinstance(each, ev.Checkpoints)]
    assert [each.step for each in saved[-1]] == [7], "what was saved at the very end is told, too"
    if says == "disk":
        assert ended.data["diagnosis"]["code"] == "disk-full"


async def test_a_job_that_was_stopped_on_request_did_not_fail() -> None:
    async with context() as (ctx, _):
        job = await start_command(ctx, "sleep", "1000.517")
        follow = asyncio.create_task(perform(ctx, "train.monitor", job_id=job.id, follow=True))
        await asyncio.sleep(1)
        await perform(ctx, "train.stop", job_id="last", mode="kill", wait=True)
        async with asyncio.timeout(30):
            ended = result(await follow)
    assert (ended.data["state"], ended.code) == ("stopped", 0)


async def test_last_is_the_newest_job_wherever_a_job_is_named() -> None:
    async with context() as (ctx, _):
        older = await start_command(ctx, "sh", "-c", "echo older")
        newer = await start_command(ctx, "sh", "-c", "echo newer", created=3e9)
        await asyncio.sleep(0.5)
        for given in ({"job_id": "last"}, {}):
            assert result(await perform(ctx, "train.logs", **given)).data["id"] == newer.id
            assert result(await perform(ctx, "train.monitor", **given)).data["id"] == newer.id
        assert older.id in result(await perform(ctx, "train.stop", job_id=older.id)).text
        assert newer.id in result(await perform(ctx, "train.stop", job_id="last")).text


async def test_jobs_are_listed_newest_first() -> None:
    async with context() as (ctx, _):
        job = await start_command(ctx, "true")
        data = result(await perform(ctx, "train.list", limit=2)).data
        assert len(data["jobs"]) == 2
        assert job.id in {each["id"] for each in result(await perform(ctx, "train.list", limit=0)).data["jobs"]}


async def test_the_guard_speaks_of_every_host() -> None:
    async with context() as (ctx, _):
        events = await perform(ctx, "disk.forecast")
        assert {event.host for event in events if isinstance(event, ev.Forecasts)} == {"workstation", "spark"}


async def test_a_known_host_needs_no_trust() -> None:
    async with context() as (ctx, asked):
        events = await perform(ctx, "hosts.trust", name="spark")
        assert not asked.plans or isinstance(events[-1], ev.Result)


async def test_sync_says_which_copy_a_host_has() -> None:
    async with context() as (ctx, _):
        (place,) = result(await perform(ctx, "remote.sync", dry_run=True)).data["places"]
        assert place["folder"].endswith("dm_isaac_g1")
        assert not place["changed"]


async def test_a_start_that_others_beat_to_the_disk_is_stopped_and_refused(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the guard says after the start is made up; the job, its start and its stop are real."""
    from dm_isaac_g1.core.forecasts import Forecast, Verdict
    from dm_isaac_g1.fleet import guarding

    async def full(*_: object) -> Forecast:
        return Forecast(host="ws", dev=1, mount="/d", verdict=Verdict.FAIL, avail=1, total=2, reserve=0, reason="full")

    monkeypatch.setattr(guarding, "forecast_started", full)
    async with context() as (ctx, _):
        before = {job.id for job in (await ctx.hosts.jobs())[0]}
        wrong = failure(await perform(ctx, "train.start", steps=500, output="beaten"))
        assert wrong.code == ExitCode.REFUSED
        (job,) = [each for each in (await ctx.hosts.jobs())[0] if each.id not in before]
        assert job.stop is not None or job.state.ended
