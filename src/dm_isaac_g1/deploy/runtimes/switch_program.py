"""Exchanges what serves on a host, in one step that ends by itself: the console and the link may be gone meanwhile.

Standard library only, Python 3.8 and later; sent by `deploy.runtimes.switching`, run detached on the host:

    stop what serves -> start the new one -> wait until it greets on the port, within load_s
                     -> else stop the new one, start the old one again

A folder for each exchange, FOLDER/<txn>-switch and <txn>-restore:

    plan.json      what to do: the driver (process, docker or compose) and what it needs
    program.json   these programs, so that the exchange can be begun again after the host was rebooted
    progress.json  the moment the old one was told to stop; what the driver has to remember
    outcome.json   how it ended; written last, beside and renamed
    alive          locked by whoever performs it

A server that listens says so itself: the first ten bytes of ZMTP come unasked. Docker's proxy takes connections for
a container that does not listen, so a connection alone would prove nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
import types
from typing import Any

MARK = "\x1edm-g1 "
#: Reads the programs of an exchange from its folder and performs it.
DETACHED = (
    "import json,os,sys\n"
    "m=json.load(open(os.path.join(sys.argv[1],'program.json')))\n"
    "g={'__name__':'switch'}\n"
    "for n in ('switch','drivers'): exec(compile(m[n],n,'exec'),g)\n"
    "g['SOURCES'].update(m)\n"
    "g['perform'](sys.argv[1])"
)
#: Seconds between two looks at the port of a server that loads.
TICK = 0.1
#: Exchanges that have ended whose outcome is kept.
KEPT = 20
#: Name -> text of all programs of the exchange; DETACHED fills it.
SOURCES: dict[str, str] = {}


class Failed(Exception):
    """A step that could not be done, and why."""


# Files.


def read(folder: str, name: str) -> Any:
    try:
        with open(os.path.join(folder, name)) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def write(folder: str, name: str, value: Any) -> None:
    """Beside, to the disk, then renamed: nobody ever reads half of it."""
    beside = os.path.join(folder, f".{name}-{os.urandom(8).hex()}")  # a name that nobody can put a link at
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, os.path.join(folder, name))
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def hold(path: str, wait: bool = False) -> int | None:
    """A lock on a file, as a descriptor; None: another process has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(fd)
        return None
    return fd


# Questions: what the console asks.


def main(args: dict[str, Any]) -> None:
    """begin: see to it that the exchange is performed. wait: until it ended, or `seconds`. Both answer where it is."""
    try:
        folder = os.path.expanduser(args["folder"])
        if args["op"] == "begin":
            begin(folder, args["plan"], args["programs"])
        answer: dict[str, Any] = {"ok": wait(folder, args.get("seconds", 0.0))}
    except OSError as error:
        answer = {"error": f"{error.filename or args['folder']}: {error.strerror}", "kind": "failed"}
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
    sys.stdout.flush()


def begin(folder: str, plan: dict[str, Any], programs: dict[str, str]) -> None:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if read(folder, "outcome.json") is not None:
        return
    if read(folder, "plan.json") is None:
        forget(os.path.dirname(folder))
        write(folder, "program.json", programs)
        write(folder, "plan.json", plan)
    if alive(folder):
        return
    ready, told = os.pipe()
    os.set_inheritable(told, True)
    # DM_G1_EXEC: a token of remote.docker, whose carriers end with this program.
    env = {name: value for name, value in os.environ.items() if name != "DM_G1_EXEC"}
    env["DM_G1_READY"] = str(told)
    with open(os.path.join(folder, "log"), "ab") as log:
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", DETACHED, folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            cwd="/",
            pass_fds=(told,),
            start_new_session=True,
        )
    os.close(told)
    os.read(ready, 1)  # it has the lock, or is gone
    os.close(ready)


def forget(parent: str) -> None:
    """Of the exchanges that have ended, the last few stay: whoever began one may still ask how it ended."""
    ended = []
    for name in os.listdir(parent):
        with contextlib.suppress(OSError):
            ended.append((os.stat(os.path.join(parent, name, "outcome.json")).st_mtime, name))
    for _, name in sorted(ended)[:-KEPT]:
        shutil.rmtree(os.path.join(parent, name), ignore_errors=True)


def alive(folder: str) -> bool:
    fd = hold(os.path.join(folder, "alive"))
    if fd is None:
        return True
    os.close(fd)
    return False


def wait(folder: str, seconds: float) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while True:
        running = os.path.isdir(folder) and alive(folder)
        outcome = read(folder, "outcome.json")
        if outcome is not None or not running or time.monotonic() >= until:
            words = "" if running or outcome is not None else last_words(os.path.join(folder, "log"))
            return {"running": running, "outcome": outcome, "known": known(folder), "words": words}
        time.sleep(TICK)


def known(folder: str) -> bool:
    return read(folder, "plan.json") is not None


