"""Where statistics lie in a dataset's folder, and how they get there: every file the old one or the whole new one."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.jsonfiles import read_json
from dm_isaac_g1.data.problems import DataProblem, RefusedOutput
from dm_isaac_g1.data.stats import digest, sidecar
from dm_isaac_g1.data.stats.episode import Statistics
from dm_isaac_g1.data.stats.episodes_v3 import replace_statistics
from dm_isaac_g1.data.stats.groups import RelativeGroup
from dm_isaac_g1.data.stats.relative import Found
from dm_isaac_g1.data.stats.stale import RELATIVE_STATS, STATS, size
from dm_isaac_g1.data.writing import EPISODES_STATS, replace_file, stats_row, write_json


class Computed(msgspec.Struct, frozen=True, kw_only=True):
    """All statistics of a dataset, as they are written. `rows`: of every episode, by number. `data`: its digests."""

    whole: Statistics
    rows: dict[int, Statistics]
    relative: Found
    groups: tuple[RelativeGroup, ...]
    horizon: int
    data: dict[str, str]


def kept_pictures(dataset: Dataset) -> Statistics:
    """What meta/stats.json of v2.0 says of the cameras, as it stands there; what makes no sense is left out."""
    try:
        known = read_json(dataset.root, STATS)
    except DataProblem:
        return {}
    sound = {camera: known.get(camera) for camera in dataset.cameras} if isinstance(known, dict) else {}
    return {camera: each for camera, each in sound.items() if isinstance(each, dict) and size(each.get("mean")) == 3}


def store(root: Path, dataset: Dataset, computed: Computed) -> tuple[str, ...]:
    """Write them all; last, in the sidecar, of which data they speak. The files' names.

    Raises DataProblem: the disk is full, or the folder not ours to write.
    """
    files = [STATS]
    with _writing():
        if dataset.version == "3.0":
            files += replace_statistics(root, computed.rows)
        elif dataset.version == "2.1":
            # Six times as fast as json; no NaN gets here, which it would write as null.
            lines = [msgspec.json.encode(stats_row(number, row)) + b"\n" for number, row in computed.rows.items()]
            replace_file(root / EPISODES_STATS, b"".join(lines))
            files.append(EPISODES_STATS)
        write_json(root / STATS, computed.whole)
        relative = relative_files(root, computed.horizon) if computed.relative else []
        for file in relative:
            write_json(root / file, computed.relative)
        sections: dict[str, Any] = {"stats": _note(root, computed, files)}
        if relative:
            groups = {group.name: msgspec.to_builtins(group) for group in computed.groups}
            noted = _note(root, computed, relative)
            sections["relative"] = noted | {"horizon": computed.horizon, "groups": groups}
            files += relative
        sidecar.write(root, **sections)
    return tuple(files)


def relative_files(root: Path, horizon: int) -> list[str]:
    """The files of relative statistics that readers look for, in NVIDIA's branches that put the horizon into the name
    too: those prefer it where it is there.
    """
    named = f"meta/relative_stats_{horizon}.json"
    return [RELATIVE_STATS, *([named] if (root / named).is_file() else [])]


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Only one process at a time computes the statistics of `root`. Raises RefusedOutput: another does, or the folder
    cannot be written.
    """
    meta = root / "meta"
    if not os.access(meta, os.W_OK | os.X_OK):
        raise RefusedOutput(
            "not-writable", "cannot be written", file="meta", fix="copy the dataset to a place of yours"
        )
    descriptor = os.open(meta, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = "another process computes its statistics"
            raise RefusedOutput("busy", what, file="meta", fix="wait for it, or stop it") from None
        except OSError:
            pass  # a file system without locks: every file is still written whole
        yield
    finally:
        os.close(descriptor)


def _note(root: Path, computed: Computed, files: list[str]) -> dict[str, Any]:
    return {
        "at": round(time.time()),
        "data": computed.data,
        "files": {file: digest.of_file(root / file) for file in files},
    }


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            fix = "free some space; the same command computes them again"
            raise DataProblem("disk-full", "the disk is full: not all statistics are written", fix=fix) from None
        what = f"cannot be written: {error.strerror or error}"
        raise RefusedOutput("not-writable", what, file=Path(error.filename or "meta").name) from None
