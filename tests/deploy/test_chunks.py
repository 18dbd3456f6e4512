"""Chunks between a model's folder and a store, without a network: damaged ones are found, and nothing else is sent."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import random
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dm_isaac_g1.deploy import arriving_program, disk_program, manifest_program, objects_program, program, store_program
from dm_isaac_g1.deploy.disk_program import Refused
from dm_isaac_g1.deploy.transfer import local_program, send_program

CHUNK = 4096
SIZES = {"a/shard-1.bin": 5 * CHUNK + 7, "a/shard-2.bin": 2 * CHUNK, "config.json": 33, "empty": 0}


class Pair:
    """A model's folder and a store on this machine."""

    def __init__(self, folder: Path) -> None:
        self.model = folder / "model"
        chance = random.Random(4)
        for name, size in SIZES.items():
            path = self.model / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chance.randbytes(size))
        self.cache = str(folder / "cache" / "digests.json")
        self.store = store_program.Store(str(folder / "models"))
        self.manifest = self.look()
        self.bytes = sum(SIZES.values())

    def look(self) -> dict[str, Any]:
        said = manifest_program.manifest(str(self.model), None, CHUNK, cache=self.cache)
        return {"files": said["files"], "chunk": CHUNK}

    def prepare(self) -> dict[str, Any]:
        return store_program.prepare(self.store, "t1", self.manifest)

    def stream(self, wanted: list[Any]) -> bytes:
        """What the sender says."""
        reading, writing = os.pipe()
        pieces: list[bytes] = []

        def gather() -> None:
            while piece := os.read(reading, 1 << 16):
                pieces.append(piece)

        thread = threading.Thread(target=gather)
        thread.start()
        try:
            send_program.stream(str(self.model), self.manifest, wanted, [], writing)
        finally:
            os.close(writing)
            thread.join()
            os.close(reading)
        return b"".join(pieces)

    def receive(self, data: bytes) -> dict[str, Any]:
        return arriving_program.take(self.store.content, self.manifest, io.BufferedReader(io.BytesIO(data)), 0)  # type: ignore[type-var]

    def commit(self) -> Path:
        return Path(store_program.commit(self.store, "t1", self.manifest, {"id": "m-1"})["path"])

    def part(self, name: str) -> Path:
        (row,) = (row for row in self.manifest["files"] if row["path"] == name)
        return Path(self.store.content.part(row["sha256"]))


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    for module in (disk_program, arriving_program):
        monkeypatch.setattr(module, "say", lambda value: None)
    return Pair(tmp_path)


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_program, "say", lambda value: None)
        yield


def flip(path: Path, at: int) -> None:
    """One bit of a file, its size and times as before."""
    before = path.stat()
    mode = stat.S_IMODE(before.st_mode)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(mode)


def chunks(wanted: dict[str, Any]) -> list[tuple[int, int]]:
    return [(place, index) for place, indexes in wanted["chunks"] for index in indexes]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, sum(SIZES.values()) - 1), bit=st.integers(0, 7))
def test_a_byte_that_changes_on_the_way_costs_its_chunk_and_nothing_else(
    quiet: None, tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    stream = bytearray(pair.stream(pair.prepare()["chunks"]))
    # The at-th byte of content: past the headers before it.
    offset, left, hit = 0, at, None
    while hit is None:
        _, place, index, size = objects_program.FRAME.unpack_from(stream, offset)
        offset += objects_program.FRAME.size
        if left < size:
            stream[offset + left] ^= 1 << bit
            hit = (place, index)
        left -= size
        offset += size
    assert pair.receive(bytes(stream))["bad"] == [list(hit)]
    with pytest.raises(Refused, match="not arrived"):
        pair.commit()
    again = pair.prepare()
    assert chunks(again) == [hit]
    assert pair.receive(pair.stream(again["chunks"]))["bad"] == []
    release = pair.commit()
    for name in SIZES:
        assert (release / name).read_bytes() == (pair.model / name).read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([name for name, size in SIZES.items() if size]), share=st.floats(0, 0.999))
