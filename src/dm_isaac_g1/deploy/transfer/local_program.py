"""A copy on the machine itself: the model lies on the host that serves, and nothing is sent.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later. No hard links
to the source: whoever writes there again would write into the store.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.disk_program import Inside, Refused, Telling, read_json
from dm_isaac_g1.deploy.objects_program import length

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.store_program import Store

#: ioctl_ficlone(2): the two files share their blocks until one is written to (btrfs, XFS).
FICLONE = 0x40049409


def take(store: Store, txn: str, folder: str, wanted: list[Any], also: list[str] | None = None) -> dict[str, Any]:
    """Chunks [[file, [chunk, ...]]] of the prepared manifest from a folder here; {"arrived", "bad"} as `receive`."""
    manifest = read_json(os.path.join(store.staging(txn), "manifest.json"))
    if manifest is None:
        raise Refused(f"no copy {txn} is prepared")
    chunk, content = manifest["chunk"], store.content
    rows = [(manifest["files"][place], place, chunks) for place, chunks in wanted]
    telling = Telling(sum(length(row, index, chunk) for row, _, chunks in rows for index in chunks))
    bad = []
    inside, there = Inside(folder, also), content.arriving()
    for row, place, chunks in rows:
        with inside.opened(row["path"]) as fd:
            shared = len(chunks) == len(row["chunks"]) and clone(fd, content.part(row["sha256"]))
            for index in chunks:
                if shared:
                    good = content.sound(content.part(row["sha256"]), row, index, chunk)
                    if good and len(row["chunks"]) > 1:
                        content.write(row, index, chunk, memoryview(b""))  # it is there already; noted
                else:
                    data = read(fd, index * chunk, length(row, index, chunk))
                    good = hashlib.sha256(data).hexdigest() == row["chunks"][index]
                    if good:
                        content.write(row, index, chunk, memoryview(data), row["sha256"] + ".chunks" in there)
                if not good:
                    bad.append([place, index])
                telling.add(length(row, index, chunk))
    return {"arrived": telling.done, "bad": bad}


def clone(fd: int, path: str) -> bool:
    """Whether the file system shares a file's blocks with a new one."""
    new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):
            fcntl.ioctl(new, FICLONE, fd)
            return True
    finally:
        os.close(new)
    return False


def read(fd: int, start: int, size: int) -> bytearray:
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        got = os.preadv(fd, [view[at:]], start + at)
        if not got:
            break  # it was cut off since: its digest will say so
        at += got
    return data
