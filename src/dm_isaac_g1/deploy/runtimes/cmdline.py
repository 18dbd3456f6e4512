"""The command of an existing container: where it names the model and the port, and the same command with others. Pure.

A command is words, or a shell's text in one of them (`bash -c "python run_gr00t_server.py --model-path ..."`); both as
they are found in the world.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

#: run_gr00t_server.py (tyro takes both spellings), inference_service.py of N1.5, and ours.
MODEL = ("--model-path", "--model_path", "--model")
PORT = ("--port",)
TAG = ("--embodiment-tag", "--embodiment_tag")
BIND = ("--host", "--bind")

_VALUE = r"""("(?:[^"\\]|\\.)*"|'[^']*'|[^\s;&|'"]+)"""


def value(words: Sequence[str], flags: Sequence[str]) -> str | None:
    """What a flag is set to, or None. A shell's variable is given as it stands there ($MODEL)."""
    found = _set(words, flags, "")
    return None if found is None else found[1]


def replaced(words: Sequence[str], flags: Sequence[str], to: str) -> list[str] | None:
    """The words with the flag set to `to`; None: it is not among them."""
    found = _set(words, flags, to)
    return None if found is None else found[0]


def with_port(words: Sequence[str], port: int) -> list[str]:
    """The words with this port, which is added where they name none."""
    found = replaced(words, PORT, str(port))
    if found is not None:
        return found
    if words and _is_shell(words):
        return [*words[:-1], f"{words[-1].rstrip()} --port {port}"]
    return [*words, "--port", str(port)]


def _set(words: Sequence[str], flags: Sequence[str], to: str) -> tuple[list[str], str] | None:
    for at, word in enumerate(words):
        if word in flags and at + 1 < len(words):
            return [*words[: at + 1], to, *words[at + 2 :]], words[at + 1]
        for flag in flags:
            if word.startswith(f"{flag}="):
                return [*words[:at], f"{flag}={to}", *words[at + 1 :]], word[len(flag) + 1 :]
        if any(mark.isspace() for mark in word):
            found = _in_text(word, flags, to)
            if found is not None:
                return [*words[:at], found[0], *words[at + 1 :]], found[1]
    return None


def _in_text(text: str, flags: Sequence[str], to: str) -> tuple[str, str] | None:
    names = "|".join(map(re.escape, flags))
    match = re.search(rf"(?:^|(?<=\s))(?:{names})(?:=|\s+){_VALUE}", text)
    if match is None:
        return None
    try:
        [old] = shlex.split(match[1])
    except ValueError:
        return None
    return f"{text[: match.start(1)]}{shlex.quote(to)}{text[match.end(1) :]}", old


def _is_shell(words: Sequence[str]) -> bool:
    return any(mark.isspace() for mark in words[-1]) and "--" in words[-1]
