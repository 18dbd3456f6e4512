"""What runs on the host is what GR00T's scripts understand; what they would refuse is refused here."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.core.profile import Host
from dm_isaac_g1.inference import export
from dm_isaac_g1.inference.models import ModelFacts

HOST = Host(ssh="spark", python="/opt/groot/bin/python", groot="/opt/Isaac-GR00T", env={"HF_HOME": "/cache"})


def parsed(script: str, command: export.Command) -> dict[str, Any]:
    """What argparse makes of it, with the script's flags as NVIDIA's tables have them."""
    assert command.argv[:2] == (HOST.python, script)
    parser = argparse.ArgumentParser(exit_on_error=False)
    for flag in export.FLAGS[script]:
        if flag.kind == "bool":
            parser.add_argument(f"--{flag.name}", action="store_true")
        else:
            required = flag.default is None and not flag.optional
            kind = {"str": str, "int": int}[flag.kind]
            parser.add_argument(f"--{flag.name}", type=kind, default=flag.default, required=required)
    return vars(parser.parse_args(command.argv[2:]))


def test_an_export_names_the_tags_value_and_its_folder() -> None:
    command = export.export_onnx(HOST, "/m/checkpoint-9", "/d/set", "/m/exports/a", "UNITREE_G1")
    said = parsed(export.EXPORT, command)
    assert said["embodiment_tag"] == "unitree_g1"
    assert (said["model_path"], said["dataset_path"], said["output_dir"]) == (
        "/m/checkpoint-9",
        "/d/set",
        "/m/exports/a",
    )
    assert (command.cwd, command.output) == ("/opt/Isaac-GR00T", "/m/exports/a/dit_model.onnx")
    assert command.env == {"HF_HOME": "/cache", "PYTHONUNBUFFERED": "1"}


def test_an_engine_lies_beside_its_onnx_file() -> None:
    command = export.build_engine(HOST, "/m/exports/a/dit_model.onnx", "fp8", 4096)
    assert parsed(export.ENGINE, command) == {
        "onnx": "/m/exports/a/dit_model.onnx",
        "engine": "/m/exports/a/dit_model_fp8.trt",
        "precision": "fp8",
        "workspace": 4096,
    }
    assert command.output == "/m/exports/a/dit_model_fp8.trt"


def test_a_benchmark_says_only_what_was_asked() -> None:
    said = parsed(export.BENCHMARK, export.benchmark(HOST, "/m/a", "GR1", iterations=7, skip_compile=True))
    assert (said["num_iterations"], said["skip_compile"], said["use_trajectory"]) == (7, True, False)
    assert said["dataset_path"] is None
    assert said["trt_engine_path"] is None


def test_a_host_without_groot_says_what_to_set() -> None:
    with pytest.raises(UsageError, match=r"set `groot:` for the host"):
        export.benchmark(Host(ssh="a"), "/m/a", "GR1")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"onyx": "a"}, "has no option 'onyx'"),
        ({"onnx": "/a", "engine": ""}, "--engine is '', expected a word"),
        ({"onnx": "--help", "engine": "/e"}, "--onnx is '--help'"),
        ({"onnx": "/a", "engine": "/e", "workspace": True}, "--workspace is True, expected a whole number"),
        ({"onnx": "/a"}, "--engine is None"),
    ],
)
def test_what_the_script_would_not_understand_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        export.argparse_argv(export.FLAGS[export.ENGINE], values, script="build_tensorrt_engine.py")


def test_only_whole_groot_models_are_exported() -> None:
    with pytest.raises(RefusedError, match="this is one of kind bc"):
        export.check(ModelFacts(name="a", kind="bc"))
    with pytest.raises(RefusedError, match="a shard is missing"):
        export.check(ModelFacts(name="a", kind="groot-n1.6", problems=("a shard is missing",)))
    export.check(ModelFacts(name="a", kind="groot-n1.6"))
