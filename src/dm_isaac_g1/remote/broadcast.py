"""One writer, many readers, none of whom can slow the writer: a reader that lags loses the oldest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Broadcast(Generic[T]):
    """Values for whoever listens. `depth`: how many a reader may lag behind."""

    def __init__(self, depth: int = 16) -> None:
        self._depth = depth
        self._readers: set[_Reader[T]] = set()
        self._closed = False

    def send(self, value: T) -> None:
        for reader in self._readers:
            reader.queue.append(value)
            reader.wake.set()

    def close(self) -> None:
        """End every reader's iteration, after what it has not read yet."""
        self._closed = True
        for reader in self._readers:
            reader.wake.set()

    async def listen(self, *first: T) -> AsyncIterator[T]:
        """`first`, then every value sent from now on."""
        reader: _Reader[T] = _Reader(self._depth)
        reader.queue.extend(first)
        self._readers.add(reader)
        try:
            while True:
                while reader.queue:
                    yield reader.queue.popleft()
                if self._closed:
                    return
                reader.wake.clear()
                await reader.wake.wait()
        finally:
            self._readers.discard(reader)


class _Reader(Generic[T]):
    def __init__(self, depth: int) -> None:
        self.queue: deque[T] = deque(maxlen=depth)
        self.wake = asyncio.Event()
