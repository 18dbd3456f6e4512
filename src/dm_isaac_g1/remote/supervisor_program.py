"""The supervisor: starts one job, outlives the connection, stops it when asked, and leaves a verdict.

Standard library only, Python 3.8 and later: it is copied into the job's folder as `supervisor.py` and run there,
detached, by `remote.hands_program`:

    python3 -I -S supervisor.py start STAGING FOLDER REPORT_FD    a new job: STAGING becomes FOLDER
    python3 -I -S supervisor.py adopt FOLDER                      a job whose supervisor died, to stop what is left

Files of the folder (all JSON is padded to SLOT bytes, see `put`):

    job.json    the spec, and under "supervisor" what this program needs (argv, waits, markers)
    state.json  who supervises (pid, start ticks, boot id, start ticks of pid 1), the child, the stop ladder's rung
    log         stdout and stderr of the job, appended by the job itself: nothing passes through here
    stop.json   somebody wants it to stop; read again when it changes, so that a harsher request overtakes
    exit.json   how it ended, written beside and renamed
    heartbeat   its mtime is the last moment the supervisor was there

Nothing of a job may be left over when it has ended. Workers of torchrun sit in sessions of their own and survive a
killed torchrun, so the family of a job is: every descendant of the supervisor, which adopts orphans
(PR_SET_CHILD_SUBREAPER), and every process that carries the job's marker in its environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

#: One file-system block: a file padded to it can be overwritten in place on a full disk.
SLOT = 4096
#: Allocated when the job is created and renamed into place when nothing else can be written any more.
SPARES = ("state.json", "stop.json", "exit.json")
MARKER = "DM_G1_JOB"
RUNGS = ("checkpoint", "interrupt", "terminate", "kill")
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
Json = Any
#: What job.json's "supervisor" may set otherwise; seconds, None: for ever.
PLAN: dict[str, Any] = {
    # The files that make a checkpoint complete: transformers writes this one last.
    "markers": ["trainer_state.json"],
    "checkpoint_s": None,  # a save may be an hour away; a harsher request overtakes
    "interrupt_s": 30.0,  # torchrun gives its workers 30 s
    "terminate_s": 10.0,
    "grace_s": 5.0,  # what ends by itself soon after the main process is not counted as reaped
    "settle_s": 3.0,  # trainers still copy and rotate after the marker of a complete checkpoint
    "tick_s": 0.5,
    "heartbeat_s": 5.0,
    # What should never end is started again after so long, twice as long after each crash, up to the last; None: never.
    "restart_s": None,
    "restart_most_s": 60.0,
}


# Files that can still be written when the disk is full.


def spare(name: str) -> str:
    return ".spare-" + name


def put(name: str, value: Json) -> None:
    """Write JSON beside `name`, then rename; on a full disk into the spare, else in place. Raises OSError."""
    text = json.dumps(value).encode()
    data = text + b" " * (SLOT - 1 - len(text)) + b"\n"
    beside = f".new-{name}-{os.getpid()}"
    try:
        try:
            write_through(beside, data, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.rename(beside, name)
        except OSError:
            unlink(beside)
            raise
    except OSError:
        if os.path.exists(spare(name)):
            write_through(spare(name), data, os.O_WRONLY)
            os.rename(spare(name), name)
        elif os.path.exists(name):
            write_through(name, data, os.O_WRONLY)
        else:
            raise


def write_through(path: str, data: bytes, flags: int) -> None:
    fd = os.open(path, flags, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def get(path: str) -> Json:
    """The JSON object of a file, or None where there is none (yet)."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def avail(path: str) -> int | None:
    """Bytes that an ordinary user may still write where `path` is, or will be; None: unknown."""
    while path and not os.path.exists(path):
        parent = os.path.dirname(path)
        path = parent if parent != path else ""
    try:
        disk = os.statvfs(path or ".")
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


# Processes.


