"""Programs that a test puts on a host's PATH, in place of what the host should have."""

from __future__ import annotations

import shutil
from pathlib import Path

#: What the POSIX sh probe needs; and python3 is missing on purpose.
TOOLS = ("sh", "bash", "cat", "df", "tail", "dirname", "date", "sleep", "id", "env", "printf", "head", "true")


def tools(folder: Path, *more: str) -> Path:
    """A PATH of its own with the tools above and `more`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*TOOLS, *more):
        found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin")
        if found and not (folder / name).exists():
            (folder / name).symlink_to(found)
    return folder


def nvidia_smi(
    folder: Path, loop: str, *, fields: str = "", version: str = "", apps: str = "", help_: str = ""
) -> Path:
    """A stand-in nvidia-smi: `loop` is the sh code that runs for `-lms`; each call is noted in `calls`."""
    names = fields or "index uuid name utilization.gpu memory.total memory.used clocks.current.sm clocks.max.sm"
    listed = "".join(f"echo '\"{name}\"'\n" for name in names.split())
    script = f"""#!/bin/sh
echo "$$ $*" >> {folder}/calls
case "$*" in
  *--help-query-gpu*) {help_ or listed};;
  *--version*) echo '{version or "NVIDIA-SMI version  : 580.1"}';;
  *--query-compute-apps*) printf '{apps}';;
  *-lms*) {loop} ;;
esac
"""
    path = folder / "nvidia-smi"
    path.write_text(script)
    path.chmod(0o755)
    return path


def calls(folder: Path) -> list[str]:
    """Arguments of every call of the stand-in, in order."""
    try:
        return [line.partition(" ")[2] for line in (folder / "calls").read_text().splitlines()]
    except FileNotFoundError:
        return []