def test_a_byte_that_changes_on_the_disk_is_found_and_mended_by_its_chunk_alone(
    quiet: None, tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    at = int(share * SIZES[name])
    place = [row["path"] for row in pair.manifest["files"]].index(name)
    pair.receive(pair.stream(pair.prepare()["chunks"]))
    flip(pair.part(name), at)  # before it is a release
    again = pair.prepare()
    assert (chunks(again), again["damaged"]) == ([(place, at // CHUNK)], 1)
    pair.receive(pair.stream(again["chunks"]))
    release = pair.commit()
    inode = (release / name).stat().st_ino
    assert store_program.verify(pair.store, "m-1") == []
    flip(release / name, at)  # and after
    (found,) = store_program.verify(pair.store, "m-1")
    assert (found["path"], found["chunks"]) == (name, [at // CHUNK])
    again = pair.prepare()
    assert chunks(again) == [(place, at // CHUNK)]
    pair.receive(pair.stream(again["chunks"]))
    pair.commit()
    assert store_program.verify(pair.store, "m-1") == []
    assert (release / name).stat().st_ino == inode, "a server that has the file open sees it mended, too"
    assert (release / name).read_bytes() == (pair.model / name).read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5, 0.75, 0.99])
def test_a_stream_that_is_cut_off_costs_one_chunk_at_most(pair: Pair, share: float) -> None:
    stream = pair.stream(pair.prepare()["chunks"])
    kept = stream[: int(share * len(stream))]
    with pytest.raises(Refused, match="cut off") as refusal:
        pair.receive(kept)
    assert refusal.value.kind == "cut"
    again = pair.prepare()
    headers = objects_program.FRAME.size * 11
    assert again["bytes"] <= pair.bytes - (len(kept) - headers) + CHUNK
    assert again["damaged"] == 0
    assert pair.receive(pair.stream(again["chunks"]))["bad"] == []
    pair.commit()


def test_a_journal_that_promises_too_much_is_not_believed(pair: Pair) -> None:
    """A host that lost its power: the journal was written, the data not."""
    pair.receive(pair.stream(pair.prepare()["chunks"]))
    for name in ("a/shard-1.bin", "config.json"):
        size = pair.part(name).stat().st_size
        pair.part(name).write_bytes(b"\0" * size)
    journal = pair.part("a/shard-2.bin").with_name(pair.part("a/shard-2.bin").name + ".chunks")
    journal.write_bytes(b"0\n1")  # cut off: 1 of 1, or of 12?
    again = pair.prepare()
    assert again["bytes"] == SIZES["a/shard-1.bin"] + SIZES["config.json"] + CHUNK
    pair.receive(pair.stream(again["chunks"]))
    release = pair.commit()
    assert store_program.verify(pair.store, "m-1") == []
    assert (release / "empty").stat().st_size == 0


def test_a_file_that_is_written_to_after_its_digests_is_not_taken(pair: Pair) -> None:
    flip(pair.model / "a/shard-1.bin", 3 * CHUNK + 5)
    assert pair.receive(pair.stream(pair.prepare()["chunks"]))["bad"] == [[0, 3]]
    os.truncate(pair.model / "a/shard-1.bin", CHUNK)
    with pytest.raises(Refused, match="cut off since"):
        pair.stream(pair.prepare()["chunks"])


def test_digests_are_remembered_until_the_file_changes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> int:
        return int(manifest_program.manifest(str(pair.model), None, CHUNK, cache=pair.cache)["hashed"])

    assert ask() == pair.bytes, "too young to be remembered: its next change may leave the same time"
    monkeypatch.setattr(manifest_program, "SETTLED_S", -1.0)
    assert [ask(), ask()] == [pair.bytes, 0]
    flip(pair.model / "config.json", 3)  # its size and mtime are as before
    assert ask() == SIZES["config.json"]
    Path(pair.cache).write_bytes(b'{"half')
    assert ask() == pair.bytes


def test_a_copy_on_the_machine_itself_is_a_file_of_its_own(pair: Pair) -> None:
    wanted = pair.prepare()["chunks"]
    assert local_program.take(pair.store, "t1", str(pair.model), wanted) == {"arrived": pair.bytes, "bad": []}
    release = pair.commit()
    (pair.model / "config.json").write_text("overwritten")
    assert store_program.verify(pair.store, "m-1") == []
    assert (release / "config.json").stat().st_ino != (pair.model / "config.json").stat().st_ino


@pytest.mark.parametrize(
    "name",
    ["../out", "/etc/passwd", "a/../../out", "a//b", "./a", "", "a/", "a\nb", "\x1b[2J", "a\0b", "x" * 300, "."],
)
def test_names_that_lead_elsewhere_are_refused_on_both_sides(pair: Pair, name: str) -> None:
    with pytest.raises(Refused):
        manifest_program.manifest(str(pair.model), [name], CHUNK, cache=pair.cache)
    row = dict(pair.manifest["files"][0], path=name)
    with pytest.raises(Refused):
        objects_program.check_manifest({"files": [row], "chunk": CHUNK})


def test_a_file_and_a_folder_of_one_name_are_refused(pair: Pair) -> None:
    rows = [dict(pair.manifest["files"][0], path=path) for path in ("a", "a/b")]
    with pytest.raises(Refused, match="below what is a file"):
        objects_program.check_manifest({"files": rows, "chunk": CHUNK})
    with pytest.raises(Refused, match="twice"):
        objects_program.check_manifest({"files": [rows[0], rows[0]], "chunk": CHUNK})


def test_a_manifest_cannot_give_a_file_the_name_of_another_one(pair: Pair) -> None:
    """Else a host could put its content where the store looks for somebody else's."""
    rows = [dict(row) for row in pair.manifest["files"]]
    rows[0]["sha256"] = rows[1]["sha256"]
    with pytest.raises(Refused, match="make no sense"):
        objects_program.check_manifest({"files": rows, "chunk": CHUNK})


@pytest.mark.parametrize(
    "broken",
    [None, {}, {"files": 3, "chunk": 1}, {"files": [{}], "chunk": CHUNK}, {"files": [], "chunk": 0}, {"files": []}],
)
def test_a_manifest_that_makes_no_sense_is_refused(broken: Any) -> None:
    with pytest.raises(Refused):
        objects_program.check_manifest(broken)


def test_links_devices_and_pipes_are_not_followed_out_of_a_model(pair: Pair, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not part of a model")
    (pair.model / "link").symlink_to(secret)
    with pytest.raises(Refused, match="outside the model"):
        pair.look()
    (pair.model / "link").unlink()
    (pair.model / "up").symlink_to(tmp_path)
    with pytest.raises(Refused, match="outside the model"):
        manifest_program.manifest(str(pair.model), ["up/secret"], CHUNK, cache=pair.cache)
    os.mkfifo(pair.model / "pipe")
    with pytest.raises(Refused, match="not a regular file"):
        manifest_program.manifest(str(pair.model), ["pipe"], CHUNK, cache=pair.cache)
    (pair.model / "pipe").unlink()
    (pair.model / "device").symlink_to("/dev/zero")
    with pytest.raises(Refused, match="not a regular file"):
        manifest_program.manifest(str(pair.model), ["device"], CHUNK, cache=pair.cache)


def test_a_hub_caches_links_lead_to_its_blobs(pair: Pair, tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / "abc").write_bytes(b"weights")
    (pair.model / "model.safetensors").symlink_to(blobs / "abc")
    said = manifest_program.manifest(str(pair.model), ["model.safetensors"], CHUNK, [str(blobs)], cache=pair.cache)
    assert said["files"][0]["bytes"] == 7


def test_a_stream_that_makes_no_sense_is_refused(pair: Pair) -> None:
    pair.prepare()
    frame = objects_program.FRAME.pack
    for stream in (frame(b"C", 99, 0, 10), frame(b"C", 0, 99, 10), frame(b"C", 0, 0, 1 << 60), frame(b"X", 0, 0, 10)):
        with pytest.raises(Refused):
            pair.receive(stream + b"\0" * 100)
    assert list((Path(pair.store.root) / ".staging" / "parts").iterdir()) == []


CALLS = ("rename", "link", "unlink", "chmod", "fsync", "mkdir", "symlink", "open", "rmdir")


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do it in a process of its own that is gone at its `number`th call of the file system; whether it was."""
    child = os.fork()
    if child == 0:
        left = number

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*args: Any, **more: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(9)
                return call(*args, **more)

            return counting

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_commit_killed_at_every_single_step_is_gone_on_with(
    quiet: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    number, killed = 0, True
    while killed:
        pair = Pair(tmp_path_factory.mktemp("pair"))
        pair.receive(pair.stream(pair.prepare()["chunks"]))
        killed = killed_at(number, pair.commit)
        for release in (Path(pair.store.root) / "rel").iterdir():
            assert {str(p.relative_to(release)) for p in release.rglob("*") if p.is_file()} == set(SIZES), "half of one"
        release = pair.commit()
        assert store_program.verify(pair.store, "m-1") == []
        for name in SIZES:
            assert (release / name).read_bytes() == (pair.model / name).read_bytes()
        number += 1
    assert number > 30


def test_a_switch_or_removal_killed_at_every_single_step_leaves_one_or_the_other(
    quiet: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    pair.receive(pair.stream(pair.prepare()["chunks"]))
    pair.commit()
    for id in ("m-2", "m-3"):
        store_program.commit(pair.store, "t1", pair.manifest, {"id": id})
    store_program.set_current(pair.store, "m-1")
    number = 0
    while killed_at(number, lambda: store_program.set_current(pair.store, "m-2")):
        assert pair.store.current() in ("m-1", "m-2")
        number += 1
    assert (number > 2, pair.store.current()) == (True, "m-2")
    number = 0
    while killed_at(number, lambda: store_program.remove(pair.store, "m-3")):
        number += 1
    assert number > 5
    store_program.remove(pair.store, "m-3")
    assert not (Path(pair.store.root) / "rel" / "m-3").exists()
    assert store_program.verify(pair.store, "m-1") == store_program.verify(pair.store, "m-2") == []


def test_what_killed_ones_left_goes_after_a_day(pair: Pair) -> None:
    pair.receive(pair.stream(pair.prepare()["chunks"]))
    root = Path(pair.store.root)
    left = [root / "txn.json.new-12", root / ".staging" / "t0" / "receive.py", root / ".staging" / "parts" / ("0" * 64)]
    kept = [root / "mine", root / ".staging" / "parts" / ("1" * 64)]
    for path in (*left, *kept):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    for path in (*left, left[1].parent, kept[0]):
        os.utime(path, (1, 1))
    pair.commit()
    assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in kept)


def test_programs_for_hosts_are_written_for_python_3_8_and_its_standard_library() -> None:
    for name, source in program.parts():
        for node in ast.walk(ast.parse(source, name, feature_version=(3, 8))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for module in modules:
                    assert module.split(".")[0] in sys.stdlib_module_names or module.startswith("dm_isaac_g1.deploy")


@pytest.mark.parametrize("op", program.NEEDS)
def test_a_question_is_sent_with_all_the_parts_that_it_needs(op: str, tmp_path: Path) -> None:
    root = str(tmp_path / "models")
    asked = program.question(op, root, None, {"nothing": "of use"})
    done = subprocess.run(
        ["python3", "-I", "-S", "-u", "-c", program.BOOT],
        input=json.dumps(asked).encode() + b"\n",
        capture_output=True,
        timeout=60,
    )
    assert b"unexpected keyword argument 'nothing'" in done.stderr, done.stderr.decode()


def test_links_in_place_of_a_stores_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "models" / "rel").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="is no folder"):
        store_program.Store(str(tmp_path / "models"))
