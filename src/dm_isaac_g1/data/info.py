"""meta/info.json: what a LeRobot dataset says of itself, in versions 2.0, 2.1 and 3.0.

Formats: lerobot 0.3.3 (v2.x) and 0.4.4 (v3.0), src/lerobot/datasets/{utils,lerobot_dataset}.py. What stood in the file
is kept as `raw`, to be written back unchanged. Nothing is believed: templates of paths are filled in here and may not
lead out of the dataset, numbers are checked, sizes are bounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from dm_isaac_g1.data.jsonfiles import LARGEST_JSON, decode, read_bytes
from dm_isaac_g1.data.problems import IntegrityError, SchemaError

INFO = "meta/info.json"
STATE = "observation.state"
ACTION = "action"
IMAGES = "observation.images."

Version = Literal["2.0", "2.1", "3.0"]

_WHOLE: dict[str, Any] = {"dtype": "int64", "shape": [1], "names": None}
#: The columns that every LeRobot dataset has, and their features. Source: DEFAULT_FEATURES of lerobot 0.3.3.
DEFAULT_FEATURES: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": _WHOLE,
    "episode_index": _WHOLE,
    "index": _WHOLE,
    "task_index": _WHOLE,
}
DEFAULT_COLUMNS = tuple(DEFAULT_FEATURES)

#: Templates as lerobot writes them.
DATA_V2 = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_V2 = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
DATA_V3 = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_V3 = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

#: Episodes (v2.x) or files (v3.0) a chunk, where info.json does not say; lerobot's DEFAULT_CHUNK_SIZE.
CHUNKS_SIZE = 1000

_NUMERIC = re.compile(r"(float(16|32|64)|u?int(8|16|32|64)|bool)")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_FIELD = re.compile(r"([a-z_]+)(?::0?(\d)d)?")
#: More values than any frame has; a larger shape is a broken or hostile file.
_WIDEST = 1 << 20


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """A column or a camera. `shape` of one frame; `names` flattened, in the order of the values; None: not said."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None
    #: As it stood in info.json.
    raw: dict[str, Any]

    @property
    def is_video(self) -> bool:
        return self.dtype == "video"

    @property
    def is_numeric(self) -> bool:
        return _NUMERIC.fullmatch(self.dtype) is not None

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith("float")

    @property
    def width(self) -> int:
        """Values a frame: 26 for shape (26,), 1 for a scalar."""
        return math.prod(self.shape)

    def labels(self, column: str) -> tuple[str, ...]:
        """A name for every value: its own, or `column[i]` where the names are missing or too few or too many."""
        if self.names is not None and len(self.names) == self.width:
            return self.names
        return (column,) if self.width == 1 else tuple(f"{column}[{i}]" for i in range(self.width))


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """meta/info.json. The totals are what the file claims; None: it does not say."""

    version: Version
    robot_type: str | None
    fps: float
    total_episodes: int | None
    total_frames: int | None
    total_tasks: int | None
    chunks_size: int
    splits: dict[str, str]
    data_path: str
    #: None: no camera.
    video_path: str | None
    features: dict[str, Feature]
    #: The whole file as it stood there.
    raw: dict[str, Any]

    @property
    def shares_files(self) -> bool:
        """Whether many episodes stand in one parquet file: v3.0, and v2.x sets whose data_path names no episode."""
        return self.version == "3.0" or "{episode_index" not in self.data_path

    @property
    def cameras(self) -> tuple[str, ...]:
        """Full keys of all video features: observation.images.cam_left_high."""
        return tuple(key for key, feature in self.features.items() if feature.is_video)

    @property
    def columns(self) -> tuple[str, ...]:
        """Features that stand in the parquet files: all but videos."""
        return tuple(key for key, feature in self.features.items() if not feature.is_video)


# --- Reading ----------------------------------------------------------------------------------------------------------


def read_info(root: Path) -> Info:
    """meta/info.json of the dataset in `root`. Raises IntegrityError and SchemaError."""
    if not root.is_dir():
        raise IntegrityError("no-dataset", "no such dataset folder", dataset=str(root))
    if not (root / INFO).is_file():
        raise IntegrityError(
            "not-a-dataset",
            f"not a LeRobot dataset: {INFO} is missing",
            dataset=str(root),
            fix="name a dataset's folder",
        )
    return parse_info(read_bytes(root, INFO, LARGEST_JSON))


