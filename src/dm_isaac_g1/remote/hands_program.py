"""The hands: the few things that are changed on a host, each a one-shot program with JSON in and JSON out.

Standard library only, Python 3.8 and later; sent over stdin by `remote.hands`, together with the supervisor's
program, whose helpers (`put`, `family`, `alive`, ...) it shares. Nothing is installed.

    in:   one JSON line {"op": ..., "args": {...}}, after this program itself
    out:  MARK and one JSON line, {"ok": ...} or {"error": text, "kind": "refused|missing|failed", "fix": text}

What a job needs is made in a folder beside (`.new-<id>`), and takes its name only when its supervisor runs.
What is removed or renamed must lie strictly under one of the allowed folders, is walked down without following a
link, and is removed by descriptors: a link that is swapped in meanwhile leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import select
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

MARK = "\x1edm-g1 "
#: YYYYmmddTHHMMSS-name-6hex; no leading dash or dot, no slash.
JOB_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[A-Za-z0-9][A-Za-z0-9._-]{0,79}-[0-9a-f]{6}")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
#: Where conda lies when the image's PATH does not say so.
CONDA_HOMES = ("/opt/conda", "~/miniconda3", "~/anaconda3", "~/miniforge3", "~/mambaforge", "/root/miniconda3")
START_TIMEOUT_S = 20.0
STAGING_KEPT_S = 3600.0


class Refused(Exception):
    """Not done, and why. `kind` is the class of error on the other side; `fix` says what the user can do."""

    def __init__(self, what: str, kind: str = "failed", fix: str = "") -> None:
        super().__init__(what)
        self.kind = kind
        self.fix = fix


# Jobs.


def job_create(lib: Any, root: str, spec: dict[str, Any], plan: dict[str, Any], source: str) -> Any:
    """Make a job's folder and start its supervisor; returns {"pid", "folder"} once the job's command runs."""
    job_id = spec["id"]
    if not JOB_ID.fullmatch(job_id):
        raise Refused(f"{job_id!r} is not a job id", "refused")
    if not os.path.isdir(spec["cwd"]):
        raise Refused(f"no such folder: {spec['cwd']}", fix="check the profile's paths or the recipe")
    plan = dict(plan, argv=program(plan["argv"], spec))
    staging, folder = os.path.join(root, ".new-" + job_id), os.path.join(root, job_id)
    if os.path.lexists(folder):
        raise Refused(f"job {job_id} exists already", "refused")
    os.makedirs(root, exist_ok=True)
    clear_stale(root)
    os.mkdir(staging)
    try:
        fill(lib, staging, dict(spec, created=spec.get("created") or time.time(), supervisor=plan), source)
        answer = launch(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    if "error" in answer:
        for place in (staging, folder):
            shutil.rmtree(place, ignore_errors=True)
        raise Refused(f"{plan['argv'][0]} could not be started: {answer['error']}")
    return {"pid": answer["pid"], "folder": folder}


def program(argv: list[str], spec: dict[str, Any]) -> list[str]:
    """The command with its program found, as the job's own PATH and folder have it."""
    name = argv[0]
    if "/" in name:
        path = os.path.join(spec["cwd"], os.path.expanduser(name))
        if not os.path.isfile(path):
            raise Refused(f"no such program: {name}")
        if not os.access(path, os.X_OK):
            raise Refused(f"{name} is not executable", fix=f"chmod +x {name}")
        return [path, *argv[1:]]
    if shutil.which(name, path=(spec.get("env") or {}).get("PATH")):
        return argv
    if name == "conda":
        for home in CONDA_HOMES:
            path = os.path.join(os.path.expanduser(home), "bin", "conda")
            if os.access(path, os.X_OK):
                return [path, *argv[1:]]
    raise Refused(f"no such program: {name}", fix="install it there, or name it with its whole path")


