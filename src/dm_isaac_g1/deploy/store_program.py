"""A host's models folder: its releases, which one is current, and how one comes and goes.

Part of the program that `deploy.program` sends to hosts: standard library only, Python 3.8 and later.

    rel/<release>/            a release's files: hard links to objects
    store/releases/<release>.json   what it is, and its manifest
    current                   -> rel/<release>
    txn.json                  the deploy at work, or that was cut off
    deploys.jsonl             how each ended
    lock                      who is at work, until when

Whatever is written is whole and on the disk before it has its name; every operation can be done again. One lock holder
writes: a token that is not (no longer) the lock's is refused. Times are this host's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy import objects_program
from dm_isaac_g1.deploy.disk_program import (
    Refused,
    check_name,
    erase,
    locked,
    make_folder,
    read_json,
    sync_folder,
    write_json,
)
from dm_isaac_g1.deploy.objects_program import Content, check_manifest

if TYPE_CHECKING:
    Row = dict[str, Any]

#: Parts of a copy that nobody went on with go after so long, once another release is complete.
PARTS_KEPT_S = 24 * 3600.0


class Store:
    """The folder `root`. `token`: of the lock that the caller holds, if any."""

    def __init__(self, root: str, token: str | None = None, make: bool = True) -> None:
        root = os.path.expanduser(root)
        if not os.path.isabs(root):
            raise Refused(f"{root!r} is not an absolute path")
        self.root = root
        self.token = token
        if make:
            os.makedirs(root, exist_ok=True)
        self.content = Content(root, make)
        self.releases = os.path.join(root, "rel")
        self.records = os.path.join(root, "store", "releases")
        if make:
            make_folder(self.releases)
            make_folder(self.records)

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def folder(self, release: str) -> str:
        return os.path.join(self.releases, check_name(release, "release"))

    def record(self, release: str) -> str:
        return os.path.join(self.records, check_name(release, "release") + ".json")

    def staging(self, txn: str) -> str:
        name = check_name(txn, "transaction")
        if name == "parts":
            raise Refused("'parts' is not the name of a transaction")
        return make_folder(os.path.join(self.content.staging, name), 0o700)

    def current(self) -> str | None:
        """The release that `current` leads to."""
        try:
            head, name = os.path.split(os.readlink(self.path("current")).rstrip("/"))
        except OSError:
            return None
        return name if os.path.basename(head) == "rel" else None

    def lock(self) -> Row | None:
        """Who holds the lock now; None once the lease is over."""
        held = read_json(self.path("lock"))
        if not isinstance(held, dict) or not isinstance(held.get("until"), (int, float)):
            return None
        return held if held["until"] > time.time() else None

    def guard(self) -> None:
        """Refuse what only the lock's holder may do."""
        held = self.lock()
        if held is None and self.token is not None:
            left = read_json(self.path("lock"))
            if isinstance(left, dict) and left.get("token") == self.token:
                return  # late, and nobody came meanwhile
            raise Refused("the lock was taken over, or given back", "locked")
        if held is not None and held.get("token") != self.token:
            raise held_by(held)


def held_by(held: Row) -> Refused:
    left = max(0, int(held["until"] - time.time()))
    return Refused(
        f"{held.get('owner')} is deploying here (transaction {held.get('txn') or 'unknown'})",
        "locked",
        fix=f"wait for it; if its console is gone, it may be taken over in {left} s",
    )


# Content.


def missing(store: Store, manifest: Any) -> Row:
    return objects_program.missing(store.content, check_manifest(manifest))


def prepare(store: Store, txn: str, manifest: Any) -> Row:
    """Begin or go on with a copy: what is missing, once all that lies there has been hashed again."""
    with locked(store.root):
        store.guard()
    checked = check_manifest(manifest)
    found = objects_program.prepare(store.content, checked)
    write_json(os.path.join(store.staging(txn), "manifest.json"), checked)
    return found


def commit(store: Store, txn: str, manifest: Any, release: Row) -> Row:
    """A release of what has arrived: its folder appears whole, or is mended link by link where it is there already."""
    checked = check_manifest(manifest)
    with locked(store.root):
        store.guard()
        objects_program.settle(store.content, checked)
        name, staging = check_name(release["id"], "release"), store.staging(txn)
        final, beside = store.folder(name), os.path.join(staging, "release")
        if not os.path.isdir(final):
            erase(beside)
            os.mkdir(beside, 0o755)
            fill(store.content, checked, beside, fresh=True)
            write_json(store.record(name), {"release": release, "manifest": checked})
            os.rename(beside, final)
        else:
            fill(store.content, checked, final)
            write_json(store.record(name), {"release": release, "manifest": checked})
        sync_folder(store.releases)
        erase(staging)
        clear(store)
    return {"path": final}


