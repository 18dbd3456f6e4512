"""The command `dm-g1`: where the process begins and ends. It imports nothing until it must, so that Ctrl-C is quiet."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code (see core.errors.ExitCode)."""
    try:
        status = code(sys.argv[1:] if args is None else list(args))
        # All is done and closed: a Ctrl-C that comes now would only interrupt the interpreter's own end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def code(args: list[str]) -> int:
    """The exit code of one command line; errors are shown here, and only here."""
    try:
        from dm_isaac_g1.cli.app import run

        if isinstance(sys.stdout, io.TextIOWrapper):
            # A terminal or pipe that cannot show "°" gets an escape for it, not an accident.
            sys.stdout.reconfigure(errors="backslashreplace")
        status = run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # before OSError's other children: it is no crash
        # The reader of our output went away (`| head`); what is still buffered must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        from dm_isaac_g1.cli.crash import report

        return report(error)


if __name__ == "__main__":
    main()
