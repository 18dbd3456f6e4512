"""The whole test of a server, in one thread: look, measure, compare, and keep what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dm_isaac_g1.core.errors import DmG1Error, UsageError
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.inference.evaluation import latency, openloop, plots, probe
from dm_isaac_g1.inference.evaluation.groups import Groups
from dm_isaac_g1.inference.evaluation.recording import Recordings
from dm_isaac_g1.inference.evaluation.results import (
    EvaluationError,
    Latency,
    OpenLoop,
    Taken,
    Trajectory,
    plain,
    write_json,
)
from dm_isaac_g1.inference.observations import canned
from dm_isaac_g1.inference.protocol import ServerError
from dm_isaac_g1.inference.specs import PolicySpec

if TYPE_CHECKING:
    from dm_isaac_g1.data.dataset import Dataset

#: Points of a curve in what is shown in a terminal, and curves: the worst ones.
POINTS, CURVES = 240, 8
#: What helps where an observation cannot be made up.
SHOW = "show it a recording: --dataset"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. Paths are where this process runs; all but `server` may be left out."""

    #: As the user knows it, for what is shown.
    server: str
    clients: tuple[int, ...] = (1, 4)
    #: Of each count of clients; 0: not measured.
    seconds: float = 3.0
    warm_up: int = latency.WARM_UP
    dataset: Path | None = None
    order: openloop.Order = openloop.Order()
    plot: Path | None = None
    out: Path | None = None


def examine(connect: latency.Connect, plan: Plan, work: Work) -> dict[str, Any]:
    """Everything that `plan` asks for, as plain JSON values: "probe", "latency", "open_loop", "curves", "plots", "out".

    The files that are wanted are looked at before the server is. Raises what the client raises, TokenRefused,
    EvaluationError, DataProblem, DmG1Error (matplotlib is missing, a folder to write into).
    """
    dataset = _prepared(plan, work)
    try:
        return _examined(connect, plan, dataset, work)
    except DmG1Error as error:
        raise probe.plainly(error, plan.server) from None


def _examined(connect: latency.Connect, plan: Plan, dataset: Dataset | None, work: Work) -> dict[str, Any]:
    with connect() as client:
        work.progress(f"Asking {plan.server}")
        seen, known = probe.look(client, plan.server)  # type: ignore[arg-type]  # a client is a policy, and more
        taken = seen.takes if seen.takes.action or dataset is None else recorded(dataset)
        observation = _observation(dataset, taken, plan.order, known)
        gives, steps, took = _first(client, observation, seen.takes, dataset)
        if not seen.takes.action:
            taken = msgspec.structs.replace(taken, action=tuple(gives), horizon=steps)
        dialect = str(getattr(client, "dialect", None) or seen.dialect)
        seen = msgspec.structs.replace(seen, takes=taken, gives=gives, steps=steps, first_ms=took, dialect=dialect)
        measured = _load(connect, observation, plan, work)
        found, traces = _compare(client, dataset, taken, plan, work)
    said: dict[str, Any] = {
        "server": plan.server,
        "probe": plain(seen),
        "latency": plain(measured),
        "open_loop": plain(found),
        "curves": None,
        "plots": [],
        "out": None,
    }
    if found is not None:
        worst = max(range(len(traces)), key=lambda each: found.trajectories[each].mse)
        said["curves"] = curves(traces[worst], found.trajectories[worst])
        if plan.plot is not None:
            said["plots"] = _draw(plan.plot, traces, found, work)
    if plan.out is not None:
        write_json(plan.out, {name: value for name, value in said.items() if name != "out"})
        said["out"] = str(plan.out)
    return said


def recorded(dataset: Dataset) -> Taken:
    """What a server takes that does not say: all groups and cameras of the dataset; its answer shows what it gives."""
    groups = Groups(dataset)
    return Taken(
        state=tuple(groups.known("state")),
        action=tuple(groups.known("action")),
        cameras=tuple(groups.cameras()),
        language=groups.language(),
    )


def curves(traces: openloop.Traces, found: Trajectory) -> dict[str, Any]:
    """The worst joints of a trajectory as few points: what a terminal draws."""
    from dm_isaac_g1.data.show.thinning import thinned

    places = sorted(range(len(found.joints)), key=lambda place: -found.joints[place].mse)[:CURVES]
    seconds = np.arange(len(traces.recorded)) / traces.fps
    both = np.concatenate([traces.recorded[:, places], traces.predicted[:, places]], axis=1)
    times, values = thinned(seconds, both.astype(np.float64), POINTS)
    columns = values.round(5).T.tolist()
    return {
        "episode": traces.episode,
        "seconds": round(float(seconds[-1]), 4),
        "times": times.round(4).tolist(),
        "joints": [
            plain(found.joints[place]) | {"recorded": columns[at], "predicted": columns[at + len(places)]}
            for at, place in enumerate(places)
        ],
    }


def _prepared(plan: Plan, work: Work) -> Dataset | None:
    if plan.plot is not None:
        plots.check(plan.plot)
    if plan.out is not None and not plan.out.absolute().parent.is_dir():
        raise DmG1Error("no such folder", where=str(plan.out.absolute().parent))
    if plan.dataset is None:
        return None
    from dm_isaac_g1.data.dataset import Dataset

    return Dataset.open(plan.dataset, work)


def _observation(
    dataset: Dataset | None, taken: Taken, order: openloop.Order, known: PolicySpec | Mapping[str, Any]
) -> dict[str, Any]:
    """What the clients send: the first frame of the first trajectory, or a robot that stands still."""
    if dataset is not None:
        if taken.horizon:
            openloop.horizon_of(taken, order)
        return Recordings(dataset, taken, order.keys).episode(openloop.chosen(dataset, order)[0]).observation(0)
    if not taken.action:
        raise EvaluationError("the server does not say what it takes", fix=SHOW)
    try:
        made: dict[str, Any] = canned(known)
    except UsageError as error:
        raise EvaluationError(error.what, fix=SHOW) from None
    return made


def _first(
    client: openloop.Policy, observation: dict[str, Any], taken: Taken, dataset: Dataset | None
) -> tuple[dict[str, int], int, float]:
    try:
        return probe.first(client, observation, taken)
    except ServerError as error:
        # What was made up may have other widths than the model.
        raise ServerError(error.said, fix=SHOW if dataset is None else error.fix) from None


def _load(connect: latency.Connect, observation: dict[str, Any], plan: Plan, work: Work) -> list[Latency]:
    if plan.seconds <= 0:
        return []
    return [
        latency.measure(connect, observation, clients=count, seconds=plan.seconds, warm_up=plan.warm_up, work=work)
        for count in dict.fromkeys(plan.clients)
    ]


def _compare(
    client: openloop.Policy, dataset: Dataset | None, taken: Taken, plan: Plan, work: Work
) -> tuple[OpenLoop | None, list[openloop.Traces]]:
    if dataset is None:
        return None, []
    found: list[Trajectory] = []
    traces: list[openloop.Traces] = []
    for trajectory, trace in openloop.evaluate(client, dataset, taken, plan.order, work):
        found.append(trajectory)
        traces.append(trace)
    return openloop.summary(dataset, taken, plan.order, found), traces


def _draw(path: Path, traces: Sequence[openloop.Traces], found: OpenLoop, work: Work) -> list[str]:
    made = []
    for number, (trace, trajectory) in enumerate(zip(traces, found.trajectories, strict=True)):
        work.progress("Drawing", number, len(traces), "plots")
        target = plots.path_for(path, trace.episode, several=len(traces) > 1)
        plots.save(target, trace, trajectory, title=found.dataset)
        made.append(str(target))
    return made
