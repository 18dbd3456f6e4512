"""What is carried along from one version to another: files of others, and statistics of pictures.

GR00T's modality.json, a README or a LICENSE belong to the data whatever its version. Statistics of
pictures need every video decoded, and stay right when videos are cut and joined without touching a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from dm_isaac_g1 import __version__
from dm_isaac_g1.data.columns import open_parquet, read_open
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import EPISODES, EPISODES_V3, TASKS, TASKS_V3
from dm_isaac_g1.data.info import INFO, Version
from dm_isaac_g1.data.jsonfiles import read_json, read_jsonl
from dm_isaac_g1.data.linking import place_file
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.stats.stale import RELATIVE_PATTERN, STATS
from dm_isaac_g1.data.writing import EPISODES_STATS, write_json

CONVERSION = "meta/conversion.json"
#: Written anew, in the form of the other version or because they speak of files that are others now.
_OWN = {INFO, CONVERSION, EPISODES, TASKS, TASKS_V3, EPISODES_STATS, STATS, sidecar.SIDECAR}

#: Of v3.0's episodes and of episodes_stats.jsonl; the quantiles where they are.
_STATISTICS = ("min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99")
_NEEDED = _STATISTICS[:5]

#: Camera -> statistic -> values.
Pictures = dict[str, dict[str, Any]]


def place_others(dataset: Dataset, root: Path) -> list[str]:
    """Link into `root` what lies beside the dataset's own files: in its folder and in meta/. Their names.

    Hidden files and folders are left where they are. Raises SchemaError (a link leads out of the dataset), OSError.
    """
    found = []
    for folder in (dataset.root, dataset.root / "meta"):
        for path in sorted(folder.iterdir()):
            name = path.relative_to(dataset.root).as_posix()
            own = name in _OWN or fnmatch(path.name, RELATIVE_PATTERN)
            if not own and not path.name.startswith(".") and path.is_file():
                place_file(path, root / name, inside=dataset.boundary)
                found.append(name)
    if source := sidecar.section(dataset.root, "source"):
        sidecar.write(root, source=source)
    return found


def write_origin(dataset: Dataset, root: Path, to: Version, videos: Mapping[str, int]) -> None:
    """meta/conversion.json: what stood there, and one more of `versions`; where there is none, the source, too.

    Raises IntegrityError (the source's is no JSON), OSError.
    """
    found: Any = {}
    if (dataset.root / CONVERSION).is_file():
        found = read_json(dataset.root, CONVERSION)
    if not isinstance(found, dict) or not found:
        source = {"path": str(dataset.root.resolve()), **sidecar.section(dataset.root, "source")}
        found = {"tool": f"dm-g1 {__version__}", "source": source}
    steps = found.get("versions")
    step = {"from": dataset.version, "to": to, "tool": f"dm-g1 {__version__}", "videos": dict(videos)}
    write_json(root / CONVERSION, {**found, "versions": [*(steps if isinstance(steps, list) else ()), step]})


def picture_statistics(dataset: Dataset) -> dict[int, Pictures]:
    """Episode -> statistics of its videos, as the dataset's meta files have them; what makes no sense is left out.

    {} for v2.0, which has none for single episodes. Raises IntegrityError for a file that cannot be read.
    """
    if not dataset.cameras or dataset.version == "2.0":
        return {}
    found = _rows_v3(dataset) if dataset.version == "3.0" else _rows_v21(dataset)
    checked: dict[int, Pictures] = {}
    for number, pictures in found.items():
        for camera, statistics in pictures.items():
            if camera in dataset.cameras and (sound := _sound(statistics)):
                checked.setdefault(number, {})[camera] = sound
    return checked


def _rows_v21(dataset: Dataset) -> dict[int, Pictures]:
    if not (dataset.root / EPISODES_STATS).is_file():
        return {}
    try:
        rows = [row for _, row in read_jsonl(dataset.root, EPISODES_STATS)]
    except DataProblem as problem:
        raise problem.within(dataset.root) from None
    return {
        row["episode_index"]: row["stats"]
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("episode_index"), int) and isinstance(row.get("stats"), dict)
    }


def _rows_v3(dataset: Dataset) -> dict[int, Pictures]:
    wanted = {f"stats/{camera}/{name}": (camera, name) for camera in dataset.cameras for name in _STATISTICS}
    found: dict[int, Pictures] = {}
    for path in sorted((dataset.root / EPISODES_V3).glob("*/*.parquet")):
        file = path.relative_to(dataset.root).as_posix()
        with open_parquet(path, file=file) as parquet:
            there = [column for column in wanted if column in parquet.schema_arrow.names]
            table = read_open(parquet, ["episode_index", *there], path=path, file=file)
        for row in table.to_pylist():
            pictures: Pictures = found.setdefault(row["episode_index"], {})
            for column in there:
                camera, name = wanted[column]
                pictures.setdefault(camera, {})[name] = row[column]
    return found


def _sound(statistics: Any) -> dict[str, Any] | None:
    """The statistics where all are (3, 1, 1) of finite numbers, and count is one whole number; else None."""
    if not isinstance(statistics, Mapping) or any(statistics.get(name) is None for name in _NEEDED):
        return None
    sound: dict[str, Any] = {}
    for name in _STATISTICS:
        if statistics.get(name) is None:
            continue
        try:
            values = np.asarray(statistics[name], np.float64)
        except (TypeError, ValueError):
            return None
        if values.shape != ((1,) if name == "count" else (3, 1, 1)) or not np.isfinite(values).all():
            return None
        sound[name] = [int(values[0])] if name == "count" else values.tolist()
    return sound if sound["count"][0] > 0 else None
