"""One contestant of the bench `data`, in a process of its own.

    python _data_contestant.py NAME TINY OUTPUT INPUT ...        (limit-*: the inputs, then what is to be written)

Prints one JSON line: CPU and wall seconds, peak resident memory in MiB, and the CPU seconds of imports, which are not
among the first: everything is done once with the small datasets in TINY before. Exit code 3: what it compares with is
not installed.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

Work = Callable[[], object]


class Clock:
    """CPU and wall seconds of what is done inside `with`, summed up."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def __enter__(self) -> None:
        self._began = cpu_seconds(), time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.cpu += cpu_seconds() - self._began[0]
        self.wall += time.monotonic() - self._began[1]


def cpu_seconds() -> float:
    """Of this process, all its threads and the children that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def peak_mib() -> float:
    """Not ru_maxrss, where Linux has better: that begins with the parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- Plain pyarrow ----------------------------------------------------------------------------------------------------


def read_and_write(
    clock: Clock, output: Path, sources: list[Path], made: list[Path], columns: list[str] | None
) -> None:
    """Read `columns` of every file of `sources`, and write the files of `made`: their reading is not counted."""
    import pyarrow.parquet as pq

    for path in files(sources):
        with clock:
            pq.ParquetFile(path).read(columns=columns, use_threads=False)
    output.mkdir(parents=True)
    for number, path in enumerate(files(made)):
        table = pq.ParquetFile(path).read(use_threads=False)
        with clock:
            pq.write_table(table, output / f"{number:06d}.parquet", use_dictionary=["episode_index", "task_index"])


def files(datasets: list[Path]) -> list[Path]:
    return [path for dataset in datasets for path in sorted(dataset.glob("data/*/*.parquet"))]


def needed(dataset: Path) -> list[str]:
    """What a conversion reads of a hospitality dataset: all but the poses of the wrists."""
    features = json.loads((dataset / "meta" / "info.json").read_text())["features"]
    return [name for name in features if not name.endswith("_ee")]


# --- dm-g1 ------------------------------------------------------------------------------------------------------------


def statistics(output: Path, source: Path, *, relative: bool) -> Work:
    from dm_isaac_g1.data.stats.compute import compute_stats

    root = again(source, output)
    return lambda: compute_stats(root, relative=relative)


def again(source: Path, output: Path) -> Path:
    """The dataset under another name, without its bytes; `-`: itself."""
    return source if output.name == "-" else Path(shutil.copytree(source, output, copy_function=os.link))


def conversion(output: Path, source: Path, form: str) -> Work:
    from dm_isaac_g1.data.convert import engine

    return lambda: engine.convert(source, output, form, stats=False)


def splitting(output: Path, source: Path) -> Work:
    from dm_isaac_g1.data.split import split

    return lambda: split(source, output)


def combination(output: Path, sources: list[Path]) -> Work:
    from dm_isaac_g1.data.combine import combine

    return lambda: combine(sources, output)


def validation(source: Path) -> Work:
    from dm_isaac_g1.data.validate import validate_dataset

    return lambda: validate_dataset(source)


def nvidias(output: Path, source: Path) -> Work:
    from gr00t.data.stats import generate_stats  # type: ignore[import-not-found]

    root = again(source, output)
    return lambda: generate_stats(root)


CONTESTANTS: dict[str, Callable[[Path, list[Path]], Work]] = {
    "groot": lambda output, inputs: conversion(output, inputs[0], "groot"),
    "inspire": lambda output, inputs: conversion(output, inputs[0], "inspire"),
    "stats": lambda output, inputs: statistics(output, inputs[0], relative=False),
    "relative": lambda output, inputs: statistics(output, inputs[0], relative=True),
    "gr00t": lambda output, inputs: nvidias(output, inputs[0]),
    "split": lambda output, inputs: splitting(output, inputs[0]),
    "combine": combination,
    "validate": lambda output, inputs: validation(inputs[0]),
    "validate-own": lambda output, inputs: validation(inputs[0]),
}


def measured(name: str, clock: Clock, output: Path, inputs: list[Path]) -> None:
    if name.startswith("limit-"):
        # limit-groot: from the first input to the second; of many, half and half; limit-stats writes nothing.
        half = (len(inputs) + 1) // 2
        columns = needed(inputs[0]) if name in ("limit-groot", "limit-inspire") else None
        read_and_write(clock, output, inputs[:half], inputs[half:], columns)
    else:
        work = CONTESTANTS[name](output, inputs)
        with clock:
            work()


def main(name: str, tiny: Path, output: Path, inputs: list[Path]) -> dict[str, float]:
    """First with the datasets of the same names in `tiny`: what is imported late is imported then."""
    imports, clock = Clock(), Clock()
    small = tiny / "out"
    shutil.rmtree(small, ignore_errors=True)
    with imports:
        measured(name, Clock(), small, [tiny / each.name for each in inputs])
    shutil.rmtree(small, ignore_errors=True)
    measured(name, clock, output, inputs)
    return {"cpu": clock.cpu, "wall": clock.wall, "rss": peak_mib(), "import_cpu": imports.cpu}


if __name__ == "__main__":
    try:
        name, *paths = sys.argv[1:]
        tiny, output, *inputs = map(Path, paths)
        print(json.dumps(main(name, tiny, output, inputs)))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "gr00t":
            raise
        sys.exit(3)
