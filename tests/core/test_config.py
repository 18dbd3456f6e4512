from __future__ import annotations

import copy
import os
import pickle
import re
import traceback
from pathlib import Path

import msgspec
import pytest

from dm_isaac_g1.core import config, labport, paths, redact
from dm_isaac_g1.core.config import PLAIN, SECRET, Config, Secret, load_config
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.profiles import NoProfile

REPO = Path(__file__).resolve().parents[2]
HUSH = "c0rrect horse$battery#staple"


def env(text: str, folder: Path | None = None) -> Path:
    file = (folder or Path.cwd()) / ".env"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def refusal() -> str:
    with pytest.raises(ConfigError) as caught:
        load_config()
    return caught.value.line()


# --- where a value comes from -----------------------------------------------------------------------------------


def test_env_names_the_machines_of_the_profile() -> None:
    env(
        "WORKSTATION_HOST=10.0.0.5\nWORKSTATION_USER=me\nWORKSTATION_SSH_PORT=2200\n"
        "export SPARK_HOST=10.0.0.6\nSPARK_USER=nv\nGROOT_SERVER_PORT=6000\n"
    )
    hosts = load_config("workstation-spark").profile.hosts
    assert hosts["workstation"].ssh == "me@10.0.0.5:2200"
    assert hosts["spark"].ssh == "nv@10.0.0.6"
    assert hosts["spark"].port == 6000


def test_what_env_does_not_say_stays_as_the_profile_has_it() -> None:
    env("WORKSTATION_USER=me\n")
    hosts = load_config("workstation-spark").profile.hosts
    assert hosts["workstation"].ssh == "me@192.168.1.205"
    assert hosts["spark"].ssh == "192.168.1.237"


def test_a_host_variable_may_be_a_whole_target_and_the_single_ones_win() -> None:
    env("WORKSTATION_HOST=a@10.0.0.5:2200\nWORKSTATION_USER=b\nSPARK_HOST=[fe80::1]:23\n")
    hosts = load_config("workstation-spark").profile.hosts
    assert hosts["workstation"].ssh == "b@10.0.0.5:2200"
    assert hosts["spark"].ssh == "[fe80::1]:23"


def test_the_environment_wins_over_the_folder_and_the_folder_over_the_users_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env("WORKSTATION_HOST=from-home\nSPARK_HOST=from-home\nGROOT_SERVER_HOST=from-home\n", paths.config_dir())
    env("WORKSTATION_HOST=from-folder\nSPARK_HOST=from-folder\n")
    monkeypatch.setenv("WORKSTATION_HOST", "from-environment")
    config = load_config("workstation-spark")
    assert config.setting("WORKSTATION_HOST") == "from-environment"
    assert config.setting("SPARK_HOST") == "from-folder"
    assert config.setting("GROOT_SERVER_HOST") == "from-home"


def test_nothing_is_ever_put_into_the_environment() -> None:
    env(f"WORKSTATION_HOST=10.0.0.5\nWORKSTATION_PASSWORD='{HUSH}'\nHF_TOKEN=hf_0123456789abcdefghij\n")
    before = dict(os.environ)
    load_config()
    assert dict(os.environ) == before


def test_the_lab_is_never_sent_to_the_users_machines_nor_given_their_passwords() -> None:
    env(f"WORKSTATION_HOST=10.0.0.5\nWORKSTATION_PASSWORD='{HUSH}'\nGROOT_SERVER_PORT=6000\n")
    config = load_config("lab")
    assert config.profile.hosts["workstation"].ssh == "lab-workstation"
    assert config.profile.hosts["spark"].port == labport.serve_port()
    assert config.password("workstation") is None


def test_a_user_with_only_an_env_gets_the_profile_that_it_speaks_of() -> None:
    env("WORKSTATION_HOST=10.0.0.5\n")
    assert load_config().profile.name == "workstation-spark"


def test_without_a_profile_secrets_still_load_and_the_way_on_is_told() -> None:
    env("HF_TOKEN=hf_0123456789abcdefghij\n")
    config = load_config()
    assert config.secret("HF_TOKEN") is not None
    with pytest.raises(NoProfile, match="no profile yet"):
        _ = config.profile


def test_a_value_is_taken_as_written_without_expansion() -> None:
    env("WORKSTATION_HOST=h\nWORKSTATION_PASSWORD='${HOME}$x'\n")
    secret = load_config().password("workstation")
    assert secret is not None
    assert secret.reveal() == "${HOME}$x"


def test_other_tools_variables_are_none_of_ours() -> None:
    env("FOO=\nPATH=/nowhere\nworkstation_host=x\n")
    assert repr(load_config("lab")) == "Config(profile='lab', settings=[], secrets=[])"


def test_the_policy_server_is_the_serving_host_unless_said_otherwise() -> None:
    assert load_config("workstation-spark").policy_server() == ("192.168.1.237", 5555)
    env("GROOT_SERVER_HOST=10.0.0.9\nGROOT_SERVER_PORT=6000\n")
    assert load_config("workstation-spark").policy_server() == ("10.0.0.9", 6000)


