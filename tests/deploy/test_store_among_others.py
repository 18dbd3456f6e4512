"""A store on a machine that others use, too: their links, their files, their keys and their servers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dm_isaac_g1.core.errors import RefusedError
from dm_isaac_g1.deploy import disk_program, ledger_program, objects_program, store_program
from dm_isaac_g1.deploy.disk_program import Refused
from dm_isaac_g1.deploy.program import Locked, NoWay
from dm_isaac_g1.deploy.runtimes import switch_program
from dm_isaac_g1.deploy.store import Missing
from dm_isaac_g1.deploy.transfer import direct, key_program

CHUNK = 1 << 20
USER_KEY = "ssh-ed25519 AAAA user@laptop\n"
OUR_KEY = "ssh-ed25519 " + "A" * 68


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> store_program.Store:
    monkeypatch.setattr(disk_program, "say", lambda value: None)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return store_program.Store(str(tmp_path / "models"))


@pytest.fixture
def keys(store: store_program.Store, tmp_path: Path) -> Path:
    path = tmp_path / "home" / ".ssh" / "authorized_keys"
    path.parent.mkdir(mode=0o700)
    path.write_text(USER_KEY)
    path.chmod(0o644)
    return path


def release(store: store_program.Store, name: str, data: bytes) -> Path:
    """A release of one file."""
    digest = hashlib.sha256(data).hexdigest()
    row = {"path": "config.json", "bytes": len(data), "sha256": digest, "chunks": [digest]}
    manifest = {"chunk": CHUNK, "files": [row]}
    store_program.prepare(store, f"t-{name}", manifest)
    store.content.write(row, 0, CHUNK, memoryview(data))
    return Path(store_program.commit(store, f"t-{name}", manifest, {"id": name})["path"])


def open_door(store: store_program.Store) -> None:
    key_program.open_door(store, "t1", "pass", OUR_KEY, None, 60)


# --- Files that cannot be removed -------------------------------------------------------------------------------------


@contextlib.contextmanager
def undeletable(name: str) -> Iterator[None]:
    """As for a file that root wrote from a container: it is not ours to remove. Also where root runs the tests."""
    unlink = os.unlink

    def refusing(path: Any, **more: Any) -> None:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", path)
        unlink(path, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "unlink", refusing)
        yield


def test_a_file_that_root_left_in_an_old_release_stops_no_deploy(store: store_program.Store) -> None:
    folder = release(store, "old", b"old")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "stuck.pyc").touch()
    digest = hashlib.sha256(b"old").hexdigest()
    with undeletable("stuck.pyc"):
        assert store_program.remove(store, "old")["freed"] > 0
        assert not folder.exists()
        assert not Path(store.content.object(digest)).exists(), "its other files take room for good"
        removed = Path(store.content.staging) / "removed"
        os.utime(removed, (1, 1))
        for name in ("new", "newer"):
            assert release(store, name, name.encode()).is_dir()
        release(store, "old", b"old")
        store_program.remove(store, "old")
    os.utime(removed, (1, 1))
    release(store, "newest", b"newest")
    assert not removed.exists(), "it stays when it could go"


# --- What serves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen_at", ["{models}/rel/served", "--model-path=/models/rel/served/"])
def test_a_release_that_a_server_has_stays_whichever_port_it_serves(store: store_program.Store, seen_at: str) -> None:
    for name in ("serve", "served"):
        release(store, name, name.encode())
    argv = [sys.executable, "-c", "import time; time.sleep(60)", "--model", seen_at.format(models=store.root)]
    with subprocess.Popen(argv) as server:
        try:
            until = time.monotonic() + 10
            while not Path(f"/proc/{server.pid}/cmdline").read_bytes():  # Popen returns in the midst of exec
                assert time.monotonic() < until
            with pytest.raises(Refused, match=f"process {server.pid} serves it"):
                store_program.remove(store, "served")
            store_program.remove(store, "serve")
        finally:
            server.kill()
    assert store_program.verify(store, "served") == []
    store_program.remove(store, "served")
    assert not Path(store.folder("served")).exists()


# --- Links ------------------------------------------------------------------------------------------------------------


def test_a_link_in_place_of_a_file_to_be_written_is_not_written_through(
    store: store_program.Store, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o640)
    data = b"x" * (CHUNK + 1)
    row = {"path": "f", "bytes": len(data), "sha256": "0" * 64, "chunks": ["0" * 64, "1" * 64]}
    content = store.content
    journal = content.journal(row)

    def plant(path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
        Path(path).symlink_to(victim)

    plant(store.path(f"txn.json.new-{os.getpid()}"))
    disk_program.write_json(store.path("txn.json"), {})
    plant(Path(store.root) / f".outcome.json-{os.getpid()}")
    switch_program.write(store.root, "outcome.json", {})
    plant(journal + ".new")
    content.claim(row, {0})
    plant(journal)
    with pytest.raises(OSError, match="symbolic link"):
        content.write(row, 0, CHUNK, memoryview(data[:CHUNK]))
    plant(content.part("0" * 64))
    with pytest.raises(OSError, match="symbolic link"):
        objects_program.set_mode(content.part("0" * 64), 0o444)
    assert victim.read_text() == "mine"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o640


def test_a_folder_that_is_swapped_for_a_link_while_it_is_removed_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trash" / "sub").mkdir(parents=True)
    (tmp_path / "trash" / "sub" / "file").touch()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious").touch()

    def swapping(call: Callable[..., Any]) -> Callable[..., Any]:
        def swapped(path: Any, *args: Any, **more: Any) -> Any:
            """At the last moment before the folder is opened or listed, by its name or within its parent."""
            if str(path).endswith("sub") and not (tmp_path / "moved").exists():
                (tmp_path / "trash" / "sub").rename(tmp_path / "moved")
                (tmp_path / "trash" / "sub").symlink_to(tmp_path / "home")
            return call(path, *args, **more)

        return swapped

    for name in ("open", "listdir"):
        monkeypatch.setattr(os, name, swapping(getattr(os, name)))
    with contextlib.suppress(OSError):
        disk_program.erase(str(tmp_path / "trash"))
    monkeypatch.undo()
    assert (tmp_path / "moved").exists()
    assert (tmp_path / "home" / "precious").exists()


# --- The user's keys --------------------------------------------------------------------------------------------------


def test_a_key_that_the_user_adds_while_ours_comes_or_goes_is_kept(
    store: store_program.Store, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, added = os.rename, 0
    write = disk_program.write_whole

    def late(path: str, *args: Any, **more: Any) -> None:
        """An editor saves between our reading and our writing, the first time."""
        nonlocal added
        if path == str(keys) and added % 2 == 0:
            beside = keys.with_name("edited")
            beside.write_bytes(keys.read_bytes() + f"ssh-ed25519 B{added} added\n".encode())
            rename(beside, keys)
        added += path == str(keys)
        write(path, *args, **more)

    monkeypatch.setattr(key_program, "write_whole", late)
    open_door(store)
    key_program.close_door(store)
    assert keys.read_text() == USER_KEY + "ssh-ed25519 B0 added\nssh-ed25519 B2 added\n"


def test_authorized_keys_keep_their_mode_and_owner_whatever_the_umask(store: store_program.Store, keys: Path) -> None:
    if os.geteuid() == 0:
        os.chown(keys, 1234, 1234)
    before, umask = keys.stat(), os.umask(0o077)
    try:
        open_door(store)
        key_program.close_door(store)
    finally:
        os.umask(umask)
    after = keys.stat()
    assert keys.read_text() == USER_KEY
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_what_a_killed_program_left_beside_the_keys_goes_and_the_users_copies_stay(
    store: store_program.Store, keys: Path
) -> None:
    left, mine = keys.with_name(f"authorized_keys.new-{'0' * 16}"), keys.with_name("authorized_keys.new")
    for path in (left, mine):
        path.touch()
    open_door(store)
    assert (left.exists(), mine.exists()) == (False, True)


def test_a_dead_consoles_key_goes_with_its_deploy_also_where_its_token_is_known(
    store: store_program.Store, keys: Path
) -> None:
    store.token = ledger_program.acquire(store, "me", 30, "t1")["token"]
    open_door(store)
    assert "dm-g1-copy" in keys.read_text()
    # Its console is killed; the next one of the same machine goes on with its token.
    ledger_program.acquire(store_program.Store(store.root, store.token), "me", 30, "t1")
    assert keys.read_text() == USER_KEY


@pytest.mark.parametrize(("said", "raised"), [(RefusedError, NoWay), (Locked, Locked)])
async def test_keys_that_cannot_be_added_to_cost_the_direct_way_and_not_the_deploy(
    said: type[RefusedError], raised: type[Exception]
) -> None:
    async def ask(op: str, **args: Any) -> Any:
        raise said("authorized_keys is larger than any that was made by hand")

    store = SimpleNamespace(root="/models", ask=ask, host=SimpleNamespace(name="spark"))
    trip: Any = SimpleNamespace(store=store, txn="t1")
    with pytest.raises(raised):
        await direct.let_in(trip, OUR_KEY, None, Missing(chunks=(), bytes=0))


# --- Looking ----------------------------------------------------------------------------------------------------------


def test_damage_that_is_found_while_somebody_else_deploys_is_said_and_nothing_is_moved(
    store: store_program.Store,
) -> None:
    path = release(store, "m-1", b"as it was") / "config.json"
    path.chmod(0o600)
    path.write_bytes(b"not so any more"[:9])
    store.token = ledger_program.acquire(store, "deploying", 30, "t2")["token"]
    object_ = Path(store.content.object(hashlib.sha256(b"as it was").hexdigest()))
    before = object_.stat()
    looking = store_program.Store(store.root, make=False)
    (found,) = store_program.verify(looking, "m-1")
    assert found == {"path": "config.json", "chunks": [0]}
    assert object_.stat() == before
    assert store_program.verify(store, "m-1") == [found]
    assert not object_.exists(), "who deploys has it sent again"
    assert time.time() < ledger_program.renew(store, 30)["until"]
