"""A store on a real host: what is written is there, one at a time writes, and nothing is made by looking."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from twohosts import CHUNK, TwoHosts, same, two_hosts

from dm_isaac_g1.core.deployments import HistoryEntry
from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.deploy.program import Locked, NoSpace
from dm_isaac_g1.deploy.store import Store
from dm_isaac_g1.deploy.transfer import copy
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(120)]


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[TwoHosts]:
    require_sshd()
    async with two_hosts(tmp_path) as both, both.store.held():
        yield both


async def deployed(hosts: TwoHosts, name: str = "model", **more: tuple[int, ...]) -> tuple[Path, str]:
    """A model of the source, as a release in the store; its folder and the release's id."""
    folder = hosts.model(name, **more)
    manifest = await hosts.manifest(folder)
    await copy(hosts.source, str(folder), hosts.store, manifest, name)
    return folder, (await hosts.release(manifest, name)).id


def entry(id: str) -> HistoryEntry:
    return HistoryEntry(id=id, at=1.0, what="deploy", release="r", outcome="done")


async def test_looking_makes_nothing_on_the_host(hosts: TwoHosts) -> None:
    folder = hosts.model()
    manifest = await hosts.manifest(folder)
    state = await hosts.store.look()
    missing = await hosts.store.missing(manifest)
    assert (state.current, state.releases, state.history, state.lock, state.transaction) == (None, (), (), None, None)
    assert missing.bytes == manifest.bytes
    assert state.free > 0
    assert not hosts.models.exists()


async def test_a_release_is_the_model_file_by_file_and_cannot_be_written_to(hosts: TwoHosts) -> None:
    folder, id = await deployed(hosts)
    same(folder, hosts.models / "rel" / id)
    for path in (hosts.models / "rel" / id).rglob("*.bin"):
        assert path.stat().st_mode & 0o222 == 0
        assert path.stat().st_nlink == 2, "not the store's own file"
    (release,) = await hosts.store.releases()
    assert (release.id, release.bytes) == (id, sum(path.stat().st_size for path in folder.rglob("*.bin")))
    assert release.path == str(hosts.models / "rel" / id)
    assert (await hosts.store.manifest_of(id)) == await hosts.manifest(folder)


async def test_a_file_in_two_releases_lies_there_once_and_stays_until_the_last_goes(hosts: TwoHosts) -> None:
    one, first = await deployed(hosts, "one")
    two = hosts.model("two", sizes=(CHUNK + 1,))
    (two / "same.bin").write_bytes((one / "0.bin").read_bytes())
    manifest = await hosts.manifest(two)
    assert (await hosts.store.missing(manifest)).bytes == CHUNK + 1
    await copy(hosts.source, str(two), hosts.store, manifest, "t2")
    second = (await hosts.release(manifest, "t2")).id
    before = len(hosts.objects())
    freed = await hosts.store.remove(first)
    same(two, hosts.models / "rel" / second)
    assert freed > 0
    assert before - len(hosts.objects()) == 3, "the three files that are in no other release"
    assert await hosts.store.verify(second) == ()
    await hosts.store.remove(second)
    assert hosts.objects() == []
    assert await hosts.store.releases() == ()


async def test_current_switches_with_no_moment_between(hosts: TwoHosts) -> None:
    _, first = await deployed(hosts, "one")
    _, second = await deployed(hosts, "two")
    assert await hosts.store.set_current(first) is None
    link, seen, done = hosts.models / "current", set(), False

    def watch() -> None:
        while not done:
            seen.add(os.path.basename(os.readlink(link)))
            assert (link / "0.bin").exists()

    watching = asyncio.create_task(asyncio.to_thread(watch))
    for turn in range(20):
        assert await hosts.store.set_current((second, first)[turn % 2]) == (first, second)[turn % 2]
    done = True
    await watching
    assert seen <= {first, second}
    assert (await hosts.store.look()).current == first
    with pytest.raises(RefusedError, match="current release"):
        await hosts.store.remove(first)
    with pytest.raises(UsageError, match="no release"):
        await hosts.store.set_current("nobody-000000000000")


