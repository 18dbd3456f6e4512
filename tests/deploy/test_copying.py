"""Copies between real hosts: over every way, through every fault, and never more sent than is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
import sshd as openssh
from twohosts import CHUNK, TwoHosts, same, two_hosts

from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed
from dm_isaac_g1.deploy.manifest import manifest_of
from dm_isaac_g1.deploy.program import NoSpace, NoWay
from dm_isaac_g1.deploy.store import Store
from dm_isaac_g1.deploy.transfer import CopyProgress, copy, copying
from dm_isaac_g1.deploy.transfer.console import Console
from dm_isaac_g1.deploy.transfer.direct import Direct
from dm_isaac_g1.deploy.transfer.way import Way
from dm_isaac_g1.remote import transfers
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(120)]

WAYS = [pytest.param(Direct(), id="direct"), pytest.param(Console(), id="console")]


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[TwoHosts]:
    require_sshd()
    async with two_hosts(tmp_path) as both:
        yield both


def our_keys(hosts: TwoHosts) -> list[str]:
    text = hosts.keys.read_text() if hosts.keys.exists() else ""
    return [line for line in text.splitlines() if "dm-g1-copy" in line]


def key_folders() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("dm-g1-key-")}


async def test_a_model_goes_straight_from_host_to_host_and_an_unchanged_one_not_at_all(hosts: TwoHosts) -> None:
    folder = hosts.model()
    manifest = await hosts.manifest(folder)
    hosts.keys.write_text("# mine\nssh-ed25519 AAAA me@laptop\nno newline at the end")
    before, folders = hosts.keys.read_bytes(), key_folders()
    told: list[CopyProgress] = []
    copied = await copy(hosts.source, str(folder), hosts.store, manifest, "t1", tell=told.append)
    assert (copied.method, copied.bytes_sent) == ("direct", manifest.bytes)
    assert all(each.method == "direct" and 0 <= each.done <= each.total == manifest.bytes for each in told)
    release = await hosts.release(manifest)
    same(folder, Path(release.path))
    assert hosts.keys.read_bytes() in (before, before + b"\n"), "the key is gone, all others are as they were"
    assert key_folders() <= folders, "the private key is gone, too"
    again = await copy(hosts.source, str(folder), hosts.store, manifest, "t2", tell=told.append)
    assert (again.method, again.bytes_sent) == ("nothing", 0)


async def test_the_key_is_good_for_this_model_alone_and_for_a_minute(
    hosts: TwoHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody at the source who reads it out of our program's memory."""
    made: list[transfers.OneShotKey] = []
    lines: list[str] = []

    def keep() -> transfers.OneShotKey:
        made.append(real())
        return made[-1]

    real = transfers.one_shot_key
    monkeypatch.setattr("dm_isaac_g1.deploy.transfer.direct.one_shot_key", keep)
    asked = hosts.store.ask

    async def ask(op: str, **args: object) -> object:
        if op == "close_door":
            lines[:] = our_keys(hosts)
            return {}
        return await asked(op, **args)  # type: ignore[arg-type]

    monkeypatch.setattr(hosts.store, "ask", ask)
    folder = hosts.model()
    await copy(hosts.source, str(folder), hosts.store, await hosts.manifest(folder), "t1")
    (line,) = lines
    assert line.startswith('restrict,expiry-time="')
    assert 'from="127.0.0.1"' in line
    assert "PRIVATE KEY" not in repr(made)
    async with asyncssh.connect(
        "127.0.0.1",
        hosts.servers[1].port,
        known_hosts=str(hosts.servers[1].known_hosts),
        client_keys=[asyncssh.import_private_key(made[0].private)],
        config=None,
    ) as thief:
        for command in ("id", "cat /etc/passwd", None):
            done = await thief.run(command, input="what else is there\n", check=False, timeout=20)
            assert "uid=" not in str(done.stdout)
            assert "root:" not in str(done.stdout)
            assert json.loads(str(done.stdout).splitlines()[-1].partition("dm-g1 ")[2])["kind"] in ("cut", "refused")
        with pytest.raises(asyncssh.Error):
            await thief.start_sftp_client()
    assert await hosts.store.missing(await hosts.manifest(folder)) is not None
    monkeypatch.undo()
    await hosts.store.acquire_lock("next", 30)
    assert our_keys(hosts) == [], "whoever deploys next takes away what a killed console left"


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("no ssh client", "no ssh client"),
        ("no route", "does not reach"),
        ("another host key", "verification failed"),
        ("key refused", "denied"),
        ("other command", "answer"),
    ],
)
async def test_where_the_hosts_do_not_reach_each_other_it_goes_through_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, why: str
) -> None:
    require_sshd()
    more = {"other command": {"ForceCommand": "echo welcome; cat > /dev/null"}}.get(fault, {})
    if fault == "key refused":
        more = {"AuthorizedKeysFile": str(tmp_path / "spark" / "authorized_keys")}
    if fault == "other command":
        # Only for who comes straight from the source: our own commands go on.
        more = {}
    async with two_hosts(tmp_path, **more) as hosts:
        door = await transfers.door_of(hosts.spark)
        if fault == "no route":
            door = transfers.Door(("127.0.0.1",), openssh.free_port(), door.user, door.host_key)
        if fault == "another host key":
            other = openssh.public(openssh.keygen(tmp_path / "other"))
            door = transfers.Door(door.addresses, door.port, door.user, other)

        async def reached(host: object) -> transfers.Door:
            return door

        monkeypatch.setattr("dm_isaac_g1.deploy.transfer.direct.door_of", reached)
        if fault == "no ssh client":
            (hosts.servers[0].workspace / "bin").mkdir()
            (hosts.servers[0].workspace / "bin" / "python3").symlink_to(sys.executable)
            monkeypatch.setattr(hosts.source.host_runtime, "spawn", without_ssh(hosts))
        if fault == "other command":
            monkeypatch.setattr("dm_isaac_g1.deploy.program.RUN", "print('welcome to this host')")
        folder = hosts.model()
        manifest = await hosts.manifest(folder)
        with pytest.raises(NoWay, match=why):
            await copy(hosts.source, str(folder), hosts.store, manifest, "t0", ways=[Direct()])
        assert our_keys(hosts) == []
        if fault == "other command":
            monkeypatch.undo()
        copied = await copy(hosts.source, str(folder), hosts.store, manifest, "t1")
        assert copied.method == ("direct" if fault == "other command" else "console")
        same(folder, Path((await hosts.release(manifest)).path))


