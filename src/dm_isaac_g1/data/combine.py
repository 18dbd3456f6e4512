"""Combining datasets: tasks united by their text, every index written anew, nothing else of the numbers changed.

The output is LeRobot v2.1 whatever the inputs are (v2.0, v2.1, v3.0), with episodes in the order of the inputs, and
meta/combined.json says where each came from (see `mixture`, also for what weights mean). Inputs whose numbers do not
mean the same are refused.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.data.carry import carried, check_order
from dm_isaac_g1.data.compatibility import MODALITY, modality_of, refuse_incompatible
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.info import new_info
from dm_isaac_g1.data.linking import place_file
from dm_isaac_g1.data.mixture import COMBINED, Source, checked_weights, conversion_of, origin, per_input, plan
from dm_isaac_g1.data.output import Output, fingerprint
from dm_isaac_g1.data.problems import DataProblem, Finding, IntegrityError, Place
from dm_isaac_g1.data.storing import Stored, bytes_needed, counted, recompute_stats, store
from dm_isaac_g1.data.versions.kept import picture_statistics
from dm_isaac_g1.data.versions.rows import Notes
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.data.writing import episode_row, stats_row, write_json, write_meta


class CombineResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was written. `tasks`: how many different ones. `videos`: how many were linked, copied, remuxed, ..."""

    path: Path
    datasets: int
    episodes: int
    frames: int
    tasks: int
    videos: dict[str, int]
    findings: tuple[Finding, ...]
    seconds: float


def combine(
    inputs: Sequence[Path | str],
    output: Path | str,
    weights: Sequence[float] | None = None,
    episodes: str | Sequence[str] | None = None,
    work: Work | None = None,
) -> CombineResult:
    """Write the datasets `inputs` as one into the folder `output`.

    `weights`: one for each input, of any scale; None: all alike. `episodes`: which of each input ("0:50,60", see
    `choosing`), one text for each or one for all; None: all.

    Raises UsageError (weights or episodes make no sense), DataProblem: SchemaError (they do not go together, and what
    differs), DataError, IntegrityError, RefusedOutput, "disk-full"; Interrupted, OSError. What is finished is kept, and
    the same call goes on with it.
    """
    began = time.monotonic()
    work = work or Work()
    datasets = _open([Path(path) for path in inputs], work)
    refuse_incompatible(datasets)
    choices = per_input("episodes", [episodes] if isinstance(episodes, str) else episodes, len(datasets))
    tasks, sources = plan(datasets, choices, checked_weights(weights, len(datasets)))
    return _Combination(sources, tasks, work).run(Path(output), began)


def _open(paths: Sequence[Path], work: Work) -> list[Dataset]:
    if not paths:
        raise UsageError("no dataset to combine", fix="name at least one with --input")
    known: dict[Path, Path] = {}
    for path in paths:
        if known.setdefault(path.resolve(), path) is not path:
            raise UsageError(f"{path} is named twice", fix="give it a larger weight to have it drawn more often")
    datasets = [Dataset.open(path, work) for path in paths]
    for dataset in datasets:
        dataset.refuse_unlisted()
    return datasets


