"""Whether datasets may become one: everything that their numbers mean must be the same. Pure, but for one small file.

Not compared: how names are nested, what a codec is called, who wrote the file. float32 and float64 of one column go
together, as float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.info import DEFAULT_COLUMNS, INFO, Feature, Info
from dm_isaac_g1.data.jsonfiles import read_json
from dm_isaac_g1.data.problems import DataProblem, SchemaError

MODALITY = "meta/modality.json"


def refuse_incompatible(datasets: Sequence[Dataset]) -> None:
    """Raises SchemaError naming everything in which a dataset differs from the first."""
    first = datasets[0]
    modality = modality_of(first)
    for dataset in datasets:
        if missing := [column for column in DEFAULT_COLUMNS if column not in dataset.info.columns]:
            what = f"lists no feature {', '.join(missing)}, which every LeRobot dataset has"
            raise SchemaError("missing-column", what, file=INFO, joint=missing[0], dataset=str(dataset.root))
    for dataset in datasets[1:]:
        found = differences(first.info, dataset.info)
        found += modality_differences(modality, modality_of(dataset))
        if found:
            what = f"does not go together with {first.root.name}: {'; '.join(found)}"
            fix = "convert them alike first, with `dm-g1 data convert`"
            raise SchemaError("incompatible", what, file=INFO, fix=fix, dataset=str(dataset.root))


def modality_of(dataset: Dataset) -> Any:
    """GR00T's modality.json; None: there is none. Raises IntegrityError."""
    try:
        return read_json(dataset.root, MODALITY)
    except DataProblem as problem:
        if problem.finding.code == "file-missing":
            return None
        raise problem.within(dataset.root) from None


def modality_differences(first: Any, other: Any) -> list[str]:
    """In which parts two modality.json differ: "modality.json: action.waist"."""
    if first == other:
        return []
    if not isinstance(first, dict) or not isinstance(other, dict):
        return [f"modality.json is {'missing' if other is None else 'there'}, the other's is not"]
    differ = []
    for part in sorted({*first, *other}):
        one, two = first.get(part), other.get(part)
        if isinstance(one, dict) and isinstance(two, dict):
            differ += [f"{part}.{group}" for group in sorted({*one, *two}) if one.get(group) != two.get(group)]
        elif one != two:
            differ.append(part)
    return [f"modality.json differs in {', '.join(differ)}"]


def differences(first: Info, other: Info) -> list[str]:
    """What differs, each with both values: "fps is 50, not 30"."""
    found = []
    if other.fps != first.fps:
        found.append(f"fps is {other.fps:g}, not {first.fps:g}")
    if other.robot_type != first.robot_type:
        found.append(f"robot_type is {other.robot_type!r}, not {first.robot_type!r}")
    for what, columns in (("column", "columns"), ("camera", "cameras")):
        there, expected = set(getattr(other, columns)), set(getattr(first, columns))
        found += [f"{what} {name} is missing" for name in sorted(expected - there)]
        found += [f"{what} {name} is not in the other" for name in sorted(there - expected)]
    for name, feature in first.features.items():
        if name in other.features:
            found += _feature_differences(name, feature, other.features[name])
    return found


def _feature_differences(name: str, first: Feature, other: Feature) -> list[str]:
    if other.shape != first.shape:
        return [f"{name} has shape {list(other.shape)}, not {list(first.shape)}"]
    if other.dtype != first.dtype and not (first.is_float and other.is_float):
        return [f"{name} is {other.dtype}, not {first.dtype}"]
    if first.is_video:
        one, two = video_fps(first), video_fps(other)
        return [f"{name} has {two:g} frames a second, not {one:g}"] if one and two and one != two else []
    if other.names == first.names:
        return []
    if other.names is None or first.names is None:
        return [f"{name} has names in one of them only"]
    if sorted(other.names) == sorted(first.names):
        return [f"{name} has its values in another order"]
    strange = next((pair for pair in zip(first.names, other.names, strict=False) if pair[0] != pair[1]), None)
    return [f"{name} has {strange[1]} where the other has {strange[0]}" if strange else f"{name} has other names"]


def video_fps(feature: Feature) -> float | None:
    """What a video feature's `info` (older: `video_info`) says; None where it does not."""
    facts = feature.raw.get("info") or feature.raw.get("video_info")
    fps = facts.get("video.fps") if isinstance(facts, dict) else None
    return float(fps) if isinstance(fps, (int, float)) and not isinstance(fps, bool) else None
