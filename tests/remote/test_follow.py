"""A followed file: every byte once, whatever is done to it. On a real sshd, beside the whole chain."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sshd import Sshd, running

from dm_isaac_g1.core.errors import RemoteFailed
from dm_isaac_g1.remote.files import FileChunk, Position
from dm_isaac_g1.remote.host import Host
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require_sshd()
    with running(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


@pytest.fixture
async def host(box: Sshd) -> AsyncIterator[Host]:
    async with box.host() as up:
        await up.ready(20)
        yield up


class Tail:
    """Follows a file in the background and gathers what comes, a piece for each new file."""

    def __init__(self, host: Host, path: Path, **more: object) -> None:
        self.files: list[bytearray] = [bytearray()]
        self.chunks: list[FileChunk] = []
        self._task = asyncio.create_task(self._read(host.files.follow(str(path), **more)))  # type: ignore[arg-type]

    async def _read(self, chunks: AsyncIterator[FileChunk]) -> None:
        async for chunk in chunks:
            if chunk.restarted:
                self.files.append(bytearray())
            self.files[-1] += chunk.data
            self.chunks.append(chunk)

    async def until(self, *files: bytes, timeout: float = 10.0) -> None:
        deadline = time.monotonic() + timeout
        while [bytes(each) for each in self.files] != list(files):
            if self._task.done():
                await self._task
            if time.monotonic() > deadline:
                raise AssertionError(f"{[bytes(each[-200:]) for each in self.files]}")
            await asyncio.sleep(0.01)

    async def stop(self) -> Position:
        self._task.cancel()
        await asyncio.wait({self._task})
        return self.chunks[-1].position


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_bytes_arrive_as_they_are_within_milliseconds(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"begin\n")
    tail = Tail(host, log)
    await tail.until(b"begin\n")
    whole, late = b"begin\n", []
    for piece in [b"\xff\xfe\x00", b"no newline", b"\r 3%|###", b"\x1b[2J", b"\n"] * 4:
        count = len(tail.chunks)
        began = time.perf_counter()
        append(log, piece)
        whole += piece
        while len(tail.chunks) == count:
            await asyncio.sleep(0)
        late.append(time.perf_counter() - began)
    await tail.until(whole)
    await tail.stop()
    assert sorted(late)[len(late) // 2] < 0.02


async def test_a_burst_of_megabytes_comes_whole_and_in_order(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "log"
    whole = os.urandom(8 << 20) + b"x" * (3 << 20) + b"\n"
    log.write_bytes(whole)
    tail = Tail(host, log)
    await tail.until(whole, timeout=20)
    await tail.stop()


async def test_following_can_begin_near_the_end(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"0123456789")
    tail = Tail(host, log, from_end=4)
    await tail.until(b"6789")
    append(log, b"ab")
    await tail.until(b"6789ab")
    await tail.stop()
    whole = Tail(host, log, from_end=1000)
    await whole.until(b"0123456789ab")
    await whole.stop()


async def test_a_file_that_is_not_there_yet_is_waited_for(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "later" / "log"
    tail = Tail(host, log)
    await asyncio.sleep(0.3)
    log.parent.mkdir()
    log.write_bytes(b"first\n")
    await tail.until(b"first\n")
    await tail.stop()


async def test_a_truncated_file_begins_anew_and_says_so(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old old old\n")
    tail = Tail(host, log)
    await tail.until(b"old old old\n")
    with log.open("wb"):
        pass
    await tail.until(b"old old old\n", b"")
    append(log, b"new\n")
    await tail.until(b"old old old\n", b"new\n")
    await tail.stop()


async def test_a_file_written_anew_and_longer_is_noticed(host: Host, tmp_path: Path) -> None:
    """copytruncate, when the writer is quicker than the eye: size alone shows nothing."""
    log = tmp_path / "log"
    log.write_bytes(b"old\n")
    tail = Tail(host, log)
    await tail.until(b"old\n")
    with log.open("r+b") as file:
        file.write(b"something new\n")
    await tail.until(b"old\n", b"something new\n")
    await tail.stop()


async def test_late_writes_to_a_rotated_file_come_before_its_successor(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "log"
    old = log.open("wb", buffering=0)
    old.write(b"one\n")
    tail = Tail(host, log)
    await tail.until(b"one\n")
    log.rename(tmp_path / "log.1")
    log.write_bytes(b"three\n")
    await asyncio.sleep(0.3)
    old.write(b"two\n")
    old.close()
    await tail.until(b"one\ntwo\n", b"three\n")
    append(log, b"four\n")
    await tail.until(b"one\ntwo\n", b"three\nfour\n")
    await tail.stop()


async def test_a_removed_file_that_comes_back_begins_anew(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    tail = Tail(host, log)
    await tail.until(b"one\n")
    log.unlink()
    await asyncio.sleep(0.3)
    log.write_bytes(b"two\n")
    await tail.until(b"one\n", b"two\n")
    await tail.stop()


async def test_following_goes_on_from_a_position_kept_from_before(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    tail = Tail(host, log)
    await tail.until(b"one\n")
    position = await tail.stop()
    append(log, b"two\n")
    again = Tail(host, log, start=position)
    await again.until(b"two\n")
    await again.stop()


@pytest.mark.parametrize("rotated", ["log.1", "log-20260101"])
async def test_a_file_rotated_while_nobody_looked_is_read_to_its_end_first(
    host: Host, tmp_path: Path, rotated: str
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    tail = Tail(host, log)
    await tail.until(b"one\n")
    position = await tail.stop()
    append(log, b"two\n")
    log.rename(tmp_path / rotated)
    log.write_bytes(b"three\n")
    again = Tail(host, log, start=position)
    await again.until(b"two\n", b"three\n")
    await again.stop()


async def test_a_file_replaced_while_nobody_looked_begins_anew(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"the first run's log\n")
    tail = Tail(host, log)
    await tail.until(b"the first run's log\n")
    position = await tail.stop()
    log.write_bytes(b"the second run's log, and it is longer\n")  # the same inode
    again = Tail(host, log, start=position)
    await again.until(b"", b"the second run's log, and it is longer\n")
    await again.stop()


async def test_what_cannot_be_followed_says_why(host: Host, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(RemoteFailed):
            async for _ in host.files.follow(str(path)):
                pass


async def test_a_slow_reader_stalls_only_itself(host: Host, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(os.urandom(12 << 20))
    chunks = host.files.follow(str(log))
    await anext(chunks)
    await asyncio.sleep(1)  # with what is under way full, the agent must go on answering
    began = time.monotonic()
    assert await host.files.stat(str(log)) is not None
    assert time.monotonic() - began < 1
    samples = host.samples()
    for _ in range(3):
        assert (await anext(samples)).memory is not None
    rest = 0
    async for chunk in chunks:
        rest += len(chunk.data)
        if chunk.at_end:
            break
    assert chunk.position.offset == 12 << 20
    await chunks.aclose()  # type: ignore[attr-defined]


# Single questions.


async def test_files_are_read_from_either_end_and_described(host: Host, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(range(256)))
    path = str(tmp_path / "data")
    assert (await host.files.read(path, 10, 3)).data == b"\x0a\x0b\x0c"
    last = await host.files.read(path, -2, 100)
    assert (last.data, last.at_end, last.size) == (b"\xfe\xff", True, 256)
    found = await host.files.stat(path)
    assert found is not None
    assert (found.kind, found.size) == ("file", 256)
    assert await host.files.stat(str(tmp_path / "nothing")) is None
    with pytest.raises(RemoteFailed, match="No such file"):
        await host.files.read(str(tmp_path / "nothing"))
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    rows = await host.files.list(str(tmp_path))
    assert [(row.name, row.kind) for row in rows] == [("broken", "link"), ("data", "file"), ("link", "file")]
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "events.out.tfevents.1").write_bytes(b"x")
    found_ = await host.files.find(str(tmp_path), "events.out.tfevents.*")
    assert [each.path for each in found_] == [str(tmp_path / "a/b/events.out.tfevents.1")]


async def test_writing_replaces_a_file_whole_or_not_at_all(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "it's; $(id)"
    await host.files.write(str(path), b"\x00\xffone", mode=0o600)
    assert path.read_bytes() == b"\x00\xffone"
    assert path.stat().st_mode & 0o777 == 0o600
    await host.files.write(str(path), b"two")
    assert path.read_bytes() == b"two"
    with pytest.raises(RemoteFailed, match="No such file"):
        await host.files.write(str(tmp_path / "no" / "folder"), b"x")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def checkpoint(folder: Path, *names: str, size: int = 8192, age: float = 100.0) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"x" * size)
    when = time.time() - age
    for each in [*folder.iterdir(), folder]:
        os.utime(each, (when, when))


FULL = ("model.safetensors", "optimizer.pt", "trainer_state.json")


async def test_checkpoints_are_found_measured_and_judged(host: Host, tmp_path: Path) -> None:
    run = tmp_path / "run"
    checkpoint(run / "checkpoint-10", *FULL)
    checkpoint(run / "checkpoint-20", "model.safetensors", "optimizer.pt")
    checkpoint(run / "checkpoint-30", "model.safetensors", "trainer_state.json")
    checkpoint(run / "checkpoint-40-best-0.97", *FULL)
    checkpoint(run / "tmp-checkpoint-50", *FULL)
    checkpoint(run / "broken-checkpoint-5", *FULL)
    checkpoint(run / "checkpoint-60", *FULL, age=0)
    for other in ("checkpoint", "checkpoint-x", "checkpoint-7\x1b[2J", "runs"):
        checkpoint(run / other, *FULL)
    found = {each.name: each for each in await host.files.checkpoints(str(run))}
    assert list(found) == [
        "broken-checkpoint-5",
        "checkpoint-10",
        "checkpoint-20",
        "checkpoint-30",
        "checkpoint-40-best-0.97",
        "tmp-checkpoint-50",
        "checkpoint-60",
    ]
    assert {name for name, each in found.items() if each.complete} == {
        "checkpoint-10",
        "checkpoint-30",
        "checkpoint-40-best-0.97",
        "checkpoint-60",
    }
    assert not found["checkpoint-30"].full
    assert found["checkpoint-40-best-0.97"].best
    assert {name for name, each in found.items() if each.writing} == {"checkpoint-60"}
    ten = found["checkpoint-10"]
    folder = run / "checkpoint-10"
    expected = sum(each.stat().st_blocks * 512 for each in [folder, *folder.iterdir()])
    assert (ten.size, ten.weights, ten.inodes, ten.step) == (expected, 8192, 4, 10)
    # One that grows between two looks is being written, however old its files say they are.
    checkpoint(run / "checkpoint-20" / "more", "shard")
    assert [each.name for each in await host.files.checkpoints(str(run)) if each.writing] == [
        "checkpoint-20",
        "checkpoint-60",
    ]
    assert not any(each.writing for each in await host.files.checkpoints(str(run), ended=True))
    assert await host.files.checkpoints(str(tmp_path / "no-run")) == ()


async def test_a_sibling_with_wandbs_configuration_makes_it_part_of_being_complete(host: Host, tmp_path: Path) -> None:
    checkpoint(tmp_path / "run" / "checkpoint-10", *FULL, "wandb_config.json")
    checkpoint(tmp_path / "run" / "checkpoint-20", *FULL)
    found = await host.files.checkpoints(str(tmp_path / "run"))
    assert [each.complete for each in found] == [True, False]


async def test_disks_are_named_by_their_paths_also_before_those_exist(host: Host, tmp_path: Path) -> None:
    disks = await host.files.disks({"a": str(tmp_path), "b": str(tmp_path / "not" / "yet"), "shm": "/dev/shm"})
    by_path = {path: disk for disk in disks for path in disk.paths}
    assert by_path["a"] == by_path["b"]
    assert by_path["a"].dev == tmp_path.stat().st_dev
    assert by_path["a"].total == shutil.disk_usage(tmp_path).total
    assert by_path["shm"].mount == "/dev/shm"
