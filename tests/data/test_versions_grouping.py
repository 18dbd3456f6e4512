"""Which episodes share a file in v3.0."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.data.versions.grouping import group, shared_by

SIZES = st.lists(st.integers(0, 50), min_size=1, max_size=60)


@given(SIZES, st.integers(1, 120))
def test_every_episode_is_in_one_file_in_order_and_files_are_small_or_hold_one(sizes: list[int], limit: int) -> None:
    files = group(sizes, limit)
    assert [position for file in files for position in range(file.first, file.end)] == list(range(len(sizes)))
    assert [file.number for file in files] == list(range(len(files)))
    for file in files:
        assert sum(sizes[file.first : file.end]) < limit or file.end - file.first == 1
    for one, other in pairwise(files):
        assert sum(sizes[one.first : other.first + 1]) >= limit, "the next episode would have fitted"


@given(SIZES, st.data())
def test_only_neighbours_of_one_kind_share_a_file(sizes: list[int], data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.integers(0, 2), min_size=len(sizes), max_size=len(sizes)))
    files = group(sizes, 100, kinds)
    assert all(len(set(kinds[file.first : file.end])) == 1 for file in files)
    assert [file.number for file in shared_by(files)] == sorted(file.number for file in shared_by(files))
    assert len(shared_by(files)) == len(sizes)


def test_a_chunk_has_a_thousand_files() -> None:
    last = group([10] * 1001, 10)[-1]
    assert (last.number, last.chunk, last.file) == (1000, 1, 0)
