"""The content of a store: objects by their sha256, and parts of those that have not all arrived.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later.

    store/sha256/ab/<digest>         a file, whole, on the disk, read-only
    .staging/parts/<digest>          one that is arriving; verified chunks at their places, nothing else
    .staging/parts/<digest>.chunks   which chunks of it those are, a line each (a file of one chunk needs none)

A chunk is written only once all of it has arrived with the sha256 that the manifest says; so two programs that write
the same part (an old one whose connection froze, and its successor) do each other no harm. What a part is said to
have is hashed again before a copy goes on with it. A part becomes an object after the file system has flushed it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.disk_program import (
    DIGEST,
    Refused,
    Telling,
    check_paths,
    free_bytes,
    make_folder,
    patiently,
    sync_all,
    write_whole,
)
from dm_isaac_g1.deploy.manifest_program import in_threads, sha256, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = dict[str, Any]

#: Before each chunk: b"C", the file's place in the manifest, the chunk's in the file, its bytes. b"E" ends.
FRAME = struct.Struct(">cIIQ")
#: Bytes read, hashed or written at once.
BLOCK = 1 << 20
#: Smaller chunks are written where they are read; a thread would cost more.
ASIDE = 4 << 20
#: Two chunks are held in memory.
CHUNK_MAX = 256 << 20
#: Of the bytes to come, what must be free besides.
MARGIN = 0.05


def check_manifest(manifest: Any) -> Row:
    """The manifest as it was given, if all in it makes sense."""
    try:
        chunk, files = manifest["chunk"], manifest["files"]
        if not 0 < chunk <= CHUNK_MAX:
            raise Refused(f"chunks of {chunk} bytes make no sense")
        check_paths([row["path"] for row in files])
        for row in files:
            size, chunks = row["bytes"], row["chunks"]
            good = isinstance(size, int) and size >= 0 and len(chunks) == -(-size // chunk)
            if not good or not all(map(DIGEST.fullmatch, chunks)) or row["sha256"] != whole(chunks):
                raise Refused(f"{row['path']!r} has a size or digests that make no sense")
    except (KeyError, TypeError):
        raise Refused("a manifest that makes no sense") from None
    return dict(manifest)


def no_link(path: str, flags: int) -> int:
    """An opener: a link that was put there leads nowhere."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def set_mode(path: str, mode: int) -> None:
    """Of the file itself: chmod(2) follows a link."""
    fd = no_link(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def length(row: Row, index: int, chunk: int) -> int:
    return min(chunk, int(row["bytes"]) - index * chunk)


class Content:
    """The objects and parts below a store's root."""

    def __init__(self, root: str, make: bool = True) -> None:
        self.root = root
        self.objects = os.path.join(root, "store", "sha256")
        self.staging = os.path.join(root, ".staging")
        self.parts = os.path.join(self.staging, "parts")
        if make:
            make_folder(os.path.dirname(self.objects))
            make_folder(self.objects)
            make_folder(self.staging, 0o700)
            make_folder(self.parts, 0o700)

    def object(self, digest: str) -> str:
        return f"{self.objects}/{digest[:2]}/{digest}"

    def part(self, digest: str) -> str:
        return f"{self.parts}/{digest}"

    def has(self, row: Row) -> bool:
        try:
            return bool(os.lstat(self.object(row["sha256"])).st_size == row["bytes"])
        except FileNotFoundError:
            return False

    def arriving(self) -> set[str]:
        """What lies among the parts: asked once, where there may be thousands."""
        try:
            return set(os.listdir(self.parts))
        except FileNotFoundError:
            return set()

    def claimed(self, row: Row, there: set[str]) -> set[int]:
        """Chunks that a part is said to have. `there`: what `arriving` said."""
        if row["sha256"] not in there:
            return set()
        try:
            size = os.lstat(self.part(row["sha256"])).st_size
        except FileNotFoundError:
            return set()
        count = len(row["chunks"])
        if row["sha256"] + ".chunks" not in there:
            return {0} if count == 1 and size == row["bytes"] else set()
        with open(self.journal(row), "rb") as file:
            # A line that was cut off is not counted: its number would be another one's.
            lines = file.read().split(b"\n")[:-1]
        return {int(line) for line in lines if line.isdigit() and int(line) < count}

    def claim(self, row: Row, chunks: set[int]) -> None:
        """Say anew which chunks a part has: beside, since a full disk must not take what is said."""
        write_whole(self.journal(row), b"".join(b"%d\n" % index for index in sorted(chunks)), 0o600)

    def torn(self, row: Row) -> bool:
        """Whether a journal's last line was cut off: what is added would make another number of it."""
        with contextlib.suppress(OSError), open(self.journal(row), "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
        return False

    def journal(self, row: Row) -> str:
        return self.part(row["sha256"]) + ".chunks"

    def write(self, row: Row, index: int, chunk: int, data: memoryview, journalled: bool = False) -> None:
        """A chunk that is known to be right, to its place. Any number of times.

        `journalled`: there is a journal of it, though it is its file's only chunk (it was damaged before).
        """
        fd = os.open(self.part(row["sha256"]), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            at = index * chunk
            while len(data):
                sent = os.pwrite(fd, data, at)
                data, at = data[sent:], at + sent
            if at - index * chunk >= ASIDE:
                # The disk begins with it now: what is not written yet stays in memory, whatever the name says.
                os.posix_fadvise(fd, index * chunk, at - index * chunk, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
        if len(row["chunks"]) > 1 or journalled:
            with open(self.journal(row), "ab", buffering=0, opener=no_link) as file:
                file.write(b"%d\n" % index)

    def sound(
        self, path: str, row: Row, index: int, chunk: int, told: Callable[[int], None] = lambda size: None
    ) -> bool:
        """Whether the chunk on the disk is what the manifest says."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            found = sha256(fd, index * chunk, length(row, index, chunk), told)
            return bool(found == row["chunks"][index])
        except OSError:
            return False  # a sector that cannot be read
        finally:
            os.close(fd)


def unique(manifest: Row) -> list[tuple[int, Row]]:
    """(place, row) of each different content, once."""
    first: dict[str, tuple[int, Row]] = {}
    for place, row in enumerate(manifest["files"]):
        first.setdefault(row["sha256"], (place, row))
    return list(first.values())


def missing(content: Content, manifest: Row, absent: list[Row] | None = None) -> Row:
    """{"chunks": [[file, [chunk, ...]]], "bytes"} that are not there, as far as is said; reads no content.

    `absent`: the rows that are known to be no objects; asking again costs thousands of small files their time.
    """
    known = None if absent is None else {row["sha256"] for row in absent}
    rows, total, there = [], 0, content.arriving()
    for place, row in unique(manifest):
        if (row["sha256"] in known) if known is not None else not content.has(row):
            claimed = content.claimed(row, there)
            wanted = [index for index in range(len(row["chunks"])) if index not in claimed]
            total += sum(length(row, index, manifest["chunk"]) for index in wanted)
            if wanted:
                rows.append([place, wanted])
    return {"chunks": rows, "bytes": total}


def prepare(content: Content, manifest: Row) -> Row:
    """The same, after everything in parts was hashed again; refused where the rest would not fit on the disk."""
    chunk = manifest["chunk"]
    there = content.arriving()
    absent = [row for _, row in unique(manifest) if not content.has(row)]
    claims = [(row, content.claimed(row, there)) for row in absent]
    tasks = [(row, index) for row, claimed in claims for index in sorted(claimed)]
    telling = Telling(sum(length(row, index, chunk) for row, index in tasks))

    def judge(task: tuple[Row, int]) -> bool:
        row, index = task
        return content.sound(content.part(row["sha256"]), row, index, chunk, telling.add)

    bad = [task for task, good in zip(tasks, in_threads(judge, tasks)) if not good]  # noqa: B905  Python 3.8
    for row, claimed in claims:
        wrong = {index for each, index in bad if each is row}
        if wrong or (row["sha256"] + ".chunks" in there and content.torn(row)):
            content.claim(row, claimed - wrong)
    found = missing(content, manifest, absent)
    free, needed = free_bytes(content.root), int(found["bytes"] * (1 + MARGIN))
    if needed > free:
        raise Refused(
            f"{found['bytes']} bytes are to be copied to {content.root}, and {free} are free",
            "space",
            fix=f"free {needed - free} bytes there",
        )
    return dict(found, free=free, damaged=len(bad))


# From parts to objects, and back.


def settle(content: Content, manifest: Row) -> None:
    """Make objects of complete parts. Refused while something is missing."""
    todo = [row for _, row in unique(manifest) if not content.has(row)]
    for row in todo:
        if not row["chunks"]:  # an empty file has nothing that could arrive
            os.close(os.open(content.part(row["sha256"]), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    left = missing(content, manifest, todo)
    if left["chunks"]:
        raise Refused(f"{left['bytes']} bytes of it have not arrived", "incomplete")
    for prefix in {row["sha256"][:2] for row in todo}:
        make_folder(os.path.join(content.objects, prefix))
    for row in todo:
        part = content.part(row["sha256"])
        if os.lstat(part).st_size != row["bytes"]:
            with open(part, "r+b", opener=no_link) as file:
                file.truncate(row["bytes"])
        set_mode(part, 0o444)
    if todo:
        patiently(lambda: sync_all(content.root))
    there = content.arriving()
    for row in todo:
        os.rename(content.part(row["sha256"]), content.object(row["sha256"]))
        if row["sha256"] + ".chunks" in there:
            os.unlink(content.journal(row))


def damaged(content: Content, folder: str, manifest: Row) -> list[Row]:
    """Files of a release that are not what they were, with the chunks that are wrong: all of it is read."""
    chunk = manifest["chunk"]
    tasks = [(row, index) for row in manifest["files"] for index in range(len(row["chunks"]))]
    telling = Telling(sum(row["bytes"] for row in manifest["files"]))

    def judge(task: tuple[Row, int]) -> bool:
        row, index = task
        return content.sound(os.path.join(folder, row["path"]), row, index, chunk, telling.add)

    wrong = [task for task, good in zip(tasks, in_threads(judge, tasks)) if not good]  # noqa: B905  Python 3.8
    found: dict[str, Row] = {}
    for row, index in wrong:
        found.setdefault(row["path"], {"path": row["path"], "chunks": []})["chunks"].append(index)
    for row in manifest["files"]:
        path = os.path.join(folder, row["path"])
        try:
            size = os.lstat(path).st_size
        except FileNotFoundError:
            found[row["path"]] = {"path": row["path"], "chunks": [], "gone": True}
            continue
        if size != row["bytes"]:
            found.setdefault(row["path"], {"path": row["path"], "chunks": []})["size"] = size
    return list(found.values())


def rotten(content: Content, manifest: Row, paths: set[str]) -> list[tuple[Row, set[int], int]]:
    """Of the files `paths`, the objects whose own chunks are not all sound: (row, sound chunks, inode)."""
    chunk, found = manifest["chunk"], []
    for _, row in unique(dict(manifest, files=[row for row in manifest["files"] if row["path"] in paths])):
        path = content.object(row["sha256"])
        with contextlib.suppress(FileNotFoundError):
            before = os.lstat(path)
            good = {index for index in range(len(row["chunks"])) if content.sound(path, row, index, chunk)}
            if len(good) < len(row["chunks"]) or before.st_size != row["bytes"]:
                found.append((row, good, before.st_ino))
    return found


def withdraw(content: Content, objects: list[tuple[Row, set[int], int]]) -> None:
    """Rotten objects become parts again, with their sound chunks, so that the next copy sends the others.

    They are the same files as in the releases, which are mended with them.
    """
    for row, good, inode in objects:
        path = content.object(row["sha256"])
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode):
                os.unlink(path)  # none of ours
            elif found.st_ino == inode:  # else it was mended meanwhile
                set_mode(path, 0o600)
                os.rename(path, content.part(row["sha256"]))
                content.claim(row, good)
