"""Chunks of a model's files as a stream: to stdout, for whoever passes them on.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later. What the stream
is made of is said in `objects_program.FRAME`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.disk_program import Refused, open_inside, say
from dm_isaac_g1.deploy.objects_program import FRAME, length

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes read and passed on at once.
BLOCK = 1 << 20


def send(folder: str, manifest: dict[str, Any], wanted: list[Any], also: list[str] | None = None) -> dict[str, Any]:
    """The wanted chunks [[file, [chunk, ...]]] to stdout, after a line that says so. Ends the process: 0 for all."""
    say({"hello": "send"})
    try:
        stream(os.path.expanduser(folder), manifest, wanted, also or [], lambda data: write_all(1, data))
    except (Refused, OSError) as error:
        # stdout is the stream: whatever is said there would be taken for a part of it.
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def write_all(fd: int, data: Any) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(fd, view) :]


def stream(
    folder: str, manifest: dict[str, Any], wanted: list[Any], also: list[str], write: Callable[[Any], Any]
) -> None:
    """Frames of the wanted chunks, and the end frame. Small files go together, in few writes."""
    chunk, gathered = manifest["chunk"], bytearray()
    block = memoryview(bytearray(BLOCK))
    for place, chunks in wanted:
        row = manifest["files"][place]
        fd = open_inside(folder, row["path"], [folder, *also])
        try:
            for index in chunks:
                size, at = length(row, index, chunk), index * chunk
                gathered += FRAME.pack(b"C", place, index, size)
                end = at + size
                while at < end:
                    got = os.preadv(fd, [block[: min(BLOCK, end - at)]], at)
                    if not got:
                        raise Refused(f"{row['path']} was cut off since its digests were taken", "changed")
                    at += got
                    if len(gathered) + got > BLOCK:
                        if gathered:
                            write(bytes(gathered))
                            gathered.clear()
                        write(block[:got])
                    else:
                        gathered += block[:got]
        finally:
            os.close(fd)
    gathered += FRAME.pack(b"E", 0, 0, 0)
    write(bytes(gathered))
