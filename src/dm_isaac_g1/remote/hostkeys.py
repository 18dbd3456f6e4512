"""Whether a host is the one it claims to be: known_hosts read, a refusal explained, a new key accepted.

asyncssh says the same sentence for an unknown, a changed and a revoked key. Here the key that the host showed is held
against every line of the known_hosts files, and the three get three texts. An unknown key can be accepted, by name
and after its fingerprint was shown; a changed or revoked one never from here: the user removes the old line with
OpenSSH's own tool, knowing why.

known_hosts format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core.errors import DmG1Error, HostUntrusted, RefusedError

if TYPE_CHECKING:
    import asyncssh

    from dm_isaac_g1.core.profile import Host

SSH_PORT = 22


@dataclass(frozen=True)
class Line:
    """One line of a known_hosts file, as asyncssh reads it."""

    file: str
    number: int
    entries: Any  # asyncssh.SSHKnownHosts, which asyncssh does not type for callers


@dataclass
class KnownHosts:
    """The lines of the user's and the system's known_hosts files. A missing file knows nobody."""

    files: tuple[str, ...]
    lines: list[Line] = field(default_factory=list)

    @classmethod
    def load(cls, files: Iterable[str]) -> KnownHosts:
        """Read `files`. A line that makes no sense is passed over, as OpenSSH does. Raises DmG1Error if unreadable."""
        from asyncssh.known_hosts import SSHKnownHosts

        known = cls(tuple(str(Path(name).expanduser()) for name in files))
        for name in known.files:
            try:
                text = Path(name).read_text(encoding="utf-8", errors="replace")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise DmG1Error(f"cannot read the known hosts: {error.strerror}", where=name) from error
            for number, line in enumerate(text.splitlines(), 1):
                if not line.strip() or line.lstrip().startswith("#"):
                    continue
                with contextlib.suppress(ValueError):
                    known.lines.append(Line(name, number, SSHKnownHosts(line)))
        return known

    def lookup(self, host: str, addr: str, port: int | None) -> tuple[Sequence[Any], ...]:
        """What asyncssh asks of known_hosts: trusted, CA and revoked keys, then four lists for X.509 (unused).

        As in OpenSSH, a line without a port vouches for every port of a host that no line with the port is about,
        and a revocation counts wherever it stands.
        """
        trusted, authorities, revoked = self._match(host, addr, port)
        if _other_port(port):
            plain_trusted, plain_authorities, plain_revoked = self._match(host, addr, None)
            revoked = revoked + plain_revoked
            if not trusted and not authorities:
                trusted, authorities = plain_trusted, plain_authorities
        return (
            [key for _, key in trusted],
            [key for _, key in authorities],
            [key for _, key in revoked],
            [],
            [],
            [],
            [],
        )

    def _match(
        self, host: str, addr: str, port: int | None
    ) -> tuple[list[tuple[Line, Any]], list[tuple[Line, Any]], list[tuple[Line, Any]]]:
        """(trusted, CA, revoked) keys for exactly this port, each with the line it stands on."""
        found: tuple[list[tuple[Line, Any]], ...] = ([], [], [])
        # asyncssh falls back to lines without a port by itself unless the name already carries one.
        names = {bracketed(host, port), bracketed(addr, port)} - {""}
        for line in self.lines:
            for name in names:
                matched = line.entries.match(name, "", None)
                for keys, group in zip(found, matched, strict=False):
                    keys.extend((line, key) for key in group if all(key != known for _, known in keys))
        return found[0], found[1], found[2]

    def judge(self, host: str, addr: str, port: int | None, key: asyncssh.SSHKey, *, name: str) -> HostUntrusted | None:
        """Why `key` is not trusted for the host, or None if it is. `name`: what the profile calls it."""
        trusted, _, revoked = self.lookup(host, addr, port)[:3]
        shown = bracketed(host, port)
        print_ = key.get_fingerprint("sha256")
        if key in revoked:
            return HostUntrusted(
                f"the host key of {shown} is REVOKED ({print_}): somebody declared it stolen or retired",
                kind="revoked",
                where=name,
                fix="do not connect; give the host a new key, then remove its @revoked line",
            )
        if key in trusted:
            return None
        # A line without a port vouches for the other ports too, so it also speaks against a key that is shown there.
        exact = self._match(host, addr, port)[0]
        spoken = exact or (self._match(host, addr, None)[0] if _other_port(port) else [])
        if spoken:
            old = ", ".join(f"{known.get_fingerprint('sha256')} ({line.file}:{line.number})" for line, known in spoken)
            if exact:
                fix = f"only if you know why: ssh-keygen -R '{shown}' -f {exact[0][0].file}"
            else:
                fix = f"only if another machine answers on that port: ssh -p {port} {host} notes its key"
            return HostUntrusted(
                f"the host key of {shown} has CHANGED: known is {old}, shown is {print_};"
                " the host was installed anew, or somebody stands between",
                kind="changed",
                where=name,
                fix=fix,
            )
        return HostUntrusted(
            f"the host key of {shown} is unknown ({key_type(key)} {print_})",
            kind="unknown",
            where=name,
            fix=f"compare the fingerprint on the host itself, then: dm-g1 hosts trust {name}",
        )


def _other_port(port: int | None) -> bool:
    return port not in (None, SSH_PORT)


def bracketed(host: str, port: int | None) -> str:
    """How known_hosts writes a host: bare on port 22, else `[host]:port`."""
    return f"[{host}]:{port}" if host and _other_port(port) else host


def key_type(key: asyncssh.SSHKey) -> str:
    """As `ssh` shows it: "ED25519", "RSA", "ECDSA"."""
    algorithm = key.get_algorithm()
    for part, shown in (("ed25519", "ED25519"), ("ecdsa", "ECDSA"), ("rsa", "RSA")):
        if part in algorithm:
            return shown
    return algorithm


@dataclass(frozen=True)
class Offered:
    """An unknown host's key, to be shown before it is accepted."""

    name: str
    address: str
    fingerprint: str
    kind: str
    known_hosts: str
    #: The line that accepting adds.
    entry: str

    def line(self) -> str:
        return f"{self.address} shows the {self.kind} key {self.fingerprint}; it would be added to {self.known_hosts}"


async def offered(name: str, host: Host, *, ssh_config: str | None = None) -> Offered:
    """What a host shows that is not known yet; sends nothing of ours.

    Raises RefusedError if it is trusted already, HostUntrusted if its key changed or was revoked, HostUnreachable.
    """
    from dm_isaac_g1.remote.connect import show_key
    from dm_isaac_g1.remote.target import resolve

    target = await resolve(name, host.ssh, ssh_config)
    key, address_shown = await show_key(target)
    judged = target.judge(address_shown, key)
    if judged is None:
        raise RefusedError("its key is trusted already", where=name)
    if judged.kind != "unknown":
        raise judged
    address = bracketed(target.known_as, target.known_port)
    public = key.export_public_key("openssh").decode().split()[:2]
    return Offered(
        name=name,
        address=address,
        fingerprint=key.get_fingerprint("sha256"),
        kind=key_type(key),
        known_hosts=target.known.files[0],
        entry=" ".join([address, *public]),
    )


def accept(offer: Offered) -> Path:
    """Add the key to the user's known_hosts and return that file. The caller has shown the fingerprint."""
    path = Path(offer.known_hosts)
    line = offer.entry + "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode())
    except OSError as error:
        raise DmG1Error(f"cannot write the known hosts: {error.strerror}", where=str(path)) from error
    return path
