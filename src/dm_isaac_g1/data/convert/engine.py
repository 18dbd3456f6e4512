"""Converting a whole dataset: episode by episode into `<output>.partial`, the meta files, the final name.

Output is LeRobot v2.1 with GR00T's modality.json and statistics, whatever version the input is. What was done stands in
meta/conversion.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from dm_isaac_g1 import __version__
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.data.convert.episode import EpisodeRecord, convert_episode
from dm_isaac_g1.data.convert.handmaps import VERSION
from dm_isaac_g1.data.convert.planning import plan
from dm_isaac_g1.data.convert.plans import MAPPING, ConversionPlan, Options, describe
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.families import Hand
from dm_isaac_g1.data.info import new_info
from dm_isaac_g1.data.linking import place_file
from dm_isaac_g1.data.output import Output
from dm_isaac_g1.data.problems import DataError, Finding, Place
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.storing import counted, rows_needed, videos_needed
from dm_isaac_g1.data.versions.kept import CONVERSION, picture_statistics
from dm_isaac_g1.data.versions.rows import Notes
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.data.writing import episode_row, stats_row, write_json, write_meta

Format = Literal["groot", "inspire", "v3.0", "v2.1"]
#: Share of frames in which a joint was clipped: beyond the first it is told, beyond the second refused.
CLIPPED_WARN, CLIPPED_REFUSE = 0.01, 0.20
#: Raw values that a Dex1 gripper may have: 0 closed to 5.4 or 5.5 open, and some play.
GRIPPER_RANGE = (-0.5, 6.0)
#: Files that must come along wherever the data goes.
_LICENCES = ("LICENSE", "LICENCE", "NOTICE")
_ROBOT = {"groot": "unitree_g1", "inspire": "unitree_g1_inspire"}


class ConversionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The new dataset. `kept`: episodes that an earlier try had finished. `clipped`: value -> share of frames."""

    path: Path
    format: str
    episodes: int
    frames: int
    kept: int = 0
    clipped: dict[str, float] = {}
    videos: dict[str, int] = {}
    findings: tuple[Finding, ...] = ()


def convert(
    input: Path | str,
    output: Path | str,
    format: Format,
    *,
    allow_clip: bool = False,
    stats: bool = True,
    work: Work | None = None,
    **options: Any,
) -> ConversionResult:
    """Convert the dataset in `input` into the folder `output`.

    `format`: "groot" (UNITREE_G1's 31/23), "inspire" (53 joints), or a LeRobot version. `options`: those of
    `planning.Options`, for groot and inspire. `allow_clip`: also where more than a fifth of a joint's values is
    clipped. `stats`: stats.json and relative_stats.json, too.

    Raises DataProblem: SchemaError (what is lacking), DataError, IntegrityError, RefusedOutput, "disk-full";
    UsageError, Interrupted, OSError. What is finished is kept, and the same call goes on with it.
    """
    work = work or Work()
    if format == "v3.0" or format == "v2.1":
        return _version(Path(input), Path(output), format, options, work)
    if format not in _ROBOT:
        raise UsageError(f"no format {format!r}", fix="there are groot, inspire, v3.0 and v2.1")
    dataset = Dataset.open(input, work)
    dataset.refuse_unlisted()
    chosen = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return _Conversion(dataset, plan(dataset, format, **chosen), allow_clip, stats, work).run(Path(output))


def convert_to_groot(input: Path | str, output: Path | str, **options: Any) -> ConversionResult:
    """To UNITREE_G1's layout: state of 31, action of 23. As `convert`."""
    return convert(input, output, "groot", **options)


def convert_to_inspire(
    input: Path | str, output: Path | str, source_hand_type: Hand | None = None, **options: Any
) -> ConversionResult:
    """To 53 joints with Inspire hands. `source_hand_type`: where the names do not tell. As `convert`."""
    return convert(input, output, "inspire", hand=source_hand_type, **options)


def _version(path: Path, output: Path, format: str, options: Mapping[str, Any], work: Work) -> ConversionResult:
    from dm_isaac_g1.data.versions.v21 import to_v21
    from dm_isaac_g1.data.versions.v30 import to_v30

    usual = msgspec.structs.asdict(Options())
    if given := sorted(name for name, value in options.items() if value != usual.get(name)):
        words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"a change of versions changes no values: {words} make no sense with --format {format}")
    made = (to_v30 if format == "v3.0" else to_v21)(path, output, work)
    return ConversionResult(
        path=made.path,
        format=format,
        episodes=made.episodes,
        frames=made.frames,
        videos=made.videos,
        findings=made.findings,
    )


