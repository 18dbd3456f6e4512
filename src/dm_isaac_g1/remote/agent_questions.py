"""What the agent can be asked: named, read-only questions. Part of the agent: stdlib only, Python 3.8 and later.

A question is a function in `OPS`, called with the request's args by name, returning a JSON value.
"""

from __future__ import annotations

import base64
import fnmatch
import grp
import os
import stat
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.remote.agent_checkpoints import ask_checkpoints
from dm_isaac_g1.remote.agent_datasets import ask_datasets
from dm_isaac_g1.remote.agent_disks import ask_disks
from dm_isaac_g1.remote.agent_system import attempt, expand

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = dict[str, Any]

#: Bytes of a file in one answer, or of a followed file that are under way.
WINDOW = 1 << 20


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
    "datasets": ask_datasets,
    "disks": ask_disks,
    "docker_socket": ask_docker_socket,
}
