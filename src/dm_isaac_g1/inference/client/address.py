"""Where a policy server is: a host and port, a socket's path, or a page's address."""

from __future__ import annotations

import re

import msgspec

from dm_isaac_g1.core.errors import UsageError

_FORM = re.compile(r"(?P<kind>tcp|http|ipc)://(?P<rest>.+)")
_PLACE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s/:\[\]*]+)):(?P<port>[0-9]{1,5})/?")
_HOST = re.compile(r"[^\s/\[\]*]+")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """`path` of a socket in the file system, or else a host and port. `http`: said so by whoever gave it."""

    host: str = ""
    port: int = 0
    path: str = ""
    http: bool = False

    @property
    def endpoint(self) -> str:
        """As ZeroMQ calls it."""
        return f"ipc://{self.path}" if self.path else f"tcp://{self.place}"

    @property
    def place(self) -> str:
        """host:port, for people too; an IPv6 address in brackets."""
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


def address_of(host: str, port: int, address: str | None = None) -> Address:
    """Of a host and port, or of `address`: tcp://host:port, ipc:///path or http://host:port. Raises UsageError."""
    if address is None:
        host = host.strip("[]")
        if not _HOST.fullmatch(host):
            raise UsageError(f"no host: {host!r}", fix="give a name or an address, as 127.0.0.1")
        return Address(host=host, port=_port(port))
    form = _FORM.fullmatch(address)
    place = _PLACE.fullmatch(form["rest"]) if form else None
    if form and form["kind"] == "ipc" and form["rest"].startswith("/"):
        return Address(path=form["rest"])
    if not form or not place or form["kind"] == "ipc":
        raise UsageError(f"no address: {address!r}", fix="give tcp://host:port, ipc:///path or http://host:port")
    return Address(host=place["six"] or place["host"], port=_port(int(place["port"])), http=form["kind"] == "http")


def _port(port: int) -> int:
    if not 0 < port < 1 << 16:
        raise UsageError(f"no port: {port}", fix="give one of 1 to 65535; GR00T's servers have 5555")
    return port
