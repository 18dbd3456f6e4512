"""`dm-g1 infer` as users type it, on this machine: a server started, tested in text and JSON, ended by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sets
from exported import onnx_policy

from dm_isaac_g1.actions.schema import document

pytestmark = pytest.mark.timeout(90)
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

DM_G1 = str(Path(sys.executable).with_name("dm-g1"))


def free_port() -> int:
    with closing(socket.socket()) as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def env(home: Path) -> dict[str, str]:
    """No profile, no secrets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DM_G1", "WORKSTATION", "SPARK"))}
    kept.setdefault(
        "MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib")
    )  # its list of fonts takes seconds to make
    return kept | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "XDG_STATE_HOME": str(home / "state")}


@pytest.fixture(scope="module")
def model(home: Path) -> Path:
    return onnx_policy(home / "still", value=0.5)


@pytest.fixture(scope="module")
def recording(home: Path) -> Path:
    return sets.copy_of(home / "recording", "groot", episodes=2, frames=30)


@contextmanager
def serving(env: dict[str, str], *words: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """`dm-g1 infer serve`, and the port it serves on."""
    port = free_port()
    argv = [DM_G1, "infer", "serve", *words, "--port", str(port)]
    process = subprocess.Popen(argv, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "serves on" in line:
            break
    assert f"serves on tcp://127.0.0.1:{port}; Ctrl-C ends it" in "".join(said)
    try:
        yield port, process
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


@pytest.fixture(scope="module")
def served(model: Path, env: dict[str, str]) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with serving(env, "--model", str(model)) as server:
        yield server


def run(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DM_G1, *words], env=env, capture_output=True, text=True, timeout=60)


def test_a_test_says_all_in_text(served: Any, env: dict[str, str], recording: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    port, _ = served
    words = (
        f"--host 127.0.0.1 --port {port} --trajectories 0,1 --seconds 0.2 --clients 2 --keys waist,left_hand".split()
    )
    words += ["--dataset", str(recording), "--plot", str(tmp_path / "a.png"), "--out", str(tmp_path / "a.json")]
    done = run(env, "infer", "test", *words)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert f"127.0.0.1:{port}, nested, ping " in said
    assert "8 steps of left_arm 7, right_arm 7" in said
    assert [line.split()[0] for line in said.splitlines() if " ms  " in line] == ["1", "2"]
    assert "recording: open loop, action horizon 8" in said
    found = json.loads((tmp_path / "a.json").read_text())["open_loop"]
    average = next(line.split() for line in said.splitlines() if line.startswith("average"))
    assert average == ["average", "61", f"{found['mse']:.4g}", f"{found['mae']:.4g}"]
    assert f"MSE {found['mse']:.4g}, MAE {found['mae']:.4g} over 2 trajectories" in said
    assert "recorded" in said  # the curves, in braille
    assert any("⠀" < sign <= "⣿" for sign in said)
    assert {path.name for path in tmp_path.iterdir()} == {"a-000000.png", "a-000001.png", "a.json"}
    assert "\x1b" not in said  # a pipe gets no colours


def test_json_lines_follow_the_published_schema(served: Any, env: dict[str, str]) -> None:
    port, _ = served
    done = run(env, "--json", "infer", "test", "--host", "127.0.0.1", "--port", str(port), "--seconds", "0")
    assert done.returncode == 0, done.stdout
    schema = jsonschema.Draft202012Validator(document())
    said = [json.loads(line) for line in done.stdout.splitlines()]
    for line in said:
        schema.validate(line)
    assert said[-1]["data"]["probe"]["model"] == "still"
    assert said[-1]["data"]["latency"] == []


def test_a_proxy_with_a_token_before_a_replay_changes_no_digit(
    env: dict[str, str], recording: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-of-the-proxy")
    token.chmod(0o600)
    with (
        serving(env, "--replay", str(recording)) as (behind, _),
        serving(env, "--proxy", f"tcp://127.0.0.1:{behind}", "--token-file", str(token)) as (port, _),
    ):
        words = ["--host", "127.0.0.1", "--port", str(port), "--dataset", str(recording), "--seconds", "0"]
        refused = run(env, "infer", "test", *words)
        assert refused.returncode == 5, refused.stderr
        assert "refuses the API token" in refused.stderr
        done = run(env, "--json", "infer", "test", *words, "--token-file", str(token))
        assert done.returncode == 0, done.stdout
        assert json.loads(done.stdout.splitlines()[-1])["data"]["open_loop"]["mse"] == 0.0
        assert "s3cret-of-the-proxy" not in done.stdout + done.stderr


def test_a_taken_port_is_refused(served: Any, env: dict[str, str], model: Path) -> None:
    port, _ = served
    done = run(env, "infer", "serve", "--model", str(model), "--port", str(port))
    assert done.returncode == 3, done.stderr
    assert f"port {port} cannot be used" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["test", "--host", "no-such-host.invalid"], 2, "no host of the profile and no address"),
        (["test", "--host", "127.0.0.1", "--keys", "waist"], 2, "--keys is about a comparison with a dataset"),
        (["test", "--host", "127.0.0.1", "--token-file", "/none"], 2, "the token cannot be read"),
        (["test", "--host", "127.0.0.1", "--dataset", "/none"], 1, "/none"),
        (["test", "--host", "127.0.0.1", "--clients", "0"], 2, "--clients: must be at least 1"),
        (["test", "--host", "127.0.0.1", "--out", "/none/a.json"], 1, "no such folder"),
        (["test"], 2, "has the role serve"),
        (["serve", "--model", "/none"], 2, "/none"),
        (["serve", "--model", ".", "--detach"], 2, "a job runs on a host"),
        (["serve"], 2, "nothing to serve; say one of --model, --replay, --proxy"),
        (["serve", "--model", ".", "--proxy", "tcp://127.0.0.1:1"], 2, "--model and --proxy together"),
        (["serve", "--proxy", "tcp://127.0.0.1:1", "--python", "/no/python", "--port", "5999"], 2, "/no/python"),
    ],
)
def test_bad_input_is_one_line(env: dict[str, str], words: list[str], code: int, told: str) -> None:
    done = run(env, "infer", *words)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_nobody_there_is_exit_code_4(env: dict[str, str]) -> None:
    port = free_port()
    done = run(env, "infer", "test", "--host", "127.0.0.1", "--port", str(port))
    assert done.returncode == 4, done.stderr
    assert f"127.0.0.1:{port}" in done.stderr


def test_zz_ctrl_c_ends_the_server(served: Any) -> None:
    """Last in this file: the others need it."""
    port, process = served
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    with closing(socket.socket()) as trial:
        assert trial.connect_ex(("127.0.0.1", port)) != 0
