"""What a disk has free after a clean-up is measured once it has been given back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from dm_isaac_g1.actions import checkpoints
from dm_isaac_g1.core.samples import Disk

GB = 10**9


def host(*free: int) -> Any:
    """A host whose disk has so much free at one look after the other, and the last of it from then on."""
    looks = list(free)

    async def disks(paths: Mapping[str, str]) -> tuple[Disk, ...]:
        now = looks.pop(0) if len(looks) > 1 else looks[0]
        return (Disk(dev=1, mount="/", total=100 * GB, avail=now, paths=tuple(paths)),)

    return SimpleNamespace(files=SimpleNamespace(disks=disks))


@pytest.mark.parametrize(
    ("free", "grown"),
    [
        ((24 * GB,), 22 * GB),  # at once
        ((2 * GB, 2 * GB, 2 * GB, 24 * GB), 22 * GB),  # a moment later
        ((2 * GB, 8 * GB, 15 * GB, 24 * GB), 22 * GB),  # bit by bit
        ((2 * GB, 20 * GB), 18 * GB),  # others write meanwhile
        ((2 * GB, GB), -GB),  # others write more than that
        ((2 * GB,), 0),  # not within our patience: held open, or freed with a later commit
    ],
)
async def test_it_is_waited_for_and_not_for_ever(
    free: tuple[int, ...], grown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "GIVEN_BACK_WITHIN", 0.3)
    monkeypatch.setattr(checkpoints, "GIVEN_BACK_LOOK", 0.01)
    began = time.monotonic()
    async with asyncio.timeout(10):
        assert await checkpoints._grown(host(*free), ["/a"], 2 * GB, 22 * GB) == grown
    assert (time.monotonic() - began >= 0.3) == (grown <= 0)
