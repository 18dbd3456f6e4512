"""A dataset from the Hub into a folder: pinned to a commit, every file verified, whole under its name or not there.

The commit is looked up once and recorded in meta/dm_g1.json ("source"). While it runs the files lie in
`<name>.partial`; the same command goes on there, whatever ended it. What lies under the name already is recognised and
verified.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import msgspec

from dm_isaac_g1.core import units
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.data.episodes import Episode, read_episodes
from dm_isaac_g1.data.hub import selection as selecting
from dm_isaac_g1.data.hub import widening
from dm_isaac_g1.data.hub.process import HubProcess
from dm_isaac_g1.data.hub.rate import Rate
from dm_isaac_g1.data.hub.selection import Selection
from dm_isaac_g1.data.hub.trimming import trim
from dm_isaac_g1.data.hub.wire import Fetch, Finished, Hub, Listed, LookUp, RepoFile, Verify
from dm_isaac_g1.data.info import read_info
from dm_isaac_g1.data.output import Output
from dm_isaac_g1.data.problems import DataProblem, Finding, Place, RefusedOutput
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.work import Work

#: Left free on the disk beyond the dataset: folders, our notes, and whoever else writes there.
RESERVE = 64_000_000


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a dataset came from, as recorded in meta/dm_g1.json."""

    repo: str
    #: The commit.
    revision: str
    files: int
    bytes: int
    #: Seconds since the epoch.
    at: float
    #: As the user wrote it, where the Hub calls it `repo` today.
    asked: str | None = None
    subset: str | None = None
    meta_only: bool = False
    #: Meta files that no longer are as the Hub has them: they list the downloaded episodes only.
    trimmed: tuple[str, ...] = ()


def source_of(root: Path) -> Source | None:
    """Where the dataset in `root` was downloaded from; None: not known. Never raises."""
    try:
        source = msgspec.convert(sidecar.section(root, "source"), Source)
        selecting.parse(source.subset)
    except (msgspec.ValidationError, UsageError):
        return None
    return source


