"""Chunks that arrive as a stream: hashed as they come, written once they are known to be right.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later. What the stream
is made of is said at `objects_program.FRAME`.
"""

from __future__ import annotations

import hashlib
import os
import queue
import sys
import threading
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.disk_program import Refused, Telling, explain, read_json, say
from dm_isaac_g1.deploy.objects_program import ASIDE, BLOCK, FRAME, length, missing

if TYPE_CHECKING:
    from typing import BinaryIO

    from dm_isaac_g1.deploy.objects_program import Content
    from dm_isaac_g1.deploy.store_program import Store

    Row = dict[str, Any]


class Cut(Exception):
    """The stream ended before its end."""


class Arriving:
    """Chunks from a stream into parts: read and hashed here, written by a thread beside."""

    def __init__(self, content: Content, manifest: Row) -> None:
        self._content = content
        self._manifest = manifest
        self._chunk = manifest["chunk"]
        self._journalled = {name[:-7] for name in content.arriving() if name.endswith(".chunks")}
        most = max((length(row, 0, self._chunk) for row in manifest["files"]), default=0)
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        for _ in range(2):
            self._free.put(bytearray(most))  # taken from the system as it is filled
        self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._problem: OSError | None = None
        self._writer = threading.Thread(target=self._write, daemon=True)
        self.bad: list[list[int]] = []
        self.arrived = 0

    def take(self, stream: BinaryIO, telling: Telling) -> None:
        """Until the end frame. Raises Cut, Refused, OSError (the disk is full)."""
        self._writer.start()
        try:
            while self._problem is None and self._one(stream, telling):
                pass
        finally:
            # What has arrived whole is written whatever happened to the stream.
            self._work.put(None)
            self._writer.join()
        if self._problem is not None:
            raise self._problem

    def _one(self, stream: BinaryIO, telling: Telling) -> bool:
        head = stream.read(FRAME.size)
        if len(head) < FRAME.size:
            raise Cut
        kind, place, index, size = FRAME.unpack(head)
        if kind == b"E":
            return False
        try:
            row = self._manifest["files"][place]
            digest = row["chunks"][index]
        except IndexError:
            raise Refused("a chunk that is in no manifest") from None
        if kind != b"C" or size != length(row, index, self._chunk):
            raise Refused("a stream that makes no sense")
        buffer = self._free.get()
        data = memoryview(buffer)[:size]
        found, at = hashlib.sha256(), 0
        while at < size:
            piece = data[at : at + BLOCK]
            got = stream.readinto(piece)  # type: ignore[attr-defined]
            if not got:
                raise Cut
            found.update(piece[:got])
            at += got
            telling.add(got)
        if found.hexdigest() != digest:
            self.bad.append([place, index])
            self._free.put(buffer)
        elif size < ASIDE:
            self._content.write(row, index, self._chunk, data, row["sha256"] in self._journalled)
            self._free.put(buffer)
        else:
            self._work.put((row, index, data, buffer))
        self.arrived += size
        return True

    def _write(self) -> None:
        while True:
            task = self._work.get()
            if task is None:
                return
            row, index, data, buffer = task
            try:
                if self._problem is None:
                    self._content.write(row, index, self._chunk, data, row["sha256"] in self._journalled)
            except OSError as error:
                self._problem = error
            self._free.put(buffer)


def take(content: Content, manifest: Row, stream: BinaryIO, total: int) -> Row:
    """Take chunks until the stream ends; {"arrived": bytes, "bad": [[file, chunk], ...]}: those that came damaged."""
    arriving = Arriving(content, manifest)
    try:
        arriving.take(stream, Telling(total))
    except Cut:
        raise Refused(f"the stream was cut off after {arriving.arrived} bytes", "cut") from None
    except OSError as error:
        what = explain(error)
        left = missing(content, manifest)["bytes"]
        raise Refused(f"{what['error']}; {left} bytes more are to come", what["kind"], what["fix"]) from None
    return {"arrived": arriving.arrived, "bad": arriving.bad}


def receive(store: Store, txn: str, total: int) -> Row:
    """Take chunks from stdin. Anybody who may start this may only bring what the manifest names."""
    checked = read_json(os.path.join(store.staging(txn), "manifest.json"))
    if checked is None:
        raise Refused(f"no copy {txn} is prepared")
    say({"hello": txn})
    return take(store.content, checked, sys.stdin.buffer, total)
