"""What the console remembers between starts: how the user likes to look at things. One small JSON file.

It is a convenience: a file that is missing, broken or cannot be written costs nothing but the memory.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import msgspec

from dm_isaac_g1.console.smoothing import WEIGHTS
from dm_isaac_g1.core import paths

#: Bytes of the file that are read at most; a real one has a hundred.
_MOST = 4096


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """None: the user never chose, the default holds."""

    theme: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    braille: bool = True
    #: None: a curve over decades is drawn on a log scale by itself.
    log_scale: bool | None = None
    smoothing: Annotated[float, msgspec.Meta(ge=0, lt=1)] = WEIGHTS[3]


class Memory:
    """The choices, kept in `path`; None keeps them for this start only."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.choices = self._read()

    def keep(self, **changes: object) -> None:
        """Remember these choices from now on."""
        chosen = msgspec.structs.replace(self.choices, **changes)
        if chosen != self.choices:
            self.choices = chosen
            self._write()

    def _read(self) -> Choices:
        if self.path is None:
            return Choices()
        try:
            with self.path.open("rb") as file:
                return msgspec.json.decode(file.read(_MOST), type=Choices)
        except (OSError, msgspec.DecodeError):
            return Choices()

    def _write(self) -> None:
        if self.path is None:
            return
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            paths.make_state_dir()
            beside.write_bytes(msgspec.json.encode(self.choices))
            beside.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()


def usual() -> Path:
    """Where it lies."""
    return paths.state_dir() / "console.json"
