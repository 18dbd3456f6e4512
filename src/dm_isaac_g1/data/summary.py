"""A dataset on one line: what the agent reads of a folder, and what that makes of it.

Neither numpy nor pyarrow: only meta files that are JSON are looked at, and times and sizes of the rest. So it tells at
a glance what a dataset claims to be; whether that is true is the business of `data.validate`, whose last word (written
beside the dataset) is shown as long as nothing there has changed since.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.core.datasets import DatasetSummary, Validity
from dm_isaac_g1.data.families import family_of
from dm_isaac_g1.data.info import INFO, Info, info_of
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.remote.agent_datasets import STAMPED, TEXT, ask_datasets
from dm_isaac_g1.remote.clean import clean, clean_tree
from dm_isaac_g1.remote.wire import DatasetRow, DatasetRows

PARTIAL = ".partial"
#: Seconds of the file system's clock that a file may be younger than the note that speaks of it.
SLACK = 2.0

_INFO, _SIDECAR, _MARKER, _DONE, _STATS, _MODALITY = range(len(STAMPED))


def summarise(host: str, row: DatasetRow) -> DatasetSummary:
    """What the agent read of one dataset, as a line. Never raises: what is wrong with it is its `problem`."""
    told, row = row.texts is not None, padded(row)
    texts = row.texts or []
    partial = row.path.endswith(PARTIAL)
    sidecar = mapping(texts[_SIDECAR])
    info, problem = read_info(texts[_INFO]) if told else (None, "not read: there are too many datasets")
    validity: Validity = "partial" if partial else "invalid" if info is None and told else "unknown"
    said = sidecar.get("validation")
    summary = DatasetSummary(
        host=host,
        name=row.name.removesuffix(PARTIAL) if partial else row.name,
        path=row.path,
        bytes=row.bytes,
        files=row.files,
        modified=row.newest.get("meta", 0.0),
        changed=max(row.newest.values(), default=0.0) if partial else _newest(row),
        modality=row.stamps[_MODALITY] is not None,
        stats=_fresh(row),
        validity=validity,
        problem=None if partial else problem,
        source=source_of(sidecar),
    )
    if info is not None:
        summary = msgspec.structs.replace(summary, **_of_info(info))
    if partial:
        return msgspec.structs.replace(summary, **_progress(row, texts[_MARKER], texts[_DONE]))
    if info is not None and isinstance(said, Mapping) and _holds(row, said):
        errors, warnings = number(said.get("errors")), number(said.get("warnings"))
        valid = said.get("valid") is True
        problem = None if valid else first_error(said)
        summary = msgspec.structs.replace(
            summary, validity="valid" if valid else "invalid", errors=errors, warnings=warnings, problem=problem
        )
    return summary


def summaries(folder: Path, host: str = "local") -> list[DatasetSummary]:
    """The datasets below a folder of this machine (or the one that it is), by path."""
    seen: dict[str, DatasetRow] = {}
    while True:
        answer = ask_datasets(
            str(folder.absolute()), {path: row.known for path, row in seen.items() if row.texts is not None}
        )
        found = msgspec.convert(answer, DatasetRows)
        fresh = sum(row.texts is not None for row in found.rows)
        seen = {row.path: merged(row, seen.get(row.path)) for row in found.rows}
        if not found.more or not fresh:
            return [summarise(host, row) for _, row in sorted(seen.items())]


def padded(row: DatasetRow) -> DatasetRow:
    """A row with a stamp and a text for every file, whatever a host sent."""
    missing: list[None] = [None] * len(STAMPED)
    return msgspec.structs.replace(row, stamps=[*row.stamps, *missing], texts=[*(row.texts or []), *missing])


def merged(row: DatasetRow, before: DatasetRow | None) -> DatasetRow:
    """The row with the texts that were told before, where nothing was told now because nothing changed."""
    return row if row.texts is not None or before is None else msgspec.structs.replace(row, texts=before.texts)


# --- What the texts say -----------------------------------------------------------------------------------------------


def mapping(text: str | None, limit: int = TEXT) -> Mapping[str, Any]:
    """The JSON object of a small file; an empty one where there is none or it is none. Cleaned: it came from a host."""
    if text is None or len(text) > limit:
        return {}
    try:
        value = clean_tree(msgspec.json.decode(text.encode("utf-8", "replace")))
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def number(value: Any) -> int | None:
    """A count, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def source_of(sidecar: Mapping[str, Any]) -> str | None:
    """ "unitreerobotics/G1_Fold_Towel @ 3f2a81c", where the dataset was downloaded."""
    said = sidecar.get("source")
    if not isinstance(said, Mapping) or not isinstance(said.get("repo"), str):
        return None
    revision = said.get("revision")
    return f"{said['repo']} @ {revision[:7]}" if isinstance(revision, str) and revision else str(said["repo"])


