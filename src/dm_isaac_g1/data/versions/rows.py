"""One episode's rows on their way from one version to another: checked, nothing renumbered.

Versions differ in how rows lie in files, not in what they are. A row of another episode or a hole in the numbering
would be a silent error in a file that many episodes share, thus is refused.
"""

from __future__ import annotations

from typing import Any

from dm_isaac_g1.data.carry import RENUMBER, Note, carried, check_order
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import missing_numbers
from dm_isaac_g1.data.problems import DataProblem, Finding, IntegrityError
from dm_isaac_g1.data.work import Work


class Notes:
    """Findings of a whole dataset: each told once a column, not once an episode."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._told: dict[tuple[str, str | None], Finding] = {}

    def __call__(self, finding: Finding) -> None:
        key = (finding.code, finding.place.joint)
        if key not in self._told:
            self._told[key] = finding
            self._work.note(finding)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._told.values())


def read_rows(dataset: Dataset, number: int, note: Note) -> dict[str, Any]:
    """All columns of an episode: (frames,) and (frames, width) of the features' dtypes, Arrow arrays of texts.

    Raises DataProblem: a column is missing or of another width; null, NaN, infinite; times that jump; numbers that are
    another episode's; tasks that are not listed.
    """
    try:
        episode = dataset.locate(number)
        columns = carried(dataset, episode, note)
        check_order(columns, dataset, episode)
    except DataProblem as problem:
        raise problem.within(dataset.root, number) from None
    return columns


def refuse_gaps(dataset: Dataset) -> None:
    """Raises IntegrityError where the numbers of episodes have gaps: readers go from 0 to the last."""
    if gaps := missing_numbers(dataset.episodes):
        what = f"there is no episode {gaps[0]}, but later ones: readers go from 0 to the last"
        raise IntegrityError("episode-gap", what, fix=RENUMBER, dataset=str(dataset.root))
