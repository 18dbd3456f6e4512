"""What a store says of deploys: who is at work, the transaction that has not ended, how each one ended.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.disk_program import Refused, free_bytes, locked, read_json, sync_folder, write_json
from dm_isaac_g1.deploy.store_program import held_by
from dm_isaac_g1.deploy.transfer import key_program

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.store_program import Store

    Row = dict[str, Any]

#: Bytes of the history that are read, from its end.
HISTORY_MAX = 1 << 20
#: Entries among which one is looked for before it is written.
LATE = 50


# The lock.


def acquire(store: Store, owner: str, lease_s: float, txn: str = "") -> Row:
    """{"token", "until"}; whoever holds an ended lease has lost it. Taken over with its token, where that is known."""
    with locked(store.root):
        held = store.lock()
        if held is not None and (store.token is None or held.get("token") != store.token):
            raise held_by(held)
        token = store.token or os.urandom(16).hex()
        until = time.time() + lease_s
        write_json(store.path("lock"), {"owner": owner, "txn": txn, "token": token, "until": until}, 0o600)
    with contextlib.suppress(OSError, Refused):
        key_program.close_door(store)  # what a console that was killed has left, whoever goes on with its deploy
    return {"token": token, "until": until}


def renew(store: Store, lease_s: float) -> Row:
    with locked(store.root):
        store.guard()
        held = read_json(store.path("lock")) or {}
        if held.get("token") != store.token:
            raise Refused("the lock is not held", "locked")
        held["until"] = time.time() + lease_s
        write_json(store.path("lock"), held, 0o600)
    return {"until": held["until"]}


def release(store: Store) -> Row:
    with locked(store.root):
        held = read_json(store.path("lock")) or {}
        if held.get("token") == store.token:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(store.path("lock"))
            sync_folder(store.root)
    return {}


# What is written of a deploy.


def write_transaction(store: Store, value: Any) -> Row:
    with locked(store.root):
        store.guard()
        if value is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(store.path("txn.json"))
            sync_folder(store.root)
        else:
            write_json(store.path("txn.json"), value)
    return {}


def append_history(store: Store, entry: Any) -> Row:
    """A line. One with the same id and outcome as a late one is not written twice: a deploy may end twice."""
    with locked(store.root):
        store.guard()
        fd = os.open(store.path("deploys.jsonl"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "r+b") as file:
            lines = file.read().split(b"\n")
            for last in map(decoded, lines[-LATE:]):
                if isinstance(last, dict) and all(last.get(key) == entry.get(key) for key in ("id", "what", "outcome")):
                    return {}
            torn = b"\n" if lines[-1] else b""  # the line before was cut off
            file.write(torn + json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(store.root)
    return {}


def decoded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def look(store: Store, limit: int = 200) -> Row:
    """All there is to say: releases and history newest first, the transaction, the lock, the disk."""
    history: list[Any] = []
    with contextlib.suppress(FileNotFoundError), open(store.path("deploys.jsonl"), "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - HISTORY_MAX))
        history = [entry for entry in map(decoded, file.read().split(b"\n")) if isinstance(entry, dict)]
    records = []
    for name in os.listdir(store.records) if os.path.isdir(store.records) else ():
        known = read_json(os.path.join(store.records, name)) if name.endswith(".json") else None
        if isinstance(known, dict) and os.path.isdir(os.path.join(store.releases, name[:-5])):
            records.append(known.get("release"))
    held = store.lock()
    return {
        "root": store.root,
        "current": store.current(),
        "releases": records,
        "history": history[-limit:][::-1],
        "transaction": read_json(store.path("txn.json")),
        "lock": None if held is None else {key: held.get(key) for key in ("owner", "txn", "until")},
        "now": time.time(),
        "free": free_bytes(store.root),
    }
