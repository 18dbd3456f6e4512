"""A validation from its beginning to its end: the tables of checks in order, and the note beside the dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.data.output import fingerprint
from dm_isaac_g1.data.problems import DataProblem, Finding
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.stats.stale import stale
from dm_isaac_g1.data.validate import clips, groot, lerobot, meta, rows
from dm_isaac_g1.data.validate.codes import OTHERS, Findings
from dm_isaac_g1.data.validate.result import Gathered, Reader, ValidationResult
from dm_isaac_g1.data.validate.subject import Subject
from dm_isaac_g1.data.work import Work

Check = Callable[[Subject], Iterable[Finding]]

#: Ranges of episodes that a command may name.
_RANGES = 50
#: Findings noted beside the dataset.
_NOTED = 50


def _statistics(subject: Subject) -> Iterator[Finding]:
    """Statistics that speak of other data; `stale` compares digests."""
    try:
        found = stale(subject.root)
    except DataProblem as problem:
        yield subject.finding.of(problem)
        return
    for finding in found:
        yield msgspec.structs.replace(finding, fix=subject.finding.fix(finding.code) or finding.fix)


#: In this order: the rows fill in the lengths that videos and readers are held against.
CHECKS: tuple[Check, ...] = (*meta.CHECKS, rows.check, clips.check, _statistics)
READERS: dict[Reader, tuple[Check, ...]] = {"groot-n1.6": groot.CHECKS, "lerobot": lerobot.CHECKS}


def validate_dataset(
    path: Path | str, *, deep: bool = False, reader: Reader | None = None, work: Work | None = None
) -> ValidationResult:
    """Everything that is wrong with the dataset in `path`. Raises nothing but Interrupted.

    Changes nothing but the note in meta/dm_g1.json, if that can be written.
    """
    root = Path(path)
    began = time.perf_counter()
    try:
        before = fingerprint(root) if root.is_dir() else None
    except OSError:
        before = None
    try:
        subject = Subject(root, deep=deep, work=work or Work())
    except DataProblem as problem:
        gathered = Gathered()
        gathered.add([Findings(root).of(problem)])
        result = _result(root, gathered, deep=deep, reader=reader)
    else:
        for check in CHECKS:
            _run(check, subject)
        general = _result(root, subject.gathered, deep=deep, reader=None, subject=subject)
        for check in READERS[reader] if reader else ():
            _run(check, subject)
        result = _result(root, subject.gathered, deep=deep, reader=reader, subject=subject)
        _note(root, general, result, before)
    return msgspec.structs.replace(result, seconds=time.perf_counter() - began)


def _run(check: Check, subject: Subject) -> None:
    subject.work.check()
    try:
        subject.gathered.add(check(subject))
    except DataProblem as problem:
        subject.gathered.add([subject.finding.of(problem)])
    except OSError as error:
        what = f"not readable: {error.strerror or error}"
        subject.gathered.add([subject.finding("unreadable", what, file=str(error.filename or "") or None)])


def _result(
    root: Path, gathered: Gathered, *, deep: bool, reader: Reader | None, subject: Subject | None = None
) -> ValidationResult:
    result = ValidationResult(
        path=str(root),
        deep=deep,
        reader=reader,
        findings=tuple(_with_others(gathered, subject)),
        hidden=gathered.hidden,
        errors=gathered.severities["error"],
        warnings=gathered.severities["warning"],
    )
    if subject is None:
        return result
    return msgspec.structs.replace(
        result,
        version=subject.info.version,
        family=str(subject.family.name),
        robot=subject.info.robot_type,
        fps=subject.info.fps,
        episodes=len(subject.episodes),
        frames=sum(subject.lengths.values()),
        cameras=subject.info.cameras,
        videos=subject.videos,
    )


def _with_others(gathered: Gathered, subject: Subject | None) -> Iterator[Finding]:
    """The findings; where leaving broken episodes out is the way, the command names all that are whole."""
    others = None if subject is None else _others(gathered, subject)
    for finding in gathered.findings:
        if finding.fix and OTHERS in finding.fix:
            usable = others is not None and finding.place.episode is not None
            fix = finding.fix.replace(OTHERS, others) if usable and others is not None else None
            finding = msgspec.structs.replace(finding, fix=fix)
        yield finding


def _others(gathered: Gathered, subject: Subject) -> str | None:
    """Episodes without an error as START:END,...; None: there are none, or the lists of the dataset are broken."""
    if not subject.listed or subject.tasks is None:
        return None
    ranges: list[tuple[int, int]] = []
    for episode in subject.episodes:
        if episode.index in gathered.broken:
            continue
        if ranges and ranges[-1][1] == episode.index:
            ranges[-1] = (ranges[-1][0], episode.index + 1)
        else:
            ranges.append((episode.index, episode.index + 1))
    return ",".join(f"{start}:{end}" for start, end in ranges) if 0 < len(ranges) <= _RANGES else None


def _note(root: Path, general: ValidationResult, result: ValidationResult, before: str | None) -> None:
    """In meta/dm_g1.json, for lists: whether the dataset is valid, as long as its files stay as they were (`files`).

    `valid` speaks of the dataset itself, `readers` of what a reader thinks of it beside.
    """
    if before is None:
        return
    noted: dict[str, Any] = sidecar.section(root, "validation")
    readers = noted.get("readers") if noted.get("files") == before else None
    readers = dict(readers) if isinstance(readers, dict) else {}
    if result.reader is not None:
        readers[result.reader] = {"valid": result.valid, "errors": result.errors, "warnings": result.warnings}
    sidecar.write(
        root,
        validation={
            "at": time.time(),
            "files": before,
            "valid": general.valid,
            "deep": general.deep,
            "errors": general.errors,
            "warnings": general.warnings,
            "findings": [msgspec.to_builtins(finding) for finding in result.findings[:_NOTED]],
            "readers": readers,
        },
    )