def parse_info(text: str | bytes, *, where: str = INFO) -> Info:
    """Info of the text of an info.json; `where`: how errors call it. Raises IntegrityError and SchemaError."""
    try:
        return info_of(decode(text, where))
    except SchemaError as problem:
        raise problem.in_file(where) from None


def info_of(raw: Any) -> Info:
    """Info of a decoded info.json. Raises SchemaError."""
    if not isinstance(raw, dict) or not isinstance(raw.get("features"), dict) or not raw["features"]:
        raise _wrong("no-features", "not a LeRobot dataset: no features")
    version = _version(raw.get("codebase_version"))
    features = {key: _feature(key, value) for key, value in raw["features"].items()}
    fps = raw.get("fps")
    if not isinstance(fps, (int, float)) or isinstance(fps, bool) or not math.isfinite(fps) or not 0 < fps <= 1e6:
        raise _wrong("bad-fps", f"fps is {fps!r}, expected frames a second")
    robot, splits = raw.get("robot_type"), raw.get("splits")
    video_path = raw.get("video_path")
    if video_path is not None and not isinstance(video_path, str):
        raise _wrong("bad-path", f"video_path is {video_path!r}, expected a path")
    if video_path is None and any(feature.is_video for feature in features.values()):
        video_path = VIDEO_V3 if version == "3.0" else VIDEO_V2
    data_path = raw.get("data_path") or (DATA_V3 if version == "3.0" else DATA_V2)
    if not isinstance(data_path, str):
        raise _wrong("bad-path", f"data_path is {data_path!r}, expected a path")
    return Info(
        version=version,
        robot_type=robot if isinstance(robot, str) else None,
        fps=float(fps),
        total_episodes=_count(raw, "total_episodes"),
        total_frames=_count(raw, "total_frames"),
        total_tasks=_count(raw, "total_tasks"),
        chunks_size=_count(raw, "chunks_size", least=1) or CHUNKS_SIZE,
        splits={str(k): str(v) for k, v in splits.items()} if isinstance(splits, dict) else {},
        data_path=data_path,
        video_path=video_path,
        features=features,
        raw=raw,
    )


def _wrong(code: str, what: str, joint: str | None = None, fix: str | None = None) -> SchemaError:
    return SchemaError(code, what, file=INFO, joint=joint, fix=fix)


def _version(given: Any) -> Version:
    for version in ("2.0", "2.1", "3.0"):
        if given in (version, f"v{version}"):
            return version
    raise _wrong(
        "unknown-version",
        f"LeRobot {given or 'of unknown version'}, expected v2.0, v2.1 or v3.0",
        fix="bring it to v2.1 with the lerobot that wrote it",
    )


def _count(raw: dict[str, Any], key: str, least: int = 0) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _wrong("bad-count", f"{key} is {value!r}, expected a number of at least {least}")
    return value


def _feature(key: str, raw: Any) -> Feature:
    # It becomes a folder's name, here and in what is made of this dataset. lerobot refuses slashes, too.
    if not key or key in (".", "..") or "/" in key or "\\" in key or not key.isprintable() or len(key) > 200:
        raise _wrong("bad-feature-name", f"feature {key!r} has no name that a folder can have", joint=key)
    if not isinstance(raw, dict) or not isinstance(raw.get("dtype"), str):
        raise _wrong("bad-feature", f"feature {key!r} has no dtype", joint=key)
    shape = raw.get("shape")
    if isinstance(shape, int) and not isinstance(shape, bool):
        shape = [shape]
    if not isinstance(shape, list):
        raise _wrong("feature-without-shape", f"feature {key!r} has no shape", joint=key)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape) or math.prod(shape) > _WIDEST:
        raise _wrong("bad-shape", f"feature {key!r} has shape {shape}, expected positive numbers", joint=key)
    return Feature(dtype=raw["dtype"], shape=tuple(shape), names=flat_names(raw.get("names")), raw=raw)


