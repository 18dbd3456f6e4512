"""What can go wrong, said for people: what happened, where, and what to do about it.

Every error that a user may meet is a `DmG1Error`. It is raised where it is known and shown in one place
(`cli.main` or the console's message area); its exit code is part of the command line's contract.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Literal

from dm_isaac_g1.core import redact


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    UNTRUSTED = 5
    INTERRUPTED = 130


class DmG1Error(Exception):
    """An error with a message for people.

    `what` happened, `where` (a host, a file and line, a job), and `fix`: what the user can do.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        # A library's exception may quote what it was given, a password too.
        self.what = redact.hide_known(what)
        self.where = where
        self.fix = None if fix is None else redact.hide_known(fix)
        super().__init__(self.line())

    def line(self) -> str:
        """The error on one line, for stderr and the message area."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return " ".join(f"{text}; {self.fix}".split() if self.fix else text.split())


class UsageError(DmG1Error):
    """The command, a name or a value makes no sense: nothing was tried."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A profile, recipe or .env is wrong; `where` says file and line."""


class RefusedError(DmG1Error):
    """A guard refused: the thing could be done, and would end badly."""

    exit_code = ExitCode.REFUSED


class HostUnreachable(DmG1Error):
    """No SSH connection to the host, or it was lost."""

    exit_code = ExitCode.UNREACHABLE


class HostUntrusted(DmG1Error):
    """The host's key is unknown, changed or revoked. Never retried."""

    exit_code = ExitCode.UNTRUSTED

    def __init__(
        self,
        what: str,
        *,
        kind: Literal["unknown", "changed", "revoked"],
        where: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.kind = kind
        super().__init__(what, where=where, fix=fix)


class AuthFailed(DmG1Error):
    """The host refused our key or password, or a key needs a passphrase. Never retried (fail2ban).

    `locked`: the key file whose passphrase would help. `password`: whether the host would take a password.
    """

    exit_code = ExitCode.UNTRUSTED

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        locked: str | None = None,
        password: bool = False,
    ) -> None:
        self.locked = locked
        self.password = password
        super().__init__(what, where=where, fix=fix)


class RemoteFailed(DmG1Error):
    """A command on a host failed, or answered what makes no sense."""


class DockerUnavailable(DmG1Error):
    """No Docker engine, no permission for its socket, or no such container on the host."""


class JobNotFound(UsageError):
    """No job of that id on any host."""


class Interrupted(DmG1Error):
    """The user interrupted."""

    exit_code = ExitCode.INTERRUPTED
