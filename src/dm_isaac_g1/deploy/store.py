"""A host's models folder as deploys use it: content by digest, releases, the transaction, the history, the lock.

    store/sha256/ab/<digest>    a file, once, whatever releases it is in
    rel/<name>-<digest12>/      a release, of hard links
    current -> rel/...          which one serves; renamed into place
    .staging/                   what is arriving
    txn.json  deploys.jsonl  lock

It lies on the host itself, also where commands run in a container: a server's container binds it. All of it is done
there by one program (`store_program`, `objects_program`, `ledger_program`), so that what is said to be there is.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from dm_isaac_g1.core.deployments import HistoryEntry, Release
from dm_isaac_g1.core.errors import DmG1Error, RemoteFailed
from dm_isaac_g1.deploy import program
from dm_isaac_g1.deploy.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host

Told = Callable[[int, int], None]


def quiet(done: int, total: int) -> None:
    """Nobody asked how far it is."""


class LockState(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a store's lock: `until` in seconds since the epoch, by the host's clock."""

    owner: str
    txn: str = ""
    until: float = 0.0


class StoreState(msgspec.Struct, frozen=True, kw_only=True):
    """All that a store says of itself, at one moment."""

    root: str
    #: The id of the release that `current` leads to.
    current: str | None = None
    #: Newest first, as is the history.
    releases: tuple[Release, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    transaction: dict[str, Any] | None = None
    lock: LockState | None = None
    #: Bytes that may be written there.
    free: int = 0
    #: The host's clock, seconds since the epoch.
    now: float = 0.0


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """What of a manifest is not in a store: [file, [chunk, ...]] by their places, and the bytes of it."""

    chunks: tuple[tuple[int, tuple[int, ...]], ...]
    bytes: int
    #: Bytes free there; chunks that were there and had to go, being damaged. Only of `prepare`.
    free: int | None = None
    damaged: int = 0


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a release that is not what it was: chunks that are wrong, another size, or gone."""

    path: str
    chunks: tuple[int, ...] = ()
    size: int | None = None
    gone: bool = False

    def line(self) -> str:
        if self.gone:
            return f"{self.path} is gone"
        if self.size is not None:
            return f"{self.path} has {self.size} bytes now"
        return f"{self.path} is damaged in {len(self.chunks)} chunk{'s' * (len(self.chunks) != 1)}"


def release_id(name: str, manifest: Manifest) -> str:
    """<name>-<first 12 digits of the digest>; what a file's name should not hold becomes a dash."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100] or "model"
    return f"{plain}-{manifest.digest[:12]}"


class Store:
    """The store at `root` (absolute, on the host; the profile's models folder if None).

    `seen_as`: the same folder as the server sees it, where that is another path (a bind mount's).
    Every method raises HostUnreachable, RemoteFailed; those that write Locked (a RefusedError) where somebody else
    holds the lock, or took it over.
    """

    def __init__(self, host: Host, root: str | None = None, *, seen_as: str | None = None) -> None:
        self.host = host
        self._root = root
        self._seen_as = seen_as
        self.token: str | None = None
        self._kept: program.Kept | None = None

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep the program there for the block: many questions, one start. Inside another such block: nothing."""
        if self._kept is not None:
            yield
            return
        kept = self._kept = program.Kept(self.host.host_runtime)
        try:
            with contextlib.suppress(DmG1Error):  # the first question says it
                await kept.start()
            yield
        finally:
            self._kept = None
            await kept.close()

    @property
    def root(self) -> str:
        return self._root or self.host.path("models")

    def path(self, release: str) -> str:
        """Where a release lies, as its server sees it."""
        return posixpath.join(self._seen_as or self.root, "rel", release)

    async def ask(self, op: str, *, tell: Told = quiet, **args: Any) -> Any:
        """One question to the program there."""

        def heard(said: dict[str, Any]) -> None:
            tell(int(said.get("at", 0)), int(said.get("total", 0)))

        if self._kept is not None and not self._kept.busy:
            return await self._kept.ask(op, args, root=self.root, token=self.token, heard=heard)
        return await program.do(self.host.host_runtime, op, args, root=self.root, token=self.token, heard=heard)

    def _read(self, said: Any, type_: Any) -> Any:
        try:
            return msgspec.convert(said, type_)
        except msgspec.ValidationError:
            raise RemoteFailed("an answer of its store that makes no sense", where=self.host.name) from None

    # The lock.

    async def acquire_lock(self, owner: str, lease_s: float, txn: str = "") -> None:
        """Be the one who deploys here, for `lease_s` seconds. Raises Locked, naming who is.

        Whoever's lease is over has lost it: their writes are refused from then on.
        """
        said = await self.ask("acquire", owner=owner, lease_s=lease_s, txn=txn)
        self.token = str(said["token"])

    async def renew(self, lease_s: float) -> None:
        """Hold it for `lease_s` seconds from now. Raises Locked if somebody has taken it over."""
        await self.ask("renew", lease_s=lease_s)

    async def release_lock(self) -> None:
        """Give it back. Nothing, if it is not held."""
        if self.token is not None:
            await self.ask("release")
            self.token = None

    # What is written of deploys.

    async def look(self) -> StoreState:
        """All of it in one question. Lines and fields that make no sense are passed over."""
        said = await self.ask("look")
        releases = [each for each in map(_release, said.get("releases") or ()) if each is not None]
        history = [each for each in map(_entry, said.get("history") or ()) if each is not None]
        state: StoreState = self._read(dict(said, releases=[], history=[]), StoreState)
        return msgspec.structs.replace(
            state,
            releases=tuple(sorted(releases, key=lambda release: -release.created)),
            history=tuple(history),
        )

    async def read_transaction(self) -> dict[str, Any] | None:
        """What `write_transaction` wrote last."""
        return (await self.look()).transaction

    async def write_transaction(self, value: Mapping[str, Any] | None) -> None:
        """On the host's disk when this returns. None: there is none any more."""
        await self.ask("write_transaction", value=None if value is None else dict(value))

    async def append_history(self, entry: HistoryEntry) -> None:
        """A line of deploys.jsonl; the same entry twice in a row is one."""
        await self.ask("append_history", entry=msgspec.to_builtins(entry))

    async def history(self) -> tuple[HistoryEntry, ...]:
        """Newest first."""
        return (await self.look()).history

    async def releases(self) -> tuple[Release, ...]:
        """Newest first."""
        return (await self.look()).releases

    # Content.

    async def missing(self, manifest: Manifest) -> Missing:
        """What a copy would send, as far as the store says; reads no content, changes nothing."""
        found: Missing = self._read(await self.ask("missing", manifest=manifest.plain()), Missing)
        return found

    async def prepare(self, txn: str, manifest: Manifest, *, tell: Told = quiet) -> Missing:
        """Begin or go on with a copy: what is missing after all that is said to be there has been hashed again.

        Raises NoSpace where it does not fit.
        """
        found: Missing = self._read(await self.ask("prepare", txn=txn, manifest=manifest.plain(), tell=tell), Missing)
        return found

    async def commit(self, txn: str, manifest: Manifest, release: Release) -> Release:
        """The release, once all of it has arrived; its `path` as the server sees it. Any number of times."""
        placed = msgspec.structs.replace(release, path=release.path or self.path(release.id), bytes=manifest.bytes)
        await self.ask("commit", txn=txn, manifest=manifest.plain(), release=msgspec.to_builtins(placed))
        return placed

    async def verify(self, release: str, *, tell: Told = quiet) -> tuple[Damage, ...]:
        """What of a release is not as it was when it arrived; all of it is read and hashed.

        What is damaged leaves the store, so that the next copy of the same files sends just those chunks, and mends
        every release with them. While somebody else deploys there, it is only said.
        """
        found: tuple[Damage, ...] = self._read(await self.ask("verify", release=release, tell=tell), tuple[Damage, ...])
        return found

    async def manifest_of(self, release: str) -> Manifest:
        """The manifest of a release that is there."""
        return read_manifest(await self.ask("manifest_of", release=release), self.host.name)

    async def set_current(self, release: str) -> str | None:
        """Let `current` lead to it, atomically; the id of the one before."""
        before = (await self.ask("set_current", release=release)).get("before")
        return None if before is None else str(before)

    async def remove(self, release: str) -> int:
        """Remove a release and the files that are in no other; bytes freed.

        Raises RefusedError for the current one, and for one that a running server has.
        """
        return int((await self.ask("remove", release=release)).get("freed", 0))


def _release(said: Any) -> Release | None:
    try:
        return msgspec.convert(said, Release)
    except msgspec.ValidationError:
        return None


def _entry(said: Any) -> HistoryEntry | None:
    try:
        return msgspec.convert(said, HistoryEntry)
    except msgspec.ValidationError:
        return None
