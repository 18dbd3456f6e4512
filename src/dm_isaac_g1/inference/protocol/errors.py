"""What can go wrong between a policy's client and its server."""

from __future__ import annotations

from dm_isaac_g1.core.errors import DmG1Error, ExitCode


class ProtocolError(DmG1Error):
    """A frame that is none of GR00T's protocol, or larger, deeper or of other kinds than allowed."""


class ServerError(DmG1Error):
    """The server answered {"error": ...}: it is up, and did not do what it was asked. `said`: in its own words."""

    def __init__(self, said: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.said = said
        super().__init__(f"the server answers: {said}", where=where, fix=fix)


class ServerSilent(DmG1Error):
    """The server takes requests and did not answer before the deadline: busy, or hung."""

    exit_code = ExitCode.UNREACHABLE


class ServerGone(DmG1Error):
    """Nothing serves there: refused, no policy server, or the connection was lost while it was asked."""

    exit_code = ExitCode.UNREACHABLE
