"""One dataset from near: tasks, cameras, joint ranges, findings and where it comes from, as its meta files tell them.

Pure: from the texts of a few files to a `DatasetDetail`. Neither numpy nor pyarrow. Every text came from a host,
perhaps from the Hub: what makes no sense is said in `problems` and left out, nothing is made up for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from dm_isaac_g1.core.datasets import DatasetDetail, DatasetFinding, JointRange
from dm_isaac_g1.core.robot import JOINTS
from dm_isaac_g1.data.families import family_of, nearest_family
from dm_isaac_g1.data.info import DEFAULT_COLUMNS, IMAGES, Feature, Info
from dm_isaac_g1.data.names import canonical
from dm_isaac_g1.data.summary import mapping, place, read_info, source_of
from dm_isaac_g1.remote.clean import clean

TASKS, STATS, EPISODES_STATS = "meta/tasks.jsonl", "meta/stats.json", "meta/episodes_stats.jsonl"
CONVERSION, SIDECAR = "meta/conversion.json", "meta/dm_g1.json"
#: What `detail` wants to see besides info.json, and the most bytes of each that are worth reading.
WANTED = {TASKS: 256 << 10, STATS: 1 << 20, CONVERSION: 1 << 18, SIDECAR: 1 << 20}
#: Read where there is no stats.json: minima and maxima of the episodes make the dataset's.
INSTEAD = {EPISODES_STATS: 8 << 20}

#: Tasks, findings and columns that are kept.
MOST_TASKS, MOST_FINDINGS, MOST_COLUMNS = 50, 50, 64
#: How long a task or a line may be.
LINE = 400


def detail(host: str, path: str, info_text: str | None, files: Mapping[str, bytes | None]) -> DatasetDetail:
    """`files`: contents of WANTED and INSTEAD, None where there is none; cut off is as good as broken."""
    info, problem = read_info(info_text)
    sidecar = mapping(_text(files.get(SIDECAR)), limit=WANTED[SIDECAR])
    problems = [problem] if problem else []
    tasks = _tasks(files.get(TASKS), problems)
    said = sidecar.get("validation")
    said = said if isinstance(said, Mapping) else {}
    source = sidecar.get("source")
    source = source if isinstance(source, Mapping) else {}
    if info is not None and (near := _nearest(info)):
        problems.append(near)
    at = said.get("at")
    return DatasetDetail(
        host=host,
        path=path,
        tasks=tuple(tasks[:MOST_TASKS]),
        total_tasks=info.total_tasks if info is not None and not tasks else len(tasks),
        cameras=tuple(_camera(key, info.features[key]) for key in info.cameras) if info else (),
        columns=tuple(_columns(info)) if info else (),
        ranges=_ranges(info, files, problems) if info else (),
        findings=tuple(_findings(said)),
        validated=float(at) if isinstance(at, (int, float)) and math.isfinite(at) else None,
        deep=said.get("deep") is True,
        conversion=tuple(_conversion(mapping(_text(files.get(CONVERSION)), limit=WANTED[CONVERSION]))),
        source=source_of(sidecar),
        revision=source["revision"] if isinstance(source.get("revision"), str) else None,
        problems=tuple(problems),
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


def _tasks(data: bytes | None, problems: list[str]) -> list[str]:
    """Task texts in the order of their numbers."""
    found: list[tuple[int, str]] = []
    for number, line in enumerate((data or b"").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=_Task)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            problems.append(f"{TASKS}: line {number} makes no sense")
            break
        found.append((row.task_index, clean(row.task)[:LINE]))
    return [task for _, task in sorted(found)]


class _Task(msgspec.Struct):
    task_index: int
    task: str


def _camera(key: str, feature: Feature) -> str:
    """ "cam_high  480x640 av1"."""
    told = feature.raw.get("info") or feature.raw.get("video_info")
    told = told if isinstance(told, Mapping) else {}
    codec = told.get("video.codec")
    edges = [n for n in feature.shape if n > 4]  # without the channels, wherever they stand
    words = ["x".join(map(str, edges)), codec if isinstance(codec, str) else ""]
    return "  ".join([key.removeprefix(IMAGES), " ".join(word for word in words if word)])[:LINE].rstrip()


def _columns(info: Info) -> Iterator[tuple[str, int]]:
    named = [key for key in info.columns if key not in DEFAULT_COLUMNS]
    for key in named[:MOST_COLUMNS]:
        yield key, info.features[key].width


def _nearest(info: Info) -> str:
    """What an unknown schema lacks to be the known one that it is nearest to."""
    if family_of(info.features).name != "unknown":
        return ""
    near, lacking = nearest_family(info.features)
    if near == "unknown":
        return "its columns fit no known family"
    return clean(f"no known family; nearest is {near}, which needs {', '.join(lacking[:3])}")


# --- Ranges -----------------------------------------------------------------------------------------------------------


def _ranges(info: Info, files: Mapping[str, bytes | None], problems: list[str]) -> tuple[JointRange, ...]:
    """Least and largest of every value of the float columns, from stats.json, else from what each episode says."""
    extremes: dict[str, tuple[list[float], list[float]]] = {}
    try:
        if (data := files.get(STATS)) is not None:
            extremes = _extremes(msgspec.json.decode(data))
        elif (data := files.get(EPISODES_STATS)) is not None:
            for line in filter(None, data.split(b"\n")):
                _widen(extremes, _extremes(msgspec.json.decode(line, type=_EpisodeStats).stats))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError):
        problems.append("the statistics beside it make no sense: `dm-g1 data stats` computes them")
        return ()
    return tuple(
        each
        for key in info.columns
        if key in extremes and key not in DEFAULT_COLUMNS and info.features[key].is_float
        for each in _column_ranges(key, info.features[key], extremes[key])
    )


class _EpisodeStats(msgspec.Struct):
    stats: dict[str, Any]


def _extremes(stats: Any) -> dict[str, tuple[list[float], list[float]]]:
    """Column -> (minima, maxima). Raises ValueError where they are no numbers."""
    if not isinstance(stats, dict):
        raise ValueError("no object")
    found = {}
    for key, each in stats.items():
        if isinstance(each, dict) and "min" in each and "max" in each and not key.startswith(IMAGES):
            found[key] = (msgspec.convert(each["min"], list[float]), msgspec.convert(each["max"], list[float]))
    return found


def _widen(
    extremes: dict[str, tuple[list[float], list[float]]], more: Mapping[str, tuple[list[float], list[float]]]
) -> None:
    for key, (low, high) in more.items():
        before = extremes.get(key)
        if before is None:
            extremes[key] = low, high
        else:
            lows = [min(pair) for pair in zip(before[0], low, strict=True)]
            extremes[key] = lows, [max(pair) for pair in zip(before[1], high, strict=True)]


def _column_ranges(key: str, feature: Feature, extremes: tuple[list[float], list[float]]) -> Iterator[JointRange]:
    low, high = extremes
    if len(low) != feature.width or len(high) != feature.width:
        return
    for name, least, most in zip(feature.labels(key), low, high, strict=True):
        joint = JOINTS.get(canonical(name) or "")
        limits = (joint.low, joint.high) if joint else None
        yield JointRange(column=clean(key), name=clean(name), low=least, high=most, limits=limits)


# --- What was written down beside it ----------------------------------------------------------------------------------


def _findings(said: Mapping[str, Any]) -> Iterator[DatasetFinding]:
    listed = said.get("findings")
    for each in listed[:MOST_FINDINGS] if isinstance(listed, list) else ():
        if isinstance(each, Mapping) and isinstance(each.get("what"), str):
            severity = each.get("severity", "error")
            yield DatasetFinding(
                severity=severity if severity in ("error", "warning", "note") else "error",
                what=each["what"][:LINE],
                place=place(each.get("place"))[:LINE],
                fix=str(each.get("fix") or "")[:LINE],
            )


def _conversion(said: Mapping[str, Any]) -> Iterator[str]:
    """How it was converted: every plain value, and the joints that were clipped most."""
    for key, value in said.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            yield f"{key.replace('_', ' ')}: {value}"[:LINE]
        elif key == "source" and isinstance(value, Mapping):
            named = [str(value[word]) for word in ("repo", "path", "name", "revision") if value.get(word)]
            yield f"from {' '.join(named)}"[:LINE]
    clipped = said.get("clipped")
    shares = (
        {k: v for k, v in clipped.items() if isinstance(v, float | int) and v > 0}
        if isinstance(clipped, Mapping)
        else {}
    )
    for joint, share in sorted(shares.items(), key=lambda item: -item[1])[:5]:
        yield f"clipped: {share:.2%} of {joint}"[:LINE]
