"""What every part of the agent needs of its system. Part of the agent: stdlib only, Python 3.8 and later."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def attempt(call: Callable[..., Any], *args: Any, default: Any = None) -> Any:
    """What `call` returns, or `default` where the system says no."""
    try:
        return call(*args)
    except (OSError, ValueError, IndexError):
        return default


def text(path: str) -> str:
    """A small file of /proc; empty where it is not there."""
    with open(path, errors="replace") as file:
        return file.read()


def expand(path: str, base: str = "/") -> str:
    return os.path.normpath(os.path.join(base, os.path.expanduser(path)))
