"""The command line as users run it: a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import jsonschema

DM_G1 = (sys.executable, "-m", "dm_isaac_g1")
Done = subprocess.CompletedProcess[str]


def dm_g1(*args: str, timeout: float = 60, stdin: str = "", **env: str) -> Done:
    """Run it to its end; nobody sits at its terminal."""
    return subprocess.run(
        [*DM_G1, *args], input=stdin, capture_output=True, text=True, timeout=timeout, env=os.environ | env, check=False
    )


def start(*args: str) -> subprocess.Popen[str]:
    """Start it in a process group of its own."""
    return subprocess.Popen(
        [*DM_G1, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@cache
def validator() -> jsonschema.Draft202012Validator:
    """The schema as the command publishes it."""
    return jsonschema.Draft202012Validator(json.loads(dm_g1("schema").stdout))


def lines(done: Done) -> list[dict[str, Any]]:
    """The JSON lines of its output, each held against the published schema."""
    said = [json.loads(line) for line in done.stdout.splitlines()]
    for line in said:
        validator().validate(line)
    return said
