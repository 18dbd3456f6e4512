"""Trainer `bc`: this package's own behaviour cloning, see finetuning/bc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.expected import did_you_mean
from dm_isaac_g1.core.runs import SavePlan
from dm_isaac_g1.finetuning.bc.options import BcOptions, model_size
from dm_isaac_g1.finetuning.trainers.order import Command, Order

#: In the job's folder: its appearance asks the trainer to save and end.
STOP_FILE = "save-and-stop"
_BLOCK = 4096
#: Small files of a checkpoint, in bytes, measured with transformers 5.23 and torch 2.13 and rounded up: config.json,
#: training_args.bin, rng_state.pth, scheduler.pt.
_SMALL_FILES = (4096, 8192, 16384, 4096)
#: Beside the weights at the end of a run: config.json and training_args.bin.
_FINAL_SMALL_FILES = (4096, 8192)
#: safetensors' header: JSON with a name, shape and offsets a tensor (about 110 bytes each here).
_HEADER_PER_TENSOR = 128
#: torch.save's zip: two records of 64-byte alignment, a step counter and their directory entries a tensor.
_OPTIMIZER_PER_TENSOR = 1536
#: One entry of trainer_state.json's log history.
_LOG_ENTRY = 240


def command(order: Order) -> Command:
    """`python -m dm_isaac_g1.finetuning.bc ...` with everything as a flag: what `ps` shows is what runs."""
    recipe = order.recipe
    options = _options(recipe.options)
    argv = [order.host.python, "-m", "dm_isaac_g1.finetuning.bc"]
    for dataset in order.datasets:
        argv += ["--dataset", dataset]
    flags: dict[str, object] = {
        "--output": order.output,
        "--steps": recipe.steps,
        "--batch-size": recipe.batch_size,
        "--learning-rate": recipe.learning_rate,
        "--save-steps": recipe.save_steps,
        "--save-total-limit": recipe.save_total_limit or 0,
        "--seed": recipe.seed,
    }
    flags |= {"--" + name.replace("_", "-"): value for name, value in msgspec.to_builtins(options).items()}
    argv += [str(word) for pair in flags.items() for word in pair]
    return Command(
        argv=tuple(argv),
        cwd=order.workspace,
        env={"DM_G1_STOP_FILE": STOP_FILE},
        events_dir=f"{order.output}/runs",
        stop_file=STOP_FILE,
        save=save_plan(order, options),
    )


def save_plan(order: Order, options: BcOptions) -> SavePlan:
    """Sizes are exact but for small files, which are rounded up; None where the dataset's columns are not known."""
    recipe = order.recipe
    dims = _dimensions(order.dataset_info)
    weights = checkpoint = None
    if dims is not None:
        size = model_size(options, state_dim=dims[0], action_dim=dims[1])
        tensors = size.tensors + 4  # the statistics
        model = _blocks(4 * (size.trainable + size.buffers) + _HEADER_PER_TENSOR * tensors)
        optimizer = _blocks(8 * size.trainable + _OPTIMIZER_PER_TENSOR * size.tensors)
        history = _blocks(4096 + _LOG_ENTRY * (recipe.steps // options.logging_steps))
        weights = model + sum(_FINAL_SMALL_FILES)
        checkpoint = model + optimizer + history + sum(_SMALL_FILES)
    return SavePlan(
        save_steps=recipe.save_steps,
        max_steps=recipe.steps,
        limit=recipe.save_total_limit or None,
        checkpoint_bytes=checkpoint,
        weights_bytes=weights,
        final_save=True,
    )


def _options(given: Mapping[str, Any]) -> BcOptions:
    known = [field.name for field in msgspec.structs.fields(BcOptions)]
    for name in given:
        if name not in known:
            raise UsageError(f"trainer bc has no option {name!r}", fix=did_you_mean(name, known))
    try:
        return msgspec.convert(dict(given), BcOptions)
    except msgspec.ValidationError as error:
        raise UsageError(f"option of trainer bc: {error}") from None


def _dimensions(info: Mapping[str, Any] | None) -> tuple[int, int] | None:
    """Widths of state and action; None where info.json was not read or does not say (the trainer will complain)."""
    try:
        features = (info or {})["features"]
        state, action = (features[name]["shape"][0] for name in ("observation.state", "action"))
    except (KeyError, IndexError, TypeError):
        return None
    return (state, action) if isinstance(state, int) and isinstance(action, int) else None


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
