"""The lab's first dataset: smooth reaching motions of the G1's right arm, as LeRobot v2.1. Made up, and says so.

Each episode goes from a resting pose to a random point in front of the robot, closes the hand, and comes back, every
joint along a minimum-jerk profile inside its limits. Everything else of the robot stands still. The state is what
encoders would say: the commanded position of a frame ago, with a little noise. The layout is UNITREE_G1's 31/23 one, so
that the same folder feeds GR00T. The same seed writes the same bytes of data.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core import robot
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.lab import lerobot
from dm_isaac_g1.lab.layout import Layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

NAME = "g1_right_arm"
TASK = "Reach forward with the right arm, grasp, and come back."
FPS = 30
EPISODES = 20
SEED = 20

#: For each joint of the right arm: resting pose, and the range that the targets are drawn from, in rad. Well inside the
#: limits, in front of the robot.
REACH: dict[str, tuple[float, tuple[float, float]]] = {
    "right_shoulder_pitch_joint": (0.20, (-1.30, -0.30)),
    "right_shoulder_roll_joint": (-0.20, (-0.60, 0.05)),
    "right_shoulder_yaw_joint": (0.00, (-0.50, 0.50)),
    "right_elbow_joint": (0.90, (0.00, 1.00)),
    "right_wrist_roll_joint": (0.00, (-0.60, 0.60)),
    "right_wrist_pitch_joint": (0.00, (-0.50, 0.50)),
    "right_wrist_yaw_joint": (0.00, (-0.40, 0.40)),
}
#: What stands still, where it is not zero: knees slightly bent, left arm hanging, base at standing height (m).
_STILL = {
    "left_hip_pitch_joint": -0.10,
    "right_hip_pitch_joint": -0.10,
    "left_knee_joint": 0.30,
    "right_knee_joint": 0.30,
    "left_ankle_pitch_joint": -0.20,
    "right_ankle_pitch_joint": -0.20,
    "left_shoulder_pitch_joint": 0.20,
    "left_shoulder_roll_joint": 0.20,
    "left_elbow_joint": 0.90,
    "left_gripper": 4.5,
    "base_height": 0.74,
}
#: A Dex1 gripper as Unitree's datasets have it: open at rest, closed on the object.
_OPEN, _CLOSED = 4.5, 0.0
#: Seconds of each part; the reach and the way back vary by this share from episode to episode.
_REACH, _GRASP, _BACK, _VARIES = 2.2, 0.6, 2.0, 0.15
#: Encoder noise, rad.
_NOISE = 0.002


class SeedError(DmG1Error):
    """The dataset could not be written."""


def ensure(layout: Layout, name: str) -> list[str]:
    """Write the dataset into the host's workspace unless it is there. Notes for the user; never raises for a lack of
    pyarrow, since a lab without a dataset still shows its hosts."""
    folder = layout.workspace(name) / "datasets" / NAME
    if (folder / "meta" / "info.json").is_file():
        return []
    try:
        write(folder)
    except SeedError as error:
        return [error.line()]
    return [f"{name}: dataset {NAME}, {EPISODES} episodes"]


def write(folder: Path) -> None:
    """The whole dataset, beside and then renamed. Raises SeedError."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise SeedError(
            "no dataset in the lab: pyarrow is not installed", fix="pip install 'dm-isaac-g1[train]'"
        ) from None
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        lerobot.write(beside, episodes(), state=robot.STATE_31, action=robot.ACTION_23, fps=FPS, task=TASK)
        if folder.exists():  # half of one, from a lab that was killed
            shutil.rmtree(folder)
        beside.rename(folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise SeedError(f"could not write the dataset: {error.strerror or error}", where=str(folder)) from None


def episodes(count: int = EPISODES, seed: int = SEED) -> list[tuple[Floats, Floats]]:
    """State (frames, 31) and action (frames, 23) of each episode."""
    import numpy as np

    random = np.random.default_rng(seed)
    return [_episode(random) for _ in range(count)]


def _episode(random: np.random.Generator) -> tuple[Floats, Floats]:
    import numpy as np

    rest = np.array([pose for pose, _ in REACH.values()])
    low, high = np.array([box for _, box in REACH.values()]).T
    start = rest + random.normal(0.0, 0.03, len(rest))
    target = random.uniform(low, high)
    parts = [seconds * random.uniform(1 - _VARIES, 1 + _VARIES) for seconds in (_REACH, _GRASP, _BACK)]
    frames = [round(seconds * FPS) for seconds in parts]
    arm = np.concatenate(
        [
            minimum_jerk(start, target, frames[0]),
            np.repeat(target[None], frames[1], axis=0),
            minimum_jerk(target, rest, frames[2]),
        ]
    )
    opened, closed = np.full(1, _OPEN), np.full(1, _CLOSED)
    hand = np.concatenate(
        [
            np.repeat(opened[None], frames[0], axis=0),
            minimum_jerk(opened, closed, frames[1]),
            np.repeat(closed[None], frames[2], axis=0),
        ]
    )
    limits = np.array([(robot.JOINTS[name].low, robot.JOINTS[name].high) for name in REACH])
    arm = np.clip(arm, limits[:, 0], limits[:, 1])
    sensed = np.concatenate([arm[:1], arm[:-1]])
    sensed = np.clip(sensed + random.normal(0.0, _NOISE, arm.shape), limits[:, 0], limits[:, 1])
    felt = np.concatenate([hand[:1], hand[:-1]])
    return _columns(robot.STATE_31, sensed, felt), _columns(robot.ACTION_23, arm, hand)


def minimum_jerk(start: Any, end: Any, frames: int) -> Any:
    """(frames, joints) from `start` to `end`, at rest at both (Flash and Hogan 1985: 10 t^3 - 15 t^4 + 6 t^5)."""
    import numpy as np

    t = np.linspace(0.0, 1.0, frames)[:, None]
    return start + (end - start) * (10 * t**3 - 15 * t**4 + 6 * t**5)


def _columns(layout: robot.Layout, arm: Any, hand: Any) -> Floats:
    import numpy as np

    rows = np.tile(np.array([_STILL.get(name, 0.0) for name in layout.names]), (len(arm), 1))
    rows[:, [layout.names.index(name) for name in REACH]] = arm
    rows[:, [layout.names.index("right_gripper")]] = hand
    return rows.astype(np.float32)
