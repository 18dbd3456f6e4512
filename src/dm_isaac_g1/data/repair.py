"""Repairing a dataset where it lies: what can be derived from its own files, and nothing that must be guessed.

    plan = plan_repair(path)          # looks, changes nothing: plan.lines say what would be done
    repair(plan)                      # does it; killed at any point, the next plan goes on where this one ended

Missing lists of episodes and tasks are rebuilt, existing ones are never written over. An instruction's text is not in
the parquet files: where the list of episodes does not have it either, it must be given.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dm_isaac_g1.data.columns import integers, open_parquet, read_open
from dm_isaac_g1.data.episodes import EPISODES, EPISODES_V3, TASKS, TASKS_V3
from dm_isaac_g1.data.info import INFO
from dm_isaac_g1.data.problems import IntegrityError, RefusedOutput
from dm_isaac_g1.data.repairing import Create, MoveFolder, RelocateEpisodes, Replace, Retime, Step, digest
from dm_isaac_g1.data.rows import episode_rows
from dm_isaac_g1.data.validate.meta import shown
from dm_isaac_g1.data.validate.pieces import TOLERANCE_S
from dm_isaac_g1.data.validate.rows import refuse_hostile
from dm_isaac_g1.data.validate.subject import Subject
from dm_isaac_g1.data.videofolders import misplaced
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.data.writing import episode_row

_V3_FILE = re.compile(r"data/chunk-(\d{1,9})/file-(\d{1,9})\.parquet")


class RepairPlan(msgspec.Struct, frozen=True):
    """What a repair would do, in this order."""

    root: Path
    steps: tuple[Step, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(step.line for step in self.steps)


class _Rows(msgspec.Struct, frozen=True):
    """An episode as its rows say: frames, and the numbers of its tasks in the order of their first frame."""

    frames: int
    tasks: tuple[int, ...]
    file: str


def plan_repair(
    path: Path | str, *, tasks: Sequence[str] = (), retime: bool = False, work: Work | None = None
) -> RepairPlan:
    """What can be repaired in `path`. `tasks`: the texts of task 0, 1, ... where they are nowhere. `retime`: set
    timestamps that are off.

    Raises DataProblem: the folder is no dataset, a parquet file cannot be read, the rows contradict info.json, or texts
    of tasks are needed.
    """
    root = Path(path)
    subject = Subject(root, deep=False, work=work or Work())
    return RepairPlan(root, tuple(_Planning(subject, tuple(tasks), retime).steps()))


def repair(plan: RepairPlan, work: Work | None = None) -> None:
    """Do what the plan says. Raises RefusedOutput (another repair runs, a file changed meanwhile), OSError."""
    work = work or Work()
    with _alone(plan.root):
        for done, step in enumerate(plan.steps):
            work.progress(step.line, done, len(plan.steps), "steps")
            step.do(plan.root)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One repair of a dataset at a time: a lock on the folder itself, which a kill releases."""
    descriptor = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedOutput("being-repaired", "another repair is at work", dataset=str(root)) from None
        yield
    finally:
        os.close(descriptor)


