"""Embodiments of the G1 as policies know them: which groups a state and an action have, and how wide each is.

A server never says widths; a checkpoint's statistics.json does (`models.describe`), and is right where it differs from
these tables: other G1 checkpoints have 7-joint hands.
"""

from __future__ import annotations

import msgspec

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.robot import ACTION_23, ACTION_HORIZON, DEX3_28, INSPIRE_53, STATE_31, Layout
from dm_isaac_g1.inference.specs import PolicySpec

#: UNITREE_G1's camera and instruction. Source: gr00t/configs/data/embodiment_configs.py of Isaac-GR00T N1.6.
CAMERA, LANGUAGE = "ego_view", "annotation.human.task_description"
#: Steps that a fresh embodiment predicts, as N1.6's own example of one: examples/SO100/so100_config.py.
NEW_HORIZON = 16


class Embodiment(msgspec.Struct, frozen=True, kw_only=True):
    """One table. `tag`: the value of GR00T's EmbodimentTag."""

    name: str
    tag: str
    state: Layout
    action: Layout
    horizon: int

    @property
    def spec(self) -> PolicySpec:
        return PolicySpec(
            state=widths(self.state),
            action=widths(self.action),
            horizon=self.horizon,
            cameras=(CAMERA,),
            language=LANGUAGE,
        )


def widths(layout: Layout) -> dict[str, int]:
    """Group -> how many values it has."""
    return {group.name: len(group.names) for group in layout.groups}


def _new(name: str, layout: Layout) -> Embodiment:
    return Embodiment(name=name, tag="new_embodiment", state=layout, action=layout, horizon=NEW_HORIZON)


EMBODIMENTS: dict[str, Embodiment] = {
    each.name: each
    for each in (
        Embodiment(name="UNITREE_G1", tag="unitree_g1", state=STATE_31, action=ACTION_23, horizon=ACTION_HORIZON),
        # Fine-tuned as a new embodiment, on datasets as `dm-g1 data convert` writes them.
        _new("G1_INSPIRE", INSPIRE_53),
        _new("G1_DEX3", DEX3_28),
    )
}


def embodiment_of(name: str) -> Embodiment:
    """By name or tag, in any case. Raises UsageError."""
    for each in EMBODIMENTS.values():
        if name.upper() == each.name or (name.lower() == each.tag and each.tag != "new_embodiment"):
            return each
    raise UsageError(
        f"no embodiment {name!r}",
        fix=f"one of {', '.join(EMBODIMENTS)}, or the PolicySpec of a model (inference.models.read_local(folder).spec)",
    )


def joints_of(group: str, width: int) -> tuple[str, ...]:
    """What stands at each place of a group of that name and width in any layout of the G1; () where none has it."""
    for layout in (STATE_31, ACTION_23, INSPIRE_53, DEX3_28):
        for each in layout.groups:
            if each.name == group and len(each.names) == width:
                return each.names
    return ()
