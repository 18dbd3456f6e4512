"""Which files of a repository are wanted: all, its meta files, some episodes, or what patterns name. Pure.

A subset is a list, separated by commas, of
- episodes: `7`, `0-9` (both included), or `0:10` (without the last, as info.json writes its splits);
- patterns over file names: `videos/*/observation.images.cam_left_high/*` (`*` crosses folders, as in huggingface_hub);
- one folder, of a repository that holds several datasets: the others narrow that one.
It is everything that any of them names. meta/ and the files beside it (README.md, LICENSE) always come along.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import msgspec
from msgspec.structs import replace

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.hub.wire import RepoFile
from dm_isaac_g1.data.info import INFO, inside
from dm_isaac_g1.data.output import DONE, MARKER
from dm_isaac_g1.data.problems import IntegrityError, SchemaError
from dm_isaac_g1.data.stats.sidecar import SIDECAR

_EPISODES = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_SLICE = re.compile(r"(\d{0,9}):(\d{0,9})")
_PATTERN = re.compile(r"[*?\[]")
_LAST = 10**9

#: Written by whoever works in the folder: notes of somebody else are never taken from a repository.
_OURS = (SIDECAR, MARKER, DONE)


class Selection(msgspec.Struct, frozen=True):
    """`episodes`: first and last, both included. Neither these nor patterns: everything (in `folder`)."""

    episodes: tuple[tuple[int, int], ...] = ()
    patterns: tuple[str, ...] = ()
    folder: str | None = None

    @property
    def everything(self) -> bool:
        return not self.episodes and not self.patterns

    def has(self, episode: int) -> bool:
        return any(first <= episode <= last for first, last in self.episodes)

    def __str__(self) -> str:
        ranges = [f"{first}" if first == last else f"{first}-{last}" for first, last in self.episodes]
        return ",".join((*([self.folder] if self.folder else []), *ranges, *self.patterns))


def parse(subset: str | Iterable[str] | None) -> Selection:
    """The selection that a user wrote; see the module. Raises UsageError."""
    if subset is None:
        return Selection()
    parts = [part.strip() for text in ([subset] if isinstance(subset, str) else subset) for part in text.split(",")]
    episodes: list[tuple[int, int]] = []
    patterns: list[str] = []
    folders: list[str] = []
    for part in filter(None, parts):
        if match := _EPISODES.fullmatch(part):
            episodes.append((int(match[1]), int(match[2] or match[1])))
        elif match := _SLICE.fullmatch(part):
            episodes.append((int(match[1] or 0), int(match[2] or _LAST) - 1))
        elif _PATTERN.search(part):
            patterns.append(part)
        else:
            folders.append(part.strip("/"))
    if not any(parts) or len(folders) > 1 or any(first > last for first, last in episodes):
        raise _unclear(",".join(parts))
    return Selection(tuple(sorted(episodes)), tuple(patterns), folders[0] if folders else None)


def _unclear(text: str) -> UsageError:
    return UsageError(
        f"{text!r} names no episodes and no files", fix="write it like 0-9, 0:10, 3,7, videos/* or FOLDER"
    )


def listing(files: Sequence[RepoFile], repo: str, folder: str | None = None) -> tuple[RepoFile, ...]:
    """The files that may be downloaded, by name; of `folder` in the repository, if it is one of several datasets.

    Raises IntegrityError for what is not a dataset, or would be unsafe: a name that leads out of the folder, that comes
    twice, or is both a file and a folder.
    """
    for file in files:
        try:
            inside(file.path, what="the repository")
        except SchemaError:
            what = f"the repository has a file {file.path!r}, which would be written outside of the dataset"
            raise IntegrityError("unsafe-name", what, dataset=repo, fix="do not use this repository") from None
        if file.size < 0:
            raise IntegrityError("bad-listing", f"the Hub lists {file.size} bytes", file=file.path, dataset=repo)
    names = [file.path for file in files]
    folders = {"/".join(name.split("/")[:end]) for name in names for end in range(1, name.count("/") + 1)}
    if len(set(names)) < len(names) or folders & set(names):
        double = next(name for name in names if names.count(name) > 1 or name in folders)
        raise IntegrityError("unsafe-name", "the repository has two of that name", file=double, dataset=repo)
    if folder is not None:
        files = [
            replace(f, path=f.path[len(folder) + 1 :], folder=f"{folder}/")
            for f in files
            if f.path.startswith(f"{folder}/")
        ]
    if not any(file.path == INFO for file in files):
        raise _no_dataset(names, repo, folder)
    ours = (*_OURS, ".gitattributes")
    return tuple(
        sorted((f for f in files if f.path not in ours and not f.path.startswith(".cache/")), key=lambda f: f.path)
    )


def _no_dataset(names: Sequence[str], repo: str, folder: str | None) -> IntegrityError:
    within = sorted(name.removesuffix(f"/{INFO}") for name in names if name.endswith(f"/{INFO}"))
    if within:
        some = ", ".join(within[:5]) + (", ..." if len(within) > 5 else "")
        what = f"holds {len(within)} LeRobot datasets in folders ({some})" + (f", none in {folder}" if folder else "")
        return IntegrityError("several-datasets", what, dataset=repo, fix=f"name one: --subset {within[0]}")
    if folder is not None:
        return IntegrityError("not-a-dataset", f"has no dataset in {folder!r}", dataset=repo, fix="leave --subset out")
    kinds = Counter(PurePosixPath(name).suffix or name.rsplit("/", 1)[-1] for name in names)
    holds = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)) or "no files"
    what = f"is not a LeRobot dataset: {INFO} is missing, it holds {holds}"
    return IntegrityError("not-a-dataset", what, dataset=repo, fix="name a repository with a LeRobot dataset")


def always(path: str) -> bool:
    """Whether a file comes along with every subset."""
    return path.startswith("meta/") or "/" not in path


def choose(
    files: Sequence[RepoFile], selection: Selection, episodes: Sequence[Episode] = (), *, repo: str = ""
) -> tuple[RepoFile, ...]:
    """The wanted files of a `listing`. `episodes`: all of the dataset, where the selection names some.

    Raises UsageError where an episode or a pattern names nothing.
    """
    if selection.everything:
        return tuple(files)
    for first, last in selection.episodes:
        if not any(first <= episode.index <= last for episode in episodes):
            text = str(Selection(((first, last),)))
            there = f"it has {len(episodes)}, up to {max((e.index for e in episodes), default=0)}"
            raise UsageError(f"no episode {text}", where=repo, fix=there)
    for pattern in selection.patterns:
        if not any(fnmatchcase(file.path, pattern) for file in files):
            raise UsageError(f"no file matches {pattern!r}", where=repo, fix="`--meta-only` brings the file lists")
    wanted = set()
    for episode in episodes:
        if selection.has(episode.index):
            wanted |= {episode.file, *(clip.file for clip in episode.videos.values())}
    return tuple(
        file
        for file in files
        if always(file.path) or file.path in wanted or any(fnmatchcase(file.path, p) for p in selection.patterns)
    )
