"""The dataset actions as scripts see them: what they yield, their results, their exit codes. On this machine."""

from __future__ import annotations

import json
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sets
from actionlab import failure, perform, result

from dm_isaac_g1.actions import registry
from dm_isaac_g1.actions.context import Context
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import ExitCode
from dm_isaac_g1.core.profile import Profile
from dm_isaac_g1.data.work import Work


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def run(action: str, /, **given: Any) -> list[ev.Event]:
    async with Context(Profile(name="none"), None, dashes=True) as ctx:
        events = await perform(ctx, action, **given)
    for event in events:  # every line is JSON: no NaN, no path, no number of numpy's
        json.loads(ev.encode(event))
    return events


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()
    }


async def test_a_valid_dataset_is_told_so(here: Path) -> None:
    sets.copy_of(here / "a", "groot")
    await run("data.stats", path="a")
    found = result(await run("data.validate", path="a", deep=True))
    assert (found.code, found.data["valid"], found.data["errors"]) == (0, True, 0), found.data["findings"]
    assert found.text.startswith("a is valid")


async def test_an_invalid_one_fails_with_every_problem_and_its_place(here: Path) -> None:
    sets.copy_of(here / "a", "dex3", defect="nan")
    found = result(await run("data.validate", path="a", deep=True))
    assert (found.code, found.data["valid"]) == (ExitCode.FAILED, False)
    assert found.text.startswith("a is not valid: ")
    worst = found.data["findings"][0]
    assert worst["severity"] == "error"
    assert "episode" in worst["where"]
    assert worst["place"]["joint"]


async def test_a_missing_meta_file_is_repaired_once_it_was_said_what_will_be_done(here: Path) -> None:
    folder = sets.copy_of(here / "a", "dex3", defect="no_tasks_jsonl")
    before = content(folder)
    dry = result(await run("data.repair", path="a", dry_run=True))
    assert dry.data["lines"]
    assert content(folder) == before
    done = result(await run("data.repair", path="a"))
    assert done.data["lines"] == dry.data["lines"]
    assert sets.TASKS[0] in (folder / "meta" / "tasks.jsonl").read_text()
    assert result(await run("data.repair", path="a")).text == "Nothing to repair"


async def test_statistics_name_the_files_that_they_are_in(here: Path) -> None:
    folder = sets.copy_of(here / "a", "groot")
    done = result(await run("data.stats", path="a", horizon=10))
    assert all((folder / name).is_file() for name in done.data["files"])
    assert done.data["horizon"] == 10
    assert done.data["relative"]


async def test_a_conversion_makes_the_dataset_and_never_writes_over_one(here: Path) -> None:
    source = sets.copy_of(here / "a", "dex3")
    before = content(source)
    done = result(await run("data.convert", input="a", output="b", format="inspire"))
    assert done.data["episodes"] == 3
    assert (here / "b" / "meta" / "conversion.json").is_file()
    made = content(here / "b")
    again = failure(await run("data.convert", input="a", output="b", format="inspire"))
    assert again.code == ExitCode.REFUSED
    assert content(here / "b") == made
    assert content(source) == before


async def test_interrupted_work_is_kept_and_the_same_command_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets.copy_of(here / "a", "dex3", episodes=30)
    check = Work.check
    monkeypatch.setattr(Work, "check", lambda work: time.sleep(0.01) or check(work))
    action = registry.get("data.combine")
    params = action.parse({"inputs": ["a"], "output": "b"})
    async with (
        Context(Profile(name="none"), None) as ctx,
        aclosing(registry.perform(action, ctx, params)) as events,  # type: ignore[type-var]
    ):
        async for event in events:
            if isinstance(event, ev.Progress) and event.done:
                break
    assert not (here / "b").exists()
    assert (here / "b.partial").is_dir()
    done = result(await run("data.combine", inputs=["a"], output="b"))
    assert (done.data["episodes"], (here / "b").is_dir(), (here / "b.partial").exists()) == (30, True, False)


async def test_a_shared_file_is_split_and_datasets_are_combined(here: Path) -> None:
    sets.copy_of(here / "a", "dex3", layout="combined")
    assert result(await run("data.split", input="a", output="s")).data["episodes"] == 3
    sets.copy_of(here / "c", "dex3", tasks=sets.TASKS)
    done = result(await run("data.combine", inputs=["s", "c"], output="d", episodes=["0:2", "0"]))
    assert (done.data["episodes"], done.data["tasks"]) == (3, 1)


async def test_a_dataset_is_shown_and_one_of_its_episodes(here: Path) -> None:
    sets.copy_of(here / "a", "dex3")
    shown = result(await run("data.show", path="a"))
    assert shown.data["name"] == "a"
    episode = result(await run("data.show", path="a", episode=1, joints="left_arm")).data
    assert episode["length"] == 41
    assert {each["column"] for each in episode["columns"]} == {"observation.state", "action"}
    alone = failure(await run("data.show", path="a", joints="left_arm"))
    assert (alone.code, alone.fix) == (ExitCode.USAGE, "say --episode N, too")


async def test_the_datasets_of_a_folder_are_listed(here: Path) -> None:
    sets.copy_of(here / "datasets" / "a", "dex3")
    sets.copy_of(here / "datasets" / "b", "groot")
    for given in ({}, {"path": "datasets"}, {"path": str(here / "datasets")}):
        (known, told) = await run("data.list", **given)
        assert isinstance(known, ev.Datasets)
        assert [(each.name, each.family) for each in known.datasets] == [("a", "dex3"), ("b", "groot-31-23")]
        assert isinstance(told, ev.Result)
        assert told.text.startswith("2 datasets in ")
    assert failure(await run("data.list", path="nowhere")).code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("action", "given"),
    [
        ("data.validate", {"path": "nowhere"}),
        ("data.stats", {"path": "nowhere"}),
        ("data.repair", {"path": "nowhere"}),
        ("data.show", {"path": "nowhere"}),
        ("data.split", {"input": "nowhere", "output": "o"}),
        ("data.combine", {"inputs": ["nowhere"], "output": "o"}),
        ("data.convert", {"input": "nowhere", "output": "o", "format": "groot"}),
    ],
)
async def test_what_is_not_there_is_an_error_that_names_it(here: Path, action: str, given: dict[str, Any]) -> None:
    events = await run(action, **given)
    last = events[-1]
    assert isinstance(last, ev.Failure | ev.Result)
    assert last.code != 0
    assert "nowhere" in msgspec.json.encode(last).decode()
    assert list(here.iterdir()) == []
