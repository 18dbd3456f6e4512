"""What the agent is asked of checkpoints. Part of the agent: stdlib only, Python 3.8 and later."""

from __future__ import annotations

import os
import re
import stat
import time
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.remote.agent_system import attempt, expand

if TYPE_CHECKING:
    Row = dict[str, Any]

#: Staged by transformers 4.36 and 4.37 (tmp-), set aside by us (broken-), kept as best by GR00T's callback (-best-).
CHECKPOINT = re.compile(r"(tmp-|broken-)?checkpoint-(\d{1,12})(-best-[\w.=+-]*)?$", re.ASCII)
WEIGHTS = re.compile(r".*\.safetensors$|(pytorch_)?model.*\.bin$")
#: A checkpoint in which nothing changed for so many seconds is not being written: a complete one; an incomplete one,
#: whose writer may pause between two files (to gather shards, for a slow disk).
FRESH, PAUSE = 5.0, 30.0

#: By folder and checkpoint, at the last look: what could be seen of it, when (monotonic), how long nothing had changed.
_seen: dict[str, dict[str, tuple[Any, float, float]]] = {}


def ask_checkpoints(folder: str, ended: bool = False) -> list[Row]:
    """Checkpoints by step. Complete: it has trainer_state.json, written last, and what its siblings have after it.

    `ended`: who wrote here is known to be gone, so that nothing is being written.
    """
    rows = []
    with os.scandir(expand(folder)) as entries:
        for entry in entries:
            match = CHECKPOINT.match(entry.name)
            row = attempt(measure, entry.path) if match and entry.is_dir(follow_symlinks=False) else None
            if row and match:
                row.update(path=entry.path, step=int(match[2]), best=bool(match[3]), odd=bool(match[1]))
                rows.append(row)
    wandb = any(row["wandb"] for row in rows)
    before, seen = _seen.get(folder, {}), {}
    for row in rows:
        seen[row["path"]] = look = watched(row, before.get(row["path"]), time.monotonic(), time.time())
        row["complete"] = row.pop("state") and (row.pop("wandb") or not wandb) and not row.pop("odd")
        row["writing"] = look[2] < (FRESH if row["complete"] else PAUSE) and not ended
    _seen[folder] = seen
    return sorted(rows, key=lambda row: (int(row["step"]), str(row["path"])))


def watched(row: Row, before: tuple[Any, float, float] | None, mono: float, wall: float) -> tuple[Any, float, float]:
    """For how many seconds nothing has changed in a checkpoint, from two looks and from what its files say.

    Files that moved between two looks say when; a time that cannot be so (another clock, copied times) tells nothing
    but that they moved: just now, for all we know.
    """
    mark, age = (row["size"], row["mtime"], row["inodes"]), wall - row["mtime"]
    if before is None:
        return mark, mono, abs(age)
    if before[0] == mark:
        return mark, mono, before[2] + mono - before[1]
    return mark, mono, age if 0 <= age <= mono - before[1] else 0.0


def measure(top: str) -> Row:
    """A checkpoint's allocated bytes, as removing it would free them, and what is in it, by scandir alone.

    A hard link counts once; `shared` are the bytes of those that are linked outside of it, too, and would stay.
    """
    found = os.stat(top)
    mtime, names, todo = found.st_mtime, set(), [top]
    #: By device and inode: allocated bytes, links to it in all and in here, whether it holds weights.
    inodes = {(found.st_dev, found.st_ino): [found.st_blocks * 512, 0, 0, 0]}
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                each = attempt(os.lstat, entry.path)
                if each is None:
                    continue
                names.add(entry.name)
                mtime = max(mtime, each.st_mtime)
                folder = stat.S_ISDIR(each.st_mode)
                if folder:
                    todo.append(entry.path)
                one = inodes.setdefault((each.st_dev, each.st_ino), [0, 0, 0, 0])
                one[:2] = each.st_blocks * 512, 0 if folder else each.st_nlink
                one[2] += 1
                one[3] |= bool(WEIGHTS.match(entry.name))
    return {
        "size": sum(held for held, *_ in inodes.values()),
        "weights": sum(held for held, _, _, weights in inodes.values() if weights),
        "shared": sum(held for held, links, here, _ in inodes.values() if links > here),
        "mtime": mtime,
        "inodes": len(inodes),
        "full": any(name.startswith(("optimizer", "global_step")) for name in names),
        "state": "trainer_state.json" in names,
        "wandb": "wandb_config.json" in names,
    }
