"""A model's files as a manifest, hashed where they lie: each file, and each of its chunks.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later. hashlib is three
times as fast as coreutils' sha256sum. What was hashed once is known by device, inode, size, mtime and ctime, so that
the second look at 9 GB takes no time; a file that was changed just before it was read is not remembered (its next
change may leave the same time).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.disk_program import Refused, Telling, check_paths, open_inside, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes that are read and hashed at once.
BLOCK = 4 << 20
#: Files whose digests are remembered, the last ones hashed.
KNOWN_MAX = 5000
#: Seconds that a file must have been left alone before its digests are remembered.
SETTLED_S = 2.0
CACHE = "~/.cache/dm-g1/digests.json"


def manifest(
    folder: str, files: list[str] | None, chunk: int, also: list[str] | None = None, cache: str = CACHE
) -> dict[str, Any]:
    """{"files": [{"path", "bytes", "sha256", "chunks"}], "hashed": bytes read for it}; all files, where none are named.

    `also`: folders beside `folder` that links in it may lead to (a Hub cache's blobs).
    """
    folder = os.path.expanduser(folder)
    if not os.path.isdir(folder):
        raise Refused(f"no such folder: {folder}", "missing")
    roots = [folder, *(also or [])]
    names = sorted(walk(folder) if files is None else files)
    check_paths(names)
    cache = os.path.expanduser(cache)
    known = read_json(cache)
    known = known if isinstance(known, dict) else {}
    stats = {name: look(folder, name, roots) for name in names}
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        entry = known.get(f"{stamp(stats[name])} {chunk}")
        if isinstance(entry, dict) and usable(entry, stats[name].st_size, chunk):
            rows[name] = {"path": name, "bytes": stats[name].st_size, **entry}
    todo = [name for name in names if name not in rows]
    telling = Telling(sum(stats[name].st_size for name in todo))
    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        for row in pool.map(lambda name: digest(folder, name, roots, chunk, telling.add), todo):
            rows[row["path"]] = row
    remember(cache, known, {f"{row.pop('stamp')} {chunk}": row for row in rows.values() if "stamp" in row})
    return {"files": [rows[name] for name in names], "hashed": telling.done}


def walk(folder: str) -> list[str]:
    """All files below a folder."""
    found = []
    for here, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(here, name), folder) for name in names]
    return found


def look(folder: str, name: str, roots: list[str]) -> os.stat_result:
    try:
        fd = open_inside(folder, name, roots)
    except FileNotFoundError:
        raise Refused(f"{name} is not in {folder}", "missing") from None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def stamp(found: os.stat_result) -> str:
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def digest(folder: str, name: str, roots: list[str], chunk: int, told: Callable[[int], None]) -> dict[str, Any]:
    """A file's row. The whole and the chunk are hashed side by side: hashlib lets other threads run."""
    begun = time.time()
    fd = open_inside(folder, name, roots)
    try:
        before = os.fstat(fd)
        whole, chunks = hashlib.sha256(), []
        several = before.st_size > chunk
        with ThreadPoolExecutor(1) as beside:
            for start in range(0, before.st_size, chunk):
                part, at = hashlib.sha256(), start
                end = min(start + chunk, before.st_size)
                while at < end:
                    block = os.pread(fd, min(BLOCK, end - at), at)
                    if not block:
                        raise Refused(f"{name} was cut off while it was read", "changed")
                    also = beside.submit(whole.update, block) if several else None
                    part.update(block)
                    if also is not None:
                        also.result()
                    at += len(block)
                    told(len(block))
                chunks.append(part.hexdigest())
        if stamp(os.fstat(fd)) != stamp(before):
            raise Refused(f"{name} changed while it was read", "changed", fix="wait until it is written")
    finally:
        os.close(fd)
    row = {"path": name, "bytes": before.st_size, "chunks": chunks}
    row["sha256"] = whole.hexdigest() if several or not chunks else chunks[0]
    if begun - max(before.st_mtime, before.st_ctime) > SETTLED_S:
        row["stamp"] = stamp(before)
    return row


def usable(entry: dict[str, Any], size: int, chunk: int) -> bool:
    return len(entry.get("chunks") or ()) == -(-size // chunk) and "sha256" in entry


def remember(cache: str, known: dict[str, Any], more: dict[str, Any]) -> None:
    """Not being able to is no error: it is hashed again next time."""
    if more:
        kept = dict(known, **{key: {"sha256": row["sha256"], "chunks": row["chunks"]} for key, row in more.items()})
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(cache), mode=0o700, exist_ok=True)
            write_json(cache, dict(list(kept.items())[-KNOWN_MAX:]))
