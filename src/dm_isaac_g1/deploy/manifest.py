"""A model's files with their digests: what is deployed, wherever it comes from.

Files are hashed where they lie (`manifest_program`), whole and in chunks of 64 MiB: a chunk is what is sent again when
something went wrong. The same files have the same digest, whatever the chunks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from dm_isaac_g1.core.errors import RefusedError, RemoteFailed, UsageError
from dm_isaac_g1.deploy import program
from dm_isaac_g1.deploy.disk_program import Refused
from dm_isaac_g1.deploy.objects_program import check_manifest
from dm_isaac_g1.deploy.transfer.here import Here

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host
    from dm_isaac_g1.remote.runtime import Runtime

#: Bytes: what is sent again at most, and hashed in 50 ms.
CHUNK = 64 << 20


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `path`: relative to the model's folder. `chunks`: the sha256 of each piece of it."""

    path: str
    bytes: int
    sha256: str
    chunks: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All files of a model, by path. `chunk`: bytes of a chunk; a file's last one is shorter."""

    files: tuple[File, ...]
    chunk: int = CHUNK

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @cached_property
    def digest(self) -> str:
        """sha256 over path, size and sha256 of each file."""
        total = hashlib.sha256()
        for file in sorted(self.files, key=lambda file: file.path):
            total.update(f"{file.path}\0{file.bytes}\0{file.sha256}\n".encode())
        return total.hexdigest()

    def plain(self) -> dict[str, Any]:
        """As programs on hosts take it."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


def read_manifest(said: object, where: str) -> Manifest:
    """A manifest that a host said. Raises RefusedError for names that lead out of the model, RemoteFailed."""
    try:
        manifest = msgspec.convert(said, Manifest)
        check_manifest(manifest.plain())
    except msgspec.ValidationError:
        raise RemoteFailed("a manifest that makes no sense", where=where) from None
    except Refused as error:
        raise RefusedError(str(error), where=where) from None
    return manifest


def runtime_of(host: Host | None) -> Runtime:
    """Where a model's files are seen: in the host's container, on the host, or (None) on this machine."""
    return Here() if host is None else host.runtime


async def manifest_of(
    host: Host | None,
    folder: str,
    files: Iterable[str] | None = None,
    *,
    also: Sequence[str] = (),
    chunk: int = CHUNK,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Manifest:
    """The manifest of a folder's `files` (None: of all in it), hashed there; None for `host`: this machine.

    `also`: folders beside it that links in it may lead to (a Hub cache's blobs). `tell`: bytes hashed, and of how many.
    What was hashed before and has not changed since is not read again.
    Raises RefusedError (a name or link that leads out of the folder, no regular file), UsageError (not there),
    RemoteFailed (changed meanwhile), HostUnreachable.
    """
    runtime = runtime_of(host)
    names = None if files is None else sorted(files)
    said = await program.do(
        runtime,
        "manifest",
        {"folder": folder, "files": names, "chunk": chunk, "also": list(also)},
        heard=lambda said: tell(int(said.get("at", 0)), int(said.get("total", 0))),
    )
    manifest = read_manifest({"files": said.get("files"), "chunk": chunk}, runtime.where)
    if not manifest.files:
        raise UsageError(f"there are no files in {folder}", where=runtime.where)
    if names is not None and [file.path for file in manifest.files] != names:
        raise RemoteFailed("other files than were asked for", where=runtime.where)
    return manifest
