"""A trainer's log into points: equal to what the trainer wrote into its own state."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from dm_isaac_g1.core.runs import MetricPoint
from dm_isaac_g1.finetuning.trainlog import Phase, TrainLogReader, is_nan

LOGS = Path(__file__).parent.parent / "captures" / "logs"
SUMMARY = ("train_",)


def read(data: bytes, size: int = 1 << 20, wall: float | None = None) -> tuple[TrainLogReader, list[MetricPoint]]:
    reader = TrainLogReader()
    points = [p for at in range(0, len(data), size) for p in reader.feed(data[at : at + size], wall)]
    return reader, points


def logged(points: list[MetricPoint]) -> dict[tuple[int, str], float]:
    return {(p.step, p.name): p.value for p in points if not p.name.startswith(SUMMARY)}


@pytest.mark.parametrize("size", [1, 17, 4096, 1 << 20])
@pytest.mark.parametrize(
    ("log", "state", "after"),
    [("REAL_n16trainer_ok.log", "trainer_state_ok.json", 0), ("REAL_resumed.log", "trainer_state_resumed.json", 200)],
)
def test_points_equal_the_trainers_own_state(log: str, state: str, after: int, size: int) -> None:
    history = json.loads((LOGS / state).read_text())["log_history"]
    own = {(h["step"], k): v for h in history if h["step"] > after for k, v in h.items() if k != "step"}
    reader, points = read((LOGS / log).read_bytes(), size)
    assert logged(points) == own
    assert reader.step == reader.max_steps == max(step for step, _ in own)
    assert reader.phase is Phase.FINISHED


def test_the_run_summary_stands_at_the_last_step() -> None:
    _, points = read((LOGS / "REAL_n16trainer_ok.log").read_bytes())
    summary = {p.name: (p.step, p.value) for p in points if p.name.startswith(SUMMARY)}
    assert summary["train_runtime"] == (300, 10.9922)
    assert summary["train_loss"] == (300, 0.4008363668123881)


def test_quoted_values_of_transformers_5_are_numbers() -> None:
    reader, points = read((LOGS / "v5.log").read_bytes(), 100)
    values = logged(points)
    assert values[10, "loss"] == 0.5725
    assert values[20, "epoch"] == 0.1667
    assert sorted({step for step, name in values if name == "loss"}) == list(range(10, 121, 10))
    assert reader.max_steps == 120  # not the 3 of "Writing model shards"


@pytest.mark.parametrize(("log", "last"), [("two_ranks.log", 60), ("two_ranks_tee.log", 40)])
@pytest.mark.parametrize("size", [3, 1 << 20])
def test_two_ranks_give_each_point_once(log: str, last: int, size: int) -> None:
    reader, points = read((LOGS / log).read_bytes(), size)
    losses = [p.step for p in points if p.name == "loss"]
    assert losses == list(range(10, last + 1, 10))
    assert reader.max_steps == last


def test_a_rank_prefix_is_not_in_the_way() -> None:
    reader, points = read(
        b"[rank0]: {'loss': 0.5, 'grad_norm': 1.0}\n[rank0]:   5%|#   | 5/100 [00:01<00:19, 5.0it/s]\n"
    )
    assert logged(points) == {(5, "loss"): 0.5, (5, "grad_norm"): 1.0}
    assert reader.max_steps == 100


def test_nan_that_prints_as_zero_is_nan() -> None:
    reader, points = read((LOGS / "nan_loss.log").read_bytes())
    values = logged(points)
    assert values[70, "loss"] == 0.0 and math.isnan(values[70, "grad_norm"])
    assert reader.nan_step == 70 and reader.nan_now


def test_a_true_zero_loss_is_no_nan() -> None:
    assert not is_nan(0.0, 0.1)
    assert not is_nan(0.4, math.inf)  # one overflowed gradient is skipped by mixed precision: no alarm
    assert is_nan(0.0, math.inf) and is_nan(math.nan, None) and is_nan(math.inf, 1.0)


def test_infinity_and_bare_nan_are_read() -> None:
    _, points = read(b"{'loss': inf, 'grad_norm': -inf, 'learning_rate': nan}\n\r 1%|  | 1/100 [00:01<01:00, 1.0it/s]")
    values = logged(points)
    assert values[1, "loss"] == math.inf and values[1, "grad_norm"] == -math.inf
    assert math.isnan(values[1, "learning_rate"])


def test_a_finished_run_started_again_says_step_401_of_400() -> None:
    reader, points = read((LOGS / "relaunch_when_complete.log").read_bytes())
    assert reader.step == 401 and {p.step for p in points} == {401}


def test_other_bars_do_not_move_the_step() -> None:
    data = (
        b"\rLoading checkpoint shards:  50%|##  | 1/2 [00:01<00:01, 1.0s/it]\n"
        b"\r  0%|   | 0/90 [00:00<?, ?it/s]\r100%|###| 90/90 [00:01<00:00, 90it/s]\n"
        b"\r  0%|   | 0/300 [00:00<?, ?it/s]\r  3%|  | 9/300 [00:01<00:30, 9it/s]"
        b"\r      \r{'loss': 1.5}\n\r  3%|  | 10/300 [00:01<00:30, 9it/s]"
        b"\r 50%|##  | 3/6 [00:01<00:01, 3it/s]\rEvaluating:  50%|##  | 100/300 [00:01<00:01, 3it/s]"
    )
    for size in (1, 1 << 20):
        reader, points = read(data, size)
        assert (reader.step, reader.max_steps) == (10, 300)
        assert logged(points) == {(10, "loss"): 1.5}


def test_dicts_that_are_no_metrics_are_left_alone() -> None:
    data = b"{'left_leg': 6, 'right_leg': 6}\n{'loss': 'high'}\n{'video': {'fps': 30}}\n"
    data += b"\r 1%|  | 1/100 [00:01<01:00, 1.0it/s]"
    assert read(data)[1] == []


def test_text_glued_to_bars_and_dicts_is_no_obstacle() -> None:
    data = (
        b"\r  0%|   | 0/50 [00:00<?, ?it/s]Rank 3, Worker 1: Caching shard...Rank 3, Worker 2: Caching shard..."
        b"\r  6%|   | 3/50 [00:00<?, ?it/s]Copying things{'loss': 2.0}\n"
    )
    reader, points = read(data)
    assert points == [] and reader.step == 3
    assert logged(reader.feed(b"\r  8%|   | 4/50 [00:01<00:11, 4.0it/s]")) == {(4, "loss"): 2.0}


def test_held_back_output_is_spread_over_its_steps() -> None:
    """Without PYTHONUNBUFFERED stdout comes in bursts: the first line of a burst may belong to long ago."""
    data = b"{'loss': 9.0}\n\r 1%| | 10/900 [00:01<00:09, 9it/s]\n{'loss': 8.0}\n"
    data += b"\r 2%| | 20/900 [00:02<00:09, 9it/s]\r 6%| | 55/900 [0:03<0:9, 9it/s]"
    burst = b"{'loss': 7.0}\n{'loss': 6.0}\n{'loss': 5.0}\n\r 7%| | 57/900 [00:04<00:09, 9it/s]"
    assert logged(read(data + burst)[1]) == {(s, "loss"): 11.0 - s // 10 - 1 for s in (10, 20, 30, 40, 50)}


@pytest.mark.parametrize(
    ("log", "phase"),
    [
        ("REAL_n16trainer_ok.log", Phase.FINISHED),
        ("REAL_diskfull_optimizer.log", Phase.FAILED),
        ("REAL_keyerror_in_worker.log", Phase.FAILED),
        ("sig_torchrun_launcher_SIGKILL.log", Phase.TRAINING),
    ],
)
def test_the_phase_is_what_the_log_last_said(log: str, phase: Phase) -> None:
    data = (LOGS / log).read_bytes()
    for size in (50, 1 << 20):
        assert read(data, size)[0].phase is phase


def test_phases_follow_one_another() -> None:
    reader = TrainLogReader()
    assert reader.phase is Phase.STARTING
    for data, phase in (
        (b"Rank 0, Worker 0: Caching shard...", Phase.CACHING),
        (b"\r  1%|  | 1/100 [00:01<01:00, 1.0it/s]", Phase.TRAINING),
        (b"\n\rWriting model shards:   0%|     | 0/3 [00:00<?, ?it/s]", Phase.SAVING),
        (b"\r  2%|  | 2/100 [00:02<01:00, 1.0it/s]", Phase.TRAINING),
        (b"Traceback (most recent call last):\n", Phase.FAILED),
        (b"\r  2%|  | 2/100 [00:02<01:00, 1.0it/s]\n", Phase.FAILED),
    ):
        reader.feed(data)
        assert reader.phase is phase, data


def test_a_log_read_whole_has_its_times_from_the_bar() -> None:
    _, points = read((LOGS / "REAL_n16trainer_ok.log").read_bytes(), wall=5000.0)
    walls = {p.step: p.wall for p in points if p.name == "loss"}
    assert walls[300] == 5000.0
    assert walls[10] == 4990.0  # ten seconds before, as the bar says
    assert list(walls.values()) == sorted(w for w in walls.values() if w)


def test_a_live_point_has_the_time_of_its_bytes() -> None:
    reader = TrainLogReader()
    reader.feed(b"\r  1%|  | 1/100 [00:01<01:00, 1.0it/s]", 100.0)
    points = reader.feed(b"\r   \r{'loss': 1.0}\n\r  2%|  | 2/100 [00:02<01:00, 1.0it/s]", 101.25)
    assert [p.wall for p in points] == [101.25]


def test_an_unknown_time_is_none() -> None:
    _, points = read((LOGS / "REAL_n16trainer_ok.log").read_bytes())
    assert {p.wall for p in points} == {None}


def test_garbage_is_no_metric_and_no_crash() -> None:
    reader = TrainLogReader()
    for data in (b"\xff\xfe{'loss': 1.2.3}\n", b"\x00" * 100, b"x" * 3_000_000, b"\r" * 1000, b"{'loss': 1e999}\n"):
        reader.feed(data)
    assert len(reader._tail) <= 64 * 1024
    assert logged(reader.feed(b"{'loss': 1.0}\n\r  2%|  | 2/100 [00:02<01:00, 1.0it/s]"))[2, "loss"] == 1.0


def test_a_hundred_thousand_steps_are_read_in_half_a_second() -> None:
    bar = "\r 50%|█████     | {}/100000 [10:00<10:00, 26.98it/s]"
    metrics = "\r" + " " * 60 + "\r{{'loss': 0.{:05d}, 'grad_norm': 0.0239385, 'learning_rate': 0.0006}}\n"
    data = "".join(
        bar.format(n) + (metrics.format(n % 99_999) + bar.format(n) if n % 10 == 0 else "") for n in range(1, 100_001)
    ).encode()
    started = time.process_time()
    _, points = read(data, 1 << 18, wall=1.0)
    assert len(points) == 30_000
    assert time.process_time() - started < 1.0  # half a second in the bench; a busy machine is slower


def test_a_second_run_in_the_same_log_has_its_own_end() -> None:
    first, second = (LOGS / "REAL_n16trainer_ok.log").read_bytes(), (LOGS / "REAL_resumed.log").read_bytes()
    evaluation = b"\r  0%|   | 0/90 [00:00<?, ?it/s]\r100%|###| 90/90 [00:01<00:00, 90it/s]\n"
    for size in (1, 333, 1 << 20):
        reader, _ = read(first + evaluation, size)
        assert (reader.step, reader.max_steps, reader.phase) == (300, 300, Phase.FINISHED)
        reader, points = read(first + evaluation + second, size)
        assert (reader.step, reader.max_steps, reader.phase) == (400, 400, Phase.FINISHED)
        assert max(step for step, _ in logged(points)) == 400
        reader, _ = read(first + second[: len(second) // 2], size)
        assert reader.max_steps == 400 and reader.phase in (Phase.TRAINING, Phase.SAVING)


def test_a_trainer_without_bars_costs_no_memory() -> None:
    reader = TrainLogReader()
    for _ in range(300):
        assert reader.feed(b"{'loss': 0.5, 'grad_norm': 1.0}\n" * 100) == []
    assert len(reader._pending) <= 10_000


def test_numbers_in_other_clothes_are_read_and_words_beside_them_left() -> None:
    data = (
        b"{'loss': tensor(0.5, device='cuda:0'), 'grad_norm': np.float64(1.25), 'device': 'cuda', 'skipped': None}\n"
        b"\r  1%|  | 1/100 [00:01<01:00, 1.0it/s]\n"
        b"{'eval_loss': 0.75, 'eval_runtime': 3.5, 'epoch': 1.0}\n{'rewards/chosen': -1.5}\n{'left': 3, 'name': 'x'}\n"
        b"\r  2%|  | 2/100 [00:02<01:00, 1.0it/s]"
    )
    assert logged(read(data)[1]) == {
        (1, "loss"): 0.5,
        (1, "grad_norm"): 1.25,
        (2, "eval_loss"): 0.75,
        (2, "eval_runtime"): 3.5,
        (2, "epoch"): 1.0,
        (2, "rewards/chosen"): -1.5,
    }
