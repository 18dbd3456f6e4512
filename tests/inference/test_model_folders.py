"""A model's folder is described by its names, sizes and small texts; what is missing is said in sentences."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servedmodels import ACTION, STATE, bc_checkpoint, groot_checkpoint, onnx_policy, safetensors

from dm_isaac_g1.core import robot
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.inference.models import WANTED, describe, read_local, read_on_host, safe
from dm_isaac_g1.inference.specs import action_columns, state_columns


def test_a_groot_checkpoint_is_complete_and_says_what_it_takes(tmp_path: Path) -> None:
    facts = read_local(groot_checkpoint(tmp_path / "checkpoint-6000"))
    assert (facts.kind, facts.complete, facts.problems) == ("groot-n1.6", True, ())
    assert facts.step == 6000
    assert facts.embodiments == ("gr1", "unitree_g1")
    assert facts.embodiment == "unitree_g1"  # what the base model does not have
    spec = facts.spec_for("UNITREE_G1")
    assert spec is not None and spec == facts.spec
    assert (spec.state, spec.action, spec.horizon) == (STATE, ACTION, 30)
    assert (spec.cameras, spec.language) == (("ego_view",), "annotation.human.task_description")


def test_only_what_a_server_needs_is_deployed(tmp_path: Path) -> None:
    facts = read_local(groot_checkpoint(tmp_path / "checkpoint-6000"))
    assert set(facts.deploy_files) == {
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "processor_config.json",
        "statistics.json",
        "embodiment_id.json",
        "trainer_state.json",
        "experiment_cfg/final_model_config.json",
    }
    assert facts.bytes == sum(facts.deploy_files.values()) > facts.weights_bytes > 800


def test_what_was_deployed_is_complete_under_any_name(tmp_path: Path) -> None:
    source = groot_checkpoint(tmp_path / "checkpoint-6000")
    release = tmp_path / "checkpoint-6000-0123456789ab"
    for name in read_local(source).deploy_files:
        (release / name).parent.mkdir(parents=True, exist_ok=True)
        (release / name).write_bytes((source / name).read_bytes())
    assert read_local(release).problems == ()
    assert read_local(release).deploy_files == read_local(source).deploy_files


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("trainer_state.json", "trainer_state.json is missing: the save was cut off"),
        ("model-00002-of-00002.safetensors", "model-00002-of-00002.safetensors is missing, which"),
        ("model.safetensors.index.json", "without it the 2 shards cannot be loaded"),
        ("processor_config.json", "processor_config.json is missing: GR00T's server cannot load"),
        ("statistics.json", "statistics.json is missing"),
        ("embodiment_id.json", "embodiment_id.json is missing"),
        ("config.json", "config.json is missing"),
    ],
)
def test_each_missing_file_is_named(tmp_path: Path, gone: str, said: str) -> None:
    folder = groot_checkpoint(tmp_path / "checkpoint-6000")
    (folder / gone).unlink()
    facts = read_local(folder)
    assert not facts.complete
    assert any(said in problem for problem in facts.problems), facts.problems


def test_a_shard_that_was_cut_off_is_found_by_its_header(tmp_path: Path) -> None:
    folder = groot_checkpoint(tmp_path / "checkpoint-6000")
    shard = folder / "model-00002-of-00002.safetensors"
    whole = shard.stat().st_size
    os.truncate(shard, whole - 1)
    assert read_local(folder).problems == (f"{shard.name} is cut off: it has {whole - 1} bytes of {whole}",)
    os.truncate(shard, 0)
    assert f"{shard.name} is empty" in read_local(folder).problems


def test_an_index_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = groot_checkpoint(tmp_path / "checkpoint-6000")
    for path in ("../../etc/passwd", "/etc/passwd", "a/../../b", "-rf", "x\n.safetensors", "\x1b]52;c;x\x07"):
        index = {"weight_map": {"w": path}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        facts = read_local(folder)
        assert not facts.complete and "leads out of the folder" in facts.problems[0]
        assert path not in facts.deploy_files
        assert all(problem.isprintable() for problem in facts.problems)


def test_a_runs_output_folder_is_told_from_its_checkpoints(tmp_path: Path) -> None:
    run = groot_checkpoint(tmp_path / "run")
    (run / "processor").mkdir()
    for name in ("processor_config.json", "statistics.json", "embodiment_id.json"):
        (run / name).rename(run / "processor" / name)
    for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"):
        (run / name).unlink()
    (problem,) = read_local(run).problems
    assert "stand in processor/" in problem and "choose one of the run's checkpoints" in problem
    only = tmp_path / "folder"
    groot_checkpoint(only / "checkpoint-6000")
    assert "choose one of its checkpoints" in read_local(only).problems[0]


def test_a_model_from_the_hub_needs_no_trainer_state(tmp_path: Path) -> None:
    folder = groot_checkpoint(tmp_path / "GR00T-N1.6-3B", embodiments=("gr1", "robocasa_panda_omron"))
    for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "wandb_config.json"):
        (folder / name).unlink()
    facts = read_local(folder)
    assert facts.complete
    assert facts.embodiment is None and facts.spec is None  # two, and none of them its own


@pytest.mark.train
def test_a_bc_checkpoint_speaks_in_the_robots_groups(tmp_path: Path) -> None:
    facts = read_local(bc_checkpoint(tmp_path / "checkpoint-40"))
    assert (facts.kind, facts.complete, facts.step) == ("bc", True, 40)
    assert facts.spec is not None
    assert (facts.spec.state, facts.spec.action, facts.spec.horizon) == (STATE, ACTION, 4)
    assert set(facts.deploy_files) == {"config.json", "model.safetensors", "trainer_state.json"}


def test_names_that_nobody_knows_are_one_group() -> None:
    assert state_columns(["a", "b"], 2).widths == {"state": 2}
    assert action_columns([], 5).widths == {"action": 5}
    # A part of a hand is no hand.
    names = [*robot.STATE_31["left_arm"].names, "kLeftHandThumb0"]
    assert state_columns(names, 8).widths == {"state": 8}


def test_columns_are_found_by_name_in_any_order_and_spelling() -> None:
    names = [robot.dataset_name(name) for name in reversed(robot.STATE_31["left_arm"].names)]
    columns = state_columns(names, 7)
    assert columns.groups == {"left_arm": (6, 5, 4, 3, 2, 1, 0)}
    assert action_columns(robot.ACTION_23.names, 23).widths == ACTION
    assert state_columns(robot.INSPIRE_53.names, 53).widths == {g.name: len(g.names) for g in robot.INSPIRE_53.groups}


def test_an_exported_policy_is_its_file_and_its_sidecar(tmp_path: Path) -> None:
    folder = onnx_policy(tmp_path / "reach")
    (folder / "dataset.bin").write_bytes(b"x" * 1000)
    facts = read_local(folder)
    assert (facts.kind, facts.complete) == ("onnx", True)
    assert set(facts.deploy_files) == {"policy.onnx", "policy.json"}
    (folder / "policy.onnx").unlink()
    assert read_local(folder).problems == ("policy.onnx is missing, which policy.json names",)
    for told in (
        '{"format": "pickle"}',
        "[]",
        "{",
        '{"format":"onnx","file":"../x","state":{},"action":{"a":1},"horizon":1}',
    ):
        (folder / "policy.json").write_text(told)
        assert read_local(folder).problems


def test_other_models_are_named(tmp_path: Path) -> None:
    tmp_path.joinpath("config.json").write_text('{"model_type": "gr00t_n1_5"}')
    safetensors(tmp_path / "model.safetensors")
    assert "GR00T N1.5" in read_local(tmp_path).problems[0]
    tmp_path.joinpath("config.json").write_text('{"model_type": "llama"}')
    assert "'llama'" in read_local(tmp_path).problems[0]
    with pytest.raises(UsageError, match="no such model folder"):
        read_local(tmp_path / "nothing")


_NAMES = st.sampled_from([*WANTED, "model.safetensors", "model-00001-of-00001.safetensors", "optimizer.pt", "../x"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_MODEL_JSON = st.fixed_dictionaries(
    {},
    optional={
        "model_type": st.sampled_from(["Gr00tN1d6", "dm_g1_bc"]),
        "weight_map": _JSON,
        "metadata": _JSON,
        "processor_kwargs": st.fixed_dictionaries({"modality_configs": _JSON}) | _JSON,
        "state_dim": _JSON,
        "action_dim": st.integers(-5, 5),
        "state_names": _JSON,
        "global_step": _JSON,
        "format": st.sampled_from(["onnx", "torchscript"]),
    },
)


@given(
    st.dictionaries(_NAMES, st.integers(0, 1 << 40)),
    st.dictionaries(_NAMES, (_MODEL_JSON | _JSON).map(lambda v: json.dumps(v).encode()) | st.binary(max_size=40)),
    st.text(max_size=20),
)
def test_whatever_a_folder_says_it_is_described(files: dict[str, int], texts: dict[str, bytes], name: str) -> None:
    facts = describe(name, {**dict.fromkeys(texts, 10), **files}, texts)
    assert all(safe(path) for path in facts.deploy_files)
    assert facts.complete is not bool(facts.problems)
    msgspec.json.encode(facts)


async def test_a_hosts_folder_is_described_alike(tmp_path: Path) -> None:
    folder = groot_checkpoint(tmp_path / "checkpoint-6000")

    class There:
        """What `remote.files.Files` answers, of this machine."""

        async def stat(self, path: str) -> object:
            return type("Stat", (), {"kind": "dir"}) if Path(path).is_dir() else None

        async def find(self, path: str, pattern: str, depth: int = 3) -> list[object]:
            assert (pattern, depth) == ("*", 1)
            found = [p for p in Path(path).glob("*") if p.is_file()] + list(Path(path).glob("*/*"))
            return [type("Found", (), {"kind": "file", "path": str(p), "size": p.stat().st_size}) for p in found]

        async def read(self, path: str, offset: int = 0, size: int = 65536) -> object:
            return type("Chunk", (), {"data": Path(path).read_bytes()[offset : offset + min(size, 100)]})

    assert await read_on_host(There(), f"{folder}/") == read_local(folder)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no such model folder"):
        await read_on_host(There(), str(tmp_path / "nothing"))  # type: ignore[arg-type]
