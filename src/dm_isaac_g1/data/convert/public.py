"""Conversions by name, for scripts and notebooks: thin words around `engine.convert` and the hand maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dm_isaac_g1.data.convert.engine import convert
from dm_isaac_g1.data.convert.plans import ConversionResult
from dm_isaac_g1.data.families import Hand
from dm_isaac_g1.data.work import Work


def convert_to_groot(
    input: Path | str, output: Path | str, ego_camera: str | None = None, *, work: Work | None = None, **options: Any
) -> ConversionResult:
    """The dataset in `input` in GR00T's UNITREE_G1 layout, 31 values of state and 23 of action, into `output`.

    `ego_camera`: the camera that becomes ego_view; None: the one in the head, by its name. See `engine.convert`.
    """
    return convert(input, output, format="groot", ego_camera=ego_camera, work=work, **options)


def convert_to_inspire(
    input: Path | str,
    output: Path | str,
    source_hand_type: Hand | None = None,
    *,
    work: Work | None = None,
    **options: Any,
) -> ConversionResult:
    """The dataset in `input` as a G1 with two Inspire hands, 53 joints, into `output`.

    `source_hand_type`: gripper, dex3, trifinger, inspire26, brainco26 or inspire12; None: as the names tell. See
    `engine.convert`.
    """
    return convert(input, output, format="inspire", hand=source_hand_type, work=work, **options)
