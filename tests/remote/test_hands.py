"""What changes files on a host does only that, only there, and says what it did."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from localruntime import LocalRuntime
from places import Place, bare, small_disk

from dm_isaac_g1.core.errors import HostUnreachable, JobNotFound, RefusedError, RemoteFailed, UsageError
from dm_isaac_g1.core.runs import JobSpec
from dm_isaac_g1.remote import hands, hands_program
from dm_isaac_g1.remote.jobs import JOB_ID, new_job_id
from dm_isaac_g1.remote.runtime import Completed

pytestmark = pytest.mark.timeout(60)

#: Names that a shell, a path or a terminal would read otherwise.
HOSTILE = (
    "'; touch pwned; '",
    "$(touch pwned)",
    "`touch pwned`",
    "a\nb",
    "-rf",
    "../../etc",
    "..",
    ".",
    "",
    "%h",
    "a" * 255,
    "é",
    "é",
    "‮gpj.exe",
    "a\x1b]52;c;cHduZWQ=\x07",
    "~",
    "*",
    "a b",
)
runtime = LocalRuntime()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints"
    (folder / "run" / "checkpoint-30").mkdir(parents=True)
    (folder / "run" / "checkpoint-30" / "model.safetensors").write_bytes(b"x" * 100_000)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    return folder


async def remove(root: Path, *paths: str) -> Any:
    return await hands.do(runtime, "remove", {"paths": list(paths), "roots": [str(root)]})


# Removing.


async def test_removing_a_checkpoint_frees_the_bytes_it_says(root: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "10m") as disk:
        target = disk / "checkpoint-30"
        (target / "deep" / "er").mkdir(parents=True)
        (target / "a").write_bytes(os.urandom(3_000_000))
        (target / "deep" / "er" / "b").write_bytes(os.urandom(1_234_567))
        with (target / "sparse").open("wb") as file:
            file.truncate(1 << 30)
        before = os.statvfs(disk)
        done = await remove(disk, str(target))
        after = os.statvfs(disk)
        assert done["freed"] == (after.f_bavail - before.f_bavail) * after.f_frsize > 4_000_000
        assert done["removed"] == [str(target)] and not target.exists()


async def test_a_file_with_another_link_frees_nothing(root: Path) -> None:
    model = root / "run" / "checkpoint-30" / "model.safetensors"
    os.link(model, root / "kept")
    assert (await remove(root, str(root / "run")))["freed"] < 50_000
    assert (root / "kept").stat().st_size == 100_000


async def test_two_links_in_one_removal_free_their_bytes_once(root: Path) -> None:
    model = root / "run" / "checkpoint-30" / "model.safetensors"
    os.link(model, model.with_name("again"))
    freed = (await remove(root, str(root / "run")))["freed"]
    assert 100_000 <= freed < 150_000


@pytest.mark.parametrize(
    "path",
    [
        "{root}",
        "{root}/",
        "{root}//run",
        "{root}/../precious",
        "{root}/run/../../precious",
        "{root}/run/./checkpoint-30",
        "{root}-other",
        "{root}/-rf",
        "{root}/run/-rf/x",
        "/",
        "/etc",
        "relative/run",
        "~/run",
        "",
        "{root}/run\0/etc",
    ],
)
async def test_what_does_not_lie_strictly_under_an_allowed_folder_is_refused(root: Path, path: str) -> None:
    with pytest.raises(RefusedError):
        await remove(root, path.format(root=root))
    assert (root / "run" / "checkpoint-30" / "model.safetensors").exists()
    assert (root.parent / "precious" / "file").read_text() == "keep"


async def test_no_allowed_folder_allows_nothing(root: Path) -> None:
    for roots in ([], [""], ["/"]):
        with pytest.raises(RefusedError):
            await hands.do(runtime, "remove", {"paths": [str(root / "run")], "roots": roots})
    assert (root / "run").exists()


async def test_one_refused_path_means_that_none_is_removed(root: Path) -> None:
    with pytest.raises(RefusedError):
        await remove(root, str(root / "run"), "/etc/passwd")
    assert (root / "run").exists()


async def test_a_link_on_the_way_is_refused_and_a_link_at_the_end_is_removed_itself(root: Path) -> None:
    precious = root.parent / "precious"
    (root / "way").symlink_to(root.parent)
    with pytest.raises(RefusedError, match="link"):
        await remove(root, str(root / "way" / "precious"))
    (root / "run" / "end").symlink_to(precious)
    (root / "run" / "checkpoint-30" / "inside").symlink_to(precious)
    await remove(root, str(root / "run" / "end"))
    await remove(root, str(root / "run"))
    assert (precious / "file").read_text() == "keep"
    assert not (root / "run").exists()


async def test_another_file_system_inside_is_left_alone(root: Path) -> None:
    with small_disk(root / "run" / "mounted", "1m") as disk:
        (disk / "file").write_text("keep")
        done = await remove(root, str(root / "run"))
        assert "file system" in done["failed"][str(root / "run")] and done["removed"] == []
        assert (disk / "file").read_text() == "keep"


async def test_what_is_gone_already_is_reported_beside_what_was_removed(root: Path) -> None:
    done = await remove(root, str(root / "nothing"), str(root / "run"))
    assert done["failed"] == {str(root / "nothing"): "No such file or directory"}
    assert done["removed"] == [str(root / "run")]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_name_is_a_name_or_refused_never_more(root: Path, name: str) -> None:
    target = root / "run" / name if name not in ("..", ".", "", "../../etc") else None
    if target is not None:
        target.mkdir()
    before = {each.name for each in root.parent.iterdir()}
    try:
        await remove(root, f"{root}/run/{name}")
    except RefusedError:
        assert name in ("-rf", "../../etc", "..", ".", "")
    else:
        assert target is None or not target.exists()
    assert {each.name for each in root.parent.iterdir()} == before
    assert (root / "run" / "checkpoint-30" / "model.safetensors").exists() or name in ("", ".")
    assert not list(root.rglob("pwned")) and not Path("pwned").exists()


# Renaming.


async def rename(root: Path, path: str, to: str) -> Any:
    return await hands.do(runtime, "rename", {"path": path, "to": to, "roots": [str(root)]})


async def test_a_broken_checkpoint_is_put_aside_under_its_new_name(root: Path) -> None:
    target = root / "run" / "checkpoint-30"
    done = await rename(root, str(target), "broken-checkpoint-30")
    assert done == {"path": str(root / "run" / "broken-checkpoint-30")}
    assert (root / "run" / "broken-checkpoint-30" / "model.safetensors").exists() and not target.exists()


@pytest.mark.parametrize("name", [*HOSTILE, "a/b", ".hidden"])
async def test_a_new_name_must_be_plain(root: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="plain name"):
        await rename(root, str(root / "run" / "checkpoint-30"), name)
    assert (root / "run" / "checkpoint-30").exists()


async def test_renaming_never_replaces_what_is_there(root: Path) -> None:
    (root / "run" / "broken-checkpoint-30").mkdir()
    with pytest.raises(RefusedError, match="exists already"):
        await rename(root, str(root / "run" / "checkpoint-30"), "broken-checkpoint-30")
    with pytest.raises(RemoteFailed, match="No such file"):
        await rename(root, str(root / "run" / "nothing"), "else")
    assert (root / "run" / "checkpoint-30").exists()


# Starting.


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return bare(tmp_path)


async def test_a_job_that_cannot_start_says_why_and_leaves_nothing(place: Place, tmp_path: Path) -> None:
    plain, garbage, folder = tmp_path / "plain", tmp_path / "garbage", tmp_path / "folder"
    plain.write_text("#!/bin/sh\n")
    garbage.write_bytes(b"\x00\x01\x02")
    garbage.chmod(0o755)
    folder.mkdir()
    cases: list[tuple[list[str], dict[str, Any], str]] = [
        (["no-such-program-at-all"], {}, "no such program: no-such-program-at-all"),
        (["/no/such/program"], {}, "no such program: /no/such/program"),
        ([str(folder)], {}, "no such program"),
        ([str(plain)], {}, "is not executable; chmod"),
        ([str(garbage)], {}, "could not be started: .*Exec format error"),
        (["echo"], {"cwd": "/no/such/folder"}, "no such folder: /no/such/folder"),
        (["echo"], {"env": {"PATH": "/nowhere"}}, "no such program: echo"),
    ]
    for argv, more, why in cases:
        with pytest.raises(RemoteFailed, match=why) as caught:
            await place.start(*argv, **more)
        assert "\n" not in str(caught.value)
    assert not Path(place.root).exists() or list(Path(place.root).iterdir()) == []


async def test_a_job_id_is_used_once(place: Place) -> None:
    spec = place.spec("true")
    await place.jobs.start(spec)
    with pytest.raises(RefusedError, match="exists already"):
        await place.jobs.start(spec)


@pytest.mark.parametrize("id", ["", "x", "../x", "20261120T120000-a-12345", "20261120T120000-../a-123456", "a\nb"])
async def test_a_strange_job_id_is_refused_here_and_there(place: Place, id: str) -> None:
    spec = JobSpec(id=id, name="x", kind="command", argv=("true",), cwd="/tmp")
    with pytest.raises(UsageError):
        await place.jobs.start(spec)
    for op, args in (
        ("job_create", {"spec": {"id": id, "cwd": "/tmp"}, "plan": {"argv": ["true"]}}),
        ("job_stop", {"id": id, "mode": "kill", "by": "test"}),
    ):
        with pytest.raises((RefusedError, JobNotFound)):
            await hands.do(runtime, op, {"root": place.root, **args})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_makes_a_plain_job_id(name: str) -> None:
    assert JOB_ID.fullmatch(new_job_id(name, 1_795_000_000.0)), new_job_id(name, 0)


async def test_a_setting_that_looks_like_a_secret_never_reaches_the_host(place: Place) -> None:
    for name in ("HF_TOKEN", "WANDB_API_KEY", "SPARK_PASSWORD", "token"):
        with pytest.raises(RefusedError, match="secret"):
            await place.start("true", env={name: "hf_canary"})
    assert not Path(place.root).exists()
    await place.start("true", env={"TOKENIZERS_PARALLELISM": "false"})


async def test_a_command_runs_as_argv_not_as_a_shell_line(place: Place) -> None:
    words = ["'; touch pwned; '", "$(id)", "`id`", "a\nb", "-rf", "%h", "*"]
    job = await place.start("printf", "%s|", *words, cwd=place.root.rpartition("/")[0])
    job = await place.ended(job.id)
    assert Path(job.folder, "log").read_text() == "".join(f"{word}|" for word in words)


async def test_a_cut_off_start_is_cleared_away_later(place: Place) -> None:
    stale = Path(place.root, ".new-20200101T000000-old-000000")
    stale.mkdir(parents=True)
    os.utime(stale, (0, 0))
    fresh = Path(place.root, ".new-20200101T000000-new-000000")
    fresh.mkdir()
    await place.start("true")
    assert not stale.exists() and fresh.exists()
    assert len(await place.jobs.list()) == 1


# The wire.


class Answering(LocalRuntime):
    """Answers without running anything."""

    def __init__(self, exit: int | None, stdout: bytes, stderr: bytes = b"") -> None:
        super().__init__()
        self._answer = (exit, stdout, stderr)

    async def run(self, argv: Any, **_more: Any) -> Completed:
        exit_, stdout, stderr = self._answer
        return Completed(argv=tuple(argv), exit=exit_, stdout=stdout, stderr=stderr)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (Answering(None, b""), HostUnreachable, "connection was lost"),
        (Answering(127, b"", b"sh: python3: not found\n"), RemoteFailed, "python3 was not found"),
        (Answering(1, b"", b"Traceback\nValueError: \x1b[2Jbad\n"), RemoteFailed, "exit 1: ValueError: bad$"),
        (Answering(0, b"\x1edm-g1 not json"), RemoteFailed, "makes no sense"),
        (Answering(0, b"\x1edm-g1 [1]"), RemoteFailed, "makes no sense"),
        (Answering(0, b'\x1edm-g1 {"error": "a\x1b]0;x\x07b", "kind": "else"}'.replace(b"\x1b", b"\\u001b")
         .replace(b"\x07", b"\\u0007")), RemoteFailed, "here: ab$"),
    ],
)  # fmt: skip
async def test_what_a_host_answers_is_an_error_in_one_clean_line(answer: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        await hands.do(answer, "remove", {"paths": [], "roots": []})
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


async def test_noise_before_the_answer_does_not_matter() -> None:
    noisy = Answering(0, b'Welcome!\n\x1b[31mHave a nice day\n\x1edm-g1 {"ok": {"freed": 3}}\n')
    assert await hands.do(noisy, "remove", {"paths": [], "roots": []}) == {"freed": 3}


def test_the_programs_for_hosts_need_nothing_but_an_old_python() -> None:
    import ast

    allowed = {"__future__", "contextlib", "errno", "fcntl", "json", "os", "re", "select", "shutil", "signal", "stat",
               "subprocess", "sys", "time", "typing", "collections", "ctypes"}  # fmt: skip
    for name in ("supervisor_program", "hands_program", "agent_jobs"):
        source = Path(hands_program.__file__).with_name(f"{name}.py").read_text()
        tree = ast.parse(source, feature_version=(3, 8))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {each.name.split(".")[0] for each in node.names} <= allowed
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in allowed


def test_the_command_line_shows_nothing_of_what_is_asked() -> None:
    assert len(hands.BOOT) < 500
    done = subprocess.run(["python3", "-I", "-S", "-c", hands.BOOT], input=b"", capture_output=True, check=False)
    assert done.returncode != 0
