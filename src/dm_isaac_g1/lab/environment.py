"""The environment of a lab host's commands: what a fresh login on a machine has, and nothing of the user's own.

An allow-list: a token in the console's environment never reaches a lab host.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dm_isaac_g1.lab.layout import Layout

#: Says which lab host a process belongs to; every process of a job inherits it.
HOST_ENV = "DM_G1_LAB"
#: The lab's folder: two labs on one machine keep apart.
ROOT_ENV = "DM_G1_LAB_ROOT"
#: The fallback where nothing may be mounted: `<folder>:<bytes>`, see `quota.sitecustomize`.
QUOTA_ENV = "DM_G1_LAB_QUOTA"

#: Settings of the machine, not of the user.
_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def shell() -> str:
    """The hosts' login shell."""
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"


def user_name() -> str:
    """Who is logged in on a lab host: the user who runs the lab."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"


def host_environment(layout: Layout, name: str, *, quota: int | None = None) -> dict[str, str]:
    """The environment of every command on host `name`. `quota`: bytes of its workspace, in the fallback only."""
    python = Path(sys.executable).parent
    env = {key: os.environ[key] for key in _KEPT if key in os.environ}
    env.setdefault("LANG", "C.UTF-8")
    env |= {
        "HOME": str(layout.home(name)),
        "USER": user_name(),
        "LOGNAME": user_name(),
        "SHELL": shell(),
        "PATH": f"{layout.bin(name)}:{python}:{_SYSTEM_PATH}",
        HOST_ENV: name,
        ROOT_ENV: str(layout.root),
    }
    if quota is not None:
        env[QUOTA_ENV] = f"{layout.workspace(name)}:{quota}"
        env["PYTHONPATH"] = str(Path(__file__).parent / "quota")
    return env
