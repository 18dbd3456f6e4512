"""Of which data statistics speak: two digests of a dataset's parquet files.

`quick` changes when a file does, is added or removed, and also when the dataset is copied (name, size and time of every
file). `content` changes with the bytes alone, and takes a second a gigabyte: it is asked when `quick` differs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from dm_isaac_g1.data.work import Work


def data_files(root: Path) -> list[Path]:
    """All parquet files that GR00T's generate_stats would read, in its order: data/*/*.parquet."""
    return sorted((root / "data").glob("*/*.parquet"))


def quick(root: Path) -> str:
    """By names, sizes and times. Raises OSError."""
    found = hashlib.sha256()
    for path in data_files(root):
        status = path.stat()
        found.update(f"{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return found.hexdigest()


def content(root: Path, work: Work | None = None) -> str:
    """By names and bytes. Raises OSError, Interrupted."""
    found = hashlib.sha256()
    for path in data_files(root):
        if work is not None:
            work.check()
        found.update(f"{path.relative_to(root)}\0{of_file(path)}\n".encode())
    return found.hexdigest()


def of_file(path: Path) -> str:
    """sha256 of a file. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_same(root: Path, noted: Any) -> bool:
    """Whether the data files are those that `noted`, {"quick", "content"}, speaks of. Raises OSError."""
    if not isinstance(noted, dict):
        return False
    return noted.get("quick") == quick(root) or noted.get("content") == content(root)
