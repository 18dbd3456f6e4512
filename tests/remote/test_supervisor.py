"""The supervisor against real process trees: nothing is left over, and there is always a verdict."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from places import QUICK, Place, bare, carriers, fill, small_disk

from dm_isaac_g1.core.errors import RemoteFailed
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.remote import supervisor_program

pytestmark = pytest.mark.timeout(60)

#: Ignores what can be ignored.
STUBBORN = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
print("ready", flush=True)
while True:
    time.sleep(60)
"""

#: As torchrun: two workers in sessions of their own, told of signals by the launcher alone.
LAUNCHER = """
import os, signal, subprocess, sys, time
WORKER = '''
import signal, sys, time
def told(number, frame):
    print("worker got", signal.Signals(number).name, flush=True)
    sys.exit(1)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, told)
print("worker ready", flush=True)
while True: time.sleep(60)
'''
workers = [subprocess.Popen([sys.executable, "-c", WORKER], start_new_session=True) for _ in range(2)]
def told(number, frame):
    print("launcher got", signal.Signals(number).name, flush=True)
    for worker in workers:
        worker.send_signal(number)
    for worker in workers:
        worker.wait()
    sys.exit(1)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, told)
print("launcher ready", flush=True)
while True: time.sleep(60)
"""

#: Saves a checkpoint as transformers does: the state last. Says what it was told.
TRAINER = """
import os, pathlib, signal, sys, time
out = pathlib.Path(sys.argv[1])
print("training", flush=True)
step = 0
while True:
    step += 10
    time.sleep(float(sys.argv[2]))
    folder = out / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    time.sleep(0.2)
    (folder / "trainer_state.json").write_text("{}")
    print("saved", step, flush=True)
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return bare(tmp_path)


def supervisor_of(folder: str) -> int:
    return int(json.loads(Path(folder, "state.json").read_text())["pid"])


async def gone(pid: int) -> None:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state in "ZX":
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{pid} still runs")


async def test_no_descendant_remains_after_a_stop_not_even_one_in_a_session_of_its_own(place: Place) -> None:
    script = """
    trap '' INT
    setsid bash -c "trap '' INT TERM; echo one; sleep 300 & wait; sleep 300" &
    (setsid setsid sleep 301 &)
    echo two
    wait
    sleep 302
    """
    job = await place.start("bash", "-c", script)
    await place.said(job, "one")
    await place.said(job, "two")
    assert len(carriers(job.id)) >= 4
    await place.jobs.stop(job.id, "interrupt", "test")
    job = await place.ended(job.id)
    assert job.state is JobState.STOPPED
    assert carriers(job.id) == []
    await gone(supervisor_of(job.folder))


async def test_what_ignores_interrupt_and_terminate_is_killed_and_each_rung_is_seen(place: Place) -> None:
    job = await place.start(sys.executable, "-c", STUBBORN)
    await place.said(job, "ready")
    await place.jobs.stop(job.id, "interrupt", "test")
    rungs = []
    while not (job := await place.jobs.get(job.id)).state.ended:
        assert job.state is JobState.RUNNING
        if job.rung and job.rung not in rungs:
            rungs.append(job.rung)
        await asyncio.sleep(0.05)
    assert rungs[:2] == ["interrupt", "terminate"]
    assert job.exit is not None and job.exit.signal == signal.SIGKILL and job.exit.code is None
    assert job.state is JobState.STOPPED and job.rung is None


async def test_an_interrupt_goes_to_the_launcher_alone_who_tells_its_workers(place: Place) -> None:
    job = await place.start(sys.executable, "-c", LAUNCHER, waits={"interrupt_s": 20})
    await place.said(job, "launcher ready")
    while (await place.said(job, "worker ready")).count("worker ready") < 2:
        await asyncio.sleep(0.05)
    await place.jobs.stop(job.id, "interrupt", "test")
    job = await place.ended(job.id)
    log = await place.said(job, "launcher got SIGINT")
    assert log.count("worker got SIGINT") == 2 and "SIGTERM" not in log
    assert job.state is JobState.STOPPED and job.exit is not None and job.exit.reaped == 0


async def test_a_trainer_keeps_its_time_to_save_when_the_wrapper_around_it_ends_at_once(place: Place) -> None:
    inner = "trap 'sleep 2; echo saved; exit' INT; echo up; while :; do sleep 0.1; done"
    # As `conda run`: Python leaves at the interrupt while its child is still at work.
    wrapper = textwrap.dedent(f"""
        import subprocess, sys
        child = subprocess.Popen(['bash', '-c', {inner!r}])
        try:
            child.wait()
        except KeyboardInterrupt:
            sys.exit(1)
    """)
    job = await place.start(sys.executable, "-c", wrapper, waits={"interrupt_s": 20})
    await place.said(job, "up")
    await place.jobs.stop(job.id, "interrupt", "test")
    job = await place.ended(job.id)
    assert await place.said(job, "saved") == "up\nsaved\n"
    assert job.state is JobState.STOPPED and job.exit is not None and job.exit.reaped == 0


async def test_workers_orphaned_by_a_killed_launcher_are_ended_and_counted(place: Place) -> None:
    job = await place.start(sys.executable, "-c", LAUNCHER)
    while (await place.said(job, "worker ready")).count("worker ready") < 2:
        await asyncio.sleep(0.05)
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    job = await place.ended(job.id)
    assert job.state is JobState.FAILED, "nobody asked it to stop"
    assert job.exit is not None and job.exit.signal == signal.SIGKILL and job.exit.reaped == 2
    assert carriers(job.id) == []


async def test_a_stopped_process_is_woken_to_hear_that_it_should_end(place: Place) -> None:
    job = await place.start("sleep", "300", waits={"interrupt_s": 20})
    assert job.pid is not None
    os.kill(job.pid, signal.SIGSTOP)
    await place.jobs.stop(job.id, "interrupt", "test")
    job = await place.ended(job.id)
    assert job.exit is not None and job.exit.signal == signal.SIGINT


async def test_a_job_outlives_whoever_started_it(place: Place, tmp_path: Path) -> None:
    starter = textwrap.dedent(f"""
        import asyncio, os, signal, sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from places import bare
        async def main():
            place = bare(Path({str(tmp_path)!r}))
            job = await place.start("bash", "-c", "echo begun; sleep 1; echo done")
            print(job.id, flush=True)
            os.killpg(os.getpgrp(), signal.SIGKILL)
        asyncio.run(main())
    """)
    done = subprocess.run(
        [sys.executable, "-c", starter], capture_output=True, start_new_session=True, timeout=30, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    job = await place.ended(done.stdout.decode().strip())
    assert job.state is JobState.SUCCEEDED
    assert await place.said(job, "done") == "begun\ndone\n"


async def test_a_stop_goes_up_the_ladder_with_nobody_connected(place: Place) -> None:
    job = await place.start(sys.executable, "-c", STUBBORN)
    await place.said(job, "ready")
    await place.jobs.stop(job.id, "interrupt", "test")
    await gone(supervisor_of(job.folder))  # nothing was asked meanwhile
    assert (await place.jobs.get(job.id)).state is JobState.STOPPED


async def test_a_job_without_a_supervisor_still_counts_as_running_and_can_be_stopped(place: Place) -> None:
    job = await place.start(sys.executable, "-c", LAUNCHER)
    await place.said(job, "launcher ready")
    os.kill(supervisor_of(job.folder), signal.SIGKILL)
    await gone(supervisor_of(job.folder))
    assert (await place.jobs.get(job.id)).state is JobState.RUNNING
    await place.jobs.stop(job.id, "interrupt", "test")
    job = await place.ended(job.id)
    assert job.state is JobState.STOPPED
    assert carriers(job.id) == []


async def test_what_is_left_of_a_lost_job_can_be_stopped(place: Place) -> None:
    job = await place.start(sys.executable, "-c", LAUNCHER)
    while (await place.said(job, "worker ready")).count("worker ready") < 2:
        await asyncio.sleep(0.05)
    assert job.pid is not None
    for pid in (supervisor_of(job.folder), job.pid):
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
    job = await place.jobs.get(job.id)
    assert job.state is JobState.LOST
    assert len(carriers(job.id)) == 2
    await place.jobs.stop(job.id, "terminate", "test")
    await place.until(job.id, lambda job: job.exit is not None)
    assert carriers(job.id) == []


async def test_a_supervisor_told_to_terminate_ends_its_job_first(place: Place) -> None:
    job = await place.start("sleep", "300")
    os.kill(supervisor_of(job.folder), signal.SIGTERM)
    job = await place.ended(job.id)
    assert job.state is JobState.FAILED and job.exit is not None and job.exit.signal == signal.SIGTERM


async def test_the_exit_of_a_job_that_ends_at_once_is_never_missed(place: Place) -> None:
    jobs = await asyncio.gather(*(place.start("sh", "-c", f"exit {number}") for number in range(8)))
    for number, job in enumerate(jobs):
        exit_ = (await place.ended(job.id)).exit
        assert exit_ is not None and exit_.code == number


# Stopping at a checkpoint.


async def test_stop_at_a_checkpoint_waits_until_the_next_one_is_complete(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = await place.start(sys.executable, "-c", TRAINER, str(out), "1.5", output_dir=str(out))
    await place.said(job, "saved 10")
    await place.jobs.stop(job.id, "checkpoint", "test")
    waiting = await place.until(job.id, lambda job: job.rung == "checkpoint")
    assert waiting.state is JobState.RUNNING
    job = await place.ended(job.id)
    assert job.state is JobState.STOPPED and job.exit is not None and job.exit.signal == signal.SIGINT
    assert sorted(each.name for each in out.iterdir()) == ["checkpoint-10", "checkpoint-20"]
    assert (out / "checkpoint-20" / "trainer_state.json").exists()


async def test_a_checkpoint_of_groot_counts_only_with_its_last_file(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = TRAINER.replace('print("saved"', 'time.sleep(1); (folder / "wandb_config.json").touch(); print("saved"')
    job = await place.start(
        sys.executable, "-c", script, str(out), "0.1", output_dir=str(out), trainer="groot-n1.6"
    )  # fmt: skip
    await place.said(job, "training")
    await place.jobs.stop(job.id, "checkpoint", "test")
    await place.ended(job.id)
    assert (out / "checkpoint-10" / "wandb_config.json").exists()


async def test_a_stop_file_lets_the_trainer_save_and_end_by_itself(place: Place, tmp_path: Path) -> None:
    script = 'while [ ! -e "$DM_G1_JOB_DIR/stop" ]; do sleep 0.05; done; echo saved; exit 0'
    job = await place.start("bash", "-c", script, stop_file="stop", output_dir=str(tmp_path))
    await place.jobs.stop(job.id, "checkpoint", "test")
    job = await place.ended(job.id)
    assert job.state is JobState.STOPPED
    assert job.exit is not None and job.exit.code == 0 and not job.exit.signalled


async def test_a_job_that_ends_while_a_checkpoint_is_awaited_tells_its_own_end(place: Place, tmp_path: Path) -> None:
    ends = []
    for code in (0, 3):
        asked = tmp_path / f"asked-{code}"
        waits = f"until [ -e {asked} ]; do sleep 0.05; done; exit {code}"
        job = await place.start("bash", "-c", waits, output_dir=str(tmp_path / "out"))
        await place.jobs.stop(job.id, "checkpoint", "test")
        asked.touch()
        ends.append((await place.ended(job.id)).state)
    assert ends == [JobState.SUCCEEDED, JobState.FAILED]


async def test_a_job_that_saves_nothing_is_not_waited_for(place: Place) -> None:
    job = await place.start("sleep", "300")
    await place.jobs.stop(job.id, "checkpoint", "test")
    assert (await place.ended(job.id)).state is JobState.STOPPED


WORKER = """
import sys, time
from torch.distributed import init_process_group
init_process_group("gloo")
print("worker ready", flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_the_workers_of_a_real_torchrun_end_with_it(place: Place, tmp_path: Path, how: str) -> None:
    pytest.importorskip("torch")
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    argv = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script))
    job = await place.start(*argv, waits={"interrupt_s": 30})
    while (await place.said(job, "worker ready", 60)).count("worker ready") < 2:
        await asyncio.sleep(0.1)
    if how == "stopped":
        await place.jobs.stop(job.id, "interrupt", "test")
    else:
        assert job.pid is not None
        os.kill(job.pid, signal.SIGKILL)
    job = await place.ended(job.id, 40)
    assert job.exit is not None and carriers(job.id) == []
    if how == "stopped":
        assert job.state is JobState.STOPPED and job.exit.code == 1, "torchrun says 1 for every signal"
    else:
        assert job.state is JobState.FAILED and job.exit.reaped >= 2


