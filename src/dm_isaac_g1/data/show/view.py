"""What there is to see of a dataset and of an episode, as plain JSON: made where the dataset lies, drawn elsewhere."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dm_isaac_g1.core.datasets import DatasetSummary, JointRange
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.robot import JOINTS
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.detail import INSTEAD, STATS, WANTED, detail
from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.info import DEFAULT_COLUMNS, INFO, Feature, Info, read_info
from dm_isaac_g1.data.names import canonical
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.data.show import groups
from dm_isaac_g1.data.show.groups import Value
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.summary import summaries
from dm_isaac_g1.data.work import Work

if TYPE_CHECKING:
    from dm_isaac_g1.data.show.pictures import Picture

#: Bars of the histogram of the episodes' lengths.
_BARS = 20
#: Tasks that are listed.
_TASKS = 50


# --- A dataset --------------------------------------------------------------------------------------------------------


def summary_view(path: Path | str, *, deep: bool = False, work: Work | None = None) -> dict[str, Any]:
    """What is in the dataset, by its meta files; `deep` reads every row for the joint ranges.

    What cannot be read is said in "problems". Raises DataProblem where info.json cannot.
    """
    root = Path(path)
    info = read_info(root)
    work = work or Work()
    summary = _listed(root)
    near = detail("", str(root), (root / INFO).read_text("utf-8", "replace"), _meta(root))
    problems, dataset = list(near.problems), None
    try:
        dataset = Dataset.open(root, work)
    except DataProblem as problem:
        problems.append(_said(problem))
    ranges, of = near.ranges, "the statistics" if near.ranges else None
    if deep and dataset is not None:
        ranges, of = _ranges_of_rows(dataset, work), "every row"
    return {
        "name": root.resolve().name,
        "path": str(root),
        "version": info.version,
        "family": summary.family,
        "robot": info.robot_type,
        "fps": info.fps,
        "episodes": len(dataset.episodes) if dataset else info.total_episodes,
        "frames": dataset.frames if dataset else info.total_frames,
        "bytes": summary.bytes,
        "files": summary.files,
        "lengths": _lengths([episode.length for episode in dataset.episodes]) if dataset else None,
        "tasks": _tasks(dataset) if dataset else [{"task": task, "episodes": None} for task in near.tasks],
        "cameras": [_camera(key, info.features[key]) for key in info.cameras],
        "columns": [
            {"column": key, "width": info.features[key].width, "dtype": info.features[key].dtype}
            for key in info.columns
            if key not in DEFAULT_COLUMNS
        ],
        "ranges": [msgspec.to_builtins(each) for each in ranges],
        "ranges_of": of,
        "stats": summary.stats,
        "modality": summary.modality,
        "source": sidecar.section(root, "source") or None,
        "conversion": list(near.conversion),
        "validity": summary.validity,
        "errors": summary.errors,
        "warnings": summary.warnings,
        "validated": near.validated,
        "deep": near.deep,
        "problems": problems,
    }


def _listed(root: Path) -> DatasetSummary:
    """The dataset's line in a list. A link is not followed by whoever makes lists, and hidden folders are passed by."""
    found = summaries(root.resolve())
    return found[0] if found else DatasetSummary(host="", name=root.name, path=str(root), family="unknown")


def _meta(root: Path) -> dict[str, bytes | None]:
    """The files that `detail` wants; a file that is too long is left out, as is one that is a link to elsewhere."""
    found: dict[str, bytes | None] = {}
    for name, most in (WANTED | ({} if (root / STATS).is_file() else INSTEAD)).items():
        path = root / name
        try:
            inside = path.resolve().is_relative_to(root.resolve())
            found[name] = path.read_bytes() if inside and path.stat().st_size <= most else None
        except OSError:
            found[name] = None
    return found