def first_error(said: Mapping[str, Any]) -> str | None:
    """The first error that a validation found, on one line."""
    findings = said.get("findings")
    for each in findings if isinstance(findings, list) else ():
        if isinstance(each, Mapping) and each.get("severity", "error") == "error" and each.get("what"):
            where = place(each.get("place"))
            return f"{where}: {each['what']}" if where else str(each["what"])
    return None


def place(said: Any) -> str:
    """Where a finding is, from the JSON of a `Place` or a text."""
    if not isinstance(said, Mapping):
        return str(said) if said else ""
    words = [str(said["file"])] if said.get("file") else []
    words += [f"{key} {said[key]}" for key in ("episode", "frame") if said.get(key) is not None]
    return ", ".join([*words, str(said["joint"])] if said.get("joint") else words)


def read_info(text: str | None) -> tuple[Info | None, str | None]:
    """info.json, or why there is none."""
    if text is None:
        return None, f"{INFO} is missing"
    if len(text) > TEXT:
        return None, f"{INFO} is longer than {TEXT} characters"
    try:
        return info_of(clean_tree(msgspec.json.decode(text.encode("utf-8", "replace")))), None
    except (msgspec.DecodeError, RecursionError) as error:
        return None, f"{INFO}: {clean(str(error))}"
    except DataProblem as error:
        return None, clean(f"{INFO}: {error.what}")


def _of_info(info: Info) -> dict[str, Any]:
    return {
        "version": info.version,
        "family": str(family_of(info.features).name),
        "robot": info.robot_type,
        "episodes": info.total_episodes,
        "frames": info.total_frames,
        "fps": info.fps,
        "cameras": info.cameras,
    }


def _fresh(row: DatasetRow) -> bool:
    """Statistics are there, and no file of the data is newer. (Whether they are right, validation says by digest.)"""
    found = row.stamps[_STATS]
    return found is not None and found[0] + SLACK >= row.newest.get("data", 0.0)


def _holds(row: DatasetRow, said: Mapping[str, Any]) -> bool:
    """What a validation said is still true: nothing of the data, the videos or info.json is newer."""
    at = said.get("at")
    return isinstance(at, (int, float)) and not isinstance(at, bool) and _newest(row) <= at + SLACK


def _newest(row: DatasetRow) -> float:
    """When the dataset itself was last written: what is noted beside it (verdicts, statistics) does not count."""
    info = row.stamps[_INFO]
    return max(row.newest.get("", 0.0), info[0] if info else 0.0)


def _progress(row: DatasetRow, marker: str | None, done: str | None) -> dict[str, Any]:
    """How far a partial dataset is: of a long list of episodes only the beginning was read, its size tells the rest."""
    said = mapping(marker)
    count: float | None = None
    if done is not None:
        count = done.count("\n")
        stamp = row.stamps[_DONE]
        if len(done) > TEXT and stamp is not None:
            count = round(count * stamp[1] / len(done))
    making, unit = said.get("what"), said.get("unit")
    unit = unit if isinstance(unit, str) else "episodes"
    return {
        "making": making if isinstance(making, str) else None,
        "done": row.bytes if unit == "bytes" else count,
        "of": number(said.get("total")),
        "unit": unit,
    }
