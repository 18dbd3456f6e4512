"""meta/ of a converted dataset: what was done (conversion.json), GR00T's modality.json, and LeRobot's own files.

meta/conversion.json: {"tool", "format", "mapping", "mapping_version", "parameters", "source": {path, repo, revision,
version, family, robot_type, fingerprint}, "vectors": {column: [{group, how, source, names, note}]}, "cameras",
"clipped": {joint: share}, "clipped_tolerance", "gripper_ranges": {column: [lowest, highest]}, "episodes": {new number:
old number} where they differ, "dropped", "findings"}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1 import __version__
from dm_isaac_g1.core.robot import INSPIRE_53
from dm_isaac_g1.data.convert import handmaps
from dm_isaac_g1.data.convert.cameras import short
from dm_isaac_g1.data.convert.layouts import BASE, COMMAND, GROOT_ACTION, GROOT_STATE
from dm_isaac_g1.data.convert.plans import ConversionPlan, Made
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.info import new_info
from dm_isaac_g1.data.jsonfiles import read_json
from dm_isaac_g1.data.linking import place_file
from dm_isaac_g1.data.problems import DataError, DataProblem, Finding
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.storing import Stored, finish_meta
from dm_isaac_g1.data.writing import write_json

CONVERSION = "meta/conversion.json"
MODALITY = "meta/modality.json"

#: Shares of a joint's values that may be clipped: a word beyond the first, an error beyond the second.
WARN_CLIPPED, MOST_CLIPPED = 0.01, 0.20
#: Raw gripper values beyond these were never seen in Unitree's sets.
GRIPPER_RANGE = (0.0, 6.0)


# --- Clipping ---------------------------------------------------------------------------------------------------------


class Tally:
    """What all episodes together clipped; speaks up as soon as it is too much to be put right by those that follow."""

    def __init__(self, plan: ConversionPlan) -> None:
        self._plan = plan
        self._clipped: Counter[str] = Counter()
        self.ranges: dict[str, tuple[float, float]] = {}
        self.cast: dict[str, None] = {}

    def add(self, made: Made) -> None:
        """Raises DataError where more is clipped than MOST_CLIPPED of all frames, unless that is allowed."""
        self._clipped.update(made.clipped)
        for key, (low, high) in made.ranges.items():
            before = self.ranges.get(key, (low, high))
            self.ranges[key] = (min(low, before[0]), max(high, before[1]))
        self.cast.update(dict.fromkeys(made.cast))
        if self._plan.options.allow_clip:
            return
        for joint, count in self._clipped.items():
            if count > MOST_CLIPPED * self._plan.frames:
                raise DataError(
                    "clipped",
                    f"{count} of {self._plan.frames} frames of {joint} lie beyond what a {self._plan.hand} can do"
                    f"{self._measured(joint)}: more than {MOST_CLIPPED:.0%}",
                    joint=joint,
                    fix="check the hand and the gripper's open and closed values, or say --allow-clip",
                    dataset=self._plan.root,
                )

    def _measured(self, joint: str) -> str:
        found = next((r for key, r in self.ranges.items() if joint.startswith(key)), None)
        return "" if found is None else f" (measured {found[0]:.3g} to {found[1]:.3g})"

    @property
    def shares(self) -> dict[str, float]:
        """Joint -> share of its frames that were clipped; only where there are some."""
        return {joint: count / self._plan.frames for joint, count in sorted(self._clipped.items())}

    def findings(self) -> list[Finding]:
        found = [
            Finding(
                code="clipped", severity="warning", what=f"{share:.1%} of {joint} are clipped{self._measured(joint)}"
            )
            for joint, share in self.shares.items()
            if share > WARN_CLIPPED
        ]
        low, high = GRIPPER_RANGE
        for key, (least, most) in self.ranges.items():
            if least < low - handmaps.TOLERANCE * high or most > high:
                what = f"{key} goes from {least:.3g} to {most:.3g}, outside of {low:g} to {high:g} as Unitree's do"
                fix = "give its open and closed values with --gripper-open and --gripper-closed"
                found.append(Finding(code="gripper-range", severity="warning", what=what, fix=fix))
        for column in self.cast:
            what = f"column {column} holds doubles, cast to float32"
            found.append(Finding(code="cast", severity="note", what=what))
        return found


# --- Files ------------------------------------------------------------------------------------------------------------


def write_all(root: Path, plan: ConversionPlan, dataset: Dataset, made: Sequence[Made], tally: Tally) -> None:
    """All files of meta/ but the statistics; the licence of the source comes along. Raises OSError, DataProblem."""
    info = new_info(
        version="2.1",
        robot_type=plan.robot_type,
        fps=plan.fps,
        features=plan.features,
        episodes=len(made),
        frames=plan.frames,
        tasks=len(plan.tasks),
        cameras=[new for _, new in plan.cameras],
    )
    write_json(root / MODALITY, modality(plan))
    write_json(root / CONVERSION, conversion(plan, dataset, tally))
    stored = (Stored(length=m.length, tasks=m.tasks, stats=m.stats, videos=m.videos) for m in made)
    finish_meta(root, info, stored, plan.tasks, stats=True)
    for path in sorted(dataset.root.iterdir()):
        if path.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE")) and path.is_file():
            place_file(path, root / path.name, inside=dataset.boundary)


def modality(plan: ConversionPlan) -> dict[str, Any]:
    """GR00T's meta/modality.json: slices of observation.state and action, cameras, the instruction.

    UNITREE_G1 looks for left_hand and right_hand: 53 joints have them under both names.
    """
    if plan.format == "groot":
        state, action = dict(GROOT_STATE.modality()), dict(GROOT_ACTION.modality())
    else:
        groups = INSPIRE_53.modality()
        hands = {name.replace("_inspire_hand", "_hand"): groups[name] for name in groups if "inspire_hand" in name}
        state = groups | hands
        action = dict(state)
    found: dict[str, Any] = {"state": state, "action": action}
    if any(vector.column == COMMAND for vector in plan.vectors):
        start = 0
        for group in BASE:
            end = start + len(GROOT_ACTION[group].names)
            found["action"] = found["action"] | {group: {"original_key": COMMAND, "start": start, "end": end}}
            start = end
    found["video"] = {short(new): {"original_key": new} for _, new in plan.cameras}
    return found | {"annotation": {"human.task_description": {"original_key": "task_index"}}}


def conversion(plan: ConversionPlan, dataset: Dataset, tally: Tally) -> dict[str, Any]:
    """What meta/conversion.json says."""
    origins: dict[str, list[dict[str, Any]]] = {vector.column: [] for vector in plan.vectors}
    for origin in plan.origins:
        row = {key: value for key, value in msgspec.to_builtins(origin).items() if value not in (None, (), [])}
        origins[row.pop("vector")].append(row)
    findings = [msgspec.to_builtins(finding) for finding in (*plan.findings, *dataset.findings, *tally.findings())]
    return {
        "tool": f"dm-g1 {__version__}",
        "format": plan.format,
        "mapping": plan.mapping,
        "mapping_version": handmaps.VERSION,
        "parameters": plan.parameters | {"allow_clip": plan.options.allow_clip},
        "source": _source(plan, dataset),
        "vectors": origins,
        "cameras": {new: old for old, new in plan.cameras},
        "clipped": tally.shares,
        "clipped_tolerance": handmaps.TOLERANCE,
        "gripper_ranges": {key: list(found) for key, found in sorted(tally.ranges.items())},
        "episodes": {str(t.index): t.source.index for t in plan.targets if t.index != t.source.index},
        "dropped": sorted(plan.options.drop_episodes),
        "findings": findings,
    }


def _source(plan: ConversionPlan, dataset: Dataset) -> dict[str, Any]:
    """Where the data comes from: of a downloaded dataset the repository and revision, also at second hand."""
    known = sidecar.section(dataset.root, "source") or _earlier(dataset)
    return {
        "path": plan.root,
        "repo": known.get("repo"),
        "revision": known.get("revision"),
        "version": dataset.version,
        "family": plan.family,
        "robot_type": dataset.info.robot_type,
        "fingerprint": plan.fingerprint,
    }


def _earlier(dataset: Dataset) -> dict[str, Any]:
    """The source that an earlier conversion noted. {} where there was none."""
    if not (dataset.root / CONVERSION).is_file():
        return {}
    try:
        noted = read_json(dataset.root, CONVERSION)
    except DataProblem:
        return {}
    source = noted.get("source") if isinstance(noted, dict) else None
    return source if isinstance(source, dict) else {}
