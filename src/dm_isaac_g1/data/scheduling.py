"""Keeps an encoder from making this process a real-time one.

SVT-AV1, run by root, gives its threads and its caller's SCHED_FIFO (Source/Lib/Globals, "EbThreads"; seen with PyAV
18.1): whatever they start afterwards inherits it, and a busy child then starves the whole machine.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TASKS = Path("/proc/self/task")


@contextmanager
def ordinary_threads() -> Iterator[Callable[[], None]]:
    """Around an encoder. Call what is yielded once the encoder runs; the end calls it again. Only Linux has the matter.

    Threads that were real-time ones before stay so.
    """
    before = {thread: policy for thread, policy in _policies().items() if policy in _real_time()}

    def calm() -> None:
        for thread, policy in _policies().items():
            if policy in _real_time() and thread not in before:
                try:
                    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
                except OSError:  # it has ended
                    continue
        if threading.get_native_id() not in before:
            _calm_in_libc()

    try:
        yield calm
    finally:
        calm()


def _calm_in_libc() -> None:
    """glibc remembers what this thread was made, and who asks it passes that on: libzmq gives it to its own threads."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "pthread_setschedparam"):
        return
    ordinary = ctypes.c_int(0)  # struct sched_param: its one field that matters here, sched_priority
    libc.pthread_setschedparam(ctypes.c_ulong(threading.get_ident()), os.SCHED_OTHER, ctypes.byref(ordinary))


def _real_time() -> tuple[int, ...]:
    return (os.SCHED_FIFO, os.SCHED_RR)


def _policies() -> dict[int, int]:
    """Thread -> its scheduling policy; {} where there is no /proc."""
    found: dict[int, int] = {}
    for thread in map(int, os.listdir(_TASKS)) if _TASKS.is_dir() else ():  # noqa: PTH208
        try:
            found[thread] = os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK
        except OSError:  # it has ended
            continue
    return found
