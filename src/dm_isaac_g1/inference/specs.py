"""What a policy takes and gives: groups of numbers by name, cameras, an instruction, and how many steps it predicts.

Read out of a checkpoint's own files, since no server says its widths: GR00T's processor_config.json and
statistics.json, our bc's config.json, or the policy.json that stands beside a TorchScript or ONNX file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dm_isaac_g1.core import robot

#: Wider, longer, more: a broken or hostile file.
_WIDEST, _LONGEST, _MOST = 4096, 4096, 256


class PolicySpec(msgspec.Struct, frozen=True, kw_only=True):
    """`state` and `action`: group -> width, in the model's order. Arrays are float32 (B, state_steps, width) and
    (B, horizon, width); pictures uint8 (B, video_steps, H, W, 3)."""

    state: dict[str, int]
    action: dict[str, int]
    #: Steps of action in one answer.
    horizon: int
    cameras: tuple[str, ...] = ()
    #: The key of the instruction; None: it takes none.
    language: str | None = None
    #: Moments of the past and now that an observation holds.
    state_steps: int = 1
    video_steps: int = 1

    @property
    def state_width(self) -> int:
        return sum(self.state.values())

    @property
    def action_width(self) -> int:
        return sum(self.action.values())


# --- GR00T N1.6 -------------------------------------------------------------------------------------------------------


def groot_specs(processor: Any, statistics: Any) -> dict[str, PolicySpec]:
    """Embodiment -> spec, of those that both files know; values of tags (unitree_g1), as the files have them.

    Source: Gr00tN1d6Processor.save_pretrained, Isaac-GR00T N1.6.
    """
    configs = _at(processor, "processor_kwargs", "modality_configs")
    found = {}
    for tag, config in _items(configs):
        spec = _groot_spec(config, _at(statistics, tag))
        if spec is not None:
            found[tag] = spec
    return found


def _groot_spec(config: Any, statistics: Any) -> PolicySpec | None:
    keys = {name: _names(_at(config, name, "modality_keys")) for name in ("video", "state", "action", "language")}
    steps = {name: _count(_at(config, name, "delta_indices")) for name in keys}
    widths = {name: _widths(keys[name], statistics, name) for name in ("state", "action")}
    state, action = widths["state"], widths["action"]
    if state is None or action is None or not action or not steps["action"]:
        return None
    return PolicySpec(
        state=state,
        action=action,
        horizon=steps["action"],
        cameras=keys["video"],
        language=keys["language"][0] if keys["language"] else None,
        state_steps=steps["state"] or 1,
        video_steps=steps["video"] or 1,
    )


def _widths(groups: tuple[str, ...], statistics: Any, modality: str) -> dict[str, int] | None:
    widths = {}
    for group in groups:
        width = 0
        for where in (modality, f"relative_{modality}"):
            rows = _at(statistics, where, group)
            width = width or next((_last(value) for value in (rows.values() if isinstance(rows, dict) else ())), 0)
        if not 0 < width <= _WIDEST:
            return None
        widths[group] = width
    return widths


def _last(value: Any) -> int:
    """The last dimension of nested lists: statistics of relative actions have one row a step."""
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    return len(value) if isinstance(value, list) else 0


# --- bc ---------------------------------------------------------------------------------------------------------------


class Columns(msgspec.Struct, frozen=True):
    """Group -> where its values stand in a flat vector, in the group's order."""

    groups: dict[str, tuple[int, ...]]

    @property
    def widths(self) -> dict[str, int]:
        return {name: len(places) for name, places in self.groups.items()}


#: In the order of preference: what GR00T's UNITREE_G1 has, then bodies with hands.
_STATES = (robot.STATE_31, robot.INSPIRE_53, robot.DEX3_28)
_ACTIONS = (robot.ACTION_23, robot.STATE_31, robot.INSPIRE_53, robot.DEX3_28)


