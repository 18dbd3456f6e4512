"""Reading metrics: 3 million TensorBoard scalars beside TensorBoard's own EventAccumulator, and a 100,000-step log.

    scripts/bench events [--steps N] [--log-steps N] [--json FILE]

The event file is written by TensorBoard's own writer (three tags a step, as Hugging Face's Trainer logs them); both
readers read the same file in processes of their own, and their points are compared. The same file and log are then
read from a real sshd's disk through SSH into the store, as the console reads them. Times are CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TAGS = ("train/loss", "train/grad_norm", "train/learning_rate")

OURS = """
import sys, time, resource, json
start = time.process_time()
from dm_isaac_g1.finetuning.tfevents import EventFileReader
from dm_isaac_g1.fleet.curves import Curves
reader, curves = EventFileReader(), Curves()
with open(sys.argv[1], "rb") as file:
    while data := file.read(1 << 20):
        for name, c in reader.feed_columns(data).items():
            curves.extend_columns(name, c.steps, c.values, c.walls)
cpu = time.process_time() - start
found = {n: [len(c), float(c.steps[-1]), sum(c.values)] for n, c in curves.by_name.items()}
print(json.dumps(dict(cpu=cpu, rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found=found,
                      corrupt=len(reader.corrupt))))
"""

THEIRS = """
import sys, time, resource, json
start = time.process_time()
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
accumulator.Reload()
cpu = time.process_time() - start
found = {}
for tag in accumulator.Tags()["scalars"]:
    points = accumulator.Scalars(tag)
    found[tag.split("/", 1)[1]] = [len(points), float(points[-1].step), sum(p.value for p in points)]
print(json.dumps(dict(cpu=cpu, rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found=found)))
"""

LOG = """
import sys, time, json
from pathlib import Path
from dm_isaac_g1.finetuning.lines import LineSplitter
from dm_isaac_g1.finetuning.trainlog import TrainLogReader
data = Path(sys.argv[1]).read_bytes()
start = time.process_time()
reader, splitter, points, lines = TrainLogReader(), LineSplitter(), 0, 0
for at in range(0, len(data), 1 << 18):
    chunk = data[at : at + (1 << 18)]
    points += len(reader.feed(chunk, 1.0))
    lines += len(splitter.feed(chunk).lines)
cpu = time.process_time() - start
print(json.dumps(dict(cpu=cpu, points=points, lines=lines, step=reader.step, mb=len(data) / 1e6)))
"""


def write_events(path: Path, steps: int) -> None:
    """`steps` steps of three scalars, one event each, with TensorBoard's own writer."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    wall = 1_700_000_000.0
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=wall, file_version="brain.Event:2").SerializeToString())
        for step in range(1, steps + 1):
            wall += 0.37
            for tag, value in zip(TAGS, (math.exp(-step / steps), random.random(), 1e-4), strict=True):
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
                writer.write(Event(wall_time=wall, step=step, summary=summary).SerializeToString())


def write_log(path: Path, steps: int) -> None:
    """A log as Hugging Face's ProgressCallback and tqdm write it: two bars in three steps, metrics every tenth."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for step in range(1, steps + 1):
            share = step / steps
            elapsed = f"{step // 1600:02d}:{step // 27 % 60:02d}"
            rest = f"| {step}/{steps} [{elapsed}<10:00, 26.98it/s]"
            bar = f"\r{int(share * 100):3d}%|{'█' * int(share * 10):<10}{rest}"
            if step % 3:
                file.write(bar)
            if step % 10 == 0:
                values = f"'loss': {math.exp(-share):.4f}, 'grad_norm': {random.random()!r}, 'learning_rate': 0.0001"
                file.write(f"\r{' ' * 60}\r{{{values}}}\n{bar}")


def measure(program: str, path: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, timeout=900)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def through_ssh(events: Path, log: Path) -> dict[str, Any] | None:
    """Both files through SSH into the store (`_through`); None where this machine has no sshd."""
    if shutil.which("sshd") is None and not Path("/usr/sbin/sshd").exists():
        return None
    program = Path(__file__).with_name("_through.py")
    done = subprocess.run(
        [sys.executable, str(program), str(events), str(log)], check=True, capture_output=True, timeout=900
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench events", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1_000_000, help="steps of the event file, three scalars each")
    parser.add_argument("--log-steps", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        events, log = Path(folder) / "events.out.tfevents.1.bench", Path(folder) / "train.log"
        started = time.process_time()
        write_events(events, options.steps)
        writing = time.process_time() - started
        write_log(log, options.log_steps)
        ours, theirs, lines = measure(OURS, events), measure(THEIRS, events), measure(LOG, log)
        through = through_ssh(events, log)
        size = events.stat().st_size / 1e6
    same = set(ours["found"]) == set(theirs["found"]) and all(
        a[:2] == b[:2] and math.isclose(a[2], b[2])
        for a, b in ((ours["found"][t], theirs["found"][t]) for t in ours["found"])
    )
    ratio = theirs["cpu"] / ours["cpu"]
    figures = {
        "scalars": 3 * options.steps,
        "file_mb": round(size, 1),
        "writing_cpu_s": round(writing, 1),
        "ours_cpu_s": round(ours["cpu"], 2),
        "ours_rss_mb": round(ours["rss"]),
        "event_accumulator_cpu_s": round(theirs["cpu"], 2),
        "event_accumulator_rss_mb": round(theirs["rss"]),
        "ratio": round(ratio, 1),
        "same_points": same,
        "log_steps": options.log_steps,
        "log_mb": round(lines["mb"], 1),
        "log_points": lines["points"],
        "log_cpu_s": round(lines["cpu"], 3),
    }
    print(f"{'reader':<28}{'CPU s':>8}{'RSS MB':>8}   {3 * options.steps:,} scalars, {size:.0f} MB")
    print(f"{'dm-g1':<28}{ours['cpu']:>8.2f}{ours['rss']:>8.0f}   {ratio:.1f} times less")
    print(f"{'EventAccumulator':<28}{theirs['cpu']:>8.2f}{theirs['rss']:>8.0f}   same points: {same}")
    print(
        f"{'log, metrics and lines':<28}{lines['cpu']:>8.2f}{'':>8}   {options.log_steps:,} steps, {lines['mb']:.1f} MB"
    )
    if through is not None:
        for name, what in (("events", "through SSH into the store"), ("log", "log, through SSH")):
            row = through[name]
            rss = f"{through['rss']:.0f}" if name == "events" else ""
            held = f"event loop held up {row['held_up_ms']:.0f} ms at most"
            print(f"{what:<28}{row['cpu']:>8.2f}{rss:>8}   {sum(row['points'].values()):,} points, {held}")
            figures[f"ssh_{name}_cpu_s"] = round(row["cpu"], 2)
            figures[f"ssh_{name}_held_up_ms"] = round(row["held_up_ms"], 1)
        whole = through["events"]["points"] == {name: count for name, (count, *_) in ours["found"].items()}
        figures["ssh_same_points"] = whole
    text = json.dumps({"bench": "events", **figures})
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    goals = same and ratio >= 8 and lines["cpu"] <= 0.5 and lines["points"] == 3 * (options.log_steps // 10)
    if through is not None:
        goals = goals and whole and through["log"]["cpu"] <= 0.5
    return 0 if goals else 1


if __name__ == "__main__":
    sys.exit(main())