def test_the_example_names_every_variable_and_loads_as_it_stands() -> None:
    text = (REPO / ".env.example").read_text()
    for name in (*PLAIN, *SECRET):
        assert re.search(rf"^#?{name}=", text, re.MULTILINE), name
    env(text)
    assert repr(load_config("lab")) == "Config(profile='lab', settings=[], secrets=[])"
    env(re.sub(r"(?m)^#([A-Z_]+=)", r"\1", text))
    assert load_config().profile.hosts["spark"].ssh == "nvidia@192.168.1.237:22"


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nWORKSTATION_SSH_PORT=99999\n", ".env:2: WORKSTATION_SSH_PORT: '99999' is no port; expected 1 to 65535"),
        ("GROOT_SERVER_PORT=abc\n", ".env:1: GROOT_SERVER_PORT: 'abc' is no port; expected 1 to 65535"),
        ("# x\n\n# y\nWORKSTATION_HOST=\n", ".env:4: WORKSTATION_HOST is empty; give it a value or drop the line"),
        ("SPARK_HOST=-oProxyCommand=x\n", ".env:1: SPARK_HOST: '-oProxyCommand=x' is no SSH target"),
        ("SPARK_USER=a b\n", ".env:1: SPARK_USER: 'a b@host' is no SSH target"),
    ],
)
def test_a_bad_value_is_told_with_file_line_and_name(text: str, said: str) -> None:
    env(text)
    assert said in refusal()


def test_a_bad_value_of_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSTATION_SSH_PORT", "0")
    assert refusal() == "$WORKSTATION_SSH_PORT: WORKSTATION_SSH_PORT: '0' is no port; expected 1 to 65535"


def test_a_broken_line_is_named_but_not_shown_for_it_may_hold_a_password() -> None:
    env(f"A=1\nWORKSTATION_PASSWORD '{HUSH}'\n")
    assert refusal().endswith(".env:2: not a NAME=value line; quote a value with blanks or #")


def test_an_env_that_is_not_text_or_far_too_large_is_refused() -> None:
    Path(".env").write_bytes(b"A=1\nB=\xff\n")
    assert refusal().endswith(".env:2: not UTF-8 text")
    Path(".env").write_bytes(b"#" * 70_000)
    assert "larger than 64 KiB" in refusal()


def test_an_env_that_is_a_pipe_is_refused_and_a_folder_of_that_name_is_none_of_ours() -> None:
    os.mkfifo(".env")
    assert ".env: a named pipe, not a regular file" in refusal()
    Path(".env").unlink()
    Path(".env").mkdir()
    load_config("workstation-spark")


def test_a_broken_profile_is_an_error_at_once() -> None:
    file = Path("p.yaml")
    file.write_text("hosts: 3\n")
    with pytest.raises(ConfigError, match=r"p\.yaml:1: hosts: expected a mapping, found 3"):
        load_config(str(file.absolute()))


# --- secrets ----------------------------------------------------------------------------------------------------


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("HF_TOKEN", HUSH)
    config = Config(NoProfile("none"), {}, {"HF_TOKEN": secret})
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", f"{secret:>30}", repr([secret])]
    shown += [repr(config), str(vars(config))]
    assert not any(HUSH in text for text in shown)
    assert secret.reveal() == HUSH


def test_a_secret_is_not_in_a_traceback_with_locals() -> None:
    def fails(secret: Secret) -> None:
        raise RuntimeError(f"with {secret}")

    try:
        fails(Secret("HF_TOKEN", HUSH))
    except RuntimeError as error:
        report = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    # The test's own source line is in the report; the value itself is not.
    assert HUSH not in report


def test_a_secret_leaves_by_no_pickle_copy_or_json() -> None:
    secret = Secret("HF_TOKEN", HUSH)
    for leave in (pickle.dumps, copy.copy, msgspec.json.encode):
        with pytest.raises(TypeError):
            leave(secret)


def test_what_was_loaded_is_redacted_everywhere_from_then_on() -> None:
    env(f"WORKSTATION_HOST=h\nWORKSTATION_PASSWORD='{HUSH}'\n")
    load_config()
    assert redact.redact(f"sshpass -p {HUSH} ssh h") == "sshpass -p [redacted] ssh h"


def test_a_name_that_is_no_secret_of_ours_is_a_programming_error() -> None:
    config = load_config("lab")
    with pytest.raises(KeyError):
        config.secret("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(KeyError):
        config.setting("HF_TOKEN")


def test_a_secret_that_was_handed_over_wins_and_is_in_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_handed", {})
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_host_itself")
    config.hand_over({"HF_TOKEN": "hf_of_who_asked", "WANDB_API_KEY": "", "PATH": "/evil"})
    found = config.load_config().secret("HF_TOKEN")
    assert found is not None and found.reveal() == "hf_of_who_asked"
    assert config.load_config().secret("WANDB_API_KEY") is None
    assert "hf_of_who_asked" not in os.environ.values()
    assert os.environ["PATH"] != "/evil"
