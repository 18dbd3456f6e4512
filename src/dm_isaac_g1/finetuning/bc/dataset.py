"""Reading a LeRobot v2.1 (or v2.0) dataset for behaviour cloning: states and actions of every episode, nothing made up.

Layout as in lerobot 0.3.3: meta/info.json, meta/episodes.jsonl, data/chunk-NNN/episode_NNNNNN.parquet with the columns
`observation.state` and `action` (fixed_size_list or list of float or double). Whatever is missing, of the wrong width
or not a number is an error that names file and column; it is never filled with zeros.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.core.errors import DmG1Error

STATE = "observation.state"
ACTION = "action"
#: What a file begins with that git-lfs has not fetched (git-lfs specification, v1).
LFS_POINTER = b"version https://git-lfs"

Floats = NDArray[np.float32]


class DatasetError(DmG1Error):
    """A dataset that cannot be trained on; `where` is the file."""


class Episode(msgspec.Struct, frozen=True):
    """state (frames, state_dim) and action (frames, action_dim), float32."""

    state: Floats
    action: Floats


class Demonstrations(msgspec.Struct, frozen=True, kw_only=True):
    """All episodes of one or more datasets with the same columns."""

    episodes: tuple[Episode, ...]
    fps: float
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]

    @property
    def frames(self) -> int:
        return sum(len(e.state) for e in self.episodes)

    def statistics(self) -> dict[str, NDArray[np.float64]]:
        """Mean and spread of every column over all frames, in float64 (float32 sums drift, see NVIDIA's stats)."""
        found: dict[str, NDArray[np.float64]] = {}
        for name in ("state", "action"):
            rows = np.concatenate([getattr(e, name) for e in self.episodes]).astype(np.float64)
            found[f"{name}_mean"] = rows.mean(axis=0)
            found[f"{name}_std"] = rows.std(axis=0)
        return found


def read_info(folder: Path) -> dict[str, Any]:
    """meta/info.json of a dataset. Raises DatasetError."""
    path = folder / "meta" / "info.json"
    if not folder.is_dir():
        raise DatasetError("no such dataset folder", where=str(folder))
    if not path.is_file():
        raise DatasetError("not a LeRobot dataset: meta/info.json is missing", where=str(folder))
    try:
        info = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise DatasetError(f"not readable as JSON: {error}", where=str(path)) from None
    if not isinstance(info, dict) or not isinstance(info.get("features"), dict):
        raise DatasetError("not a LeRobot dataset: no features", where=str(path))
    version = str(info.get("codebase_version", ""))
    if not version.startswith("v2."):
        raise DatasetError(
            f"LeRobot {version or 'of unknown version'}, bc reads v2.0 and v2.1",
            where=str(path),
            fix="convert it first",
        )
    return info


def width(info: dict[str, Any], column: str, where: Path) -> int:
    """How many numbers a frame of `column` has. Raises DatasetError where the column is not there."""
    feature = info["features"].get(column)
    if not isinstance(feature, dict):
        known = ", ".join(sorted(info["features"])) or "none"
        raise DatasetError(f"column {column} is missing (found: {known})", where=str(where))
    shape = feature.get("shape")
    if not (isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) and shape[0] > 0):
        raise DatasetError(f"column {column} has shape {shape}, expected one number of values", where=str(where))
    return shape[0]


def names(info: dict[str, Any], column: str, count: int) -> tuple[str, ...]:
    """The column's joint names. All spellings seen on the Hub: flat list, [[...]], {"motors": [...]} and null."""
    given = info["features"][column].get("names")
    if isinstance(given, dict):
        given = next(iter(given.values()), None)
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], list):
        given = given[0]
    if isinstance(given, list) and len(given) == count:
        return tuple(map(str, given))
    return tuple(f"{column}[{i}]" for i in range(count))


def load(folders: Sequence[Path]) -> Demonstrations:
    """All episodes of `folders`. Raises DatasetError; also where the folders do not go together."""
    if not folders:
        raise DatasetError("no dataset given", fix="name one with --dataset")
    parts = [_load_one(folder) for folder in folders]
    first = parts[0]
    for folder, part in zip(folders[1:], parts[1:], strict=True):
        for what in ("fps", "state_names", "action_names"):
            if getattr(part, what) != getattr(first, what):
                raise DatasetError(f"{what.replace('_', ' ')} differ from those of {folders[0]}", where=str(folder))
    return msgspec.structs.replace(first, episodes=tuple(e for part in parts for e in part.episodes))