class _Planning:
    def __init__(self, subject: Subject, texts: tuple[str, ...], retime: bool) -> None:
        self.subject = subject
        self.info = subject.info
        self.root = subject.root
        self.texts = texts
        self.retime = retime
        self.v3 = self.info.version == "3.0"
        self._rows: dict[int, _Rows] | None = None

    def steps(self) -> Iterator[Step]:
        tasks = self.subject.tasks
        if tasks is None and not self._there(TASKS_V3 if self.v3 else TASKS):
            tasks = self._tasks()
            yield self._write_tasks(tasks)
        if not self.subject.listed and not self.v3 and not self._there(EPISODES):
            yield self._write_episodes(tasks)
        yield from self._move_videos()
        yield from self._correct_info(tasks)
        if self.v3 and self.subject.listed:
            yield from self._relocate()
        if self.retime:
            yield from self._retime()

    def _there(self, file: str) -> bool:
        return os.path.lexists(self.root / file)

    # --- What the rows say --------------------------------------------------------------------------------------------

    @property
    def rows(self) -> dict[int, _Rows]:
        """Episode -> its rows, of all parquet files. Raises DataProblem for one that cannot be read."""
        if self._rows is None:
            self._rows = dict(self._read_rows())
        return self._rows

    def _read_rows(self) -> Iterator[tuple[int, _Rows]]:
        if not self.subject.shared:
            for episode in self.subject.episodes:
                if episode.file in self.subject.files:
                    numbers = self._column(episode.file, "task_index")
                    yield episode.index, _Rows(len(numbers), _order(numbers), episode.file)
            return
        for file in sorted(
            file for file in self.subject.files if file.startswith("data/") and file.endswith(".parquet")
        ):
            numbers = self._column(file, "task_index")
            for index, (first, end) in episode_rows(self._column(file, "episode_index"), file=file).items():
                yield index, _Rows(end - first, _order(numbers[first:end]), file)

    def _column(self, file: str, column: str) -> Any:
        self.subject.work.check()
        path = self.subject.path_of(file)
        with open_parquet(path, file=file) as parquet:
            refuse_hostile(parquet, file)
            return integers(read_open(parquet, [column], path=path, file=file), column, file=file)

    # --- Tasks and episodes -------------------------------------------------------------------------------------------

    def _tasks(self) -> dict[int, str]:
        """task_index -> text: given, or told by episodes of one task. Raises RefusedOutput where neither is."""
        used = sorted({task for rows in self.rows.values() for task in rows.tasks})
        if used != list(range(len(used))):
            raise IntegrityError("unknown-task", f"task_index takes the values {used[:8]}, expected 0, 1, ...")
        if self.texts:
            if len(self.texts) != len(used):
                what = f"{len(self.texts)} texts given, the rows know {len(used)} tasks"
                raise RefusedOutput("task-texts-unknown", what, fix="give --task once for each, in order")
            return dict(enumerate(self.texts))
        told: dict[int, set[str]] = {task: set() for task in used}
        for episode in self.subject.episodes if self.subject.listed else ():
            rows = self.rows.get(episode.index)
            if rows is not None and len(rows.tasks) == 1 and len(episode.tasks) == 1:
                told[rows.tasks[0]].add(episode.tasks[0])
        if any(len(texts) != 1 for texts in told.values()):
            raise RefusedOutput(
                "task-texts-unknown",
                f"the texts of {len(used)} tasks are in no file",
                file=TASKS_V3 if self.v3 else TASKS,
                fix="say what the robot does: --task 'TEXT', once for each task in order",
            )
        return {task: next(iter(texts)) for task, texts in told.items()}

    def _write_tasks(self, tasks: dict[int, str]) -> Step:
        says = ", ".join(f"{index} {shown(text)}" for index, text in list(tasks.items())[:4])
        if not self.v3:
            lines = [{"task_index": index, "task": text} for index, text in tasks.items()]
            return Create(TASKS, _lines(lines), says)
        from dm_isaac_g1.data.versions.meta_v30 import write_tasks

        with tempfile.TemporaryDirectory() as folder:
            write_tasks(Path(folder), tasks)
            return Create(TASKS_V3, (Path(folder) / TASKS_V3).read_bytes(), says)

    def _write_episodes(self, tasks: dict[int, str] | None) -> Step:
        """From the parquet files of all episodes that info.json counts. Raises DataProblem."""
        rows = self.rows
        expected = self.info.total_episodes if self.info.total_episodes is not None else len(rows)
        missing = sorted(set(range(min(expected, len(rows) + 1))) - rows.keys())
        if missing or expected != len(rows):
            what = f"info.json counts {expected} episodes, {len(rows)} have files"
            fix = "download it again: a list without them would hide that they are missing"
            raise RefusedOutput("missing-episode", what, episode=missing[0] if missing else None, fix=fix)
        if tasks is None:
            raise RefusedOutput("bad-task", "the list of tasks cannot be read", file=TASKS)
        lines = []
        for index, episode in sorted(rows.items()):
            for task in episode.tasks:
                if task not in tasks:
                    what = f"task_index is {task}, which is no task"
                    raise IntegrityError("unknown-task", what, file=episode.file, episode=index)
            lines.append(episode_row(index, [tasks[task] for task in episode.tasks], episode.frames))
        frames = sum(episode.frames for episode in rows.values())
        return Create(EPISODES, _lines(lines), f"{len(rows)} episodes, {frames} frames")

    # --- Videos -------------------------------------------------------------------------------------------------------

    def _move_videos(self) -> Iterator[Step]:
        folders: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for move in misplaced(self.info, self.subject.episodes, self.subject.files):
            self.subject.path_of(move.source)
            pair = (move.source.rpartition("/")[0], move.target.rpartition("/")[0])
            folders.setdefault(pair, []).append((move.source, move.target))
        for (folder, into), names in folders.items():
            yield MoveFolder(folder, into, tuple(names))

    # --- info.json ----------------------------------------------------------------------------------------------------

    def _correct_info(self, tasks: dict[int, str] | None) -> Iterator[Step]:
        """Splits that leave episodes out, totals that are not those of the lists."""
        if not self.subject.listed and self._there(EPISODES_V3 if self.v3 else EPISODES):
            return  # the list is there and broken: nothing is known to count by
        corrected: dict[str, Any] = {}
        count = len(self.subject.episodes) if self.subject.listed else len(self.rows)
        whole = {"train": f"0:{count}"}
        splits = self.info.splits
        if set(splits) <= {"train"} and splits != whole and not self._unlisted():
            corrected["splits"] = whole
        totals = {"total_episodes": count, "total_tasks": len(tasks) if tasks is not None else None}
        if self.subject.listed:
            totals["total_frames"] = sum(episode.length for episode in self.subject.episodes)
        else:
            totals["total_frames"] = sum(rows.frames for rows in self.rows.values())
        if not self.v3:
            totals["total_videos"] = count * len(self.info.cameras)
            totals["total_chunks"] = -(-count // self.info.chunks_size)
        raw = self.info.raw
        differ = {
            key: number for key, number in totals.items() if number is not None and raw.get(key) not in (None, number)
        }
        if differ and self._lists_agree():
            corrected |= differ
        if corrected:
            says = ", ".join(
                f"{key} {json.dumps(self.info.raw.get(key))} -> {json.dumps(v)}" for key, v in corrected.items()
            )
            text = json.dumps(raw | corrected, indent=4, ensure_ascii=False, allow_nan=False)
            yield Replace(INFO, text.encode(), digest(self.root / INFO), says)

    def _unlisted(self) -> bool:
        """There are parquet files that no listed episode has: the list may be what is wrong."""
        listed = {episode.file for episode in self.subject.episodes}
        stored = {file for file in self.subject.files if file.startswith("data/") and file.endswith(".parquet")}
        return self.subject.listed and not self.subject.shared and not stored <= listed

    def _lists_agree(self) -> bool:
        """Listed lengths are those of the rows, and no rows are unlisted: only then a total that differs is wrong."""
        if not self.subject.listed:
            return True
        if self._unlisted():
            return False
        rows = self.rows
        return len(rows) == len(self.subject.episodes) and all(
            episode.index in rows and rows[episode.index].frames == episode.length for episode in self.subject.episodes
        )

    # --- v3.0 and timestamps ------------------------------------------------------------------------------------------

    def _relocate(self) -> Iterator[Step]:
        places: dict[int, tuple[int, int]] = {}
        for episode in self.subject.episodes:
            rows = self.rows.get(episode.index)
            match = _V3_FILE.fullmatch(rows.file) if rows is not None else None
            if rows is not None and match is not None and rows.file != episode.file:
                places[episode.index] = (int(match[1]), int(match[2]))
        if not places:
            return
        for file in sorted(f for f in self.subject.files if f.startswith(f"{EPISODES_V3}/") and f.endswith(".parquet")):
            mine = sorted(set(self._column(file, "episode_index").tolist()) & places.keys())
            if mine:
                says = f"data/file_index of episode{'s' * (len(mine) > 1)} {', '.join(map(str, mine[:8]))}"
                here = {index: places[index] for index in mine}
                yield RelocateEpisodes(file, digest(self.root / file), here, says)

    def _retime(self) -> Iterator[Step]:
        for file in sorted({rows.file for rows in self.rows.values()}):
            path = self.subject.path_of(file)
            columns = ["timestamp", *(["episode_index"] if self.subject.shared else [])]
            with open_parquet(path, file=file) as parquet:
                table = read_open(parquet, columns, path=path, file=file)
            times = table["timestamp"].to_numpy().astype(np.float64)
            expected = np.arange(len(times), dtype=np.float64)
            if self.subject.shared:
                for first, end in episode_rows(integers(table, "episode_index", file=file), file=file).values():
                    expected[first:end] -= first
            tolerance = TOLERANCE_S + np.spacing(np.abs(times).astype(np.float32)).astype(np.float64)
            if not (np.abs(times - expected / self.info.fps) <= tolerance).all():
                yield Retime(file, self.info.fps, self.subject.shared)


def _order(numbers: Any) -> tuple[int, ...]:
    """Distinct values by where they come first."""
    if len(numbers) and (numbers == numbers[0]).all():
        return (int(numbers[0]),)
    values, first = np.unique(numbers, return_index=True)
    return tuple(int(values[place]) for place in np.argsort(first))


def _lines(rows: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n" for row in rows)
