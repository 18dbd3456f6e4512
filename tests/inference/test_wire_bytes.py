"""Our frames are NVIDIA's, byte for byte, and what comes out of a frame is what went in."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import observed
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dm_isaac_g1.inference import observation
from dm_isaac_g1.inference.client.dialects import request_data
from dm_isaac_g1.inference.protocol import ActionConfig, ModalityConfig, Packer, ProtocolError, pack, unpack
from dm_isaac_g1.inference.protocol.messages import PING_REPLY, error_reply, request

REQUESTS: dict[str, dict[str, Any]] = {
    "ping.req": request("ping", bare=True),
    "ping_token.req": request("ping", token="s3cret", bare=True),
    "kill.req": request("kill", bare=True),
    "reset.req": request("reset", {"options": None}),
    "modality.req": request("get_modality_config", bare=True),
}
REPLIES: dict[str, Any] = {
    "ping.rep": PING_REPLY,
    "kill.rep": None,
    "reset.rep": {},
    "error.rep": error_reply("Unknown endpoint: nope"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_nvidias_bytes(name: str) -> None:
    assert pack(REQUESTS[name]) == observed.capture(name)


@pytest.mark.parametrize("name", REPLIES)
def test_replies_are_nvidias_bytes(name: str) -> None:
    assert pack(REPLIES[name]) == observed.capture(name)
    assert unpack(observed.capture(name)) == REPLIES[name]


def test_what_the_builder_makes_of_a_picture_and_a_state_is_nvidias_request() -> None:
    picture, state = observed.parts()
    built = observation("UNITREE_G1", state=state, image=picture, task=observed.TASK)
    frame = pack(request("get_action", request_data("nested", built, None)))
    assert len(frame) == 923_182
    assert hashlib.sha256(frame).hexdigest() == observed.NESTED_SHA256


def test_the_flat_request_of_a_sim_wrapped_server_is_nvidias_too() -> None:
    picture, state = observed.parts()
    built = observation("UNITREE_G1", state=state, image=picture, task=observed.TASK)
    frame = pack(request("get_action", request_data("flat", built, None)))
    assert len(frame) == 923_205
    assert hashlib.sha256(frame).hexdigest() == observed.FLAT_SHA256


def test_an_action_chunk_survives_unpacking_and_packing() -> None:
    actions, info = unpack(observed.capture("get_action.rep"))
    assert {name: array.shape for name, array in actions.items()} == {
        "left_arm": (1, 30, 7),
        "right_arm": (1, 30, 7),
        "left_hand": (1, 30, 1),
        "right_hand": (1, 30, 1),
        "waist": (1, 30, 3),
        "base_height_command": (1, 30, 1),
        "navigate_command": (1, 30, 3),
    }
    assert info == {}
    assert all(array.dtype == np.float32 and array.flags.writeable for array in actions.values())
    assert pack([actions, info]) == observed.capture("get_action.rep")


def test_a_modality_config_survives_unpacking_and_packing() -> None:
    configs = unpack(observed.capture("modality.rep"))
    assert configs["state"].modality_keys == list(observed.GROUPS)
    assert configs["action"].delta_indices == list(range(30))
    assert configs["action"].action_configs[0] == ActionConfig(rep="RELATIVE")
    assert pack(configs) == observed.capture("modality.rep")


def test_n15_writes_a_modality_config_as_json_text() -> None:
    text = '{"delta_indices":[0],"modality_keys":["state.waist"]}'
    frame = pack({"state": {"__ModalityConfig_class__": True, "as_json": text}})
    assert unpack(frame) == {"state": ModalityConfig(delta_indices=[0], modality_keys=["state.waist"])}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2],
        np.asfortranarray(np.arange(12, dtype=np.int16).reshape(3, 4)),
        np.arange(6, dtype=">f8"),
        np.zeros((0, 7), np.float32),
        np.array(3, np.float32),
        np.array(["pick", "place it"]),
        np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)[..., ::-1],
        np.asfortranarray(np.random.default_rng(0).standard_normal((90, 80))),
    ],
    ids=["sliced", "fortran", "big-endian", "empty", "scalar", "texts", "bgr", "large fortran"],
)
def test_any_layout_in_memory_is_written_as_np_save_writes_it(array: Any) -> None:
    import io

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    frame = pack(array)
    assert frame.endswith(file.getvalue())
    back = unpack(frame)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_a_large_array_is_a_view_on_the_frame_and_a_small_one_is_not() -> None:
    frame = pack({"video": np.zeros((480, 640, 3), np.uint8), "state": np.zeros(31, np.float32)})
    found = unpack(frame)
    assert np.shares_memory(found["video"], np.frombuffer(frame, np.uint8))
    assert not np.shares_memory(found["state"], np.frombuffer(frame, np.uint8))
    assert found["state"].flags.aligned


def test_packing_again_takes_the_same_buffer_and_never_the_one_that_grew_away() -> None:
    packer = Packer()
    first = packer.pack({"a": np.zeros(100_000, np.uint8)})
    second = packer.pack({"a": np.ones(100_000, np.uint8)})
    assert first.obj is second.obj and bytes(second) == pack({"a": np.ones(100_000, np.uint8)})
    larger = packer.pack({"a": np.full(300_000, 2, np.uint8)})
    assert larger.obj is not second.obj, "a frame that is still being sent keeps its memory"
    assert bytes(second) == pack({"a": np.ones(100_000, np.uint8)})


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}], object),
        np.zeros(2, [("a", "f4")]),
        np.array(["2020-01-01"], "datetime64[D]"),
        {1: 2},
        {1, 2},
        1 << 70,
        "\ud800",
    ],
    ids=["objects", "records", "dates", "number as key", "set", "huge number", "half a character"],
)
def test_what_the_protocol_has_no_form_for_is_refused_before_it_is_sent(value: Any) -> None:
    with pytest.raises(ProtocolError):
        pack({"data": value})


def test_numpys_scalars_and_enums_are_sent_as_their_values() -> None:
    import enum

    class Mode(str, enum.Enum):  # noqa: UP042  as robots' code has them
        WALK = "walk"

    class Level(enum.IntEnum):
        HIGH = 2

    given = {
        "a": np.str_("x"),
        "b": np.float64(1.5),
        "c": np.int32(3),
        "d": np.bool_(True),
        "e": Mode.WALK,
        "f": Level.HIGH,
    }
    assert pack(given) == pack({"a": "x", "b": 1.5, "c": 3, "d": True, "e": "walk", "f": 2})


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
    max_leaves=30,
)


@given(plain)
def test_plain_values_are_packed_as_msgpack_does_and_come_back(value: Any) -> None:
    import msgspec

    frame = pack(value)
    assert frame == msgspec.msgpack.encode(value)
    assert unpack(frame) == value


@given(hnp.arrays(st.sampled_from(["u1", "f4", "i8", "?", "f2"]), hnp.array_shapes(max_dims=5, max_side=4, min_side=0)))
def test_arrays_come_back(array: Any) -> None:
    back = unpack(pack([array]))[0]
    assert back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()
