"""The work of the hub process: what a repository holds, and its files into a folder, each verified by its hash.

All that calls huggingface_hub stands here. Only names that 1.0 to 2.4 have in common are used.
"""

from __future__ import annotations

import inspect
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self

from dm_isaac_g1 import __version__
from dm_isaac_g1.data.hub import failures
from dm_isaac_g1.data.hub.digests import same
from dm_isaac_g1.data.hub.wire import (
    Answered,
    Bytes,
    Failed,
    Fetch,
    Finished,
    Hub,
    Listed,
    LookUp,
    RepoFile,
    Verify,
)

Tell = Callable[[Answered], None]

#: Seconds until an answer to a question; transfers have huggingface_hub's own limits.
_TIMEOUT = 30
#: Files at a time, as huggingface_hub's own snapshot_download.
_AT_ONCE = 8
#: How often a file is asked for; huggingface_hub tries again by itself, too, and old versions less often.
_TRIES = 3
#: Seconds between two reports of progress.
_CADENCE = 0.2
#: Below the dataset's folder: where transfers land, with what huggingface_hub keeps beside them. Gone in the end.
CACHE = ".cache"
_LANDING = f"{CACHE}/dm-g1"
#: What a file begins with that was committed without git-lfs: the pointer instead of the data.
_POINTER = b"version https://git-lfs"


def look_up(asked: LookUp) -> Listed | Failed:
    """The commit that `revision` is now, and its files."""
    from huggingface_hub import HfApi

    token = _token(asked.hub)
    try:
        api = HfApi(
            endpoint=asked.hub.endpoint, token=asked.hub.token, library_name="dm-g1", library_version=__version__
        )
        _never_forever()
        ask = api.model_info if asked.of == "model" else api.dataset_info
        info = ask(asked.repo, revision=asked.revision, timeout=_TIMEOUT)
        if info.sha is None:
            return Failed("HubProblem", "hub-failed", "the Hub does not say which commit this is", fix=failures.AGAIN)
        tree = api.list_repo_tree(info.id, recursive=True, revision=info.sha, repo_type=asked.of)
        files = tuple(_file(entry) for entry in tree if hasattr(entry, "blob_id"))
    except Exception as error:
        failed = failures.problem(error, repo=asked.repo, revision=asked.revision, token=token, of=asked.of)
        return _with_branches(api, asked, failed) if failed.code == "no-such-revision" else failed
    return Listed(info.id, info.sha, files)


def _never_forever() -> None:
    """A limit for what huggingface_hub asks without one: the list of files, of a server that says nothing more."""
    from huggingface_hub.utils import get_session

    hooks = get_session().event_hooks["request"]
    if _bounded not in hooks:
        hooks.append(_bounded)


def small_steps() -> None:
    """Progress, and what a broken transfer keeps, in steps of half a megabyte: ten are a minute of a slow line."""
    from huggingface_hub import constants

    constants.DOWNLOAD_CHUNK_SIZE = 512 * 1024


def _bounded(request: Any) -> None:
    if not any((request.extensions.get("timeout") or {}).values()):
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), _TIMEOUT)


def _file(entry: Any) -> RepoFile:
    lfs = entry.lfs
    return RepoFile(entry.path, lfs.size if lfs else entry.size, entry.blob_id, lfs.sha256 if lfs else None)


def _with_branches(api: Any, asked: LookUp, failed: Failed) -> Failed:
    """Say which revisions there are: LeRobot tags its datasets with the version of their format."""
    try:
        refs = api.list_repo_refs(asked.repo, repo_type=asked.of)
        names = [ref.name for ref in (*refs.branches, *refs.tags)][:12]
    except Exception:  # the answer is complete without it
        return failed
    return Failed(failed.kind, failed.code, failed.what, fix=f"it has {', '.join(names)}") if names else failed


def fetch(asked: Fetch, tell: Tell) -> Finished | Failed:
    """Every file verified in its place, or the first failure; what is finished stays."""
    meter = Meter(tell)
    folder = Path(asked.folder)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = {pool.submit(_fetch_one, asked, folder, file, meter): file for file in asked.files}
        while running:
            done, _ = wait(running, timeout=_CADENCE, return_when=FIRST_COMPLETED)
            for each in done:
                failed = each.result()
                if failed is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                    return failed
                meter.finish(running.pop(each))
            meter.report()
    shutil.rmtree(folder / CACHE, ignore_errors=True)
    meter.report(now=True)
    return Finished()


