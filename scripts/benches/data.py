"""Datasets: conversion, statistics, split, combine and validation beside plain pyarrow, CPU, wall and memory.

    scripts/bench data [--episodes 200] [--frames 1500] [--rounds 3] [--only NAME ...] [--json FILE]

One dataset of Unitree's hospitality schema without video. Every contestant runs in a process of its own, in turns; CPU
seconds are the least of the rounds, wall seconds the median, memory the most. Imports are told apart, since they cost
the same whatever is done after them. The limit of what writes a dataset is plain pyarrow that reads the columns which
are needed and writes the same bytes; of what only reads, the reading. Last, seven sets of 200,000 frames each are
combined and their statistics computed: memory must be that of one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PYTHON = sys.executable
FIXTURES = Path(__file__).with_name("_datasets.py")
CONTESTANT = Path(__file__).with_name("_data_contestant.py")


@dataclass(frozen=True)
class Case:
    """What is measured. `inputs`: fixtures. `limit`: the plain pyarrow contestant that it stands beside.

    Goals: at most `ratio` times the limit's CPU, `cpu` seconds, `rss` MiB; at least `rate` frames a CPU second.
    """

    title: str
    inputs: tuple[str, ...]
    limit: str | None = None
    sets: int = 1
    ratio: float | None = None
    cpu: float | None = None
    rss: float | None = None
    rate: float | None = None


#: Goals are those for 200 episodes of 1,500 frames; CPU seconds are scaled to other sizes.
CASES: dict[str, Case] = {
    "limit-groot": Case("pyarrow: read what is needed, write the 31/23 set", ("hospitality", "groot")),
    "groot": Case("convert to GR00T's 31/23", ("hospitality",), "limit-groot", ratio=1.5, rss=250),
    "limit-inspire": Case("pyarrow: read what is needed, write the 53 set", ("hospitality", "inspire53")),
    "inspire": Case("convert to 53 with Inspire hands", ("hospitality",), "limit-inspire", ratio=2.5, rss=250),
    "limit-stats": Case("pyarrow: read the 31/23 set", ("groot",)),
    "stats": Case("stats.json and every episode's", ("groot",), "limit-stats", cpu=0.8, rss=300),
    "relative": Case("the same with relative_stats.json", ("groot",), "limit-stats", cpu=2.0, rss=250),
    "gr00t": Case("gr00t's own generate_stats, where installed", ("groot",), "limit-stats"),
    "limit-split": Case("pyarrow: read one file, write 200", ("combined", "groot")),
    "split": Case("split by episode_index", ("combined",), "limit-split", rate=400_000),
    "limit-combine": Case("pyarrow: read two sets, write one", ("groot", "other", "groot", "other"), sets=2),
    "combine": Case("combine two sets", ("groot", "other"), "limit-combine", sets=2, rate=400_000),
    "validate": Case("validate, fast", ("hospitality",), cpu=0.5),
    "validate-own": Case("validate, fast, what was converted", ("groot",), cpu=0.5),
}

#: Seven sets of 200,000 frames: memory is at most this much above what one takes.
SEVEN = "seven"
TINY = "tiny"
FLAT_MIB = 40


def run(arguments: list[str], timeout: float = 1800) -> dict[str, Any] | None:
    """One contestant in a process of its own; None where it is not installed."""
    done = subprocess.run(
        [PYTHON, str(CONTESTANT), *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode == 3:
        return None
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def make(what: str, *arguments: object) -> None:
    subprocess.run([PYTHON, str(FIXTURES), what, *map(str, arguments)], check=True, timeout=1800)


def fixtures(folder: Path, episodes: int, frames: int) -> None:
    make("hospitality", folder / "hospitality", episodes, frames)
    make("groot", folder / "hospitality", folder / "groot")
    make("inspire53", folder / "hospitality", folder / "inspire53")
    make("combined", folder / "groot", folder / "combined")
    make("linked", folder / "groot", folder / "other")


def tiny(folder: Path) -> None:
    """Small datasets of the same names, to import with what is imported late."""
    fixtures(folder / TINY, 2, 60)
    for number in range(7):
        make("linked", folder / TINY / "groot", folder / TINY / f"set{number}")
    for name in ("one", "seven"):
        make("linked", folder / TINY / "groot", folder / TINY / f"all-{name}")


def measure(folder: Path, names: list[str], rounds: int, say: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """Every contestant once a round, in turns."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            say(f"round {number + 1} of {rounds}: {CASES[name].title}")
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            one = run([name, str(folder / TINY), str(out), *(str(folder / each) for each in CASES[name].inputs)])
            if one is not None:
                found[name].append(one)
            shutil.rmtree(out, ignore_errors=True)
    return {name: rows for name, rows in found.items() if rows}


def summary(rows: list[dict[str, Any]], frames: int) -> dict[str, float]:
    cpu = min(row["cpu"] for row in rows)
    return {
        "cpu_s": round(cpu, 3),
        "wall_s": round(statistics.median(row["wall"] for row in rows), 3),
        "import_cpu_s": round(min(row["import_cpu"] for row in rows), 3),
        "rss_mib": round(max(row["rss"] for row in rows)),
        "frames_per_cpu_s": round(frames / cpu),
    }


