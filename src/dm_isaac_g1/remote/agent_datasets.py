"""What the agent is asked of datasets. Part of the agent: stdlib only, Python 3.8 and later."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.remote.agent_system import attempt, expand

if TYPE_CHECKING:
    Row = dict[str, Any]

#: How far down a dataset may lie; datasets and folders in one answer; characters of one text, and of all.
DEPTH, MOST, FOLDERS, TEXT, TEXTS = 3, 500, 20000, 1 << 16, 600000
#: Files whose text is told, then files of which only their time is.
READ = ("meta/info.json", "meta/dm_g1.json", ".dm-g1-partial.json", ".dm-g1-done.jsonl")
STAMPED = (*READ, "meta/stats.json", "meta/modality.json")

#: By folder: its mtime, and what `look` said.
_seen: dict[str, Any] = {}


def ask_datasets(folder: str, known: dict[str, Any]) -> Row:
    """Datasets below a folder; their texts only where their stamps are not the `known` ones.

    `more`: something was left out, texts too: ask again with what is known then. Links are not followed.
    """
    top = os.path.realpath(expand(folder))
    rows: list[Row] = []
    todo, left, room = [(top, 0)], [FOLDERS], TEXTS
    while todo and left[0] > 0 and len(rows) < MOST:
        path, depth = todo.pop()
        left[0] -= 1
        inside = look(path, False)[3]
        if "meta" not in inside and not path.endswith(".partial"):
            todo += [(os.path.join(path, name), depth + 1) for name in inside if depth < DEPTH]
            continue
        row = measure(path, left)
        row.update(path=path, name=os.path.relpath(path, top), texts=None)
        if known.get(path) != row["stamps"] and room > 0:
            row["texts"] = [attempt(read, path, name) for name in READ]
            room -= sum(len(each or "") for each in row["texts"])
        rows.append(row)
    return {"rows": rows, "more": bool(todo) or left[0] <= 0 or room <= 0}


def read(path: str, name: str) -> Any:
    """A small file inside the dataset, cut after TEXT + 1 bytes; None where there is none."""
    file = os.path.realpath(os.path.join(path, name))
    if not file.startswith(path + "/") or not os.path.isfile(file):
        return None
    with open(file, "rb") as opened:
        return opened.read(TEXT + 1).decode("utf-8", "replace")


def stamp(path: str) -> Any:
    found = attempt(os.stat, path)
    return found and [found.st_mtime, found.st_size]


def measure(top: str, left: list[int]) -> Row:
    """Bytes and files of a dataset, and the newest mtime of its meta, its data and all but its meta."""
    size = files = 0
    newest = {"meta": 0.0, "data": 0.0, "": 0.0}
    todo = [top]
    while todo and left[0] > 0:
        path = todo.pop()
        left[0] -= 1
        part = path[len(top) + 1 :].split("/")[0]
        # What may be written in place is looked at each time.
        mtime, held, count, inside = look(path, part == "meta" or top.endswith(".partial"))
        size += held
        files += count
        for name in {part, "" if part != "meta" else part}.intersection(newest):
            newest[name] = max(mtime, newest[name])
        todo += [os.path.join(path, name) for name in inside if name != ".cache"]
    stamps = [stamp(os.path.join(top, name)) for name in STAMPED]
    return {"bytes": size, "files": files, "newest": newest, "stamps": stamps}


def look(path: str, again: bool) -> Any:
    """The newest mtime of a folder and its files, their bytes and number, and its subfolders."""
    here = attempt(os.lstat, path)
    held = _seen.get(path, (None, (0.0, 0, 0, [])))
    if here is None or (held[0] == here.st_mtime_ns and not again):
        return held[1]
    newest, size, files, inside = here.st_mtime, 0, 0, []
    for entry in attempt(lambda: list(os.scandir(path)), default=[]):
        found = attempt(os.lstat, entry.path)
        if found and stat.S_ISDIR(found.st_mode):
            inside.append(entry.name)
        elif found:
            size += found.st_size
            files += 1
            newest = max(newest, found.st_mtime)
    if len(_seen) > FOLDERS:
        _seen.clear()
    said = newest, size, files, sorted(inside, reverse=True)
    # A change in the same tick would not show.
    _seen[path] = here.st_mtime_ns if abs(time.time() - here.st_mtime) > 3 else None, said
    return said
