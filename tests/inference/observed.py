"""The observation of the captured requests, made again: its picture and state come from numpy's default_rng(0)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CAPTURES = Path(__file__).parent.parent / "captures" / "wire"
GROUPS = {"left_leg": 6, "right_leg": 6, "waist": 3, "left_arm": 7, "right_arm": 7, "left_hand": 1, "right_hand": 1}
LANGUAGE = "annotation.human.task_description"
TASK = "fold the towel"
#: sha256 of get_action requests as NVIDIA's client sent them: nested, and flat to a sim-wrapped server.
NESTED_SHA256 = "2eb45799550fa500f532fccbe8076adf43830b96a13b1629bd3ff80ebc0ba62c"
FLAT_SHA256 = "313db5f05117009dafb21e0dc567143b95598823811775c15aa5afeded154380"


def capture(name: str) -> bytes:
    """`ping.req`, `modality.rep`, ..."""
    return (CAPTURES / f"{name}.bin").read_bytes()


def parts() -> tuple[Any, dict[str, Any]]:
    """The picture (480, 640, 3) and the state, group -> (D,)."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (1, 1, 480, 640, 3), dtype=np.uint8)
    state = {group: random.standard_normal((1, 1, width)).astype(np.float32) for group, width in GROUPS.items()}
    return picture[0, 0], {group: values[0, 0] for group, values in state.items()}


def small(batch: int = 1, height: int = 12, width: int = 16) -> dict[str, Any]:
    """A nested observation whose picture is a few bytes."""
    random = np.random.default_rng(1)
    return {
        "video": {"ego_view": random.integers(0, 256, (batch, 1, height, width, 3), dtype=np.uint8)},
        "state": {g: random.standard_normal((batch, 1, d)).astype(np.float32) for g, d in GROUPS.items()},
        "language": {LANGUAGE: [[TASK]] * batch},
    }
