"""Trainer bc from its command line: it trains, saves, rotates, resumes, stops on request and fails honestly."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lerobot_sets import edit_info, make

from dm_isaac_g1.core.profile import Host
from dm_isaac_g1.core.recipe import Recipe
from dm_isaac_g1.finetuning.bc.options import BcOptions, model_size
from dm_isaac_g1.finetuning.trainers import compose

pytestmark = pytest.mark.train

SMALL = (
    "--hidden-size",
    "32",
    "--layers",
    "1",
    "--action-horizon",
    "4",
    "--batch-size",
    "16",
    "--learning-rate",
    "3e-3",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make(tmp_path_factory.mktemp("data") / "set")


def bc(*arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None):
    argv = [sys.executable, "-m", "dm_isaac_g1.finetuning.bc", *map(str, arguments)]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=100, check=False, cwd=cwd, env=os.environ | (env or {})
    )


def losses(text: str) -> list[float]:
    return [float(value) for value in re.findall(r"\{'loss': '([^']+)'", text)]


def checkpoints(output: Path) -> list[int]:
    return sorted(int(p.name.split("-")[1]) for p in output.glob("checkpoint-*"))


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "out"
    ran = bc(
        "--dataset", dataset, "--output", output, "--steps", 200, "--save-steps", 60, "--save-total-limit", 2, *SMALL
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return output, ran


def test_the_loss_falls_by_a_real_factor(finished):
    found = losses(finished[1].stdout)
    assert len(found) == 20 and found[-1] < found[0] / 5


def test_checkpoints_rotate_and_the_model_is_saved_at_the_end(finished):
    output, ran = finished
    assert checkpoints(output) == [180, 200]
    for name in ("config.json", "model.safetensors"):
        assert (output / name).is_file() and (output / "checkpoint-200" / name).is_file()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        assert (output / "checkpoint-200" / name).is_file()
    assert "Model saved to" in ran.stdout and "200/200" in ran.stderr


def test_log_tensorboard_and_trainer_state_say_the_same(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output, ran = finished
    state = json.loads((output / "checkpoint-200" / "trainer_state.json").read_text())
    history = [(entry["step"], entry["loss"]) for entry in state["log_history"] if "loss" in entry]
    (folder,) = (output / "runs").iterdir()
    events = EventAccumulator(str(folder)).Reload().Scalars("train/loss")
    assert [(e.step, pytest.approx(e.value, rel=1e-5)) for e in events] == history
    assert losses(ran.stdout) == [pytest.approx(loss, rel=1e-3) for _, loss in history]


def test_a_saved_policy_answers_with_actions_in_the_datasets_units(finished, dataset):
    import torch

    from dm_isaac_g1.finetuning.bc.dataset import load
    from dm_isaac_g1.finetuning.bc.policy import ActionChunkingPolicy

    policy = ActionChunkingPolicy.from_pretrained(finished[0]).eval()
    episode = load([dataset]).episodes[0]
    with torch.no_grad():
        actions = policy(torch.from_numpy(episode.state[:20]))["actions"]
    assert actions.shape == (20, 4, 3)
    assert (actions[:, 0] - torch.from_numpy(episode.action[:20])).abs().mean() < 0.15
    assert policy.config.action_names == ["a0", "a1", "a2"]


@pytest.mark.parametrize("options", [BcOptions(), BcOptions(hidden_size=32, layers=0, action_horizon=3)])
def test_the_size_is_known_without_building_the_model(options):
    from dm_isaac_g1.finetuning.bc.policy import ActionChunkingPolicy, PolicyConfig

    config = PolicyConfig(
        state_dim=31, action_dim=23, **{n: getattr(options, n) for n in ("action_horizon", "hidden_size", "layers")}
    )
    model, size = ActionChunkingPolicy(config), model_size(options, state_dim=31, action_dim=23)
    assert sum(p.numel() for p in model.parameters()) == size.trainable
    assert sum(b.numel() for b in model.buffers()) == size.buffers
    assert len(list(model.parameters())) == size.tensors


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [32, 256])
def test_the_estimate_before_the_first_save_is_close_and_never_below(dataset, tmp_path, hidden):
    info = json.loads((dataset / "meta" / "info.json").read_text())
    recipe = Recipe(
        name="r", trainer="bc", datasets=("x",), steps=20, save_steps=10, options={"hidden_size": hidden, "layers": 2}
    )
    plan = compose(recipe, Host(ssh="h"), "id", lambda which: f"/w/{which}", dataset_info=info).save
    ran = bc(
        "--dataset",
        dataset,
        "--output",
        tmp_path / "o",
        "--steps",
        20,
        "--save-steps",
        10,
        "--hidden-size",
        hidden,
        "--layers",
        2,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]

    def allocated(folder):
        return sum(f.stat().st_blocks * 512 for f in folder.iterdir() if f.is_file())

    real = allocated(tmp_path / "o" / "checkpoint-20")
    assert real <= plan.checkpoint_bytes <= real * 1.02 + 65536
    assert allocated(tmp_path / "o") <= plan.weights_bytes <= allocated(tmp_path / "o") * 1.02 + 32768


@pytest.mark.slow
def test_resume_goes_on_at_the_saved_step_and_not_from_a_partial_checkpoint(dataset, tmp_path):
    output = tmp_path / "out"
    again = ("--dataset", dataset, "--output", output, "--save-steps", 40, *SMALL)
    assert bc(*again, "--steps", 80).returncode == 0
    (output / "checkpoint-80" / "trainer_state.json").write_text('{"global_st')  # the disk was full
    ran = bc(*again, "--steps", 120)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert f"Resuming from checkpoint {output}/checkpoint-40" in ran.stdout
    assert len(losses(ran.stdout)) == 8  # steps 50 to 120
    state = json.loads((output / "checkpoint-120" / "trainer_state.json").read_text())
    assert [e["step"] for e in state["log_history"] if "loss" in e] == list(range(10, 121, 10))


def test_a_finished_run_is_left_as_it_is(finished, dataset):
    output, _ = finished
    before = (output / "checkpoint-200" / "model.safetensors").stat().st_mtime_ns
    ran = bc("--dataset", dataset, "--output", output, "--steps", 200, "--save-steps", 60, *SMALL)
    assert ran.returncode == 0 and "nothing to train" in ran.stdout
    assert checkpoints(output) == [180, 200]
    assert (output / "checkpoint-200" / "model.safetensors").stat().st_mtime_ns == before


def test_another_model_in_the_output_folder_is_refused(finished, dataset):
    ran = bc(
        "--dataset",
        dataset,
        "--output",
        finished[0],
        "--steps",
        300,
        "--hidden-size",
        64,
        "--layers",
        1,
        "--action-horizon",
        4,
    )
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1 and "hidden_size 32, this one has 64" in ran.stderr


def test_the_stop_file_saves_and_ends_with_success(dataset, tmp_path):
    output, job = tmp_path / "out", tmp_path / "job"
    job.mkdir()
    arguments = ["--dataset", dataset, "--output", output, "--steps", 100000, "--save-steps", 100000, *SMALL]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "dm_isaac_g1.finetuning.bc", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"DM_G1_STOP_FILE": "save-and-stop", "DM_G1_JOB_DIR": str(job)},
    )
    try:
        said = ""
        while "'loss'" not in said:
            said = process.stdout.readline()
            assert said, "it ended by itself"
        (job / "save-and-stop").touch()
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    (step,) = checkpoints(output)
    assert f"Stopped on request at step {step}: checkpoint saved" in rest
    assert (output / f"checkpoint-{step}" / "trainer_state.json").is_file() and (output / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_workspace_folder_named_like_a_library_is_not_imported(dataset, tmp_path):
    for name in ("datasets", "accelerate", "torch"):
        (tmp_path / name).mkdir()
    ran = bc("--dataset", dataset, "--output", "out", "--steps", 5, "--save-steps", 5, *SMALL, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.mark.slow
def test_a_recipe_file_and_a_job_file_say_the_same_as_flags(dataset, tmp_path):
    recipe = {
        "name": "r",
        "trainer": "bc",
        "steps": 6,
        "save_steps": 3,
        "batch_size": 8,
        "options": {"hidden_size": 16, "layers": 0},
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    (tmp_path / "job.json").write_text(json.dumps({"id": "x", "recipe": recipe}))
    for number, name in enumerate(("recipe.json", "job.json")):
        output = tmp_path / f"out{number}"
        ran = bc("--recipe", tmp_path / name, "--dataset", dataset, "--output", output, "--steps", 9)
        assert ran.returncode == 0, ran.stderr[-2000:]
        assert checkpoints(output) == [3, 6, 9]
        assert json.loads((output / "config.json").read_text())["hidden_size"] == 16


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--dataset", "nowhere"], 1, "nowhere: no such dataset folder"),
        ([], 2, "no dataset given"),
        (["--dataset", "{set}", "--hidden-size", "wide"], 2, "Expected `int`, got `str` - at `$.hidden_size`"),
        (["--dataset", "{set}", "--layers", "-1"], 2, "$.layers"),
        (["--dataset", "{set}", "--steps", "0"], 2, "--steps must be at least 1"),
        (["--dataset", "{set}", "--recipe", "nothing.json"], 2, "nothing.json: No such file"),
        (["--dataset", "{set}", "--device", "tpu"], 2, "$.device"),
        (["--dataset", "{v3}"], 1, "convert it first"),
    ],
)
def test_bad_input_is_one_line_and_a_code(dataset, tmp_path, arguments, code, said):
    if "{v3}" in arguments:
        edit_info(make(tmp_path / "v3"), codebase_version="v3.0")
    filled = [a.format(set=dataset, v3=tmp_path / "v3") for a in arguments]
    ran = bc(*filled, "--output", tmp_path / "out", cwd=tmp_path)
    assert ran.returncode == code
    assert ran.stderr.startswith("error: ") and ran.stderr.count("\n") == 1 and said in ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tmpfs")
def test_a_full_disk_fails_the_run_and_leaves_what_resume_can_use(dataset, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=True)
    try:
        big = ("--hidden-size", 192, "--layers", 2, "--save-steps", 10)  # 7.5 MB a checkpoint
        ran = bc("--dataset", dataset, "--output", disk / "out", "--steps", 60, *big)
        assert ran.returncode == 1
        # The words differ with the writer that hits the end: safetensors says it, torch.save does not.
        assert re.search(
            r"No space left on device|unexpected pos|PytorchStreamWriter failed|iostream error", ran.stderr
        )
        assert checkpoints(disk / "out") == [10, 20, 30] or checkpoints(disk / "out") == [10, 20]
        newest = max(checkpoints(disk / "out"))
        assert not (disk / "out" / f"checkpoint-{newest}" / "trainer_state.json").exists()
        time.sleep(0.1)
        for old in checkpoints(disk / "out")[:-2]:
            subprocess.run(["rm", "-r", str(disk / "out" / f"checkpoint-{old}")], check=True)
        ran = bc("--dataset", dataset, "--output", disk / "out", "--steps", newest - 5, *big)
        assert f"Resuming from checkpoint {disk}/out/checkpoint-{newest - 10}" in ran.stdout
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
