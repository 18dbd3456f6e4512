"""The command line that does what a form is about to do: what the user sees is what a script can say."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from dm_isaac_g1.actions.registry import Field


def command_line(action: str, fields: Iterable[Field], values: Mapping[str, Any]) -> str:
    """ "train.start", {"steps": 400} -> "dm-g1 train start --steps 400"; only values that differ from the default."""
    words = ["dm-g1", *action.split(".")]
    for field in fields:
        value = values.get(field.name, field.default)
        if value is None or value == field.default:
            continue
        option = f"--{field.name.replace('_', '-')}"
        if field.kind == "flag":
            words.append(option)
            continue
        for each in value if field.many else (value,):
            words += [str(each)] if field.positional else [option, str(each)]
    return shlex.join(words)
