"""The command line that does what a form is about to do: what the user sees is what a script can say."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from dm_isaac_g1.actions.registry import Field, words


def command_line(action: str, fields: Iterable[Field], values: Mapping[str, Any]) -> str:
    """ "train.start", {"steps": 400} -> "dm-g1 train start --steps 400"; only values that differ from the default."""
    return shlex.join(["dm-g1", *words(action, list(fields), values)])
