"""What goes wrong between here and the Hub: each its own error. The work of the hub process, without the process."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hubserver import Fault, HubServer, Repo
from test_hub_process import REPO, TOKEN

from dm_isaac_g1.core.errors import ExitCode
from dm_isaac_g1.data.hub import asking, failures
from dm_isaac_g1.data.hub.digests import same
from dm_isaac_g1.data.hub.wire import Answered, Bytes, Failed, Fetch, Finished, Hub, Listed, LookUp, RepoFile

DATA = bytes(range(256)) * 400


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    with HubServer() as server:
        server.repos[REPO] = Repo(REPO, {"meta/info.json": b"{}", "data/a.parquet": DATA}, tags=("v2.1",))
        yield server


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """huggingface_hub's waits, noted and left out."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def look_up(hub: HubServer, *, token: str | None = None, revision: str | None = None) -> Listed | Failed:
    return asking.look_up(LookUp(Hub(hub.endpoint, token), REPO, revision))


def fetch(hub: HubServer, folder: Path, *, told: list[Answered] | None = None) -> Finished | Failed:
    listed = look_up(hub)
    assert isinstance(listed, Listed)
    tell = (told if told is not None else []).append
    return asking.fetch(Fetch(Hub(hub.endpoint), REPO, listed.revision, str(folder), listed.files), tell)


# --- Looking up -------------------------------------------------------------------------------------------------------