def download_dataset(
    repo_id: str,
    output_dir: Path | str,
    subset: str | Iterable[str] | None = None,
    revision: str | None = None,
    *,
    meta_only: bool = False,
    work: Work | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> Path:
    """Download `repo_id` at `revision` (branch, tag or commit; None: the newest) into `output_dir`, and return that.

    `subset`: episodes or file patterns, see `selection`. `meta_only`: no data, no videos. `token`: None, what
    huggingface_hub finds itself. `endpoint`: None, $HF_ENDPOINT or huggingface.co.

    Raises RefusedOutput (another revision or something else lies there, the disk is too small), the DataProblems of
    `failures`, UsageError for a subset that names nothing, Interrupted.
    """
    work = work or Work()
    wanted = selecting.parse(subset)
    hub = Hub(endpoint, token)
    with HubProcess(work, repo_id) as process:
        listed = look_up(process, work, hub, repo_id, revision)
        asked = repo_id if repo_id != listed.repo else None
        return Download(process, work, hub, listed, wanted, Path(output_dir)).run(meta_only=meta_only, asked=asked)


def look_up(process: HubProcess, work: Work, hub: Hub, repo_id: str, revision: str | None = None) -> Listed:
    """What the Hub has under that id, which may be another by now: that is said."""
    work.progress(f"Looking up {repo_id}")
    process.dataset = repo_id
    listed = process.ask(LookUp(hub, repo_id, revision))
    assert isinstance(listed, Listed)
    if listed.repo != repo_id:
        work.note(Finding(code="renamed", what=f"{repo_id} is called {listed.repo} today", severity="note"))
    return listed


class Download:
    """One download of what `look_up` found. `final`: the folder that it becomes."""

    def __init__(
        self, process: HubProcess, work: Work, hub: Hub, listed: Listed, wanted: Selection, final: Path
    ) -> None:
        self._process = process
        self._work = work
        self._hub = hub
        self._listed = listed
        self._files = selecting.listing(listed.files, listed.repo, wanted.folder)
        self._wanted = wanted
        self.final = final

    def run(self, *, meta_only: bool = False, asked: str | None = None) -> Path:
        """All wanted files under the final name, or verified where they are there. Raises as `download_dataset`."""
        files = self._choose(meta_only)
        if self._is_there(files):
            return self.final
        source = Source(
            repo=self._listed.repo,
            revision=self._listed.revision,
            files=len(files),
            bytes=sum(file.size for file in files),
            at=time.time(),
            asked=asked,
            subset=str(self._wanted) or None,
            meta_only=meta_only,
        )
        return self._bring(files, source)

    # --- What is wanted -----------------------------------------------------------------------------------------------

    def _choose(self, meta_only: bool) -> tuple[RepoFile, ...]:
        """The files to have in the end. For episodes the meta files are looked at first."""
        if meta_only:
            return tuple(file for file in self._files if selecting.always(file.path))
        episodes = self._look_at_episodes() if self._wanted.episodes else []
        return selecting.choose(self._files, self._wanted, episodes, repo=self._listed.repo)

    def _look_at_episodes(self) -> list[Episode]:
        meta = tuple(file for file in self._files if file.path.startswith("meta/"))
        with tempfile.TemporaryDirectory(prefix="dm-g1-") as folder:
            self._fetch(Path(folder), meta, "the lists of episodes")
            try:
                return read_episodes(Path(folder), read_info(Path(folder)))
            except DataProblem as problem:
                raise problem.within(self._listed.repo) from None

    # --- What is there ------------------------------------------------------------------------------------------------

    def _is_there(self, files: tuple[RepoFile, ...]) -> bool:
        """Whether `final` has all of it already, byte for byte. Raises RefusedOutput where it is another download."""
        source = source_of(self.final)
        if source is None:  # empty, or not ours: Output refuses that
            return False
        folder = selecting.parse(source.subset).folder
        there, new = (source.repo, source.revision, folder), (*self._asked, self._wanted.folder)
        if there != new:
            raise RefusedOutput(
                "other-revision",
                f"is {_named(*there)} already; asked for is {_named(*new)}",
                fix=f"choose another --output, or keep it with --revision {source.revision}",
                dataset=str(self.final),
            )
        checked = tuple(file for file in files if file.path not in source.trimmed)
        total = sum(file.size for file in checked)
        answer = self._process.ask(
            Verify(str(self.final), checked),
            at=lambda done: self._work.progress("Checking what is there", done, total, "bytes"),
        )
        assert isinstance(answer, Finished)
        if not answer.differing:
            self._work.progress(f"{self.final} is there already, and verified: {units.many(len(checked), 'file')}")
            return True
        self._refuse_changed(answer.differing, source)
        return False

    @property
    def _asked(self) -> tuple[str, str]:
        return self._listed.repo, self._listed.revision

    def _refuse_changed(self, differing: tuple[str, ...], source: Source) -> None:
        """Raises RefusedOutput unless all that is lacking is what was not asked for the last time."""
        changed = [name for name in differing if (self.final / name).exists()]
        strange: list[str] = []
        if not changed and (source.meta_only or source.subset):
            strange = widening.strangers(self.final, (file.path for file in self._files))
            if not strange:
                return
        names = changed or strange or list(differing)
        how = "holds files of yours" if strange else "was changed since its download"
        what = f"{how}: {', '.join(names[:3])}" + (", ..." if names[3:] else "")
        fix = "choose another --output, or remove it yourself"
        raise RefusedOutput("changed-since-download", what, fix=fix, dataset=str(self.final))

    # --- Downloading --------------------------------------------------------------------------------------------------

    def _bring(self, files: tuple[RepoFile, ...], source: Source) -> Path:
        """All files into `<final>.partial`, verified; then renamed."""
        wanted = self._wanted
        recipe = {"op": "download", "repo": source.repo, "revision": source.revision, "folder": wanted.folder}
        what = f"{source.repo} at {source.revision[:12]}"
        needs, names = source.bytes + RESERVE, [file.path for file in self._files]
        with (
            widening.set_aside(self.final) if self._smaller() else nullcontext() as before,
            Output(
                self.final, recipe, needs=needs, what=what, total=source.bytes, unit="bytes", checked=True
            ) as output,
        ):
            self._refuse_links(output.partial)
            if before is not None:
                widening.hand_over(before, output.partial, names)
            self._fetch(output.partial, files, source.repo.split("/")[-1])
            self._drop_others(output.partial, files)
            if wanted.episodes and not wanted.patterns and not source.meta_only:
                source = msgspec.structs.replace(source, trimmed=trim(output.partial, wanted))
                self._tell_numbers(output.partial)
            self._look_over(output.partial, source)
            sidecar.write(output.partial, source=msgspec.to_builtins(source))
            return output.finish()

    def _smaller(self) -> bool:
        """Whether a smaller download of the same lies there, or was set aside by a try that was killed."""
        return any(
            source is not None and (source.repo, source.revision) == self._asked
            for source in (source_of(self.final), source_of(widening.aside(self.final)))
        )

    def _fetch(self, folder: Path, files: tuple[RepoFile, ...], what: str) -> None:
        total = sum(file.size for file in files)
        rate = Rate()

        def at(done: int) -> None:
            self._work.progress(f"Downloading {what}{rate.at(done, time.monotonic())}", done, total, "bytes")

        at(0)
        self._process.ask(
            Fetch(self._hub, self._listed.repo, self._listed.revision, str(folder.absolute()), files), at=at
        )

    def _refuse_links(self, partial: Path) -> None:
        """A folder of the partial download that is a link now would have files written elsewhere."""
        for file in self._files:
            for folder in (partial / file.path).parents:
                if folder == partial:
                    break
                if folder.is_symlink():
                    what = f"{folder.name} in it is a link"
                    raise RefusedOutput("not-ours", what, fix="remove that folder yourself", dataset=str(partial))

    def _drop_others(self, partial: Path, files: tuple[RepoFile, ...]) -> None:
        """What an earlier try for more files brought into our folder."""
        for file in set(self._files) - set(files):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (partial / file.path).unlink()

    def _tell_numbers(self, root: Path) -> None:
        """Episodes keep their numbers, and most readers want them to begin at 0 without gaps."""
        episodes = read_episodes(root, read_info(root))
        if episodes[-1].index != len(episodes) - 1:
            what = f"its {units.many(len(episodes), 'episode')} keep their numbers, up to {episodes[-1].index}"
            fix = f"`dm-g1 data combine --input {self.final} --output {self.final}-from-0` numbers them from 0"
            self._work.note(Finding(code="kept-numbers", what=what, severity="note", fix=fix))

    def _look_over(self, root: Path, source: Source) -> None:
        """Say what the dataset lists and the repository does not have; `dm-g1 data validate` looks closer."""
        if source.meta_only:
            return
        try:
            episodes = read_episodes(root, read_info(root))
        except DataProblem as problem:
            self._note("meta-unreadable", problem.line(), problem.finding.place.file)
            return
        if self._wanted.patterns:
            return
        if self._wanted.episodes:
            episodes = [episode for episode in episodes if self._wanted.has(episode.index)]
        listed = {episode.file for episode in episodes} | {
            clip.file for episode in episodes for clip in episode.videos.values()
        }
        missing = sorted(name for name in listed if not (root / name).is_file())
        if missing:
            what = f"the repository lacks {units.many(len(missing), 'file')} that its meta files list"
            self._note("incomplete-on-hub", what, missing[0])

    def _note(self, code: str, what: str, file: str | None) -> None:
        fix = f"`dm-g1 data validate --path {self.final}` says more"
        self._work.note(Finding(code=code, what=what, severity="warning", place=Place(file), fix=fix))


def _named(repo: str, revision: str, folder: str | None) -> str:
    return f"{repo}{f'/{folder}' if folder else ''} at {revision[:12]}"
