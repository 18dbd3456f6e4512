"""Giving a workspace a size, so that it really fills: a tmpfs where the user may mount, otherwise a quota.

Three ways, tried in this order by `choose`:
  mount       as root: a tmpfs over the workspace, seen by everybody;
  namespace   `unshare -Urm`: the host's server lives in a mount namespace of its own, with the same tmpfs in it;
  quota       neither is allowed: `quota.sitecustomize` makes Python's writes fail.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

#: How a server is told; "mount" covers both of the first two, the namespace is around the server.
Method = Literal["mount", "quota"]
Way = Literal["mount", "namespace", "quota"]

#: Enters a user and a mount namespace as root of the first (util-linux).
UNSHARE = ("unshare", "-Urm")
#: A lab disk below this cannot hold the dataset and one checkpoint.
SMALLEST = 16 << 20


def choose() -> Way:
    """The best way that works here, found by trying it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        if os.geteuid() == 0 and _works(command):
            subprocess.run(["umount", folder], check=False, capture_output=True, timeout=10)
            return "mount"
        if _works([*UNSHARE, *command]):  # gone with its namespace
            return "namespace"
    return "quota"


def mount(folder: Path, size: int) -> None:
    """A tmpfs of `size` bytes over `folder`, unless one is mounted there already. Raises OSError."""
    if os.path.ismount(folder):
        return
    ran = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "dm-g1-lab", str(folder)],
        capture_output=True,
        timeout=10,
        check=False,
    )
    if ran.returncode:
        raise OSError(f"mount on {folder}: {ran.stderr.decode(errors='replace').strip()}")


def unmount(folder: Path) -> None:
    """Take the mount away; lazily where something still has a file open there. Raises OSError."""
    for arguments in ([], ["-l"]):
        if not os.path.ismount(folder):
            return
        subprocess.run(["umount", *arguments, str(folder)], capture_output=True, timeout=10, check=False)
    if os.path.ismount(folder):
        raise OSError(f"could not unmount {folder}")


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