def last_words(path: str) -> str:
    """The last line of a log that says something."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


# The exchange itself.


def perform(folder: str) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # One in this folder, and one at a time on this host.
    mine = hold(os.path.join(folder, "alive"))
    told = int(os.environ.pop("DM_G1_READY", "-1"))
    if told >= 0:
        os.close(told)
    if mine is None or read(folder, "outcome.json") is not None:
        return
    others = hold(os.path.join(os.path.dirname(folder), "lock"), wait=True)
    try:
        exchange = Exchange(folder)
        write(folder, "outcome.json", exchange.safely())
    finally:
        if others is not None:
            os.close(others)


class Exchange:
    """One exchange. Everything in it may be done again: a reboot in the middle only repeats what is harmless."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.plan: dict[str, Any] = read(folder, "plan.json")
        self.nothing = False
        if self.plan.get("undoes"):
            # What the switch was, and what came of it, stands beside.
            switch = os.path.join(os.path.dirname(folder), self.plan["undoes"])
            self.nothing = not known(switch)
            did = read(switch, "progress.json") or {}
            self.plan = dict(read(switch, "plan.json") or {}, **self.plan, made=did.get("new"), brought=did.get("old"))
        self.progress: dict[str, Any] = read(folder, "progress.json") or {}
        if self.nothing:
            return
        self.driver = globals()["DRIVERS"][self.plan["driver"]](self.plan, self.progress, self.note)

    def note(self, **more: Any) -> None:
        self.progress.update(more)
        write(self.folder, "progress.json", self.progress)

    def safely(self) -> dict[str, Any]:
        """Whatever goes wrong in it, the one before is brought back."""
        try:
            return self.run()
        except Exception as error:
            traceback.print_exc()
            return self.bring_back(said(error))

    def run(self) -> dict[str, Any]:
        if self.nothing:
            return {"ok": True, "back": True, "problem": None}
        if self.plan["what"] == "restore":
            return self.bring_back(None)
        try:
            self.driver.prepare()
        except (Failed, OSError, ValueError, KeyError) as error:
            self.attempt(self.driver.unprepare)
            return dict(self.verdict(False, said(error)), back=True, outage_s=0.0)
        try:
            if "stopped" not in self.progress and self.driver.had_old():
                self.note(stopped=time.time())
            self.driver.stop_old()
            self.note(started=time.time())
            self.driver.start_new()
            problem = self.listens(self.driver.gone)
        except (Failed, OSError, ValueError, KeyError) as error:
            problem = said(error)
        if problem is not None:
            return self.bring_back(problem)
        outcome = self.verdict(True, None)
        self.attempt(self.driver.confirmed)
        return outcome

    def bring_back(self, why: str | None) -> dict[str, Any]:
        """The old one serves again. `why`: what was wrong with the new one; None: it was asked for."""
        if "back_began" not in self.progress:
            self.note(back_began=time.time(), why=why)
        why = self.progress["why"]
        self.progress.setdefault("stopped", self.progress["back_began"])
        problem = None
        try:
            self.driver.stop_new()
            if not self.driver.had_old():
                return self.verdict(why is None, why, served=False)
            self.note(started=time.time())
            self.driver.start_old()
            problem = self.listens(self.driver.gone)
        except (Failed, OSError, ValueError, KeyError) as error:
            problem = said(error)
        if why is None:
            return dict(self.verdict(problem is None, problem), back=problem is None)
        if problem is not None:
            why = f"{why}; and the one before does not come back: {problem}"
        return dict(self.verdict(False, why, served=problem is None), back=problem is None)

    def verdict(self, ok: bool, problem: str | None, served: bool | None = None) -> dict[str, Any]:
        now = time.time()
        served = ok if served is None else served
        return {
            "ok": ok,
            "back": False,
            "problem": problem,
            "outage_s": now - self.progress["stopped"] if served and "stopped" in self.progress else None,
            "load_s": now - self.progress["started"] if ok and "started" in self.progress else None,
            "id": self.driver.serves() if served else "",
            "at": now,
        }

    def listens(self, gone: Any) -> str | None:
        """Wait until the port greets; None then, else what is wrong."""
        until = time.monotonic() + self.plan["load_s"]
        looked = 0.0
        while True:
            address, port = self.driver.probe()
            taken = ""
            if greets(address, port):
                taken = self.taken(address, port)
                if not taken:
                    return None
            if time.monotonic() - looked > 0.5:  # the port is looked at more often than the server
                looked = time.monotonic()
                problem: str | None = gone()
                if problem:
                    return f"{problem} ({taken})" if taken else problem
            if time.monotonic() > until:
                return taken or f"it did not listen within {self.plan['load_s']:g} s"
            time.sleep(TICK)

    def taken(self, address: str, port: int) -> str:
        """Who greets instead of what was started; empty: nobody, or /proc does not say whose port it is."""
        job, pid = self.driver.identity()
        if not job and not pid:
            return ""
        around = library("around")
        found = around.stranger(around.listeners(port, around.connections()), address, job, pid)
        if found is None:
            return ""
        who = f"{' '.join(found['argv'])[:120]} (pid {found['pid']})" if found.get("pid") else "another process"
        return f"port {port} belongs to {who}, not to it"

    @staticmethod
    def attempt(step: Any) -> None:
        with contextlib.suppress(Failed, OSError, ValueError, KeyError):
            step()


def said(error: BaseException) -> str:
    return str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"


def greets(address: str, port: int) -> bool:
    """Whether a ZeroMQ socket listens there: it says ff, eight bytes, 7f at once (rfc.zeromq.org/spec/23)."""
    data = b""
    try:
        with socket.create_connection((address, port), 1.0) as peer:
            while len(data) < 10:
                part = peer.recv(10 - len(data))
                if not part:
                    return False
                data += part
    except (OSError, ValueError):
        return False
    return data[0] == 0xFF and data[9] & 1 == 1


def library(name: str) -> Any:
    """One of the programs, as a module."""
    module = types.ModuleType(name)
    exec(compile(SOURCES[name], name, "exec"), module.__dict__)  # noqa: S102  our own text
    return module
