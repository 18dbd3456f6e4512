"""Makes Python's writes fail with ENOSPC once a lab workspace is full: for where no file system may be mounted.

Started by Python itself in every process of the host. $DM_G1_LAB_QUOTA is `<folder>:<bytes>`. Two rules:
- nothing is opened for writing in the folder once it is full;
- a file that torch or safetensors wrote and that went over is cut back to what fits, and the write fails.
What it cannot see: writes of other programs, and of files that stay open. A tmpfs sees all (disk.py).
"""

from __future__ import annotations

import errno
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR


def used(folder: str) -> int:
    """Allocated bytes below `folder`."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512  # noqa: PTH118  start-up time counts
            except OSError:
                continue
    return total


class Quota:
    """`limit` bytes below `folder`."""

    def __init__(self, folder: str, limit: int) -> None:
        self.folder = os.path.realpath(folder)
        self.limit = limit

    def covers(self, path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        try:
            return os.path.realpath(os.fsdecode(path)).startswith(self.folder + os.sep)
        except (ValueError, OSError):
            return False

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """sys.addaudithook: raises OSError when something is opened for writing in a full folder."""
        if event != "open":
            return
        path, _, flags = arguments
        if flags & _WRITING and self.covers(path) and used(self.folder) >= self.limit:
            raise _no_space(path)

    def hold(self, path: object) -> None:
        """After `path` was written: cut it back and raise OSError where the folder went over."""
        if not self.covers(path):
            return
        over = used(self.folder) - self.limit
        if over > 0:
            name = os.fsdecode(path)  # type: ignore[arg-type]
            os.truncate(name, max(0, os.stat(name).st_size - over))  # noqa: PTH116
            raise _no_space(path)


def _no_space(path: object) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(path))  # type: ignore[arg-type]


#: Functions that write a file outside of Python's sight: module, name, position and name of the path.
_WRITERS = {"torch.serialization": ("save", 1, "f"), "safetensors.torch": ("save_file", 1, "filename")}


class Wrapper(importlib.abc.MetaPathFinder):
    """Wraps the writers as their modules are imported, so that every later import of the name gets the wrapped one."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _WRITERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                function, position, keyword = _WRITERS[name]
                setattr(module, function, self._held(getattr(module, function), position, keyword))

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def _held(self, write: Callable[..., Any], position: int, keyword: str) -> Callable[..., Any]:
        def writes(*arguments: Any, **named: Any) -> Any:
            result = write(*arguments, **named)
            self._quota.hold(named[keyword] if keyword in named else arguments[position])
            return result

        return writes


def install(spec: str) -> None:
    """Begin to hold the quota; without a well-formed one nothing happens."""
    folder, _, limit = spec.rpartition(":")
    if folder and limit.isdecimal():
        quota = Quota(folder, int(limit))
        sys.addaudithook(quota.audit)
        sys.meta_path.insert(0, Wrapper(quota))


if __name__ == "sitecustomize":
    install(os.environ.get("DM_G1_LAB_QUOTA", ""))
