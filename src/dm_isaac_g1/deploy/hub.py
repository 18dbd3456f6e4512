"""A model from the Hugging Face Hub, on its way to a serve host: only what a server needs of it, into this machine's
cache, each file verified by the Hub's own hash. From there it is deployed like any local folder.

It comes through this machine and not straight to the host, so that no Hub token ever reaches a serve host. The cache
keeps a folder for each commit; what was cut off goes on.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core import paths, plainfile
from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.core.units import size
from dm_isaac_g1.data.hub.process import HubProcess
from dm_isaac_g1.data.hub.wire import Fetch, Hub, Listed, LookUp, RepoFile
from dm_isaac_g1.inference import models

if TYPE_CHECKING:
    from dm_isaac_g1.data.work import Work

#: OWNER/NAME, a folder in it, a revision.
_REPO = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:/(?P<folder>[^@\s]+?))?/?(?:@(?P<revision>[\w./-]+))?", re.ASCII
)
#: Bytes that must stay free on this machine beside the model.
RESERVE = 200_000_000


class Wanted(msgspec.Struct, frozen=True):
    """What the user wrote: OWNER/NAME[/FOLDER][@REVISION]."""

    repo: str
    folder: str = ""
    revision: str | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The model's files on this machine. `said`: hub:OWNER/NAME@COMMIT."""

    folder: Path
    name: str
    said: str


def parse(text: str) -> Wanted:
    """Raises UsageError."""
    match = _REPO.fullmatch(text.removeprefix("hub:"))
    if match is None or (match["folder"] and not models.safe(match["folder"])):
        raise UsageError(f"{text!r} is no model on the Hub", fix="write OWNER/NAME, or OWNER/NAME@REVISION")
    return Wanted(match["repo"], match["folder"] or "", match["revision"])


def snapshot(wanted: Wanted, work: Work, *, token: str | None = None, endpoint: str | None = None) -> Snapshot:
    """Look the model up and bring what a server needs of it. For a thread: it blocks.

    Raises the DataProblems of `data.hub.failures`, RefusedError (not a model that we can serve, unsafe names, this
    disk is too small), Interrupted.
    """
    hub = Hub(endpoint, token)
    with HubProcess(work, wanted.repo) as process:
        work.progress(f"Looking up {wanted.repo}")
        listed = process.ask(LookUp(hub, wanted.repo, wanted.revision, "model"))
        assert isinstance(listed, Listed)
        files = chosen(listed, wanted.folder)
        folder = _folder(listed, wanted.folder)
        folder.mkdir(parents=True, exist_ok=True)

        def bring(names: list[str], what: str) -> None:
            some = tuple(files[name] for name in names)
            total = sum(file.size for file in some)

            def at(done: int) -> None:
                work.progress(f"Downloading {what} of {listed.repo}", done, total, "bytes")

            process.ask(Fetch(hub, listed.repo, listed.revision, str(folder), some, "model"), at=at)

        texts = [name for name in models.WANTED if name in files and files[name].size <= models.TEXT_MAX]
        bring(texts, "the description")
        name = wanted.folder.rpartition("/")[2] or listed.repo.rpartition("/")[2]
        facts = models.describe(
            name,
            {path: file.size for path, file in files.items()},
            {path: plainfile.read(folder / path, models.TEXT_MAX) for path in texts},
        )
        said = f"hub:{listed.repo}{f'/{wanted.folder}' if wanted.folder else ''}@{listed.revision}"
        if not facts.complete:
            raise RefusedError("; ".join(facts.problems), where=said, fix=_other(listed))
        _insist_on_room(folder, facts.bytes)
        bring(sorted(facts.deploy_files), "the model")
    return Snapshot(folder=folder, name=name, said=said)


def chosen(listed: Listed, folder: str) -> dict[str, RepoFile]:
    """The files of the repository's `folder` by their names in it. Raises RefusedError for names that lead out."""
    inside = f"{folder}/" if folder else ""
    found: dict[str, RepoFile] = {}
    for file in listed.files:
        if not file.path.startswith(inside) or file.size < 0:
            continue
        name = file.path[len(inside) :]
        if not models.safe(name):
            raise RefusedError(
                f"the repository has a file {name[:100]!r}, which leads out of its folder",
                where=listed.repo,
                fix="do not use this repository",
            )
        if not name.startswith(".cache/"):
            found[name] = msgspec.structs.replace(file, path=name, folder=inside)
    return found


def _folder(listed: Listed, folder: str) -> Path:
    """A commit's folder in our cache. The names were the Hub's answer: they are checked once more."""
    plain = f"{listed.repo}/{folder}".rstrip("/").replace("/", "--")
    if not re.fullmatch(r"[\w.-]{1,200}", plain) or not re.fullmatch(r"[0-9a-f]{7,64}", listed.revision):
        raise RefusedError("the Hub names a repository that cannot be kept", where=plain[:100])
    return paths.cache_dir() / "models" / f"{plain}@{listed.revision[:12]}"


def _insist_on_room(folder: Path, wanted: int) -> None:
    there = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    free = shutil.disk_usage(folder).free
    if free + there < wanted + RESERVE:
        raise RefusedError(
            f"the model has {size(wanted)}, and this machine has {size(free)} free",
            where=str(folder),
            fix="free some space, or set XDG_CACHE_HOME to a larger disk",
        )


def _other(listed: Listed) -> str | None:
    """Where the repository has models in folders: which."""
    below = sorted({file.path.rpartition("/")[0] for file in listed.files if file.path.endswith("/config.json")})
    below = [each for each in below if "/" not in each]
    return f"it has models in folders: {', '.join(f'{listed.repo}/{each}' for each in below[:4])}" if below else None