# Full disks.


async def test_a_full_disk_at_the_start_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256k") as disk:
        place = bare(disk)
        Path(place.root).mkdir()
        fill(disk)
        with pytest.raises(RemoteFailed, match="No space left on device; free some space"):
            await place.start("echo", "hello")
        assert list(Path(place.root).iterdir()) == []
        assert await place.jobs.list() == []


async def test_a_job_that_fills_its_disk_leaves_a_verdict(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        place = bare(disk)
        job = await place.start("dd", "if=/dev/zero", f"of={disk}/big", "bs=4k", "status=none", output_dir=str(disk))
        job = await place.ended(job.id)
        assert job.state is JobState.FAILED
        assert job.exit is not None and job.exit.code == 1 and job.exit.avail is not None
        assert job.exit.avail <= 8192, "a block or two came free when a reserve was used"
        await gone(supervisor_of(job.folder))
        assert not list(Path(job.folder).glob(".*")), "no reserve is kept"


async def test_a_job_on_a_full_disk_can_be_stopped(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        place = bare(disk)
        job = await place.start(sys.executable, "-c", STUBBORN)
        await place.said(job, "ready")
        fill(disk)
        await place.jobs.stop(job.id, "interrupt", "test")
        await place.until(job.id, lambda job: job.rung == "interrupt")
        await place.jobs.stop(job.id, "kill", "test")
        job = await place.ended(job.id)
        assert job.state is JobState.STOPPED and job.stop is not None and job.stop.mode == "kill"


def test_a_file_can_be_replaced_again_and_again_on_a_disk_that_stays_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        monkeypatch.chdir(disk)
        supervisor_program.put("state.json", {"turn": 0})
        supervisor_program.write_through(".spare-state.json", b"\n" * 4096, os.O_WRONLY | os.O_CREAT)
        for turn in range(1, 4):
            fill(disk)
            supervisor_program.put("state.json", {"turn": turn})
            assert supervisor_program.get("state.json") == {"turn": turn}
        fill(disk)
        with pytest.raises(OSError, match="No space left"):
            supervisor_program.put("exit.json", {})
        assert sorted(os.listdir(disk)) == ["filler", "state.json"]
        monkeypatch.chdir("/")


async def test_a_removed_job_folder_does_not_keep_a_supervisor_behind(place: Place) -> None:
    job = await place.start("sleep", "1")
    pid = supervisor_of(job.folder)
    for entry in Path(job.folder).iterdir():
        entry.unlink()
    Path(job.folder).rmdir()
    await gone(pid)


# What a job is given.


async def test_a_job_gets_its_settings_no_terminal_and_one_log_in_order(place: Place) -> None:
    script = (
        'echo "$PYTHONUNBUFFERED $COLOUR $DM_G1_JOB_DIR $(pwd)"; echo err >&2; printf "\\xff\\r"; '
        "tty; cat; ps -o sid= -p $$ | tr -d ' '; echo $$"
    )
    job = await place.start("bash", "-c", script, env={"COLOUR": "blue"}, cwd="/usr")
    job = await place.ended(job.id)
    assert job.state is JobState.SUCCEEDED
    lines = Path(job.folder, "log").read_bytes().split(b"\n")
    assert lines[0].decode() == f"1 blue {job.folder} /usr"
    assert lines[1] == b"err"
    assert lines[2] == b"\xff\rnot a tty"
    assert lines[3] == lines[4], "it leads a session of its own"
    assert job.log_bytes == len(b"\n".join(lines))


async def test_the_supervisor_sleeps_while_its_job_works(place: Place) -> None:
    job = await place.start("sleep", "300", waits={**QUICK, "tick_s": 0.5, "heartbeat_s": 5.0})
    fields = f"/proc/{supervisor_of(job.folder)}/stat"

    def cpu() -> int:
        return sum(map(int, Path(fields).read_text().rpartition(")")[2].split()[11:13]))

    await asyncio.sleep(0.5)
    before = cpu()
    await asyncio.sleep(3)
    assert cpu() - before <= 3, "clock ticks of 10 ms: at most 1 % of a core"
    await place.jobs.stop(job.id, "kill", "test")
    await place.ended(job.id)
