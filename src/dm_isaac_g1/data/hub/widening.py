"""From a part of a dataset (its meta files, some episodes) to more of it: what is there is kept, not fetched again.

The smaller download is set aside under a hidden name, its files move into the partial folder of the larger one, and the
rest is fetched. A kill between these steps leaves the hidden folder: the next try finds it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dm_isaac_g1.data.problems import RefusedOutput
from dm_isaac_g1.data.stats.sidecar import SIDECAR


def aside(final: Path) -> Path:
    """Where the smaller download waits."""
    return final.with_name(f".{final.name}.dm-g1-before")


def strangers(root: Path, known: Iterable[str]) -> list[str]:
    """Files in a download that did not come with it, links among them."""
    ours = {*known, SIDECAR}
    found = []
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        found += [Path(folder, name).relative_to(root).as_posix() for name in (*names, *links)]
    return sorted(set(found) - ours)


@contextlib.contextmanager
def set_aside(final: Path) -> Iterator[Path]:
    """The smaller download under its hidden name; back under its own if the larger one is refused."""
    before = aside(final)
    if final.exists() and not before.exists():
        final.rename(before)
    try:
        yield before
    except RefusedOutput:
        if before.exists() and not final.exists():
            before.rename(final)
        raise


def hand_over(before: Path, partial: Path, names: Iterable[str]) -> None:
    """Move the files over, and remove what is left: our notes and empty folders. Raises OSError."""
    for name in names:
        if (before / name).is_file() and not (partial / name).exists():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (before / name).rename(partial / name)
        (before / name).unlink(missing_ok=True)
    (before / SIDECAR).unlink(missing_ok=True)
    for folder, _, _ in os.walk(before, topdown=False):
        with contextlib.suppress(OSError):  # somebody put something into it meanwhile
            Path(folder).rmdir()
