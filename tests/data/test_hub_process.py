"""Downloads as users start them: through the hub process, against a Hub on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hubserver import Fault, HubServer
from sets import copy_of

from dm_isaac_g1.core.errors import Interrupted, UsageError
from dm_isaac_g1.core.events import Event, Progress
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.hub.download import download_dataset, source_of
from dm_isaac_g1.data.hub.hospitality import HOSPITALITY, HubSet, download_all_hospitality
from dm_isaac_g1.data.hub.process import HubProcess
from dm_isaac_g1.data.hub.widening import aside
from dm_isaac_g1.data.hub.wire import Hub, LookUp
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.data.work import Work

REPO = "unitree/G1_Towel"
TOKEN = "hf_loopbackloopbackloopback"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub, and nothing of this machine's own login, cache or proxies."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server
        assert {each.host for each in server.log} <= {f"127.0.0.1:{server.port}", f"localhost:{server.port}"}


@pytest.fixture(scope="module")
def towel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of(tmp_path_factory.mktemp("towel") / "set", "inspire26", video="h264", cameras=1)


@pytest.fixture(scope="module")
def meta(towel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The meta files of `towel`, downloaded."""
    with HubServer() as server:
        server.add(REPO, towel)
        out = tmp_path_factory.mktemp("meta") / "out"
        return download_dataset(REPO, out, meta_only=True, endpoint=server.endpoint, token=TOKEN)


def files_in(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def refused(code: str, *args: Any, **options: Any) -> DataProblem:
    with pytest.raises(DataProblem) as caught:
        download_dataset(*args, **options)
    assert caught.value.finding.code == code, caught.value.line()
    assert caught.value.finding.fix
    return caught.value


# --- What comes -------------------------------------------------------------------------------------------------------


def test_a_download_is_what_the_hub_has_and_says_where_it_came_from(
    hub: HubServer, towel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    repo = hub.add(REPO, towel)
    told: list[Event] = []
    out = download_dataset(REPO, tmp_path / "out", work=Work(told.append), token=TOKEN)
    got = files_in(out)
    notes = json.loads(got.pop("meta/dm_g1.json"))
    assert got == files_in(towel)
    assert notes["source"] | {"at": 0} == {
        "repo": REPO,
        "revision": repo.commit,
        "files": len(got),
        "bytes": sum(map(len, got.values())),
        "at": 0,
    }
    steps = [event for event in told if isinstance(event, Progress) and event.unit == "bytes"]
    assert steps[-1].done == steps[-1].total == notes["source"]["bytes"]
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "out.partial").exists()


def test_the_token_goes_to_the_hub_alone_and_stands_in_no_command_line_or_environment(
    hub: HubServer, towel: Path
) -> None:
    hub.add(REPO, towel)
    with HubProcess(Work(), REPO) as process:
        process.ask(LookUp(Hub(token=TOKEN), REPO, None))
        shown = Path(f"/proc/{process._process.pid}")
        assert TOKEN.encode() not in (shown / "cmdline").read_bytes() + (shown / "environ").read_bytes()
    assert TOKEN not in repr(LookUp(Hub(token=TOKEN), REPO, None))
    assert {each.token for each in hub.log} == {f"Bearer {TOKEN}"}
    assert {each.host for each in hub.log} == {f"127.0.0.1:{hub.port}"}


def test_large_files_come_from_another_host_without_the_token(hub: HubServer, towel: Path, tmp_path: Path) -> None:
    hub.add(REPO, towel)
    download_dataset(REPO, tmp_path / "out", token=TOKEN)
    elsewhere = [each for each in hub.log if each.host.startswith("localhost")]
    assert elsewhere and {each.token for each in elsewhere} == {None}


def test_a_renamed_repository_is_followed_and_named(hub: HubServer, towel: Path, tmp_path: Path) -> None:
    hub.add("unitree/G1_Dex1_Towel", towel)
    hub.renamed[REPO] = "unitree/G1_Dex1_Towel"
    told: list[Event] = []
    source = source_of(download_dataset(REPO, tmp_path / "out", work=Work(told.append)))
    assert source is not None and (source.repo, source.asked) == ("unitree/G1_Dex1_Towel", REPO)
    assert any("is called unitree/G1_Dex1_Towel today" in event.text for event in told if isinstance(event, Progress))


# --- What is there already --------------------------------------------------------------------------------------------


def test_a_second_download_verifies_what_is_there_and_fetches_nothing(
    hub: HubServer, towel: Path, meta: Path, tmp_path: Path
) -> None:
    hub.add(REPO, towel)
    out = Path(shutil.copytree(meta, tmp_path / "out"))
    assert download_dataset(REPO, out, meta_only=True) == out
    assert not [each for each in hub.log if "/resolve/" in each.path or "/cdn/" in each.path]
    (out / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "something else"}\n')
    assert "meta/tasks.jsonl" in refused("changed-since-download", REPO, out, meta_only=True).line()


def test_another_revision_under_the_same_name_is_refused(
    hub: HubServer, towel: Path, meta: Path, tmp_path: Path
) -> None:
    hub.add(REPO, towel).commit = "e" * 40
    out = Path(shutil.copytree(meta, tmp_path / "out"))
    problem = refused("other-revision", REPO, out)
    assert "eeeeeeeeeeee" in problem.what and problem.exit_code == 3
    assert files_in(out) == files_in(meta)


def test_a_folder_of_somebody_else_is_never_touched(hub: HubServer, towel: Path, tmp_path: Path) -> None:
    hub.add(REPO, towel)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")
    refused("output-not-empty", REPO, tmp_path / "out")
    (tmp_path / "two.partial").mkdir()
    (tmp_path / "two.partial/thesis.tex").write_text("mine")
    refused("not-ours", REPO, tmp_path / "two")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "two.partial") == {"thesis.tex": b"mine"}