def judged(case: Case, figures: dict[str, float], limit: dict[str, float] | None, scale: float) -> list[str]:
    """Goals that were missed."""
    missed = []
    if case.ratio and limit and figures["cpu_s"] > case.ratio * limit["cpu_s"]:
        missed.append(f"goal {case.ratio} times the limit")
    if case.cpu and figures["cpu_s"] > case.cpu * scale:
        missed.append(f"goal {case.cpu * scale:g} CPU s")
    if case.rss and figures["rss_mib"] > case.rss:
        missed.append(f"goal {case.rss:.0f} MiB")
    if case.rate and figures["frames_per_cpu_s"] < case.rate:
        missed.append(f"goal {case.rate:,.0f} frames a CPU s")
    return missed


def seven(folder: Path, options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Combine seven sets of 200,000 frames, then the statistics of all; beside the same of one."""
    episodes = max(1, round(options.episodes * 2 / 3))
    say(f"seven sets of {episodes} episodes")
    make("hospitality", folder / "small", episodes, options.frames)
    make("groot", folder / "small", folder / "set0")
    shutil.rmtree(folder / "small")
    for number in range(1, 7):
        make("linked", folder / "set0", folder / f"set{number}")
    sets = [str(folder / f"set{number}") for number in range(7)]
    found: dict[str, Any] = {"frames": 7 * episodes * options.frames}
    for name, inputs in (("one", sets[:1]), ("seven", sets)):
        out = folder / f"all-{name}"
        say(f"combine and statistics of {name}")
        combined = run(["combine", str(folder / TINY), str(out), *inputs])
        stats = run(["relative", str(folder / TINY), "-", str(out)])
        assert combined is not None and stats is not None
        found[name] = {"combine": combined, "stats": stats}
        shutil.rmtree(out)
    found["flat"] = all(
        found["seven"][what]["rss"] <= found["one"][what]["rss"] + FLAT_MIB for what in ("combine", "stats")
    )
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench data", description=__doc__.split("\n")[0])
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--frames", type=int, default=1500, help="of each episode")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=[*CASES, SEVEN], help="these and what they stand beside")
    parser.add_argument("--folder", type=Path, help="where the datasets are made (0.6 GB, 2 GB with the seven sets)")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args(argv)
    asked = options.only or [*CASES, SEVEN]
    beside = {CASES[name].limit for name in asked if name in CASES}
    names = [name for name in CASES if name in asked or name in beside]
    frames = options.episodes * options.frames

    def say(text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="dm-g1-bench-", dir=options.folder) as temporary:
        folder = Path(temporary)
        tiny(folder)
        if names:
            say("making the datasets")
            fixtures(folder, options.episodes, options.frames)
        rows = measure(folder, names, options.rounds, say)
        big = seven(folder, options, say) if SEVEN in asked else None
    figures = {name: summary(each, frames * CASES[name].sets) for name, each in rows.items()}
    missed = show(figures, frames) if figures else []
    if big is not None:
        missed += show_seven(big)
    text = json.dumps({"bench": "data", "frames": frames, "figures": figures, "seven": big, "missed": missed})
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 1 if missed else 0


def show(figures: dict[str, dict[str, float]], frames: int) -> list[str]:
    """The table; the goals that were missed."""
    print(f"{frames:,} frames{'':<38}{'CPU s':>7}{'wall s':>8}{'MiB':>6}{'frames/CPU s':>14}  times the limit")
    missed: list[str] = []
    for name, row in figures.items():
        case = CASES[name]
        limit = figures.get(case.limit or "")
        ratio = f"{row['cpu_s'] / limit['cpu_s']:>6.2f}" if limit and limit["cpu_s"] else ""
        wrong = judged(case, row, limit, frames / 300_000)
        missed += [f"{name}: {each}" for each in wrong]
        has_goal = case.ratio or case.cpu or case.rss or case.rate
        verdict = f"MISSED: {', '.join(wrong)}" if wrong else "met" if has_goal else ""
        print(
            f"{case.title:<52}{row['cpu_s']:>7.2f}{row['wall_s']:>8.2f}{row['rss_mib']:>6.0f}"
            f"{row['frames_per_cpu_s']:>14,.0f}  {ratio:<8}{verdict}"
        )
    imports = min(row["import_cpu_s"] for row in figures.values())
    print(f"imports, in every process besides: from {imports:.2f} CPU s")
    return missed


def show_seven(big: dict[str, Any]) -> list[str]:
    for what in ("combine", "stats"):
        one, seven_ = big["one"][what], big["seven"][what]
        print(
            f"seven sets, {big['frames']:,} frames: {what:<31}{seven_['cpu']:>7.2f}{seven_['wall']:>8.2f}"
            f"{seven_['rss']:>6.0f}{big['frames'] / seven_['cpu']:>14,.0f}  one set: {one['rss']:.0f} MiB"
        )
    return [] if big["flat"] else ["seven: memory is not flat"]


if __name__ == "__main__":
    sys.exit(main())
