"""An encoder does not make this process a real-time one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sets_video import video

from dm_isaac_g1.data.remux import cut


def policies() -> set[int]:
    return {os.sched_getscheduler(int(thread)) & ~os.SCHED_RESET_ON_FORK for thread in os.listdir("/proc/self/task")}


@pytest.mark.skipif(os.geteuid() != 0, reason="the encoder asks for it only where it is granted: as root")
def test_encoding_again_leaves_every_thread_an_ordinary_one(tmp_path: Path) -> None:
    before = policies()
    (tmp_path / "a.mp4").write_bytes(video("av1", 12, 30))
    # Not at a key frame, which every second frame is.
    assert cut(tmp_path / "a.mp4", tmp_path / "b.mp4", 1 / 30, 9 / 30, 30, 8) == "encoded"
    assert policies() == before
    assert os.SCHED_FIFO not in before


@pytest.mark.skipif(os.geteuid() != 0, reason="the encoder asks for it only where it is granted: as root")
def test_threads_of_others_do_not_take_it_over_from_what_libc_remembers() -> None:
    import zmq

    video.cache_clear()
    video("av1", 3, 30)
    with zmq.Context() as context, context.socket(zmq.REP) as socket:  # its threads are made like the one that asks
        socket.bind_to_random_port("tcp://127.0.0.1")
        socket.poll(200)  # they run by then
        assert os.SCHED_FIFO not in policies()
