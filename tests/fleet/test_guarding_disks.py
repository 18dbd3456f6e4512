"""What the guard offers lies on the file system that is too small: anything else would free nothing there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from fakehost import PLAN, FakeFiles, FakeHost, checkpoint, new_job, spec
from fleets import fleet

from dm_isaac_g1.core.forecasts import Verdict
from dm_isaac_g1.core.profile import Thresholds
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.fleet import guarding

THRESHOLDS = Thresholds(disk_reserve_gb=0.001, disk_reserve_share=0.0)
RUN = "20261120T120000-run-0a0a0a"
SMALL = Disk(dev=1, mount="/small", total=10**12, avail=70_000_000)
LARGE = Disk(dev=2, mount="/large", total=10**12, avail=10**11)


class TwoDisks(FakeFiles):
    """What lies below a folder named `large` is on another file system."""

    async def disks(self, paths: dict[str, str]) -> tuple[Disk, ...]:
        self._check()
        on: dict[Disk, list[str]] = {SMALL: [], LARGE: []}
        for name, path in paths.items():
            on[LARGE if "large" in Path(path).parts else SMALL].append(name)
        return tuple(msgspec.structs.replace(disk, paths=tuple(names)) for disk, names in on.items() if names)


def two_disks(root: Path) -> FakeHost:
    """Old runs with two checkpoints on each disk."""
    host = FakeHost(root)
    host.files = TwoDisks()
    for number, place in enumerate(("small", "large")):
        out = root / place / "old"
        for step in (100, 200):
            checkpoint(out, step, 60_000_000 if place == "large" else 15_000_000)
        id = f"20261120T11000{number}-old-0c0c0{number}"
        host.jobs.put(new_job(root, id, state=JobState.SUCCEEDED, output_dir=str(out), created=float(number)))
    return host


async def test_a_refusal_offers_nothing_that_lies_on_another_disk(tmp_path: Path) -> None:
    host: Any = two_disks(tmp_path)
    wanted = spec("20261120T130000-new-0b0b0b", trainer="bc", output_dir=str(tmp_path / "small" / "new"), save=PLAN)
    word = await guarding.forecast_planned(host, wanted, THRESHOLDS)
    assert word is not None and word.verdict is Verdict.FAIL
    offered = [each.path for each in word.remedies if each.path]
    assert offered and all("/small/" in path for path in offered)


async def test_a_running_fleet_offers_nothing_that_lies_on_another_disk(tmp_path: Path) -> None:
    host = two_disks(tmp_path)
    host.jobs.put(new_job(tmp_path, output_dir=str(tmp_path / "small" / "run"), save=PLAN))
    async with fleet(host) as there:
        assert await there.settled(5)
        words = {each.dev: each for each in there.store.hosts["ws"].forecasts}
    assert words[1].verdict is Verdict.FAIL
    offered = [each.path for each in words[1].remedies if each.path]
    assert offered and all("/small/" in path for path in offered)


async def test_of_runs_launched_at_once_only_those_that_began_later_are_told_that_they_do_not_fit(
    tmp_path: Path,
) -> None:
    """Room for two of the three: 90 MB each at the most. Which one looks first does not matter."""
    host = FakeHost(tmp_path)
    host.files.disk = msgspec.structs.replace(SMALL, avail=200_000_000)
    started = []
    for number in range(3):
        id = f"20261120T12000{2 - number}-run-0a0a0{number}"
        job = new_job(tmp_path, id, output_dir=str(tmp_path / f"out{number}"), save=PLAN, started=1000.0 + number)
        host.jobs.put(job)
        started.append(job)
    there: Any = host
    words = {}
    for number in (2, 0, 1):
        words[number] = await guarding.forecast_started(there, started[number], THRESHOLDS)
    assert words[0] is None
    assert words[1] is not None and words[1].verdict is not Verdict.FAIL
    assert words[2] is not None and words[2].verdict is Verdict.FAIL
