"""Which part of the robot a value belongs to, and which values a user means by a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import msgspec

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.hands import SIDES, dex3_joints, inspire_joints
from dm_isaac_g1.core.robot import BODY_PARTS
from dm_isaac_g1.data.names import BRAINCO_COMMANDS, INSPIRE_COMMANDS, canonical

_PARTS = (
    {joint.name: part for part, joints in BODY_PARTS.items() for joint in joints}
    | {joint.name: f"{s}_hand" for s in SIDES for joint in (*inspire_joints(s), *dex3_joints(s))}
    | {f"{s}_hand_{word}": f"{s}_hand" for s in SIDES for word in (*INSPIRE_COMMANDS, *BRAINCO_COMMANDS)}
    | {f"{s}_gripper": f"{s}_hand" for s in SIDES}
)
#: Endings that every joint has, and nobody needs to read.
_SUFFIXES = ("_proximal_joint", "_joint")


class Value(msgspec.Struct, frozen=True):
    """A place of a column. `joint`: its canonical name; None: not a known one, then `name` is all that it has."""

    column: str
    index: int
    name: str
    joint: str | None

    @property
    def part(self) -> str:
        """left_arm, right_hand, ...; the column without `action.` and `observation.` where it is no joint."""
        return _PARTS.get(self.joint or "", bare(self.column))

    @property
    def label(self) -> str:
        """Short, within its part: shoulder_pitch, thumb_bend."""
        if self.joint is None:
            return self.name.removeprefix(f"{self.column}[").removesuffix("]") if "[" in self.name else self.name
        text = self.joint
        for side in SIDES:
            text = text.removeprefix(f"{side}_hand_").removeprefix(f"{side}_").removeprefix(f"{side[0].upper()}_")
        return next((text.removesuffix(end) for end in _SUFFIXES if text.endswith(end)), text)

    @property
    def key(self) -> str:
        """The same for a state and the action that moves it."""
        return self.joint or f"{bare(self.column)}:{self.name}:{self.index}"

    @property
    def action(self) -> bool:
        return self.column.split(".")[0] == "action"


def values(column: str, names: Sequence[str]) -> list[Value]:
    """The values of a column. A joint named twice in it is one of them only once: the rest keep their own names."""
    found: list[Value] = []
    for index, name in enumerate(names):
        joint = canonical(name)
        if any(joint == each.joint for each in found):
            joint = None
        found.append(Value(column, index, name, joint))
    return found


def bare(column: str) -> str:
    """observation.state.left_arm -> left_arm; action -> action."""
    for prefix in ("observation.state.", "observation.", "action."):
        if column.startswith(prefix):
            return column.removeprefix(prefix)
    return column


def by_part(every: Iterable[Value]) -> dict[str, dict[str, list[Value]]]:
    """Part -> key -> its values (of the state, of the action), in the order in which they are met."""
    parts: dict[str, dict[str, list[Value]]] = {}
    for value in every:
        parts.setdefault(value.part, {}).setdefault(value.key, []).append(value)
    return parts


def selected(every: Sequence[Value], wanted: str | None) -> list[Value]:
    """Those whose part, column, joint or own name is in `wanted` (names or patterns, by commas). Raises UsageError."""
    if not wanted:
        return list(every)
    patterns = [part.strip() for part in wanted.split(",") if part.strip()]
    found = []
    for value in every:
        words = {value.part, value.column, value.name, value.label, value.joint or value.name}
        if any(fnmatchcase(word, pattern) for word in words for pattern in patterns):
            found.append(value)
    if not found:
        parts = ", ".join(dict.fromkeys(value.part for value in every))
        raise UsageError(f"no joint or group matches {wanted!r}", fix=f"there are {parts}")
    return found
