"""GR00T N1.6's own scripts around a served model, as commands on a host: ONNX, TensorRT, and how fast each runs.

They need the host's GR00T checkout and its GPU. What they write lies under the host's models folder, in exports/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.core.expected import did_you_mean
from dm_isaac_g1.core.profile import Host
from dm_isaac_g1.finetuning.trainers.flags import Flag
from dm_isaac_g1.inference.models import ModelFacts

EXPORT, ENGINE, BENCHMARK = (
    f"scripts/deployment/{name}.py" for name in ("export_onnx_n1d6", "build_tensorrt_engine", "benchmark_inference")
)

#: Every flag of the three scripts, read out of their own parsers (Isaac-GR00T N1.6, 2026-02-24): argparse, which keeps
#: underscores and takes a bool as a word alone; an embodiment is a tag's VALUE here (unitree_g1), not its NAME.
FLAGS: dict[str, tuple[Flag, ...]] = {
    EXPORT: (
        Flag("model_path", "str"),
        Flag("dataset_path", "str"),
        Flag("embodiment_tag", "str", "gr1"),
        Flag("output_dir", "str", "./groot_n1d6_onnx"),
        Flag("video_backend", "str", "torchcodec"),
    ),
    ENGINE: (
        Flag("onnx", "str"),
        Flag("engine", "str"),
        Flag("precision", "str", "bf16"),
        Flag("workspace", "int", 8192),
    ),
    BENCHMARK: (
        Flag("model_path", "str", "nvidia/GR00T-N1.6-3B"),
        Flag("dataset_path", "str", None, True),
        Flag("embodiment_tag", "str", "gr1"),
        Flag("trt_engine_path", "str", None, True),
        Flag("num_iterations", "int", 20),
        Flag("warmup", "int", 5),
        Flag("seed", "int", 42),
        Flag("skip_compile", "bool", False),
        Flag("use_trajectory", "bool", False),
    ),
}
Precision = Literal["fp32", "fp16", "bf16", "fp8"]
#: The file that the export writes into its folder, and the engine that is built beside it.
ONNX_FILE, ENGINE_FILE = "dit_model.onnx", "dit_model_{precision}.trt"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A script in the host's checkout. `output`: the file or folder that it writes."""

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str] = {}
    output: str | None = None


def folder(models: str, name: str) -> str:
    """Where the exports of the model `name` lie, under the host's models folder."""
    return str(PurePosixPath(models) / "exports" / name)


def export_onnx(host: Host, model: str, dataset: str, output: str, embodiment: str) -> Command:
    """The action head's transformer as ONNX. The dataset's first observation gives the shapes. Raises UsageError."""
    values = {
        "model_path": model,
        "dataset_path": dataset,
        "embodiment_tag": embodiment.lower(),
        "output_dir": output,
    }
    return _command(host, EXPORT, values, output=f"{output}/{ONNX_FILE}")


def build_engine(host: Host, onnx: str, precision: Precision = "bf16", workspace_mb: int = 8192) -> Command:
    """A TensorRT engine beside the ONNX file; it runs on this host's kind of GPU only. Raises UsageError."""
    engine = str(PurePosixPath(onnx).with_name(ENGINE_FILE.format(precision=precision)))
    values = {"onnx": onnx, "engine": engine, "precision": precision, "workspace": workspace_mb}
    return _command(host, ENGINE, values, output=engine)


def benchmark(
    host: Host,
    model: str,
    embodiment: str,
    *,
    dataset: str | None = None,
    engine: str | None = None,
    iterations: int = 20,
    warm_up: int = 5,
    skip_compile: bool = False,
    whole_trajectory: bool = False,
) -> Command:
    """Milliseconds of each part of the model: PyTorch, torch.compile, and TensorRT where there is an engine.

    Raises UsageError.
    """
    values = {
        "model_path": model,
        "dataset_path": dataset,
        "embodiment_tag": embodiment.lower(),
        "trt_engine_path": engine,
        "num_iterations": iterations,
        "warmup": warm_up,
        "skip_compile": skip_compile,
        "use_trajectory": whole_trajectory,
    }
    return _command(host, BENCHMARK, values)


def check(facts: ModelFacts) -> None:
    """That the scripts can load this model. Raises RefusedError."""
    if facts.kind != "groot-n1.6":
        raise RefusedError(
            f"GR00T's scripts export GR00T's models, this is one of kind {facts.kind}",
            where=facts.name,
            fix="ONNX and TorchScript files are served as they are" if facts.kind in ("onnx", "torchscript") else None,
        )
    if not facts.complete:
        raise RefusedError("; ".join(facts.problems), where=facts.name, fix="choose a complete checkpoint")


def argparse_argv(flags: Sequence[Flag], values: Mapping[str, Any], *, script: str) -> list[str]:
    """The words that argparse reads into `values`: `--name value`, a true bool as the name alone.

    Raises UsageError for a name that the script does not have, a value of another kind, and a required one missing.
    """
    known = {flag.name: flag for flag in flags}
    for name in values:
        if name not in known:
            raise UsageError(f"{script} has no option {name!r}", fix=did_you_mean(name, known))
    words: list[str] = []
    for flag in flags:
        value = values.get(flag.name, flag.default)
        if value is None and flag.optional:
            continue
        kind = {"str": str, "int": int, "bool": bool}[flag.kind]
        if type(value) is not kind or value == "" or str(value).startswith("-"):
            raise UsageError(f"{script}: --{flag.name} is {value!r}, expected {_EXPECTED[flag.kind]}")
        if flag.kind == "bool":
            words += [f"--{flag.name}"] if value else []
        else:
            words += [f"--{flag.name}", str(value)]
    return words


_EXPECTED = {"str": "a word", "int": "a whole number", "bool": "true or false"}


def _command(host: Host, script: str, values: Mapping[str, Any], *, output: str | None = None) -> Command:
    if host.groot is None:
        raise UsageError("the profile does not say where GR00T lies on this host", fix="set `groot:` for the host")
    words = argparse_argv(FLAGS[script], values, script=PurePosixPath(script).name)
    env = {**host.env, "PYTHONUNBUFFERED": "1"}
    return Command(argv=(host.python, script, *words), cwd=host.groot, env=env, output=output)
