"""What nobody foresaw: one line for the user, a report beside, without the values of variables and without secrets."""

from __future__ import annotations

import os
import sys
import time
import traceback
from contextlib import suppress

from dm_isaac_g1.core.errors import ExitCode


def report(error: BaseException) -> int:
    """Write the report, tell the user where it is; the exit code. $DM_G1_TRACEBACK=1 shows it on stderr instead."""
    from dm_isaac_g1.core.paths import make_state_dir
    from dm_isaac_g1.core.redact import redact
    from dm_isaac_g1.remote.clean import clean

    # Cleaned: an exception may quote what a host said, and reports are read on terminals.
    text = "".join(f"{clean(line)}\n" for line in redact("".join(traceback.format_exception(error))).split("\n"))
    line = clean(redact(" ".join(f"{type(error).__name__}: {error}".split())))[:300]
    if os.environ.get("DM_G1_TRACEBACK"):
        sys.stderr.write(text)
        return ExitCode.FAILED
    where = "it could not be written down"
    with suppress(OSError):
        path = make_state_dir() / "crash.log"
        path.touch(mode=0o600)
        path.write_text(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n\n{text}", encoding="utf-8")
        where = f"the report is in {path}"
    sys.stderr.write(f"dm-g1: unexpected: {line}; {where}\n")
    return ExitCode.FAILED
