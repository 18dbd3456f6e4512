"""The disk guard: will every save of every run on a file system fit? Simulated, and never optimistic.

Rules on a line through the free space (predict_linear, fill rates) fail on the saw-tooth that rotation makes; so the
saves themselves are played through, each written before the oldest is deleted (`timeline`). What is not certain counts
for the worse: runs that save at about the same time save at the same time, a size that is not known is UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dm_isaac_g1.core import units
from dm_isaac_g1.core.forecasts import Forecast, Remedy, SaveForecast, Verdict
from dm_isaac_g1.core.profile import Thresholds
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.finetuning.timeline import Save, Writer, timeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: From good to bad: the worst of all saves is the file system's.
_WORSE = {Verdict.FIT: 0, Verdict.TIGHT: 1, Verdict.UNKNOWN: 2, Verdict.FAIL: 3}
#: When another run saves is known this well: a share of the time until then, and seconds at least.
_BLUR, _BLUR_S = 0.1, 30.0
#: The reserve takes at most this share of a disk, so that a small one can be other than TIGHT.
_RESERVE_AT_MOST = 0.1


def reserve_of(total: int, thresholds: Thresholds | None = None) -> int:
    """Bytes that should stay free: the larger of so many GB and so many percent, a tenth of the disk at most."""
    limits = thresholds or Thresholds()
    wanted = max(limits.disk_reserve_gb * 1e9, limits.disk_reserve_share * total)
    return int(min(wanted, _RESERVE_AT_MOST * total))


def forecast(
    disk: Disk,
    writers: Sequence[Writer] = (),
    *,
    host: str = "",
    background: float = 0.0,
    planned: int = 0,
    reserve: int | None = None,
    next_saves: int = 6,
    remedies: Sequence[Remedy] = (),
) -> Forecast:
    """The guard's word on `disk`, with everything that will be written there.

    `writers`: the runs that save there, a planned one among them. `background`: what others write, bytes a second
    (`finetuning.background`). `planned`: bytes that will be copied there besides (a deployment, a dataset).
    """
    reserve = reserve_of(disk.total) if reserve is None else reserve
    background = max(0.0, background)
    room = disk.avail - planned
    judged = _judge(disk, [timeline(w) for w in writers], room, background, reserve)
    failing = next((j for j in judged if j.save.verdict is Verdict.FAIL), None)
    verdict = max((j.save.verdict for j in judged), key=_WORSE.__getitem__, default=Verdict.FIT)
    if room < 0:
        verdict = Verdict.FAIL
    elif room < reserve:
        verdict = max(verdict, Verdict.TIGHT, key=_WORSE.__getitem__)
    fails = {j.why for j in judged if j.save.verdict is Verdict.FAIL}
    coincidence = fails == {"coincidence"} and room >= 0
    missing = max(0, -failing.save.free_at_peak) if failing else max(0, -room)
    return Forecast(
        host=host,
        dev=disk.dev,
        mount=disk.mount,
        verdict=verdict,
        avail=disk.avail,
        total=disk.total,
        reserve=reserve,
        saves=tuple(j.save for j in judged[:next_saves]),
        failing=failing.save if failing else None,
        missing=missing,
        full_in=max(0.0, room / background) if background > 0 else None,
        background=background,
        remedies=tuple(remedies),
        coincidence=coincidence,
        reason=_reason(disk, judged, failing, verdict, room, reserve, planned, background, coincidence),
    )


def disk_of(disks: Sequence[Disk], path: str) -> Disk | None:
    """The file system that `path` lies on: the longest mount point that is one of its parents."""

    def covers(mount: str) -> bool:
        return path == mount or path.startswith(mount.rstrip("/") + "/")

    return max((d for d in disks if covers(d.mount)), key=lambda d: len(d.mount), default=None)


@dataclass(frozen=True, slots=True)
class _Judged:
    save: SaveForecast
    #: Why it is FAIL or UNKNOWN: readonly, background, inodes, space, coincidence (it would fit while
    #: no other run saves), size, timing.
    why: str


def _judge(
    disk: Disk, timelines: Sequence[Sequence[Save]], room: int, background: float, reserve: int
) -> list[_Judged]:
    """Every save of every run with its free space and verdict, in the order of time."""
    spaces = [_Footprint(saves) for saves in timelines] if len(timelines) > 1 else []
    judged: list[tuple[float, int, _Judged]] = []
    for index, saves in enumerate(timelines):
        taken = [space.at_most(saves) for other, space in enumerate(spaces) if other != index and saves]
        calm: list[list[int]] | None = None
        for number, save in enumerate(saves):
            others_use = sum(space[number] for space, _ in taken)
            others_inodes = sum(inodes[number] for _, inodes in taken)
            start, end = save.start or 0.0, save.end or 0.0
            before = int(room - save.before - others_use - background * start)
            peak = int(room - save.peak - others_use - background * end)
            after = int(room - save.after - others_use - background * end)
            inodes = None
            if disk.inodes_avail is not None:
                inodes = disk.inodes_avail - save.inodes_peak - others_inodes
            verdict, why = _verdict(disk, save, before, peak, inodes, background, reserve)
            if why == "space" and verdict is Verdict.FAIL and taken and (inodes is None or inodes >= 0):
                if calm is None:
                    calm = [space.between_saves(saves) for other, space in enumerate(spaces) if other != index]
                if peak + others_use - sum(levels[number] for levels in calm) >= 0:
                    why = "coincidence"
            said = SaveForecast(
                run=save.run,
                step=save.step,
                eta=None if save.assumed else save.start,
                free_before=before,
                free_at_peak=peak,
                free_after=after,
                verdict=verdict,
                kind=save.kind,
            )
            judged.append((float("inf") if said.eta is None else said.eta, number, _Judged(said, why)))
    judged.sort(key=lambda item: item[:2])
    return [item for _, _, item in judged]


def _verdict(
    disk: Disk, save: Save, before: int, peak: int, inodes: int | None, background: float, reserve: int
) -> tuple[Verdict, str]:
    if disk.readonly:
        return Verdict.FAIL, "readonly"
    if before < 0 and background > 0:
        return Verdict.FAIL, "background"
    if peak < 0 and not save.unknown:  # an unknown save's lack is another run's, which says so itself
        return Verdict.FAIL, "space"
    if inodes is not None and inodes < 0:
        return Verdict.FAIL, "inodes"
    if save.unknown:
        return Verdict.UNKNOWN, "size"
    if background > 0 and save.start is None:
        return Verdict.UNKNOWN, "timing"
    if peak < reserve:
        return Verdict.TIGHT, "space"
    return Verdict.FIT, ""


def _timed(save: Save) -> bool:
    """Whether its time is known well enough to say that another run does not save just then."""
    return save.start is not None and not save.assumed


class _Footprint:
    """How much a run may take of the file system in a span of time: its levels and the peaks of its saves.

    With several runs every save of one is held against all of the others: arrays, and range maxima by doubling.
    """

    def __init__(self, saves: Sequence[Save]) -> None:
        import numpy as np

        self._timed = all(_timed(save) for save in saves)
        self._starts = np.array([save.start or 0.0 for save in saves])
        self._ends = np.array([save.end or 0.0 for save in saves])
        self._space = _Levels([(s.before, s.peak, s.after) for s in saves])
        self._calm = _Levels([(s.before, max(s.before, s.after), s.after) for s in saves])
        self._inodes = _Levels([(0, s.inodes_peak, s.inodes_after) for s in saves])

    def at_most(self, saves: Sequence[Save]) -> tuple[list[int], list[int]]:
        """(bytes, inodes) that may be taken around each of another run's `saves`, as well as the times are known.

        Never below zero: what another run will delete is not counted upon.
        """
        low, high = self._around(saves)
        return self._space.most(low, high), self._inodes.most(low, high)

    def between_saves(self, saves: Sequence[Save]) -> list[int]:
        """Bytes that may be taken around each of another run's `saves` while this run does not save."""
        return self._calm.most(*self._around(saves))

    def _around(self, saves: Sequence[Save]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of its own saves may fall together with each of `saves`: low..high-1."""
        import numpy as np

        low = np.zeros(len(saves), np.int64)
        high = np.full(len(saves), len(self._starts), np.int64)
        if self._timed and all(_timed(save) for save in saves):
            ends = np.array([save.end or 0.0 for save in saves])
            blur = np.maximum(_BLUR_S, _BLUR * ends)
            low = np.searchsorted(self._ends, np.array([save.start or 0.0 for save in saves]) - blur, side="right")
            high = np.searchsorted(self._starts, ends + blur, side="left")
        return low, high


class _Levels:
    """What is in use (before, at the peak of, after) each save of a run; answers with the most over ranges of saves."""

    def __init__(self, levels: Sequence[tuple[int, int, int]]) -> None:
        import numpy as np

        columns = np.array(levels, np.int64).reshape(-1, 3)
        # Before a save a run stands where its last one left it, and its log grows on towards the next.
        self._before = np.append(columns[:, 0], 0)
        self._left = np.concatenate([[0], columns[:, 2]])
        peaks = np.append(columns[:, 1], 0)
        self._peaks = [peaks]
        while 2 * (width := 1 << (len(self._peaks) - 1)) <= len(peaks):
            longer = self._peaks[-1].copy()
            longer[:-width] = np.maximum(longer[:-width], longer[width:])
            self._peaks.append(longer)

    def most(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> list[int]:
        """The most in use over saves low..high-1 (none: between two of them), for each pair; at least 0."""
        import numpy as np

        most = np.maximum(np.maximum(self._left[low], self._before[low]), 0)
        table = np.stack(self._peaks)
        some = high > low
        width = np.log2(np.maximum(1, high - low)).astype(np.int64)
        peak = np.maximum(
            table[width, np.minimum(low, table.shape[1] - 1)], table[width, np.maximum(0, high - (1 << width))]
        )
        found: list[int] = np.where(some, np.maximum(most, peak), most).tolist()
        return found


def _reason(
    disk: Disk,
    judged: Sequence[_Judged],
    failing: _Judged | None,
    verdict: Verdict,
    room: int,
    reserve: int,
    planned: int,
    background: float,
    coincidence: bool,
) -> str:
    """Why, on one line for people."""
    if failing is not None:
        save = failing.save
        what = f"the final model of {save.run}" if save.kind == "final" else f"{save.run}'s save at step {save.step:,}"
        when = f" in {units.duration(save.eta)}" if save.eta else ""
        missing = units.size(-save.free_at_peak)
        return {
            "readonly": f"{disk.mount} is mounted read-only: {what} will fail",
            "background": f"other writers ({units.rate(background)}) fill the disk before {what}{when}",
            "inodes": f"no inodes left for {what}{when}",
            "space": f"{what}{when} lacks {missing}",
            # Another save fails whatever comes together: then this one is none that only may.
            "coincidence": f"{what}{when} lacks {missing}" + (" if runs save at the same time" if coincidence else ""),
        }[failing.why]
    if room < 0:
        return f"what is planned to be copied ({units.size(planned)}) lacks {units.size(-room)}"
    unknown = next((j for j in judged if j.save.verdict is Verdict.UNKNOWN), None)
    if unknown is not None:
        if unknown.why == "size":
            return f"the size of {unknown.save.run}'s checkpoints is not known before its first save"
        return f"others write {units.rate(background)}, and {unknown.save.run}'s speed is not known yet"
    if not judged:
        return f"{units.size(room)} free, nothing saves here" + (", mounted read-only" if disk.readonly else "")
    least = min(j.save.free_at_peak for j in judged)
    if verdict is Verdict.TIGHT:
        return (
            f"all saves fit, with {units.size(max(0, min(least, room)))} left of the {units.size(reserve)} to keep free"
        )
    return f"all {len(judged)} saves fit, {units.size(least)} stay free at the worst"
