"""One episode's statistics, as a row of LeRobot v2.1's meta/episodes_stats.jsonl or the stats/* columns of v3.0.

Form: lerobot 0.3.3 and 0.4.4, src/lerobot/datasets/compute_stats.py. Of every numeric feature min, max, mean, std
(ddof 0) and count, each a list of one number a value; a scalar's have one entry. lerobot sums in float32; here it is
float64, and the two agree to float32's precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.data.problems import DataError
from dm_isaac_g1.data.stats.quantiles import quantiles as quantiles_of

Array = NDArray[Any]
Rows = NDArray[np.float64]
#: Feature -> statistic -> values.
Statistics = dict[str, dict[str, Any]]

#: What v3.0 has beside the five. Source: DEFAULT_QUANTILES of lerobot 0.4.4, which estimates them from histograms.
QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)


def quantile_name(q: float) -> str:
    """0.01 -> "q01"."""
    return f"q{round(q * 100):02d}"


def episodes_stats_row(columns: Mapping[str, Array], *, quantiles: Iterable[float] = ()) -> Statistics:
    """The statistics of one episode's numeric `columns`, each (frames,) or (frames, width) or more axes; JSON values.

    `quantiles`: `QUANTILES` for v3.0; exact, by linear interpolation. Raises DataError: no frames, NaN, infinite.
    """
    flat = {name: _flat(name, np.asarray(values)) for name, values in columns.items()}
    # A row a value of all columns: sums and extremes run along memory, and float64 holds every float32 exactly.
    rows = np.empty((sum(values.shape[1] for values in flat.values()), max((len(v) for v in flat.values()), default=1)))
    places: dict[str, slice] = {}
    for name, values in flat.items():
        if len(values) != rows.shape[1]:
            what = f"column {name} has {len(values)} frames, others have {rows.shape[1]}"
            raise DataError("lengths-differ", what, joint=name)
        start = sum(place.stop - place.start for place in places.values())
        places[name] = slice(start, start + values.shape[1])
        rows[places[name]] = values.T
    found = _reduce(rows, tuple(quantiles), lambda row: next(name for name, at in places.items() if row < at.stop))
    return {name: _shaped(found, places[name], np.asarray(columns[name]), rows.shape[1]) for name in columns}


def _flat(name: str, values: Array) -> Array:
    """(frames, values)."""
    if not len(values):
        raise DataError("no-frames", f"column {name} has no frames to compute statistics of", joint=name)
    return values.reshape(len(values), -1)


def _reduce(rows: Rows, quantiles: tuple[float, ...], name: Callable[[int], str]) -> dict[str, Rows]:
    """Every statistic along the last axis. Overwrites `rows`; `name`: the column of a row, for errors."""
    low, high = rows.min(axis=1), rows.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        row, frame = (int(n) for n in np.argwhere(~np.isfinite(rows))[0])
        what = f"column {name(row)} is {rows[row, frame]} in frame {frame}"
        raise DataError("not-finite", what, frame=frame, joint=name(row))
    more = quantiles_of(rows, quantiles) if quantiles else []
    mean = rows.sum(axis=1) / rows.shape[1]
    rows -= mean[:, None]
    with np.errstate(over="ignore"):
        std = np.sqrt(np.einsum("ij,ij->i", rows, rows) / rows.shape[1])
    if not np.isfinite(std).all():
        what = f"column {name(int(np.argwhere(~np.isfinite(std))[0][0]))} holds values too large to square"
        raise DataError("not-finite", what)
    found = {"min": low, "max": high, "mean": mean, "std": std}
    return found | {quantile_name(q): value for q, value in zip(quantiles, more, strict=True)}


def _shaped(found: Mapping[str, Rows], place: slice, values: Array, count: int) -> dict[str, Any]:
    """The column at `place`, in the form of its features: lists, integers where it holds integers."""
    shape = values.shape[1:] or (1,)
    shaped: dict[str, Any] = {}
    for key, each in found.items():
        part = each[place]
        if key in ("min", "max") and values.dtype.kind in "iub":
            part = _whole(part, values, key)
        shaped[key] = part.reshape(shape).tolist()
        if key == "std":
            shaped["count"] = [count]
    return shaped


def _whole(extreme: Rows, values: Array, key: str) -> Array:
    """As integers. Beyond 2**53 float64 has gaps: those are looked up again."""
    if (np.abs(extreme) < 2**53).all():
        return extreme.astype(np.int64)
    flat = values.reshape(len(values), -1)
    return np.asarray(flat.min(axis=0) if key == "min" else flat.max(axis=0))
