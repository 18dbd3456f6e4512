"""meta/dm_g1.json: what dm-g1 knows of a dataset and no format of others has a place for.

{"tool": "dm-g1 0.1.0",
 "stats": {"at": epoch seconds, "data": {"quick": ..., "content": ...}, "files": {"meta/stats.json": sha256, ...}},
 "relative": {"horizon": 30, "groups": {"left_arm": {...}}, "data": {...}, "files": {...}},
 "source": {"repo": ..., "revision": ...}, "validation": {"at": ..., "valid": ..., ...}}

Each section belongs to whoever computed it and is replaced as a whole. Nobody needs this file: where it is missing or
garbage nothing is known, and no work fails because of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1 import __version__

SIDECAR = "meta/dm_g1.json"
#: Far more than any real one; a validation notes its first findings only.
_LARGEST = 4 << 20


def read(root: Path) -> dict[str, Any]:
    """All sections; {} where there is no such file, or none that makes sense. Never raises."""
    try:
        path = root / SIDECAR
        if path.is_symlink():
            return {}
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        value = msgspec.json.decode(data) if len(data) <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def section(root: Path, name: str) -> dict[str, Any]:
    """One section; {} where there is none. Never raises."""
    found = read(root).get(name)
    return found if isinstance(found, dict) else {}


def write(root: Path, **sections: Mapping[str, Any] | None) -> bool:
    """Replace these sections and keep the others; None removes one. False: the folder cannot be written. Never half.

    Raises ValueError for what is no JSON (NaN among it).
    """
    known = {**read(root), **sections, "tool": f"dm-g1 {__version__}"}
    text = json.dumps({key: value for key, value in known.items() if value is not None}, indent=1, allow_nan=False)
    try:
        _replace(root / SIDECAR, text.encode() + b"\n")
    except OSError:
        return False
    return True


def _replace(path: Path, data: bytes) -> None:
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(beside).chmod(0o644)
        Path(beside).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(beside).unlink()
        raise