# --- Parts ------------------------------------------------------------------------------------------------------------


def test_some_episodes_are_a_dataset_of_these_episodes(hub: HubServer, towel: Path, tmp_path: Path) -> None:
    hub.add(REPO, towel)
    out = download_dataset(REPO, tmp_path / "out", "0-1")
    dataset = Dataset.open(out)
    assert [episode.index for episode in dataset.episodes] == [0, 1]
    assert dataset.info.total_frames == dataset.frames == sum(dataset.read(n).num_rows for n in (0, 1))
    assert not list(out.rglob("episode_000002.*"))
    download_dataset(REPO, tmp_path / "out", "1")  # is among them
    assert len(Dataset.open(out).episodes) == 2
    with pytest.raises(UsageError, match="no episode 7; it has 3"):
        download_dataset(REPO, tmp_path / "other", "7")


def test_meta_only_brings_no_data(hub: HubServer, towel: Path, tmp_path: Path) -> None:
    hub.add(REPO, towel)
    out = download_dataset(REPO, tmp_path / "out", meta_only=True)
    assert {name.split("/")[0] for name in files_in(out)} == {"meta"}
    assert not [each for each in hub.log if "/cdn/" in each.path]
    assert len(Dataset.open(out).episodes) == 3


def test_one_of_several_datasets_in_a_repository(hub: HubServer, towel: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    shutil.copytree(towel, both / "g1.towel")
    shutil.copytree(towel, both / "g1.apple")
    hub.add(REPO, both)
    assert "g1.apple, g1.towel" in refused("several-datasets", REPO, tmp_path / "out").what
    out = download_dataset(REPO, tmp_path / "out", "g1.towel")
    assert {name for name in files_in(out) if name != "meta/dm_g1.json"} == set(files_in(towel))
    refused("other-revision", REPO, tmp_path / "out", "g1.apple")


def test_more_of_a_part_that_is_there_fetches_the_rest_only(
    hub: HubServer, towel: Path, meta: Path, tmp_path: Path
) -> None:
    hub.add(REPO, towel)
    shutil.copytree(meta, tmp_path / "out")
    download_dataset(REPO, tmp_path / "out", "0-1")
    hub.log.clear()
    got = files_in(download_dataset(REPO, tmp_path / "out"))
    source = json.loads(got.pop("meta/dm_g1.json"))["source"]
    assert got == files_in(towel) and not {"subset", "meta_only", "trimmed"} & source.keys()
    fetched = {each.path.rsplit("/", 1)[-1] for each in hub.log if "/cdn/" in each.path and each.method == "GET"}
    assert fetched == {"episode_000002.parquet", "episode_000002.mp4"}
    assert set(os.listdir(tmp_path)) <= {"hf", "out"}


def test_a_part_is_not_grown_around_files_of_the_user_or_onto_a_full_disk(
    hub: HubServer, towel: Path, meta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, towel)
    shutil.copytree(meta, tmp_path / "out")
    (tmp_path / "out/notes.txt").write_text("mine")
    before = files_in(tmp_path / "out")
    assert "notes.txt" in refused("changed-since-download", REPO, tmp_path / "out").what
    assert files_in(tmp_path / "out") == before
    (tmp_path / "out/notes.txt").unlink()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000_000))
    refused("disk-too-small", REPO, tmp_path / "out")
    assert files_in(tmp_path / "out").keys() == before.keys() - {"notes.txt"}


def test_a_part_that_was_set_aside_when_the_kill_came_is_found(
    hub: HubServer, towel: Path, meta: Path, tmp_path: Path
) -> None:
    hub.add(REPO, towel)
    shutil.copytree(meta, aside(tmp_path / "out"))
    got = files_in(download_dataset(REPO, tmp_path / "out"))
    assert got.keys() - {"meta/dm_g1.json"} == files_in(towel).keys()
    assert not hub.asked("info.json") and not aside(tmp_path / "out").exists()


# --- Interrupted ------------------------------------------------------------------------------------------------------


