"""The one place where an argv list becomes a string, for the one transport that needs it: SSH's exec request.

The string is read by the user's login shell on the host. Quoted as POSIX shells read it (`shlex.join`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from dm_isaac_g1.core.errors import UsageError

#: Names of jobs, runs, containers, environments: nothing that a shell, a path or a terminal would read otherwise.
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9._-]{0,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_name(name: str, what: str = "name") -> str:
    """`name` itself if it is safe as a file, job or container name. Raises UsageError."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise UsageError(
            f"{what} {name[:140]!a} is not usable",
            fix="use 1 to 128 of the characters A-Z a-z 0-9 . _ - and do not begin with -",
        )
    return name


def command_line(argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None) -> str:
    """`argv` for SSH's exec request: in `cwd`, with `env` added, replacing the shell (`exec`).

    `env` is for plain settings: it can be read in the host's process list. Raises UsageError for what no argv can
    hold: nothing at all, a NUL, a variable's name that is none.
    """
    words = list(argv)
    if not words:
        raise UsageError("an empty command")
    if env:
        for name in env:
            if not _VARIABLE.fullmatch(name):
                raise UsageError(f"{name!a} is not a name for an environment variable")
        words = ["env", *(f"{name}={value}" for name, value in env.items()), *words]
    if any("\0" in word for word in [*words, cwd or ""]):
        raise UsageError("a command cannot hold a NUL character")
    # A NUL-free word is all that quoting needs. `exec`: no shell is left waiting between sshd and the command.
    line = "exec " + shlex.join(words)
    if cwd is None:
        return line
    folder = f"./{cwd}" if cwd.startswith("-") else cwd
    return f"cd {shlex.quote(folder)} && {line}"
