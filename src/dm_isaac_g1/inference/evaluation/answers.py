"""What a server answered, held to what it promised: names, shapes, numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.inference.evaluation.results import EvaluationError, Taken

T = TypeVar("T")

#: Keys and steps of a modality that are looked at, and moments of an observation at most.
MOST, MOMENTS = 4096, 64
#: The modalities of a config, and what N1.5 and the sim wrapper put before their keys.
_PREFIXES = ("video.", "state.", "action.")


def taken(modality: Any) -> Taken:
    """Of the answer to get_modality_config: `delta_indices` and `modality_keys` of each modality.

    Raises EvaluationError where it says of no action.
    """
    modality = modality if isinstance(modality, Mapping) else {}
    configs = {name: modality.get(name) for name in ("video", "state", "action", "language")}
    keys = {name: tuple(bare(key) for key in _list(config, "modality_keys", str)) for name, config in configs.items()}
    deltas = {name: tuple(_list(config, "delta_indices", int)) for name, config in configs.items()}
    if max(len(deltas["video"]), len(deltas["state"])) > MOMENTS:
        raise EvaluationError(f"the server wants more than {MOMENTS} moments in an observation")
    if not keys["action"] or not deltas["action"]:
        raise EvaluationError("the server's modality config says of no action", fix="is it a policy server?")
    return Taken(
        state=keys["state"],
        cameras=keys["video"],
        language=keys["language"][0] if keys["language"] else None,
        action=keys["action"],
        horizon=len(deltas["action"]),
        state_steps=deltas["state"] or (0,),
        video_steps=deltas["video"] or (0,),
    )


def bare(key: str) -> str:
    """action.left_arm -> left_arm; annotation.* is a key as it is."""
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


def chunk(answer: Any, groups: Sequence[str], *, at: str = "") -> dict[str, NDArray[np.floating]]:
    """Group -> (steps, values) of the first of the batch. `at`: where in the test, for errors.

    Raises EvaluationError: a group is missing, has another shape than (1, steps, values), or is not finite.
    """
    actions = {bare(str(name)): value for name, value in answer.items()} if isinstance(answer, Mapping) else {}
    where = f" {at}" if at else ""
    missing = [group for group in groups if group not in actions]
    if missing:
        there = _told(actions) or "nothing"
        raise EvaluationError(f"the answer{where} lacks {_told(missing)} (it has {there})")
    found: dict[str, NDArray[np.floating]] = {}
    for group in groups:
        value = actions[group]
        if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.floating):
            kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise EvaluationError(f"the answer's {group}{where} is {kind}, expected an array of floats")
        if value.ndim != 3 or value.shape[0] != 1 or not value.size:
            raise EvaluationError(f"the answer's {group}{where} has shape {value.shape}, expected (1, steps, values)")
        wrong = np.argwhere(~np.isfinite(value[0]))
        if len(wrong):
            step, place = (int(each) for each in wrong[0])
            raise EvaluationError(
                f"the answer's {group}{where} holds {value[0, step, place]} (its step {step}, value {place})",
                fix="the model is broken: was its loss NaN? do not put it on a robot",
            )
        found[group] = value[0]
    return found


def _list(config: Any, name: str, kind: type[T]) -> list[T]:
    """What of it is of that kind: a server may send anything."""
    value = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    listed = value[:MOST] if isinstance(value, list | tuple) else ()
    return [each for each in listed if isinstance(each, kind)]


def _told(names: Iterable[str]) -> str:
    """Names of a server's in an error: not all of a thousand."""
    listed = [name[:60] for name in names]
    return ", ".join(listed[:20]) + (", …" if len(listed) > 20 else "")