def test_cancelling_ends_it_within_a_second_and_the_next_try_goes_on(
    hub: HubServer, towel: Path, tmp_path: Path
) -> None:
    hub.add(REPO, towel)
    hub.faults["episode_000002.mp4"] = Fault(slow=1.0, methods=("GET",))
    work, cancelled = Work(), list[float]()

    def cancel() -> None:
        while not hub.asked("episode_000002.mp4"):
            time.sleep(0.02)
        time.sleep(0.5)  # all the others are there
        cancelled.append(time.monotonic())
        work.cancel()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(Interrupted):
        download_dataset(REPO, tmp_path / "out", work=work)
    assert time.monotonic() - cancelled[0] < 1.0
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial/data").exists()
    hub.faults.clear()
    hub.log.clear()
    download_dataset(REPO, tmp_path / "out")
    fetched = {each.path.rsplit("/", 1)[-1] for each in hub.log if "/cdn/" in each.path and each.method == "GET"}
    assert fetched == {"episode_000002.mp4"}


def test_a_cancel_is_heard_while_the_hub_says_nothing(hub: HubServer, towel: Path, tmp_path: Path) -> None:
    hub.add(REPO, towel)
    hub.faults[f"/tree/{hub.repos[REPO].commit}"] = Fault(status=429, headers={"Retry-After": "600"})
    work, told = Work(), list[float]()

    def cancel(event: Event) -> None:
        if isinstance(event, Progress) and "Waiting" in event.text:
            told.append(time.monotonic())
            threading.Timer(0.1, work.cancel).start()

    work = Work(cancel)
    with pytest.raises(Interrupted):
        download_dataset(REPO, tmp_path / "out", work=work)
    assert told and time.monotonic() - told[0] < 1.0


PROGRAM = """
import sys
from dm_isaac_g1.data.hub.download import download_dataset
download_dataset(sys.argv[1], sys.argv[2])
"""


def test_a_kill_in_the_middle_leaves_nothing_under_the_final_name(hub: HubServer, towel: Path, tmp_path: Path) -> None:
    hub.add(REPO, towel)
    hub.faults["episode_000002.mp4"] = Fault(slow=1.0, methods=("GET",))
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, REPO, str(tmp_path / "out")])
    deadline = time.monotonic() + 20
    while not hub.asked("episode_000002.mp4") and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    marker = json.loads((tmp_path / "out.partial/.dm-g1-partial.json").read_text())
    assert marker["unit"] == "bytes" and marker["total"] == sum(map(len, files_in(towel).values()))
    hub.faults.clear()
    got = files_in(download_dataset(REPO, tmp_path / "out"))
    del got["meta/dm_g1.json"]
    assert got == files_in(towel)


# --- Refused before a byte comes --------------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(
    hub: HubServer, towel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, towel)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000_000))
    problem = refused("disk-too-small", REPO, tmp_path / "out")
    assert "50 MB" in problem.what.replace("50.0", "50")
    assert not [each for each in hub.log if "/resolve/" in each.path]
    assert not (tmp_path / "out").exists()


def test_a_repository_that_is_no_dataset_is_named_as_what_it_is(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "bags").mkdir()
    for number in range(3):
        (tmp_path / f"bags/{number}.hdf5").write_bytes(b"x")
    hub.add(REPO, tmp_path / "bags")
    assert "it holds 3 .hdf5" in refused("not-a-dataset", REPO, tmp_path / "out").what


def test_offline_mode_is_said(hub: HubServer, towel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, towel)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused("offline-mode", REPO, tmp_path / "out").exit_code == 4
    assert not hub.log


def test_the_end_of_the_hub_process_is_an_error_not_a_wait(hub: HubServer, towel: Path) -> None:
    hub.add(REPO, towel)
    with HubProcess(Work(), REPO) as process:
        process._process.kill()
        process._process.wait()
        with pytest.raises(DataProblem, match="ended by signal 9"):
            process.ask(LookUp(Hub(), REPO, None))


# --- All of them ------------------------------------------------------------------------------------------------------


def test_the_hospitality_sets_come_by_todays_name_or_the_first_and_one_that_is_gone_keeps_no_other(
    hub: HubServer, towel: Path, tmp_path: Path
) -> None:
    hub.add("unitreerobotics/G1_Dex1_Fold_Towel", towel)
    hub.add("unitreerobotics/G1_Clean_Table", towel)
    sets = (HubSet("G1_Fold_Towel", ""), HubSet("G1_Gone", ""), HubSet("G1_Clean_Table", ""))
    with pytest.raises(DataProblem, match=r"1 of 3 datasets did not come \(G1_Gone\)"):
        download_all_hospitality(tmp_path / "all", sets=sets, meta_only=True)
    assert sorted(os.listdir(tmp_path / "all")) == ["G1_Clean_Table", "G1_Fold_Towel"]
    folders = download_all_hospitality(tmp_path / "all", sets=sets[::2], meta_only=True)
    assert [folder.name for folder in folders] == ["G1_Fold_Towel", "G1_Clean_Table"]
    assert len(HOSPITALITY) == len({each.name for each in HOSPITALITY}) == 7
