"""What removing folders would give back, to the byte: the same rule as the removal's own count (`remote.hands`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.errors import RemoteFailed

if TYPE_CHECKING:
    from dm_isaac_g1.remote.runtime import Runtime

#: Allocated blocks of everything in a tree, the folder itself too; a file with other hard links gives nothing back.
PROGRAM = """
import json, os, stat, sys
def blocks(path):
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        return found.st_blocks * 512 if found.st_nlink == 1 else 0
    return found.st_blocks * 512 + sum(blocks(os.path.join(path, name)) for name in os.listdir(path))
said = {}
for path in json.load(sys.stdin):
    try:
        said[path] = blocks(path)
    except OSError:
        pass
print(json.dumps(said))
"""


async def would_free(runtime: Runtime, python: str, paths: Sequence[str], timeout: float = 120.0) -> dict[str, int]:
    """Bytes by path; a path that is gone or cannot be read is left out. Raises RemoteFailed, HostUnreachable."""
    if not paths:
        return {}
    asked = msgspec.json.encode(list(paths))
    done = await runtime.run([python, "-I", "-S", "-c", PROGRAM], stdin=asked, timeout=timeout)
    try:
        return msgspec.json.decode(done.stdout, type=dict[str, int])
    except msgspec.DecodeError:
        raise RemoteFailed("the checkpoints could not be measured", where=runtime.where) from None
