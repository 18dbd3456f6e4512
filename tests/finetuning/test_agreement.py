"""One real training, read twice: its log and its TensorBoard file say the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dm_isaac_g1.finetuning.tfevents import EventFileReader
from dm_isaac_g1.finetuning.trainlog import Phase, TrainLogReader
from dm_isaac_g1.fleet.curves import Curves

pytestmark = [pytest.mark.train, pytest.mark.slow]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bc run of 60 steps, then resumed to 80; its log in `log`."""
    pytest.importorskip("transformers", reason="needs the train extra")
    pytest.importorskip("pyarrow", reason="needs the train extra")
    from dm_isaac_g1.lab import seed

    folder = tmp_path_factory.mktemp("run")
    seed.write(folder / "dataset")
    command = [sys.executable, "-m", "dm_isaac_g1.finetuning.bc", "--dataset", str(folder / "dataset")]
    command += ["--output", str(folder / "out"), "--batch-size", "4", "--learning-rate", "1e-3", "--save-steps", "20"]
    command += ["--save-total-limit", "2", "--hidden-size", "32", "--layers", "1", "--logging-steps", "5"]
    command += ["--device", "cpu"]
    for steps in ("60", "80"):
        with (folder / "log").open("ab") as log:
            subprocess.run(
                [*command, "--steps", steps],
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
                timeout=100,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
    return folder


def test_log_events_and_state_agree(trained: Path) -> None:
    reader = TrainLogReader()
    data = (trained / "log").read_bytes()
    logged = [p for at in range(0, len(data), 100) for p in reader.feed(data[at : at + 100])]
    from_log, from_events = Curves(), Curves()
    from_log.extend(logged)
    texts: dict[str, str] = {}
    files = sorted((trained / "out" / "runs").rglob("events.out.tfevents.*"))
    assert len(files) >= 2  # the resumed run writes its own
    for file in reversed(files):  # in any order
        events = EventFileReader()
        from_events.extend(events.feed(file.read_bytes()))
        assert not events.corrupt and not events.waiting
        texts |= events.texts
    state = json.loads((trained / "out" / "checkpoint-80" / "trainer_state.json").read_text())
    own = {(h["step"], k): v for h in state["log_history"] for k, v in h.items() if k in ("loss", "grad_norm")}
    assert len(own) == 32
    for name in ("loss", "grad_norm"):
        log, event = from_log.by_name[name], from_events.by_name[name]
        assert list(log.steps) == list(event.steps) == list(range(5, 81, 5))
        for step, a, b in zip(log.steps, log.values, event.values, strict=True):
            assert b == pytest.approx(own[step, name], rel=1e-6)  # a float32 of the same number
            assert a == pytest.approx(own[step, name], rel=1e-3)  # the log shows four digits
    assert reader.phase is Phase.FINISHED and (reader.step, reader.max_steps) == (80, 80)
    assert any('"max_steps": 80' in text or '"max_steps": 60' in text for text in texts.values())
