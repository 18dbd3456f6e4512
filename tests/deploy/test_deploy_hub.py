"""A model from a Hub on loopback: only what a server needs comes, verified; what is unsafe or incomplete does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hubserver import HubServer
from servedmodels import groot_checkpoint

from dm_isaac_g1.core.errors import DmG1Error, RefusedError, UsageError
from dm_isaac_g1.data.hub.wire import Listed, RepoFile
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.deploy import hub

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


def snapshot(server: HubServer, text: str) -> hub.Snapshot:
    return hub.snapshot(hub.parse(text), Work(), endpoint=server.endpoint)


def test_only_what_a_server_needs_comes_and_the_second_time_nothing(server: HubServer, tmp_path: Path) -> None:
    groot_checkpoint(tmp_path / "m" / "checkpoint-3")
    repo = server.add("org/apples", tmp_path / "m" / "checkpoint-3")
    found = snapshot(server, "org/apples")
    there = {each.relative_to(found.folder).as_posix() for each in found.folder.rglob("*") if each.is_file()}
    assert "model-00001-of-00002.safetensors" in there and "statistics.json" in there
    assert not there & {"optimizer.pt", "training_args.bin", "rng_state_0.pth"}
    assert (found.name, found.said) == ("apples", f"hub:org/apples@{repo.commit}")
    asked = len(server.asked(".safetensors"))
    assert snapshot(server, f"org/apples@{repo.commit}").folder == found.folder
    assert len(server.asked(".safetensors")) == asked


def test_a_folder_of_a_repository_is_a_model_too(server: HubServer, tmp_path: Path) -> None:
    groot_checkpoint(tmp_path / "run" / "checkpoint-3")
    server.add("org/run", tmp_path / "run")
    assert snapshot(server, "org/run/checkpoint-3").name == "checkpoint-3"
    with pytest.raises(RefusedError, match="org/run/checkpoint-3"):
        snapshot(server, "org/run")


def test_one_that_lacks_what_a_server_needs_is_refused_before_its_weights_come(
    server: HubServer, tmp_path: Path
) -> None:
    """As the uploads of the guide are: without index, processor and statistics."""
    folder = groot_checkpoint(tmp_path / "m")
    for name in ("model.safetensors.index.json", "processor_config.json", "statistics.json"):
        (folder / name).unlink()
    server.add("org/half", folder)
    with pytest.raises(RefusedError, match=r"model\.safetensors\.index\.json is missing"):
        snapshot(server, "org/half")
    assert not server.asked(".safetensors")


def test_a_repository_that_is_not_there_is_said(server: HubServer) -> None:
    with pytest.raises(DmG1Error, match="no such model"):
        snapshot(server, "org/nothing")


@pytest.mark.parametrize("text", ["", "name", "a/b c", "../x", "org/name/../..", "org/name@", "org/name/-x"])
def test_what_names_no_repository_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        hub.parse(text)


def test_owner_name_folder_and_revision_are_told_apart() -> None:
    assert hub.parse("org/name") == hub.Wanted("org/name")
    assert hub.parse("hub:org/name@v1.0") == hub.Wanted("org/name", "", "v1.0")
    assert hub.parse("org/name/checkpoint-3@main") == hub.Wanted("org/name", "checkpoint-3", "main")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "a\x1b[2J"])
def test_names_that_lead_out_of_the_folder_are_refused(name: str) -> None:
    listed = Listed("org/evil", "a" * 40, (RepoFile(name, 3, "b" * 40),))
    with pytest.raises(RefusedError, match="do not use this repository"):
        hub.chosen(listed, "")
