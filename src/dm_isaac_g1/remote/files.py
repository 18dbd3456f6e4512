"""Files on a host, where its commands see them: read, listed, followed, and their disks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed
from dm_isaac_g1.core.runs import Checkpoint
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.remote import wire
from dm_isaac_g1.remote.clean import clean, clean_bytes
from dm_isaac_g1.remote.runtime import Runtime
from dm_isaac_g1.remote.sampling import disk
from dm_isaac_g1.remote.station import Station

T = TypeVar("T")
Entries = list["DirEntry"]  # inside the class, `list` is its method

#: Bytes before a position whose digest tells whether a file is still the same one.
TAIL = 4096
READ_MAX = 1 << 20

#: Beside, then rename: nobody ever reads half a file, and a full disk leaves the old one.
_WRITE = (
    "import os,sys\n"
    "path,mode=sys.argv[1],int(sys.argv[2])\n"
    "beside='%s.dm-g1-%d'%(path,os.getpid())\n"
    "data=sys.stdin.buffer.read()\n"
    "try:\n"
    " fd=os.open(beside,os.O_WRONLY|os.O_CREAT|os.O_EXCL,mode)\n"
    " with os.fdopen(fd,'wb') as f: f.write(data);f.flush();os.fsync(f.fileno())\n"
    " os.rename(beside,path)\n"
    "except OSError as e:\n"
    " os.path.exists(beside) and os.unlink(beside)\n"
    " sys.exit('%s: %s'%(path,e.strerror))\n"
)


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a reader is in a file: the file (device and inode), the offset, and what stood just before it."""

    dev: int
    inode: int
    offset: int
    #: sha256 of the `span` bytes before `offset`.
    span: int = 0
    digest: str = ""


class FileChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a file. `restarted`: they begin a new file: it was truncated or replaced."""

    data: bytes
    position: Position
    #: The file's size when it was read.
    size: int
    restarted: bool = False

    @property
    def at_end(self) -> bool:
        return self.position.offset >= self.size


class FileStat(msgspec.Struct, frozen=True, kw_only=True):
    """What a path is. `mtime`: seconds since the epoch, by the host's clock."""

    kind: Literal["file", "dir", "link", "other"]
    size: int
    mtime: float
    dev: int
    inode: int


class DirEntry(FileStat, frozen=True, kw_only=True):
    """One entry of a folder, links followed."""

    name: str


class Found(FileStat, frozen=True, kw_only=True):
    """One file below a folder."""

    path: str


