"""The sh stream's lines, and the agent's, turned into samples. Pure."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.remote import wire
from dm_isaac_g1.remote.probe import ProbeReader, _absolute
from dm_isaac_g1.remote.sampling import Sampler

PATHS = {"workspace": "~/dm-g1", "caches": "/big/cache"}
LINES = [
    b"N",
    b"M MemTotal:       125442396 kB",
    b"M MemFree:          2369088 kB",
    b"M MemAvailable:   116370624 kB",
    b"L 0.52 0.58 0.59 1/467 12345",
    b"C cpu  100 0 100 800 0 0 0 0 0 0",
    b"D 0 /dev/nvme0n1p2 1921802432 400000000 1424140544  22% /",
    b"D 1 /dev/sda1 1000 400 600 40% /big disk",
]


def test_a_block_of_lines_becomes_a_sample() -> None:
    reader = ProbeReader(PATHS)
    assert [reader.feed(line) for line in LINES] == [None] * len(LINES)
    said = reader.feed(b"T 1763660000")
    assert said is not None
    sample = Sampler("box").take(said)
    assert sample.memory is not None
    assert (sample.memory.total, sample.memory.available) == (125442396 * 1024, 116370624 * 1024)
    assert (sample.load1, sample.t_wall, sample.cpu) == (0.52, 1763660000.0, None)
    assert (sample.gpu_state, sample.gpu_note) == ("none", "nvidia-smi not found")
    assert [(disk.mount, disk.avail, disk.paths) for disk in sample.disks] == [
        ("/", 1424140544 * 1024, ("workspace",)),
        ("/big disk", 600 * 1024, ("caches",)),
    ]
    reader.feed(b"C cpu  150 0 100 850 0 0 0 0 0 0")
    again = reader.feed(b"T 1763660001")
    assert again is not None
    assert (again.cpu, again.seq) == (50.0, said.seq + 1)


def test_nvidia_smis_rows_go_with_the_sample_and_its_errors_become_the_note() -> None:
    reader = ProbeReader(PATHS)
    for line in (b"G index, name, utilization.gpu [%]", b"G 0, NVIDIA X, 7"):
        reader.feed(line)
    said = reader.feed(b"T 1")
    assert said is not None
    assert Sampler("box").take(said).gpus[0].util == 7.0
    broken = ProbeReader(PATHS)
    broken.feed(b"G NVIDIA-SMI has failed because \x1b[31mit could not")
    said = broken.feed(b"T 1")
    assert said is not None
    assert Sampler("box").take(said).gpu_note == "NVIDIA-SMI has failed because it could not"


@given(
    st.lists(
        st.one_of(st.binary(), st.builds(bytes.__add__, st.sampled_from(b"H U M L C D G T N".split()), st.binary()))
    )
)
def test_no_line_breaks_the_reader(lines: list[bytes]) -> None:
    reader, sampler = ProbeReader(PATHS), Sampler("box")
    for line in lines:
        said = reader.feed(line)
        if said is not None:
            sampler.take(said)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("~", "/home/u"), ("~/x", "/home/u/x"), ("datasets", "/home/u/dm-g1/datasets"), ("/a/../b", "/b"), ("~x", "~x")],
)
def test_paths_become_absolute(path: str, expected: str) -> None:
    assert _absolute(path, "/home/u/dm-g1", "/home/u").endswith(expected)


# Whatever a hostile agent may say in a line that decodes, a sample comes of it.

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
TREES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=8)
FIELDS = list(wire.Sampled.__struct_fields__)


@given(
    st.dictionaries(st.sampled_from(FIELDS), TREES),
    st.lists(st.text(), max_size=4),
    st.text(),
    st.dictionaries(st.text(), st.text(), max_size=2),
)
def test_no_line_that_decodes_breaks_the_sampler(
    odd: dict[str, object], rows: list[str], head: str, containers: dict[str, str]
) -> None:
    line = {
        "kind": "sample",
        "seq": 1,
        "t_mono": 1.0,
        "t_wall": 2.0,
        "memory": [100, 50, 25],
        "gpu": {"state": "ok", "head": head, "rows": rows},
        "apps": {"rows": rows, "containers": containers},
        **odd,
    }
    try:
        said = wire.decoder.decode(msgspec.json.encode(line))
    except (msgspec.DecodeError, OverflowError, ValueError):
        return
    assert isinstance(said, wire.Sampled)
    sample = Sampler("box").take(said)
    for each in sample.processes:
        assert each.name.isprintable() or "\t" in each.name