def _lengths(lengths: list[int]) -> dict[str, Any]:
    """Frames of the episodes; `bars`: how many are so long, from the shortest to the longest."""
    least, most = min(lengths), max(lengths)
    bars = [0] * (min(_BARS, most - least + 1))
    for length in lengths:
        bars[(length - least) * len(bars) // (most - least + 1)] += 1
    return {"least": least, "median": sorted(lengths)[len(lengths) // 2], "most": most, "bars": bars}


def _tasks(dataset: Dataset) -> list[dict[str, Any]]:
    counts = Counter(task for episode in dataset.episodes for task in episode.tasks)
    return [{"task": task, "episodes": counts.get(task, 0)} for _, task in sorted(dataset.tasks.items())[:_TASKS]]


def _camera(key: str, feature: Feature) -> dict[str, Any]:
    told = feature.raw.get("info") or feature.raw.get("video_info")
    told = told if isinstance(told, dict) else {}
    edges = [n for n in feature.shape if n > 4]  # without the channels, wherever they stand
    return {
        "key": key,
        "width": edges[1] if len(edges) == 2 else None,
        "height": edges[0] if len(edges) == 2 else None,
        "codec": str(told["video.codec"]) if told.get("video.codec") else None,
        "fps": told.get("video.fps") if isinstance(told.get("video.fps"), int | float) else None,
    }


def _ranges_of_rows(dataset: Dataset, work: Work) -> tuple[JointRange, ...]:
    """Least and most of every value, of all rows. Raises DataProblem at the first that is none."""
    import numpy as np

    columns = _float_columns(dataset.info)
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    for count, episode in enumerate(dataset.episodes):
        work.progress("Reading every row", count, len(dataset.episodes), "episodes")
        for column, matrix in _matrices(dataset, episode, columns).items():
            low, high = matrix.min(axis=0), matrix.max(axis=0)
            least[column] = np.minimum(least.get(column, low), low)
            most[column] = np.maximum(most.get(column, high), high)
    return tuple(
        JointRange(column=column, name=name, low=float(low), high=float(high), limits=limits(name))
        for column in columns
        for name, low, high in zip(
            dataset.info.features[column].labels(column), least[column], most[column], strict=True
        )
    )


def limits(name: str) -> tuple[float, float] | None:
    """Of the joint of that name, in rad; None: it is no joint."""
    joint = JOINTS.get(canonical(name) or "")
    return (joint.low, joint.high) if joint else None


def _float_columns(info: Info) -> list[str]:
    return [key for key in info.columns if key not in DEFAULT_COLUMNS and info.features[key].is_float]


def _matrices(dataset: Dataset, episode: Episode, columns: list[str]) -> dict[str, Any]:
    from dm_isaac_g1.data.columns import matrix

    table = dataset.read(episode.index, columns)
    features = dataset.info.features
    return {
        column: matrix(
            table,
            column,
            features[column].width,
            episode=episode.index,
            file=episode.file,
            names=features[column].labels(column),
        )
        for column in columns
    }


# --- An episode -------------------------------------------------------------------------------------------------------


def episode_view(
    path: Path | str,
    episode: int,
    *,
    joints: str | None = None,
    at: float | None = None,
    strip: int = 1,
    points: int = 240,
    width: int = 120,
    work: Work | None = None,
) -> dict[str, Any]:
    """An episode's joints over time, at most `points` of each, and what its cameras see.

    `joints`: parts, joints or columns, as names or patterns (left_arm, *elbow*, action). `at`: the second that the
    cameras show; None: the middle. `strip`: pictures of each camera, over the whole episode if more than one. `width`:
    of a picture, in pixels. A column or a camera that cannot be read says why in "problem".

    Raises DataProblem (no such dataset or episode), UsageError (no such joint, or second).
    """
    dataset = Dataset.open(Path(path), work or Work())
    row = dataset.episode(episode)
    seconds = row.length / dataset.fps
    if at is not None and not 0 <= at < seconds:
        raise UsageError(f"episode {episode} has no second {at:g}", fix=f"it lasts {seconds:.2f} s")
    columns = _float_columns(dataset.info)
    every = [value for key in columns for value in groups.values(key, dataset.info.features[key].labels(key))]
    wanted = groups.selected(every, joints)
    middle = (row.length // 2) / dataset.fps
    moments = [middle if at is None else at]
    if strip > 1:
        moments = [round((row.length - 1) * n / (strip - 1)) / dataset.fps for n in range(strip)]
    return {
        "name": dataset.root.resolve().name,
        "episode": episode,
        "episodes": [dataset.episodes[0].index, dataset.episodes[-1].index],
        "length": row.length,
        "fps": dataset.fps,
        "tasks": list(row.tasks),
        "columns": [
            _column(dataset, row, key, [value for value in wanted if value.column == key], points)
            for key in dict.fromkeys(value.column for value in wanted)
        ],
        "cameras": [_picture(dataset, row, key, moment, width) for key in dataset.cameras for moment in moments],
    }


def _column(dataset: Dataset, episode: Episode, column: str, wanted: list[Value], points: int) -> dict[str, Any]:
    import numpy as np

    from dm_isaac_g1.data.show.thinning import thinned

    names = [value.name for value in wanted]
    found: dict[str, Any] = {
        "column": column,
        "names": names,
        "limits": [limits(name) for name in names],
        "times": [],
        "values": [],
        "problem": None,
    }
    try:
        matrix = _matrices(dataset, episode, [column])[column]
    except DataProblem as problem:
        return found | {"problem": _said(problem)}
    times, values = thinned(np.arange(len(matrix)) / dataset.fps, matrix, points)
    kept = values[:, [value.index for value in wanted]].astype(np.float64).round(5)
    return found | {"times": times.round(4).tolist(), "values": kept.T.tolist()}


def _picture(dataset: Dataset, episode: Episode, key: str, moment: float, width: int) -> dict[str, Any]:
    """A camera's picture at a moment of the episode, `width` pixels wide, as base64 of its RGB rows."""
    found: dict[str, Any] = {"key": key, "at": round(moment, 4), "width": 0, "height": 0, "rgb": "", "problem": None}
    clip = episode.videos[key]
    try:
        from dm_isaac_g1.data.video import frame_at

        small = shrunk(frame_at(dataset.path_of(clip.file), clip.start + moment), width)
    except DataProblem as problem:
        return found | {"problem": _said(problem, clip.file)}
    height, wide = small.shape[:2]
    return found | {"width": wide, "height": height, "rgb": base64.b64encode(small.tobytes()).decode()}


def _said(problem: DataProblem, place: str | None = None) -> str:
    """The problem on a line, without the dataset's own path: that stands above."""
    text = f"{place or problem.finding.place}: {problem.what}"
    return f"{text}; {problem.fix}" if problem.fix else text


def shrunk(picture: Picture, width: int) -> Picture:
    """At most `width` pixels wide, in the same shape."""
    from dm_isaac_g1.data.show.pictures import resized

    height, wide = picture.shape[:2]
    return picture if wide <= width else resized(picture, width, max(1, round(height * width / wide)))
