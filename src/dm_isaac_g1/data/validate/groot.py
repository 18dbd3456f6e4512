"""What NVIDIA's N1.6 loader insists on for embodiment UNITREE_G1, or would get wrong without a word.

Sources: gr00t/data/dataset/lerobot_episode_loader.py, gr00t/data/stats.py and
gr00t/configs/data/embodiment_configs.py of Isaac-GR00T N1.6. It fixes names of groups, not their widths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dm_isaac_g1.core.robot import ACTION_23, ACTION_HORIZON, STATE_31
from dm_isaac_g1.data.info import ACTION, IMAGES, INFO, STATE
from dm_isaac_g1.data.jsonfiles import read_json
from dm_isaac_g1.data.problems import DataProblem, Finding
from dm_isaac_g1.data.stats.groups import MODALITY, RELATIVE
from dm_isaac_g1.data.stats.stale import RELATIVE_STATS, STATS, size
from dm_isaac_g1.data.validate.subject import Subject

#: The statistics that generate_stats writes; it looks for all six of each feature.
SIX = ("mean", "std", "min", "max", "q01", "q99")
GROUPS = {
    "state": (STATE, tuple(group.name for group in STATE_31.groups)),
    "action": (ACTION, tuple(group.name for group in ACTION_23.groups)),
}
VIEW = "ego_view"
LANGUAGE = "human.task_description"


def version(subject: Subject) -> Iterator[Finding]:
    if subject.info.version == "3.0":
        yield subject.finding("groot-version", "LeRobot v3.0, N1.6 reads v2.x", file=INFO)


def info(subject: Subject) -> Iterator[Finding]:
    """Keys that the loader takes without asking."""
    keys = ["data_path", "chunks_size", *(["video_path"] if subject.info.cameras else [])]
    for key in keys:
        if subject.info.raw.get(key) is None:
            yield subject.finding("groot-info", f"no {key}", file=INFO)


def modality(subject: Subject) -> Iterator[Finding]:
    """Groups, cameras and language of meta/modality.json."""
    if MODALITY not in subject.files:
        yield subject.finding("groot-no-modality", "No such file", file=MODALITY, fix=_conversion(subject))
        return
    try:
        given = _mapping(read_json(subject.root, MODALITY))
    except DataProblem as problem:
        yield subject.finding.of(problem, file=MODALITY)
        return
    widths: dict[tuple[str, str], int] = {}
    for kind, (column, names) in GROUPS.items():
        groups = _mapping(given.get(kind))
        for name in dict.fromkeys((*names, *groups)):
            wrong = _group(subject, groups.get(name), column)
            if wrong:
                what, group = f"{kind}.{name} {wrong}", f"{kind}.{name}"
                yield subject.finding("groot-group", what, file=MODALITY, joint=group, fix=_conversion(subject))
            else:
                widths[kind, name] = groups[name]["end"] - groups[name]["start"]
    for name in RELATIVE:
        state, action = widths.get(("state", name)), widths.get(("action", name))
        if state is not None and action is not None and state != action:
            what = f"action.{name} of {action} values is relative to state.{name} of {state}"
            yield subject.finding("groot-relative-widths", what, file=MODALITY, joint=name)
    yield from _video(subject, _mapping(given.get("video")))
    yield from _annotation(subject, _mapping(given.get("annotation")))


def _conversion(subject: Subject) -> str | None:
    """The conversion that fits: 31/23 has one value a hand, and Unitree's tables of arms and hands have no legs."""
    family = subject.family
    if (subject.root / "meta/conversion.json").exists() or family.hand in (None, "inspire12"):
        return "train it with an embodiment config of its own: what UNITREE_G1 asks for is not in these recordings"
    path = subject.finding.path
    layout = "groot" if family.hand == "gripper" and not family.combined else "inspire"
    return f"dm-g1 data convert --input {path} --output {path}-{layout} --format {layout}"


def _group(subject: Subject, given: Any, column: str) -> str | None:
    """What is wrong with a group; None: nothing."""
    if given is None:
        return "is missing"
    group = _mapping(given)
    start, end, key = group.get("start"), group.get("end"), group.get("original_key") or column
    feature = subject.info.features.get(key) if isinstance(key, str) else None
    if feature is None or not feature.is_numeric:
        return f"is in column {key!r}, which info.json does not have"
    if type(start) is not int or type(end) is not int:
        return "has no start and end"
    if not 0 <= start < end <= feature.width:
        return f"is values {start} to {end} of {key}, which has {feature.width}"
    return None


