"""Which of a dataset's cameras is the one that GR00T's UNITREE_G1 looks through: ego_view."""

from __future__ import annotations

from collections.abc import Sequence

from dm_isaac_g1.data.info import IMAGES
from dm_isaac_g1.data.problems import SchemaError

EGO = f"{IMAGES}ego_view"
#: Head cameras by the names that G1 datasets give them, best first: GR00T's own, Unitree's with two and with one lens,
#: the whole-body sets', a RealSense in the head.
HEADS = (
    *("ego_view", "cam_left_high", "cam_high", "head_stereo_left"),
    *("head", "cam_head", "head_camera", "rs_view", "color_0", "cam_right_high"),
)


def cameras_for(cameras: Sequence[str], wanted: str | None, *, keep: bool) -> dict[str, str]:
    """Target camera -> source camera, full keys: ego_view, and the others under their own names if `keep`.

    `wanted`: as the user names it, with or without "observation.images."; None: the head camera, known by its name, or
    the only one there is. {} for a dataset without cameras. Raises SchemaError where there is no such camera, or none
    that is known to be the head's; it names those that there are.
    """
    names = {camera.removeprefix(IMAGES): camera for camera in cameras}
    there = ", ".join(names) or "none"
    if wanted is not None:
        chosen = names.get(wanted.removeprefix(IMAGES))
        if chosen is None:
            raise SchemaError("no-such-camera", f"there is no camera {wanted} (found: {there})", fix="name one of them")
    elif not names:
        return {}
    else:
        known = [names[head] for head in HEADS if head in names] or (list(names.values()) if len(names) == 1 else [])
        if not known:
            what = f"which camera sees what the robot sees is not known by its name (found: {there})"
            raise SchemaError("which-camera", what, fix="say --ego-camera, one of them")
        chosen = known[0]
    others = {camera: camera for camera in cameras if keep and camera not in (chosen, EGO)}
    return {EGO: chosen, **others}
