"""A host's copy of this package: which it is, and bringing it up to date."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from dm_isaac_g1.core.errors import RemoteFailed
from dm_isaac_g1.remote import hands
from dm_isaac_g1.remote.clean import clean, clean_bytes

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host
    from dm_isaac_g1.remote.runtime import Completed, Runtime

#: Seconds for git or pip to do their work.
PATIENCE = 300.0
PIP_INSTALL = (
    *("-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
    *("--no-deps", "--no-index", "--force-reinstall"),
)

#: What a host's Python says of its copy: one JSON line. The digest is `actions.wheel.digest`'s, over the same files.
LOOK = hands.program("copy") + "\nimport json, sys\nprint(json.dumps(look(sys.argv[1] or None)))"


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of this package on a host. All None: there is none."""

    version: str | None = None
    folder: str | None = None
    digest: str | None = None
    checkout: str | None = None
    revision: str | None = None
    upstream: str | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at a place, or what became of it."""

    place: str
    copy: Copy
    python: str
    #: This place runs the trainers: a copy is installed where there is none.
    main: bool
    changed: bool = False
    note: str = ""

    def line(self) -> str:
        """For people."""
        copy = self.copy
        if copy.checkout:
            what = f"checkout {copy.checkout} at {copy.revision}"
        elif copy.folder:
            what = f"{copy.version or 'unknown version'} in {copy.folder}"
        else:
            what = "no copy"
        return clean(f"{self.place}: {what}" + (f"; {self.note}" if self.note else ""))

    def data(self) -> dict[str, Any]:
        """For scripts."""
        return {"place": self.place, "changed": self.changed, "note": self.note, **msgspec.to_builtins(self.copy)}


def places(host: Host) -> Iterator[tuple[Runtime, str, str, bool]]:
    """(runtime, its name, its python, main): the container, where there is one, and the host itself."""
    yield host.runtime, host.runtime.where, host.profile.python, True
    if host.runtime is not host.host_runtime:
        yield host.host_runtime, host.host_runtime.where, "python3", False


async def look(runtime: Runtime, place: str, python: str, main: bool, checkout: str | None = None) -> Found:
    """Which copy is there. Raises RemoteFailed, HostUnreachable."""
    done = await _run(runtime, [python, "-c", LOOK, checkout or ""])
    try:
        copy = msgspec.json.decode(done.stdout.strip().rpartition(b"\n")[2], type=Copy)
    except msgspec.DecodeError:
        raise RemoteFailed("its Python gave an answer that makes no sense", where=place) from None
    return Found(place=place, copy=copy, python=python, main=main)


async def update(runtime: Runtime, found: Found, folder: str) -> Found:
    """Bring a copy up to date: pull a checkout, install our wheel elsewhere (it is put into `folder` meanwhile)."""
    if found.copy.checkout is not None:
        return await _pull(runtime, found)
    if not found.main and found.copy.folder is None:
        return msgspec.structs.replace(found, note="nothing to do")
    from dm_isaac_g1.actions import wheel

    if found.copy.digest == wheel.digest():
        return msgspec.structs.replace(found, note="up to date")
    return await _install(runtime, found, folder)


async def _pull(runtime: Runtime, found: Found) -> Found:
    checkout = found.copy.checkout or ""
    if found.copy.upstream is None:
        return msgspec.structs.replace(found, note="its branch follows no other: nothing to pull")
    await _run(runtime, ["git", "-C", checkout, "pull", "--ff-only", "--quiet"])
    now = await _run(runtime, ["git", "-C", checkout, "rev-parse", "--short", "HEAD"])
    revision = clean_bytes(now.stdout.strip())
    if revision == found.copy.revision:
        return msgspec.structs.replace(found, note="up to date")
    log = await _run(runtime, ["git", "-C", checkout, "log", "--oneline", f"{found.copy.revision}..{revision}"])
    news = [clean(line) for line in log.stdout.decode(errors="replace").splitlines()]
    copy = msgspec.structs.replace(found.copy, revision=revision)
    first = f", newest: {news[0].partition(' ')[2]}" if news else ""
    newer = "1 commit newer" if len(news) == 1 else f"{len(news)} commits newer"
    note = f"was {found.copy.revision}, {newer}{first}"
    return msgspec.structs.replace(found, copy=copy, changed=True, note=note)


async def _install(runtime: Runtime, found: Found, folder: str) -> Found:
    from dm_isaac_g1.actions import wheel

    name, content = wheel.build()
    put = await _run(runtime, [found.python, "-I", "-c", _PUT, folder, name], stdin=content)
    path = put.stdout.decode(errors="replace").strip().rpartition("\n")[2]
    try:
        await _run(
            runtime,
            # The wheel is all there is to install: pip asks no index for it, nor for its own version.
            [found.python, *PIP_INSTALL, path],
        )
    finally:
        await runtime.run([found.python, "-I", "-c", _DROP, path])
    now = await look(runtime, found.place, found.python, found.main)
    before = found.copy.version or "none"
    note = f"installed {now.copy.version} (was {before})" if before != now.copy.version else "installed anew"
    return msgspec.structs.replace(now, changed=True, note=note)


#: Writes stdin to a file in a new folder that is ours alone, and says where: in a shared folder such as /tmp, somebody
#: else could have made the file before us and change what pip is about to install.
_PUT = (
    "import os,sys,tempfile\n"
    "folder,name=sys.argv[1:]\n"
    "os.makedirs(folder,exist_ok=True)\n"
    "path=os.path.join(tempfile.mkdtemp(prefix='.dm-g1-',dir=folder),name)\n"
    "with open(path,'xb') as f: f.write(sys.stdin.buffer.read())\n"
    "print(path)\n"
)
#: Removes the file and its folder.
_DROP = "import os,sys; os.unlink(sys.argv[1]); os.rmdir(os.path.dirname(sys.argv[1]))"


async def _run(runtime: Runtime, argv: Sequence[str], stdin: bytes = b"") -> Completed:
    """A command that has to work. Raises RemoteFailed with its last words."""
    done = await runtime.run(runtime.command(argv), stdin=stdin, timeout=PATIENCE)
    if done.exit != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        how = "the connection was lost" if done.exit is None else f"exit {done.exit}"
        raise RemoteFailed(f"{argv[0]}: {clean(said[-1])[:300] if said else how}", where=runtime.where)
    return done
