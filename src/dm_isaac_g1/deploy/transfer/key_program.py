"""A key that may bring one model into one store, put among a user's authorized keys and taken away again.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later. The line's format
is sshd(8)'s, AUTHORIZED_KEYS FILE FORMAT. The key runs one command whatever is asked for: this very program, which
takes chunks of the prepared manifest and nothing else. It works until `expiry-time`, which sshd reads as local time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.disk_program import Refused, check_name, locked, make_folder, write_whole
from dm_isaac_g1.deploy.manifest_program import stamp

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.store_program import Store

FILE = "~/.ssh/authorized_keys"
#: The comment of a line of ours: `dm-g1-copy:<of which store>:<transaction>`.
OURS = re.compile(rb"dm-g1-copy:([0-9a-f]{12}):([A-Za-z0-9._-]+)\s*$")
EXPIRY = re.compile(rb'expiry-time="([0-9]{14})"')
PUBLIC = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]{40,120}")
ADDRESS = re.compile(r"[0-9A-Fa-f.:]{3,45}")
LARGEST = 4 << 20
#: Times that a file which somebody else changes meanwhile is begun anew with.
TRIES = 20


def open_door(store: Store, txn: str, program: str, public: str, source: str | None, seconds: float) -> dict[str, Any]:
    """Let the key in for `seconds`, from the address `source` if that is known."""
    with locked(store.root):
        store.guard()
    if not PUBLIC.fullmatch(public) or (source is not None and not ADDRESS.fullmatch(source)):
        raise Refused("no key, or no address")
    path = os.path.join(store.staging(txn), "receive.py")
    write_whole(path, program.encode(), 0o600)
    command = "exec " + " ".join(shlex.quote(word) for word in (sys.executable, "-I", "-S", "-u", path))
    if not command.isprintable():
        raise Refused("the store's path cannot stand in authorized_keys")
    until = time.strftime("%Y%m%d%H%M%S", time.localtime(time.time() + seconds))
    options = ["restrict", f'expiry-time="{until}"']
    if source is not None:
        options.append(f'from="{source}"')
    options.append('command="{}"'.format(command.replace('"', '\\"')))
    change(store, f"{','.join(options)} {public} dm-g1-copy:{mark(store)}:{check_name(txn, 'transaction')}\n")
    return {"until": until}


def close_door(store: Store) -> dict[str, Any]:
    """Take away what `open_door` put there for this store, now or when its console was killed, and what has expired."""
    change(store, "")
    return {}


def mark(store: Store) -> str:
    return hashlib.sha256(os.path.realpath(store.root).encode()).hexdigest()[:12]


class ChangedMeanwhile(Exception):
    """Somebody else (an editor, ssh-copy-id) wrote to the file after it was read. They know no lock of ours."""


def change(store: Store, line: str) -> None:
    """Our old lines go, `line` comes; all others stay as they are, byte by byte, as do the file's owner and mode."""
    path = os.path.realpath(os.path.expanduser(FILE))
    if line:
        make_folder(os.path.dirname(path), 0o700)
    elif not os.path.exists(path):
        return
    with locked(os.path.dirname(path)):
        for name in os.listdir(os.path.dirname(path)):
            if re.fullmatch(re.escape(os.path.basename(path)) + r"\.new-[0-9a-f]{16}", name):
                os.unlink(os.path.join(os.path.dirname(path), name))  # a program that was killed has left it
        for _ in range(TRIES):
            with contextlib.suppress(ChangedMeanwhile):
                rewrite(path, mark(store).encode(), line.encode())
                return
    raise Refused(f"{path} is being written to all the time")


def rewrite(path: str, store: bytes, line: bytes) -> None:
    """Raises ChangedMeanwhile where it is not the same file any more once the new one is to take its place."""
    before, found = b"", None
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        found = os.fstat(file.fileno())
        before = file.read(LARGEST + 1)
    if len(before) > LARGEST:
        raise Refused(f"{path} is larger than any that was made by hand")
    kept = b"".join(each for each in before.splitlines(keepends=True) if not gone(each, store))
    if line and kept and not kept.endswith(b"\n"):
        kept += b"\n"
    if kept + line == before:
        return

    def ready() -> None:
        now = None
        with contextlib.suppress(FileNotFoundError):
            now = os.stat(path)
        if stamped(now) != stamped(found):
            raise ChangedMeanwhile

    write_whole(path, kept + line, 0o600, like=found, ready=ready)


def stamped(found: os.stat_result | None) -> str | None:
    return None if found is None else stamp(found)


def gone(line: bytes, store: bytes) -> bool:
    """Whether a line is one of ours whose time is over. There is one copy into a store at a time."""
    ours = OURS.search(line)
    if ours is None or line.lstrip().startswith(b"#"):
        return False
    expiry = EXPIRY.search(line)
    over = expiry is not None and expiry.group(1) < time.strftime("%Y%m%d%H%M%S").encode()
    return over or ours.group(1) == store
