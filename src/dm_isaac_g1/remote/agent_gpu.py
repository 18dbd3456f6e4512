"""nvidia-smi, kept running. Part of the agent: stdlib only, Python 3.8 and later.

One child streams a line a second: starting nvidia-smi for each sample would cost up to 1.5 s of GPU initialisation
and hold the GPU out of its idle state. It can hang; then it is ended and started again, less and less often.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.remote.agent_system import attempt, text

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[Callable[[], Any], Callable[[Any, str | None], None]], None]


#: What is asked for; one unknown field fails the whole query, so it is intersected with --help-query-gpu.
FIELDS = (
    "timestamp,index,uuid,pci.bus_id,name,driver_version,pstate,memory.total,memory.used,memory.free,utilization.gpu,"
    "utilization.memory,temperature.gpu,power.draw.instant,power.draw,enforced.power.limit,power.limit,"
    "clocks.current.sm,clocks.max.sm,clocks_event_reasons.active,clocks_throttle_reasons.active,fan.speed,"
    "ecc.errors.uncorrected.volatile.total,mig.mode.current,compute_cap,addressing_mode,gpu_recovery_action"
)
APPS = ("--query-compute-apps=gpu_uuid,pid,process_name,used_memory", "--format=csv,noheader,nounits")
#: Where nvidia-smi is when a non-login shell's PATH does not say.
PLACES = ("/usr/bin", "/usr/local/bin", "/usr/lib/wsl/lib", "/usr/sbin")
#: Seconds without a line: it hangs.
SILENCE = 5.0

libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """prctl(2): PR_SET_PDEATHSIG, SIGKILL. Nothing of ours outlives the agent, however it ends."""
    libc.prctl(1, 9)


def find_program() -> str:
    for folder in [*os.environ.get("PATH", "").split(":"), *PLACES]:
        path = os.path.join(folder, "nvidia-smi")
        if folder and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


class Gpu:
    """The streaming nvidia-smi. `run` does something beside the loop; `news` says that rows came."""

    def __init__(self, run: Run, news: Callable[[], None]) -> None:
        self.run, self.news = run, news
        self.child: subprocess.Popen[bytes] | None = None
        self.fields: list[str] = []
        self.asking = self.simulated = False
        self.head, self.rows, self.partial = "", [], b""  # type: str, list[str], bytes
        self.failures, self.next, self.heard = 0, 0.0, 0.0
        self.program = find_program()
        self.state = "stale" if self.program else "none"
        self.note: str | None = None if self.program else "nvidia-smi not found"

    def report(self) -> dict[str, Any]:
        """How it is, and the rows since the last report."""
        rows, self.rows = self.rows, []
        return {"state": self.state, "note": self.note, "head": self.head, "rows": rows}

    def fd(self) -> int:
        return self.child.stdout.fileno() if self.child and self.child.stdout else -1

    def tick(self, now: float) -> None:
        """Start it, or end it when it hangs."""
        if self.child and now - self.heard > SILENCE:
            self.stop(f"nvidia-smi gave nothing for {SILENCE:g} s", "stale")
        if not self.program or self.child or self.asking or now < self.next:
            return
        if not self.fields:
            self.asking = True
            self.run(self.learn, self.learned)
            return
        argv = [self.program, "--query-gpu=" + ",".join(self.fields), "--format=csv,nounits", "-lms", "1000"]
        try:
            self.child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            self.stop(f"nvidia-smi: {error.strerror}", "error")
            return
        os.set_blocking(self.fd(), False)
        self.heard, self.head, self.partial = now, "", b""

    def ask(self, *args: str) -> str:
        """What it answers. It says its errors on stdout as well as on stderr."""
        done = subprocess.run(
            [self.program, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
            preexec_fn=die_with_parent,
        )
        return done.stdout.decode(errors="replace")

    def learn(self) -> list[str]:
        told = self.ask("--help-query-gpu")
        valid = set(re.findall(r'"([A-Za-z0-9_.]+)"', told))
        self.simulated = bool(os.environ.get("DM_G1_LAB")) or "SIMULATED" in told + self.ask("--version")
        return [field for field in FIELDS.split(",") if field in valid] or [told.strip()[:300]]

    def learned(self, fields: list[str] | None, error: str | None) -> None:
        self.asking = False
        if fields and "index" in fields:
            self.fields = fields
        else:
            said = error or (fields[0] if fields else "")
            hung = "timed out" in said
            self.stop("nvidia-smi hangs" if hung else said or "nvidia-smi said nothing", "stale" if hung else "error")

    def stop(self, note: str, state: str) -> None:
        """End it and say why; the next start waits 1 s, 2 s, ... at most a minute."""
        if self.child:
            self.child.kill()
            if self.child.stdout:
                self.child.stdout.close()
            threading.Thread(target=self.child.wait, daemon=True).start()
            self.child = None
        self.state, self.note, self.rows = state, note, []
        self.failures += 1
        self.next = time.monotonic() + min(60.0, 2.0 ** min(self.failures - 1, 6))

    def readable(self, now: float) -> None:
        """Take what it wrote: a header with our first field's name, then a row a GPU and second."""
        data = attempt(os.read, self.fd(), 1 << 16)
        if data is None:
            return
        *lines, partial = (self.partial + data).split(b"\n")
        self.partial = partial[-4096:]
        for line in filter(None, (line.decode(errors="replace").strip()[:2000] for line in lines)):
            if not self.head and line.split(",")[0].split(" ")[0] != self.fields[0]:
                self.stop(line[:300], "error")
                return
            if not self.head:
                self.head = line
            elif line != self.head and line.count(",") == self.head.count(","):
                self.rows = [*self.rows[-63:], line]
                self.state, self.note, self.failures, self.heard = "ok", None, 0, now
        if self.rows:
            self.news()
        if not data:
            self.stop(self.partial.decode(errors="replace").strip()[:300] or "nvidia-smi ended", "error")

    def apps(self) -> dict[str, Any]:
        """Who holds GPU memory, asked on the host: inside a container the list is empty. And in which container."""
        rows = [line.strip()[:1000] for line in self.ask(*APPS).splitlines() if line.count(",") >= 3][:500]
        containers = {}
        for pid in {row.split(",")[1].strip() for row in rows}:
            found = (
                re.search("[0-9a-f]{64}", attempt(text, f"/proc/{int(pid)}/cgroup", default=""))
                if pid.isdigit()
                else None
            )
            if found:
                containers[pid] = found[0][:12]
        return {"rows": rows, "containers": containers}
