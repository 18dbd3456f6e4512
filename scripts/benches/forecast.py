"""The disk guard against reality: random `bc` trainings on small disks, each forecast before it runs, then run.

    scripts/bench forecast [--runs N] [--seed N] [--json FILE]

Every run is this package's own trainer (Hugging Face's `Trainer`: its saves, its rotation) writing on a tmpfs of a
random size, with random save steps, limit, model size and a random other writer. The guard names the first save that
will fail from the plan alone before the launch, and again from what lies on the disk at a random step. It may be wrong
in one direction only. Needs root (mount) and the train extra; a run takes a few seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

#: (step, 0 for a checkpoint or 1 for the final model) of a failing save; None: all fit.
Failing = tuple[int, int] | None
STATE_DIM, ACTION_DIM = 31, 23


@dataclass(frozen=True)
class Trial:
    """One training on one disk."""

    hidden_size: int
    layers: int
    steps: int
    save_steps: int
    limit: int | None
    #: Bytes a step that another writer adds.
    background: int
    disk: int
    #: The step at which the guard is asked again.
    look: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    trial: Trial
    before: Failing
    later: Failing
    actual: Failing
    error: str
    seconds: float

    def grade(self, said: Failing) -> str:
        """exact, conservative (said a save fails that did not, yet) or optimistic."""
        if said == self.actual:
            return "exact"
        if self.actual is None:
            return "conservative"
        return "optimistic" if said is None or said > self.actual else "conservative"


def draw(rng: random.Random) -> Trial:
    """A random trial, its disk 45 to 115 % of what the run will need."""
    from dm_isaac_g1.core.samples import Disk
    from dm_isaac_g1.finetuning.guard import forecast
    from dm_isaac_g1.finetuning.timeline import Writer

    save_steps = rng.choice((5, 7, 10, 12))
    steps = save_steps * rng.randint(2, 5) + rng.choice((0, 0, 3))
    trial = Trial(
        hidden_size=rng.choice((96, 128, 160, 192)),
        layers=rng.randint(1, 4),
        steps=steps,
        save_steps=save_steps,
        limit=rng.choice((1, 2, 3, None)),
        background=rng.choice((0, rng.randint(1_000, 60_000))),
        disk=0,
        look=rng.randint(1, steps - 1),
        seed=rng.randrange(1 << 30),
    )
    ample = Disk(dev=1, mount="/", total=1 << 40, avail=1 << 40)
    word = forecast(
        ample, [Writer(run="r", plan=launch_of(trial).save, rate=1.0)], background=trial.background, next_saves=1000
    )
    need = (1 << 40) - min(save.free_at_peak for save in word.saves)
    return Trial(**{**asdict(trial), "disk": int(need * rng.uniform(0.45, 1.15)) // 4096 * 4096})


def launch_of(trial: Trial, dataset: str = "/dataset", output: str = "/output") -> Any:
    """The command line and save plan that dm-g1 would launch this trial with."""
    from dm_isaac_g1.core.profile import Host
    from dm_isaac_g1.core.recipe import Recipe
    from dm_isaac_g1.finetuning.trainers.bc import command
    from dm_isaac_g1.finetuning.trainers.order import Order

    recipe = Recipe(
        name="trial",
        trainer="bc",
        steps=trial.steps,
        batch_size=4,
        save_steps=trial.save_steps,
        save_total_limit=trial.limit,
        seed=trial.seed,
        options={"hidden_size": trial.hidden_size, "layers": trial.layers, "device": "cpu"},
    )
    features = {"observation.state": {"shape": [STATE_DIM]}, "action": {"shape": [ACTION_DIM]}}
    host = Host(ssh="x", python=sys.executable)
    info = {"features": features}
    return command(
        Order(recipe=recipe, host=host, datasets=(dataset,), output=output, workspace="/", dataset_info=info)
    )


def ask(trial: Trial, folder: Path, output: Path, step: int) -> Failing:
    """What the guard says fails first, from the disk as it is. Its clock counts steps, one a second."""
    from dm_isaac_g1.core.runs import Checkpoint
    from dm_isaac_g1.core.samples import Disk
    from dm_isaac_g1.finetuning.guard import forecast
    from dm_isaac_g1.finetuning.timeline import Writer
    from dm_isaac_g1.remote.agent_questions import ask_checkpoints, ask_disks

    rows: list[dict[str, Any]] = []
    if output.is_dir():
        rows = ask_checkpoints(str(output), ended=True)
    known = set(Checkpoint.__struct_fields__)
    there = tuple(Checkpoint(**{k: v for k, v in row.items() if k in known}) for row in rows)
    row = ask_disks({"output": str(folder)})[0]
    disk = Disk(**{**row, "paths": tuple(row["paths"])})
    run = Writer(run="r", plan=launch_of(trial).save, step=step, rate=1.0, checkpoints=there, save_seconds=0.0)
    word = forecast(disk, [run], background=trial.background, reserve=0)
    return None if word.failing is None else (word.failing.step, int(word.failing.kind == "final"))


def run(trial: Trial, dataset: Path, folder: Path, answer: Connection) -> None:
    """In a process of its own: train, and say how it ended."""
    from transformers import TrainerCallback, trainer

    from dm_isaac_g1.finetuning.bc.__main__ import main as trainer_main

    output = folder / "out"
    seen: dict[str, Any] = {"step": 0, "ended": False, "later": "never asked"}

    class Watch(TrainerCallback):  # type: ignore[misc]
        """The other writer, and the one who asks the guard."""

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            with contextlib.suppress(OSError), (folder / "others").open("ab") as file:
                file.write(bytes(trial.background))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seen["step"] = state.global_step
            if state.global_step == trial.look:
                seen["later"] = ask(trial, folder, output, state.global_step)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seen["ended"] = True

    trainer.DEFAULT_CALLBACKS.append(Watch)
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    argv = launch_of(trial, str(dataset), str(output)).argv
    try:
        code = trainer_main(list(argv[argv.index("dm_isaac_g1.finetuning.bc") + 1 :]))
    except BaseException as error:
        answer.send((seen, f"{type(error).__name__}: {error}"[:200]))
    else:
        answer.send((seen, f"exit code {code}" if code else ""))
    answer.close()
    os._exit(0)


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """A tmpfs of `size` bytes. Raises PermissionError where this process may not mount."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PermissionError(f"cannot mount a tmpfs: {done.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


def play(trial: Trial, dataset: Path) -> Outcome:
    """Forecast, run, compare. Raises RuntimeError where the training failed for another reason than the disk."""
    from dm_isaac_g1.finetuning.diagnosis import diagnose

    started = time.monotonic()
    context = multiprocessing.get_context("fork")  # torch and transformers are imported once, by the parent
    with small_disk(trial.disk) as folder:
        before = ask(trial, folder, folder / "out", 0)
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=run, args=(trial, dataset, folder, theirs))
        child.start()
        theirs.close()
        try:
            if not ours.poll(120):
                raise TimeoutError("a trial took more than 120 s")
            seen, error = ours.recv()
        finally:
            child.join(10)
            if child.is_alive():
                child.kill()
                child.join()
    found = diagnose(error) if error else None
    if error and (found is None or found.code != "disk-full"):
        raise RuntimeError(f"a trial failed of something else than a full disk: {error}")
    actual = _failed_at(trial, seen) if error else None
    later = seen["later"]
    if later == "never asked":  # it failed before: nothing to grade
        later = actual
    return Outcome(trial, before, later, actual, error, time.monotonic() - started)


