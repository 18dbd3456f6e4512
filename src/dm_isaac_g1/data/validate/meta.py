"""Checks of what meta/ says: totals, splits, names, numbers of episodes and tasks. Opens no data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dm_isaac_g1.data.episodes import EPISODES, EPISODES_V3, TASKS, TASKS_V3
from dm_isaac_g1.data.families import nearest_family
from dm_isaac_g1.data.info import ACTION, DEFAULT_COLUMNS, INFO, STATE
from dm_isaac_g1.data.output import MARKER, PARTIAL
from dm_isaac_g1.data.problems import Finding
from dm_isaac_g1.data.validate.subject import Subject, broken_templates

_SPLIT = re.compile(r"(\d{1,15}):(\d{1,15})")


def templates(subject: Subject) -> Iterator[Finding]:
    if not subject.gathered.has("bad-path", "path-leaves-dataset"):
        yield from (subject.finding.of(problem) for problem in broken_templates(subject.info))


def finished(subject: Subject) -> Iterator[Finding]:
    """What dm-g1 writes has its final name only when it is whole."""
    if subject.root.resolve().name.endswith(PARTIAL) and MARKER in subject.files:
        yield subject.finding("unfinished", "the dataset is not finished yet")


def default_columns(subject: Subject) -> Iterator[Finding]:
    for column in DEFAULT_COLUMNS:
        if column not in subject.info.features:
            what = f"features has no {column}, which every LeRobot dataset has"
            yield subject.finding("default-column", what, file=INFO, joint=column)


def totals(subject: Subject) -> Iterator[Finding]:
    """What info.json counts against what episodes and tasks list."""
    info, episodes = subject.info, len(subject.episodes)
    expected: list[tuple[str, str, int, bool]] = [
        ("total-episodes", "total_episodes", episodes, subject.listed),
        ("total-frames", "total_frames", sum(e.length for e in subject.episodes), subject.listed),
        ("total-tasks", "total_tasks", len(subject.tasks or ()), subject.tasks is not None),
    ]
    if info.version != "3.0":
        expected += [
            ("total-videos", "total_videos", episodes * len(info.cameras), subject.listed),
            ("total-chunks", "total_chunks", -(-episodes // info.chunks_size), subject.listed),
        ]
    for code, key, number, known in expected:
        said = info.raw.get(key)
        if known and said is not None and said != number:
            what = f"{key} says {said}, there are {number}"
            fix = _LISTS if code == "total-episodes" and said > number and _unlisted(subject) else None
            yield subject.finding(code, what, file=INFO, fix=fix)


#: No command: which of the two is right, only the user knows.
_LISTS = "complete meta/episodes.jsonl, or remove it: `dm-g1 data repair` writes one from the parquet files"


def _unlisted(subject: Subject) -> bool:
    listed = {episode.file for episode in subject.episodes}
    stored = {file for file in subject.files if file.startswith("data/") and file.endswith(".parquet")}
    return not subject.shared and not stored <= listed


def splits(subject: Subject) -> Iterator[Finding]:
    """Every episode in a split; ranges START:END, end exclusive."""
    if not subject.listed:
        return
    covered = 0
    for name, text in subject.info.splits.items():
        match = _SPLIT.fullmatch(text)
        if match is None or not int(match[1]) < int(match[2]) <= len(subject.episodes):
            what = f"split {name!r} is {text!r}, of {len(subject.episodes)} episodes"
            yield subject.finding("splits-wrong", what, file=INFO)
            return
        covered += int(match[2]) - int(match[1])
    if covered < len(subject.episodes):
        what = f"the splits hold {covered} of {len(subject.episodes)} episodes"
        yield subject.finding("splits-partial", what, file=INFO)


def names(subject: Subject) -> Iterator[Finding]:
    for key, feature in subject.info.features.items():
        if feature.is_video or not feature.is_numeric or len(feature.shape) != 1:
            continue
        if feature.names is None:
            if key in (STATE, ACTION):
                what = f"{key} has no names: its {feature.width} values can only be told by their places"
                yield subject.finding("no-names", what, file=INFO, joint=key)
        elif len(feature.names) != feature.width and key not in DEFAULT_COLUMNS:
            what = f"{key} has {len(feature.names)} names for {feature.width} values"
            yield subject.finding("names-count", what, file=INFO, joint=key)


def family(subject: Subject) -> Iterator[Finding]:
    if subject.family.name == "unknown":
        nearest, missing = nearest_family(subject.info.features)
        lacks = f"; nearest is {nearest}, without {', '.join(missing[:4])}" if missing else ""
        yield subject.finding("unknown-family", f"the features fit no known schema{lacks}", file=INFO)


def episode_numbers(subject: Subject) -> Iterator[Finding]:
    """Readers go through 0..N-1."""
    for position, episode in enumerate(subject.episodes):
        if episode.index != position:
            what = f"episode {position} is missing, the next is {episode.index}; there are {len(subject.episodes)}"
            yield subject.finding("episode-numbers", what, file=_list_of(subject), episode=position)
            return


def task_texts(subject: Subject) -> Iterator[Finding]:
    if subject.tasks is None:
        return
    file = TASKS_V3 if subject.info.version == "3.0" else TASKS
    for index, text in subject.tasks.items():
        if not text.strip():
            yield subject.finding("empty-task", f"task {index} has no text", file=file)
    known = set(subject.tasks.values())
    for episode in subject.episodes if subject.listed else ():
        for text in episode.tasks:
            if text not in known:
                what = f"episode {episode.index} names the task {shown(text)}, which {file} does not list"
                yield subject.finding("task-unlisted", what, file=_list_of(subject), episode=episode.index)


def shown(text: Any) -> str:
    """A text from outside in an error's sentence."""
    quoted = repr(text)
    return quoted if len(quoted) <= 80 else f"{quoted[:77]}..."


def _list_of(subject: Subject) -> str:
    return EPISODES_V3 if subject.info.version == "3.0" else EPISODES


CHECKS = (finished, templates, default_columns, totals, splits, names, family, episode_numbers, task_texts)
