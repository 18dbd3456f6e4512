"""A long synchronous function as a stream of events: it works in a thread, and whoever listens is never blocked.

What it reports is taken ten times a second; of figures that only grew, the last one. Whoever stops listening cancels
the work, and waits a moment for it to write down where it is. The thread does not keep the process from ending: what
is written under a final name is whole at any time.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.events import Event, Progress
from dm_isaac_g1.core.units import many

if TYPE_CHECKING:
    from dm_isaac_g1.data.work import Work

T = TypeVar("T")

#: Seconds between two looks at what was reported.
EVERY = 0.1
#: Reports that may wait to be looked at; the rest is counted.
WAITING = 1000
#: Seconds that cancelled work gets to end: its next `check` is an episode's part away.
PATIENCE = 10.0


class Working(Generic[T]):
    """One piece of work. Iterate over `events` to its end, then take `result`; it works only meanwhile."""

    def __init__(self, do: Callable[[Work], T]) -> None:
        self._do = do
        self._told: deque[Event] = deque()
        self._left_out = 0
        self._lock = threading.Lock()
        self._result: list[T] = []
        self._error: BaseException | None = None

    @property
    def result(self) -> T:
        """What the function returned, once `events` came to its end."""
        return self._result[0]

    async def events(self) -> AsyncIterator[Event]:
        """What it reports. Raises what it raises."""
        from dm_isaac_g1.data.work import Work

        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        work = Work(self._tell)

        def run() -> None:
            try:
                self._result.append(self._do(work))
            except BaseException as error:
                self._error = error
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:  # nobody waited so long
                return

        threading.Thread(target=run, name="work", daemon=True).start()
        try:
            while not ended.is_set():
                await _passed(ended, EVERY)
                for event in self._take():
                    yield event
        finally:
            if not ended.is_set():
                work.cancel()
                await _passed(ended, PATIENCE)
        if self._error is not None:
            raise _ours(self._error)

    def _tell(self, event: Event) -> None:
        """Called in the thread that works."""
        with self._lock:
            last = self._told[-1] if self._told else None
            if last is not None and _overtaken(last, event):
                self._told[-1] = event
            elif len(self._told) < WAITING:
                self._told.append(event)
            else:
                self._left_out += 1

    def _take(self) -> list[Event]:
        with self._lock:
            taken, left = list(self._told), self._left_out
            self._told.clear()
            self._left_out = 0
        return [*taken, *([Progress(text=f"… {many(left, 'message')} left out")] if left else [])]


async def _passed(ended: asyncio.Event, seconds: float) -> None:
    """Wait for the end, so long at most."""
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        pass


def _overtaken(last: Event, event: Event) -> bool:
    """Whether `event` says all that `last` did: the same figure, further on."""
    return (
        isinstance(last, Progress)
        and isinstance(event, Progress)
        and last.done is not None
        and event.done is not None
        and (last.total, last.unit) == (event.total, event.unit)
    )


def _ours(error: BaseException) -> BaseException:
    """An error for people: the operating system's word on a file is one, all else is a fault."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError | TimeoutError):
        return DmG1Error(error.strerror, where=str(error.filename) if error.filename else None)
    return error


def need(*modules: str) -> None:
    """Raises DmG1Error where a module of the extra `data` is not installed."""
    from importlib.util import find_spec

    missing = [_PACKAGES.get(name, name) for name in modules if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise DmG1Error(f"{_and(missing)} {verb} not installed", fix="pip install 'dm-isaac-g1[data]'")


#: Import name -> what it is called on PyPI, where that is another.
_PACKAGES = {"huggingface_hub": "huggingface-hub"}


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
