"""Who listens on a port, who is connected to it, how much memory is free, what machine it is. Sent by `remote.around`.

Standard library only, Python 3.8 and later; it only reads.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from typing import Any

MARK = "\x1edm-g1 "
#: Linux, include/net/tcp_states.h.
ESTABLISHED, LISTEN = "01", "0A"
#: Who listens there listens at every address.
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  compared, not bound
#: Ancestors of a process that are looked at.
DEEPEST = 50
#: Where a spare port is looked for, above the one that is asked about.
SPARE = 200


def connections(pid: object = "self") -> list[tuple[str, str, int, str, int, str]]:
    """(state, local address, local port, remote address, remote port, inode) of all TCP sockets. proc(5).

    `pid`: as that process sees them, which may be in a container with a network of its own.
    """
    found = []
    for name in (f"/proc/{pid}/net/tcp", f"/proc/{pid}/net/tcp6"):
        try:
            with open(name) as file:
                lines = file.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if len(words) > 9:
                here, there = (word.split(":") for word in words[1:3])
                found.append(
                    (words[3], address(here[0]), int(here[1], 16), address(there[0]), int(there[1], 16), words[9])
                )
    return found


def address(hexed: str) -> str:
    """An address as /proc has it: 32-bit words, each in the machine's own order."""
    words = [int(hexed[at : at + 8], 16) for at in range(0, len(hexed), 8)]
    raw = b"".join(struct.pack("=I", word) for word in words)
    if len(raw) == 16 and raw[:12] == b"\0" * 10 + b"\xff\xff":
        raw = raw[12:]
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def owners(inodes: set[str]) -> dict[str, int]:
    """inode -> pid, of the processes that we may look into."""
    found: dict[str, int] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")) if inodes else ():
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in inodes:
                found.setdefault(target[8:-1], int(pid))
    return found


def read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(65536)
    except OSError:
        return b""


def process(pid: int) -> dict[str, Any]:
    """A process's words, whom it descends from, and the job of ours that it belongs to, by itself or by them."""
    words = read(f"/proc/{pid}/cmdline").split(b"\0")[:40]
    above = ancestors(pid)
    job = next((found for found in map(marked, (pid, *above)) if found), "")
    said = [word.decode(errors="replace")[:300] for word in words if word]
    return {"pid": pid, "argv": said, "job": job, "ancestors": above}


def marked(pid: int) -> str:
    """The job that a process's environment names."""
    for setting in read(f"/proc/{pid}/environ").split(b"\0"):
        if setting.startswith(b"DM_G1_JOB="):
            return setting[10:].decode(errors="replace")
    return ""


def ancestors(pid: int) -> list[int]:
    """Its parent, that one's, and so on, without the first process. proc(5), stat; a name may hold brackets."""
    found: list[int] = []
    while len(found) < DEEPEST:
        words = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        pid = int(words[1]) if len(words) > 1 else 0
        if pid <= 1:
            break
        found.append(pid)
    return found


def stranger(listening: list[dict[str, Any]], address: str, job: str = "", pid: int = 0) -> dict[str, Any] | None:
    """Who listens at `address` and is neither of the job nor of the process `pid`; None: nobody, or it is not known.

    A job is ours, and its processes can be looked into: who cannot be is none of them. A container's belong to root.
    """
    here = [each for each in listening if each["address"] in (address, *ANYWHERE)]
    for each in here if job or pid else ():
        if job and each.get("job") == job:
            return None
        if pid and (not each.get("pid") or pid in (each["pid"], *each.get("ancestors", ()))):
            return None
    return here[0] if here and (job or pid) else None


def memory() -> tuple[int | None, int | None]:
    """(available, total) bytes: the machine's, or what the cgroup still allows where that is less."""
    rows = {}
    for line in read("/proc/meminfo").decode(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if value.split() and value.split()[0].isdigit():
            rows[name] = int(value.split()[0]) * 1024
    free, total = rows.get("MemAvailable"), rows.get("MemTotal")
    most = read("/sys/fs/cgroup/memory.max").strip()
    used = read("/sys/fs/cgroup/memory.current").strip()
    if most.isdigit() and used.isdigit() and free is not None and total is not None and int(most) < total:
        cached = 0
        for row in read("/sys/fs/cgroup/memory.stat").splitlines():
            if row.startswith(b"inactive_file "):
                cached = int(row.split()[1])
        total = int(most)
        free = min(free, max(0, total - int(used) + cached))
    return free, total


def spare(port: int, taken: set[int]) -> int | None:
    """A port above `port` that nobody listens on and that can be bound."""
    for each in range(port + 1, min(port + SPARE, 65535)):
        if each in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("", each))
                return each
            except OSError:
                continue
    return None


def listeners(port: int, sockets: list[tuple[str, str, int, str, int, str]]) -> list[dict[str, Any]]:
    """Who listens on a port, of all the sockets there are."""
    here = [each for each in sockets if each[0] == LISTEN and each[2] == port]
    pids = owners({each[5] for each in here})
    found = []
    for each in here:
        pid = pids.get(each[5])
        found.append(dict(process(pid) if pid else {}, address=each[1]))
    return found


def main(args: dict[str, Any]) -> None:
    port = args["port"]
    sockets = connections()
    free, total = memory()
    asked = [(connections(args["inside"]), args["inner"])] if args.get("inside") else [(sockets, port)]
    answer = {
        "listening": listeners(port, sockets),
        "clients": [
            f"{each[3]}:{each[4]}"
            for seen, where in asked
            for each in seen
            if each[0] == ESTABLISHED and each[2] == where
        ],
        "memory_free": free,
        "memory_total": total,
        "arch": os.uname().machine,
        "spare": spare(port, {each[2] for each in sockets}),
    }
    sys.stdout.write("\n" + MARK + json.dumps({"ok": answer}) + "\n")
    sys.stdout.flush()
