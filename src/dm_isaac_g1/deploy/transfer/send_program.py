"""Chunks of a model's files as a stream: to stdout, for whoever passes them on.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later. What the stream
is made of is said in `objects_program.FRAME`.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from dm_isaac_g1.deploy.disk_program import Inside, Refused, say
from dm_isaac_g1.deploy.objects_program import FRAME, length

#: Bytes passed on at once; gathered at once: they stay in the processor's cache.
BLOCK, GATHERED = 1 << 20, 128 << 10
#: Chunks below this are gathered; from here on a copy costs more than a call.
SMALL = 32 << 10


def send(folder: str, manifest: dict[str, Any], wanted: list[Any], also: list[str] | None = None) -> dict[str, Any]:
    """The wanted chunks [[file, [chunk, ...]]] to stdout, after a line that says so. Ends the process: 0 for all."""
    say({"hello": "send"})
    try:
        stream(folder, manifest, wanted, also or [], 1)
    except (Refused, OSError) as error:
        # stdout is the stream: whatever is said there would be taken for a part of it.
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def write_all(fd: int, data: Any) -> None:
    with memoryview(data) as view:
        at = 0
        while at < len(view):
            at += os.write(fd, view[at:])


def stream(folder: str, manifest: dict[str, Any], wanted: list[Any], also: list[str], out: int) -> None:
    """Frames of the wanted chunks, and the end frame, to a descriptor. Small files go together, in few writes."""
    chunk, gathered, inside = manifest["chunk"], bytearray(), Inside(folder, also)
    for place, chunks in wanted:
        row = manifest["files"][place]
        with inside.opened(row["path"]) as fd:
            for index in chunks:
                size, at = length(row, index, chunk), index * chunk
                gathered += FRAME.pack(b"C", place, index, size)
                if size < SMALL:
                    data = os.pread(fd, size, at)
                    if len(data) < size:
                        raise cut_off(row)
                    gathered += data
                else:
                    write_all(out, gathered)
                    gathered.clear()
                    pass_through(fd, at, size, out, row)
                if len(gathered) >= GATHERED:
                    write_all(out, gathered)
                    gathered.clear()
    gathered += FRAME.pack(b"E", 0, 0, 0)
    write_all(out, gathered)


def pass_through(fd: int, at: int, size: int, out: int, row: dict[str, Any]) -> None:
    """A stretch of a file; without a copy in this process, where the system can (sendfile(2))."""
    end = at + size
    direct = True
    while at < end:
        if direct:
            try:
                got = os.sendfile(out, fd, at, min(BLOCK, end - at))
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                direct = False
                continue
        else:
            data = os.pread(fd, min(BLOCK, end - at), at)
            write_all(out, data)
            got = len(data)
        if not got:
            raise cut_off(row)
        at += got


def cut_off(row: dict[str, Any]) -> Refused:
    return Refused(f"{row['path']} was cut off since its digests were taken", "changed")
