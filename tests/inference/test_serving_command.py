"""The command that serves a model is composed, word by word, and refused before anything is started."""

from __future__ import annotations

import pytest
from servedmodels import bc_checkpoint, groot_checkpoint

from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.core.profile import Host, Serve
from dm_isaac_g1.inference.models import ModelFacts, read_local
from dm_isaac_g1.inference.serving import READY, server_command

HOST = Host(ssh="spark", python="/opt/venv/bin/python", groot="/workspace/Isaac-GR00T", env={"HF_HOME": "/cache"})


@pytest.fixture(scope="module")
def groot(tmp_path_factory: pytest.TempPathFactory) -> ModelFacts:
    return read_local(groot_checkpoint(tmp_path_factory.mktemp("m") / "checkpoint-6000"))


@pytest.fixture(scope="module")
def bc(tmp_path_factory: pytest.TempPathFactory) -> ModelFacts:
    return read_local(bc_checkpoint(tmp_path_factory.mktemp("m") / "checkpoint-40"))


def test_groots_own_server_for_its_checkpoints(groot: ModelFacts) -> None:
    command = server_command(groot, "/models/current", HOST, port=5556, bind="127.0.0.1", token_file="/t")
    assert command.argv == (
        "/opt/venv/bin/python", "gr00t/eval/run_gr00t_server.py",
        "--model-path", "/models/current", "--embodiment-tag", "UNITREE_G1", "--host", "127.0.0.1", "--port", "5556",
    )  # fmt: skip
    assert (command.cwd, command.ours, command.ready) == ("/workspace/Isaac-GR00T", False, READY)
    assert command.env == {"HF_HOME": "/cache", "PYTHONUNBUFFERED": "1"}


@pytest.mark.train
def test_ours_for_the_rest(bc: ModelFacts) -> None:
    command = server_command(bc, "/m/rel", HOST, port=5555, bind="::1", token_file="/etc/token")
    assert command.argv == (
        "/opt/venv/bin/python", "-m", "dm_isaac_g1.inference.server",
        "--model", "/m/rel", "--port", "5555", "--bind", "::1", "--token-file", "/etc/token",
    )  # fmt: skip
    assert command.ours and command.embodiment is None


def test_or_what_the_profile_says(groot: ModelFacts) -> None:
    words = ("docker-entry", "serve", "{model}", "--tag={embodiment}", "--listen", "{bind}:{port}")
    host = Host(ssh="spark", serve=Serve(command=words))
    command = server_command(groot, "/m; rm -rf /", host, port=5555, embodiment="gr1")
    assert command.argv == ("docker-entry", "serve", "/m; rm -rf /", "--tag=GR1", "--listen", "127.0.0.1:5555")
    with pytest.raises(UsageError, match="not known"):
        server_command(groot, "/m", Host(ssh="x", serve=Serve(command=("{modle}",))), port=5555)


def test_an_embodiment_the_model_was_not_trained_for_is_refused(groot: ModelFacts) -> None:
    with pytest.raises(RefusedError, match="not trained for LIBERO_PANDA"):
        server_command(groot, "/m", HOST, port=5555, embodiment="libero_panda")
    several = ModelFacts(name="base", kind="groot-n1.6", embodiments=("gr1", "behavior_r1_pro"))
    with pytest.raises(UsageError, match="several embodiments: GR1, BEHAVIOR_R1_PRO"):
        server_command(several, "/m", HOST, port=5555)
    assert server_command(several, "/m", HOST, port=5555, embodiment="GR1").embodiment == "GR1"


def test_what_cannot_be_served_is_refused(groot: ModelFacts) -> None:
    with pytest.raises(RefusedError, match="is missing"):
        partial = ModelFacts(name="m", kind="groot-n1.6", problems=("trainer_state.json is missing",))
        server_command(partial, "/m", HOST, port=5555)
    with pytest.raises(UsageError, match="where GR00T lies"):
        server_command(groot, "/m", Host(ssh="spark"), port=5555)
    for bind, port in (("spark.local", 5555), ("--allow-kill", 5555), ("127.0.0.1", 0), ("127.0.0.1", 65536)):
        with pytest.raises(UsageError):
            server_command(groot, "/m", HOST, port=port, bind=bind)