def _load_one(folder: Path) -> Demonstrations:
    info = read_info(folder)
    info_path = folder / "meta" / "info.json"
    widths = {column: width(info, column, info_path) for column in (STATE, ACTION)}
    lengths = _episode_lengths(folder)
    episodes = []
    for index, length in lengths.items():
        path = _parquet_path(folder, info, index)
        columns = _read_parquet(path, widths)
        frames = {column: len(values) for column, values in columns.items()}
        if set(frames.values()) != {length}:
            raise DatasetError(
                f"episode {index} has {frames[STATE]} frames, meta/episodes.jsonl says {length}", where=str(path)
            )
        episodes.append(Episode(columns[STATE], columns[ACTION]))
    return Demonstrations(
        episodes=tuple(episodes),
        fps=float(info.get("fps") or 0.0),
        state_names=names(info, STATE, widths[STATE]),
        action_names=names(info, ACTION, widths[ACTION]),
    )


def _episode_lengths(folder: Path) -> dict[int, int]:
    path = folder / "meta" / "episodes.jsonl"
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"not readable: {getattr(error, 'strerror', None) or error}", where=str(path)) from None
    lengths: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            lengths[int(row["episode_index"])] = int(row["length"])
        except (ValueError, KeyError, TypeError):
            raise DatasetError("not an episode (episode_index and length)", where=f"{path}:{number}") from None
    lengths = {index: length for index, length in lengths.items() if length > 0}
    if not lengths:
        raise DatasetError("no episodes", where=str(path))
    return lengths


def _parquet_path(folder: Path, info: dict[str, Any], index: int) -> Path:
    template = str(info.get("data_path") or "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet")
    chunk = index // int(info.get("chunks_size") or 1000)
    try:
        path = folder / template.format(episode_chunk=chunk, episode_index=index)
    except (KeyError, ValueError, IndexError):
        raise DatasetError(f"data_path {template!r} makes no sense", where=str(folder / "meta" / "info.json")) from None
    if not path.is_file():
        raise DatasetError(f"episode {index} has no file", where=str(path))
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise DatasetError(
                "a git-lfs pointer, not the data", where=str(path), fix="download the dataset (git lfs pull)"
            )
    return path


def _read_parquet(path: Path, widths: dict[str, int]) -> dict[str, Floats]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise DatasetError("pyarrow is not installed", fix="pip install 'dm-isaac-g1[train]'") from None
    try:
        file = parquet.ParquetFile(path)
        missing = [c for c in widths if c not in file.schema_arrow.names]
        if missing:
            raise DatasetError(
                f"column {missing[0]} is missing (found: {', '.join(file.schema_arrow.names)})", where=str(path)
            )
        table = file.read(columns=list(widths), use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"not readable as parquet: {' '.join(str(error).split())}", where=str(path)) from None
    return {column: _rows(table.column(column), column, wide, path) for column, wide in widths.items()}


def _rows(column: Any, name: str, wide: int, path: Path) -> Floats:
    """A parquet column as (frames, wide). Scalars, fixed-size and variable lists are all met on the Hub."""
    import pyarrow.types as types

    array = column.combine_chunks()
    kind = array.type
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    value = kind.value_type if is_list else kind
    if not (types.is_floating(value) or types.is_integer(value)):
        raise DatasetError(f"column {name} holds {kind}, expected numbers", where=str(path))
    if array.null_count:
        raise DatasetError(f"column {name} has {array.null_count} empty frames", where=str(path))
    flat = array.flatten() if is_list else array
    if flat.null_count:
        raise DatasetError(f"column {name} has {flat.null_count} empty values", where=str(path))
    if types.is_fixed_size_list(kind):
        found: Iterable[int] = {kind.list_size}
    elif is_list:
        found = {int(n) for n in np.unique(np.diff(array.offsets.to_numpy()))}
    else:
        found = {1}
    wrong = sorted(set(found) - {wide})
    if wrong:
        raise DatasetError(
            f"column {name} has frames of {wrong[0]} values, meta/info.json says {wide}", where=str(path)
        )
    values: Floats = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, wide)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        frame, joint = map(int, bad[0])
        raise DatasetError(f"column {name} is {values[frame, joint]} in frame {frame}, value {joint}", where=str(path))
    return values
