"""txn.json: a deploy under way, as it lies on the serve host. It is all that anybody needs to end it.

It is on the host's disk before the step that it names begins, and it is gone when the deploy has ended. What stands in
it came from the host's disk, which anybody there can write: it is read as strictly as any other answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.deployments import STEPS, HistoryEntry, Release, Step, Unfinished
from dm_isaac_g1.core.errors import RemoteFailed

What = Literal["deploy", "rollback"]

#: YYYYmmddTHHMMSS-6hex, from `new_id`; also part of folders' and containers' names.
ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{6}")

#: Steps of each kind. A rollback goes to what lies there and has served: nothing is copied, and nothing stands the
#: test beside, since who rolls back is in a hurry.
_STEPS: dict[What, tuple[Step, ...]] = {
    "deploy": ("preflight", "copy", "verify", "candidate", "gate", "switch", "confirm"),
    "rollback": ("preflight", "verify", "switch", "confirm"),
}
#: Steps after which the server on the port may be another one.
SWITCHED: tuple[Step, ...] = ("switch", "confirm")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model's files are read from. `host` None: this machine, where the deploy was begun."""

    host: str | None
    folder: str
    #: Relative path -> bytes.
    files: dict[str, int]
    #: HOST:PATH, PATH, or hub:OWNER/NAME@REVISION.
    said: str
    #: This machine's name, where the files lie on it.
    machine: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One deploy or rollback under way."""

    id: str
    what: What
    #: The step that has begun.
    step: Step
    began: float
    by: str
    release: Release
    previous: Release | None = None
    #: Nothing served there when it was begun: nobody misses it during the switch.
    first: bool = False
    source: Source | None = None
    #: The new server stands the test beside the old one.
    beside: bool = True
    #: Why it is being undone; set before anything is.
    undo: str | None = None
    #: It has ended so; all that is left is to write that down and to tidy up.
    entry: HistoryEntry | None = None
    #: It was undone, and what served before could not be brought back.
    lost: bool = False
    #: Continued by somebody after it was cut off.
    resumed: bool = False
    bytes_sent: int | None = None
    copy_s: float | None = None
    #: Seconds from the candidate's start to its first answer.
    load_s: float | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps, in their order."""
        beside = self.beside
        return tuple(step for step in _STEPS[self.what] if beside or step not in ("candidate", "gate"))

    @property
    def touched(self) -> bool:
        """Whether the old server may have been stopped."""
        return self.step in SWITCHED

    def unfinished(self, lease: float) -> Unfinished:
        """As `deploy status` shows it."""
        return Unfinished(
            id=self.id, step=self.step, release=self.release.id, by=self.by, began=self.began, lease=lease
        )


def new_id(now: float) -> str:
    """A deploy's id: sortable by time, and nobody else's."""
    import secrets
    import time

    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{secrets.token_hex(3)}"


def plain(record: Record) -> dict[str, Any]:
    """As JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found


def read(found: Mapping[str, Any], where: str) -> Record:
    """The record of what the host says. Raises RemoteFailed for one that makes no sense."""
    try:
        record = msgspec.convert(dict(found), Record)
    except (msgspec.ValidationError, ValueError):
        record = None
    if record is None or not ID.fullmatch(record.id) or record.step not in STEPS:
        raise RemoteFailed(
            "the deploy under way there has a record that makes no sense",
            where=where,
            fix="look at txn.json in its models folder; a newer dm-g1 may have written it",
        )
    return record
