"""Observations that a policy will take: names, shapes and types are checked here, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.inference.embodiments import embodiment_of, joints_of
from dm_isaac_g1.inference.protocol.modality import ModalityConfig
from dm_isaac_g1.inference.protocol.npy import Array
from dm_isaac_g1.inference.specs import PolicySpec

#: A G1 that stands with its knees a little bent; all other joints at 0 rad.
#: Source: default_joint_angles in legged_gym/envs/g1/g1_config.py of unitreerobotics/unitree_rl_gym.
STANDING = {
    f"{side}_{joint}_joint": angle
    for side in ("left", "right")
    for joint, angle in (("hip_pitch", -0.1), ("knee", 0.3), ("ankle_pitch", -0.2))
}


def observation(
    embodiment: str | PolicySpec = "UNITREE_G1",
    *,
    state: Any,
    image: Any = None,
    task: str | Sequence[str] | None = None,
) -> dict[str, Any]:
    """A nested observation for `get_action`.

    `state`: group -> values (D,), (B, D) or (B, T, D), or all groups one after another in one array (..., all D).
    `image`: uint8 RGB (H, W, 3), (B, H, W, 3) or (B, T, H, W, 3), or camera -> such an array. Where a policy looks at
    several moments, (T, D) and (T, H, W, 3) are those of a batch of one. `task`: the instruction, or one for each of
    the batch.

    Returns {"video": uint8 (B, T, H, W, 3), "state": float32 (B, T, D), "language": [[str]] * B}, each by name.
    Raises UsageError that says what was expected.
    """
    spec = embodiment if isinstance(embodiment, PolicySpec) else embodiment_of(embodiment).spec
    states = {
        group: _state(group, values, spec.state[group], spec.state_steps)
        for group, values in _groups(state, spec).items()
    }
    videos = {camera: _video(camera, each, spec.video_steps) for camera, each in _cameras(image, spec).items()}
    batch = _batch(
        {f"state {name}": each for name, each in states.items()} | {f"image {n}": v for n, v in videos.items()}
    )
    return {"video": videos, "state": states, "language": _language(task, spec, batch)}


def canned(
    policy: PolicySpec | Mapping[str, ModalityConfig] | str,
    *,
    batch: int = 1,
    height: int = 480,
    width: int = 640,
    task: str = "stand still",
) -> dict[str, Any]:
    """What a standing G1 in front of a grey wall would send: for health checks and latencies; the same every time.

    `policy`: what it takes, an embodiment's name, or what a server says of its modalities. Raises UsageError where the
    widths of a server's groups are known from nowhere.
    """
    spec = _spec(policy)
    state = {group: np.tile(_standing(group, each), (batch, spec.state_steps, 1)) for group, each in spec.state.items()}
    wall = np.tile(_wall(height, width), (batch, spec.video_steps, 1, 1, 1))
    return observation(
        spec, state=state, image=dict.fromkeys(spec.cameras, wall) or None, task=task if spec.language else None
    )


def spec_of(configs: Mapping[str, ModalityConfig], widths: Mapping[str, int] | None = None) -> PolicySpec:
    """What a server that describes itself takes and gives. `widths`: group -> D, where they are known; the rest come
    from the tables of the G1. Raises UsageError for a group that neither has."""
    known = dict(widths or {})
    for group, width in embodiment_of("UNITREE_G1").spec.state.items():
        known.setdefault(group, width)
    for group, width in (embodiment_of("UNITREE_G1").spec.action | embodiment_of("G1_INSPIRE").spec.state).items():
        known.setdefault(group, width)
    keys = {name: _keys(configs.get(name), name) for name in ("video", "state", "action", "language")}
    missing = sorted({group for name in ("state", "action") for group in keys[name]} - set(known))
    if missing:
        raise UsageError(
            f"the server does not say how wide {', '.join(missing)} is",
            fix="give the model's folder: its statistics.json says it",
        )
    return PolicySpec(
        state={group: known[group] for group in keys["state"]},
        action={group: known[group] for group in keys["action"]},
        horizon=_steps(configs.get("action")),
        cameras=tuple(keys["video"]),
        language=keys["language"][0] if keys["language"] else None,
        state_steps=_steps(configs.get("state")),
        video_steps=_steps(configs.get("video")),
    )


# --- State ------------------------------------------------------------------------------------------------------------


def _groups(state: Any, spec: PolicySpec) -> dict[str, Any]:
    """Group -> values, in the policy's order."""
    if isinstance(state, Mapping):
        _names("state", state, tuple(f"{group} {width}" for group, width in spec.state.items()), tuple(spec.state))
        return {group: state[group] for group in spec.state}
    flat = _numbers("state", state)
    if flat.ndim == 0 or flat.shape[-1] != spec.state_width:
        raise UsageError(f"state has the shape {flat.shape}, expected (..., {spec.state_width}): {_told(spec.state)}")
    found, start = {}, 0
    for group, width in spec.state.items():
        found[group] = flat[..., start : start + width]
        start += width
    return found


