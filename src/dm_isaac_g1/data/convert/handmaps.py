"""How a hand's recorded values become the 12 joint angles of an Inspire hand: one function a kind of hand.

Every map goes by way of the hand's six driven joints (its leaders); the six others follow them exactly, as the hand's
linkage does (core.hands, INSPIRE_MIMIC). Values beyond what the source's joint can do are clipped and counted. Flexion
is 0 open to 1 closed, in the closing direction of each joint, which for Dex3 differs between the sides.

Figures by forward kinematics on Unitree's URDFs: with the thumb's yaw at 1.3 rad the tips of thumb and index are 135 mm
apart when open, 5 mm (left) and 10 mm (right) at half closure, and 41 mm at full closure: a fist. Hence `grasp`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.hands import (
    GRIPPER_CLOSED,
    GRIPPER_OPEN,
    INSPIRE_COMMAND,
    INSPIRE_MIMIC,
    SIDES,
    Side,
    dex3_joints,
    inspire_joints,
)
from dm_isaac_g1.data.convert.layouts import hand_names
from dm_isaac_g1.data.families import Hand

Floats = NDArray[np.float32]

#: Version of the maps as a whole, noted in conversion.json: other numbers for the same input need another version.
VERSION = 1

#: A value counts as clipped when it lies further beyond its range than this share of it: encoders at rest are noisy.
TOLERANCE = 0.02
#: Of the thumb's yaw in a grasp: what `thumb_0`, a Dex3 thumb's sideways swing, takes away at its ends, in rad.
_SWING = 0.35


class HandOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user may choose. `grasp`: how far a gripper's closing closes the hand, to the fingertips or to a fist.

    `gripper_open`, `gripper_closed`: the raw values that mean so. `free_fingers`: ring and pinky of a hand without them
    follow the middle finger, or stay open.
    """

    grasp: Literal["pinch", "power"] = "pinch"
    gripper_open: float = GRIPPER_OPEN
    gripper_closed: float = GRIPPER_CLOSED
    free_fingers: Literal["follow", "open"] = "follow"

    def __post_init__(self) -> None:
        span = self.gripper_open - self.gripper_closed
        if not np.isfinite(span) or abs(span) < 1e-6:
            values = f"open {self.gripper_open} and closed {self.gripper_closed}"
            raise UsageError(f"a gripper that is {values} cannot be told apart", fix="give the raw values of both ends")


DEFAULTS = HandOptions()

# --- The Inspire hand -------------------------------------------------------------------------------------------------


def _bare(name: str) -> str:
    return name[2:]


_JOINTS = inspire_joints("left")
_PLACE = {_bare(joint.name): place for place, joint in enumerate(_JOINTS)}
_FINGERS = ("index", "middle", "ring", "pinky")
#: The driven joints in the order in which the maps give them: four fingers, the thumb's yaw, the thumb's pitch.
LEADERS = (
    *(f"{finger}_proximal_joint" for finger in _FINGERS),
    "thumb_proximal_yaw_joint",
    "thumb_proximal_pitch_joint",
)
_LEADER_PLACES = np.array([_PLACE[name] for name in LEADERS])
_FOLLOWER_PLACES = np.array([_PLACE[name] for name in INSPIRE_MIMIC])
_FOLLOWED = np.array([LEADERS.index(leader) for leader, _ in INSPIRE_MIMIC.values()])
FACTORS = np.array([factor for _, factor in INSPIRE_MIMIC.values()], dtype=np.float32)


def _inward(value: float, towards: float) -> np.float32:
    """The float32 nearest to `value` on the side of `towards`: a limit stays one when it is stored."""
    found = np.float32(value)
    outside = float(found) > value if towards < value else float(found) < value
    return np.nextafter(found, np.float32(towards)) if outside else found


#: The ranges of the 12 joints in float32, rounded inward.
LOW = np.array([_inward(joint.low, joint.high) for joint in _JOINTS], dtype=np.float32)
HIGH = np.array([_inward(joint.high, joint.low) for joint in _JOINTS], dtype=np.float32)


def _leader_ranges() -> tuple[Floats, Floats]:
    """Of the leaders: such that no follower leaves its own range by a float32's rounding."""
    low, high = LOW[_LEADER_PLACES], HIGH[_LEADER_PLACES].copy()
    for place, leader, factor in zip(_FOLLOWER_PLACES, _FOLLOWED, FACTORS, strict=True):
        while high[leader] * factor > HIGH[place]:
            high[leader] = np.nextafter(high[leader], np.float32(0))
    return low, high


