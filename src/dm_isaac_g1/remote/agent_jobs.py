"""The agent's op "jobs": what stands in the folders of jobs, and whether their processes still run.

Standard library only, Python 3.8 and later: it is sent to the host along with the agent. It reads only. What files
say is passed on as it is; `remote.jobs` makes values of it. The files are described in `remote.supervisor_program`.

Cheap at one call a second: a file is read again only when it changed, and a job that has ended costs one stat.
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import Any

JOB_FILES = ("job.json", "state.json", "stop.json", "exit.json")
JOB_FILE_MAX = 1 << 20
#: A folder without a state this long after it appeared is not about to start any more (`jobs.STARTING_S`).
STARTING_S = 60.0

_job_files: dict[str, tuple[Any, Any]] = {}
_jobs_ended: dict[str, tuple[int, dict[str, Any]]] = {}


def jobs(root: str, have: dict[str, str] | None = None) -> dict[str, Any]:
    """All jobs under `root`: {"ids": [...], "jobs": {id: record}, "now": host's clock}.

    `have`: versions ("v" of a record) that the asker holds already; records that still have them are left out.
    """
    found: dict[str, Any] = {}
    ids: list[str] = []
    try:
        names = sorted(name for name in os.listdir(root) if job_plain(name))
    except FileNotFoundError:
        names = []
    for name in names:
        record = None if name.startswith(".") else job_record(os.path.join(root, name))
        if record is not None:
            ids.append(name)
            if not have or have.get(name) != record["v"]:
                found[name] = record
    for gone in set(_jobs_ended) - {os.path.join(root, name) for name in names}:
        if os.path.dirname(gone) == root:
            _jobs_ended.pop(gone, None)
    return {"ids": ids, "jobs": found, "now": time.time()}


def job_record(folder: str) -> dict[str, Any] | None:
    """One job's record, or None for what is no job's folder."""
    try:
        status = os.lstat(folder)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    ended = _jobs_ended.get(folder)
    if ended is not None and ended[0] == status.st_mtime_ns:
        return ended[1]
    values, versions, problem = {}, [], None
    for name in JOB_FILES:
        version, value, why = job_file(os.path.join(folder, name))
        values[name] = value
        versions.append(version)
        problem = problem or (why and name + ": " + why)
    if all(version is None for version in versions):
        return None
    if versions[0] is None:
        problem = "job.json is missing"
    record = {
        "folder": folder,
        "spec": values["job.json"],
        "state": values["state.json"],
        "stop": values["stop.json"],
        "exit": values["exit.json"],
        "problem": problem,
        "born": status.st_mtime if versions[0] is None else versions[0][2] / 1e9,
        "log_bytes": job_stat(folder, "log", "st_size"),
        "heartbeat": job_stat(folder, "heartbeat", "st_mtime"),
        "gone": job_gone(values["state.json"]) if versions[3] is None else None,
    }
    waiting = versions[1] is None and time.time() - record["born"] < STARTING_S
    record["v"] = str(hash(json.dumps([versions, record["log_bytes"], record["gone"], problem, waiting])))
    if versions[3] is not None and problem is None:
        _jobs_ended[folder] = (status.st_mtime_ns, record)
        for name in JOB_FILES:
            _job_files.pop(os.path.join(folder, name), None)
    return record


def job_file(path: str) -> tuple[Any, Any, str | None]:
    """(version, JSON object, what is wrong) of a file; a version of None: it is not there."""
    try:
        status = os.stat(path)
        version = [status.st_ino, status.st_size, status.st_mtime_ns]
        cached = _job_files.get(path)
        if cached is not None and cached[0] == version:
            return version, cached[1], None
        with open(path, "rb") as file:
            value = json.loads(file.read(JOB_FILE_MAX))
        if not isinstance(value, dict):
            return version, None, "not a JSON object"
        if not job_plain(value):
            return version, None, "holds what JSON cannot carry"
    except FileNotFoundError:
        return None, None, None
    except OSError as error:
        return [0, 0, 0], None, error.strerror or "unreadable"
    except (ValueError, RecursionError):
        return version, None, "not JSON"
    _job_files[path] = (version, value)
    return version, value, None


def job_plain(value: Any, depth: int = 32) -> bool:
    """Whether a value goes over the wire: Python reads NaN, lone surrogates and endless nesting; others do not."""
    if depth == 0:
        return False
    if isinstance(value, str):
        return not any(0xD800 <= ord(each) <= 0xDFFF for each in value)
    if isinstance(value, float):
        return value - value == 0.0
    if isinstance(value, int):
        return abs(value) < 1 << 63
    if isinstance(value, list):
        return all(job_plain(each, depth - 1) for each in value)
    if isinstance(value, dict):
        return all(job_plain(key) and job_plain(each, depth - 1) for key, each in value.items())
    return True


def job_stat(folder: str, name: str, field: str) -> Any:
    try:
        return getattr(os.stat(os.path.join(folder, name)), field)
    except OSError:
        return 0


def job_gone(state: Any) -> str | None:
    """Why neither the job nor its supervisor can still be there, or None while one of them is.

    A pid alone means nothing after a reboot, a restart of the container, or simply later: the start ticks say whether
    it is the same process, the boot id and the start of pid 1 whether it could be.
    """
    if not isinstance(state, dict):
        return None
    if state.get("boot") != boot_id():
        return "reboot"
    init = job_process(1)
    if init is not None and state.get("init") is not None and init[1] != state["init"]:
        return "restart"
    for pid, ticks in (("pid", "ticks"), ("child", "child_ticks")):
        if isinstance(state.get(pid), int):
            found = job_process(state[pid])
            if found is not None and found[0] not in "ZX" and found[1] == state.get(ticks):
                return None
    return "process"


def job_process(pid: int) -> tuple[str, int] | None:
    """(state, start ticks) of a process: proc(5), fields 3 and 22, after the last ')'."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


OPS = {"jobs": jobs}
