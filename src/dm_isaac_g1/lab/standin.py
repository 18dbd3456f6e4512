"""Puts the stand-in `nvidia-smi` on a lab host's PATH: a few lines of sh that start `smi/` with a bare interpreter."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from dm_isaac_g1.lab.files import write_whole
from dm_isaac_g1.lab.layout import Layout

#: Found as a package of its own: under -I -S there is no dm_isaac_g1. About 20 ms to start.
_PROGRAM = """import sys
sys.path.append(sys.argv[1])
from smi.command import main
sys.exit(main(sys.argv[4:], host=sys.argv[2], root=sys.argv[3]))
"""


def install(layout: Layout, name: str) -> None:
    """Write <host>/bin/nvidia-smi, whatever was there."""
    words = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(Path(__file__).parent), name, str(layout.root)]
    line = " ".join(shlex.quote(word) for word in words)
    text = f'#!/bin/sh\n# SIMULATED: the dm-g1 lab\'s stand-in for nvidia-smi.\nexec {line} "$@"\n'
    write_whole(layout.bin(name) / "nvidia-smi", text.encode(), 0o755)
