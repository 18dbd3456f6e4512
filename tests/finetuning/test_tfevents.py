"""TensorBoard event files: what TensorBoard itself reads, less its price; torn and corrupt files included."""

from __future__ import annotations

import io
import math
import struct
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm_isaac_g1.finetuning.crc32c import crc32c
from dm_isaac_g1.finetuning.tfevents import EventFileReader, metric_name
from dm_isaac_g1.fleet.curves import Curve, Curves

pytest.importorskip("tensorboard", reason="needs the train extra")

WALL = 1_700_000_000.0


def record(data: bytes) -> bytes:
    header = struct.pack("<Q", len(data))
    crc = struct.pack("<I", crc32c(header, mask=True))
    return header + crc + data + struct.pack("<I", crc32c(data, mask=True))


def scalar(step: int, tag: str, value: float, wall: float = WALL) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    event = Event(wall_time=wall, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
    return record(event.SerializeToString())


def trainer_file(
    steps: range, tags: tuple[str, ...] = ("train/loss", "train/grad_norm", "train/learning_rate")
) -> bytes:
    """As Hugging Face's callback writes it, with TensorBoard's own framing."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = io.BytesIO()
    file.flush = lambda: None  # type: ignore[method-assign]
    writer = RecordWriter(file)
    writer.write(Event(wall_time=WALL, file_version="brain.Event:2").SerializeToString())
    for step in steps:
        for index, tag in enumerate(tags):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=step + index / 8)])
            writer.write(Event(wall_time=WALL + step, step=step, summary=summary).SerializeToString())
    return file.getvalue()


def test_the_checksum_is_the_standards_own() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720 B.4 / the Castagnoli check value
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_names_are_the_logs_names() -> None:
    assert metric_name("train/loss") == "loss"
    assert metric_name("eval/loss") == "eval_loss"
    assert metric_name("rollout/ep_rew_mean") == "rollout/ep_rew_mean"
    assert metric_name("loss") == "loss"


@pytest.mark.parametrize("size", [1, 100, 1 << 14, 1 << 20])
def test_points_equal_what_tensorboard_reads(tmp_path: Path, size: int) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = range(400 if size == 1 else 3000)  # step 0 is left out of its record; varints of one and two bytes
    data = trainer_file(steps)
    (tmp_path / "events.out.tfevents.1.host").write_bytes(data)
    own = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    own.Reload()
    reader, curves = EventFileReader(), Curves()
    for at in range(0, len(data), size):
        for name, c in reader.feed_columns(data[at : at + size]).items():
            curves.extend_columns(name, c.steps, c.values, c.walls)
    assert set(curves.by_name) == {"loss", "grad_norm", "learning_rate"}
    for tag in own.Tags()["scalars"]:
        curve = curves.by_name[metric_name(tag)]
        theirs = own.Scalars(tag)
        assert list(curve.steps) == [p.step for p in theirs]
        assert list(curve.values) == [p.value for p in theirs]
        assert list(curve.walls) == [p.wall_time for p in theirs]
    assert reader.corrupt == [] and reader.waiting == 0 and reader.offset == len(data)


def test_points_and_columns_are_the_same() -> None:
    data = trainer_file(range(1, 2000))
    columns = EventFileReader().feed_columns(data)
    points = EventFileReader().feed(data)
    assert [(p.step, p.value, p.wall) for p in points if p.name == "loss"] == list(
        zip(columns["loss"].steps, columns["loss"].values, columns["loss"].walls, strict=True)
    )


def test_the_real_summary_writer_with_settings_and_tensors() -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    reader = EventFileReader()
    data = record(Event(wall_time=WALL, step=7, summary=scalar_pb("train/loss", 0.25)).SerializeToString())
    data += record(
        Event(wall_time=WALL, summary=text_pb("args/text_summary", '{"max_steps": 300}')).SerializeToString()
    )
    points = reader.feed(data)
    assert [(p.name, p.step, p.value) for p in points] == [("loss", 7, 0.25)]
    assert reader.texts == {"args/text_summary": '{"max_steps": 300}'}


def test_nan_and_infinity_stay_what_they_are() -> None:
    points = EventFileReader().feed(scalar(1, "train/grad_norm", math.nan) + scalar(2, "train/grad_norm", math.inf))
    assert math.isnan(points[0].value) and points[1].value == math.inf


def test_a_torn_record_waits_for_its_rest() -> None:
    data = scalar(1, "train/loss", 1.0) + scalar(2, "train/loss", 2.0)
    for cut in range(len(data)):
        reader = EventFileReader()
        points = reader.feed(data[:cut])
        assert reader.corrupt == []
        assert [p.step for p in points + reader.feed(data[cut:])] == [1, 2]


def test_a_flipped_bit_in_a_record_costs_that_record_alone() -> None:
    good = [scalar(step, "train/loss", float(step)) for step in range(1, 6)]
    bad = bytearray(good[2])
    bad[30] ^= 0x10
    reader = EventFileReader()
    points = reader.feed(b"".join(good[:2]) + bytes(bad) + b"".join(good[3:]))
    assert [p.step for p in points] == [1, 2, 4, 5]
    assert [c.offset for c in reader.corrupt] == [len(good[0]) + len(good[1])]


def test_a_broken_header_is_passed_over_to_the_next_record() -> None:
    good = [scalar(step, "train/loss", float(step)) for step in range(1, 6)]
    for junk in (b"\0" * 500, b"\xff" * 37, b"garbage", b"", bytes(range(256))):
        bad = bytearray(good[2])
        bad[0] ^= 1
        data = b"".join(good[:2]) + bytes(bad) + junk + b"".join(good[3:])
        for size in (1, 9, 1 << 20):
            reader = EventFileReader()
            points = [p for at in range(0, len(data), size) for p in reader.feed(data[at : at + size])]
            assert [p.step for p in points] == [1, 2, 4, 5], (junk, size)
            assert len(reader.corrupt) == 1


def test_a_flipped_bit_in_a_flood_is_found() -> None:
    data = bytearray(trainer_file(range(1, 3000)))
    clean = EventFileReader().feed_columns(bytes(data))
    for where in (50_000, 60_001, 100_013):
        data[where] ^= 0x04
    reader = EventFileReader()
    found = reader.feed_columns(bytes(data))
    assert 1 <= len(reader.corrupt) <= 3
    assert sum(len(c) for c in clean.values()) - sum(len(c) for c in found.values()) == 3


def test_a_file_full_of_zeros_or_noise_is_no_metric_and_bounded() -> None:
    for junk in (bytes(2_000_000), bytes(range(256)) * 4000):
        reader = EventFileReader()
        for at in range(0, len(junk), 65536):
            assert reader.feed(junk[at : at + 65536]) == []
        assert reader.waiting < 100
        assert reader.corrupt


def test_a_huge_record_is_passed_over_without_keeping_it() -> None:
    body = bytes(5_000_000)
    header = struct.pack("<Q", len(body))
    data = header + struct.pack("<I", crc32c(header, mask=True)) + body + bytes(4) + scalar(9, "train/loss", 1.0)
    reader = EventFileReader()
    points = []
    for at in range(0, len(data), 70_000):
        points += reader.feed(data[at : at + 70_000])
        assert reader.waiting < 70_100
    assert [p.step for p in points] == [9]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 300))
def test_nothing_in_a_file_crashes_the_reader(junk: bytes, at: int) -> None:
    data = scalar(1, "train/loss", 1.0) * 5
    reader = EventFileReader()
    reader.feed(data[:at] + junk + data[at:])
    reader.feed(record(junk))


def test_a_resumed_runs_second_file_wins_by_wall_time_in_any_order() -> None:
    first = b"".join(scalar(s, "train/loss", 1.0, WALL + s) for s in range(10, 260, 10))
    second = b"".join(scalar(s, "train/loss", 2.0, WALL + 1000 + s) for s in range(210, 410, 10))
    for files in ((first, second), (second, first)):
        for bulk in (False, True):
            curve = Curve()
            for data in files:
                for c in EventFileReader().feed_columns(data).values():
                    if bulk:
                        curve.extend_columns(c.steps, c.values, c.walls)
                    else:
                        for step, value, wall in zip(c.steps, c.values, c.walls, strict=True):
                            curve.add(step, value, wall)
            assert list(curve.steps) == list(range(10, 410, 10))
            assert [v for s, v in zip(curve.steps, curve.values, strict=True) if s < 210] == [1.0] * 20
            assert [v for s, v in zip(curve.steps, curve.values, strict=True) if s >= 210] == [2.0] * 20


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1), st.floats(1, 100)), min_size=1, max_size=400),
    st.integers(0, 400),
)
def test_columns_and_single_points_merge_alike(points: list[tuple[int, float, float]], cut: int) -> None:
    single, bulk = Curve(), Curve()
    for step, value, wall in points:
        single.add(step, value, wall)
    for part in (points[:cut] * 1, points[cut:]):
        padded = part
        columns = [array(t, c) for t, c in zip("qdd", zip(*padded, strict=True), strict=True)] if padded else None
        if columns:
            bulk.extend_columns(*columns)
    assert (list(single.steps), list(single.values)) == (list(bulk.steps), list(bulk.values))
