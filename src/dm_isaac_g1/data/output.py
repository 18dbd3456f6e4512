"""A dataset under construction: `<name>.partial` until all of it is there, then renamed to its final name.

Whatever ends the work (an error, Ctrl-C, a full disk, kill -9), the final name has either nothing or the whole dataset,
and the same command goes on with the episodes that were finished. Beside the partial folder's data lie two files of
ours, gone in the end: the marker, which says what is being made, and the list of finished episodes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from dm_isaac_g1 import __version__
from dm_isaac_g1.core import units
from dm_isaac_g1.data.problems import DataProblem, RefusedOutput

MARKER = ".dm-g1-partial.json"
DONE = ".dm-g1-done.jsonl"
PARTIAL = ".partial"

#: The file system, the quota or the largest file allowed is full.
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too big",
}

#: Linux's name of the time since the machine's last start. Elsewhere there is none: every try counts as the same.
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Output:
    """A context manager around all that writes one dataset. Only one process at a time gets it.

    `recipe` says what is being made, in JSON: operation, sources with their `fingerprint`, parameters. A partial folder
    of the same recipe is taken up again. Of the same operation on the same sources with other parameters, or of
    sources that changed since (which is what errors propose), it is begun anew. Of anything else, or where it is not
    ours, it is refused, as is a `final` that is not empty, that lies in one of `sources` or around it, and a disk with
    less than `needs` bytes free.

    `total` of `unit` is how many there will be, for whoever looks at the marker. `checked`: the work itself checks what
    it finds (by hashes), thus all of it may be kept whatever happened, also by another version of dm-g1.

    Raises RefusedOutput when made or entered; a full disk while writing leaves as DataProblem "disk-full", which names
    the `filename` of the OSError.
    """

    def __init__(
        self,
        final: Path,
        recipe: Mapping[str, Any],
        *,
        needs: int,
        what: str,
        sources: Sequence[Path] = (),
        total: int | None = None,
        unit: str = "episodes",
        checked: bool = False,
    ) -> None:
        path = Path(os.path.abspath(final))  # noqa: PTH100  symlinks above it are the user's business
        self.final = path.resolve() if path.is_symlink() else path
        self.partial = self.final.with_name(self.final.name + PARTIAL) if self.final.name else self.final
        self.what = what
        self._recipe: dict[str, Any] = json.loads(
            json.dumps({**({} if checked else {"tool": __version__}), **recipe}, allow_nan=False)
        )
        self._shown = {"what": what, "total": total, "unit": unit}
        self._checked = checked
        self._needs = needs
        #: Finished episode -> where in DONE its line begins and how long it is: records of all would be much memory.
        self._done: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._lock = -1
        self._stream = -1
        if not self.final.name or self.final.name.endswith(PARTIAL):
            raise self._refused("bad-output", "is no name for a dataset", "choose another --output")
        for source in sources:
            _refuse_around(self.final, source)
        self._refuse_used()

    # --- Its life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.final.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            try:
                self._refuse_used()  # by somebody who had the lock before
                self._take_up()
                self._refuse_small()
            except BaseException:
                self._close(keep=self._keep() or self._stream < 0)
                raise
        except OSError as error:
            fix = "choose another --output"
            raise self._refused("output-not-writable", f"not writable: {error.strerror or error}", fix) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            full = _full_disk(error)
            problem = None if full is None else self._disk_full(full)
        finally:
            self._close(keep=error is None or self._keep())
        if problem is not None:
            raise problem from None

    def _keep(self) -> bool:
        """Whether an unfinished try leaves anything that the next one takes up."""
        return self._checked or bool(self._done)

    def _close(self, *, keep: bool) -> None:
        """Let go of the folder; not `keep`: nothing in it is worth keeping, and all of it we made."""
        if self._stream >= 0:
            os.close(self._stream)
            self._stream = -1
        if not keep and self.partial.is_dir():
            with contextlib.suppress(OSError):
                _empty(self.partial)
                self.partial.rmdir()
        if self._lock >= 0:
            self._lock_path().unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def finish(self) -> Path:
        """Everything to the disk, our own files out, and the final name: the dataset is whole. Raises RefusedOutput.

        The marker goes last: until then a folder with it is one of ours, complete or not.
        """
        for path in _files(self.partial):
            if path.stat(follow_symlinks=False).st_nlink == 1:  # a linked video is on the disk as long as its source
                _sync(path)
        for folder in _folders(self.partial):
            _sync(folder)
        os.close(self._stream)
        self._stream = -1
        (self.partial / DONE).unlink()
        self._write_marker(complete=True)
        try:
            self.partial.rename(self.final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise self._not_empty() from None
        (self.final / MARKER).unlink()
        _sync(self.final.parent)
        return self.final

    # --- Episodes ---------------------------------------------------------------------------------------------------

    def finished(self, episode: int) -> dict[str, Any] | None:
        """What `mark` was told when the episode was finished, now or by an earlier try; None: it is to be made."""
        if episode not in self._done:
            return None
        offset, length = self._done[episode]
        record: dict[str, Any] = msgspec.json.decode(os.pread(self._stream, length, offset))["record"]
        return record

    @property
    def kept(self) -> int:
        """How many episodes are finished."""
        return len(self._done)

    def mark(self, episode: int, record: Mapping[str, Any]) -> None:
        """All files of the episode are written and closed: a later try may keep them. Raises OSError, ValueError (NaN).

        `record`: what is to be known of it again, in JSON.
        """
        row = {"episode": episode, "record": dict(record)}
        data = msgspec.json.encode(row) + b"\n"
        if b"null" in data:  # msgspec's word for NaN, too
            json.dumps(row, allow_nan=False)
        left = data
        while left:
            left = left[os.write(self._stream, left) :]
        self._note_done(episode, len(data))

    def _note_done(self, episode: int, length: int) -> None:
        self._done[episode] = (self._end, length)
        self._end += length

    # --- Taking up what an earlier try left ---------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Keep what an earlier try finished, or begin. Raises RefusedOutput for a folder that isn't ours."""
        try:
            self.partial.mkdir()
        except FileExistsError:
            marker = self._read_marker()
            same = marker is not None and marker["recipe"] == self._recipe
            if marker is not None and same and (self._checked or marker.get("boot") == _boot()):
                self._read_done()
            else:
                # Files that were not synced when the machine went down may be empty now, whatever their names say.
                # The list of finished episodes goes first: killed in between, none of them counts.
                (self.partial / DONE).unlink(missing_ok=True)
                _empty(self.partial)
        self._write_marker(complete=False)
        self._stream = os.open(self.partial / DONE, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def _read_marker(self) -> dict[str, Any] | None:
        """The marker of the partial folder; None: killed before it was written. Raises RefusedOutput."""
        if self.partial.is_symlink() or not self.partial.is_dir():
            raise self._not_ours("is there already, and dm-g1 did not make it")
        try:
            marker = json.loads((self.partial / MARKER).read_bytes())
            made = dict(marker["recipe"])
        except FileNotFoundError:
            if any(name != MARKER + ".new" for name in os.listdir(self.partial)):  # noqa: PTH208
                raise self._not_ours("is there already, and dm-g1 did not make it") from None
            return None
        except (ValueError, KeyError, TypeError):
            raise self._not_ours(f"is there already, and its {MARKER} makes no sense") from None
        if made != self._recipe and (_work_of(made) != _work_of(self._recipe) or _work_of(made) is None):
            differ = sorted(k for k in {*made, *self._recipe} if made.get(k) != self._recipe.get(k))
            raise self._not_ours(f"holds what another command began ({', '.join(differ)} differ)")
        found: dict[str, Any] = marker
        return found

    def _read_done(self) -> None:
        """Episodes that are finished. A last line that a kill cut off is cut off entirely."""
        path = self.partial / DONE
        if not path.exists():  # killed at the very end, after the data was complete
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            os.truncate(path, len(whole))
        for line in whole.splitlines(keepends=True):
            self._note_done(int(msgspec.json.decode(line)["episode"]), len(line))

    def _write_marker(self, *, complete: bool) -> None:
        new = self.partial / (MARKER + ".new")
        marker = {**self._shown, "recipe": self._recipe, "boot": _boot(), "complete": complete}
        new.write_text(json.dumps(marker, indent=2, allow_nan=False) + "\n")
        _sync(new)
        new.rename(self.partial / MARKER)

    # --- Refusing -----------------------------------------------------------------------------------------------------

    def _refused(self, code: str, what: str, fix: str, path: Path | None = None) -> RefusedOutput:
        return RefusedOutput(code, what, fix=fix, dataset=str(path or self.final))

    def _not_empty(self) -> RefusedOutput:
        return self._refused("output-not-empty", "is there already", "choose another --output, or remove it yourself")

    def _not_ours(self, what: str) -> RefusedOutput:
        fix = "choose another --output, or remove that folder yourself"
        return self._refused("not-ours", what, fix, self.partial)

    def _refuse_used(self) -> None:
        """Raises RefusedOutput where the final name is taken by anything but an empty folder."""
        try:
            # Killed between the last rename and this: the dataset is whole, only our marker is still there.
            complete = json.loads((self.final / MARKER).read_bytes()).get("complete") is True
        except (OSError, ValueError, AttributeError):
            complete = False
        if complete:
            (self.final / MARKER).unlink(missing_ok=True)
        try:
            empty = not os.listdir(self.final)  # noqa: PTH208
        except FileNotFoundError:
            return
        except OSError:
            empty = False
        if not empty:
            raise self._not_empty()

    def _refuse_small(self) -> None:
        there = sum(path.stat(follow_symlinks=False).st_blocks * 512 for path in _files(self.partial))
        needs, free = max(0, self._needs - there), shutil.disk_usage(self.partial).free
        if needs > free:
            raise self._refused(
                "disk-too-small",
                f"{self.what} needs {units.size(needs)}, {units.size(free)} are free on its disk",
                "free some space there, or choose an --output on another disk",
            )

    def _disk_full(self, error: OSError) -> DataProblem:
        written = sum(path.stat(follow_symlinks=False).st_size for path in _files(self.partial))
        return DataProblem(
            "disk-full",
            f"{_FULL[error.errno or errno.ENOSPC]}: {written} bytes are written, {self._needs} were expected, "
            f"{shutil.disk_usage(self.partial).free} are free",
            file=os.path.relpath(error.filename, self.partial) if error.filename else None,
            fix="free some space; the same command goes on where this one ended",
            dataset=str(self.partial),
        )

    # --- One writer at a time -----------------------------------------------------------------------------------------

    def _lock_path(self) -> Path:
        return self.final.with_name(f".{self.final.name}.dm-g1-lock")

    def _locked(self) -> int:
        """A descriptor that holds the lock: a file beside the folder that is renamed. Raises RefusedOutput, OSError."""
        path = self._lock_path()
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                fix = "wait for it, or choose another --output"
                raise self._refused("being-written", "is being written by another dm-g1", fix) from None
            try:
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            except FileNotFoundError:
                pass
            os.close(descriptor)  # its holder removed it when it had done: ask again


def fingerprint(root: Path) -> str:
    """Changes whenever a dataset's files do: for recipes. Contents of meta/; names, sizes and times of all else.

    What dm-g1 itself notes beside it (meta/dm_g1.json) does not count. Raises OSError.
    """
    found = hashlib.sha256()
    for path in sorted(_files(root)):
        name = path.relative_to(root).as_posix()
        if name == "meta/dm_g1.json" or name.startswith(".cache/"):
            continue
        facts = path.stat()
        found.update(f"{name}\0{facts.st_size}\0".encode())
        found.update(
            path.read_bytes() if name.startswith("meta/") and path.is_file() else str(facts.st_mtime_ns).encode()
        )
    return found.hexdigest()


def _work_of(recipe: Mapping[str, Any]) -> tuple[str, list[str]] | None:
    """What is done to which datasets, whatever the parameters. None: no conversion of datasets."""
    sources = recipe.get("sources", [recipe])
    if not isinstance(sources, list) or not all(isinstance(each, dict) and each.get("source") for each in sources):
        return None
    return str(recipe.get("op")), [str(each["source"]) for each in sources]


def _refuse_around(final: Path, source: Path) -> None:
    inner, outer = final.resolve(), source.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise RefusedOutput(
            "output-in-input",
            f"lies in the input {source}, around it, or is it: the input would be changed",
            fix="choose another --output",
            dataset=str(final),
        )


def _full_disk(error: BaseException | None) -> OSError | None:
    """The error of a full disk among an exception and what caused it."""
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, OSError) and error.errno in _FULL:
            return error
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _files(root: Path) -> Iterator[Path]:
    """All files and links below a folder; links to folders are not entered."""
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name) for name in names)


def _folders(root: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(root, topdown=False):
        yield Path(folder)


def _sync(path: Path) -> None:
    """Raises OSError."""
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    """Remove what is in a folder of ours, its marker last."""
    for name in sorted(os.listdir(folder), key=lambda name: name == MARKER):  # noqa: PTH208
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
