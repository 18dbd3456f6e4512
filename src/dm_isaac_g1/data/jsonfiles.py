"""Reading the JSON and JSON-lines files of a dataset's meta folder: bounded, strict, faults by file and line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.data.problems import IntegrityError

#: What a file begins with that git-lfs has not fetched (git-lfs specification, v1).
LFS_POINTER = b"version https://git-lfs"
#: Larger than any real one: Unitree's 1,026-episode set has an episodes_stats.jsonl of 20 MB.
LARGEST_JSON = 64 << 20
LARGEST_JSONL = 1 << 30


def not_downloaded(file: str) -> IntegrityError:
    """The error for a file that is only a git-lfs pointer."""
    return IntegrityError(
        "lfs-pointer",
        "is a git-lfs pointer, the data was not downloaded",
        file=file,
        fix="download the dataset again (`dm-g1 data download`, or `git lfs pull` in it)",
    )


def _at_once(path: str, flags: int) -> int:
    """A named pipe in a file's place is empty, not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_bytes(root: Path, file: str, limit: int) -> bytes:
    """The bytes of `root`/`file`. Raises IntegrityError: missing, unreadable, over `limit`, a git-lfs pointer."""
    path = root / file
    try:
        with open(path, "rb", opener=_at_once) as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError:
        raise IntegrityError("file-missing", "No such file", file=file) from None
    except OSError as error:
        raise IntegrityError("unreadable", f"not readable: {error.strerror or error}", file=file) from None
    if len(data) > limit:
        raise IntegrityError("too-large", f"larger than {limit >> 20} MiB, no such file is", file=file)
    if data.startswith(LFS_POINTER):
        raise not_downloaded(file)
    return data


def decode(text: str | bytes, where: str) -> Any:
    """The value in a JSON text. NaN and Infinity are no JSON. Raises IntegrityError; `where`: how it calls the text."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise IntegrityError("not-json", f"not readable as JSON: {error}", file=where) from None


def read_json(root: Path, file: str) -> Any:
    """The value in `root`/`file`. Raises IntegrityError."""
    return decode(read_bytes(root, file, LARGEST_JSON), file)


def read_jsonl(root: Path, file: str) -> list[tuple[int, Any]]:
    """Line number (from 1) and value of every line that is not empty. Raises IntegrityError naming the line."""
    lines = read_bytes(root, file, LARGEST_JSONL).split(b"\n")
    return [(number, decode(line, f"{file}:{number}")) for number, line in enumerate(lines, 1) if line.strip()]