_LEADER_LOW, _LEADER_HIGH = _leader_ranges()
_YAW_LOW, _YAW_SPAN = (float(v) for v in (_JOINTS[8].low, _JOINTS[8].high - _JOINTS[8].low))
_CURL, _PITCH, _YAW = (float(_JOINTS[_PLACE[name]].high) for name in (LEADERS[0], LEADERS[5], LEADERS[4]))


def spread(leaders: NDArray[Any], out: Floats) -> None:
    """(frames, 6) angles of the driven joints -> (frames, 12) in `out`: within limits, followers exact."""
    held = np.clip(leaders.astype(np.float32), _LEADER_LOW, _LEADER_HIGH)
    out[:, _LEADER_PLACES] = held
    out[:, _FOLLOWER_PLACES] = held[:, _FOLLOWED] * FACTORS


# --- The maps: (frames, values) as `hand_names` orders them -> (frames, 6) leaders ------------------------------------


def _of_closure(fingers: NDArray[Any], yaw: Any, pitch: NDArray[Any]) -> NDArray[Any]:
    """Leaders from the closure 0..1 of index, middle, ring, pinky (frames, 4) and of the thumb, and its yaw in rad."""
    leaders = np.empty((len(fingers), 6))
    leaders[:, :4] = _CURL * fingers
    leaders[:, 4] = yaw
    leaders[:, 5] = _PITCH * pitch
    return leaders


def _gripper(values: NDArray[Any], side: Side, options: HandOptions) -> NDArray[Any]:
    """Raw open..closed: the whole hand closes against the thumb. The thumb stands opposed all the time."""
    share = (values[:, 0] - options.gripper_closed) / (options.gripper_open - options.gripper_closed)
    closure = (1.0 - np.clip(share, 0.0, 1.0)) * {"pinch": 0.5, "power": 1.0}[options.grasp]
    return _of_closure(np.repeat(closure[:, None], 4, axis=1), _YAW, closure)


def _dex3(values: NDArray[Any], side: Side, options: HandOptions) -> NDArray[Any]:
    """thumb_0,1,2, index_0,1, middle_0,1. Flexion of a finger is that of its two joints; thumb_0 flexes nothing."""
    flexion = np.clip(values[:, 1:] / _dex3_closed(side), 0.0, 1.0)
    thumb, index, middle = (flexion[:, first : first + 2].mean(axis=1) for first in (0, 2, 4))
    free = middle if options.free_fingers == "follow" else np.zeros_like(middle)
    swing = np.clip(np.abs(values[:, 0]) / _dex3_ranges("dex3", side)[1][0], 0.0, 1.0)
    return _of_closure(np.stack([index, middle, free, free], axis=1), _YAW - _SWING * swing, thumb)


@cache
def _dex3_closed(side: Side) -> NDArray[np.float64]:
    """The angle at which each joint but thumb_0 is closed: the limit in its closing direction."""
    joints = {joint.name: joint for joint in dex3_joints(side)}
    named = [joints[name] for name in hand_names("dex3", side)[1:]]
    return np.array([joint.high if joint.closing > 0 else joint.low for joint in named])


def _inspire26(values: NDArray[Any], side: Side, options: HandOptions) -> NDArray[Any]:
    """pinky, ring, middle, index, thumb bend, thumb rotation; 0 closed, 1 open."""
    pinky, ring, middle, index, bend, rotation = (1.0 - np.clip(values, 0.0, 1.0)).T
    return _of_closure(np.stack([index, middle, ring, pinky], axis=1), _YAW_LOW + _YAW_SPAN * rotation, bend)


def _brainco26(values: NDArray[Any], side: Side, options: HandOptions) -> NDArray[Any]:
    """thumb, thumb_aux, index, middle, ring, pinky; 0 open, 1 closed."""
    thumb, aux, index, middle, ring, pinky = np.clip(values, 0.0, 1.0).T
    return _of_closure(np.stack([index, middle, ring, pinky], axis=1), _YAW_LOW + _YAW_SPAN * aux, thumb)


_MAPS: dict[Hand, Callable[[NDArray[Any], Side, HandOptions], NDArray[Any]]] = {
    "gripper": _gripper,
    "dex3": _dex3,
    "trifinger": _dex3,
    "inspire26": _inspire26,
    "brainco26": _brainco26,
}
HANDS: tuple[Hand, ...] = (*_MAPS, "inspire12")

