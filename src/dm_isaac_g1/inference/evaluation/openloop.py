"""The open-loop test: recorded observations in, predicted actions beside the recorded ones. No robot moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.data.work import Work
from dm_isaac_g1.inference.evaluation import answers, metrics
from dm_isaac_g1.inference.evaluation.recording import Recording, Recordings
from dm_isaac_g1.inference.evaluation.results import Definition, EvaluationError, OpenLoop, Taken, Trajectory

if TYPE_CHECKING:
    from dm_isaac_g1.data.dataset import Dataset

#: NVIDIA's defaults: `--steps` and `--action-horizon` of open_loop_eval.py.
STEPS, HORIZON = 200, 16


class Policy(Protocol):
    """A client of a server, or a policy itself."""

    def get_action(self, observation: dict[str, Any], options: dict[str, Any] | None = None) -> tuple[Any, Any]: ...


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be evaluated. `trajectories`: episode numbers; none: the first. `keys`: groups of the action to
    compare; none: all.

    `horizon` None: NVIDIA's, or the policy's own where it predicts less.
    """

    trajectories: tuple[int, ...] = ()
    steps: int = STEPS
    horizon: int | None = None
    keys: tuple[str, ...] = ()
    definition: Definition = "n1.6"


class Traces(msgspec.Struct, frozen=True):
    """One trajectory as it was and as it was predicted: (steps, values) each. `sent`: steps with an observation."""

    episode: int
    fps: float
    names: tuple[tuple[str, str], ...]
    recorded: NDArray[np.float32]
    predicted: NDArray[np.float32]
    sent: tuple[int, ...]


def evaluate(
    policy: Policy, dataset: Dataset, taken: Taken, order: Order, work: Work | None = None
) -> Iterator[tuple[Trajectory, Traces]]:
    """Each trajectory in turn. Checked before the first observation is sent: groups, cameras, episodes, horizon.

    Raises EvaluationError (what does not fit, an answer that makes no sense), DataProblem, and what `policy` raises.
    """
    work = work or Work()
    horizon = horizon_of(taken, order)
    unknown = [key for key in order.keys if key not in taken.action]
    if unknown:
        raise EvaluationError(f"the policy's action has no {', '.join(unknown)} (it has {', '.join(taken.action)})")
    recordings = Recordings(dataset, taken, order.keys)
    for number in chosen(dataset, order):
        reset(policy, number)
        yield _trajectory(policy, recordings, recordings.episode(number), order, horizon, work)


def reset(policy: Policy, episode: int) -> None:
    """A new episode begins: for policies that remember, and for one that replays a recording the one to replay."""
    begin = getattr(policy, "reset", None)
    if begin is not None:
        begin({"episode_index": episode, "step_index": 0})


def summary(dataset: Dataset, taken: Taken, order: Order, found: Sequence[Trajectory]) -> OpenLoop:
    """All trajectories together."""
    return OpenLoop(
        dataset=dataset.root.resolve().name,
        definition=order.definition,
        steps=order.steps,
        action_horizon=horizon_of(taken, order),
        groups=order.keys or taken.action,
        mse=metrics.average([each.mse for each in found]),
        mae=metrics.average([each.mae for each in found]),
        trajectories=tuple(found),
        joints=metrics.joint_averages(found),
    )


def chosen(dataset: Dataset, order: Order) -> tuple[int, ...]:
    """The episodes' numbers. Raises IntegrityError where one is not there."""
    numbers = order.trajectories or (dataset.episodes[0].index,)
    for number in numbers:
        dataset.episode(number)
    return numbers


def horizon_of(taken: Taken, order: Order) -> int:
    """How many steps of each answer are used. Raises EvaluationError where the policy predicts less than asked for."""
    if order.horizon is None:
        return min(HORIZON, taken.horizon)
    if order.horizon > taken.horizon:
        raise EvaluationError(
            f"an action horizon of {order.horizon} is more than the policy predicts",
            fix=f"it predicts {taken.horizon} steps",
        )
    return order.horizon


def _trajectory(
    policy: Policy, recordings: Recordings, recording: Recording, order: Order, horizon: int, work: Work
) -> tuple[Trajectory, Traces]:
    count = metrics.counted(recording.length, order.steps, order.definition)
    groups = [place.group for place in recordings.action]
    sent, chunks = tuple(metrics.starts(count, horizon)), []
    for done, step in enumerate(sent):
        work.progress(f"Episode {recording.number}", done, len(sent), "answers")
        at = f"at step {step} of episode {recording.number}"
        answer, _ = policy.get_action(recording.observation(step))
        parts = answers.chunk(answer, groups, at=at)
        _check(parts, recordings, horizon, at)
        chunks.append(np.concatenate([parts[group][:horizon] for group in groups], axis=1))
    recorded = metrics.held(recording.action, count)
    predicted = metrics.joined(chunks, count, horizon).astype(np.float32)
    names = tuple(recordings.names)
    found = metrics.trajectory(recording.number, recording.length, recorded, predicted, names)
    return found, Traces(recording.number, recordings.dataset.fps, names, recorded, predicted, sent)


def _check(parts: dict[str, NDArray[np.floating]], recordings: Recordings, horizon: int, at: str) -> None:
    for place in recordings.action:
        steps, width = parts[place.group].shape
        if width != len(place.places):
            raise EvaluationError(
                f"the answer's {place.group} {at} has {width} values, the dataset's has {len(place.places)}",
                where=recordings.groups.name,
                fix="is it a dataset of another embodiment?",
            )
        if steps < horizon:
            raise EvaluationError(f"the answer's {place.group} {at} has {steps} steps, not the {horizon} it promised")
