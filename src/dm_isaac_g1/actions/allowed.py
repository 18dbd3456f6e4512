"""What of a host's files an action may remove or rename: `remote.hands` refuses whatever lies outside these folders.

The profile's checkpoints may be changed. A job's output folder may lie elsewhere, but what says so is job.json on the
host, which anybody there can write: it is believed only for a checkpoint that stands directly in it.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host

#: A checkpoint's folder: a trainer's own, staged by transformers 4.36 (tmp-), set aside by us (broken-).
CHECKPOINT = re.compile(r"(tmp-|broken-)?checkpoint-\d{1,12}(-best-[\w.=+-]*)?", re.ASCII)


def roots(host: Host, path: str, output: str | None) -> list[str]:
    """The folders below which `path` may be changed. `output`: the output folder that it was found in."""
    allowed = [host.path("checkpoints")]
    if output is not None and direct_checkpoint(path, output):
        allowed.append(output.rstrip("/"))
    return allowed


def direct_checkpoint(path: str, output: str) -> bool:
    """Whether `path` is plainly a checkpoint that stands directly in `output`, an absolute folder other than /."""
    folder, name = posixpath.split(path)
    root = output.rstrip("/")
    plain = root.startswith("/") and posixpath.normpath(root) == root and not root.startswith("//")
    return plain and folder == root and CHECKPOINT.fullmatch(name) is not None