def flat_names(given: Any) -> tuple[str, ...] | None:
    """Names in every spelling that is met on the Hub: flat, [[...]], {"motors": [...]}, {"x": 0, "y": 1}, or null."""
    if isinstance(given, dict):
        if given and all(isinstance(value, int) for value in given.values()):
            return tuple(sorted(map(str, given), key=lambda name: given[name]))
        parts = [flat_names(value) for value in given.values()]
    elif isinstance(given, list) and any(isinstance(item, (list, dict)) for item in given):
        parts = [flat_names(value) for value in given]
    elif isinstance(given, list) and given:
        return tuple(map(str, given))
    else:
        return None
    if not parts or None in parts:
        return None
    return tuple(name for part in parts if part for name in part)


# --- Paths ------------------------------------------------------------------------------------------------------------


def data_file(info: Info, episode: int) -> str:
    """The parquet file of an episode of a v2.x dataset, relative to it. Raises SchemaError."""
    return _filled(info, "data_path", info.data_path, episode_chunk=episode // info.chunks_size, episode_index=episode)


def video_file(info: Info, key: str, episode: int) -> str:
    """The video of a camera and an episode of a v2.x dataset, relative to it. Raises SchemaError."""
    return _filled(
        info,
        "video_path",
        info.video_path or VIDEO_V2,
        episode_chunk=episode // info.chunks_size,
        episode_index=episode,
        video_key=key,
    )


def data_file_v3(info: Info, chunk: int, file: int) -> str:
    """A parquet file of a v3.0 dataset, relative to it. Raises SchemaError."""
    return _filled(info, "data_path", info.data_path, chunk_index=chunk, file_index=file)


def video_file_v3(info: Info, key: str, chunk: int, file: int) -> str:
    """A video of a v3.0 dataset, relative to it. Raises SchemaError."""
    return _filled(info, "video_path", info.video_path or VIDEO_V3, chunk_index=chunk, file_index=file, video_key=key)


def _filled(info: Info, what: str, template: str, **values: int | str) -> str:
    """The template, filled in. Not by str.format, to which `{a.__class__}` and `{a:999999999d}` are formats, too."""

    def fill(match: re.Match[str]) -> str:
        field = _FIELD.fullmatch(match[1])
        if field is None or field[1] not in values:
            raise _wrong("bad-path", f"{what} {template!r} makes no sense at {match[0]!r}")
        value = values[field[1]]
        return value if isinstance(value, str) else str(value).zfill(int(field[2] or 0))

    return inside(_PLACEHOLDER.sub(fill, template), what=f"{what} {template!r}")


def inside(path: str, *, what: str) -> str:
    """`path` as it is where it is relative and stays below its folder. Raises SchemaError."""
    parts = path.split("/")
    if (
        path.startswith("/")
        or {"", ".", ".."} & set(parts)
        or "\\" in path
        or not path.isprintable()
        or len(path) > 1024
    ):
        raise _wrong("path-leaves-dataset", f"{what} leads to {path!r}, out of the dataset")
    return path


# --- Writing ----------------------------------------------------------------------------------------------------------


def new_info(
    *,
    version: Version,
    robot_type: str | None,
    fps: float,
    features: Mapping[str, Mapping[str, Any]],
    episodes: int,
    frames: int,
    tasks: int,
    cameras: Sequence[str] = (),
    chunks_size: int = CHUNKS_SIZE,
    data_mb: int = 100,
    video_mb: int = 200,
) -> dict[str, Any]:
    """An info.json as lerobot writes it. `features`: the default columns are added where they are missing.

    `data_mb`, `video_mb`: the largest files, of v3.0 only.
    """
    v3 = version == "3.0"
    head: dict[str, Any] = {
        "codebase_version": f"v{version}",
        "robot_type": robot_type,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
    }
    if v3:
        head |= {"chunks_size": chunks_size, "data_files_size_in_mb": data_mb, "video_files_size_in_mb": video_mb}
    else:
        chunks = -(-episodes // chunks_size)
        head |= {"total_videos": episodes * len(cameras), "total_chunks": chunks, "chunks_size": chunks_size}
    return head | {
        "fps": int(fps) if float(fps).is_integer() else fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_V3 if v3 else DATA_V2,
        "video_path": (VIDEO_V3 if v3 else VIDEO_V2) if cameras else None,
        "features": {
            **{key: dict(value) for key, value in features.items()},
            **{key: dict(value) for key, value in DEFAULT_FEATURES.items() if key not in features},
        },
    }
