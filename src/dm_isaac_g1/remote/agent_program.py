"""The agent: sent over SSH, run by the host's own python3 (3.8 or later, stdlib only), never written to its disk.

It reports the host about once a second and answers read-only questions, in JSON lines, and ends with its stdin. One
thread waits for everything; what may hang (a file system, nvidia-smi's help) is done beside it. Its parts are sent
together, see `remote.agent`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.remote import agent_jobs, agent_questions
from dm_isaac_g1.remote.agent_disks import ask_disks
from dm_isaac_g1.remote.agent_follow import Follow
from dm_isaac_g1.remote.agent_gpu import Gpu, libc
from dm_isaac_g1.remote.agent_system import attempt, expand, text

if TYPE_CHECKING:
    from collections.abc import Callable


VERSION = 1
OPS: dict[str, Callable[..., Any]] = {**agent_questions.OPS, **agent_jobs.OPS}
#: Bytes unsent beyond which samples are left out: the newest is worth more than the oldest.
OUT_MAX = 1 << 18
#: A question longer than this is none of ours.
ASK_MAX = 1 << 20
#: Questions worked on at once.
BUSY_MAX = 32
#: Seconds between samples where nvidia-smi does not set the pace; between looks at disks and at GPU processes.
PACE, DISKS, APPS = 1.0, 10.0, 5.0
#: Seconds without a word from the console, which pings: it is gone behind a link that broke without a sign.
LONELY = 60.0
#: How often a followed file is looked at without inotify, and (for file systems it does not see) with it.
LOOK, LOOK_ANYWAY = 0.02, 0.5


class Agent:
    """The loop, and what it keeps. `config`: mark, paths, and host (whether to report the machine itself)."""

    def __init__(self, config: dict[str, Any]) -> None:
        home = os.path.expanduser("~")
        workspace = expand(config["paths"].get("workspace", "~"), home)
        self.host = bool(config["host"])
        self.paths = {name: expand(path, workspace) for name, path in config["paths"].items()}
        self.out = bytearray(f"\n{config['mark']}\n", "ascii")
        self.inbox = b""
        self.follows: dict[int, Follow] = {}
        self.done: list[Any] = []
        self.busy = 0
        self.going: dict[str, float] = {}
        self.extra: dict[str, Any] = {}
        self.ticks: list[int] = []
        self.seq, self.due, self.look, self.heard = 0, 0.0, 0.0, time.monotonic()
        self.wake_in, self.wake_out = os.pipe()
        self.inotify = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.gpu = Gpu(self.run, self.sample_soon) if self.host else None

    def loop(self) -> None:
        """Until stdin ends, or nobody has been heard for too long."""
        os.set_blocking(1, False)
        now = self.heard
        while now - self.heard < LONELY:
            now = time.monotonic()
            self.tick(now)
            smi = self.gpu.fd() if self.gpu else -1
            readers = [fd for fd in (0, self.wake_in, self.inotify, smi) if fd >= 0]
            soonest = min(now + 1.0, self.due if self.host else now + 1.0, self.look if self.follows else now + 1.0)
            ready, writable, _ = select.select(readers, [1] if self.out else [], [], max(0.0, soonest - now))
            if writable:
                with contextlib.suppress(BlockingIOError):
                    del self.out[: os.write(1, self.out[: 1 << 16])]
            if 0 in ready and not self.hear(os.read(0, 1 << 16)):
                return
            if self.wake_in in ready:
                os.read(self.wake_in, 4096)
            while self.done:
                then, result, error = self.done.pop(0)
                then(result, error)
            if self.inotify in ready:
                attempt(os.read, self.inotify, 1 << 16)
                self.look = min(self.look, now + 0.005)
            if self.gpu and smi in ready:
                self.gpu.readable(now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.follows and now >= self.look:
            self.look = now + (LOOK_ANYWAY if self.inotify >= 0 else LOOK)
            for ident, follow in list(self.follows.items()):
                try:
                    follow.step(now)
                except OSError as error:
                    self.drop(ident)
                    self.send({"kind": "reply", "id": ident, "error": error.strerror or str(error)})
        if self.paths:
            self.every(DISKS, "disks", now, lambda: ask_disks(self.paths, believe=True))
        if self.gpu:
            self.gpu.tick(now)
            if self.gpu.state == "ok":
                self.every(APPS, "apps", now, self.gpu.apps)
        if now >= self.due and (self.host or self.extra):
            self.due = now + (PACE * 1.2 if self.gpu and self.gpu.state == "ok" else PACE)
            self.sample()

    def every(self, seconds: float, name: str, now: float, call: Callable[[], Any]) -> None:
        """Work out a part of the sample beside the loop, one at a time."""
        if now < self.going.get(name, 0.0):
            return
        self.going[name] = float("inf")

        def keep(result: Any, error: str | None) -> None:
            self.going[name] = time.monotonic() + seconds
            if result is not None:
                self.extra[name] = result
                self.due = 0.0 if not self.host else self.due

        self.run(call, keep)

    def run(self, call: Callable[[], Any], then: Callable[[Any, str | None], None]) -> None:
        """Do `call` in a thread, and `then` in the loop with its result or its error."""

        def work() -> None:
            result, problem = None, None
            try:
                result = call()
            except Exception as error:
                problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self.done.append((then, result, problem))
            os.write(self.wake_out, b"x")

        threading.Thread(target=work, daemon=True).start()

    def sample_soon(self) -> None:
        """nvidia-smi sets the pace: its rows are sent when they come, those of all GPUs together."""
        self.due = min(self.due, time.monotonic() + 0.005)

    def sample(self) -> None:
        self.seq += 1
        row: dict[str, Any] = {"kind": "sample", "seq": self.seq, "t_mono": time.monotonic(), "t_wall": time.time()}
        if self.gpu:
            row.update(cpu=self.cpu(), load1=attempt(lambda: os.getloadavg()[0]), cpus=os.cpu_count())
            row.update(memory=memory(), gpu=self.gpu.report(), simulated=self.gpu.simulated)
        row.update(self.extra)
        self.extra = {}
        if len(self.out) < OUT_MAX:
            self.send(row)

    def cpu(self) -> float | None:
        """Percent since the last sample; proc(5), the cpu line: user nice system idle iowait irq softirq steal."""
        before, self.ticks = (
            self.ticks,
            [int(n) for n in attempt(text, "/proc/stat", default="cpu").split("\n")[0].split()[1:9]],
        )
        spent = [new - old for new, old in zip(self.ticks, before)]  # noqa: B905 - no strict= in Python 3.8
        total = sum(spent)
        return min(100.0, max(0.0, 100.0 - 100.0 * sum(spent[3:5]) / total)) if total > 0 else None

    def hear(self, data: bytes) -> bool:
        """Take questions. False at the end of stdin."""
        self.heard = time.monotonic()
        *lines, self.inbox = (self.inbox + data).split(b"\n")
        for line in lines:
            self.answer(json.loads(line))
        return bool(data) and len(self.inbox) < ASK_MAX

    def answer(self, ask: dict[str, Any]) -> None:
        op, ident, args = ask["op"], int(ask.get("id", 0)), ask.get("args", {})
        if op == "ping":
            return
        if op == "follow":
            self.follows[ident] = Follow(self.send, self.watch, ident, **args)
            self.look = 0.0
        elif op == "unfollow":
            self.drop(ident)
        elif op == "ack":
            if ident in self.follows:
                self.follows[ident].credit += ask["bytes"]
                self.look = 0.0
        elif op not in OPS or self.busy >= BUSY_MAX:
            why = "too many questions at once" if op in OPS else f"this agent has no op {op}"
            self.send({"kind": "reply", "id": ident, "error": why})
        else:
            self.busy += 1

            def reply(value: Any, error: str | None) -> None:
                self.busy -= 1
                self.send({"kind": "reply", "id": ident, "value": value, "error": error})

            self.run(lambda: OPS[op](**args), reply)

    def drop(self, ident: int) -> None:
        if ident in self.follows:
            self.follows.pop(ident).close()

    def watch(self, path: str, mask: int) -> None:
        if self.inotify >= 0:
            libc.inotify_add_watch(self.inotify, os.fsencode(path), mask)

    def send(self, value: dict[str, Any]) -> None:
        """A name that is no UTF-8 must not cost the line it stands in."""
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        self.out += line + b"\n"

    def hello(self) -> None:
        self.send(
            {
                "kind": "hello",
                "version": VERSION,
                "python": sys.version.split()[0],
                "host": os.uname().nodename,
                "machine": os.uname().machine,
                "home": os.path.expanduser("~"),
                "user": os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid()),
                "pid": os.getpid(),
                "cpus": os.cpu_count(),
                "boot": attempt(text, "/proc/sys/kernel/random/boot_id", default="").strip(),
                "paths": self.paths,
                "ops": sorted([*OPS, "follow"]),
                "inotify": self.inotify >= 0,
                "simulated": bool(os.environ.get("DM_G1_LAB")),
            }
        )


def memory() -> list[int]:
    """Total, available, free bytes: proc(5), /proc/meminfo."""
    found = dict(re.findall(r"(\w+):\s+(\d+)", attempt(text, "/proc/meminfo", default="")))
    return [int(found.get(name, 0)) * 1024 for name in ("MemTotal", "MemAvailable", "MemFree")]


def main(config: dict[str, Any]) -> None:
    agent = Agent(config)
    agent.hello()
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
            agent.loop()
    finally:
        # Threads may hang in a system call: nothing is waited for. The GPU's child dies with us.
        os._exit(0)