def without_ssh(hosts: TwoHosts) -> object:
    """`spawn` with a PATH that has python3 and nothing else."""
    spawn = hosts.source.host_runtime.spawn

    async def started(argv: list[str], **more: object) -> object:
        return await spawn(argv, env={"PATH": str(hosts.servers[0].workspace / "bin")}, **more)  # type: ignore[arg-type]

    return started


async def test_a_model_on_the_serve_host_is_copied_there(hosts: TwoHosts) -> None:
    folder = hosts.model()
    manifest = await manifest_of(hosts.spark, str(folder), chunk=CHUNK)
    copied = await copy(hosts.spark, str(folder), hosts.store, manifest, "t1")
    assert (copied.method, copied.bytes_sent) == ("local", 0)
    same(folder, Path((await hosts.release(manifest)).path))


async def test_a_model_on_this_machine_comes_from_here(hosts: TwoHosts) -> None:
    folder = hosts.model()
    manifest = await manifest_of(None, str(folder), ["0.bin", "processor/1.bin"], chunk=CHUNK)
    assert [file.path for file in manifest.files] == ["0.bin", "processor/1.bin"]
    copied = await copy(None, str(folder), hosts.store, manifest, "t1")
    assert (copied.method, copied.bytes_sent) == ("console", manifest.bytes)
    release = await hosts.release(manifest)
    assert sorted(path.name for path in Path(release.path).rglob("*.bin")) == ["0.bin", "1.bin"]


