"""What the agent can be asked: named, read-only questions. Part of the agent: stdlib only, Python 3.8 and later.

A question is a function in `OPS`, called with the request's args by name, returning a JSON value.
"""

from __future__ import annotations

import base64
import fnmatch
import grp
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = dict[str, Any]

#: Bytes of a file in one answer, or of a followed file that are under way.
WINDOW = 1 << 20
#: Staged by transformers 4.36 and 4.37 (tmp-), set aside by us (broken-), kept as best by GR00T's callback (-best-).
CHECKPOINT = re.compile(r"(tmp-|broken-)?checkpoint-(\d{1,12})(-best-[\w.=+-]*)?$", re.ASCII)
WEIGHTS = re.compile(r".*\.safetensors$|(pytorch_)?model.*\.bin$")
#: A checkpoint seen for the first time is being written if it changed within so many seconds.
FRESH = 5.0

_seen: Row = {}


def attempt(call: Callable[..., Any], *args: Any, default: Any = None) -> Any:
    """What `call` returns, or `default` where the system says no."""
    try:
        return call(*args)
    except (OSError, ValueError, IndexError):
        return default


def text(path: str) -> str:
    """A small file of /proc; empty where it is not there."""
    with open(path, errors="replace") as file:
        return file.read()


def expand(path: str, base: str = "/") -> str:
    return os.path.normpath(os.path.join(base, os.path.expanduser(path)))


def facts(found: os.stat_result) -> Row:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    return {
        "kind": kinds.get(stat.S_IFMT(found.st_mode), "other"),
        "size": found.st_size,
        "mtime": found.st_mtime,
        "dev": found.st_dev,
        "inode": found.st_ino,
    }


def piece(data: bytes, found: os.stat_result, offset: int) -> Row:
    """Bytes of a file, and where they end."""
    return {
        "data": base64.b64encode(data).decode(),
        "dev": found.st_dev,
        "inode": found.st_ino,
        "offset": offset,
        "size": found.st_size,
    }


def open_file(path: str) -> int:
    """Without waiting for a writer where somebody put a FIFO."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(22, "not a regular file")
    return fd


def ask_stat(path: str) -> Any:
    try:
        return facts(os.stat(expand(path)))
    except (FileNotFoundError, NotADirectoryError):
        return None


def ask_read(path: str, offset: int = 0, size: int = 1 << 16) -> Row:
    fd = open_file(expand(path))
    try:
        found = os.fstat(fd)
        start = offset if offset >= 0 else max(0, found.st_size + offset)
        data = os.pread(fd, min(size, WINDOW), start)
        return piece(data, found, start + len(data))
    finally:
        os.close(fd)


def ask_list(path: str, limit: int = 5000) -> list[Row]:
    rows: list[Row] = []
    with os.scandir(expand(path)) as entries:
        for entry in entries:
            found = attempt(os.stat, entry.path) or attempt(os.lstat, entry.path)
            if found and len(rows) < limit:
                rows.append(dict(facts(found), name=entry.name))
    return sorted(rows, key=lambda row: str(row["name"]))


def ask_find(path: str, pattern: str, depth: int = 3, limit: int = 2000) -> list[Row]:
    top = expand(path)
    rows: list[Row] = []
    for folder, folders, names in os.walk(top):
        if folder[len(top) :].count("/") >= depth:
            folders[:] = []
        for name in fnmatch.filter(names, pattern):
            found = attempt(os.stat, os.path.join(folder, name))
            if found and len(rows) < limit:
                rows.append(dict(facts(found), path=os.path.join(folder, name)))
    return sorted(rows, key=lambda row: str(row["path"]))


def ask_checkpoints(folder: str) -> list[Row]:
    """Checkpoints by step. Complete: it has trainer_state.json, written last, and what its siblings have after it."""
    rows = []
    with os.scandir(expand(folder)) as entries:
        for entry in entries:
            match = CHECKPOINT.match(entry.name)
            row = attempt(measure, entry.path) if match and entry.is_dir(follow_symlinks=False) else None
            if row and match:
                row.update(path=entry.path, step=int(match[2]), best=bool(match[3]), odd=bool(match[1]))
                rows.append(row)
    wandb = any(row["wandb"] for row in rows)
    for row in rows:
        mark, before = [row["size"], row["mtime"], row["inodes"]], _seen.get(row["path"])
        row["writing"] = before != mark if before else abs(time.time() - row["mtime"]) < FRESH
        _seen[row["path"]] = mark
        row["complete"] = row.pop("state") and (row.pop("wandb") or not wandb) and not row.pop("odd")
    return sorted(rows, key=lambda row: (int(row["step"]), str(row["path"])))


def measure(top: str) -> Row:
    """A checkpoint's allocated bytes (a hard link once) and what is in it, by scandir alone."""
    size, weights, mtime, names, todo = 0, 0, os.stat(top).st_mtime, set(), [top]
    counted = set()
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                found = attempt(os.lstat, entry.path)
                if found is None:
                    continue
                names.add(entry.name)
                mtime = max(mtime, found.st_mtime)
                if stat.S_ISDIR(found.st_mode):
                    todo.append(entry.path)
                if (found.st_dev, found.st_ino) not in counted:
                    counted.add((found.st_dev, found.st_ino))
                    size += found.st_blocks * 512
                    weights += found.st_blocks * 512 if WEIGHTS.match(entry.name) else 0
    return {
        "size": size,
        "weights": weights,
        "mtime": mtime,
        "inodes": len(counted) + 1,
        "full": any(name.startswith(("optimizer", "global_step")) for name in names),
        "state": "trainer_state.json" in names,
        "wandb": "wandb_config.json" in names,
    }


def ask_disks(paths: dict[str, str]) -> list[Row]:
    """The file systems below these paths. A path that is not there yet counts where its nearest parent is."""
    disks: dict[int, Row] = {}
    for name, path in sorted(paths.items()):
        path = expand(path)
        while not os.path.exists(path) and path != "/":
            path = os.path.dirname(path)
        found, space = attempt(os.stat, path), attempt(os.statvfs, path)
        if found and space:
            disks.setdefault(found.st_dev, disk(found.st_dev, os.path.realpath(path), space))["paths"].append(name)
    return list(disks.values())


def disk(dev: int, path: str, space: os.statvfs_result) -> Row:
    """f_bavail is what an ordinary user may write; f_bfree counts root's reserve too."""
    while path != "/" and os.stat(os.path.dirname(path)).st_dev == dev:
        path = os.path.dirname(path)
    return {
        "dev": dev,
        "mount": path,
        "total": space.f_blocks * space.f_frsize,
        "avail": space.f_bavail * space.f_frsize,
        "inodes_avail": space.f_favail if space.f_files else None,
        "readonly": bool(space.f_flag & os.ST_RDONLY),
        "paths": [],
    }


def ask_docker_socket(path: str) -> Row:
    """Through a forwarded socket, "no permission" and "not there" look the same; here they do not."""
    return {
        "exists": os.path.exists(path),
        "access": os.access(path, os.R_OK | os.W_OK),
        "user": os.environ.get("USER") or str(os.getuid()),
        "groups": [attempt(group_name, gid) or str(gid) for gid in os.getgroups()],
    }


def group_name(gid: int) -> Any:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


OPS: dict[str, Callable[..., Any]] = {
    "stat": ask_stat,
    "read": ask_read,
    "list": ask_list,
    "find": ask_find,
    "checkpoints": ask_checkpoints,
    "disks": ask_disks,
    "docker_socket": ask_docker_socket,
}
