"""Jobs as a console sees them, on a host itself and in a container."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dockerd import Engine, engine  # noqa: F401 - a fixture
from localruntime import agent_ask
from places import Place, bare, docker_place

from dm_isaac_g1.core.errors import HostUnreachable, JobNotFound, RefusedError, RemoteFailed
from dm_isaac_g1.core.runs import JobExit, JobState, StopRequest
from dm_isaac_g1.remote import agent_jobs
from dm_isaac_g1.remote.jobs import Jobs, derive_state, interrupt_wait, new_job_id, read_record

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=["bare", pytest.param("docker", marks=pytest.mark.dockerd)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "bare":
        yield bare(tmp_path)
        return
    running: Engine = request.getfixturevalue("engine")
    async with docker_place(running) as found:
        yield found


# The life of a job, in both runtimes.


async def test_a_job_runs_to_its_end_and_is_remembered(place: Place) -> None:
    assert await place.jobs.list() == []
    job = await place.start("bash", "-c", "echo out; echo err >&2; sleep 0.5", recipe={"name": "r", "steps": 3})
    assert job.state is JobState.RUNNING and job.pid is not None and job.started is not None
    assert abs(time.time() - job.started) < 30 and job.spec.client
    job = await place.ended(job.id)
    assert job.state is JobState.SUCCEEDED and job.diagnosis is None
    assert job.exit is not None and job.exit.code == 0 and job.exit.reaped == 0 and job.exit.avail
    assert job.ended is not None and job.ended >= job.started  # type: ignore[operator]
    assert job.log_bytes == 8 and await place.said(job, "err") == "out\nerr\n"
    assert job.spec.recipe == {"name": "r", "steps": 3}
    assert place.processes(job.id) == []


async def test_a_job_that_fails_says_its_code(place: Place) -> None:
    job = await place.ended((await place.start("bash", "-c", "exit 7")).id)
    assert job.state is JobState.FAILED and job.exit is not None and job.exit.code == 7


async def test_a_stopped_job_leaves_no_process(place: Place) -> None:
    job = await place.start("bash", "-c", "(setsid sleep 300 &); trap '' INT TERM; echo up; while :; do sleep 1; done")
    await place.said(job, "up")
    await place.jobs.stop(job.id, "interrupt", "test")
    job = await place.ended(job.id)
    assert job.state is JobState.STOPPED and job.stop is not None and job.stop.by == "test"
    assert place.processes(job.id) == []


async def test_two_consoles_stop_one_job_and_both_learn_of_the_first(place: Place) -> None:
    job = await place.start(
        "bash", "-c", "trap '' INT; echo up; while :; do sleep 0.1; done", waits={"interrupt_s": 60}
    )
    await place.said(job, "up")
    other = Jobs("there", place.runtime, agent_ask(place.runtime), lambda: place.root)
    first, second = await asyncio.gather(
        place.jobs.stop(job.id, "interrupt", "one"), other.stop(job.id, "interrupt", "two")
    )
    assert first == second and first.by in ("one", "two")
    assert (await other.stop(job.id, "checkpoint", "two")) == first, "a gentler wish does not count"
    harsher = await other.stop(job.id, "kill", "two")
    assert harsher.mode == "kill" and harsher.by == "two"
    job = await place.ended(job.id)
    assert job.state is JobState.STOPPED and job.stop == harsher
    assert await place.jobs.stop(job.id, "kill", "late") == harsher, "stopping what was stopped changes nothing"


async def test_a_job_that_ended_by_itself_cannot_be_stopped(place: Place) -> None:
    job = await place.ended((await place.start("true")).id)
    with pytest.raises(RefusedError, match="ended already"):
        await place.jobs.stop(job.id, "kill", "test")
    assert (await place.jobs.get(job.id)).state is JobState.SUCCEEDED


async def test_an_unknown_job_is_said_to_be_unknown(place: Place) -> None:
    id = new_job_id("nothing", time.time())
    for asking in (place.jobs.get(id), place.jobs.stop(id, "kill", "test"), place.jobs.stop("../..", "kill", "test")):
        with pytest.raises(JobNotFound, match="no job"):
            await asking


async def test_a_program_that_is_not_there_leaves_no_job(place: Place) -> None:
    with pytest.raises(RemoteFailed, match="no such program"):
        await place.start("no-such-program-at-all")
    with pytest.raises(RemoteFailed, match="no such folder"):
        await place.start("true", cwd="/no/such/folder")
    assert await place.jobs.list() == []


async def test_another_console_sees_the_same_job(place: Place) -> None:
    job = await place.start("sleep", "300")
    other = Jobs("there", place.runtime, agent_ask(place.runtime), lambda: place.root)
    seen = await other.get(job.id)
    assert (seen.spec, seen.state, seen.pid, seen.started) == (job.spec, job.state, job.pid, job.started)
    await other.stop(job.id, "kill", "other")
    assert (await place.ended(job.id)).state is JobState.STOPPED


async def test_changes_tell_of_all_jobs_once_and_then_of_what_changes(place: Place) -> None:
    old = await place.ended((await place.start("true")).id)
    job = await place.start("bash", "-c", "sleep 1")
    states: list[JobState] = []
    async with contextlib.aclosing(place.jobs.changes(0.05)) as changes:  # type: ignore[type-var]
        first = await anext(changes)
        assert {each.id for each in first} == {old.id, job.id}
        async for changed in changes:
            assert [each.id for each in changed] == [job.id]
            states.append(changed[0].state)
            if changed[0].state.ended:
                break
    assert states[-1] is JobState.SUCCEEDED


# What can be in a folder.


def write(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        path = folder / f"{name}.json"
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return folder


async def test_a_reboot_or_another_process_of_the_same_number_means_lost(tmp_path: Path) -> None:
    place = bare(tmp_path)
    job = await place.start("sleep", "300")
    path = Path(job.folder, "state.json")
    true = json.loads(path.read_text())
    cases = (
        ({"boot": "another"}, "the host was rebooted"),
        ({"init": 1}, "the container was restarted"),
        ({"ticks": 1, "child_ticks": 1}, "its processes are gone"),
        ({"pid": 2**22 + 1, "child": None}, "its processes are gone"),
    )
    for change, cause in cases:
        path.write_text(json.dumps({**true, **change}))
        lost = await place.jobs.get(job.id)
        assert lost.state is JobState.LOST and lost.ended is not None
        assert lost.diagnosis is not None and cause in lost.diagnosis.cause
    path.write_text(json.dumps(true))
    assert (await place.jobs.get(job.id)).state is JobState.RUNNING
    await place.jobs.stop(job.id, "kill", "test")
    await place.ended(job.id)


async def test_damaged_folders_are_listed_with_what_is_wrong_and_hide_nobody(tmp_path: Path) -> None:
    place = bare(tmp_path)
    good = await place.ended((await place.start("true")).id)
    root = Path(place.root)
    spec = {"id": "x", "name": "x", "kind": "command", "argv": ["true"], "cwd": "/"}
    damaged = {
        "not-json": write(root / "not-json", job=b"{half"),
        "a-list": write(root / "a-list", job=[1]),
        "deep": write(root / "deep", job=b"[" * 100_000),
        "wrong-types": write(root / "wrong-types", job={**spec, "id": "wrong-types", "argv": 5}),
        "other-id": write(root / "other-id", job=spec),
        "no-spec": write(root / "no-spec", state={"pid": 1}),
        "bad-exit": write(root / "bad-exit", job={**spec, "id": "bad-exit"}, exit={"code": "x"}),
        "bad-state": write(root / "bad-state", job={**spec, "id": "bad-state"}, state=b"\xff\xfe", exit=b""),
        "numbers": write(
            root / "numbers",
            job={**spec, "id": "numbers"},
            state=b'{"pid": NaN, "started": Infinity, "child": 1e400, "rung": {}}',
        ),
        "surrogate": write(root / "surrogate", job=b'{"id": "\\udcff"}'),
        "big": write(root / "big", job=b'{"id": ' + b"9" * 400 + b"}"),
    }
    write(root / "no\udcffutf8", job=spec)
    for name in ("lost+found", "empty", ".hidden"):
        (root / name).mkdir()
    (root / "file").write_text("x")
    (root / "link").symlink_to(good.folder)
    (root / "dir-as-file").mkdir()
    (root / "dir-as-file" / "job.json").mkdir()
    jobs = await place.jobs.list()
    assert len(jobs) == len(damaged) + 2
    for job in jobs:
        assert "\x1b" not in repr(job)
        if job.id == good.id:
            assert job == good
        else:
            assert job.diagnosis is not None and job.diagnosis.code == "malformed", job
    assert await place.jobs.list() == jobs
    wire = json.dumps(agent_jobs.jobs(place.root))
    assert len(msgspec.json.decode(wire)["jobs"]) == len(jobs), "the connection carries all of it"


async def test_what_a_folder_says_reaches_nobody_with_escape_sequences(tmp_path: Path) -> None:
    place = bare(tmp_path)
    evil = "\x1b]52;c;cHduZWQ=\x07\x1b[2Jx‮"
    id = new_job_id("evil", time.time())
    spec = {"id": id, "name": evil, "kind": "command", "argv": [evil], "cwd": evil, "recipe": {evil: [evil]}}
    write(
        Path(place.root, id),
        job=spec,
        state={"rung": evil, "boot": evil},
        stop={"mode": "kill", "requested": 1.0, "by": evil},
        exit={"code": 1, "signal": None, "ended": 1.0, "error": evil},
    )
    write(Path(place.root, f"20200101T000000-{evil.replace('/', '')}-abcdef"), job=b"{")
    text = repr(await place.jobs.list())
    assert not {"\\x1b", "\\x07", "\\u202e", "‮"} & set(text.split("'")) and "\\x1b" not in text and "\\x07" not in text


async def test_a_folder_without_a_state_is_queued_at_first_and_lost_later(tmp_path: Path) -> None:
    place = bare(tmp_path)
    id = new_job_id("cut", time.time())
    folder = write(
        Path(place.root, id), job={"id": id, "name": "cut", "kind": "command", "argv": ["true"], "cwd": "/tmp"}
    )
    assert (await place.jobs.get(id)).state is JobState.QUEUED
    os.utime(folder / "job.json", (1.0, time.time() - 61))
    job = await place.jobs.get(id)
    assert job.state is JobState.LOST and job.diagnosis is not None and "never started" in job.diagnosis.cause


EXIT = JobExit(code=0, signal=None, ended=1.0)
STOP = StopRequest(mode="interrupt", requested=1.0, by="x")


@pytest.mark.parametrize(
    ("known", "state"),
    [
        ({}, JobState.QUEUED),
        ({"age": 61.0}, JobState.LOST),
        ({"state": {"state": "starting"}}, JobState.QUEUED),
        ({"state": {"state": "running"}}, JobState.RUNNING),
        ({"state": {"state": "stopping"}, "stop": STOP}, JobState.RUNNING),
        ({"state": {"state": "running"}, "gone": "reboot"}, JobState.LOST),
        ({"state": {"state": "running"}, "gone": "process", "stop": STOP}, JobState.LOST),
        ({"exit": EXIT}, JobState.SUCCEEDED),
        ({"exit": EXIT, "gone": "reboot"}, JobState.SUCCEEDED),
        ({"exit": JobExit(code=1, signal=None, ended=1.0)}, JobState.FAILED),
        ({"exit": JobExit(code=None, signal=9, ended=1.0)}, JobState.FAILED),
        ({"exit": JobExit(code=None, signal=2, ended=1.0, signalled=True)}, JobState.FAILED),
        ({"exit": JobExit(code=None, signal=2, ended=1.0, signalled=True), "stop": STOP}, JobState.STOPPED),
        ({"exit": JobExit(code=1, signal=None, ended=1.0, signalled=True), "stop": STOP}, JobState.STOPPED),
        ({"exit": JobExit(code=1, signal=None, ended=1.0), "stop": STOP}, JobState.FAILED),
        ({"exit": EXIT, "stop": STOP}, JobState.SUCCEEDED),
        ({"exit": EXIT, "stop": STOP, "stop_file": True}, JobState.STOPPED),
        ({"exit": JobExit(code=1, signal=None, ended=1.0), "stop": STOP, "stop_file": True}, JobState.FAILED),
        ({"exit": JobExit(code=None, signal=None, ended=1.0)}, JobState.LOST),
    ],
)
def test_the_state_follows_from_what_the_folder_says(known: dict[str, Any], state: JobState) -> None:
    base: dict[str, Any] = {"state": None, "exit": None, "stop": None, "gone": None, "age": 1.0}
    assert derive_state(**{**base, **known}) is state


def test_a_record_of_nothing_is_still_a_job() -> None:
    job = read_record("here", "x", "/x", {}, 0.0)
    assert job.id == "x" and job.state is JobState.QUEUED


def test_torchrun_gets_the_time_that_it_gives_its_workers_and_python_longer() -> None:
    assert interrupt_wait(["/opt/conda/bin/torchrun", "--nproc", "2", "x.py"]) == 30.0
    assert interrupt_wait(["python3", "-m", "torch.distributed.run", "x.py"]) == 30.0
    assert interrupt_wait(["conda", "run", "-n", "env", "python", "x.py"]) == 120.0
    assert interrupt_wait(["sleep", "1"]) == 30.0


# The agent's side.


def test_a_second_look_reads_nothing_again_and_leaves_out_what_is_known(tmp_path: Path) -> None:
    id = new_job_id("done", time.time())
    folder = write(
        tmp_path / id,
        job={"id": id},
        state={"boot": "x"},
        exit={"code": 0},
    )
    first = agent_jobs.jobs(str(tmp_path))
    assert list(first["jobs"]) == [id]
    have = {id: first["jobs"][id]["v"]}
    assert agent_jobs.jobs(str(tmp_path), have) == {"ids": [id], "jobs": {}, "now": pytest.approx(time.time(), abs=5)}
    write(folder, stop={"mode": "kill"})
    assert agent_jobs.jobs(str(tmp_path), have)["jobs"][id]["stop"] == {"mode": "kill"}
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert agent_jobs.jobs(str(tmp_path), have)["ids"] == []


def test_five_hundred_ended_jobs_cost_the_agent_little(tmp_path: Path) -> None:
    for number in range(500):
        id = f"20260101T000000-job-{number:06x}"
        write(tmp_path / id, job={"id": id}, state={}, exit={"code": 0})
    agent_jobs.jobs(str(tmp_path))
    began = time.process_time()
    agent_jobs.jobs(str(tmp_path))
    assert time.process_time() - began < 0.05


async def test_an_agent_that_talks_nonsense_costs_no_exception(tmp_path: Path) -> None:
    for answer in (None, [], {"ids": 5}, {"ids": [1, None, "a"], "jobs": {"a": 7}}, {"jobs": []}, {"ids": ["a"]}):

        async def ask(_op: str, answer: Any = answer, **_args: Any) -> Any:
            return answer

        assert await Jobs("here", bare(tmp_path).runtime, ask, lambda: "/x").list() == []


async def test_changes_go_on_while_the_host_is_away(tmp_path: Path) -> None:
    place = bare(tmp_path)
    ask, away = agent_ask(place.runtime), [True]

    async def sometimes(op: str, **args: Any) -> Any:
        if away[0]:
            raise HostUnreachable("away", where="here")
        return await ask(op, **args)

    await place.ended((await place.start("true")).id)
    jobs = Jobs("here", place.runtime, sometimes, lambda: place.root)
    changes = jobs.changes(0.02)
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    away[0] = False
    assert len(await waiting) == 1
    await changes.aclose()  # type: ignore[attr-defined]
