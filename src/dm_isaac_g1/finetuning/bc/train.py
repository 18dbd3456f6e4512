"""One bc run, from demonstrations to a saved model. Reads as the story: build, resume or start, train, save."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.finetuning.bc.dataset import Demonstrations
from dm_isaac_g1.finetuning.bc.options import BcOptions, BcRun
from dm_isaac_g1.finetuning.bc.policy import ActionChunkingPolicy, PolicyConfig
from dm_isaac_g1.finetuning.bc.windows import Windows

#: Names the file whose appearance asks a running trainer to save and end; relative to the job's folder, which the job's
#: supervisor puts into the second.
STOP_FILE_ENV = "DM_G1_STOP_FILE"
JOB_FOLDER_ENV = "DM_G1_JOB_DIR"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
#: What must be the same for a checkpoint's weights to fit.
_SHAPE = ("state_dim", "action_dim", "action_horizon", "hidden_size", "layers")


class StopOnFile(TrainerCallback):  # type: ignore[misc]
    """Saves and ends cleanly once the file exists. Looked at after every step: one stat call, microseconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stopped_at: int | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.stopped_at is None and self.path.exists():
            self.stopped_at = state.global_step
            control.should_save = True
            control.should_training_stop = True
        return control


def train(run: BcRun, demonstrations: Demonstrations) -> int:
    """Train and save; the step it ended at. Raises UsageError; a failing write raises as torch does."""
    torch.set_num_threads(run.options.threads)
    device = choose_device(run.options.device)
    _say(f"Loaded {len(demonstrations.episodes)} episodes, {demonstrations.frames} frames")
    set_seed(run.seed)
    model = build(demonstrations, run.options)
    parameters = sum(p.numel() for p in model.parameters())
    _say(f"Total parameters: {parameters}")
    _say(f"Trainable parameters: {parameters} (100.00%)")

    run.output.mkdir(parents=True, exist_ok=True)
    resume = latest_complete_checkpoint(run.output)
    if resume is None:
        _say("No valid checkpoint found, starting from scratch")
    else:
        refuse_other_model(resume, model.config)
        _say(f"Resuming from checkpoint {resume}")
        done = int(json.loads((resume / "trainer_state.json").read_text())["global_step"])
        if done >= run.steps:
            _say(f"Already at step {done} of {run.steps}: nothing to train")
            return done

    trainer = Trainer(
        model=model,
        args=training_arguments(run, device),
        train_dataset=Windows(demonstrations, run.options.action_horizon),
    )
    stop = StopOnFile(path) if (path := stop_file()) else None
    if stop is not None:
        trainer.add_callback(stop)
    _say("Starting training...")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if stop is not None and stop.stopped_at is not None:
        _say(f"Stopped on request at step {stop.stopped_at}: checkpoint saved")
    trainer.save_model()
    _say(f"Model saved to {run.output}")
    _say("Training completed!")
    return int(trainer.state.global_step)


def stop_file() -> Path | None:
    """The file to watch for; None outside of a job."""
    name = os.environ.get(STOP_FILE_ENV)
    return Path(os.environ.get(JOB_FOLDER_ENV, "")) / name if name else None


def choose_device(wanted: str) -> str:
    """ "cpu" or "cuda". Raises UsageError where CUDA is asked for and not there."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UsageError("device cuda: torch finds no CUDA GPU here", fix="use --device cpu")
    return "cuda" if there and wanted != "cpu" else "cpu"


def build(demonstrations: Demonstrations, options: BcOptions) -> ActionChunkingPolicy:
    """A fresh policy with the dataset's statistics in it."""
    model = ActionChunkingPolicy(
        PolicyConfig(
            state_dim=len(demonstrations.state_names),
            action_dim=len(demonstrations.action_names),
            action_horizon=options.action_horizon,
            hidden_size=options.hidden_size,
            layers=options.layers,
            fps=demonstrations.fps,
            state_names=list(demonstrations.state_names),
            action_names=list(demonstrations.action_names),
        )
    )
    model.set_statistics(**demonstrations.statistics())
    return model


def training_arguments(run: BcRun, device: str) -> TrainingArguments:
    """Hugging Face's arguments. TensorBoard writes into output/runs/<date>_<host>, transformers' own place for it."""
    return TrainingArguments(
        output_dir=str(run.output),
        max_steps=run.steps,
        per_device_train_batch_size=run.batch_size,
        learning_rate=run.learning_rate,
        weight_decay=run.options.weight_decay,
        warmup_steps=int(run.options.warmup_ratio * run.steps),
        lr_scheduler_type="cosine",
        logging_steps=run.options.logging_steps,
        save_strategy="steps",
        save_steps=run.save_steps,
        save_total_limit=run.save_total_limit or None,
        seed=run.seed,
        report_to=["tensorboard"],
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        remove_unused_columns=False,
    )


def latest_complete_checkpoint(output: Path) -> Path | None:
    """The newest checkpoint that training can go on from. trainer_state.json is written last: without it, whole and
    readable, a checkpoint is partial (transformers' own get_last_checkpoint would return it)."""
    found = []
    for folder in output.iterdir():
        match = _CHECKPOINT.fullmatch(folder.name)
        if match and folder.is_dir() and _complete(folder):
            found.append((int(match.group(1)), folder))
    return max(found)[1] if found else None


def _complete(folder: Path) -> bool:
    try:
        state = json.loads((folder / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    needed = ("model.safetensors", "optimizer.pt", "scheduler.pt")
    return isinstance(state, dict) and "global_step" in state and all((folder / name).is_file() for name in needed)


def refuse_other_model(checkpoint: Path, config: PolicyConfig) -> None:
    """Raises UsageError where the checkpoint is of another model: its weights would not fit."""
    saved = json.loads((checkpoint / "config.json").read_text())
    for name in _SHAPE:
        if saved.get(name) != getattr(config, name):
            raise UsageError(
                f"holds a run with {name} {saved.get(name)}, this one has {getattr(config, name)}",
                where=str(checkpoint),
                fix="choose another output folder, or the same options to resume",
            )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