async def test_a_folder_in_place_of_current_is_not_touched(hosts: TwoHosts) -> None:
    _, id = await deployed(hosts)
    (hosts.models / "current").mkdir()
    (hosts.models / "current" / "mine").touch()
    with pytest.raises(RefusedError, match="not a link"):
        await hosts.store.set_current(id)
    assert (hosts.models / "current" / "mine").exists()


async def test_of_two_deploys_at_once_the_second_is_told_who_is_at_it(hosts: TwoHosts) -> None:
    stores = [Store(hosts.spark) for _ in range(6)]

    async def begin(number: int) -> str | None:
        try:
            await stores[number].acquire_lock(f"user{number}@laptop", 30, f"txn{number}")
        except Locked as refusal:
            return str(refusal)
        return None

    said = await asyncio.gather(*(begin(number) for number in range(len(stores))))
    assert said.count(None) == 1
    winner = said.index(None)
    for line in said:
        assert line is None or f"user{winner}@laptop" in line
    loser = stores[(winner + 1) % len(stores)]
    with pytest.raises(Locked):
        await loser.write_transaction({"id": "other"})
    with pytest.raises(Locked):
        await loser.append_history(entry("other"))
    await stores[winner].write_transaction({"id": f"txn{winner}"})
    await stores[winner].release_lock()
    await loser.acquire_lock("next", 30)
    assert (await loser.look()).lock.owner == "next"  # type: ignore[union-attr]


async def test_a_dead_owners_lock_is_taken_over_after_its_lease_and_the_late_one_writes_no_more(
    hosts: TwoHosts,
) -> None:
    dead, next_ = Store(hosts.spark), Store(hosts.spark)
    await dead.acquire_lock("dead", 1.0, "t1")
    with pytest.raises(Locked, match="dead"):
        await next_.acquire_lock("next", 30)
    await asyncio.sleep(1.1)
    await dead.write_transaction({"step": "late, and nobody came"})
    await next_.acquire_lock("next", 30)
    for late in (dead.renew(30), dead.write_transaction({}), dead.append_history(entry("x")), dead.remove("x-0")):
        with pytest.raises(Locked):
            await late
    assert (await next_.read_transaction()) == {"step": "late, and nobody came"}
    await dead.release_lock()
    assert (await next_.look()).lock is not None, "somebody else's lock was given back"


async def test_a_transaction_is_whole_on_the_disk_or_the_one_before(hosts: TwoHosts) -> None:
    await hosts.store.write_transaction({"step": "copy", "n": 1})
    assert json.loads((hosts.models / "txn.json").read_bytes()) == {"step": "copy", "n": 1}
    await hosts.store.write_transaction({"step": "verify"})
    assert await hosts.store.read_transaction() == {"step": "verify"}
    await hosts.store.write_transaction(None)
    assert await hosts.store.read_transaction() is None
    assert [path.name for path in hosts.models.iterdir() if "new" in path.name] == []


async def test_history_survives_a_line_that_was_cut_off_and_an_entry_that_comes_twice(hosts: TwoHosts) -> None:
    await hosts.store.append_history(entry("one"))
    with (hosts.models / "deploys.jsonl").open("ab") as file:
        file.write(b'{"id": "torn", "at": 1')
    await hosts.store.append_history(entry("two"))
    await hosts.store.append_history(entry("one"))
    assert [each.id for each in await hosts.store.history()] == ["two", "one"]


async def test_what_does_not_fit_is_refused_before_a_byte_is_sent(hosts: TwoHosts) -> None:
    folder = hosts.model()
    manifest = await hosts.manifest(folder)
    chunk, chunks = 256 << 20, ("0" * 64,) * 65536
    digest = hashlib.sha256(bytes.fromhex("".join(chunks))).hexdigest()
    file = msgspec.structs.replace(manifest.files[0], bytes=len(chunks) * chunk, chunks=chunks, sha256=digest)
    large = msgspec.structs.replace(manifest, files=(file,), chunk=chunk)  # 16 TiB
    with pytest.raises(NoSpace, match="are free") as refusal:
        await copy(hosts.source, str(folder), hosts.store, large, "t1")
    assert refusal.value.fix is not None and "free " in refusal.value.fix
    assert hosts.parts() == []
