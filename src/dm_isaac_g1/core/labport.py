"""The port that the lab's host serves policies on: one of the lab's own, so that two labs on a machine do not meet.

It follows from the lab's folder, so that a profile can be read before the lab is up; where it was taken when the lab
came up, `lab up` wrote another one beside.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from dm_isaac_g1.core import paths

#: Below the ports that Linux gives to connections (net.ipv4.ip_local_port_range: 32768 on), above the well-known.
FIRST, COUNT = 20_000, 10_000


def file(lab: Path) -> Path:
    """Where `lab up` writes the port down."""
    return lab / "servers" / "spark.serves"


def serve_port(lab: Path | None = None) -> int:
    """The port of the lab in this folder (default: the lab there is)."""
    lab = (lab or paths.lab_dir()).absolute()
    try:
        written = int(file(lab).read_bytes()[:8])
    except (OSError, ValueError):
        written = 0
    return written if 1024 <= written < 65536 else FIRST + _digest(lab) % COUNT


def candidates(lab: Path) -> list[int]:
    """Ports to try, the lab's first; a few are enough."""
    first = _digest(lab.absolute())
    return [FIRST + (first + 7 * number) % COUNT for number in range(64)]


def _digest(lab: Path) -> int:
    return int.from_bytes(hashlib.sha256(str(lab).encode()).digest()[:4], "big")