def _state(group: str, values: Any, width: int, steps: int) -> Array:
    array = _numbers(f"state {group!r}", values)
    given = array.shape
    if array.ndim == 0 and width == 1:
        array = array.reshape(1)
    array = _with_batch(array, 1, steps)
    if array.ndim != 3 or array.shape[1:] != (steps, width):
        raise UsageError(
            f"state {group!r} has the shape {given}, expected ({width},), (B, {width}) or (B, {steps}, {width})"
        )
    if not np.isfinite(array).all():
        raise UsageError(f"state {group!r} holds values that are not finite")
    return array


def _numbers(what: str, values: Any) -> Array:
    """As float32. Joint angles come as float64 and lists as well; truth values and texts are a mistake."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise UsageError(f"{what} is ragged, expected rows of the same length") from None
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{what} is of type {array.dtype}, expected numbers (float32)")
    return np.ascontiguousarray(array, np.float32) if array.ndim else array.astype(np.float32)


# --- Pictures ---------------------------------------------------------------------------------------------------------


def _cameras(image: Any, spec: PolicySpec) -> dict[str, Any]:
    if isinstance(image, Mapping):
        _names("image", image, spec.cameras, spec.cameras)
        return {camera: image[camera] for camera in spec.cameras}
    if image is None:
        if spec.cameras:
            raise UsageError(f"no image, expected one of {', '.join(spec.cameras)}")
        return {}
    if len(spec.cameras) != 1:
        raise UsageError(f"one image, expected {{camera: image}} for the cameras: {', '.join(spec.cameras) or 'none'}")
    return {spec.cameras[0]: image}


def _video(camera: str, values: Any, steps: int) -> Array:
    array = np.asarray(values)
    shapes = f"(H, W, 3), (B, H, W, 3) or (B, {steps}, H, W, 3)"
    if array.dtype != np.uint8:
        raise UsageError(f"image {camera!r} is of type {array.dtype}, expected uint8 (0 to 255)")
    given = array.shape
    array = _with_batch(array, 3, steps)
    if array.ndim != 5 or array.shape[1] != steps or array.shape[-1] != 3 or not array.size:
        hint = "; channels come last" if len(given) >= 3 and given[-3] == 3 else ""
        raise UsageError(f"image {camera!r} has the shape {given}, expected {shapes}{hint}")
    return array


# --- Instruction ------------------------------------------------------------------------------------------------------


def _language(task: str | Sequence[str] | None, spec: PolicySpec, batch: int) -> dict[str, list[list[str]]]:
    if spec.language is None:
        if task is not None:
            raise UsageError("a task, and the policy takes no instruction")
        return {}
    tasks = [task] * batch if isinstance(task, str) else task
    if isinstance(tasks, bytes) or not isinstance(tasks, Sequence) or not all(isinstance(each, str) for each in tasks):
        raise UsageError(f"no task, expected the instruction as a text, or a text for each of the batch of {batch}")
    if len(tasks) != batch:
        raise UsageError(f"{len(tasks)} tasks, expected one text, or one for each of the batch of {batch}")
    return {spec.language: [[str(each)] for each in tasks]}


# --- All of them ------------------------------------------------------------------------------------------------------


def _with_batch(array: Array, inner: int, steps: int) -> Array:
    """(..., inner dimensions) as (B, T, ...): what is missing is 1; one dimension too few is T where T is not 1."""
    if array.ndim == inner:
        return array[None, None]
    if array.ndim == inner + 1:
        return array[:, None] if steps == 1 else array[None]
    return array


def _names(what: str, given: Mapping[str, Any], expected: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in given]
    unknown = [str(name) for name in given if name not in names]
    if missing or unknown:
        said = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(unknown)}"] * bool(unknown)
        raise UsageError(f"{what} {' and '.join(said)}, expected {', '.join(expected) or 'none'}")


def _batch(arrays: Mapping[str, Array]) -> int:
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise UsageError(f"batches of different sizes: {', '.join(f'{name} {size}' for name, size in sizes.items())}")
    return next(iter(sizes.values()), 1)


def _told(groups: Mapping[str, int]) -> str:
    return ", ".join(f"{group} {width}" for group, width in groups.items())


# --- A standing robot -------------------------------------------------------------------------------------------------


def _spec(policy: PolicySpec | Mapping[str, ModalityConfig] | str) -> PolicySpec:
    if isinstance(policy, PolicySpec):
        return policy
    return embodiment_of(policy).spec if isinstance(policy, str) else spec_of(policy)


def _standing(group: str, width: int) -> Array:
    joints = joints_of(group, width) or ("",) * width
    return np.array([STANDING.get(joint, 0.0) for joint in joints], np.float32)


def _wall(height: int, width: int) -> Array:
    """Lighter above than below, as a wall is: (H, W, 3)."""
    rows = np.linspace(190, 90, height).astype(np.uint8)
    return np.broadcast_to(rows[:, None, None], (height, width, 3))


def _keys(config: ModalityConfig | None, modality: str) -> list[str]:
    """N1.5 puts the modality in front."""
    return [key.removeprefix(f"{modality}.") for key in config.modality_keys] if config else []


def _steps(config: ModalityConfig | None) -> int:
    return max(1, len(config.delta_indices)) if config else 1
