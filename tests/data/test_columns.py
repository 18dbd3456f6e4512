"""Columns of parquet files as arrays: every spelling reads the same, and nothing wrong is read at all."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dm_isaac_g1.data.columns import integers, matrix, python_rows, read_table, scalars
from dm_isaac_g1.data.problems import DataError, IntegrityError, SchemaError

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


def table(values, kind=None):
    return pa.table({"x": pa.array(values, kind)})


VECTORS = {
    "fixed": pa.list_(pa.float32(), 3),
    "fixed double": pa.list_(pa.float64(), 3),
    "list": pa.list_(pa.float32()),
    "list double": pa.list_(pa.float64()),
    "large list": pa.large_list(pa.float32()),
}


@pytest.mark.parametrize("kind", VECTORS)
@pytest.mark.parametrize("chunks", [1, 2])
def test_every_way_to_write_a_vector_reads_the_same(kind, chunks):
    written = table(ROWS.tolist(), VECTORS[kind])
    if chunks == 2:
        written = pa.concat_tables([written.slice(0, 1), written.slice(1)])
    assert np.array_equal(matrix(written, "x", 3, dtype=np.float32), ROWS)


@pytest.mark.parametrize("kind", VECTORS)
def test_a_slice_reads_as_its_own_rows(kind):
    assert np.array_equal(matrix(table(ROWS.tolist(), VECTORS[kind]).slice(1, 2), "x", 3, dtype="f4"), ROWS[1:3])


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.list_(pa.float32()), pa.list_(pa.float32(), 1)])
def test_a_scalar_may_be_a_list_of_one(kind):
    values = [1.0, 2.0] if not pa.types.is_nested(kind) else [[1.0], [2.0]]
    assert matrix(table(values, kind), "x", 1).tolist() == [[1.0], [2.0]]
    assert scalars(table(values, kind), "x").tolist() == [1.0, 2.0]


def test_a_fixed_size_list_is_not_copied():
    written = table(ROWS.tolist(), VECTORS["fixed"])
    values = matrix(written, "x", 3)
    assert not values.flags.owndata and values.dtype == np.float32


def test_whole_numbers_stay_whole():
    assert integers(table([1, 2**60 + 1]), "x").tolist() == [1, 2**60 + 1]
    assert integers(table([1.0, 2.0]), "x").dtype == np.int64
    with pytest.raises(DataError, match="expected a whole number") as caught:
        integers(table([1.0, 2.5]), "x", episode=3)
    assert caught.value.finding.place.frame == 1


def refused(error, values, kind=None, width=3, **more):
    with pytest.raises(error) as caught:
        matrix(table(values, kind), "x", width, episode=5, file="f.parquet", names=("a", "b", "c"), **more)
    place = caught.value.finding.place
    assert (place.file, place.episode) == ("f.parquet", 5)
    return caught.value.finding


@pytest.mark.parametrize("kind", VECTORS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_found_with_frame_and_joint(kind, value):
    rows = ROWS.tolist()
    rows[2][1] = value
    finding = refused(DataError, rows, VECTORS[kind])
    assert (finding.code, finding.place.frame, finding.place.joint) == ("not-finite", 2, "b")


@pytest.mark.parametrize("kind", VECTORS)
def test_an_empty_value_is_found_with_frame_and_joint(kind):
    rows = ROWS.tolist()
    rows[1][2] = None
    finding = refused(DataError, rows, VECTORS[kind])
    assert (finding.code, finding.place.frame, finding.place.joint) == ("null", 1, "c")


@pytest.mark.parametrize("kind", VECTORS)
def test_an_empty_frame_is_found(kind):
    finding = refused(DataError, [*ROWS.tolist()[:3], None], VECTORS[kind])
    assert (finding.code, finding.place.frame) == ("null", 3)


@pytest.mark.parametrize("kind", ["list", "large list"])
def test_one_short_vector_among_many_is_found(kind):
    finding = refused(SchemaError, [[1, 2, 3], [1, 2], [1, 2, 3]], VECTORS[kind])
    assert (finding.code, finding.place.frame) == ("wrong-width", 1)


def test_lengths_that_only_add_up_are_found():
    assert refused(SchemaError, [[1, 2], [1, 2, 3, 4]], VECTORS["list"]).place.frame == 0


def test_another_width_is_refused():
    assert refused(SchemaError, ROWS.tolist(), VECTORS["fixed"], width=4).code == "wrong-width"
    assert refused(SchemaError, [1.0], pa.float32()).code == "wrong-width"


@pytest.mark.parametrize("kind", [pa.list_(pa.list_(pa.float32(), 2), 3), pa.list_(pa.list_(pa.float32()))])
def test_values_with_more_axes_are_read_one_after_the_other(kind):
    rows = [[[1, 2], [3, 4], [5, 6]]] * 2
    assert matrix(table(rows, kind), "x", 6).tolist() == [[1, 2, 3, 4, 5, 6]] * 2
    assert refused(SchemaError, rows, kind, width=4).code == "wrong-width"


@pytest.mark.parametrize("kind", [pa.list_(pa.list_(pa.float32(), 2), 3), pa.list_(pa.list_(pa.float32()))])
def test_an_empty_row_among_more_axes_is_found(kind):
    whole = [[1, 2], [3, 4], [5, 6]]
    finding = refused(DataError, [whole, [[1, 2], None, [5, 6]]], kind, width=6)
    assert (finding.code, finding.place.frame) == ("null", 1)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.list_(pa.float32()), 0), pa.list_(pa.float32(), 0), pa.list_(pa.float32())]
)
def test_frames_of_nothing_are_refused(kind):
    assert refused(SchemaError, [[], []], kind).code == "wrong-width"


def test_texts_are_no_numbers():
    for width in (1, 3):
        assert refused(SchemaError, ["a", "b"], width=width).code == "not-numbers"


def test_a_double_beyond_float32_is_not_read_as_infinite():
    assert refused(DataError, [[1e300, 0, 0]], VECTORS["list double"], dtype=np.float32).code == "not-finite"


def test_large_values_whose_sum_overflows_are_still_values():
    huge = np.full((3, 3), 1.7e308)
    assert matrix(table(huge.tolist(), VECTORS["list double"]), "x", 3).max() == 1.7e308


def test_no_rows_are_no_error():
    assert matrix(table([], VECTORS["fixed"]), "x", 3).shape == (0, 3)


# --- Files -----------------------------------------------------------------------------------------------------------


def problem(path, columns=None):
    with pytest.raises((IntegrityError, SchemaError)) as caught:
        read_table(path, columns, file="data/x.parquet")
    assert caught.value.finding.place.file == "data/x.parquet"
    return caught.value.finding


def test_a_missing_column_is_named_with_those_there(tmp_path):
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "x")
    finding = problem(tmp_path / "x", ["a", "z"])
    assert finding.code == "missing-column" and "z is missing (found: a, b)" in finding.what


@pytest.mark.parametrize("keep", [0, 3, 60, 0.5, 0.99])
def test_a_truncated_file_is_found(tmp_path, keep):
    pq.write_table(pa.table({"a": np.arange(1000)}), tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(whole[: int(keep if keep >= 1 or keep == 0 else len(whole) * keep)])
    assert problem(tmp_path / "x").code == "unreadable"


def test_broken_pages_are_found(tmp_path):
    pq.write_table(pa.table({"a": np.random.default_rng(0).normal(size=5000)}), tmp_path / "x", use_dictionary=False)
    whole = bytearray((tmp_path / "x").read_bytes())
    whole[4:400] = b"\xff" * 396
    (tmp_path / "x").write_bytes(whole)
    assert problem(tmp_path / "x").code == "unreadable"


def test_any_byte_may_be_wrong_without_a_traceback(tmp_path):
    pq.write_table(pa.table({"name": pa.array(["a"] * 50), "x": np.arange(50.0)}), tmp_path / "x", compression="none")
    whole = (tmp_path / "x").read_bytes()
    for place in range(0, len(whole), 3):
        (tmp_path / "x").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(IntegrityError):
            python_rows(read_table(tmp_path / "x", file="x"), path=tmp_path / "x")


def test_a_git_lfs_pointer_says_that_it_was_not_downloaded(tmp_path):
    (tmp_path / "x").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert problem(tmp_path / "x").code == "lfs-pointer"


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    assert problem(tmp_path / "x").code == "file-missing"
    (tmp_path / "x").mkdir()
    assert problem(tmp_path / "x").code == "unreadable"