def _fetch_one(asked: Fetch, folder: Path, file: RepoFile, meter: Meter) -> Failed | None:
    """One file, verified before it gets its place. A transfer that broke off or came out wrong is tried again."""
    place, landed = folder / file.path, folder / _LANDING / file.remote
    failed = None
    for attempt in range(_TRIES):
        try:
            if attempt == 0 and same(place, file):
                return None
            if not same(landed, file):
                _download(asked, folder / _LANDING, file, meter)
            if same(landed, file):
                place.parent.mkdir(parents=True, exist_ok=True)
                landed.replace(place)
                return _pointer(place, file)
            landed.unlink(missing_ok=True)
            what = f"what came is not what the Hub lists (its hash differs), {_TRIES} times"
            fix = f"wait a little; {failures.AGAIN}"
            failed = Failed("IntegrityError", "hash-differs", what, file.path, fix)
        except Exception as error:
            token = _token(asked.hub)
            failed = failures.problem(
                error, repo=asked.repo, revision=asked.revision, token=token, file=file.path, of=asked.of
            )
            if failed.code != "broken-transfer":
                return failed
            time.sleep(1)
        meter.begin(file)
    return failed


def _download(asked: Fetch, folder: Path, file: RepoFile, meter: Meter) -> None:
    from huggingface_hub import hf_hub_download

    # Since 1.2 or so it takes a progress bar's class; before, progress comes a file at a time.
    progress = {"tqdm_class": meter.bar(file)} if "tqdm_class" in inspect.signature(hf_hub_download).parameters else {}
    hf_hub_download(
        asked.repo,
        file.remote,
        repo_type=asked.of,
        revision=asked.revision,
        local_dir=folder,
        token=asked.hub.token,
        endpoint=asked.hub.endpoint,
        library_name="dm-g1",
        library_version=__version__,
        **progress,
    )


def _pointer(path: Path, file: RepoFile) -> Failed | None:
    if file.sha256 is not None or file.size > 1024 or path.suffix not in (".parquet", ".mp4"):
        return None
    with path.open("rb") as stream:
        if stream.read(len(_POINTER)) != _POINTER:
            return None
    what = "the repository itself holds only a git-lfs pointer, not the data"
    return Failed("IntegrityError", "lfs-pointer", what, file.path, "ask its owner to upload the data")


def verify(asked: Verify, tell: Tell) -> Finished | Failed:
    """Which files in the folder are not what the Hub lists."""
    meter = Meter(tell)
    differing = []
    for file in asked.files:
        meter.begin(file)
        try:
            if not same(Path(asked.folder) / file.path, file, lambda count, file=file: meter.add(file, count)):  # type: ignore[misc]
                differing.append(file.path)
        except OSError as error:
            return failures.problem(error, repo="", revision=None, token=False, file=file.path)
        meter.finish(file)
    return Finished(tuple(differing))


def _token(hub: Hub) -> bool:
    from huggingface_hub import get_token

    return bool(hub.token or get_token())


class Meter:
    """Bytes of all files together, reported a few times a second. Safe from any thread."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._done: dict[str, int] = {}
        self._told = 0.0

    def begin(self, file: RepoFile) -> None:
        with self._lock:
            self._done[file.path] = 0

    def add(self, file: RepoFile, count: int) -> None:
        with self._lock:
            # What goes over the wire may be more than the file, when part of it is sent again.
            self._done[file.path] = max(0, min(file.size, self._done.get(file.path, 0) + count))
        self.report()

    def finish(self, file: RepoFile) -> None:
        with self._lock:
            self._done[file.path] = file.size
        self.report()

    def report(self, *, now: bool = False) -> None:
        with self._lock:
            if not now and time.monotonic() < self._told + _CADENCE:
                return
            self._told = time.monotonic()
            done = sum(self._done.values())
        self._tell(Bytes(done))

    def bar(self, file: RepoFile) -> type:
        """A class that looks like tqdm to huggingface_hub and only counts: for plain HTTP and for Xet."""
        meter = self

        class Bar:
            total: int | None = None
            n = 0

            def __init__(self, *_: Any, initial: int = 0, **__: Any) -> None:
                meter.begin(file)
                meter.add(file, initial)

            def update(self, n: float | None = 1) -> None:
                meter.add(file, int(n or 0))

            def update_transfer(self, n: float | None = 1) -> None:
                """Bytes on the wire, which Xet counts beside those of the file."""

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                """Nothing was opened."""

            def __getattr__(self, name: str) -> Callable[..., None]:
                return lambda *_, **__: None  # close, refresh, set_description, set_postfix_str, ...

        return Bar