def mended(source: str, path: str) -> bool:
    """Whether a release's file is the object already. What a killed one before left beside it is gone after."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + ".dm-g1-new")
    try:
        return os.path.samestat(os.stat(source), os.lstat(path))
    except FileNotFoundError:
        return False


def fill(content: Content, manifest: Row, folder: str, fresh: bool = False) -> None:
    """Each file of the manifest, at its place in `folder`: the object itself, or a copy where there are no links.

    `fresh`: nothing is in the folder, and nobody sees it yet.
    """
    folders = {folder}
    for row in manifest["files"]:
        source, path = content.object(row["sha256"]), os.path.join(folder, row["path"])
        if not fresh and mended(source, path):
            continue
        if os.path.dirname(path) not in folders:
            here = folder
            for part in row["path"].split("/")[:-1]:
                here = make_folder(os.path.join(here, part))
                folders.add(here)
        new = path if fresh else path + ".dm-g1-new"
        try:
            os.link(source, new)
        except OSError:
            import shutil

            with open(source, "rb") as file, open(new, "xb") as copy:  # x: nor through a link
                shutil.copyfileobj(file, copy)
        if not fresh:
            os.rename(new, path)
    for each in folders:
        sync_folder(each)


def clear(store: Store) -> None:
    """Copies that nobody went on with for long: their parts, and what else those that were killed have left."""
    content = store.content
    for folder in (content.parts, content.staging, store.records, os.path.realpath(store.root)):
        for entry in os.scandir(folder):
            ours = folder in (content.parts, content.staging) or ".new-" in entry.name
            with contextlib.suppress(OSError):  # what is not ours to remove stops no deploy
                old = time.time() - entry.stat(follow_symlinks=False).st_mtime > PARTS_KEPT_S
                if ours and old and entry.path != content.parts:
                    erase(entry.path)


def verify(store: Store, release: str) -> list[Row]:
    """What is not as it was when it arrived: [{"path", "chunks"}]; all of it is read.

    What is damaged leaves the store, to be sent again; while somebody else deploys here it is only said.
    """
    manifest = manifest_of(store, release)
    found = objects_program.damaged(store.content, store.folder(release), manifest)
    rotten = objects_program.rotten(store.content, manifest, {each["path"] for each in found})
    if rotten:
        with contextlib.suppress(Refused), locked(store.root):
            store.guard()
            objects_program.withdraw(store.content, rotten)
    return found


def manifest_of(store: Store, release: str) -> Row:
    record = read_json(store.record(release))
    if not isinstance(record, dict):
        raise Refused(f"no release {release}", "missing")
    return check_manifest(record["manifest"])


def set_current(store: Store, release: str) -> Row:
    """A new link, renamed over the old one: there is no moment without (`ln -sfn` of busybox has one)."""
    with locked(store.root):
        store.guard()
        if not os.path.isdir(store.folder(release)):
            raise Refused(f"no release {release}", "missing")
        link = store.path("current")
        if os.path.lexists(link) and not os.path.islink(link):
            raise Refused(f"{link} is not a link", fix="move it away: it says which release is current")
        before = store.current()
        beside = link + ".new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        os.symlink(os.path.join("rel", release), beside)
        os.rename(beside, link)
        sync_folder(store.root)
    return {"before": before}


def remove(store: Store, release: str) -> Row:
    """Remove a release that is not current and that no server here has, and objects that are in no other.

    {"freed": bytes}. A file that cannot be removed stays behind, out of the way; it keeps nothing else.
    """
    with locked(store.root):
        store.guard()
        folder = store.folder(release)
        if store.current() == release:
            raise Refused(f"{release} is the current release", fix="make another one current first")
        pid = server_of(release)
        if pid is not None:
            raise Refused(f"{release} is kept: process {pid} serves it", fix="it goes once that has ended")
        record = read_json(store.record(release))
        stuck: list[OSError] = []
        removed = store.staging("removed")
        for name in os.listdir(removed):  # what a killed one before has left holds links to objects
            erase(os.path.join(removed, name), stuck)
        trash = os.path.join(removed, f"{release}.{os.urandom(8).hex()}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, trash)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.record(release))
        freed = erase(trash, stuck)
        rows = record["manifest"]["files"] if isinstance(record, dict) else []
        for digest in {check_name(row["sha256"], "file") for row in rows}:
            path = store.content.object(digest)
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(path).st_nlink == 1:
                    freed += erase(path, stuck)
        sync_folder(store.releases)
    return {"freed": freed}


def server_of(release: str) -> int | None:
    """The process on this machine whose command line names a release's folder: a server on whatever port.

    One in a container is a process of this machine too; it sees the folder at another path, which ends alike.
    """
    named = re.compile(rb"(?:^|[/=\0])rel/" + re.escape(release).encode() + rb"(?![A-Za-z0-9._-])")
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                if named.search(file.read()):
                    return int(name)
    return None