class _CheckpointRow(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    step: int
    size: int
    complete: bool
    mtime: float
    full: bool
    best: bool
    writing: bool
    weights: int
    inodes: int
    shared: int


class Files:
    """Files as the runtime's agent sees them. Relative paths are refused: say `Host.path(...)` first."""

    def __init__(self, station: Station, runtime: Runtime, python: str = "python3") -> None:
        self._station = station
        self._runtime = runtime
        self._python = python

    async def stat(self, path: str) -> FileStat | None:
        """What `path` is; None if it is not there. Raises RemoteFailed, HostUnreachable."""
        found: FileStat | None = await self._ask("stat", FileStat | None, path=path)
        return found

    async def list(self, path: str) -> Entries:
        """Entries of a folder by name, the first 5,000. Raises RemoteFailed, HostUnreachable."""
        return [_cleaned(each, "name") for each in await self._ask("list", list[DirEntry], path=path)]

    async def find(self, path: str, pattern: str, depth: int = 3) -> list[Found]:  # type: ignore[valid-type]
        """Files below a folder whose name matches `pattern` (as fnmatch), at most `depth` folders down, by path."""
        found = await self._ask("find", list[Found], path=path, pattern=pattern, depth=depth)
        return [_cleaned(each, "path") for each in found]

    async def read(self, path: str, offset: int = 0, size: int = 65536) -> FileChunk:
        """Up to `size` bytes (at most 1 MiB) from `offset`, or from the end where it is negative."""
        said = await self._ask("read", wire.Piece, path=path, offset=offset, size=min(size, READ_MAX))
        return FileChunk(data=said.data, position=_position(said, said.data), size=said.size)

    async def follow(
        self, path: str, *, start: Position | None = None, from_end: int | None = None
    ) -> AsyncIterator[FileChunk]:
        """The file from `start` (or its last `from_end` bytes, or its beginning), then all that is appended.

        Goes on across reconnects without losing or doubling a byte, waits for a file that is not there, and over a
        rotation reads the old file to its end first. A chunk after truncation or replacement says `restarted`.
        Raises RemoteFailed if the file cannot be read, HostUnreachable once the host is closed.
        """
        position, tail = start, b""
        while True:
            agent = await self._station.next()
            where: dict[str, Any] = {"path": path}
            if position is not None:
                where["start"] = msgspec.to_builtins(position)
            elif from_end is not None:
                where["from_end"] = from_end
            try:
                async with agent.following(**where) as following:
                    while True:
                        said = await following.next()
                        tail = said.data if said.restarted else said.tail or tail + said.data
                        tail = tail[-TAIL:]
                        position = _position(said, tail)
                        if said.data or said.restarted:
                            yield FileChunk(data=said.data, position=position, size=said.size, restarted=said.restarted)
            except HostUnreachable:
                # Never round and round without a breath, whatever the station thinks of its agent.
                await asyncio.sleep(0.05)

    async def checkpoints(self, folder: str, *, ended: bool = False) -> tuple[Checkpoint, ...]:
        """Checkpoints in a run's output folder, by step; none where there is no such folder.

        `ended`: the job that wrote there is known to be gone, so nothing is being written, however young it is.
        """
        if await self.stat(folder) is None:
            return ()
        rows = await self._ask("checkpoints", list[_CheckpointRow], folder=folder, ended=ended, timeout=120.0)
        return tuple(Checkpoint(**{name: getattr(row, name) for name in row.__struct_fields__}) for row in rows)

    async def datasets(self, folder: str, known: Mapping[str, wire.DatasetRow] = {}) -> wire.DatasetRows:
        """Datasets below a folder; texts only of those that differ from the `known` ones (by path)."""
        stamps = {path: row.known for path, row in known.items() if row.texts is not None}
        found: wire.DatasetRows = await self._ask(
            "datasets", wire.DatasetRows, folder=folder, known=stamps, timeout=120.0
        )
        rows = [_cleaned(_cleaned(row, "path"), "name") for row in found.rows]
        return wire.DatasetRows(rows=sorted(rows, key=lambda row: row.path), more=found.more)

    async def disks(self, paths: Mapping[str, str]) -> tuple[Disk, ...]:
        """The file systems that these paths (or their nearest existing parents) lie on, each once."""
        return tuple(disk(row) for row in await self._ask("disks", list[wire.DiskRow], paths=dict(paths)))

    async def write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a whole file: beside, then renamed. Raises RemoteFailed (disk full, no permission), HostUnreachable."""
        done = await self._runtime.run(
            [self._python, "-I", "-S", "-c", _WRITE, path, str(mode)], stdin=data, timeout=120.0
        )
        if done.exit is None:
            raise HostUnreachable("the connection was lost", where=self._runtime.where)
        if done.exit:
            raise RemoteFailed(f"not written: {clean_bytes(done.stderr.strip()[-300:])}", where=self._runtime.where)

    async def _ask(self, op: str, answer: Any, *, timeout: float = 30.0, **args: Any) -> Any:
        agent = await self._station.get()
        raw = await agent.ask(op, timeout=timeout, **args)
        try:
            return msgspec.json.decode(raw, type=answer)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RemoteFailed(f"{op}: the answer makes no sense", where=self._runtime.where) from error


def _cleaned(entry: T, field: str) -> T:
    """The entry with its name cleaned. A name that needed it can be shown, and is nobody's name any more."""
    name = getattr(entry, field)
    return entry if clean(name) == name else msgspec.structs.replace(entry, **{field: clean(name)})  # type: ignore[type-var]


def _position(said: wire.Piece | wire.Chunk, tail: bytes) -> Position:
    tail = tail[-TAIL:]
    return Position(
        dev=said.dev,
        inode=said.inode,
        offset=said.offset,
        span=len(tail),
        digest=hashlib.sha256(tail).hexdigest(),
    )
