"""What happens behind the screen, in a file: accidents of monitors and libraries, without secrets."""

from __future__ import annotations

import logging
from contextlib import suppress
from logging.handlers import RotatingFileHandler

from dm_isaac_g1.core.paths import make_state_dir
from dm_isaac_g1.core.redact import redact

#: Bytes of the file before it is rotated, and how many old ones are kept.
LARGEST, KEPT = 1_000_000, 2


class Redacted(logging.Formatter):
    """Lines, with tracebacks, that hold no secret and command no terminal."""

    def format(self, record: logging.LogRecord) -> str:
        from dm_isaac_g1.remote.clean import clean

        return "\n".join(map(clean, redact(super().format(record)).split("\n")))


def keep() -> None:
    """Send everything that is logged to the journal, and nothing of it to the terminal."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler: logging.Handler = logging.NullHandler()
    with suppress(OSError):
        path = make_state_dir() / "journal.log"
        path.touch(mode=0o600)
        handler = RotatingFileHandler(path, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8", delay=True)
    handler.setFormatter(Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("dm_isaac_g1").setLevel(logging.INFO)
    # asyncssh tells at WARNING what we raise as errors of our own.
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
