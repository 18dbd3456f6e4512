"""The console: time to its first frame and CPU at rest, beside a Textual application of one widget, in the same run.

    python -m benches.console [--rounds N] [--rest SECONDS] [--json FILE]     (from scripts/)

Each program runs in a pseudo-terminal of 160x48; its first frame is there when its own text is first written. The
rounds alternate, so that a busy moment hits both. The console opens on a profile without hosts: what it costs itself.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT = 160, 48
LIMIT = 30.0

ONE_WIDGET = """
from textual.app import App, ComposeResult
from textual.widgets import Static
class One(App[None]):
    def compose(self) -> ComposeResult:
        yield Static("first-frame")
One().run()
"""

CONSOLE = """
from dm_isaac_g1.core.profile import Profile
from dm_isaac_g1.console.app import run
run(Profile(name="first-frame"))
"""

PROGRAMS = {"one widget": ONE_WIDGET, "console": CONSOLE}


class Terminal:
    """A program in a pseudo-terminal; ends it on the way out."""

    def __init__(self, program: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        env = dict(os.environ, TERM="xterm-256color", COLORTERM="truecolor", PYTHONDONTWRITEBYTECODE="")
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)

    def until(self, text: bytes) -> float:
        """Seconds from the start until `text` was written."""
        seen = b""
        while text not in seen:
            if time.perf_counter() - self.started > LIMIT:
                raise TimeoutError(f"no {text!r} in {LIMIT:.0f} s; the last it wrote: {seen[-400:]!r}")
            seen += self.read(0.05)
        return time.perf_counter() - self.started

    def read(self, wait: float) -> bytes:
        ready, _, _ = select.select([self.master], [], [], wait)
        with contextlib.suppress(OSError):
            return os.read(self.master, 1 << 16) if ready else b""
        return b""

    def rest(self, seconds: float) -> float:
        """CPU seconds used while `seconds` pass and nobody touches a key."""
        before = self.cpu()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.read(0.2)
        return self.cpu() - before

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> float:
        """MB in memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="starts of each program (default 9)")
    parser.add_argument("--rest", type=float, default=10.0, help="seconds of rest that CPU is taken over (default 10)")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    args = parser.parse_args(argv)
    frames: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    figures: dict[str, dict[str, float]] = {}
    for _ in range(args.rounds + 1):
        for name, program in PROGRAMS.items():
            with Terminal(program) as terminal:
                frames[name].append(terminal.until(b"first-frame"))
    for name, program in PROGRAMS.items():
        with Terminal(program) as terminal:
            terminal.until(b"first-frame")
            terminal.rest(3.0)
            used = terminal.rest(args.rest)
            counted = frames[name][1:]  # the first start compiled and warmed the disk's cache
            figures[name] = {
                "first_frame_min_s": min(counted),
                "first_frame_median_s": statistics.median(counted),
                "rest_cpu_percent": 100 * used / args.rest,
                "rss_mb": terminal.rss(),
            }
    ratio = figures["console"]["first_frame_median_s"] / figures["one widget"]["first_frame_median_s"]
    print(f"{'program':<12} {'first frame, s (min / median)':>30} {'CPU at rest':>12} {'memory':>9}")
    for name, row in figures.items():
        frame = f"{row['first_frame_min_s']:.2f} / {row['first_frame_median_s']:.2f}"
        print(f"{name:<12} {frame:>30} {row['rest_cpu_percent']:>10.1f} % {row['rss_mb']:>6.0f} MB")
    print(f"the console's first frame takes {ratio:.2f} times that of one widget (at most 1.5 is promised)")
    if args.json:
        args.json.write_text(json.dumps({"figures": figures, "ratio": ratio}, indent=2) + "\n")
    return 0 if ratio <= 1.5 else 1


if __name__ == "__main__":
    raise SystemExit(main())
