"""A model's files as a manifest, hashed where they lie, in chunks.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later. hashlib is three
times as fast as coreutils' sha256sum. What was hashed once is known by device, inode, size, mtime and ctime, so that
the second look at 9 GB takes no time; a file that was changed just before it was read is not remembered (its next
change may leave the same time).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.disk_program import Inside, Refused, Telling, check_paths, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Bytes that are read and hashed at once: they stay in the processor's cache.
BLOCK = 1 << 20
#: Small files are hashed by one thread, so many bytes of them one after the other.
BATCH = 8 << 20
#: Files whose digests are remembered, the last ones hashed.
KNOWN_MAX = 20000
#: Seconds that a file must have been left alone before its digests are remembered.
SETTLED_S = 2.0
CACHE = "~/.cache/dm-g1/digests.json"


def manifest(
    folder: str, files: list[str] | None, chunk: int, also: list[str] | None = None, cache: str = CACHE
) -> dict[str, Any]:
    """{"files": [{"path", "bytes", "sha256", "chunks"}], "hashed": bytes read for it}; all files, where none are named.

    `also`: folders beside `folder` that links in it may lead to (a Hub cache's blobs).
    """
    inside = Inside(folder, also)
    names = sorted(walk(inside.folder) if files is None else files)
    check_paths(names)
    cache = os.path.expanduser(cache)
    known = read_json(cache)
    known = known if isinstance(known, dict) else {}
    begun, stats, chunks = time.time(), {}, {}
    plain: dict[str, bool] = {}
    for name in names:
        stats[name] = look(inside, name, plain)
        entry = known.get(f"{stamp(stats[name])} {chunk}")
        if isinstance(entry, list) and len(entry) == -(-stats[name].st_size // chunk):
            chunks[name] = entry
    todo = [name for name in names if name not in chunks]
    telling = Telling(sum(stats[name].st_size for name in todo))
    for done in in_threads(lambda batch: hashed(inside, batch, stats, telling.add), batches(stats, todo, chunk)):
        for name, digest in done:
            chunks.setdefault(name, []).append(digest)
    more = {}
    for name in todo:
        if begun - max(stats[name].st_mtime, stats[name].st_ctime) > SETTLED_S:
            more[f"{stamp(stats[name])} {chunk}"] = chunks.setdefault(name, [])
    remember(cache, known, more)
    return {"files": [row(name, stats[name].st_size, chunks.get(name, [])) for name in names], "hashed": telling.done}


def in_threads(work: Callable[[Any], Any], tasks: list[Any]) -> Iterator[Any]:
    """The results, in order. hashlib and reading let other threads run."""
    from concurrent.futures import ThreadPoolExecutor  # only here: it costs a small program's start

    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        yield from pool.map(work, tasks)


def row(name: str, size: int, chunks: list[str]) -> dict[str, Any]:
    return {"path": name, "bytes": size, "sha256": whole(chunks), "chunks": chunks}


def whole(chunks: list[str]) -> str:
    """What a file goes by: its sha256; where it has several chunks, that of their digests, one after the other.

    So nobody can give a file the name of another one, and nothing is hashed twice.
    """
    if len(chunks) == 1:
        return chunks[0]
    return hashlib.sha256(b"".join(bytes.fromhex(each) for each in chunks)).hexdigest()


def batches(stats: dict[str, os.stat_result], names: list[str], chunk: int) -> list[list[tuple[str, int, int]]]:
    """(name, offset, bytes) of every chunk, in order, in portions for a thread."""
    found: list[list[tuple[str, int, int]]] = []
    size = BATCH
    for name in names:
        for start in range(0, stats[name].st_size, chunk):
            length = min(chunk, stats[name].st_size - start)
            if size + length > BATCH:
                found.append([])
                size = 0
            found[-1].append((name, start, length))
            size += length
    return found


def hashed(
    inside: Inside, batch: list[tuple[str, int, int]], stats: dict[str, os.stat_result], told: Callable[[int], None]
) -> list[tuple[str, str]]:
    """(name, sha256) of each chunk."""
    found = []
    for name, start, length in batch:
        with inside.opened(name) as fd:
            digest = sha256(fd, start, length, told)
            if digest is None or stamp(os.fstat(fd)) != stamp(stats[name]):
                raise Refused(f"{name} changed while it was read", "changed", fix="wait until it is written")
        found.append((name, digest))
    return found


def sha256(fd: int, start: int, length: int, told: Callable[[int], None]) -> str | None:
    """Of a stretch of a file; None if it ends before."""
    digest, at, end = hashlib.sha256(), start, start + length
    block = memoryview(bytearray(min(BLOCK, length)))
    while at < end:
        got = os.preadv(fd, [block[: min(BLOCK, end - at)]], at)
        if not got:
            return None
        digest.update(block[:got])
        at += got
    told(length)
    return digest.hexdigest()


def walk(folder: str) -> list[str]:
    """All files below a folder."""
    found = []
    for here, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(here, name), folder) for name in names]
    return found


def look(inside: Inside, name: str, plain: dict[str, bool]) -> os.stat_result:
    """What a file is. Where no link leads to it, it need not be opened. `plain`: folders known to be none."""
    folder = os.path.dirname(name)
    if folder not in plain:
        plain[folder] = os.path.realpath(f"{inside.folder}/{folder}") == os.path.normpath(f"{inside.real}/{folder}")
    try:
        found = os.lstat(f"{inside.folder}/{name}")
    except FileNotFoundError:
        raise Refused(f"{name} is not in {inside.folder}", "missing") from None
    if stat.S_ISREG(found.st_mode) and plain[folder]:
        return found
    with inside.opened(name) as fd:
        return os.fstat(fd)


def stamp(found: os.stat_result) -> str:
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def remember(cache: str, known: dict[str, Any], more: dict[str, Any]) -> None:
    """Not being able to is no error: it is hashed again next time."""
    if more:
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(cache), mode=0o700, exist_ok=True)
            write_json(cache, dict(list({**known, **more}.items())[-KNOWN_MAX:]))
