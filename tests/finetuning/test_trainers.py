"""Recipes become command lines: what is launched, and what is refused before it is."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.profile import Host
from dm_isaac_g1.core.recipe import Recipe
from dm_isaac_g1.finetuning.trainers import compose, dataset_paths
from dm_isaac_g1.finetuning.trainers.groot_n16 import FLAGS

SCHEMA = json.loads((Path(__file__).parents[1] / "captures" / "n16.launch_finetune.json").read_text())["flags"]
HOST = Host(ssh="h", python="python", groot="/workspace/Isaac-GR00T", env={"HF_HUB_OFFLINE": "1"})
JOB = "20261120T101500-fold-0a1b2c"


def resolve(which: str) -> str:
    return f"/workspace/{which}" if which != "workspace" else "/workspace"


def groot(**changes) -> Recipe:
    recipe = Recipe(
        name="fold",
        trainer="groot-n1.6",
        base_model="nvidia/GR00T-N1.6-3B",
        datasets=("towel",),
        embodiment="UNITREE_G1",
        steps=10_000,
        save_steps=2_000,
        save_total_limit=2,
    )
    return msgspec.structs.replace(recipe, **changes)


def bc(**changes) -> Recipe:
    return msgspec.structs.replace(Recipe(name="arm", trainer="bc", datasets=("g1_right_arm",)), **changes)


def made(recipe: Recipe, host: Host = HOST, **more):
    return compose(recipe, host, JOB, resolve, **more)


def refused(recipe: Recipe, host: Host = HOST) -> str:
    with pytest.raises(UsageError) as caught:
        made(recipe, host)
    return caught.value.line()


# GR00T N1.6


def test_the_table_is_the_scripts_own_parser():
    kinds = {
        "bool": "bool",
        "float": "float",
        "int": "int",
        "str": "str",
        "EmbodimentTag": "tag",
        "dict[str, float]": "numbers",
    }
    table = {f.option: (f.kind, f.default, f.optional) for f in FLAGS}
    schema = {
        f["flag"]: (kinds[f["type"].removesuffix(" | None")], f["default"], f["type"].endswith("| None"))
        for f in SCHEMA
    }
    assert table == schema


def test_a_launch_on_one_gpu_is_plain_python_in_the_groot_folder():
    spec = made(groot())
    assert spec.cwd == "/workspace/Isaac-GR00T"
    assert spec.argv == (
        *("python", "gr00t/experiment/launch_finetune.py", "--base-model-path", "nvidia/GR00T-N1.6-3B"),
        *("--dataset-path", "/workspace/datasets/towel", "--embodiment-tag", "UNITREE_G1"),
        *("--output-dir", f"/workspace/checkpoints/{JOB}", "--max-steps", "10000", "--global-batch-size", "64"),
        *("--learning-rate", "0.0001", "--save-steps", "2000", "--save-total-limit", "2", "--num-gpus", "1"),
    )
    assert spec.env == {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    assert spec.output_dir == f"/workspace/checkpoints/{JOB}" and spec.events_dir is None and spec.stop_file is None


def test_several_gpus_go_through_torchrun():
    argv = made(groot(gpus=4)).argv
    assert argv[:6] == ("python", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "4")
    assert argv[argv.index("--num-gpus") + 1] == "4"


def test_several_datasets_are_refused_since_all_but_one_would_be_ignored():
    assert "one dataset" in refused(groot(datasets=("a", "b")))


def test_options_are_written_as_tyro_reads_them():
    options = {
        "tune_llm": False,
        "tune_visual": True,
        "use-wandb": True,
        "random_rotation_angle": 5,
        "color_jitter_params": {"brightness": 0.3, "contrast": 0.4},
        "warmup_ratio": 0.1,
        "modality_config_path": None,
        "shard_size": 512.0,
    }
    argv = made(groot(options=options)).argv
    assert argv[argv.index("--no-tune-llm") :] == (
        *("--no-tune-llm", "--tune-visual", "--use-wandb", "--random-rotation-angle", "5"),
        *("--color-jitter-params", "brightness", "0.3", "contrast", "0.4", "--warmup-ratio", "0.1"),
        *("--shard-size", "512"),
    )
    assert "True" not in argv and "--modality-config-path" not in argv


@pytest.mark.parametrize("flag", [f for f in FLAGS if f.name not in {"dataset_path"}], ids=lambda f: f.name)
def test_no_flag_takes_a_value_of_another_kind(flag):
    from dm_isaac_g1.finetuning.trainers.flags import tyro_argv

    wrong = {
        "str": 3,
        "tag": "unitree_g1",
        "int": 1.5,
        "float": "fast",
        "bool": "True",
        "numbers": {"brightness": "high"},
    }
    with pytest.raises(UsageError, match=flag.option):
        tyro_argv(FLAGS, {flag.name: wrong[flag.kind]}, script="launch_finetune.py")


def test_whole_numbers_are_written_without_an_exponent():
    argv = made(groot(options={"num_shards_per_epoch": 1e5})).argv
    assert argv[-2:] == ("--num-shards-per-epoch", "100000")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True])
def test_numbers_that_are_none_are_refused(value):
    assert "expected a number" in refused(groot(options={"weight_decay": value}))


def test_an_unknown_option_names_the_nearest():
    assert "did you mean 'tune_visual'?" in refused(groot(options={"tune_visuals": True}))
    assert "lora_rank" in refused(groot(options={"lora_rank": 16}))


def test_an_option_with_a_field_of_its_own_is_sent_there():
    assert "`steps`" in refused(groot(options={"max_steps": 5}))


def test_the_tag_is_the_enums_name():
    assert "write 'UNITREE_G1'" in refused(groot(embodiment="unitree_g1"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"base_model": None}, "base_model"), ({"embodiment": ""}, "embodiment"), ({"datasets": ()}, "no dataset")],
)
def test_what_is_missing_is_named(changes, said):
    assert said in refused(groot(**changes))


def test_a_host_without_groot_is_refused():
    assert "groot:" in refused(groot(), Host(ssh="h"))


def test_keeping_all_checkpoints_is_a_limit_that_is_never_reached():
    argv = made(groot(save_total_limit=None)).argv
    assert argv[argv.index("--save-total-limit") + 1] == "6"
    assert made(groot(save_total_limit=0)).save.limit is None


def test_groots_saves_are_estimated_from_real_runs_and_unknown_where_none_was_seen():
    plan = made(groot()).save
    assert plan.weights_bytes == 9_700_000_000 and 22e9 <= plan.checkpoint_bytes <= 23e9
    assert made(groot(embodiment="NEW_EMBODIMENT")).save.checkpoint_bytes >= 26e9
    assert made(groot(options={"tune_llm": True})).save.checkpoint_bytes is None
    assert "nothing is trained" in refused(groot(options={"tune_projector": False, "tune_diffusion_model": False}))


# bc


def test_bc_says_everything_on_its_command_line():
    spec = made(bc(steps=400, save_steps=100, save_total_limit=None, options={"hidden_size": 64}))
    words = dict(zip(spec.argv[3::2], spec.argv[4::2], strict=True))
    assert spec.argv[:3] == ("python", "-m", "dm_isaac_g1.finetuning.bc")
    assert words["--dataset"] == "/workspace/datasets/g1_right_arm" and words["--hidden-size"] == "64"
    assert words["--steps"] == "400" and words["--save-total-limit"] == "0" and words["--action-horizon"] == "16"
    assert spec.stop_file == spec.env["DM_G1_STOP_FILE"] and "/" not in spec.stop_file
    assert spec.events_dir == f"/workspace/checkpoints/{JOB}/runs" and spec.cwd == "/workspace"


def test_bc_reads_back_what_compose_wrote():
    pytest.importorskip("torch")
    from dm_isaac_g1.finetuning.bc.__main__ import parse

    spec = made(bc(steps=400, learning_rate=1e-3, save_total_limit=3, datasets=("a", "b"), options={"layers": 2}))
    run = parse(list(spec.argv[3:]))
    assert [str(p) for p in run.datasets] == ["/workspace/datasets/a", "/workspace/datasets/b"]
    assert (run.steps, run.learning_rate, run.save_total_limit, run.options.layers) == (400, 1e-3, 3, 2)


def test_bc_sizes_are_unknown_until_the_columns_are():
    assert made(bc()).save.checkpoint_bytes is None
    features = {"observation.state": {"shape": [31]}, "action": {"shape": [23]}}
    plan = made(bc(), dataset_info={"features": features}).save
    assert plan.checkpoint_bytes > 2.9 * plan.weights_bytes > 0
    assert made(bc(), dataset_info={"features": {"action": {"shape": "wide"}}}).save.checkpoint_bytes is None


def test_bc_refuses_options_it_does_not_have():
    assert "did you mean 'hidden_size'?" in refused(bc(options={"hiden_size": 5}))
    assert "hidden_size" in refused(bc(options={"hidden_size": "wide"}))


@pytest.mark.parametrize("name", ["../secrets", "a/../../b", "-rf", "", "~/x", "a\nb", "a\0b"])
def test_a_dataset_or_output_never_climbs_out_or_poses_as_a_flag(name):
    assert "is not a path" in refused(bc(datasets=(name,)))
    assert "is not a path" in refused(bc(output=name))


def test_absolute_datasets_are_taken_as_they_are():
    assert dataset_paths(bc(datasets=("/data/x", "y")), resolve) == ("/data/x", "/workspace/datasets/y")