def fill(lib: Any, staging: str, job: dict[str, Any], source: str) -> None:
    """All files of a new job; the spares are allocated now, for when the disk is full."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    lib.write_through(os.path.join(staging, "job.json"), json.dumps(job, indent=1).encode(), flags)
    lib.write_through(os.path.join(staging, "supervisor.py"), source.encode(), flags)
    for name in lib.SPARES:
        lib.write_through(os.path.join(staging, lib.spare(name)), b"\n" * lib.SLOT, flags)
    for name in ("log", "heartbeat"):
        lib.write_through(os.path.join(staging, name), b"", flags)


def launch(staging: str, folder: str) -> dict[str, Any]:
    """Start the supervisor, detached; returns its one answer: {"pid"} or {"error"}."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        detach(["start", staging, folder, str(writing)], os.path.join(staging, "supervisor.py"), staging, writing)
    finally:
        os.close(writing)
    return listen(reading)


def detach(args: list[str], program_path: str, folder: str, keep: int | None = None) -> None:
    """Run the supervisor in a session of its own, child of nobody here: no terminal, no pipe of ours."""
    log = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            subprocess.Popen(
                [sys.executable, "-I", "-S", program_path, *args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,  # only a crash of the supervisor itself would print
                pass_fds=() if keep is None else (keep,),
                cwd="/",
            )
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(log)
    if os.waitpid(child, 0)[1] != 0:
        raise Refused("the job's supervisor could not be started")


def listen(reading: int) -> dict[str, Any]:
    """The supervisor's answer on a pipe; an end without one means that it died."""
    data, deadline = b"", time.monotonic() + START_TIMEOUT_S
    while True:
        if not select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise Refused(f"the job's supervisor did not answer within {START_TIMEOUT_S:.0f} s")
        part = os.read(reading, 4096)
        if not part:
            break
        data += part
    os.close(reading)
    if not data:
        raise Refused("the job's supervisor died at once")
    answer: dict[str, Any] = json.loads(data)
    return answer


def clear_stale(root: str) -> None:
    """Remove what a creation that was cut off has left, long ago."""
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if name.startswith(".new-"):
            with contextlib.suppress(OSError):
                if time.time() - os.stat(path).st_mtime > STAGING_KEPT_S:
                    shutil.rmtree(path, ignore_errors=True)


def job_stop(lib: Any, root: str, id: str, mode: str, by: str) -> Any:
    """Ask a job to stop; returns the request that stands. A second one only counts where it is harsher."""
    folder = os.path.join(root, id)
    if not JOB_ID.fullmatch(id) or not os.path.isdir(folder):
        raise Refused(f"no job {id}", "missing")
    os.chdir(folder)
    with locked("."):
        before, exited = lib.get("stop.json"), lib.get("exit.json")
        if exited is not None:
            if before is not None:
                return before
            raise Refused(f"job {id} has ended already", "refused")
        request = {"mode": mode, "requested": time.time(), "by": by}
        ranks = lib.RUNGS.index
        if before is not None and before.get("mode") in lib.RUNGS and ranks(mode) <= ranks(before["mode"]):
            request = before
        else:
            lib.put("stop.json", request)
        state = lib.get("state.json") or {}
        if not lib.alive(state.get("pid"), state.get("ticks")) and lib.family(id):
            detach(["adopt", folder], os.path.join(folder, "supervisor.py"), folder)
    return request


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """One at a time: two consoles may stop one job at once."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


# Files.


@contextlib.contextmanager
def parent_of(path: str, roots: list[str]) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that holds `path`, and its name there; refuses what is not strictly under a root."""
    if not path.startswith("/") or "\0" in path:
        raise Refused(f"{path!r} is not an absolute path", "refused")
    for root in roots:
        base = root.rstrip("/")
        if base and path.startswith(base + "/"):
            break
    else:
        raise Refused(f"{path} lies outside the folders that may be changed", "refused")
    parts = path[len(base) + 1 :].rstrip("/").split("/")
    if any(part in ("", ".", "..") or part.startswith("-") for part in parts):
        raise Refused(f"{path!r} is not a plain path", "refused")
    here = os.open(base, os.O_RDONLY | os.O_DIRECTORY)  # the root itself may be a link: the profile says so
    try:
        for part in parts[:-1]:
            try:
                deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise Refused(f"{path}: {part} is a link or no folder", "refused") from None
                raise
            os.close(here)
            here = deeper
        yield here, parts[-1]
    finally:
        os.close(here)


def remove(lib: Any, paths: list[str], roots: list[str]) -> Any:
    """Remove folders and files; returns {"freed": bytes really freed, "removed": [...], "failed": {path: why}}."""
    result: dict[str, Any] = {"freed": 0, "removed": [], "failed": {}}
    for path in paths:  # all are judged before the first is touched
        with contextlib.suppress(FileNotFoundError), parent_of(path, roots):
            pass
    for path in paths:
        try:
            with parent_of(path, roots) as (folder, name):
                device = os.stat(name, dir_fd=folder, follow_symlinks=False).st_dev
                result["freed"] += erase(folder, name, device)
            result["removed"].append(path)
        except OSError as error:
            result["failed"][path] = error.strerror or str(error)
    return result


def erase(folder: int, name: str, device: int) -> int:
    """Remove a tree by descriptors; returns bytes freed. A file with other links frees nothing until its last."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if found.st_dev != device:
        raise OSError(errno.EXDEV, f"{name} is another file system")
    freed = found.st_blocks * 512
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return freed if found.st_nlink == 1 else 0
    inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        for child in os.listdir(inside):
            freed += erase(inside, child, device)
    finally:
        os.close(inside)
    os.rmdir(name, dir_fd=folder)
    return freed


def rename(lib: Any, path: str, to: str, roots: list[str]) -> Any:
    """Give a folder another name beside, never over an existing one; returns {"path"}."""
    if not NAME.fullmatch(to):
        raise Refused(f"{to!r} is not a plain name", "refused")
    with parent_of(path, roots) as (folder, name), locked(f"/proc/self/fd/{folder}"):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        with contextlib.suppress(FileNotFoundError):
            os.stat(to, dir_fd=folder, follow_symlinks=False)
            raise Refused(f"{to} exists already", "refused")
        os.rename(name, to, src_dir_fd=folder, dst_dir_fd=folder)
    return {"path": os.path.join(os.path.dirname(path.rstrip("/")), to)}


OPS: dict[str, Callable[..., Any]] = {
    "job_create": job_create,
    "job_stop": job_stop,
    "remove": remove,
    "rename": rename,
}


def explain(error: OSError) -> dict[str, Any]:
    text = error.strerror or str(error)
    if error.filename:
        text = f"{os.fsdecode(error.filename)}: {text}"
    fixes = {
        errno.ENOSPC: "free some space there",
        errno.EDQUOT: "free some space there",
        errno.EACCES: "check who owns it",
        errno.EROFS: "the file system is read-only",
    }
    kind = "missing-file" if error.errno == errno.ENOENT else "failed"
    return {"error": text, "kind": kind, "fix": fixes.get(error.errno or 0, ""), "errno": error.errno}


def perform(message: dict[str, Any], lib: Any) -> dict[str, Any]:
    try:
        return {"ok": OPS[message["op"]](lib, **message["args"])}
    except Refused as error:
        return {"error": str(error), "kind": error.kind, "fix": error.fix}
    except OSError as error:
        return explain(error)


def main(message: dict[str, Any], lib: Any) -> None:
    # A token of remote.docker: whoever carries it ends with this program. What is started here must not.
    os.environ.pop("DM_G1_EXEC", None)
    sys.stdout.write("\n" + MARK + json.dumps(perform(message, lib)) + "\n")
    sys.stdout.flush()