def _video(subject: Subject, given: Mapping[str, Any]) -> Iterator[Finding]:
    cameras = ", ".join(subject.info.cameras) or "none"
    for name in dict.fromkeys((VIEW, *given)):
        if name not in given:
            what = f"no video {name}; cameras: {cameras}"
        else:
            key = _mapping(given[name]).get("original_key") or f"{IMAGES}{name}"
            if key in subject.info.cameras:
                continue
            what = f"video {name} is camera {key!r}, which info.json does not have; cameras: {cameras}"
        yield subject.finding("groot-video", what, file=MODALITY, joint=name)


def _annotation(subject: Subject, given: Mapping[str, Any]) -> Iterator[Finding]:
    if LANGUAGE not in given:
        yield subject.finding("groot-annotation", f"no annotation {LANGUAGE}", file=MODALITY, joint=LANGUAGE)
        return
    column = _mapping(given[LANGUAGE]).get("original_key") or f"annotation.{LANGUAGE}"
    if column not in subject.info.features:
        what = f"annotation {LANGUAGE} is column {column!r}, which info.json does not have"
        yield subject.finding("groot-annotation", what, file=MODALITY, joint=LANGUAGE)


def statistics(subject: Subject) -> Iterator[Finding]:
    """meta/stats.json with all six statistics of every float feature."""
    known = _read(subject, STATS)
    if known is None:
        yield subject.finding("groot-stats", "No such file, or no JSON object: the loader asserts it", file=STATS)
        return
    for key, feature in subject.info.features.items():
        if not feature.is_float:
            continue
        found = _mapping(known.get(key))
        lacking = [name for name in SIX if size(found.get(name)) != feature.width]
        if lacking:
            what = f"{key} lacks {', '.join(lacking)} of {feature.width} values"
            yield subject.finding("groot-stats", what, file=STATS, joint=key)


def relative_statistics(subject: Subject) -> Iterator[Finding]:
    """meta/relative_stats.json, [horizon][joints] for each relative action that modality.json names."""
    actions = _mapping(_mapping(_read(subject, MODALITY)).get("action"))
    wanted = [name for name in RELATIVE if isinstance(actions.get(name), dict)]
    if not wanted:
        return
    known = _read(subject, RELATIVE_STATS)
    for name in wanted:
        found = _mapping(_mapping(known).get(name))
        group = actions[name]
        width = group["end"] - group["start"] if _group(subject, group, ACTION) is None else None
        steps = {key: found.get(key) for key in SIX}
        if known is None or not found:
            what = f"says nothing of {name}" if known is not None else "No such file"
            yield subject.finding("groot-no-relative-stats", what, file=RELATIVE_STATS, joint=name)
        elif any(not isinstance(rows, list) or len(rows) != ACTION_HORIZON for rows in steps.values()):
            counts = sorted({len(rows) if isinstance(rows, list) else 0 for rows in steps.values()})
            what = f"{name} has {counts} steps, UNITREE_G1 predicts {ACTION_HORIZON}"
            yield subject.finding("groot-relative-stats", what, file=RELATIVE_STATS, joint=name)
        elif width is not None and any(size(row) != width for rows in steps.values() for row in rows or ()):
            what = f"{name} has steps of other widths than {width}"
            yield subject.finding("groot-relative-stats", what, file=RELATIVE_STATS, joint=name)


def short_episodes(subject: Subject) -> Iterator[Finding]:
    """Episodes below the horizon have no window; if there are only such, the statistics fail."""
    lengths = {e.index: subject.lengths.get(e.index, e.length) for e in subject.episodes}
    short = [index for index, length in lengths.items() if 0 < length < ACTION_HORIZON]
    if short and len(short) == len(lengths):
        what = f"every episode is shorter than the {ACTION_HORIZON} frames of the horizon"
        yield subject.finding("groot-short-episode", what, severity="error")
        return
    for index in short:
        what = f"{lengths[index]} frames, the horizon is {ACTION_HORIZON}"
        yield subject.finding("groot-short-episode", what, episode=index)


def orphans(subject: Subject) -> Iterator[Finding]:
    yield from orphaned(subject, "groot-orphan", "belongs to no episode, and generate_stats reads it")


def orphaned(subject: Subject, code: str, what: str) -> Iterator[Finding]:
    """A finding for every parquet file that no episode has, where a reader takes all files in data/*."""
    if not subject.listed or subject.shared:
        return
    expected = {episode.file for episode in subject.episodes}
    for file in subject.files:
        if file.count("/") == 2 and file.startswith("data/") and file.endswith(".parquet") and file not in expected:
            yield subject.finding(code, what, file=file)


def _read(subject: Subject, file: str) -> Mapping[str, Any] | None:
    if file not in subject.files:
        return None
    try:
        value = read_json(subject.root, file)
    except DataProblem:
        return None
    return value if isinstance(value, dict) else None


def _mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


CHECKS = (version, info, modality, statistics, relative_statistics, short_episodes, orphans)
