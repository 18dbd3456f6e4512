"""Whatever a server answers: what it means, or an error for people; never a fault of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm_isaac_g1.inference.evaluation.answers import MOMENTS, chunk, taken
from dm_isaac_g1.inference.evaluation.results import EvaluationError
from dm_isaac_g1.inference.protocol import ModalityConfig

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CONFIG = st.fixed_dictionaries({}, optional={"modality_keys": JSON, "delta_indices": JSON}) | JSON
MODALITY = st.dictionaries(st.sampled_from(["video", "state", "action", "language", "x"]), CONFIG, max_size=5)


@settings(deadline=None)  # a machine may be busy
@given(MODALITY | JSON)
def test_any_modality_config_is_understood_or_refused(said: Any) -> None:
    try:
        found = taken(said)
    except EvaluationError:
        return
    assert found.action
    assert found.horizon > 0


ARRAYS = st.sampled_from(
    [
        np.zeros((1, 4, 3), np.float32),
        np.zeros((4, 3)),
        np.zeros((1, 0, 3)),
        np.full((1, 2, 3), np.nan),
        np.zeros(2, int),
    ]
)


@settings(deadline=None)  # a machine may be busy
@given(st.dictionaries(st.sampled_from(["waist", "action.waist", "left_arm"]), ARRAYS | JSON) | JSON)
def test_any_answer_is_whole_or_refused(said: Any) -> None:
    try:
        found = chunk(said, ("waist",))
    except EvaluationError:
        return
    assert found["waist"].shape == (4, 3)


def test_prefixes_of_older_dialects_are_not_part_of_a_name() -> None:
    keys = {"video": "video.ego_view", "state": "state.waist", "action": "action.waist", "language": "annotation.a"}
    said = {name: ModalityConfig(delta_indices=[-1, 0], modality_keys=[key]) for name, key in keys.items()}
    found = taken(said)
    assert (found.cameras, found.state, found.action, found.language) == (
        ("ego_view",),
        ("waist",),
        ("waist",),
        "annotation.a",
    )
    assert (found.state_steps, found.horizon) == ((-1, 0), 2)


def test_an_observation_of_endless_moments_is_refused() -> None:
    said = {
        name: ModalityConfig(delta_indices=list(range(count)), modality_keys=["a"])
        for name, count in {"state": MOMENTS + 1, "action": 16}.items()
    }
    with pytest.raises(EvaluationError, match="more than 64 moments"):
        taken(said)


def test_a_thousand_names_do_not_drown_the_error() -> None:
    answer = {f"group_{number}": 1 for number in range(1000)}
    with pytest.raises(EvaluationError) as told:
        chunk(answer, ("waist",))
    assert len(told.value.line()) < 500
