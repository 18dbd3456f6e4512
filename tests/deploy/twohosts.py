"""Two hosts on this machine: `source` with a model, `spark` with a store, each behind an OpenSSH server of its own.

Each has a home, so that no key ever comes to the authorized keys of who runs the tests; and `spark` is reached through
a proxy that the source's own connection can be given, too, to be cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import sshd as openssh

from dm_isaac_g1.core.deployments import Release
from dm_isaac_g1.deploy.manifest import Manifest, manifest_of
from dm_isaac_g1.deploy.store import Store, release_id
from dm_isaac_g1.remote.host import Host

#: Bytes of a chunk in these tests.
CHUNK = 64 * 1024


class Counting(openssh.Proxy):
    """A proxy that counts what goes to the server, and cuts everything once that is more than `limit`."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        #: Bytes to the server since the limit was set.
        self.passed = 0
        self.cuts = 0
        self.back_after: float | None = None
        self._limit: int | None = None
        self._cutting: asyncio.Task[None] | None = None

    @property
    def limit(self) -> int | None:
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._limit, self.passed = limit, 0

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._flow.wait()
                sink.write(data)
                await sink.drain()
                if sink.get_extra_info("peername")[1] == self.target:
                    self.passed += len(data)
                    if self._limit is not None and self.passed > self._limit:
                        self._limit = None
                        self._cutting = asyncio.create_task(self._cut_soon())
        sink.close()
        self._writers.discard(sink)

    async def _cut_soon(self) -> None:
        self.cuts += 1
        await self.cut()
        if self.back_after is not None:
            await asyncio.sleep(self.back_after)
            await self.restore()


@dataclass
class TwoHosts:
    folder: Path
    source: Host
    spark: Host
    store: Store
    servers: tuple[openssh.Sshd, openssh.Sshd]
    proxy: Counting

    @property
    def models(self) -> Path:
        return self.servers[1].workspace / "models"

    @property
    def keys(self) -> Path:
        """Where a key for one use would stand."""
        return self.folder / "home-spark" / ".ssh" / "authorized_keys"

    def model(self, name: str = "model", *, sizes: tuple[int, ...] = (10 * CHUNK + 17, 3 * CHUNK, 100, 0)) -> Path:
        """A model's folder on the source: a file of each size."""
        folder = self.servers[0].workspace / name
        (folder / "processor").mkdir(parents=True)
        chance = random.Random(name)
        for number, size in enumerate(sizes):
            part = "processor/" if number % 2 else ""
            (folder / f"{part}{number}.bin").write_bytes(chance.randbytes(size))
        return folder

    async def manifest(self, folder: Path) -> Manifest:
        return await manifest_of(self.source, str(folder), chunk=CHUNK)

    async def release(self, manifest: Manifest, txn: str = "t1", name: str = "bc") -> Release:
        """The copied manifest as a release."""
        wanted = Release(
            id=release_id(name, manifest), name=name, digest=manifest.digest, kind="bc", path="", created=time.time()
        )
        return await self.store.commit(txn, manifest, wanted)

    def objects(self) -> list[Path]:
        return sorted(path for path in (self.models / "store" / "sha256").glob("*/*") if path.is_file())

    def parts(self) -> list[Path]:
        return sorted((self.models / ".staging" / "parts").iterdir())


def same(folder: Path, other: Path) -> None:
    """Both hold the same files with the same bytes."""
    names = [
        sorted(str(path.relative_to(each)) for path in each.rglob("*") if path.is_file()) for each in (folder, other)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


@contextlib.asynccontextmanager
async def two_hosts(folder: Path, **options: str) -> AsyncIterator[TwoHosts]:
    """Both up. `options`: more of spark's sshd_config."""
    with contextlib.ExitStack() as stack:
        servers = []
        for name in ("source", "spark"):
            home = folder / f"home-{name}"
            (home / ".ssh").mkdir(parents=True, mode=0o700)
            keys = f"{folder / name / 'authorized_keys'} {home / '.ssh' / 'authorized_keys'}"
            more = {"SetEnv": f'"HOME={home}"', "AuthorizedKeysFile": keys}
            servers.append(
                stack.enter_context(openssh.running(folder / name, **{**more, **(options if name == "spark" else {})}))
            )
        counting = Counting(servers[1].port)
        async with counting.running():
            proxy = counting
            servers[1].know(proxy.port)
            servers[1].write_config(proxy.port)
            async with servers[0].host("source") as source, servers[1].host("spark") as spark:
                await source.ready(30)
                await spark.ready(30)
                yield TwoHosts(folder, source, spark, Store(spark), (servers[0], servers[1]), proxy)
