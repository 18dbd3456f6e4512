"""The datasets of a host: looked at while somebody looks at them, seldom otherwise, at once when an action ended.

The agent tells the texts of meta files only where they changed, so that a look at what stands still costs a host a few
`stat` calls and the wire a line.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.events import Dataset, Datasets, Event

if TYPE_CHECKING:
    from dm_isaac_g1.core.datasets import DatasetDetail, DatasetSummary
    from dm_isaac_g1.remote.host import Host
    from dm_isaac_g1.remote.wire import DatasetRow

#: Seconds between two looks: while the room is open (quicker where something is being written), and otherwise.
OPEN, WRITING, CLOSED = 30.0, 4.0, 900.0
#: Answers in a row that may be incomplete before they are taken for what they are: the host has too many.
PARTS = 20
#: Bytes that one question for a file may bring.
PIECE = 1 << 20


class DatasetMonitor:
    """Watches the datasets folder of one host, and one dataset of it from near.

    `looked`: the host's datasets are in the picture.
    """

    def __init__(
        self,
        host: Host,
        apply: Callable[[Event], None],
        *,
        open_: float = OPEN,
        writing: float = WRITING,
        closed: float = CLOSED,
    ) -> None:
        self.looked = False
        self._host, self._apply = host, apply
        self._pauses = {"open": open_, "writing": writing, "closed": closed}
        self._open = False
        self._asked = asyncio.Event()
        self._wanted: str | None = None
        self._near = asyncio.Event()
        self._rows: dict[str, DatasetRow] = {}
        self._seen: tuple[DatasetSummary, ...] | None = None
        self._told: dict[str, object] = {}

    def open(self, open_: bool) -> None:
        """Somebody looks at datasets from now on, or nobody does."""
        if open_ and not self._open:
            self._asked.set()
        self._open = open_

    def look(self) -> None:
        """Look again now: something was made, changed or removed."""
        self._asked.set()

    def want(self, path: str | None) -> None:
        """Somebody looks at this dataset from near."""
        if path != self._wanted:
            self._wanted = path
            self._near.set()

    # --- All of them, a line each -------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look for ever. Raises what looking raises; call again to go on."""
        while True:
            if not self._open:
                await self._pause(self._pauses["closed"])
            self._asked.clear()
            await self._host.ready()
            await self.see()
            if self._open:
                # A partial one may just have been left behind: what moved since the last look is being written.
                moving = any(each.validity == "partial" for each in self._seen or ())
                await self._pause(self._pauses["writing" if moving else "open"])

    async def see(self) -> None:
        """Look now. Raises what asking the host raises."""
        rows = await self._find()
        seen = await asyncio.to_thread(self._summaries, rows)
        first, self.looked = not self.looked, True
        if first or seen != self._seen:
            self._seen = seen
            self._apply(Datasets(host=self._host.name, datasets=seen))
            self._near.set()

    async def _find(self) -> dict[str, DatasetRow]:
        # It reads tables of joints and families: in a thread, so that whoever waits for keys is not kept waiting.
        merged = (await asyncio.to_thread(importlib.import_module, "dm_isaac_g1.data.summary")).merged
        folder = self._host.path("datasets")
        for _ in range(PARTS):
            answer = await self._host.files.datasets(folder, self._rows)
            news = sum(row.texts is not None for row in answer.rows)
            self._rows = {row.path: merged(row, self._rows.get(row.path)) for row in answer.rows}
            if not answer.more or not news:
                break
        return self._rows

    def _summaries(self, rows: dict[str, DatasetRow]) -> tuple[DatasetSummary, ...]:
        from dm_isaac_g1.data.summary import summarise

        return tuple(summarise(self._host.name, row) for row in rows.values())

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()

    # --- One of them from near ----------------------------------------------------------------------------------------

    async def watch_near(self) -> None:
        """Read for ever what the dataset that is wanted says of itself. Raises what reading raises; call again."""
        while True:
            await self._near.wait()
            self._near.clear()
            row = self._rows.get(self._wanted or "")
            if row is None:
                continue
            mark = (row.stamps, row.newest)
            if self._told.get(row.path) == mark:
                continue
            await self._host.ready()
            detail = await self._read(row)
            self._told = {**self._told, row.path: mark} if len(self._told) < 100 else {row.path: mark}
            self._apply(Dataset(detail=detail))

    async def _read(self, row: DatasetRow) -> DatasetDetail:
        module: Any = await asyncio.to_thread(importlib.import_module, "dm_isaac_g1.data.detail")
        files = {name: await self._file(f"{row.path}/{name}", most) for name, most in module.WANTED.items()}
        if files[module.STATS] is None:
            files |= {name: await self._file(f"{row.path}/{name}", most) for name, most in module.INSTEAD.items()}
        info: Sequence[str | None] = row.texts or [None]
        found: DatasetDetail = await asyncio.to_thread(module.detail, self._host.name, row.path, info[0], files)
        return found

    async def _file(self, path: str, most: int) -> bytes | None:
        """A small file; None where there is none, it cannot be read, or is larger than `most`."""
        found = await self._host.files.stat(path)
        if found is None or found.kind != "file" or found.size > most:
            return None
        data = b""
        try:
            while len(data) < found.size:
                piece = (await self._host.files.read(path, len(data), PIECE)).data
                if not piece:
                    break
                data += piece
        except DmG1Error:
            return None
        return data