class _Combination:
    """The combination of datasets that go together."""

    def __init__(self, sources: Sequence[Source], tasks: Sequence[str], work: Work) -> None:
        self._sources = sources
        self._tasks = dict(enumerate(tasks))
        self._work = work
        self._note = Notes(work)
        self._features = self._united_features()
        self._text_columns = _task_columns(sources[0].dataset)

    def run(self, final: Path, began: float) -> CombineResult:
        sources = self._sources
        self._say_what_readers_make_of_it()
        count = sum(len(source.episodes) for source in sources)
        with Output(
            final,
            self._recipe(),
            needs=sum(bytes_needed(source.dataset, source.episodes, final) for source in sources),
            what=f"the combination of {', '.join(source.dataset.root.name for source in sources)}",
            sources=[source.dataset.root for source in sources],
            total=count,
        ) as out:
            stored = self._store_all(out, count)
            self._write_meta(out.partial, stored)
            recompute_stats([source.dataset for source in sources], out.partial, self._work)
            path = out.finish()
        met = [finding for source in sources for finding in source.dataset.findings]
        return CombineResult(
            path=path,
            datasets=len(sources),
            episodes=count,
            frames=sum(each.length for each in stored),
            tasks=len(self._tasks),
            videos=counted(stored),
            findings=(*self._note.findings, *met),
            seconds=time.monotonic() - began,
        )

    def _say_what_readers_make_of_it(self) -> None:
        """What is right as it is, and may still surprise."""
        if len({source.weight for source in self._sources}) > 1:
            what = (
                "the weights are only noted in meta/combined.json: trainers draw from all frames of one dataset alike"
            )
            fix = "give the datasets to the trainer one by one with mix ratios, or choose --episodes"
            self._note(Finding(code="weights-noted", severity="note", what=what, fix=fix, place=Place(COMBINED)))
        made = {msgspec.json.encode(_how(source.dataset), order="deterministic") for source in self._sources}
        if len(made) > 1:
            what = "the datasets were converted in different ways; meta/combined.json says how"
            self._note(Finding(code="conversions-differ", severity="warning", what=what, place=Place(COMBINED)))

    def _recipe(self) -> dict[str, Any]:
        return {
            "op": "combine",
            "sources": [
                {
                    "source": str(source.dataset.root.resolve()),
                    "fingerprint": fingerprint(source.dataset.root),
                    "episodes": source.choice,
                    "weight": source.weight,
                }
                for source in self._sources
            ],
        }

    # --- Episodes -----------------------------------------------------------------------------------------------------

    def _store_all(self, out: Output, count: int) -> list[Stored]:
        stored: list[Stored] = []
        index = 0
        for source in self._sources:
            pictures = picture_statistics(source.dataset)
            for number, episode in enumerate(source.episodes, source.first):
                record = out.finished(number)
                if record is None:
                    columns = self._columns(source, episode, number, index)
                    made = store(
                        out.partial,
                        number,
                        columns,
                        self._features,
                        tasks=self._tasks,
                        dataset=source.dataset,
                        videos=episode.videos,
                        pictures=pictures.get(episode.index, {}),
                    )
                    out.mark(number, msgspec.to_builtins(made))
                else:
                    made = msgspec.convert(record, Stored)
                stored.append(made)
                index += made.length
                self._work.progress(
                    f"{source.dataset.root.name}, episode {episode.index}", number + 1, count, "episodes"
                )
        return stored

    def _columns(self, source: Source, episode: Episode, number: int, index: int) -> dict[str, Any]:
        """The episode's columns with the numbers of the output. Raises DataProblem."""
        dataset = source.dataset
        try:
            located = dataset.locate(episode.index)
            columns = carried(dataset, located, self._note)
            check_order(columns, dataset, located, numbers=False)
            columns["episode_index"] = np.full(episode.length, number, np.int64)
            columns["index"] = np.arange(index, index + episode.length, dtype=np.int64)
            for column in self._text_columns:
                columns[column] = _renumbered(columns[column], source.tasks, located, column)
        except DataProblem as problem:
            raise problem.within(dataset.root, episode.index) from None
        return columns

    def _united_features(self) -> dict[str, dict[str, Any]]:
        """The first dataset's features; a column that is float32 in one and float64 in another becomes float32."""
        first, *others = (source.dataset.info.features for source in self._sources)
        united: dict[str, dict[str, Any]] = {}
        for name, feature in first.items():
            raw = {key: value for key, value in feature.raw.items() if feature.is_video or key != "fps"}
            if feature.is_float and any(other[name].dtype != feature.dtype for other in others):
                raw["dtype"] = "float32"
                what = f"column {name} is float32 in some of the datasets and float64 in others: float32 in the output"
                self._note(Finding(code="cast", severity="note", what=what, place=Place(joint=name)))
            united[name] = raw
            if feature.is_video and any(_codec(other[name].raw) != _codec(raw) for other in others):
                what = f"the videos of {name} are not all of one codec; info.json names the first's"
                self._note(Finding(code="codecs-differ", severity="warning", what=what, place=Place(joint=name)))
        return united

    # --- meta/ --------------------------------------------------------------------------------------------------------

    def _write_meta(self, root: Path, stored: Sequence[Stored]) -> None:
        first = self._sources[0].dataset
        info = new_info(
            version="2.1",
            robot_type=first.info.robot_type,
            fps=first.fps,
            features=self._features,
            episodes=len(stored),
            frames=sum(each.length for each in stored),
            tasks=len(self._tasks),
            cameras=first.cameras,
        )
        write_meta(
            root,
            info=info,
            episodes=(episode_row(number, each.tasks, each.length) for number, each in enumerate(stored)),
            tasks=self._tasks,
            stats=(stats_row(number, each.stats) for number, each in enumerate(stored)),
        )
        if modality_of(first) is not None:
            place_file(first.path_of(MODALITY), root / MODALITY, inside=first.boundary)
        write_json(root / COMBINED, origin(self._sources, [each.length for each in stored]))


def _task_columns(dataset: Dataset) -> list[str]:
    """Columns that hold a task's number: task_index, and the annotations that GR00T looks up among the tasks."""
    modality = modality_of(dataset)
    named = modality.get("annotation") if isinstance(modality, Mapping) else None
    found = ["task_index"]
    for key, value in named.items() if isinstance(named, Mapping) else ():
        original = value.get("original_key") if isinstance(value, Mapping) else None
        found.append(original or f"annotation.{key}")
    found += [column for column in dataset.info.columns if column.startswith("annotation.")]
    features = dataset.info.features
    return [
        column
        for column in dict.fromkeys(found)
        if column in features and features[column].dtype.startswith("int") and features[column].width == 1
    ]


def _renumbered(values: Any, tasks: Mapping[int, int], episode: Episode, column: str) -> Any:
    """Task numbers of a source as the output's. Raises IntegrityError for one that is not listed."""
    found, places = np.unique(values, return_inverse=True)
    for index in found.tolist():
        if index not in tasks:
            frame = int(np.flatnonzero(values == index)[0])
            what = f"{column} is {index} in frame {frame}, and the episode lists no such task"
            raise IntegrityError(
                "unknown-task", what, file=episode.file, episode=episode.index, frame=frame, joint=column
            )
    return np.array([tasks[index] for index in found.tolist()], values.dtype)[places]


def _codec(raw: Mapping[str, Any]) -> Any:
    facts = raw.get("info") or raw.get("video_info")
    return facts.get("video.codec") if isinstance(facts, Mapping) else None


def _how(dataset: Dataset) -> Any:
    """What conversion.json says of the mapping, not of the source."""
    found = conversion_of(dataset)
    return {key: found.get(key) for key in ("format", "mapping", "parameters")} if isinstance(found, dict) else None
