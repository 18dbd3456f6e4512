"""Lines and points gathered for a moment lose nothing, and keep their order."""

from __future__ import annotations

import asyncio

from fakehost import job
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.runs import MetricPoint, TrainProgress
from dm_isaac_g1.finetuning.lines import LineSplitter
from dm_isaac_g1.fleet import batch
from dm_isaac_g1.fleet.batch import Batch
from dm_isaac_g1.fleet.logs import KEPT
from dm_isaac_g1.fleet.store import Store

RUN = "20261120T120000-run-0a0a0a"


async def test_a_flood_is_a_few_events_within_fifty_milliseconds() -> None:
    events: list[ev.Event] = []
    gathered = Batch("ws", RUN, events.append)
    for number in range(1000):
        gathered.lines((f"{number}",), replaced=False)
        gathered.points([MetricPoint(name="loss", step=number, value=1.0)])
    assert events == []
    await asyncio.sleep(0.05)
    assert [type(each) for each in events] == [ev.Metrics, ev.Log]
    assert len(events[1].lines) == 1000  # type: ignore[attr-defined]
    assert batch.WAIT <= 0.05


async def test_the_same_progress_is_told_once() -> None:
    events: list[ev.Event] = []
    gathered = Batch("ws", RUN, events.append)
    for _ in range(3):
        gathered.points([], TrainProgress(step=5))
        gathered.flush()
    assert len(events) == 1


async def test_more_lines_than_a_log_keeps_are_counted() -> None:
    store = Store()
    store.apply(ev.Job(job=job()))
    gathered = Batch("ws", RUN, store.apply)
    gathered.lines(tuple(str(n) for n in range(KEPT + 7)), replaced=False)
    gathered.flush()
    kept = store.runs[RUN].log
    assert (kept.total, kept.dropped, kept.lines[0], kept.lines[-1]) == (KEPT + 7, 7, "7", str(KEPT + 6))


@given(st.lists(st.tuples(st.text("ab\r\n", max_size=8), st.booleans()), max_size=30))
def test_batching_shows_what_no_batching_shows(parts: list[tuple[str, bool]]) -> None:
    async def both() -> tuple[list[str], list[str]]:
        stores = Store(), Store()
        batches = [Batch("ws", RUN, store.apply) for store in stores]
        splitters = LineSplitter(), LineSplitter()
        for store in stores:
            store.apply(ev.Job(job=job()))
        for text, flush in parts:
            for index in (0, 1):
                said = splitters[index].feed(text.encode())
                batches[index].lines(said.lines, replaced=said.replaced)
                if flush or index == 0:
                    batches[index].flush()
        for gathered in batches:
            gathered.flush()
        return list(stores[0].runs[RUN].log.lines), list(stores[1].runs[RUN].log.lines)

    plain, gathered = asyncio.run(both())
    assert gathered == plain
