"""An SSH target as a profile writes it: an alias of the OpenSSH configuration, or [user@]host[:port]."""

from __future__ import annotations

import re

import msgspec

from dm_isaac_g1.core.errors import ConfigError

#: No leading dash (OpenSSH would read an option), no blanks, nothing a shell would expand.
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.%-]*"
_TARGET = re.compile(rf"(?:(?P<user>{_NAME})@)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>{_NAME}))(?::(?P<port>[0-9]+))?")


class Target(msgspec.Struct, frozen=True):
    """`user` and `port` are None where ~/.ssh/config (or OpenSSH's defaults) decide."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")


def parse(text: str) -> Target:
    """Raises ConfigError without a `where`: the caller knows file and line."""
    match = _TARGET.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is no SSH target", fix="expected an alias of ~/.ssh/config or user@host:port")
    return Target(match["v6"] or match["host"], match["user"], port(match["port"]) if match["port"] else None)


def port(text: str | int) -> int:
    """A TCP port, 1 to 65535. Raises ConfigError without a `where`."""
    number = int(text) if str(text).isascii() and str(text).isdigit() and len(str(text)) <= 5 else 0
    if not 1 <= number <= 65_535:
        raise ConfigError(f"{text!r} is no port", fix="expected 1 to 65535")
    return number
