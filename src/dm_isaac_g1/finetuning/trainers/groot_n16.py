"""Trainer `groot-n1.6`: NVIDIA's gr00t/experiment/launch_finetune.py, run in the host's own GR00T checkout.

It resumes by itself: the same output folder goes on from its newest checkpoint (train(resume_from_checkpoint=True)).
It logs to its output only; there is no TensorBoard, no stop file and no --resume.
"""

from __future__ import annotations

from typing import Any

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.runs import SavePlan
from dm_isaac_g1.finetuning.trainers.flags import Flag, tyro_argv
from dm_isaac_g1.finetuning.trainers.order import Command, Order

SCRIPT = "gr00t/experiment/launch_finetune.py"

#: Every flag, read out of the script's own parser (Isaac-GR00T N1.6, 2026-02-24).
FLAGS = (
    Flag("base_model_path", "str"),
    Flag("dataset_path", "str"),
    Flag("embodiment_tag", "tag"),
    Flag("modality_config_path", "str", None, True),
    Flag("tune_llm", "bool", False),
    Flag("tune_visual", "bool", False),
    Flag("tune_projector", "bool", True),
    Flag("tune_diffusion_model", "bool", True),
    Flag("state_dropout_prob", "float", 0.0),
    Flag("random_rotation_angle", "int", None, True),
    Flag("color_jitter_params", "numbers", None, True),
    Flag("global_batch_size", "int", 64),
    Flag("dataloader_num_workers", "int", 2),
    Flag("learning_rate", "float", 1e-4),
    Flag("gradient_accumulation_steps", "int", 1),
    Flag("output_dir", "str", "./outputs"),
    Flag("save_steps", "int", 1000),
    Flag("save_total_limit", "int", 5),
    Flag("num_gpus", "int", 1),
    Flag("use_wandb", "bool", False),
    Flag("max_steps", "int", 10000),
    Flag("weight_decay", "float", 1e-5),
    Flag("warmup_ratio", "float", 0.05),
    Flag("shard_size", "int", 1024),
    Flag("episode_sampling_rate", "float", 0.1),
    Flag("num_shards_per_epoch", "int", 100000),
)

#: Options that a recipe says with a field of its own.
_FIELDS = {
    "base_model_path": "base_model",
    "dataset_path": "datasets",
    "embodiment_tag": "embodiment",
    "global_batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "output_dir": "output",
    "save_steps": "save_steps",
    "save_total_limit": "save_total_limit",
    "num_gpus": "gpus",
    "max_steps": "steps",
}

#: Bytes of the weights: shards of 4.9 and 4.8 GB seen on a real run (4.7 and 4.5 GB on another).
WEIGHTS = 9_700_000_000
#: Bytes of optimizer.pt with the default parts trained, the largest seen: 10.4 to 13 GB; and with hands of many joints,
#: where whole checkpoints of about 26 GB were seen.
OPTIMIZER = 13_000_000_000
OPTIMIZER_HANDS = 16_300_000_000
#: Known to be of the smaller kind; any other embodiment counts as the larger one, since the guard is never optimistic.
_SMALL = frozenset({"UNITREE_G1"})


def command(order: Order) -> Command:
    """The launch as NVIDIA's guide has it: plain Python for one GPU (clean exit codes), torchrun for several."""
    recipe, host = order.recipe, order.host
    if host.groot is None:
        raise UsageError("the profile does not say where GR00T lies on this host", fix="set `groot:` for the host")
    if len(order.datasets) != 1:
        raise UsageError(
            f"{SCRIPT} trains on one dataset and would ignore all but the first of {len(order.datasets)}",
            fix="combine them into one, or name one",
        )
    if not recipe.base_model:
        raise UsageError("trainer groot-n1.6 needs a base_model", fix="for instance nvidia/GR00T-N1.6-3B")
    if not recipe.embodiment:
        raise UsageError("trainer groot-n1.6 needs an embodiment", fix="for instance UNITREE_G1")
    _refuse_twice(recipe.options)
    values: dict[str, Any] = {
        "base_model_path": recipe.base_model,
        "dataset_path": order.datasets[0],
        "embodiment_tag": recipe.embodiment,
        "output_dir": order.output,
        "max_steps": recipe.steps,
        "global_batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "save_steps": recipe.save_steps,
        "save_total_limit": _limit(recipe.save_total_limit, recipe.steps, recipe.save_steps),
        "num_gpus": recipe.gpus,
        **{name.replace("-", "_"): value for name, value in recipe.options.items()},
    }
    words = tyro_argv(FLAGS, values, script="launch_finetune.py")
    return Command(argv=(*_launcher(host.python, recipe.gpus), SCRIPT, *words), cwd=host.groot, save=save_plan(order))


def save_plan(order: Order) -> SavePlan:
    """Estimates from real runs; None where the trained part is one whose optimizer was never seen."""
    recipe = order.recipe
    trained = {
        flag.name: recipe.options.get(flag.name, flag.default) for flag in FLAGS if flag.name.startswith("tune_")
    }
    if not any(trained.values()):
        raise UsageError("nothing is trained: all tune_ options are off")
    checkpoint = None
    if not trained["tune_llm"] and not trained["tune_visual"]:
        checkpoint = WEIGHTS + (OPTIMIZER if recipe.embodiment in _SMALL else OPTIMIZER_HANDS)
    return SavePlan(
        save_steps=recipe.save_steps,
        max_steps=recipe.steps,
        limit=recipe.save_total_limit or None,
        checkpoint_bytes=checkpoint,
        weights_bytes=WEIGHTS,
        final_save=True,
    )


def _launcher(python: str, gpus: int) -> tuple[str, ...]:
    if gpus == 1:
        return (python,)
    # --standalone picks a free port for the rendezvous by itself.
    return (python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(gpus))


def _limit(limit: int | None, steps: int, save_steps: int) -> int:
    """The script's flag has no word for "keep all": more than there can be keeps all."""
    return limit or steps // save_steps + 1


def _refuse_twice(options: dict[str, Any]) -> None:
    for name in options:
        field = _FIELDS.get(name.replace("-", "_"))
        if field is not None:
            raise UsageError(f"option {name!r} stands in the recipe as `{field}`", fix=f"set `{field}` instead")