# --- Ranges of the sources --------------------------------------------------------------------------------------------


@cache
def _dex3_ranges(hand: Hand, side: Side) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    joints = {joint.name: joint for joint in (*dex3_joints(side), *inspire_joints(side))}
    named = [joints[name] for name in hand_names(hand, side)]
    return np.array([joint.low for joint in named]), np.array([joint.high for joint in named])


def ranges(hand: Hand, side: Side, options: HandOptions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value that each of a hand's values can have, in the order of `hand_names`."""
    if hand == "gripper":
        ends = sorted((options.gripper_open, options.gripper_closed))
        return np.array(ends[:1]), np.array(ends[1:])
    if hand in ("inspire26", "brainco26"):
        return np.zeros(6), np.ones(6)
    return _dex3_ranges(hand, side)


def beyond(values: NDArray[Any], hand: Hand, side: Side, options: HandOptions) -> NDArray[np.int64]:
    """How many frames of each value lie beyond its range (see TOLERANCE), and are thus clipped."""
    low, high = ranges(hand, side, options)
    slack = TOLERANCE * (high - low)
    counts = np.zeros(values.shape[1], dtype=np.int64)
    suspects = (values.min(axis=0) < low - slack) | (values.max(axis=0) > high + slack)
    for place in np.flatnonzero(suspects):
        column = values[:, place]
        counts[place] = np.count_nonzero((column < low[place] - slack[place]) | (column > high[place] + slack[place]))
    return counts


def to_inspire(values: NDArray[Any], hand: Hand, side: Side, options: HandOptions, out: Floats) -> None:
    """(frames, values) as `hand_names(hand, side)` orders them -> (frames, 12) in `out`, in rad."""
    if hand == "inspire12":  # recorded as it is: followers are not made anew, only limits hold
        np.clip(values, LOW, HIGH, out=out, casting="same_kind")
    else:
        spread(_MAPS[hand](values, side, options), out)


# --- For users, a hand at a time --------------------------------------------------------------------------------------


def gripper_to_inspire(
    value: Any,
    *,
    grasp: Literal["pinch", "power"] = "pinch",
    gripper_open: float = GRIPPER_OPEN,
    gripper_closed: float = GRIPPER_CLOSED,
) -> Floats:
    """A gripper's raw value, or an array of them -> the 12 angles of an Inspire hand: (..., 12) float32, rad.

    Open (5.4) is an open hand, closed (0) a pinch or a fist. Both hands have the same angles. Raises ValueError for NaN
    and infinity, UsageError for ends that are one.
    """
    options = HandOptions(grasp=grasp, gripper_open=gripper_open, gripper_closed=gripper_closed)
    values = np.asarray(value, dtype=np.float64)
    return _mapped(values[..., None], "gripper", "left", options)


def dex3_to_inspire(angles: Any, side: Side, *, free_fingers: Literal["follow", "open"] = "follow") -> Floats:
    """A Dex3 hand's 7 angles as Unitree's datasets order them on that side: (..., 7) rad -> (..., 12) float32, rad.

    The order differs: left thumb 0 1 2, middle 0 1, index 0 1; right thumb 0 1 2, index 0 1, middle 0 1. Raises
    ValueError for another number of angles, another side, NaN and infinity.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}, expected left or right: the two close in opposite directions")
    values = np.asarray(angles, dtype=np.float64)
    order = [joint.name for joint in dex3_joints(side)]
    if values.shape[-1:] != (len(order),):
        raise ValueError(f"expected {len(order)} angles, found shape {values.shape}")
    places = [order.index(name) for name in hand_names("dex3", side)]
    return _mapped(values[..., places], "dex3", side, HandOptions(free_fingers=free_fingers))


def _mapped(values: NDArray[Any], hand: Hand, side: Side, options: HandOptions) -> Floats:
    if not np.isfinite(values).all():
        raise ValueError("a value is not a finite number")
    rows = values.reshape(-1, values.shape[-1])
    out = np.empty((len(rows), len(_JOINTS)), dtype=np.float32)
    to_inspire(rows, hand, side, options, out)
    return out.reshape(*values.shape[:-1], len(_JOINTS))


#: The six commands of a real hand and the leaders they drive are one to one: see core.hands.inspire_to_command.
assert {name for _, name in INSPIRE_COMMAND} == set(LEADERS)
