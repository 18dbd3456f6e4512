"""What the agent says: its JSON lines as typed values. Everything in them is untrusted.

Numbers are bounded here, so that a host which answers 10^400 is a decoding error and not a crash later on.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

#: Bytes and counters: eight exbibytes are enough for any disk.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
#: Device and inode numbers, which some file systems spread over all 64 bits. Only ever compared and handed back.
Ident = Annotated[int, msgspec.Meta(ge=0)]
Number = Annotated[float, msgspec.Meta(ge=-1e18, le=1e18)]


class Line(msgspec.Struct, frozen=True, tag_field="kind"):
    """Base of the agent's lines."""


class Hello(Line, frozen=True, tag="hello", kw_only=True):
    """The first line: what this agent can do, and where it is."""

    version: int
    home: str
    host: str = ""
    machine: str = ""
    user: str = ""
    python: str | None = None
    pid: Count = 0
    cpus: Count | None = None
    boot: str = ""
    #: The profile's paths, absolute.
    paths: dict[str, str] = {}
    ops: frozenset[str] = frozenset()
    inotify: bool = False
    simulated: bool = False


class GpuRows(msgspec.Struct, frozen=True, kw_only=True):
    """nvidia-smi's CSV since the last sample, as it came, and how it is."""

    state: str
    note: str | None = None
    head: str = ""
    rows: list[str] = []


class AppRows(msgspec.Struct, frozen=True, kw_only=True):
    """Processes on the GPU, as nvidia-smi's CSV, and the containers they run in."""

    rows: list[str]
    containers: dict[str, str] = {}


class DiskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One file system."""

    dev: Ident
    mount: str
    total: Count
    avail: Count
    inodes_avail: Count | None = None
    readonly: bool = False
    paths: list[str] = []


class Sampled(Line, frozen=True, tag="sample", kw_only=True):
    """The host at one moment. `memory`: total, available, free bytes. What is left out did not change."""

    seq: Count
    t_mono: Number
    t_wall: Number
    cpu: Number | None = None
    load1: Number | None = None
    cpus: Count | None = None
    memory: tuple[Count, Count, Count] | None = None
    gpu: GpuRows | None = None
    apps: AppRows | None = None
    disks: list[DiskRow] | None = None
    simulated: bool = False


class Reply(Line, frozen=True, tag="reply", kw_only=True):
    """The answer to a question: a value, or an error for people."""

    id: int
    value: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    code: str | None = None


class Chunk(Line, frozen=True, tag="chunk", kw_only=True):
    """New bytes of a followed file; `offset` is where they end. The first has none, but `tail`: what is before it."""

    id: int
    data: bytes
    dev: Ident
    inode: Ident
    offset: Count
    size: Count
    restarted: bool = False
    tail: bytes | None = None


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a file that was asked for; `offset` is where they end."""

    data: bytes
    dev: Ident
    inode: Ident
    offset: Count
    size: Count


class DatasetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset as the agent finds it. `newest`: times of the newest file by part; "" is all but meta.

    `stamps`: time and size of `agent_datasets.STAMPED`, None where there is no such file. `texts`: contents of the
    first of them (`READ`), cut after TEXT + 1 characters; None as a whole: as they were when last told.
    """

    path: str
    #: Relative to the folder that was asked for.
    name: str
    bytes: Count
    files: Count
    newest: dict[str, Number]
    stamps: list[tuple[Number, Count] | None]
    texts: list[str | None] | None = None

    @property
    def known(self) -> list[list[float] | None]:
        """The stamps as the agent compares them: as JSON has them."""
        return [list(stamp) if stamp else None for stamp in self.stamps]


class DatasetRows(msgspec.Struct, frozen=True, kw_only=True):
    """An answer; `more`: it does not hold all."""

    rows: list[DatasetRow]
    more: bool = False


AnyLine = Hello | Sampled | Reply | Chunk

decoder: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)