def _failed_at(trial: Trial, seen: dict[str, Any]) -> Failing:
    """The save that failed. One between two saves (an event file's write) is the next save's failure."""
    if seen["ended"]:
        return trial.steps, 1
    step = seen["step"]
    return min(-(-step // trial.save_steps) * trial.save_steps, trial.steps), 0


def play_many(count: int, seed: int) -> Iterator[Outcome]:
    """`count` random trials."""
    import transformers  # noqa: F401

    import dm_isaac_g1.finetuning.bc.train  # noqa: F401
    from dm_isaac_g1.lab import seed as seeding

    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder) / "dataset"
        seeding.write(dataset)
        for _ in range(count):
            yield play(draw(rng), dataset)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench forecast", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args(argv)
    outcomes: list[Outcome] = []
    print(f"{'#':>3} {'disk MB':>8} {'limit':>5} {'saves':>9} {'others KB':>9}  {'said':>12} {'later':>12} {'was':>12}")
    for outcome in play_many(options.runs, options.seed):
        outcomes.append(outcome)
        trial = outcome.trial
        print(
            f"{len(outcomes):>3} {trial.disk / 1e6:>8.2f} {trial.limit or '-':>5}"
            f" {trial.save_steps:>3} of {trial.steps:<3}"
            f"{trial.background / 1e3:>9.1f}  {_word(outcome.before):>12} {_word(outcome.later):>12}"
            f" {_word(outcome.actual):>12}  {outcome.grade(outcome.before)} {outcome.grade(outcome.later)}",
            flush=True,
        )
    figures: dict[str, Any] = {"bench": "forecast", "runs": len(outcomes), "seed": options.seed}
    figures["failed"] = sum(o.actual is not None for o in outcomes)
    for name in ("before", "later"):
        grades = [o.grade(getattr(o, name)) for o in outcomes]
        figures |= {f"{name}_{grade}": grades.count(grade) for grade in ("exact", "conservative", "optimistic")}
    text = json.dumps(figures)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    good = all(
        figures[f"{name}_optimistic"] == 0 and figures[f"{name}_exact"] >= 0.9 * len(outcomes)
        for name in ("before", "later")
    )
    return 0 if good else 1


def _word(failing: Failing) -> str:
    return "fits" if failing is None else f"{failing[0]}{' final' if failing[1] else ''}"


if __name__ == "__main__":
    sys.exit(main())
