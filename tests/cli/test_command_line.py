"""The command line without any host: help, usage, exit codes, pipes, schema, completion."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import DM_G1, dm_g1, lines

HEAVY = ("asyncssh", "textual", "numpy", "aiodocker", "torch", "transformers", "pyarrow", "rich")


@pytest.mark.parametrize("args", [["--help"], ["train", "start", "--help"], ["--version"], ["schema"]])
def test_help_pays_for_no_heavy_import(args: list[str]) -> None:
    program = (
        "import sys\nfrom dm_isaac_g1.cli.main import code\n"
        f"status = code({args!r})\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert "HEAVY []" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["nonsense"], 2, "nonsense"),
        (["train", "start", "--stepps", "5"], 2, "--stepps"),
        (["train", "start", "--steps", "five"], 2, "five"),
        (["train", "start", "--steps", "0"], 2, "--steps"),
        (["train", "stop"], 2, "--job-id"),
        (["train", "stop", "--job-id", "x", "--mode", "gently"], 2, "gently"),
        (["--profile", "nonsense", "hosts"], 2, "no profile 'nonsense'"),
        (["--profile", "lob", "hosts"], 2, "lab"),
        (["--profile", "/nowhere/x.yaml", "hosts"], 2, "no such file"),
        (["--profile", "lab", "--lab", "--profile", "workstation-spark", "hosts"], 2, "two fleets"),
        (["--lab", "--profile", "workstation-spark", "profile", "show"], 2, "two fleets"),
        (["--no-ui", "--theme", "dm-drak"], 2, "no theme 'dm-drak'; did you mean 'dm-dark'?"),
        (["schema", "train.begin"], 2, "train.start"),
        (["lab", "up", "--disk", "huge"], 2, "not a size"),
        (["lab", "reset"], 3, "--yes"),
        (["remote", "connect"], 2, "remote exec"),
        (["--watch", "train", "list"], 2, "stand alone"),
        (["--no-ui", "--interval", "0"], 2, "0"),
        (["--disk", "2G", "--no-ui"], 2, "--lab"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_a_usage_error(args: list[str], code: int, says: str) -> None:
    done = dm_g1(*args)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("dm-g1: ")


def test_without_a_terminal_the_console_says_what_to_do_instead() -> None:
    done = dm_g1()
    assert done.returncode == 2
    assert "--no-ui" in done.stderr


def test_errors_are_event_lines_with_json() -> None:
    for args in (["--json", "train", "start", "--stepps", "5"], ["profile", "check", "nonsense", "--json"]):
        (failure,) = lines(dm_g1(*args))
        assert (failure["event"], failure["code"]) == ("failure", 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hosts: [", r"bad\.yaml:\d+: not valid YAML"),
        ("hosts:\n  ws:\n    shh: me@there\n", r"bad\.yaml:2: hosts\.ws\.ssh: missing"),
        ("hosts:\n  ws:\n    ssh: [1, 2]\n", r"bad\.yaml:3: hosts\.ws\.ssh"),
        ("", r"bad\.yaml: empty"),
    ],
)
def test_a_malformed_profile_is_told_by_file_and_line(own_home: Path, text: str, says: str) -> None:
    bad = own_home / "work" / "bad.yaml"
    bad.write_text(text)
    done = dm_g1("--profile", str(bad), "hosts")
    assert done.returncode == 2
    assert re.search(says, done.stderr)
    assert done.stderr.count("\n") == 1


def test_a_malformed_recipe_is_told_by_file_and_line(own_home: Path) -> None:
    recipe = own_home / "work" / "mine.yaml"
    recipe.write_text("trainer: bc\nstepps: 5\n")
    done = dm_g1("--profile", "lab", "train", "start", "--recipe", str(recipe))
    assert done.returncode == 2
    assert re.search(r"mine\.yaml:2: .*stepps.*steps", done.stderr)


def test_a_profile_is_written_shown_and_checked(own_home: Path) -> None:
    assert dm_g1("profile", "new", "mine", "--train", "me@ws:2222", "--serve", "spark").returncode == 0
    assert dm_g1("profile", "new", "mine").returncode == 2
    assert dm_g1("profile", "check", "mine").returncode == 0
    shown = dm_g1("profile", "show", "mine").stdout
    assert "me@ws:2222" in shown
    assert "mine" in dm_g1("profile", "list").stdout


@pytest.mark.parametrize(
    ("defaults", "says"),
    [
        ("theme: dm-drak", r"p\.yaml:4: defaults\.theme: no theme 'dm-drak'; did you mean 'dm-dark'\?"),
        (
            "keys: {train.strat: x}",
            r"p\.yaml:4: defaults\.keys\.train\.strat: no action or key is named 'train\.strat'; did you mean 'train",
        ),
        ("recipe: lab-bd", r"p\.yaml:4: defaults\.recipe: no recipe 'lab-bd'; did you mean 'lab-bc'\?"),
        ("recipe: ./nowhere.yaml", r"p\.yaml:4: defaults\.recipe: no recipe '\./nowhere\.yaml'"),
    ],
)
def test_a_name_that_nothing_has_is_told_by_file_line_and_field(own_home: Path, defaults: str, says: str) -> None:
    profile = own_home / "work" / "p.yaml"
    profile.write_text(f"hosts:\n  ws: {{ssh: a}}\ndefaults:\n  {defaults}\n")
    done = dm_g1("profile", "check", str(profile))
    assert done.returncode == 2
    assert re.search(says, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_names_of_keys_are_those_of_the_console() -> None:
    from dm_isaac_g1.console import keys, themes
    from dm_isaac_g1.core import names

    assert set(names.KEYS) == {each.name for each in keys.KEYS}
    assert names.themes() == sorted(themes.load()[0])


def test_a_profile_that_is_a_pipe_is_refused_at_once(own_home: Path) -> None:
    os.mkfifo(own_home / "work" / "p.yaml")
    done = dm_g1("profile", "check", str(own_home / "work" / "p.yaml"), timeout=10)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a named pipe, not a regular file" in done.stderr


def test_a_profile_is_shown_with_the_env_over_it_and_without_secrets(own_home: Path) -> None:
    Path(own_home / "work" / ".env").write_text(
        "WORKSTATION_HOST=10.0.0.5\nWORKSTATION_USER=me\nWORKSTATION_PASSWORD=hush-hush-1\n"
    )
    for more in ((), ("--json",)):
        done = dm_g1("profile", "show", "workstation-spark", *more, SPARK_HOST="10.0.0.6", HF_TOKEN="hush-hush-2")
        assert done.returncode == 0
        assert "me@10.0.0.5" in done.stdout
        assert "10.0.0.6" in done.stdout
        assert "hush" not in done.stdout + done.stderr


def test_the_shipped_profiles_are_right() -> None:
    for name in ("lab", "workstation-spark"):
        done = dm_g1("profile", "check", name, "--json")
        assert lines(done)[-1]["event"] == "result"


def test_a_profile_that_is_wrong_does_not_stop_the_commands_that_mend_it(own_home: Path) -> None:
    folder = own_home / ".config" / "dm-g1" / "profiles"
    folder.mkdir(parents=True)
    (folder / "only.yaml").write_text("hosts: 5\n")
    assert dm_g1("profile", "list").returncode == 0
    done = dm_g1("profile", "check")
    assert done.returncode == 2
    assert "only.yaml:1" in done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" schema | head -1', "-", *DM_G1], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_a_group_alone_shows_its_commands_as_help_does() -> None:
    for group in ("train", "lab"):
        alone, helped = dm_g1(group), dm_g1(group, "--help")
        assert (alone.returncode, alone.stdout) == (2, "")
        assert alone.stderr == helped.stdout
    (failure,) = lines(dm_g1("--json", "train"))
    assert (failure["event"], failure["code"]) == ("failure", 2)


def test_a_lab_where_none_can_be_is_one_line(own_home: Path) -> None:
    done = dm_g1("lab", "up", DM_G1_LAB_DIR="/proc/x")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "DM_G1_LAB_DIR" in done.stderr


def test_a_watch_whose_reader_goes_away_ends_as_by_sigpipe(own_home: Path) -> None:
    profile = own_home / "work" / "gone.yaml"
    profile.write_text("hosts:\n  gone:\n    ssh: me@127.0.0.1:1\n")
    line = '"$@" --no-ui --watch --interval 0.1 | head -1; exit ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", line, "-", *DM_G1, "--profile", str(profile)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stderr) == (141, "")


def test_a_terminal_of_seven_bits_is_no_accident() -> None:
    done = dm_g1("train", "--help", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    done = dm_g1("schema", "train.start", PYTHONIOENCODING="ascii")
    assert done.returncode == 0


def test_no_colours_go_into_a_pipe() -> None:
    for args in (["--help"], ["profile", "list"], ["train", "start", "--help"]):
        assert "\x1b" not in dm_g1(*args, FORCE_COLOR="").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_completion(shell: str) -> None:
    done = dm_g1("completion", shell)
    assert done.returncode == 0
    assert "_DM_G1_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("dm-g1 tr", "train"),
        ("dm-g1 --profile ", "workstation-spark"),
        ("dm-g1 --profile lab train start --recipe ", "lab-bc"),
        ("dm-g1 --profile lab remote gpu --host sp", "spark"),
        ("dm-g1 train stop --mode ", "checkpoint"),
        ("dm-g1 hosts trust ", ""),
    ],
)
def test_names_are_completed(words: str, wanted: str) -> None:
    done = dm_g1(_DM_G1_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    assert done.stderr == ""
    assert wanted in done.stdout


def test_an_accident_is_one_line_and_a_report_without_secrets(own_home: Path) -> None:
    program = (
        "import sys\nfrom dm_isaac_g1.cli import app, main\n"
        "def run(args):\n    password = 'hunter2-in-a-local'\n"
        "    raise ValueError('token hf_abcdefghijklmnopqrstuvwxyz0123')\n"
        "app.run = run\nsys.exit(main.code([]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    report = own_home / ".local" / "state" / "dm-g1" / "crash.log"
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "unexpected: ValueError" in done.stderr
    for text in (done.stderr, report.read_text()):
        assert "hf_abcdef" not in text
    assert "Traceback" in report.read_text()
    assert oct(report.stat().st_mode)[-3:] == "600"


def test_ctrl_c_at_a_question_leaves_with_130() -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*DM_G1, "lab", "reset"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        preexec_fn=lambda: os.login_tty(follower),
    )
    os.close(follower)
    seen = b""
    while b"Delete" not in seen:
        assert select.select([leader], [], [], 20)[0]
        seen += os.read(leader, 4096)
    time.sleep(0.3)  # Python misses a signal between its prompt and its read
    os.write(leader, b"\x03")
    assert process.wait(10) == 130
    os.close(leader)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_connecting_ends_it_quietly(own_home: Path, number: signal.Signals) -> None:
    """A host that answers nothing: a socket that listens and never speaks."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        profile = own_home / "work" / "mute.yaml"
        profile.write_text(f"hosts:\n  mute:\n    ssh: me@127.0.0.1:{server.getsockname()[1]}\n    roles: [train]\n")
        process = subprocess.Popen(
            [*DM_G1, "--profile", str(profile), "hosts"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        server.settimeout(20)
        connection, _ = server.accept()
        time.sleep(0.3)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        connection.close()
    assert (process.returncode, out, err) == (130, "", "")


def test_a_host_that_is_not_there_is_unreachable(own_home: Path) -> None:
    profile = own_home / "work" / "gone.yaml"
    profile.write_text("hosts:\n  gone:\n    ssh: me@127.0.0.1:1\n    roles: [train]\n")
    done = dm_g1("--profile", str(profile), "train", "list")
    assert done.returncode == 4
    assert "gone" in done.stderr
    shown = dm_g1("--profile", str(profile), "--no-ui")
    assert shown.returncode == 4
    assert "away" in shown.stdout
    table = dm_g1("--profile", str(profile), "hosts")
    assert table.returncode == 4
    assert "away" in table.stdout
