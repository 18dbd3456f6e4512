"""A job that should never end is started again when it crashes, ever more slowly, and ends when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from places import Place, bare

from dm_isaac_g1.core.runs import JobState

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return bare(tmp_path)


async def test_a_crash_is_followed_by_a_new_start_and_counted(place: Place) -> None:
    job = await place.start("sh", "-c", "echo up $$; sleep 300", waits={"restart_s": 0.1})
    await place.said(job, "up")
    first = (await place.jobs.get(job.id)).pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    again = await place.until(job.id, lambda now: now.restarts == 1 and now.state is JobState.RUNNING)
    assert again.pid != first
    await place.jobs.stop(job.id, "terminate", "me")
    ended = await place.ended(job.id)
    assert ended.state is JobState.STOPPED and place.processes(job.id) == []


async def test_what_a_crash_left_is_gone_before_the_new_start(place: Place) -> None:
    job = await place.start("sh", "-c", "setsid sleep 300 & sleep 0.1; exit 1", waits={"restart_s": 0.1})
    await place.until(job.id, lambda now: now.restarts >= 3)
    assert sum("sleep 300" in words for words in place.processes(job.id)) <= 1, "it would hold the port"
    await place.jobs.stop(job.id, "kill", "me")
    await place.ended(job.id)
    assert place.processes(job.id) == []


async def test_each_crash_is_waited_for_twice_as_long_and_a_stop_ends_the_wait(place: Place) -> None:
    began = time.monotonic()
    job = await place.start("sh", "-c", "exit 3", waits={"restart_s": 0.2})
    await place.until(job.id, lambda now: now.restarts == 4)
    assert time.monotonic() - began >= 0.2 + 0.4 + 0.8
    await place.jobs.stop(job.id, "terminate", "me")
    began = time.monotonic()
    ended = await place.ended(job.id)
    assert ended.state is JobState.STOPPED and time.monotonic() - began < 1.5


async def test_an_ordinary_job_is_never_started_again(place: Place) -> None:
    job = await place.start("sh", "-c", "exit 3")
    ended = await place.ended(job.id)
    await asyncio.sleep(0.3)
    assert (ended.state, ended.restarts) == (JobState.FAILED, 0)
