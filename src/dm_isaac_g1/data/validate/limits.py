"""Joint limits: for every value of a feature the share of frames beyond its range, gathered episode by episode.

Ranges are those of core.robot and core.hands, found by name, never by position. Commands of hands that take 0 to 1, and
Dex1 grippers, have a range of their own; other values have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.core.hands import SIDES
from dm_isaac_g1.core.robot import JOINTS
from dm_isaac_g1.data.info import Feature, Info
from dm_isaac_g1.data.names import BRAINCO_COMMANDS, INSPIRE_COMMANDS, canonical
from dm_isaac_g1.data.problems import Finding, Severity
from dm_isaac_g1.data.validate.codes import Findings

#: Beyond a limit by less than this counts as on it: float32, and an encoder's last digits (rad, or share of a stroke).
TOLERANCE = 1e-3
#: As for clipping in conversion: above it a warning, an error.
WARN, ERROR = 0.01, 0.20
#: Encoders are mounted a little off: an error needs more than this beyond the limit, too (rad).
FAR = 0.1
#: Raw Dex1 strokes are 0 to 5.4 or 5.5; anything in here passes.
_GRIPPER = (-0.5, 6.0)

_COMMANDS = {f"{side}_hand_{word}" for side in SIDES for word in (*INSPIRE_COMMANDS, *BRAINCO_COMMANDS)}
_GRIPPERS = {f"{side}_gripper" for side in SIDES}


def range_of(name: str) -> tuple[float, float] | None:
    """(low, high) of a value by its canonical name; None: it has none."""
    joint = JOINTS.get(name)
    if joint is not None:
        return joint.low, joint.high
    if name in _COMMANDS:
        return 0.0, 1.0
    return _GRIPPER if name in _GRIPPERS else None


class Limits:
    """Counts of one feature. `watched`: some of its values have a range."""

    def __init__(self, column: str, feature: Feature) -> None:
        self.column = column
        self.labels = feature.labels(column)
        known = [canonical(label) for label in self.labels] if feature.names is not None else [None] * feature.width
        self.names = known
        ranges = [range_of(name) if name else None for name in known]
        self.watched = any(ranges)
        self.low = np.array([r[0] if r else -np.inf for r in ranges])
        self.high = np.array([r[1] if r else np.inf for r in ranges])
        self.least = np.full(len(known), np.inf)
        self.most = np.full(len(known), -np.inf)
        self.outside = np.zeros(len(known), np.int64)
        self.frames = 0

    def add(self, values: NDArray[Any]) -> None:
        """Finite values, (frames, width)."""
        if not len(values):
            return
        least, most = values.min(0), values.max(0)
        np.minimum(self.least, least, out=self.least)
        np.maximum(self.most, most, out=self.most)
        self.frames += len(values)
        for place in np.flatnonzero((least < self.low - TOLERANCE) | (most > self.high + TOLERANCE)):
            column = values[:, place]
            beyond = (column < self.low[place] - TOLERANCE) | (column > self.high[place] + TOLERANCE)
            self.outside[place] += int(np.count_nonzero(beyond))

    def findings(self, finding: Findings) -> Iterator[Finding]:
        for place in np.flatnonzero(self.outside):
            share = self.outside[place] / self.frames
            low, high, least, most = (float(x[place]) for x in (self.low, self.high, self.least, self.most))
            what = (
                f"{share:.1%} of {self.column} {self.labels[place]} beyond {low:.4g} to {high:.4g}: "
                f"it goes from {least:.4g} to {most:.4g}"
            )
            if self.names[place] in _GRIPPERS:
                yield finding("gripper-range", what, joint=self.labels[place])
                continue
            far = least < low - FAR or most > high + FAR
            severity: Severity = "error" if share > ERROR and far else "warning"
            if share > WARN:
                yield finding("beyond-limits", what, joint=self.labels[place], severity=severity)
            else:
                yield finding("near-limits", what, joint=self.labels[place])


def watched(info: Info) -> dict[str, Limits]:
    """Column -> counts, for every feature with values that have a range."""
    found = {
        key: Limits(key, feature)
        for key, feature in info.features.items()
        if feature.is_float and len(feature.shape) == 1
    }
    return {key: limits for key, limits in found.items() if limits.watched}