class _Conversion:
    def __init__(self, dataset: Dataset, plan: ConversionPlan, allow_clip: bool, stats: bool, work: Work) -> None:
        self.dataset, self.plan, self.work = dataset, plan, work
        self.allow_clip, self.stats = allow_clip, stats
        self.note = Notes(work)

    def run(self, final: Path) -> ConversionResult:
        plan = self.plan
        for finding in plan.findings:
            self.note(finding)
        with Output(
            final, self._recipe(), needs=self._needs(final), what=final.name, sources=[plan.root], total=len(plan.jobs)
        ) as out:
            kept = out.kept
            records = list(self._records(out))
            clipped = self._clipped(records)
            self._tell_grippers(records)
            self._write_meta(out, records, clipped)
            if self.stats:
                self._compute_stats(out.partial)
            path = out.finish()
        return ConversionResult(
            path=path,
            format=plan.format,
            episodes=len(records),
            frames=plan.frames,
            kept=kept,
            clipped=clipped,
            videos=counted(record.stored for record in records),
            findings=self.note.findings,
        )

    def _recipe(self) -> dict[str, Any]:
        name, version = MAPPING[self.plan.format]
        return {
            "op": f"convert-{self.plan.format}",
            "mapping": [name, version, VERSION],
            "source": str(self.plan.root),
            "fingerprint": self.plan.fingerprint,
            "parameters": self.plan.parameters,
        }

    def _needs(self, final: Path) -> int:
        row = sum(len(target.names) * 4 for target in self.plan.targets) + 4 + 4 * 8
        clips = (job.episode.videos[key] for job in self.plan.jobs for key in self.plan.cameras.values())
        return rows_needed(self.plan.frames, row) + videos_needed(self.dataset, clips, final)

    # --- Episodes -----------------------------------------------------------------------------------------------------

    def _records(self, out: Output) -> Iterator[EpisodeRecord]:
        pictures = picture_statistics(self.dataset)
        total = len(self.plan.jobs)
        counts: Counter[str] = Counter()
        for job in self.plan.jobs:
            self.work.progress(f"episode {job.episode.index}", job.number, total, "episodes")
            known = out.finished(job.number)
            if known is None:
                record = convert_episode(self.plan, job, out.partial, pictures.get(job.episode.index))
                out.mark(job.number, msgspec.to_builtins(record))
            else:
                record = msgspec.convert(known, EpisodeRecord)
            for finding in record.findings:
                self.note(finding)
            counts.update(record.clipped)
            self._refuse_clipped(counts, job.episode.index)
            # Its statistics are read again when they are written: those of all episodes would be much memory.
            yield msgspec.structs.replace(record, stored=msgspec.structs.replace(record.stored, stats={}))
        self.work.progress("all episodes", total, total, "episodes")

    def _refuse_clipped(self, counts: Mapping[str, int], episode: int) -> None:
        """Raises DataError as soon as more of all frames is clipped than any accident explains."""
        if self.allow_clip:
            return
        for name, count in counts.items():
            if count > CLIPPED_REFUSE * self.plan.frames:
                raise DataError(
                    "clipped",
                    f"{name} is beyond its range in {count} of {self.plan.frames} frames, up to episode {episode}: "
                    "another hand, or other ends of the gripper?",
                    episode=episode,
                    joint=name.rpartition(": ")[2],
                    fix="check --hand, --gripper-open and --gripper-closed; --allow-clip converts all the same",
                    dataset=str(self.plan.root),
                )

    def _clipped(self, records: Sequence[EpisodeRecord]) -> dict[str, float]:
        """Share of frames in which each value was beyond its range; only of those that were."""
        counts: Counter[str] = Counter()
        for record in records:
            counts.update(record.clipped)
        shares = {name: round(count / self.plan.frames, 6) for name, count in sorted(counts.items())}
        for name, share in shares.items():
            if share > CLIPPED_WARN:
                what = f"{name} is beyond its range in {share:.1%} of all frames, and is clipped"
                place = Place(joint=name.rpartition(": ")[2])
                self.note(Finding(code="clipped", severity="warning", what=what, place=place))
        return shares

    def _tell_grippers(self, records: Sequence[EpisodeRecord]) -> None:
        for name, (low, high) in _ranges(records).items():
            if low < GRIPPER_RANGE[0] or high > GRIPPER_RANGE[1]:
                what = f"{name} goes from {low:.3f} to {high:.3f}, a Dex1 gripper from 0 (closed) to 5.4 (open)"
                fix = "if it is another one, say --gripper-open and --gripper-closed"
                place = Place(joint=name.rpartition(": ")[2])
                self.note(Finding(code="gripper-range", severity="warning", what=what, place=place, fix=fix))

    # --- meta/ --------------------------------------------------------------------------------------------------------

    def _write_meta(self, out: Output, records: Sequence[EpisodeRecord], clipped: Mapping[str, float]) -> None:
        plan, root = self.plan, out.partial
        info = new_info(
            version="2.1",
            robot_type=_ROBOT[plan.format],
            fps=self.dataset.fps,
            features=plan.features,
            episodes=len(records),
            frames=plan.frames,
            tasks=len(plan.tasks),
            cameras=tuple(plan.cameras),
        )
        write_json(root / "meta/modality.json", plan.modality())
        write_json(root / CONVERSION, self._conversion(records, clipped))
        if source := sidecar.section(plan.root, "source"):
            sidecar.write(root, source=source)
        for path in sorted(plan.root.iterdir()):
            if path.name.upper().startswith(_LICENCES) and path.is_file():
                place_file(path, root / path.name, inside=self.dataset.boundary)
        stored = [record.stored for record in records]
        write_meta(
            root,
            info=info,
            episodes=(episode_row(number, each.tasks, each.length) for number, each in enumerate(stored)),
            tasks=plan.tasks,
            stats=(stats_row(number, _statistics(out, number)) for number in range(len(stored))),
        )

    def _conversion(self, records: Sequence[EpisodeRecord], clipped: Mapping[str, float]) -> dict[str, Any]:
        plan = self.plan
        name, version = MAPPING[plan.format]
        known = sidecar.section(plan.root, "source")
        return {
            "tool": f"dm-g1 {__version__}",
            "format": plan.format,
            "mapping": {"name": name, "version": version, "hands": VERSION},
            "hand": plan.hand,
            "family": self.dataset.family.name,
            "parameters": plan.parameters | {"allow_clip": self.allow_clip},
            "source": {
                "path": str(plan.root),
                "version": self.dataset.version,
                "fingerprint": plan.fingerprint,
                **{key: known[key] for key in ("repo", "revision") if known.get(key)},
            },
            "columns": describe(plan),
            "cameras": plan.cameras,
            "left_out": list(plan.left_out),
            "dropped_episodes": list(plan.dropped),
            "grippers": {name: list(ends) for name, ends in _ranges(records).items()},
            "clipped": dict(clipped),
            "notes": [finding.what for finding in self.note.findings],
        }

    def _compute_stats(self, root: Path) -> None:
        from dm_isaac_g1.core.robot import ACTION_HORIZON
        from dm_isaac_g1.data.stats.compute import compute_stats

        long = any(job.episode.length >= ACTION_HORIZON for job in self.plan.jobs)
        if not long:
            what = f"no episode has {ACTION_HORIZON} frames: there are no relative statistics"
            fix = "`dm-g1 data stats --horizon N` for a shorter action horizon"
            self.note(Finding(code="short-episodes", severity="warning", what=what, fix=fix))
        compute_stats(root, relative=None if long else False, work=self.work)


def _statistics(out: Output, number: int) -> dict[str, Any]:
    """Of an episode that is finished, as it was noted."""
    noted = out.finished(number)
    if noted is None:
        raise AssertionError(f"episode {number} is not finished")
    return msgspec.convert(noted, EpisodeRecord).stored.stats


def _ranges(records: Sequence[EpisodeRecord]) -> dict[str, tuple[float, float]]:
    """Lowest and highest raw value of each gripper over all episodes."""
    names = dict.fromkeys(name for record in records for name in record.grippers)
    found = {name: [record.grippers[name] for record in records if name in record.grippers] for name in names}
    return {name: (min(low for low, _ in ends), max(high for _, high in ends)) for name, ends in found.items()}