def state_columns(names: Sequence[str], width: int) -> Columns:
    """A state's groups: those of a layout of `core.robot` where all names are known there, else one group "state"."""
    return _columns(names, width, _STATES, "state")


def action_columns(names: Sequence[str], width: int) -> Columns:
    """An action's groups, likewise; else one group "action"."""
    return _columns(names, width, _ACTIONS, "action")


def _columns(names: Sequence[str], width: int, layouts: Sequence[robot.Layout], otherwise: str) -> Columns:
    if len(names) == width == len(set(names)):
        for layout in layouts:
            groups = _fit(names, layout)
            if groups:
                return Columns(groups)
    return Columns({otherwise: tuple(range(width))})


def _fit(names: Sequence[str], layout: robot.Layout) -> dict[str, tuple[int, ...]] | None:
    """The layout's groups that `names` are, each whole and nothing left over; else None."""
    where = {name: place for place, name in enumerate(names)}
    where |= {
        joint: where[said] for joint in layout.names if (said := robot.dataset_name(joint)) in where and joint != said
    }
    groups = {
        group.name: tuple(where[name] for name in group.names)
        for group in layout.groups
        if all(name in where for name in group.names)
    }
    used = [place for places in groups.values() for place in places]
    return groups if sorted(used) == list(range(len(names))) else None


def bc_spec(config: Any) -> PolicySpec | None:
    """Of a bc checkpoint's config.json; None where it makes no sense."""
    state, action, horizon = (_whole(_at(config, key)) for key in ("state_dim", "action_dim", "action_horizon"))
    if state is None or action is None or horizon is None or max(state, action) > _WIDEST or horizon > _LONGEST:
        return None
    return PolicySpec(
        state=state_columns(_names(_at(config, "state_names"), _WIDEST), state).widths,
        action=action_columns(_names(_at(config, "action_names"), _WIDEST), action).widths,
        horizon=horizon,
    )


# --- policy.json ------------------------------------------------------------------------------------------------------


class Sidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """policy.json beside a TorchScript or ONNX file: what the file itself does not say.

    The model is called with one float32 tensor (B, values of all state groups one after another) and, where there are
    `cameras`, one uint8 tensor (B, H, W, 3) for each, in that order; it answers (B, horizon, values of all action
    groups one after another).
    """

    format: str
    #: The model's file in the same folder.
    file: str
    state: dict[str, int]
    action: dict[str, int]
    horizon: int
    cameras: tuple[str, ...] = ()
    language: str | None = None
    #: Files that the model's file needs beside it: an ONNX model's external data.
    also: tuple[str, ...] = ()
    embodiment: str | None = None
    name: str = ""

    @property
    def spec(self) -> PolicySpec:
        return PolicySpec(
            state=self.state, action=self.action, horizon=self.horizon, cameras=self.cameras, language=self.language
        )


def sidecar(text: bytes) -> Sidecar:
    """Raises ValueError with a sentence for people."""
    try:
        found = msgspec.json.decode(text, type=Sidecar)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"policy.json: {error}") from None
    if found.format not in ("torchscript", "onnx"):
        raise ValueError(f"policy.json: format {found.format!r}, expected 'torchscript' or 'onnx'")
    for what, groups in (("state", found.state), ("action", found.action)):
        if len(groups) > _MOST or any(not 0 < width <= _WIDEST for width in groups.values()):
            raise ValueError(f"policy.json: {what} needs a width of 1 to {_WIDEST} for each group")
    if not found.action or not 0 < found.horizon <= _LONGEST:
        raise ValueError(f"policy.json: needs groups of action and a horizon of 1 to {_LONGEST}")
    return found


# --- Plain values of unknown origin -----------------------------------------------------------------------------------


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items())[:_MOST] if isinstance(value, dict) else []


def _names(value: Any, most: int = _MOST) -> tuple[str, ...]:
    given = value if isinstance(value, list) else []
    return tuple(name for name in given[:most] if isinstance(name, str))


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) and len(value) <= _LONGEST else 0


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