def proc_stat(pid: int | str) -> tuple[str, int, int] | None:
    """(state, ppid, start ticks) of a process, or None. proc(5): fields 3, 4 and 22, after the last ')'."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[1]), int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def alive(pid: int | None, ticks: int | None) -> bool:
    """Whether that very process still runs; a zombie, or another one that got its number, does not count."""
    found = proc_stat(pid) if pid else None
    return found is not None and found[0] not in "ZX" and found[2] == ticks


def boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def identity() -> dict[str, Any]:
    """Who this process is, beyond its number: it can be told from a later one after a reboot or container restart."""
    me, first = proc_stat(os.getpid()), proc_stat(1)
    return {"pid": os.getpid(), "ticks": me and me[2], "boot": boot_id(), "init": first and first[2]}


def family(job_id: str, ancestor: int | None = None) -> list[int]:
    """Pids of a job's processes that still run: descendants of `ancestor`, and whoever carries the job's marker."""
    stats: dict[int, tuple[str, int, int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = proc_stat(name)
            if found is not None and found[0] not in "ZX":
                stats[int(name)] = found
    children: dict[int, list[int]] = {}
    for pid, found in stats.items():
        children.setdefault(found[1], []).append(pid)
    members: set[int] = set()
    todo = [ancestor] if ancestor else []
    while todo:
        fresh = children.get(todo.pop(), [])
        members.update(fresh)
        todo.extend(fresh)
    marker = f"{MARKER}={job_id}".encode()
    members.update(pid for pid in stats if pid not in members and carries(pid, marker))
    members.discard(os.getpid())
    return sorted(members)


def carries(pid: int, marker: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return marker in file.read().split(b"\0")
    except OSError:
        return False


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # a stopped process would never see it
        except OSError:
            pass


def subreaper() -> None:
    """Become the parent of orphaned descendants. Where libc cannot be had the marker alone must find them."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


# The job.