@pytest.mark.parametrize("way", WAYS)
async def test_after_a_cut_in_the_middle_one_chunk_is_sent_again_at_most(
    hosts: TwoHosts, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "BACK_WITHIN_S", 0.2)
    large = 4 << 20
    folder = hosts.model(sizes=(32 << 20,))
    manifest = await manifest_of(hosts.source, str(folder), chunk=large)
    hosts.proxy.limit = manifest.bytes // 2
    with pytest.raises(HostUnreachable):
        await copy(hosts.source, str(folder), hosts.store, manifest, "t1", ways=[way])
    passed = hosts.proxy.passed
    assert passed >= manifest.bytes // 2
    await hosts.proxy.restore()
    await hosts.spark.ready(20)
    resumed = await copy(hosts.source, str(folder), hosts.store, manifest, "t1", ways=[way])
    # Beside chunks, programs and manifests went over this link.
    assert resumed.bytes_sent <= manifest.bytes - passed + large + (1 << 20)
    assert resumed.bytes_sent < manifest.bytes
    same(folder, Path((await hosts.release(manifest)).path))


async def test_a_link_that_is_back_soon_is_gone_on_with_by_itself(hosts: TwoHosts) -> None:
    folder = hosts.model(sizes=(8 << 20,))
    manifest = await manifest_of(hosts.source, str(folder), chunk=1 << 20)
    hosts.proxy.limit = 4 << 20
    hosts.proxy.back_after = 0.5
    copied = await copy(hosts.source, str(folder), hosts.store, manifest, "t1")
    assert copied.bytes_sent < 2 * manifest.bytes
    assert hosts.proxy.cuts == 1
    same(folder, Path((await hosts.release(manifest)).path))


@pytest.mark.parametrize("way", WAYS)
async def test_a_chunk_that_was_damaged_is_named_and_sent_again_alone(hosts: TwoHosts, way: Way) -> None:
    folder = hosts.model()
    manifest = await hosts.manifest(folder)
    path, before = folder / "0.bin", (folder / "0.bin").stat()
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[7 * CHUNK + 3] ^= 1
    path.write_bytes(broken)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(RemoteFailed, match=r"0\.bin: chunk 8 of 11"):
        await copy(hosts.source, str(folder), hosts.store, manifest, "t1", ways=[way])
    path.write_bytes(whole)
    copied = await copy(hosts.source, str(folder), hosts.store, manifest, "t1", ways=[way])
    assert copied.bytes_sent == CHUNK
    release = await hosts.release(manifest)
    assert await hosts.store.verify(release.id) == ()
    same(folder, Path(release.path))


async def test_a_chunk_that_rots_in_the_store_is_found_and_mended_by_one_chunk(hosts: TwoHosts) -> None:
    folder = hosts.model()
    manifest = await hosts.manifest(folder)
    await copy(hosts.source, str(folder), hosts.store, manifest, "t1")
    release = await hosts.release(manifest)
    path = Path(release.path) / "processor" / "1.bin"
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(CHUNK + 1)
        byte = file.read(1)[0]
        file.seek(CHUNK + 1)
        file.write(bytes([byte ^ 0x80]))
    (damage,) = await hosts.store.verify(release.id)
    assert (damage.path, damage.chunks) == ("processor/1.bin", (1,))
    copied = await copy(hosts.source, str(folder), hosts.store, manifest, "t2")
    assert copied.bytes_sent == CHUNK
    await hosts.release(manifest, "t2")
    assert await hosts.store.verify(release.id) == ()
    same(folder, Path(release.path))


async def test_a_disk_that_fills_in_the_middle_says_what_is_missing_and_keeps_what_came(
    hosts: TwoHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = hosts.model(sizes=(6 << 20,))
    manifest = await hosts.manifest(folder)
    hosts.models.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(hosts.models)], check=True)
    try:
        prepare = hosts.store.prepare

        async def filled(*args: object, **more: object) -> object:
            """Somebody else writes after the space was asked for."""
            found = await prepare(*args, **more)  # type: ignore[arg-type]
            (hosts.models / "somebody").write_bytes(b"x" * (4 << 20))
            return found

        monkeypatch.setattr(hosts.store, "prepare", filled)
        with pytest.raises(NoSpace, match=r"No space left.*bytes more are to come"):
            await copy(hosts.source, str(folder), hosts.store, manifest, "t1")
        monkeypatch.undo()
        with pytest.raises(NoSpace, match="are free"):
            await copy(hosts.source, str(folder), hosts.store, manifest, "t1")
        (hosts.models / "somebody").unlink()
        copied = await copy(hosts.source, str(folder), hosts.store, manifest, "t1")
        assert 0 < copied.bytes_sent < manifest.bytes
        same(folder, Path((await hosts.release(manifest)).path))
    finally:
        subprocess.run(["umount", "-l", str(hosts.models)], check=True)


