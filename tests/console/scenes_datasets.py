"""Scenes of the Datasets room: stores as the monitors fill them, at the moment that never changes."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

from dm_isaac_g1.console.tasks import Task
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.datasets import DatasetDetail, DatasetFinding, DatasetSummary, JointRange
from dm_isaac_g1.core.robot import BODY_PARTS, dataset_name
from dm_isaac_g1.fleet.store import Store

from . import scenes
from .scenes import GB, NOW

WS, SPARK = "workstation", "spark"
ROOT = "/workspace/datasets"
CAMERAS = tuple(f"observation.images.cam_{place}" for place in ("left_high", "right_high", "left_wrist", "right_wrist"))
DAY = 86_400.0


def dataset(name: str, *, host: str = WS, **more: Any) -> DatasetSummary:
    given: dict[str, Any] = {
        "bytes": 21_400_000_000,
        "files": 1003,
        "version": "2.1",
        "family": "hospitality",
        "robot": "G1_ALL",
        "episodes": 200,
        "frames": 75_909,
        "fps": 30.0,
        "cameras": CAMERAS,
        "modified": NOW - 3 * DAY,
        "changed": NOW - 3 * DAY,
        "validity": "valid",
        "errors": 0,
        "warnings": 0,
    }
    return DatasetSummary(host=host, name=name, path=f"{ROOT}/{name}", **(given | more))


TOWEL = dataset("G1_Fold_Towel", source="unitreerobotics/G1_Fold_Towel @ 3f2a81c", stats=True)
TABLE = dataset(
    "G1_Clean_Table",
    bytes=74_800_000_000,
    frames=265_701,
    source="unitreerobotics/G1_Clean_Table @ 90be17d",
    changed=NOW - 4 * DAY,
    validity="unknown",
)
GROOT = dataset(
    "G1_Fold_Towel-groot",
    family="groot-31-23",
    robot="unitree_g1",
    bytes=5_610_000_000,
    files=408,
    cameras=("observation.images.ego_view",),
    modality=True,
    stats=True,
    warnings=1,
    changed=NOW - 3600,
)
BAD = dataset(
    "pick_apple_dex3",
    family="dex3",
    version="3.0",
    robot="Unitree_G1_Dex3",
    episodes=96,
    frames=41_230,
    bytes=2_310_000_000,
    files=61,
    cameras=CAMERAS[:2],
    validity="invalid",
    errors=2,
    warnings=1,
    problem="data/chunk-000/file-001.parquet: 3 values are not finite",
    changed=NOW - 2 * DAY,
)
PARTIAL = dataset(
    "seven_sets",
    family="groot-31-23",
    bytes=9_420_000_000,
    files=611,
    validity="partial",
    errors=None,
    warnings=None,
    making="combining 7 datasets",
    done=512,
    of=1400,
    episodes=1400,
    frames=None,
    cameras=("observation.images.ego_view",),
    changed=NOW - 2,
)
LEFT = dataset(
    "G1_Wipe_Table",
    bytes=3_900_000_000,
    files=120,
    version=None,
    family="unknown",
    episodes=None,
    frames=None,
    fps=None,
    cameras=(),
    validity="partial",
    making="unitreerobotics/G1_Dex1_Wipe_Table",
    done=3_900_000_000,
    of=18_200_000_000,
    unit="bytes",
    changed=NOW - 7200,
)
INSPIRE = dataset(
    "g1_inspire26_6ep",
    host=SPARK,
    family="inspire26",
    robot="Unitree_G1_Inspire",
    episodes=6,
    frames=1790,
    bytes=17_021_725,
    files=17,
    cameras=CAMERAS[:1],
    validity="unknown",
    errors=None,
    warnings=None,
    changed=NOW - 30 * DAY,
)


def ranges() -> tuple[JointRange, ...]:
    """Ranges of both arms and hands; the right elbow went beyond its limits."""
    found = []
    for column in ("observation.state", "action"):
        for index, joint in enumerate((*BODY_PARTS["left_arm"], *BODY_PARTS["right_arm"])):
            middle, half = (joint.low + joint.high) / 2, (joint.high - joint.low) / 2
            shift = 0.3 * math.sin(index * 1.7)
            low, high = middle + half * (shift - 0.35), middle + half * (shift + 0.3)
            if joint.name == "right_elbow_joint" and column == "action":
                high = joint.high + 0.06
            limits = (joint.low, joint.high)
            found.append(JointRange(column=column, name=dataset_name(joint.name), low=low, high=high, limits=limits))
        for side in ("Left", "Right"):
            found.append(JointRange(column=column, name=f"k{side}Gripper", low=0.02, high=5.37))
    return tuple(found)


def near(each: DatasetSummary, **more: Any) -> ev.Dataset:
    given: dict[str, Any] = {
        "tasks": ("Fold the towel and put it into the basket.",),
        "total_tasks": 1,
        "cameras": tuple(f"{key.removeprefix('observation.images.')}  480x640 av1" for key in each.cameras),
        "columns": (("observation.left_arm", 7), ("observation.right_arm", 7), ("action.left_arm", 7)),
        "ranges": ranges(),
        "validated": NOW - 2 * DAY,
        "deep": True,
        "source": each.source,
    }
    return ev.Dataset(detail=DatasetDetail(host=each.host, path=each.path, **(given | more)))


def _up() -> Store:
    """Two hosts, nothing runs."""
    store = Store()
    scenes.hosts_up(store, seconds=3)
    return store


def full() -> Store:
    """Two hosts, datasets of every state."""
    store = _up()
    store.apply(ev.Datasets(host=WS, datasets=(TABLE, TOWEL, GROOT, LEFT, BAD, PARTIAL)))
    store.apply(ev.Datasets(host=SPARK, datasets=(INSPIRE,)))
    store.apply(near(TABLE, validated=None, tasks=("Clean the table.", "Put the cup onto the tray."), total_tasks=2))
    store.apply(near(TOWEL))
    store.apply(
        near(GROOT, conversion=("format: groot", "ego camera: cam_left_high", "from unitreerobotics/G1_Fold_Towel"))
    )
    findings = (
        DatasetFinding(
            severity="error",
            what="3 values are not finite",
            place="data/chunk-000/file-001.parquet, episode 51, frame 118, kLeftElbow",
            fix="dm-g1 data convert --drop-episode 51",
        ),
        DatasetFinding(
            severity="error",
            what="meta/tasks.parquet is missing",
            place="meta/tasks.parquet",
            fix="dm-g1 data repair --path pick_apple_dex3",
        ),
        DatasetFinding(severity="warning", what="task 3 is never used", place="meta/tasks.parquet"),
    )
    store.apply(near(BAD, findings=findings))
    return store


def empty() -> Store:
    """Two hosts that have none."""
    store = _up()
    store.apply(ev.Datasets(host=WS, datasets=()))
    store.apply(ev.Datasets(host=SPARK, datasets=()))
    return store


def looking() -> Store:
    """Two hosts that were not asked yet."""
    return _up()


def invalid() -> Store:
    """Only the one that is not as it should be."""
    store = full()
    store.apply(ev.Datasets(host=WS, datasets=(BAD,)))
    return store


def partial() -> Store:
    """Only what is not finished."""
    store = full()
    store.apply(ev.Datasets(host=WS, datasets=(PARTIAL, LEFT)))
    store.apply(ev.Datasets(host=SPARK, datasets=()))
    return store


def away() -> Store:
    """The workstation went away: what is shown of it is old."""
    store = full()
    store.apply(
        ev.HostStatus(host=WS, state="away", since=NOW - 95, problem="no answer for 15 s; trying again in 8 s", at=NOW)
    )
    return store


def hostile(payload: str | None = None) -> Store:
    """Payloads in every text, as if nothing had cleaned them."""
    store = Store()
    texts = (payload,) if payload is not None else scenes.PAYLOADS
    for index, text in enumerate(texts):
        host = f"h{index}{text}"
        store.apply(ev.HostStatus(host=host, state="up", since=NOW - 5, problem=text))
        each = dataset(
            text,
            host=host,
            robot=text,
            family=text,
            version=text,
            cameras=(text,),
            source=text,
            problem=text,
            making=text,
            validity=("invalid", "partial", "unknown", "valid")[index % 4],
        )
        store.apply(ev.Datasets(host=host, datasets=(each,)))
        store.apply(
            near(
                each,
                tasks=(text,),
                cameras=(text,),
                columns=((text, 3),),
                ranges=(JointRange(column=text, name=text, low=0.0, high=math.inf, limits=(0.0, 1.0)),),
                findings=(DatasetFinding(severity="error", what=text, place=text, fix=text),),
                conversion=(text,),
                problems=(text,),
            )
        )
    return store


SCENES: dict[str, Callable[[], Store]] = {
    "datasets": full,
    "datasets_none": empty,
    "datasets_looking": looking,
    "datasets_invalid": invalid,
    "datasets_partial": partial,
    "datasets_away": away,
}


def tasks() -> list[Task]:
    """Two actions that go on, one that failed, one that was done."""
    convert = Task(
        id=3,
        action="data.convert",
        title="Convert a dataset",
        values={"input": TOWEL.path, "output": "G1_Fold_Towel-inspire53", "format": "inspire", "on": WS},
        began=NOW - 30,
    )
    for second in range(31):
        told = ev.Progress(text="converting episode", done=4.0 * second, total=200, unit="episodes")
        convert.advance(told, NOW - 30 + second)
    get = Task(
        id=4,
        action="data.download",
        title="Download a dataset",
        values={"repo": "unitreerobotics/G1_Dex1_Wipe_Table", "on": WS},
        began=NOW - 60,
    )
    for second in range(61):
        told = ev.Progress(text=f"{WS}: videos/chunk-000", done=2e8 * second, total=18.2 * GB, unit="bytes")
        get.advance(told, NOW - 60 + second)
    failed = Task(
        id=2,
        action="data.stats",
        title="Compute a dataset's statistics",
        values={"path": BAD.path, "on": WS},
        began=NOW - 200,
        state="failed",
        ended=NOW - 190,
        said="data/chunk-000/file-001.parquet, episode 51, frame 118, kLeftElbow: NaN",
        fix="leave the episode out with --drop-episode 51",
    )
    done = Task(
        id=1,
        action="data.validate",
        title="Check a dataset",
        values={"path": TOWEL.path, "on": WS, "deep": True},
        began=NOW - 400,
        state="done",
        ended=NOW - 320,
        said="G1_Fold_Towel is valid",
    )
    return [done, failed, convert, get]


def episode(number: int = 3, *, seconds: float = 14.0, at: float | None = None) -> dict[str, Any]:
    """What `data.show --episode` tells: both arms move, and two cameras saw something."""
    times = [round(index * seconds / 200, 3) for index in range(201)]
    joints = [joint for part in ("left_arm", "right_arm") for joint in BODY_PARTS[part]]
    names = [*(dataset_name(joint.name) for joint in joints), "kLeftGripper", "kRightGripper"]

    def curve(index: int, lag: float) -> list[float]:
        return [round(math.sin(0.6 * (t - lag) + index * 0.9) * (0.3 + 0.1 * (index % 7)), 5) for t in times]

    columns = [
        {"column": column, "names": names, "times": times, "values": [curve(i, lag) for i in range(len(names))]}
        for column, lag in (("observation.state", 0.1), ("action", 0.0))
    ]
    width, height = 64, 48
    rgb = bytes(
        value
        for y in range(height)
        for x in range(width)
        for value in ((x * 4) % 256, (y * 5) % 256, 200 if (x - 32) ** 2 + (y - 24) ** 2 < 160 else 60)
    )
    picture = {"at": at if at is not None else seconds / 2, "width": width, "height": height}
    picture["rgb"] = base64.b64encode(rgb).decode()
    return {
        "name": "G1_Fold_Towel",
        "episode": number,
        "episodes": 200,
        "length": int(seconds * 30),
        "fps": 30.0,
        "tasks": ["Fold the towel and put it into the basket."],
        "columns": columns,
        "cameras": [
            {"key": CAMERAS[0], **picture},
            {"key": CAMERAS[2], "problem": "the video is shorter than the data"},
        ],
    }
