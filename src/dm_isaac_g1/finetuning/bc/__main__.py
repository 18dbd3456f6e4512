"""`python -m dm_isaac_g1.finetuning.bc`: the command line of trainer bc, and the one place where its errors are shown.

Every field of BcOptions is a flag. `--recipe FILE` takes a recipe, or a job's job.json, as JSON; flags overrule it.
Exit codes: 0 trained or stopped on request, 1 bad data or a failed training, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.core.errors import DmG1Error, ExitCode, UsageError
from dm_isaac_g1.core.recipe import Recipe
from dm_isaac_g1.finetuning.bc.dataset import load
from dm_isaac_g1.finetuning.bc.options import BcOptions, BcRun

#: Recipe fields that are flags of the same name, with their types.
_RECIPE_FLAGS: dict[str, type] = {
    "steps": int,
    "batch_size": int,
    "learning_rate": float,
    "save_steps": int,
    "save_total_limit": int,
    "seed": int,
}


def parser() -> argparse.ArgumentParser:
    """The flags; None stands for not given."""
    flags = argparse.ArgumentParser(prog="python -m dm_isaac_g1.finetuning.bc", description=__doc__, allow_abbrev=False)
    flags.add_argument("--recipe", type=Path, help="a recipe or job.json, as JSON")
    flags.add_argument("--dataset", type=Path, action="append", help="a LeRobot v2.1 folder; may be repeated")
    flags.add_argument("--output", type=Path, required=True, help="where checkpoints and the model are saved")
    for name, kind in _RECIPE_FLAGS.items():
        flags.add_argument(_flag(name), type=kind)
    for field in msgspec.structs.fields(BcOptions):
        info = msgspec.inspect.type_info(field.type)
        assert isinstance(info, msgspec.inspect.Metadata)
        help_text = f"{(info.extra_json_schema or {}).get('description', '')} (default: {field.default})"
        flags.add_argument(_flag(field.name), dest=f"option_{field.name}", help=help_text.replace("%", "%%"))
    return flags


def parse(argv: list[str]) -> BcRun:
    """The run that `argv` asks for. Raises UsageError; argparse exits with 2."""
    given = vars(parser().parse_args(argv))
    base = read_recipe(given["recipe"]) if given["recipe"] else Recipe(name="bc", trainer="bc", steps=1000)
    changed = {name: given[name] for name in _RECIPE_FLAGS if given[name] is not None}
    recipe = msgspec.structs.replace(base, **changed)
    for name in ("steps", "batch_size", "save_steps"):
        if getattr(recipe, name) < 1:
            raise UsageError(f"{_flag(name)} must be at least 1, not {getattr(recipe, name)}")
    if recipe.learning_rate <= 0:
        raise UsageError(f"--learning-rate must be positive, not {recipe.learning_rate}")
    options = {**recipe.options, **{k[7:]: v for k, v in given.items() if k.startswith("option_") and v is not None}}
    datasets = tuple(given["dataset"] or map(Path, recipe.datasets))
    if not datasets:
        raise UsageError("no dataset given", fix="name one with --dataset")
    return BcRun(
        datasets=datasets,
        output=given["output"],
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        save_steps=recipe.save_steps,
        save_total_limit=recipe.save_total_limit,
        seed=recipe.seed,
        options=parse_options(options),
    )


def parse_options(options: dict[str, Any]) -> BcOptions:
    """Typed options; numbers may be words, as a command line gives them. Raises UsageError naming the wrong one."""
    try:
        return msgspec.convert(options, BcOptions, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"option of trainer bc: {error}") from None


def read_recipe(path: Path) -> Recipe:
    """A recipe from a JSON file: the recipe itself, or a job.json that holds one. Raises UsageError."""
    try:
        data = json.loads(path.read_text())
        return msgspec.convert(data.get("recipe") or data if isinstance(data, dict) else data, Recipe)
    except OSError as error:
        raise UsageError(error.strerror or str(error), where=str(path)) from None
    except (ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"not a recipe: {error}", where=str(path)) from None


def main(argv: list[str]) -> int:
    """Run; the exit code. Bad input is one line on stderr, never a traceback; a failing training shows its own."""
    try:
        run = parse(argv)
        demonstrations = load(
            run.datasets
        )  # what is wrong with the data is said before torch takes its seconds to load
        from dm_isaac_g1.finetuning.bc.train import train

        train(run, demonstrations)
    except DmG1Error as error:
        sys.stderr.write(f"error: {error.line()}\n")
        return int(error.exit_code)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: {error.name} is not installed; pip install 'dm-isaac-g1[train]'\n")
        return int(ExitCode.FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return int(ExitCode.INTERRUPTED)
    return int(ExitCode.DONE)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _leave_working_folder() -> None:
    """Take the working folder off the import path, where `-m` put it: a workspace has a folder `datasets`, which
    transformers would import in place of the library of that name."""
    here = str(Path.cwd())
    sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


if __name__ == "__main__":
    _leave_working_folder()
    sys.exit(main(sys.argv[1:]))
