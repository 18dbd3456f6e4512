"""The fixture generator is held against facts about the real datasets, not against the code that reads it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sets import COMBINED, copy_of, make
from sets_defects import SEVENTEEN
from sets_families import FAMILIES

from dm_isaac_g1.data.families import family_of
from dm_isaac_g1.data.info import read_info

#: Values of a frame, without the five default columns, as the sets on the Hub have them.
WIDTHS = {
    "hospitality": 57 + 7 + 7 + 1 + 1 + 6 + 6 + 7,
    "dex3": 2 * 28,
    "dex1": 2 * 16,
    "inspire26": 2 * 26,
    "brainco26": 2 * 26,
    "trifinger43": 2 * 43 + 3 + 1,
    "wbt": 2 * (7 + 7 + 1 + 1 + 6 + 6) + 15 + 7,
    "so101": 2 * 6,
    "groot": 31 + 23,
    "inspire53": 2 * 53,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_the_columns_of_the_real_sets_and_is_known_by_its_names(family: str, tmp_path: Path) -> None:
    root = copy_of(tmp_path, family)
    assert sum(len(column.low) for column in FAMILIES[family].columns) == WIDTHS[family]
    table = pq.read_table(root / "data/chunk-000/episode_000001.parquet")
    assert table.num_rows == 41
    for column in FAMILIES[family].columns:
        values = table[column.name].to_pylist()
        for low, high, value in zip(
            column.low, column.high, values[7] if len(column.low) > 1 else [values[7]], strict=True
        ):
            assert low <= value <= high
    assert family_of(read_info(root).features).name == {"groot": "groot-31-23"}.get(family, family)


def test_all_spellings_of_names_that_the_hub_has_are_among_the_families() -> None:
    spellings = {type(c.feature()["names"]).__name__ for f in FAMILIES.values() for c in f.columns}
    nested = {
        isinstance(n, list) and isinstance(n[0], list)
        for f in FAMILIES.values()
        for n in [f.columns[0].feature()["names"]]
    }
    assert spellings == {"list", "dict"}
    assert nested == {True, False}


@pytest.mark.parametrize("version", ["2.1", "3.0"])
def test_the_same_options_give_the_same_bytes(version: str, tmp_path: Path) -> None:
    def digests(name: str) -> dict[str, str]:
        root = make(tmp_path / name, "dex3", version=version, video="h264", cameras=1)  # type: ignore[arg-type]
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digests("a") == digests("b")


def test_a_combined_set_has_all_its_rows_in_one_file(tmp_path: Path) -> None:
    root = make(tmp_path, "dex3", layout="combined")
    table = pq.read_table(root / COMBINED)
    assert sorted(set(table["episode_index"].to_pylist())) == [0, 1, 2]
    assert table["index"].to_pylist() == list(range(40 + 41 + 42))


@pytest.mark.parametrize("defect", SEVENTEEN)
def test_a_defect_changes_a_file(defect: str, tmp_path: Path) -> None:
    def listing(root: Path) -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    options = {"video": "h264", "cameras": 1}
    whole, broken = (
        copy_of(tmp_path / "a", "dex1", **options),
        copy_of(tmp_path / "b", "dex1", defect=defect, **options),
    )
    before, after = listing(whole), listing(broken)
    assert len({name for name in before if before[name] != after.get(name)}) == 1


def test_the_last_files_of_v3_hold_what_is_left(tmp_path: Path) -> None:
    root = make(tmp_path, "so101", version="3.0", episodes=5)
    assert [len(pq.read_table(f)) for f in sorted(root.glob("data/*/*.parquet"))] == [40 + 41, 42 + 43, 44]
    assert json.loads((root / "meta/info.json").read_text())["total_frames"] == 210
