"""An output folder through everything that may end its writing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dm_isaac_g1.data import output
from dm_isaac_g1.data.output import DONE, MARKER, Output, fingerprint
from dm_isaac_g1.data.problems import DataProblem, RefusedOutput

RECIPE = {"op": "test", "source": "/data/in", "parameters": {"hand": "dex3"}}

#: Writes two of three episodes, the second's mark torn, and waits to be killed.
_KILLED = """
import os, sys, time
from pathlib import Path
from dm_isaac_g1.data.output import DONE, Output

with Output(Path(sys.argv[1]), {"op": "killed"}, needs=0, what="test") as out:
    for episode in range(2):
        (out.partial / f"{episode}.txt").write_text(f"first try {episode}")
        out.mark(episode, {"length": 10 + episode})
    (out.partial / "2.txt").write_text("half wri")
    with open(out.partial / DONE, "a") as stream:
        stream.write('{"episode": 2, "rec')
    print("ready", flush=True)
    time.sleep(60)
"""


def made(final: Path, recipe: dict[str, object] = RECIPE, needs: int = 0) -> Output:
    return Output(final, recipe, needs=needs, what="the test")


def code(caught: pytest.ExceptionInfo[DataProblem]) -> str:
    return caught.value.finding.code


def killed_at_work(final: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(final)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)


def test_a_finished_output_holds_what_was_written_and_nothing_of_ours(tmp_path: Path) -> None:
    final = tmp_path / "new" / "set"
    with made(final) as out:
        (out.partial / "meta").mkdir()
        (out.partial / "meta" / "info.json").write_text("{}")
        out.mark(0, {})
        assert not final.exists()
        assert out.finish() == final
    assert [p.relative_to(final).as_posix() for p in sorted(final.rglob("*"))] == ["meta", "meta/info.json"]
    assert os.listdir(final.parent) == ["set"]


def test_a_kill_in_the_middle_leaves_nothing_under_the_final_name_and_the_next_try_goes_on(tmp_path: Path) -> None:
    final = tmp_path / "set"
    killed_at_work(final)
    assert not final.exists()
    with Output(final, {"op": "killed"}, needs=0, what="test") as out:
        assert [out.finished(n) for n in range(3)] == [{"length": 10}, {"length": 11}, None]
        assert out.kept == 2
        (out.partial / "2.txt").write_text("second try 2")
        out.mark(2, {"length": 12})
        out.finish()
    assert {p.name: p.read_text() for p in final.iterdir()} == {
        "0.txt": "first try 0",
        "1.txt": "first try 1",
        "2.txt": "second try 2",
    }


def test_a_kill_between_the_last_steps_leaves_a_whole_dataset_or_a_partial_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    for step, whole in (("rename", False), ("unlink", True)):
        final = tmp_path / f"set-{step}"
        fatal = {"rename": tmp_path / f"set-{step}.partial", "unlink": final / MARKER}[step]
        real = getattr(Path, step)

        def dying(self: Path, *arguments: object, fatal=fatal, real=real) -> object:
            if self == fatal:
                raise Killed
            return real(self, *arguments)

        with pytest.raises(Killed), made(final) as out:
            (out.partial / "a").write_text("a")
            out.mark(0, {})
            with monkeypatch.context() as patch:
                patch.setattr(Path, step, dying)
                out.finish()
        assert final.exists() is whole
        if whole:
            with pytest.raises(RefusedOutput) as caught:
                made(final)
            assert code(caught) == "output-not-empty"
            assert os.listdir(final) == ["a"]
        else:
            with made(final) as out:
                (out.partial / "a").write_text("a")
                out.finish()
            assert os.listdir(final) == ["a"]


def test_after_a_reboot_no_unsynced_episode_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = tmp_path / "set"
    killed_at_work(final)
    monkeypatch.setattr(output, "_boot", lambda: "another start of the machine")
    with Output(final, {"op": "killed"}, needs=0, what="test") as out:
        assert out.kept == 0
        assert sorted(os.listdir(out.partial)) == [DONE, MARKER]


def test_a_full_disk_in_the_middle_is_said_and_the_same_command_goes_on(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"x": list(range(1000))})
    final = tmp_path / "set"
    with pytest.raises(DataProblem) as caught, made(final, needs=12345) as out:
        pq.write_table(table, out.partial / "0.parquet")
        out.mark(0, {"length": 1000})
        (out.partial / "1.parquet").symlink_to("/dev/full")
        try:
            pq.write_table(table, out.partial / "1.parquet")
        except OSError as error:
            error.filename = str(out.partial / "1.parquet")  # Arrow does not say it
            raise
    assert code(caught) == "disk-full"
    assert caught.value.finding.place.file == "1.parquet"
    assert "12345 were expected" in caught.value.what
    assert "goes on" in str(caught.value.fix)
    assert not final.exists()
    with made(final, needs=12345) as out:
        assert out.finished(0) == {"length": 1000}
        assert out.finished(1) is None


def test_a_full_disk_behind_another_error_is_still_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(DataProblem) as caught, made(tmp_path / "set") as out:
        out.mark(0, {})
        try:
            with (out.partial / "full").open("wb") as stream:
                (out.partial / "x").write_text("y")
                with open("/dev/full", "wb", buffering=0) as full:
                    full.write(b"1")
                stream.write(b"")
        except OSError as error:
            raise RuntimeError("a library's own") from error
    assert code(caught) == "disk-full"


def test_a_disk_too_small_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    with pytest.raises(RefusedOutput) as caught, made(tmp_path / "set", needs=1 << 60):
        pass
    assert code(caught) == "disk-too-small"
    assert caught.value.exit_code == 3
    assert os.listdir(tmp_path) == []


def test_two_writers_at_once_are_one_writer_and_one_refusal(tmp_path: Path) -> None:
    final = tmp_path / "set"
    with made(final) as first:
        first.mark(0, {"by": "first"})
        with pytest.raises(RefusedOutput) as caught, made(final):
            pass
        assert code(caught) == "being-written"
        first.finish()
    assert final.is_dir()


def test_of_many_writers_that_start_together_exactly_one_makes_the_dataset(tmp_path: Path) -> None:
    final = tmp_path / "set"
    start = threading.Barrier(8)
    ended: list[str] = []

    def write(name: int) -> None:
        start.wait()
        try:
            with made(final) as out:
                (out.partial / "by").write_text(str(name))
                out.mark(0, {})
                out.finish()
            ended.append("made")
        except RefusedOutput as error:
            ended.append(error.finding.code)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert ended.count("made") == 1
    assert set(ended) <= {"made", "being-written", "output-not-empty"}
    assert os.listdir(tmp_path) == ["set"]
    assert os.listdir(final) == ["by"]


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda final: (final.mkdir(), (final / "mine").write_text("!")), "output-not-empty"),
        (lambda final: final.write_text("a file"), "output-not-empty"),
        (
            lambda final: (Path(f"{final}.partial").mkdir(), Path(f"{final}.partial", "mine").write_text("!")),
            "not-ours",
        ),
        (lambda final: Path(f"{final}.partial").write_text("a file"), "not-ours"),
        (lambda final: Path(f"{final}.partial").symlink_to("/"), "not-ours"),
        (
            lambda final: (Path(f"{final}.partial").mkdir(), Path(f"{final}.partial", MARKER).write_text("not json")),
            "not-ours",
        ),
        (
            lambda final: (Path(f"{final}.partial").mkdir(), Path(f"{final}.partial", MARKER).write_text("[1]")),
            "not-ours",
        ),
    ],
)
def test_what_is_not_ours_is_refused_and_left_as_it_was(prepare, expected: str, tmp_path: Path) -> None:
    final = tmp_path / "set"
    prepare(final)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RefusedOutput) as caught, made(final):
        pass
    assert code(caught) == expected
    assert caught.value.fix
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_partial_folder_of_another_command_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    final = tmp_path / "set"
    with made(final) as out:
        out.mark(0, {})
    for other in ("op", "source"):
        with pytest.raises(RefusedOutput) as caught, made(final, RECIPE | {other: "another"}):
            pass
        assert code(caught) == "not-ours"
        assert other in caught.value.what
    with made(final) as out:
        assert out.kept == 1


def test_the_same_command_with_other_parameters_begins_anew(tmp_path: Path) -> None:
    """What errors propose (--drop-episode 1, a repair of the input) is typed with the same --output."""
    final = tmp_path / "set"
    with made(final) as out:
        (out.partial / "episode").write_text("of one hand")
        out.mark(0, {})
    with made(final, RECIPE | {"parameters": {"hand": "gripper"}}) as out:
        assert out.kept == 0 and not (out.partial / "episode").exists()
        out.mark(0, {})
    with made(final) as out:
        assert out.kept == 0


def test_a_final_name_taken_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    final = tmp_path / "set"
    with pytest.raises(RefusedOutput) as caught, made(final) as out:
        out.mark(0, {})
        final.mkdir()
        (final / "mine").write_text("!")
        out.finish()
    assert code(caught) == "output-not-empty"
    assert (final / "mine").read_text() == "!"
    assert out.partial.is_dir()


def test_an_empty_folder_may_be_the_output_and_an_error_before_the_first_episode_leaves_nothing(tmp_path: Path) -> None:
    final = tmp_path / "set"
    final.mkdir()
    with pytest.raises(ValueError, match="no"), made(final) as out:
        (out.partial / "half").write_text("")
        raise ValueError("no")
    assert os.listdir(tmp_path) == ["set"]
    with made(final) as out:
        out.mark(0, {})
        out.finish()
    assert os.listdir(final) == []


@pytest.mark.parametrize("where", ["in", "in/sub", ".", "link/out"])
def test_an_output_in_or_around_its_input_is_refused(where: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "meta").mkdir(parents=True)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(RefusedOutput) as caught:
        Output(tmp_path / where, RECIPE, needs=0, what="x", sources=[source])
    assert code(caught) == "output-in-input"


@pytest.mark.parametrize("name", ["/", "set.partial"])
def test_names_that_cannot_be_an_output_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedOutput) as caught:
        made(tmp_path / name)
    assert code(caught) == "bad-output"


def test_a_name_longer_than_the_file_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedOutput) as caught, made(tmp_path / ("x" * 250)):
        pass
    assert code(caught) == "output-not-writable"


def test_the_fingerprint_sees_every_change_but_our_own_notes(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "meta" / "info.json").write_text("{}")
    (tmp_path / "data" / "0.parquet").write_text("one")
    first = fingerprint(tmp_path)
    (tmp_path / "meta" / "dm_g1.json").write_text("{}")
    assert fingerprint(tmp_path) == first
    (tmp_path / "data" / "0.parquet").write_text("two, longer")
    second = fingerprint(tmp_path)
    (tmp_path / "meta" / "info.json").write_text("[]")
    assert len({first, second, fingerprint(tmp_path)}) == 3


def test_marks_are_json_lines_that_anyone_can_read(tmp_path: Path) -> None:
    with made(tmp_path / "set") as out:
        out.mark(7, {"length": 40})
        lines = (out.partial / DONE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"episode": 7, "record": {"length": 40}}]


def test_the_marker_says_how_many_there_will_be(tmp_path: Path) -> None:
    with Output(tmp_path / "set", RECIPE, needs=0, what="converting", total=200, unit="episodes") as out:
        marker = json.loads((out.partial / MARKER).read_text())
    assert (marker["what"], marker["total"], marker["unit"]) == ("converting", 200, "episodes")
    assert marker["recipe"]["op"] == "test"


def test_work_that_checks_what_it_finds_keeps_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(ValueError, match="no"),
        Output(tmp_path / "set", RECIPE, needs=0, what="x", checked=True) as out,
    ):
        (out.partial / "half").write_text("half")
        raise ValueError("no")
    monkeypatch.setattr(output, "_boot", lambda: "another start of the machine")
    monkeypatch.setattr(output, "__version__", "9")
    with Output(tmp_path / "set", RECIPE, needs=0, what="x", checked=True) as out:
        assert (out.partial / "half").read_text() == "half"
