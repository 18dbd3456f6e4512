"""The commands for datasets: their words, their exit codes, what a terminal and what a pipe gets to see."""

from __future__ import annotations

import json
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
from running import DM_G1, dm_g1, lines, start

from dm_isaac_g1.actions import registry
from dm_isaac_g1.cli import data_views, figure
from dm_isaac_g1.cli.writing import TextWriter
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.datasets import DatasetSummary

#: Takes the place of `split`: five seconds of work, said step by step.
SLOW = """
import sys
if "data" in sys.argv:
    import dm_isaac_g1.data.split as module
    def split(input, output, work):
        import time
        for n in range(100):
            work.progress("Splitting [red]episodes", n, 100, "episodes")
            time.sleep(0.05)
    module.split = split
"""


def patched(folder: Path, code: str) -> str:
    """A folder for PYTHONPATH whose code runs first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return str(folder)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["data", "convert"], "--input"),
        (["data", "convert", "--input", "a", "--output", "b", "--format", "v9"], "v9"),
        (["data", "validate"], "--path"),
        (["data", "validate", "--path", "x", "--for", "moon"], "moon"),
        (["data", "stats", "--path", "x", "--horizon", "0"], "--horizon: must be at least 1"),
        (["data", "combine", "--output", "o"], "--input"),
        (["data", "combine", "--input", "a", "--output", "o", "--weights", "1,much"], "--weights"),
        (["data", "show"], "PATH"),
        (["data", "split", "--input", "a", "--output", "b", "--detach"], "say --on HOST, too"),
        (["data", "split", "--input", "a", "--output", "b", "--on", "moon"], "no profile yet"),
        (["--profile", "lab", "data", "split", "--input", "a", "--output", "b", "--on", "workstatoin"], "workstation"),
        (["data", "list", "--path", "nowhere"], "no folder nowhere"),
        (["data", "download", "--repo", "hospitality", "--subset", "0-3"], "--subset is for one repo"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_a_usage_error(args: list[str], says: str) -> None:
    done = dm_g1(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.splitlines()[-1].startswith("dm-g1: ")


def test_help_pays_for_no_heavy_import() -> None:
    program = (
        "import sys\nfrom dm_isaac_g1.cli.main import code\ncode(['data', 'convert', '--help'])\n"
        "print([name for name in ('numpy', 'pyarrow', 'av', 'huggingface_hub', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_broken_profile_keeps_nobody_from_looking_at_a_dataset_here(own_home: Path) -> None:
    profiles = own_home / ".config" / "dm-g1" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "mine.yaml").write_text("hosts: [")
    done = dm_g1("data", "stats", "--path", "nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr


def test_an_option_may_have_another_name_than_its_parameter() -> None:
    combine, validate = registry.get("data.combine"), registry.get("data.validate")
    words = registry.words(combine.name, combine.fields(), {"inputs": ("a,b", "-c"), "output": "o", "weights": (1, 2)})
    assert words == [
        "data",
        "combine",
        "--input",
        "a,b",
        "--input",
        "-c",
        "--output",
        "o",
        "--weights",
        "1",
        "--weights",
        "2",
    ]
    words = registry.words(validate.name, validate.fields(), {"path": "a", "deep": True, "reader": "lerobot"})
    assert words == ["data", "validate", "--path", "a", "--deep", "--for", "lerobot"]
    show = registry.get("data.show")
    assert registry.words(show.name, show.fields(), {"path": "-a"}) == ["data", "show", "--", "-a"]


def test_a_path_with_a_comma_is_one_path_and_numbers_may_have_commas() -> None:
    from dm_isaac_g1.cli.commands import values

    combine = registry.get("data.combine")
    given = {"inputs": ("a,b", "c"), "output": "o", "weights": ("1,0.5",), "episodes": ()}
    params = combine.parse(values(combine, given))
    assert (params.inputs, params.weights, params.episodes) == (("a,b", "c"), (1.0, 0.5), ())  # type: ignore[attr-defined]


def test_a_missing_library_is_told_with_what_installs_it(tmp_path: Path) -> None:
    path = patched(tmp_path / "p", "import sys\nsys.modules['pyarrow'] = None\n")
    done = dm_g1("data", "stats", "--path", "x", PYTHONPATH=path)
    assert done.returncode == 1
    assert done.stderr == "dm-g1: pyarrow is not installed; pip install 'dm-isaac-g1[data]'\n"


def test_interrupted_it_says_that_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", patched(tmp_path / "p", SLOW))
    process = start("data", "split", "--input", "a", "--output", "b", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["unit"] == "episodes"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["code"], last["fix"]) == (
        "failure",
        130,
        "the same command goes on where this one ended",
    )


def test_a_terminal_shows_a_bar_that_leaves_no_trace(tmp_path: Path) -> None:
    near, far = pty.openpty()
    environment = os.environ | {"PYTHONPATH": patched(tmp_path / "p", SLOW), "TERM": "xterm", "COLUMNS": "80"}
    argv = [*DM_G1, "data", "split", "--input", "a", "--output", "b"]
    process = subprocess.Popen(argv, stdin=far, stdout=far, stderr=far, env=environment, start_new_session=True)
    os.close(far)
    seen = b""
    deadline = time.monotonic() + 20
    while b"/100 episodes" not in seen or seen.count(b"Splitting") < 3:
        assert time.monotonic() < deadline, seen
        if select.select([near], [], [], 1)[0]:
            seen += os.read(near, 65536)
    assert b"Splitting [red]episodes" in seen
    process.send_signal(signal.SIGINT)
    try:
        while data := os.read(near, 65536):
            seen += data
    except OSError:  # EIO: it has closed its side
        pass
    assert process.wait(10) == 130
    os.close(near)
    last = seen.decode().replace("\r\n", "\n")
    assert "\x1b[2K" in last[last.rindex("Splitting") :], "the bar is wiped"
    assert last.endswith("dm-g1: interrupted; the same command goes on where this one ended\n")
    assert last.count("\x1b[?25l") == last.count("\x1b[?25h"), "the cursor is back"


def test_a_pipe_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    shown = figure.Lines()
    for done in range(1001):
        shown.show(ev.Progress(text="Converting", done=done, total=1000, unit="episodes"))
    shown.show(ev.Progress(text="Copying", done=1e6, total=4e6, unit="bytes"))
    assert capsys.readouterr().err.splitlines() == [
        "Converting [0/1000 episodes]",
        "Converting [1000/1000 episodes]",
        "Copying [1.0 MB of 4.0 MB]",
    ]


def test_findings_are_told_with_their_place_and_what_repairs_them() -> None:
    found = [
        {
            "code": "nan",
            "severity": "error",
            "what": "a value is not a number, " * 6,
            "where": "data/chunk-000/episode_000003.parquet, episode 3, frame 7, left_elbow_joint",
            "fix": "`dm-g1 data convert --drop-episode 3`",
        },
        {"code": "no-stats", "severity": "warning", "what": "no meta/stats.json", "where": "", "fix": None},
    ]
    shown = data_views.findings(found, left_out=3, width=80)
    assert shown[0] == "ERROR   nan  data/chunk-000/episode_000003.parquet, episode 3, frame 7, left_elbow_joint"
    assert shown[-2:] == ["        no meta/stats.json", "… and 3 more; --json tells them"]
    assert "        -> `dm-g1 data convert --drop-episode 3`" in shown
    assert all(len(line) <= 80 for line in shown[1:])


def test_what_a_dataset_says_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]52;c;eA==\x07\x1b[2Jevil\u202e"
    out = TextWriter("data.validate")
    known = DatasetSummary(host="here", name=evil, path="/x", problem=evil, family=evil)
    out.write(ev.Progress(text=evil))
    out.write(ev.Progress(text=evil, done=1, total=2, unit=evil))
    out.write(ev.Datasets(host="here", datasets=(known,)))
    finding = {"code": evil, "what": evil, "where": evil, "fix": evil}
    out.write(ev.Result(text=evil, data={"findings": [finding]}, code=1))
    out.write(ev.Failure(what=evil, where=evil))
    said = capsys.readouterr()
    assert "evil" in said.out
    assert said.err.count("evil") >= 4
    assert not {"\x1b", "\x07", "\u202e"} & set(said.out + said.err)


def test_json_lines_are_as_the_schema_says() -> None:
    (failure,) = lines(dm_g1("--json", "data", "split", "--input", "nowhere", "--output", "b"))
    assert (failure["event"], failure["code"]) == ("failure", 1)


@pytest.mark.parametrize("action", ["data.validate", "data.show", "data.repair"])
@pytest.mark.parametrize(
    "data",
    [
        {"findings": [1, None], "left_out": "many", "lines": 5},
        {"episode": 1, "columns": "x", "cameras": [{"rgb": 5}], "episodes": []},
        {"name": [], "columns": [[]], "ranges_of": {}},
    ],
)
def test_an_answer_that_makes_no_sense_is_no_accident_of_ours(action: str, data: dict[str, object]) -> None:
    assert all(isinstance(line, str) for line in data_views.shown(action, {**data, "host": "box"}))


def test_every_command_that_an_error_names_exists_with_its_options() -> None:
    """What repairs something is told as a command: one that is mistyped would be worse than none."""
    actions = registry.catalogue()
    named = 0
    for file in (Path(registry.__file__).parents[1] / "data").rglob("*.py"):
        for command in re.findall(r"dm-g1 (data [a-z]+[^`\n\"']*)", file.read_text()):
            verb, *words = command.removeprefix("data ").split()
            action = actions.get(f"data.{verb}")
            assert action is not None, f"{file.name}: {command}"
            known = {field.option for field in action.fields()}
            assert {word for word in words if word.startswith("--")} <= known, f"{file.name}: {command}"
            named += 1
    assert named > 10