class Supervisor:
    """One job, from start to verdict. The working directory is the job's folder, whatever its name is by now."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.plan = dict(PLAN, **(job.get("supervisor") or {}))
        self.state = dict(identity(), state="starting", rung=None, signalled=False)
        self.child: int = 0
        self.command: Any = None
        self.status: int | None = None
        self.childless = False
        self.crashes = 0
        self.ended = 0.0
        self.adopted = False
        self.rung = -1
        self.deadline: float | None = None
        self.stop_seen: tuple[tuple[int, int], int] | None = None
        self.told = -1
        self.saves_before: set[tuple[str, int]] = set()
        self.beaten = 0.0
        self.wake, wake = os.pipe()
        for fd in (self.wake, wake):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        # Handlers, not SIG_IGN: what is ignored here would be ignored by the job too.
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, self.heard)

    def heard(self, number: int, _frame: object) -> None:
        """Somebody told the supervisor itself to end: then the job ends first."""
        if number == signal.SIGTERM:
            self.told = RUNGS.index("terminate")

    def start(self) -> None:
        """Start the job's command. Raises OSError where it cannot be started."""
        env = dict(os.environ)
        env.update(self.job.get("env") or {})
        env.update({"PYTHONUNBUFFERED": "1", MARKER: self.job["id"], "DM_G1_JOB_DIR": os.getcwd()})
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            # Kept: a Popen that is forgotten buries its child itself, and the exit status with it.
            self.command = subprocess.Popen(
                self.plan["argv"],
                cwd=self.job["cwd"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        self.child = self.command.pid
        found = proc_stat(self.child)
        self.note(state="running", child=self.child, child_ticks=found and found[2], started=time.time())

    def adopt(self, before: dict[str, Any]) -> None:
        """Take over from a supervisor that died: how the job ends cannot be known, but that it ends can be seen to."""
        self.adopted = True
        self.child = before.get("child") or 0
        self.note(**{key: before.get(key) for key in ("child", "child_ticks", "started")})
        self.note(state="running", adopted=True)

    def run(self) -> None:
        """Wait for the end, climbing the stop ladder when asked, and leave the verdict."""
        while True:
            while not self.over():
                self.pause(self.plan["tick_s"])
                self.beat()
                self.ladder()
            self.ended = time.time()
            if not self.again():
                break
        free = avail(self.job.get("output_dir") or os.getcwd())
        reaped = self.sweep()
        self.leave(free, reaped)

    def again(self) -> bool:
        """Start anew what crashed, after a while; False where it should stay ended."""
        first = self.plan["restart_s"]
        if first is None or self.adopted or self.asked() >= 0:
            return False
        self.state["restarts"] = self.state.get("restarts", 0) + 1
        if self.ended - (self.state.get("started") or 0) > 2 * self.plan["restart_most_s"]:
            self.crashes = 0  # it had been well
        wait = min(first * 2**self.crashes, self.plan["restart_most_s"])
        self.crashes = min(self.crashes + 1, 30)
        self.note(state="starting", crashed=self.status)
        until = time.monotonic() + wait
        while time.monotonic() < until or self.family():
            send(self.family(), signal.SIGKILL)  # what it left holds the port, and the GPU
            self.pause(min(wait, self.plan["tick_s"]))
            self.beat()
            if self.asked() >= 0:
                self.note(signalled=True)
                return False
        self.status, self.childless = None, False
        try:
            self.start()
        except OSError:
            self.status = 127 << 8
        return True

    def over(self) -> bool:
        if self.adopted:
            return not alive(self.child, self.state.get("child_ticks"))
        return self.status is not None or self.childless

    def pause(self, seconds: float) -> None:
        """Sleep, but wake at once when a child ends; then bury what has ended, adopted orphans included."""
        select.select([self.wake], [], [], seconds)
        try:
            while os.read(self.wake, 512):
                pass
        except OSError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except OSError:
                self.childless = True
                return
            if pid == 0:
                return
            if pid == self.child:
                self.status = status

    def beat(self) -> None:
        if time.monotonic() - self.beaten >= self.plan["heartbeat_s"]:
            self.beaten = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime("heartbeat")

    def note(self, **changes: Any) -> None:
        """Change state.json. A disk so full that even this fails costs the note, not the job."""
        self.state.update(changes)
        with contextlib.suppress(OSError):
            put("state.json", self.state)

    # The stop ladder.

    def ladder(self) -> None:
        """One look at stop.json and the clock: stay, go up a rung, or jump to the one that is asked for."""
        wanted = self.asked()
        if wanted > self.rung:
            self.enter(wanted)
        elif self.rung >= 0 and self.deadline is not None and time.monotonic() >= self.deadline:
            self.enter(min(self.rung + 1, len(RUNGS) - 1))
        elif self.rung == RUNGS.index("checkpoint") and self.saved():
            self.enter(RUNGS.index("interrupt"))

    def asked(self) -> int:
        try:
            found = os.stat("stop.json")
        except OSError:
            return self.told
        version = (found.st_ino, found.st_mtime_ns)
        if self.stop_seen is None or self.stop_seen[0] != version:
            mode = (get("stop.json") or {}).get("mode")
            self.stop_seen = (version, RUNGS.index(mode) if mode in RUNGS else -1)
        return max(self.told, self.stop_seen[1])

    def enter(self, rung: int) -> None:
        name = RUNGS[rung]
        self.rung = rung
        wait = self.plan.get(name + "_s") if name != "kill" else self.plan["tick_s"]
        self.deadline = None if wait is None else time.monotonic() + wait
        if self.state["rung"] != name:  # the last rung is climbed again and again
            self.note(state="stopping", rung=name, rung_since=time.time(), signalled=name != "checkpoint")
        if name == "checkpoint":
            self.saves_before = self.saves()
            if not self.job.get("stop_file") and not self.job.get("output_dir"):
                self.deadline = time.monotonic()  # it saves nothing that could be waited for
            elif self.job.get("stop_file"):
                with contextlib.suppress(OSError):  # then the next regular save will do
                    os.close(os.open(self.job["stop_file"], os.O_WRONLY | os.O_CREAT, 0o644))
        elif name == "interrupt":
            # The group only: torchrun tells its workers itself, and one rank told alone deadlocks the others.
            self.signal_group(signal.SIGINT)
        else:
            self.signal_all(signal.SIGTERM if name == "terminate" else signal.SIGKILL)

    def signal_group(self, number: int) -> None:
        for one in (number, signal.SIGCONT):
            with contextlib.suppress(OSError):
                os.killpg(self.child, one)

    def signal_all(self, number: int) -> None:
        send(self.family(), number)

    def family(self) -> list[int]:
        return family(self.job["id"], os.getpid())

    def saves(self) -> set[tuple[str, int]]:
        """Complete checkpoints in the output folder, as (name, mtime of the file that is written last)."""
        folder = self.job.get("output_dir")
        found: set[tuple[str, int]] = set()
        if not folder:
            return found
        try:
            names = [name for name in os.listdir(folder) if name.startswith("checkpoint-")]
        except OSError:
            return found
        for name in names:
            try:
                marks = [os.stat(os.path.join(folder, name, one)).st_mtime_ns for one in self.plan["markers"]]
            except OSError:
                continue
            found.add((name, max(marks)))
        return found

    def saved(self) -> bool:
        """Whether a checkpoint was completed since the request, and has settled. A stop file's trainer ends itself."""
        fresh = self.saves() - self.saves_before
        if not fresh or (self.job.get("stop_file") and os.path.exists(self.job["stop_file"])):
            return False
        newest = max(mark for _, mark in fresh) / 1e9
        return abs(time.time() - newest) >= float(self.plan["settle_s"])

    # The end.

    def sweep(self) -> int:
        """End what outlived the main process. Returns how many processes had to be told to."""
        told: set[int] = set()
        began = time.monotonic()
        while True:
            self.pause(0.05)
            left = self.family()
            if not left:
                return len(told)
            if self.patient(left):
                began = time.monotonic()
            waited = time.monotonic() - began
            if self.rung == RUNGS.index("kill") or waited >= self.plan["grace_s"] + self.plan["terminate_s"]:
                send(left, signal.SIGKILL)
                told.update(left)
            elif waited >= self.plan["grace_s"]:
                fresh = [pid for pid in left if pid not in told]
                send(fresh, signal.SIGTERM)
                told.update(fresh)
            self.rung = max(self.rung, self.asked())

    def patient(self, left: list[int]) -> bool:
        """Whether what was interrupted may still use its time: `conda run` ends at once, the trainer in it saves."""
        if RUNGS[self.rung] != "interrupt" or self.deadline is None or time.monotonic() >= self.deadline:
            return False
        for pid in left:
            with contextlib.suppress(OSError):
                if os.getpgid(pid) == self.child:
                    return True
        return False

    def leave(self, free: int | None, reaped: int) -> None:
        verdict = {"code": None, "signal": None, "ended": self.ended, "avail": free, "reaped": reaped}
        verdict["signalled"] = self.state["signalled"]
        if self.status is not None and os.WIFEXITED(self.status):
            verdict["code"] = os.WEXITSTATUS(self.status)
        elif self.status is not None:
            verdict["signal"] = os.WTERMSIG(self.status)
        self.note(state="ended")
        self.beaten = 0.0
        self.beat()
        insist("exit.json", verdict)
        for name in SPARES:
            unlink(spare(name))


def insist(name: str, value: Json) -> None:
    """Write until it is written, or the folder is gone."""
    while True:
        try:
            put(name, value)
            return
        except OSError:
            try:
                if os.stat(".").st_nlink == 0:
                    return
            except OSError:
                return
            time.sleep(1.0)


def begin(staging: str, folder: str, report: int) -> None:
    """A new job. `report`: a pipe to whoever asked, told once whether the job runs or why it could not be started."""
    os.chdir(staging)
    job = get("job.json") or {}
    subreaper()
    supervisor = Supervisor(job)
    try:
        put("state.json", supervisor.state)
        os.rename(staging, folder)  # from here on others see the job
        os.chdir(folder)
        supervisor.start()
    except (OSError, KeyError, TypeError, ValueError) as error:
        insist("exit.json", {"code": 127, "signal": None, "ended": time.time(), "error": str(error)[:1000]})
        tell(report, {"error": str(error)[:1000], "errno": getattr(error, "errno", None)})
        return
    tell(report, {"pid": supervisor.child})
    supervisor.run()


def tell(report: int, message: Json) -> None:
    try:
        os.write(report, json.dumps(message).encode())
        os.close(report)
    except OSError:
        pass  # whoever asked is gone; the folder says it too


def take_over(folder: str) -> None:
    os.chdir(folder)
    subreaper()
    supervisor = Supervisor(get("job.json") or {"id": os.path.basename(folder)})
    supervisor.adopt(get("state.json") or {})
    supervisor.run()


if __name__ == "__main__":
    if sys.argv[1] == "start":
        begin(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        take_over(sys.argv[2])