ANSWERS = {
    "gated": (Fault(status=403, headers={"X-Error-Code": "GatedRepo"}), ExitCode.UNTRUSTED, "let"),
    "no-such-repo": (Fault(status=401, headers={"X-Error-Code": "RepoNotFound"}), ExitCode.UNTRUSTED, "no such"),
    "bad-token": (
        Fault(status=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"}),
        ExitCode.UNTRUSTED,
        "does not accept",
    ),
    "forbidden": (Fault(status=403, headers={"X-Error-Message": "no right"}), ExitCode.UNTRUSTED, "forbids"),
    "disabled": (
        Fault(status=403, headers={"X-Error-Message": "Access to this resource is disabled."}),
        ExitCode.UNTRUSTED,
        "disabled",
    ),
    "rate-limited": (Fault(status=429, headers={"Retry-After": "90"}), ExitCode.FAILED, "too many"),
    "hub-down": (Fault(status=502), ExitCode.UNREACHABLE, "502"),
    "hub-failed": (Fault(status=418), ExitCode.FAILED, "418"),
}


@pytest.mark.parametrize("code", ANSWERS)
def test_every_no_of_the_hub_has_a_code_and_says_what_to_do(hub: HubServer, code: str) -> None:
    fault, exit_code, words = ANSWERS[code]
    hub.faults[f"/api/datasets/{REPO}"] = fault
    failed = look_up(hub, token=TOKEN)
    assert isinstance(failed, Failed)
    assert failed.code == code and words in failed.what and failed.fix
    problem = failures.raised(failed, dataset=REPO)
    assert problem.exit_code == exit_code and REPO in problem.line()
    assert TOKEN not in problem.line()
    if code == "rate-limited":
        assert "1 m 30 s" in failed.fix


def test_a_revision_that_is_not_there_is_answered_with_those_that_are(hub: HubServer) -> None:
    failed = look_up(hub, revision="v9")
    assert isinstance(failed, Failed)
    assert (failed.code, failed.fix) == ("no-such-revision", "it has main, v2.1")


def test_a_machine_without_dns_is_told_so(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    failed = asking.look_up(LookUp(Hub("http://hub.invalid:1"), REPO, None))
    assert isinstance(failed, Failed) and failed.code == "no-dns"


def test_a_hub_that_nobody_runs_is_unreachable(hub: HubServer) -> None:
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        failed = asking.look_up(LookUp(Hub(f"http://127.0.0.1:{bound.getsockname()[1]}"), REPO, None))
    assert isinstance(failed, Failed) and failed.code == "unreachable"
    assert failures.raised(failed, dataset=REPO).exit_code == ExitCode.UNREACHABLE


def test_an_id_that_is_none_is_not_asked_for(hub: HubServer) -> None:
    failed = asking.look_up(LookUp(Hub(hub.endpoint), "a/b/c", None))
    assert isinstance(failed, Failed) and failed.code == "bad-repo-id"
    assert not hub.log


# --- Fetching ---------------------------------------------------------------------------------------------------------


def test_a_transfer_that_breaks_off_half_way_goes_on_where_it_ended(
    hub: HubServer, tmp_path: Path, no_waiting: list[float]
) -> None:
    hub.faults["a.parquet"] = Fault(cut=0.5, times=1, methods=("GET",))
    told: list[Answered] = []
    assert fetch(hub, tmp_path, told=told) == Finished()
    assert (tmp_path / "data/a.parquet").read_bytes() == DATA
    cut, rest = (each for each in hub.asked("a.parquet") if "/cdn/" in each.path)
    assert cut.range is None and rest.range is not None and rest.range.startswith("bytes=")
    assert max(each.done for each in told if isinstance(each, Bytes)) == len(DATA) + 2


def test_a_transfer_that_never_gets_through_is_said_and_leaves_no_file(
    hub: HubServer, tmp_path: Path, no_waiting: list[float]
) -> None:
    hub.faults["a.parquet"] = Fault(cut=0.0, methods=("GET",))
    failed = fetch(hub, tmp_path)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.file) == ("broken-transfer", "data/a.parquet")
    assert not (tmp_path / "data/a.parquet").exists()


def test_a_file_that_comes_wrong_is_fetched_again_and_in_the_end_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.faults["a.parquet"] = Fault(wrong=True, methods=("GET",), times=1)
    assert fetch(hub, tmp_path / "once") == Finished()
    assert (tmp_path / "once/data/a.parquet").read_bytes() == DATA
    hub.faults["a.parquet"] = Fault(wrong=True, methods=("GET",))
    failed = fetch(hub, tmp_path / "always")
    assert isinstance(failed, Failed) and (failed.code, failed.file) == ("hash-differs", "data/a.parquet")
    assert not (tmp_path / "always/data/a.parquet").exists()


def test_a_rate_limit_is_waited_out_as_long_as_the_hub_says(
    hub: HubServer, tmp_path: Path, no_waiting: list[float]
) -> None:
    hub.faults["a.parquet"] = Fault(status=429, headers={"Retry-After": "7"}, times=1, methods=("GET",))
    assert fetch(hub, tmp_path) == Finished()
    assert 8.0 in no_waiting


def test_a_file_that_the_hub_lists_and_does_not_have(hub: HubServer, tmp_path: Path) -> None:
    hub.faults["info.json"] = Fault(status=404, headers={"X-Error-Code": "EntryNotFound"})
    failed = fetch(hub, tmp_path)
    assert isinstance(failed, Failed) and (failed.code, failed.file) == ("file-gone", "meta/info.json")


def test_a_gated_repository_shows_its_list_and_keeps_its_files(hub: HubServer, tmp_path: Path) -> None:
    hub.faults[".parquet"] = Fault(status=403, headers={"X-Error-Code": "GatedRepo"})
    failed = fetch(hub, tmp_path)
    assert isinstance(failed, Failed) and failed.code == "gated"
    assert (
        failed.fix is not None and f"https://huggingface.co/datasets/{REPO}" in failed.fix and "HF_TOKEN" in failed.fix
    )


def test_a_git_lfs_pointer_in_the_repository_is_no_data(hub: HubServer, tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    hub.repos[REPO] = Repo(REPO, {"data/a.parquet": pointer}, lfs=False)
    failed = fetch(hub, tmp_path)
    assert isinstance(failed, Failed) and failed.code == "lfs-pointer"


def test_a_full_disk_is_said_and_what_is_there_stays(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(hub, tmp_path) == Finished()
    (tmp_path / "data/a.parquet").unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    failed = fetch(hub, tmp_path)
    assert isinstance(failed, Failed) and (failed.code, failed.file) == ("disk-full", "data/a.parquet")
    assert (tmp_path / "meta/info.json").read_bytes() == b"{}"


def test_files_that_are_there_and_whole_are_not_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path) == Finished()
    (tmp_path / "meta/info.json").write_bytes(b"[]")  # of the same length
    hub.log.clear()
    assert fetch(hub, tmp_path) == Finished()
    assert (tmp_path / "meta/info.json").read_bytes() == b"{}"
    assert not hub.asked("a.parquet")
    assert not (tmp_path / ".cache").exists()


def test_a_link_is_not_what_was_downloaded(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(DATA)
    (tmp_path / "link").symlink_to("real")
    file = RepoFile("real", len(DATA), "", hashlib.sha256(DATA).hexdigest())
    assert same(tmp_path / "real", file) and not same(tmp_path / "link", file)
    assert not same(tmp_path / "real", RepoFile("real", len(DATA), "0" * 40))
