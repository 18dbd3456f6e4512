"""Whether the statistics in a dataset's folder still speak of the data that lies there.

GR00T and LeRobot believe what they find, and GR00T computes nothing where all its keys are there: after a conversion
into the same folder it trains with the numbers of before. Known is what meta/dm_g1.json notes (digests of the data and
of the statistics); of statistics that others wrote, only what contradicts info.json, and what is older than the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.data.info import Info, read_info
from dm_isaac_g1.data.jsonfiles import read_json
from dm_isaac_g1.data.problems import DataProblem, Finding, Place
from dm_isaac_g1.data.stats import digest, sidecar
from dm_isaac_g1.data.stats.groups import relative_groups

STATS = "meta/stats.json"
RELATIVE_STATS = "meta/relative_stats.json"
#: Branches of Isaac-GR00T write and prefer relative_stats_16.json where 16 is the horizon.
RELATIVE_PATTERN = "relative_stats*.json"
EPISODES_STATS = "meta/episodes_stats.jsonl"

FIX = "`dm-g1 data stats` computes them again"
#: What both forms have.
_EXTREMES = ("min", "max", "mean", "std")


def stale(root: Path) -> list[Finding]:
    """What is wrong with the statistics of the dataset in `root`; [] where all is well or there are none.

    Raises DataProblem where meta/info.json or modality.json cannot be read.
    """
    info = read_info(root)
    found: list[Finding] = []
    same = _Memory(root)
    for file in (STATS, EPISODES_STATS):
        if (root / file).is_file():
            wrong = next(_contradictions(root, info), None) if file == STATS else None
            found += _judged(root, file, wrong, sidecar.section(root, "stats"), same)
    noted = sidecar.section(root, "relative")
    for path in sorted((root / "meta").glob(RELATIVE_PATTERN)):
        if path.is_file():
            file = f"meta/{path.name}"
            found += _judged(root, file, next(_relative_contradictions(root, file, info, noted), None), noted, same)
    return found


class _Memory:
    """Compares the data with a noted digest, once each."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: list[tuple[Any, bool]] = []

    def __call__(self, noted: Any) -> bool:
        for before, answer in self._known:
            if before == noted:
                return answer
        self._known.append((noted, digest.is_same(self._root, noted)))
        return self._known[-1][1]


def _judged(root: Path, file: str, wrong: str | None, noted: Mapping[str, Any], same: _Memory) -> list[Finding]:
    if wrong:
        return [_finding("stats-stale", "error", wrong, file)]
    files = noted.get("files")
    try:
        if isinstance(files, dict) and files.get(file) == digest.of_file(root / file):
            if same(noted.get("data")):
                return []
            what = "speaks of other data: the parquet files changed since it was computed"
            return [_finding("stats-stale", "error", what, file)]
        newest = max((path.stat().st_mtime for path in digest.data_files(root)), default=0.0)
        if newest > (root / file).stat().st_mtime + 1:
            what = "is older than the data, and may speak of other numbers"
            return [_finding("stats-older", "warning", what, file)]
    except OSError as error:
        return [_finding("unreadable", "error", f"not readable: {error.strerror or error}", file)]
    return []


def _finding(code: str, severity: Any, what: str, file: str) -> Finding:
    return Finding(code=code, severity=severity, what=what, place=Place(file), fix=FIX)


# --- What contradicts the dataset's other meta files ------------------------------------------------------------------


def _contradictions(root: Path, info: Info) -> Iterator[str]:
    """Reasons for which meta/stats.json cannot be of this dataset."""
    known = _read(root, STATS)
    if known is None:
        yield "is no JSON object"
        return
    for name, feature in info.features.items():
        if not feature.is_float:
            continue
        statistics = known.get(name)
        if not isinstance(statistics, dict):
            yield f"says nothing of {name}"
            continue
        for key in _EXTREMES:
            if (width := size(statistics.get(key))) != feature.width:
                yield f"has {width} values as {key} of {name}, which has {feature.width}"


def _relative_contradictions(root: Path, file: str, info: Info, noted: Mapping[str, Any]) -> Iterator[str]:
    known = _read(root, file)
    if known is None:
        yield "is no JSON object"
        return
    groups = relative_groups(root, info)
    horizons = set()
    for group in groups:
        statistics = known.get(group.name)
        if not isinstance(statistics, dict):
            yield f"says nothing of {group.name}"
            continue
        for key in _EXTREMES:
            steps = statistics.get(key)
            widths = {size(step) for step in steps} if isinstance(steps, list) else set()
            if widths != {group.action.width}:
                yield f"has steps of {sorted(widths)} values for {group.name}, which has {group.action.width}"
            horizons.add(len(steps) if isinstance(steps, list) else 0)
    if len(horizons) > 1:
        yield f"has different numbers of steps: {sorted(horizons)}"
    named = file.removesuffix(".json").rpartition("_")[2]
    if named.isdecimal() and horizons and horizons != {int(named)}:
        yield f"has {max(horizons)} steps, its name says {named}"
    wanted = {group.name: msgspec.to_builtins(group) for group in groups}
    if noted.get("groups") not in (None, wanted):
        yield "speaks of other columns than meta/modality.json names now"


def _read(root: Path, file: str) -> dict[str, Any] | None:
    try:
        value = read_json(root, file)
    except DataProblem:
        return None
    return value if isinstance(value, dict) else None


def size(value: Any) -> int:
    """How many numbers a nested list has; a number is one."""
    if isinstance(value, list):
        return sum(map(size, value))
    return int(isinstance(value, (int, float)))
