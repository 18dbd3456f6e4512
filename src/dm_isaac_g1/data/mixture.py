"""What becomes part of a combined dataset, with which weight and which numbers, and where all of it came from.

Weights are how often a trainer should draw from each input, as the mix ratios of GR00T's mixtures. They are written
down in meta/combined.json and change neither frames nor statistics: repeating frames would make the dataset larger and
its statistics those of no recording, and dropping them is what choosing episodes is for. A reader that knows nothing of
combined.json (GR00T, LeRobot, bc) draws from all frames alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from dm_isaac_g1 import __version__
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.data.choosing import chosen
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.jsonfiles import read_json
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.data.stats import sidecar

COMBINED = "meta/combined.json"
CONVERSION = "meta/conversion.json"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One input: what of it is taken, its weight, and where its tasks and episodes come to stand."""

    dataset: Dataset
    #: As the user wrote it; None: all.
    choice: str | None
    episodes: list[Episode]
    weight: float
    #: Its task_index -> the output's.
    tasks: dict[int, int]
    #: Number of its first episode in the output.
    first: int


def plan(
    datasets: Sequence[Dataset], choices: Sequence[str | None], weights: Sequence[float]
) -> tuple[list[str], list[Source]]:
    """All tasks in the order of the output, and what becomes of each dataset. Raises UsageError.

    Of a dataset of which episodes are chosen, only the tasks that these list are taken.
    """
    tasks: dict[str, int] = {}
    sources: list[Source] = []
    first = 0
    for dataset, choice, weight in zip(datasets, choices, weights, strict=True):
        numbers = None if choice is None else set(chosen(choice, [episode.index for episode in dataset.episodes]))
        taken = [episode for episode in dataset.episodes if numbers is None or episode.index in numbers]
        listed = {task for episode in taken for task in episode.tasks}
        wanted = {
            index: text
            for index, text in sorted(dataset.tasks.items())
            if numbers is None or not listed or text in listed
        }
        renumbered = {index: tasks.setdefault(text, len(tasks)) for index, text in wanted.items()}
        source = Source(dataset=dataset, choice=choice, episodes=taken, weight=weight, tasks=renumbered, first=first)
        sources.append(source)
        first += len(taken)
    return list(tasks), sources


def per_input(what: str, given: Sequence[str] | None, count: int) -> list[str | None]:
    """One text for each of `count` inputs: as given, or the same for all. Raises UsageError."""
    texts: list[str | None] = list(given) if given else [None]
    if len(texts) not in (1, count):
        raise UsageError(f"{len(texts)} {what} for {count} datasets", fix="give one for all, or one for each")
    return texts * count if len(texts) == 1 else texts


def checked_weights(given: Sequence[float] | None, count: int) -> list[float]:
    """A weight for each of `count` inputs. Raises UsageError."""
    if not given:
        return [1.0] * count
    if len(given) != count:
        raise UsageError(f"{len(given)} weights for {count} datasets", fix="give one for each, in their order")
    for weight in given:
        if not (math.isfinite(weight) and weight > 0):
            raise UsageError(f"weight {weight}", fix="a weight is a number above 0; leave a dataset out instead of 0")
    return [float(weight) for weight in given]


def origin(sources: Sequence[Source], lengths: Sequence[int]) -> dict[str, Any]:
    """meta/combined.json. `lengths`: frames of every episode of the output."""
    frames = [sum(lengths[source.first : source.first + len(source.episodes)]) for source in sources]
    together = sum(source.weight for source in sources)
    described = []
    for source, own in zip(sources, frames, strict=True):
        share = source.weight / together
        described.append(
            {
                "name": source.dataset.root.resolve().name,
                "path": str(source.dataset.root.resolve()),
                "source": sidecar.section(source.dataset.root, "source") or None,
                "conversion": conversion_of(source.dataset),
                "version": source.dataset.version,
                "chosen": source.choice,
                # As lerobot writes splits: the end is not part of it.
                "episodes": f"{source.first}:{source.first + len(source.episodes)}",
                "original_episodes": [episode.index for episode in source.episodes],
                "frames": own,
                "weight": source.weight,
                "share": share,
                # How much more often than in an even draw each of its frames should come.
                "frame_weight": share * sum(frames) / own,
            }
        )
    return {"tool": f"dm-g1 {__version__}", "weights": "sampling", "sources": described}


def conversion_of(dataset: Dataset) -> Any:
    """How the source was converted, as its own conversion.json says; None: it does not."""
    try:
        return read_json(dataset.root, CONVERSION)
    except DataProblem:
        return None
