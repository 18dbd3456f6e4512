"""What a host's part of a deploy stands on: refusals, names that may be used, files that are whole or not there.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARK = "\x1edm-g1 "
#: A name in a store that we made up: of a release, a transaction.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,159}")
DIGEST = re.compile(r"[0-9a-f]{64}")
#: PATH_MAX of Linux is 4096, NAME_MAX 255; a model's files have short names.
PATH_MAX = 1024
#: How a folder is opened that must not be a link.
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Seconds between two words of progress.
CADENCE = 0.1
#: Seconds between two signs of life of what has no progress.
ALIVE_S = 5.0


class Refused(Exception):
    """Not done, and why. `kind` is the class of error on the other side; `fix` says what the user can do."""

    def __init__(self, what: str, kind: str = "refused", fix: str = "") -> None:
        super().__init__(what)
        self.kind = kind
        self.fix = fix


# Saying.


def say(value: dict[str, Any]) -> None:
    """One line for whoever asked."""
    sys.stdout.write("\n" + MARK + json.dumps(value) + "\n")
    sys.stdout.flush()


class Telling:
    """Bytes done, told ten times a second at most."""

    def __init__(self, total: int) -> None:
        self.done = 0
        self._total = total
        self._next = 0.0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self.done += size
            now = time.monotonic()
            if now >= self._next:
                self._next = now + CADENCE
                say({"at": self.done, "total": self._total})


# Names.


def check_path(path: Any) -> str:
    """A file's path within a model: relative, plain, and nothing that leads out of it."""
    plain = isinstance(path, str) and 0 < len(path) <= PATH_MAX and path.isprintable()
    if not plain or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in path.split("/")):
        raise Refused(f"{path!r} is not the name of a file in a model")
    return str(path)


def check_paths(paths: list[str]) -> None:
    """All of them are plain, none twice, and none is a folder of another."""
    seen = {check_path(path) for path in paths}
    if len(seen) != len(paths):
        raise Refused("a file is listed twice")
    for path in seen:
        parts = path.split("/")
        if any("/".join(parts[:depth]) in seen for depth in range(1, len(parts))):
            raise Refused(f"{path!r} lies below what is a file")


def check_name(name: Any, what: str) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refused(f"{name!r} is not the name of a {what}")
    return name


class Inside:
    """The files of a folder. A link may lead to what lies in it or in one of the folders `also`, no further.

    What was opened is judged, not its name: a link that is swapped in meanwhile leads nowhere.
    """

    def __init__(self, folder: str, also: list[str] | None = None) -> None:
        self.folder = os.path.expanduser(folder)
        if not os.path.isdir(self.folder):
            raise Refused(f"no such folder: {self.folder}", "missing")
        self.real = os.path.realpath(self.folder)
        self._roots = tuple(os.path.realpath(root).rstrip("/") + "/" for root in [self.folder, *(also or [])])

    def open(self, path: str) -> int:
        """A descriptor of a regular file."""
        name = os.path.join(self.folder, check_path(path))
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # nobody is waited for where a FIFO lies
        except FileNotFoundError:
            raise Refused(f"{path} is not in {self.folder}", "missing") from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Refused(f"{path} is not a regular file")
            real = os.readlink(f"/proc/self/fd/{fd}")
            if not real.startswith(self._roots):
                raise Refused(f"{path} is a link to {real}, outside the model", fix="put the file itself there")
        except BaseException:
            os.close(fd)
            raise
        return fd

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[int]:
        fd = self.open(path)
        try:
            yield fd
        finally:
            os.close(fd)


# Writing.


def sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_all(path: str) -> None:
    """Everything on the file system of `path` is on its disk: one flush for thousands of files (syncfs(2))."""
    import ctypes  # only here: it costs a small program's start

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if call is None:
            os.sync()
        elif call(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(fd)


def patiently(work: Callable[[], None]) -> None:
    """Something that says nothing and may take minutes (a flush of gigabytes): whoever asked hears that we live."""
    problem: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ALIVE_S)
    while thread.is_alive():
        say({"alive": True})
        thread.join(ALIVE_S)
    if problem:
        raise problem[0]


def write_whole(
    path: str,
    data: bytes,
    mode: int = 0o644,
    like: os.stat_result | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Beside, to the disk, renamed, and the folder to the disk.

    Nobody can have put a link where it is written: its name is made up, and it must not exist. `like`: what it gets its
    owner and mode from, whatever the umask says. `ready` is called just before the rename; what it raises prevents it.
    """
    beside = f"{path}.new-{os.urandom(8).hex()}"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            if like is not None:
                made = os.fstat(fd)
                if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                    os.fchown(fd, like.st_uid, like.st_gid)
                os.fchmod(fd, stat.S_IMODE(like.st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        ready()
        os.rename(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    sync_folder(os.path.dirname(path))


def write_json(path: str, value: Any, mode: int = 0o644) -> None:
    write_whole(path, json.dumps(value).encode(), mode)


def read_json(path: str) -> Any:
    """The value; None where there is no such file, or half of one that nobody of us wrote."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def make_folder(path: str, mode: int = 0o755) -> str:
    """The folder, made where it is missing. What lies there must not be a link: it would lead out of the store."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise Refused(f"{path} is no folder", fix="move it away") from None
    return path


def free_bytes(path: str) -> int:
    """That a user may write where `path` is, or would be made."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def erase(path: str, stuck: list[OSError] | None = None) -> int:
    """Remove a tree; bytes freed: a file with other links frees nothing until its last.

    By descriptors: a folder that is swapped for a link meanwhile leads nowhere. What cannot be removed (a file that
    root wrote from a container) keeps nothing else; it is added to `stuck`, or raised in the end.
    """
    problems: list[OSError] = [] if stuck is None else stuck
    folder, name = os.path.split(path)
    try:
        parent = os.open(folder, FOLDER)
    except FileNotFoundError:
        return 0
    try:
        freed = prune(parent, name, os.fstat(parent).st_dev, problems)
    finally:
        os.close(parent)
    if stuck is None and problems:
        raise problems[0]
    return freed


def prune(parent: int, name: str, device: int, stuck: list[OSError]) -> int:
    """What is called `name` in the folder `parent`, as far as it can be removed and is of this file system."""
    freed = 0
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent)
            return found.st_blocks * 512 if found.st_nlink == 1 else 0
        if found.st_dev != device:
            raise OSError(errno.EXDEV, "another file system is mounted there", name)
        inside = os.open(name, FOLDER, dir_fd=parent)
        try:
            for child in os.listdir(inside):
                freed += prune(inside, child, device, stuck)
        finally:
            os.close(inside)
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        stuck.append(error)
    return freed


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """One program at a time; a killed one lets go of it by dying (flock(2))."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def explain(error: OSError) -> dict[str, Any]:
    """An OSError as an answer."""
    text = error.strerror or str(error)
    if error.filename:
        text = f"{os.fsdecode(error.filename)}: {text}"
    fixes = {
        errno.ENOSPC: "free some space there",
        errno.EDQUOT: "free some space there",
        errno.EACCES: "check who owns it",
        errno.EROFS: "the file system is read-only",
    }
    kind = "space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "failed"
    return {"error": text, "kind": kind, "fix": fixes.get(error.errno or 0, "")}
