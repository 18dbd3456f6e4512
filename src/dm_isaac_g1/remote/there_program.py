"""Runs this very command with a host's own dm-g1, if that is the same as ours. Sent over stdin by `actions.places`.

Standard library only, Python 3.8 and later, until the package itself is found to be there. `header`, from stdin:

    copy      the text of `copy_program`        digest   of our copy: another one is not run
    reaping   the text of `reaping.PROGRAM`     mark     NAME=value in the environment of all that belongs to us
    cwd       where relative paths begin; made  secrets  name: value; they stand nowhere else on this host
    run       False: only look

The command's words are our own argv, so that the host's process list tells what runs. stdout: the command's event
lines; or one line {"there": ...} that says why it was not run (exit 78, EX_CONFIG of sysexits.h). The end of stdin
means that nobody waits any more: the command is interrupted as by Ctrl-C, and what it leaves is killed.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

EX_CONFIG = 78
#: pyproject.toml's requires-python.
NEEDED = (3, 11)
#: Seconds from the interrupt to the end.
PATIENCE = 10.0
#: Before `reaping`: until stdin ends or the time is up.
WAIT = f"import select\nselect.select([0], [], [], {PATIENCE})\n"


def main(header: dict[str, Any]) -> None:
    # Python would look for modules in the working folder first, and datasets lie there.
    sys.path[:] = [each for each in sys.path if each]
    copy: dict[str, Any] = {"__name__": "copy"}
    exec(compile(header["copy"], "copy", "exec"), copy)  # noqa: S102  our own text
    found = copy["look"]()
    if sys.version_info < NEEDED:
        refuse(dict(found, old=True))
    if found["digest"] != header["digest"]:
        refuse(found)
    try:
        # By name: this floor of the house knows nothing of those above it.
        importlib.import_module("dm_isaac_g1.cli.app")
        command = importlib.import_module("dm_isaac_g1.cli.main").main
        hand_over = importlib.import_module("dm_isaac_g1.core.config").hand_over
    except ImportError as error:
        refuse(dict(found, missing=error.name or str(error)))
    try:
        os.makedirs(header["cwd"], exist_ok=True)
        os.chdir(header["cwd"])
    except OSError as error:
        refuse(dict(found, problem=f"{header['cwd']}: {error.strerror}"))
    if not header["run"]:
        return
    hand_over(header["secrets"])
    watch(header["reaping"], header["mark"])
    command(["--json", *sys.argv[1:]])


def refuse(found: dict[str, Any]) -> None:
    """Say why the command is not run, and end."""
    sys.stdout.write(json.dumps({"there": dict(found, python=sys.version.split()[0])}) + "\n")
    sys.stdout.flush()
    sys.exit(EX_CONFIG)


def watch(reaping: str, mark: str) -> None:
    """From now on stdin is empty for the command; a thread waits for the end of the real one."""
    waited = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        try:
            while os.read(waited, 4096):
                pass
        except OSError:
            pass
        bury(reaping, mark)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def bury(reaping: str, mark: str) -> None:
    """Have what carries the mark ended once this process is gone, or its time is up."""
    env = {name: value for name, value in os.environ.items() if f"{name}={value}" != mark}
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WAIT + reaping, mark],
        env=env,
        stdin=subprocess.PIPE,  # its end is our end
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


main(globals()["header"])
