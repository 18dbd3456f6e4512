"""What can be wrong with a dataset, said for people: a code, a place, and what repairs it.

One vocabulary for both ways of saying it: validation gathers `Finding`s and goes on; everything else raises the first
one as a `DataProblem`, since nothing wrong is ever filled in or skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from dm_isaac_g1.core.errors import DmG1Error, ExitCode

Severity = Literal["error", "warning", "note"]


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where in a dataset. `file`: relative to the dataset's folder. `frame`: within the episode, from 0.

    `joint`: the value's name, or the column's where it has none.
    """

    file: str | None = None
    episode: int | None = None
    frame: int | None = None
    joint: str | None = None

    def __str__(self) -> str:
        parts = [self.file or ""]
        parts += [f"{word} {value}" for word in ("episode", "frame") if (value := getattr(self, word)) is not None]
        return ", ".join(part for part in (*parts, self.joint or "") if part)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong or worth knowing. `code`: kebab-case and stable, for scripts.

    `fix`: the command that repairs it, or what the user can do.
    """

    code: str
    what: str
    severity: Severity = "error"
    place: Place = Place()
    fix: str | None = None


class DataProblem(DmG1Error):
    """A dataset that cannot be used as it is; `finding` says what, where and what to do."""

    def __init__(
        self,
        code: str,
        what: str,
        *,
        file: str | None = None,
        episode: int | None = None,
        frame: int | None = None,
        joint: str | None = None,
        fix: str | None = None,
        dataset: str | None = None,
    ) -> None:
        self.finding = Finding(code=code, what=what, place=Place(file, episode, frame, joint), fix=fix)
        self.dataset = dataset
        place = str(self.finding.place)
        super().__init__(what, where=": ".join(part for part in (dataset or "", place) if part) or None, fix=fix)

    def within(self, dataset: Path | str, episode: int | None = None) -> DataProblem:
        """The same problem, saying in which dataset and episode it was met where it does not say so yet."""
        place = self.finding.place
        number = place.episode if place.episode is not None else episode
        finding = msgspec.structs.replace(self.finding, place=msgspec.structs.replace(place, episode=number))
        return _rebuilt(type(self), finding, self.dataset or str(dataset))

    def in_file(self, file: str) -> DataProblem:
        """The same problem of a file that is called `file`."""
        place = msgspec.structs.replace(self.finding.place, file=file)
        return _rebuilt(type(self), msgspec.structs.replace(self.finding, place=place), self.dataset)

    def with_fix(self, fix: str | None) -> DataProblem:
        """The same problem with what helps in this place; None: as it is."""
        return (
            self if fix is None else _rebuilt(type(self), msgspec.structs.replace(self.finding, fix=fix), self.dataset)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its finding, so that it crosses from a worker process."""
        return _rebuilt, (type(self), self.finding, self.dataset)


def _rebuilt(kind: type[DataProblem], finding: Finding, dataset: str | None) -> DataProblem:
    place = finding.place
    return kind(
        finding.code,
        finding.what,
        file=place.file,
        episode=place.episode,
        frame=place.frame,
        joint=place.joint,
        fix=finding.fix,
        dataset=dataset,
    )


class SchemaError(DataProblem):
    """Columns are missing, or of another width or name than is needed; says what was expected and what was found."""


class DataError(DataProblem):
    """A value that is not one: null, NaN, infinite, beyond its limits; names episode, frame and joint."""


class IntegrityError(DataProblem):
    """Files and numbers that contradict each other: a truncated parquet, a missing video, a wrong length."""


class RefusedOutput(DataProblem):
    """The output folder is not ours to write, or the disk has no room for it."""

    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED
