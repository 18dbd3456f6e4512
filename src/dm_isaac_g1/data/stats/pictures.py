"""Statistics of a video's pictures, as LeRobot keeps them beside those of columns: a number a colour, of a sample.

Form: lerobot 0.3.3 and 0.4.4, compute_stats.py: min, max, mean and std, each (3, 1, 1) and divided by 255, of frames
evenly spread over the episode, every n-th pixel of large ones; count is the number of frames. LeRobot reads datasets
without them; its training scripts want them for every camera, and then put ImageNet's in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.data.stats.episode import quantile_name
from dm_isaac_g1.data.stats.quantiles import Rank, interpolate
from dm_isaac_g1.data.video import frame_at

#: Frames that are looked at. lerobot decodes 100 of 300; four times 200 videos would take minutes.
SAMPLES = 16
#: Source: auto_downsample_height_width of lerobot 0.3.3.
_TARGET, _THRESHOLD = 150, 300

Pictures = dict[str, Any]


def picture_statistics_of(
    path: Path, *, frames: int, fps: float, start: float = 0.0, quantiles: Sequence[float] = (), samples: int = SAMPLES
) -> Pictures:
    """Of the `frames` that begin at `start` seconds in the video `path`. Raises IntegrityError, as `video.frame_at`."""
    looked_at = np.unique(np.round(np.linspace(0, frames - 1, min(samples, frames))).astype(int)).tolist()
    counts = np.zeros((3, 256), np.int64)
    for frame in looked_at:
        picture = _smaller(frame_at(path, start + frame / fps))
        for colour in range(3):
            counts[colour] += np.bincount(picture[:, :, colour].ravel(), minlength=256)
    return _of_counts(counts, len(looked_at), quantiles)


def _smaller(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    if max(width, height) < _THRESHOLD:
        return picture
    step = (width if width > height else height) // _TARGET
    return picture[::step, ::step]


def _of_counts(counts: NDArray[np.int64], frames: int, quantiles: Sequence[float]) -> Pictures:
    """`counts` (3, 256): how many pixels have each value. All that is asked is exact."""
    values = np.arange(256)
    number = counts.sum(axis=1)
    mean = counts @ values / number
    std = np.sqrt(np.array([each @ (values - m) ** 2 for each, m in zip(counts, mean, strict=True)]) / number)
    up_to = counts.cumsum(axis=1)
    found = {
        "min": np.array([np.flatnonzero(each)[0] for each in counts]),
        "max": np.array([np.flatnonzero(each)[-1] for each in counts]),
        "mean": mean,
        "std": std,
    }
    for q in quantiles:
        found[quantile_name(q)] = np.array([_quantile(each, q) for each in up_to])
    shaped: Pictures = {key: (value / 255).reshape(3, 1, 1).tolist() for key, value in found.items()}
    return shaped | {"count": [frames]}


def _quantile(up_to: NDArray[np.int64], q: float) -> float:
    rank = Rank(int(up_to[-1]), q)
    low, high = (int(np.searchsorted(up_to, place, side="right")) for place in (rank.below, rank.above))
    return float(interpolate(low, high, rank.weight))


def joined_pictures(every: Iterable[Pictures]) -> Pictures:
    """Of all episodes together, weighted by their counts (aggregate_feature_stats of lerobot 0.4.4).

    Quantiles are weighted means, too, as lerobot's, and only there where every episode has them.
    """
    parts: list[Mapping[str, Any]] = list(every)
    counts = np.array([part["count"][0] for part in parts], np.float64).reshape(-1, 1, 1, 1)
    weights = counts / counts.sum()
    values = {
        key: np.array([part[key] for part in parts], np.float64)
        for key in parts[0]
        if key != "count" and all(key in part for part in parts)
    }
    mean = (values["mean"] * weights).sum(axis=0)
    apart = values["std"] ** 2 + (values["mean"] - mean) ** 2
    found = {
        "min": values["min"].min(axis=0),
        "max": values["max"].max(axis=0),
        "mean": mean,
        "std": np.sqrt((apart * weights).sum(axis=0)),
    }
    found |= {key: (value * weights).sum(axis=0) for key, value in values.items() if key not in found}
    shaped: Pictures = {key: value.tolist() for key, value in found.items()}
    return shaped | {"count": [int(counts.sum())]}