async def test_a_copy_that_is_cancelled_leaves_no_process_and_no_key(hosts: TwoHosts) -> None:
    folder = hosts.model(sizes=(64 << 20,))
    manifest = await manifest_of(hosts.source, str(folder), chunk=1 << 20)
    begun = asyncio.Event()
    work = asyncio.create_task(
        copy(hosts.source, str(folder), hosts.store, manifest, "t1", tell=lambda said: begun.set())
    )
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert our_keys(hosts) == []
    deadline = time.monotonic() + 10
    while programs(hosts):
        assert time.monotonic() < deadline, programs(hosts)
        await asyncio.sleep(0.05)
    copied = await copy(hosts.source, str(folder), hosts.store, manifest, "t1")
    assert copied.bytes_sent <= manifest.bytes


def programs(hosts: TwoHosts) -> list[int]:
    """Programs of ours, and clients of ssh, that run on either host; the agents apart."""
    found = []
    for server in hosts.servers:
        for pid in server.children():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"sys.stdin.buffer.readline" in words or b"receive.py" in words or b"dm-g1-key-" in words:
                    found.append(pid)
    return found


async def test_a_console_killed_at_any_moment_leaves_what_the_next_copy_goes_on_with(hosts: TwoHosts) -> None:
    folder = hosts.model(sizes=(24 << 20, 100_000, 5))
    manifest = await manifest_of(hosts.source, str(folder), chunk=1 << 20)
    script = Path(__file__).with_name("copying_console.py")
    configs = [str(server.config) for server in hosts.servers]
    chance = random.Random(7)
    for number in range(10):
        argv = [sys.executable, str(script), *configs, str(folder), str(hosts.servers[1].workspace), f"t{number}"]
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        await process.stdout.readline()  # it is connected
        # From the first question to after the last byte.
        await asyncio.sleep(chance.random() * 0.9)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    await hosts.store.acquire_lock("next", 30)
    copied = await copy(hosts.source, str(folder), hosts.store, manifest, "last")
    assert copied.bytes_sent <= manifest.bytes
    release = await hosts.release(manifest, "last")
    same(folder, Path(release.path))
    assert await hosts.store.verify(release.id) == ()
    assert our_keys(hosts) == []


async def test_a_sender_or_receiver_killed_at_any_moment_leaves_what_the_next_copy_goes_on_with(
    hosts: TwoHosts,
) -> None:
    chunk = 1 << 20
    folder = hosts.model(sizes=(48 << 20,))
    manifest = await manifest_of(hosts.source, str(folder), chunk=chunk)
    chance, killed = random.Random(3), 0

    async def kill() -> None:
        """One of the stream's processes on the hosts, now and then."""
        nonlocal killed
        while killed < 10:
            await asyncio.sleep(0.02 + chance.random() * 0.1)
            found = [
                pid
                for server in hosts.servers
                for pid in server.children()
                if b"receive.py" in command(pid) or b"dm-g1-key-" in command(pid)
            ]
            if found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(found), signal.SIGKILL)
                    killed += 1

    killing = asyncio.create_task(kill())
    sent, store = 0, Store(hosts.spark)
    for _ in range(30):
        try:
            sent += (await copy(hosts.source, str(folder), store, manifest, "t1", ways=[Direct()])).bytes_sent
            break
        except (HostUnreachable, RemoteFailed):
            continue
    killing.cancel()
    assert killed > 0
    release = await hosts.release(manifest)
    assert await hosts.store.verify(release.id) == ()
    same(folder, Path(release.path))
    assert our_keys(hosts) == []


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
