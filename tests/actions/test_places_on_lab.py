"""One action in three places, on real SSH hosts: a host's own dm-g1 runs it, or it is a job there."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sets
from actionlab import failure, perform, result
from hubserver import HubServer

from dm_isaac_g1.actions import places, registry
from dm_isaac_g1.actions.context import Context
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.config import Config, load_config
from dm_isaac_g1.core.errors import ExitCode
from dm_isaac_g1.core.profiles import load_profile
from dm_isaac_g1.lab import seed
from dm_isaac_g1.remote import hands
from dm_isaac_g1.remote.host import open_host

pytestmark = [pytest.mark.usefixtures("lab"), pytest.mark.timeout(60)]

SOURCE = Path(places.__file__).parents[2]

#: Put before everything that a host's Python starts: its own dm-g1, but for one function.
PATCH = """
import sys
if "data" in sys.argv:
    import {module}
    {code}
    {module}.{name} = {name}
"""
#: Work that takes long and has started something, as an encoder would be.
ENDLESS = """
    def split(input, output, work):
        import subprocess, time
        subprocess.Popen(["sleep", "{mark}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        n = 0
        while {stops}:
            n += 1
            work.progress("On and on", n)
            time.sleep(0.05)
        time.sleep(1000)
"""


@asynccontextmanager
async def context(config: Config | None = None, **host: Any) -> AsyncIterator[Context]:
    """The lab, with a workstation that differs in some fields."""
    profile = load_profile("lab")
    changed = msgspec.structs.replace(profile.hosts["workstation"], **host)
    profile = msgspec.structs.replace(profile, hosts={**profile.hosts, "workstation": changed})
    async with Context(profile, config, by="tester@here", dashes=True) as ctx:
        yield ctx


def patched(folder: Path, module: str, name: str, code: str) -> dict[str, str]:
    """The environment of a host whose dm-g1 has another `name` in `module`."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(PATCH.format(module=module, name=name, code=code.strip()))
    return {"PYTHONPATH": str(folder)}


def datasets(lab: Path) -> Path:
    return lab / "workstation" / "workspace" / "datasets"


def running(word: str) -> list[str]:
    """Processes with `word` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in line:
                found.append(line)
    return found


async def gone(word: str, within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while left := running(word):
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.1)


async def test_a_dataset_is_worked_on_where_it_lies_and_the_error_names_the_host(lab: Path) -> None:
    async with context() as ctx:
        wrong = failure(await perform(ctx, "data.split", input="nowhere", output="x", on="workstation"))
        assert (wrong.where or "").startswith("workstation")
        assert "nowhere" in f"{wrong.where} {wrong.what}"
        assert not (datasets(lab) / "x").exists()
        same = failure(await perform(ctx, "data.split", input=str(datasets(lab) / "nowhere"), output="x"))
        assert same.what == wrong.what, "the same command in another place says the same"


async def test_words_of_any_kind_arrive_as_they_were_given() -> None:
    name = "a b'c\"$HOME,`x`;é -rf"
    async with context() as ctx:
        wrong = failure(await perform(ctx, "data.split", input=name, output="-x", on="workstation"))
        assert name in f"{wrong.where} {wrong.what}"


async def test_another_version_is_never_run(tmp_path: Path) -> None:
    copy = tmp_path / "other" / "dm_isaac_g1"
    copy.mkdir(parents=True)
    (copy / "__init__.py").write_text("raise SystemExit('this must never run')\n")
    async with context(env={"PYTHONPATH": str(copy.parent)}) as ctx:
        for more in ({}, {"detach": True}):
            refused = failure(await perform(ctx, "data.split", input=seed.NAME, output="x", on="workstation", **more))
            assert refused.code == ExitCode.REFUSED
            assert "other code than here" in refused.what
            assert "dm-g1 remote sync --host workstation" in (refused.fix or "")
        assert (await ctx.hosts.jobs())[0] == []


@pytest.mark.parametrize(
    ("script", "says", "fix"),
    [
        (f'exec {sys.executable} -S "$@"', "there is no dm-g1", "remote sync"),
        (f'PYTHONPATH={SOURCE} exec {sys.executable} -S "$@"', "has no module", " -m pip install "),
        ("exec no-such-python", "could not be started", "hosts.workstation.python"),
        ("echo the licence has expired >&2; exit 3", "exit 3: the licence has expired", ""),
        ("kill -9 $$", "signal 9", "memory"),
        ('echo; echo \'{"event": "progress"}\'; read -r header', "ended with exit 0", ""),
    ],
)
async def test_a_host_without_it_is_told_in_one_line(tmp_path: Path, script: str, says: str, fix: str) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *agent*|*-I*) exec {sys.executable} "$@";; esac\n{script}\n')
    python.chmod(0o755)
    async with context(python=str(python)) as ctx:
        wrong = failure(await perform(ctx, "data.split", input="a", output="b", on="workstation"))
        assert says in wrong.what
        assert fix in (wrong.fix or "")
        assert (wrong.where or "").startswith("workstation")


@pytest.mark.parametrize(("stops", "patience"), [("work.check() is None", 60.0), ("n < 3", 0.5)])
async def test_leaving_ends_the_command_and_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: str, patience: float
) -> None:
    """Work that ends when it is asked to is not waited for longer than it takes; work that does not is killed."""
    monkeypatch.setattr(places, "PATIENCE", patience)
    mark = f"1{os.getpid() % 10000:04d}.{len(stops):02d}"
    code = ENDLESS.format(mark=mark, stops=stops)
    async with context(env=patched(tmp_path / "p", "dm_isaac_g1.data.split", "split", code)) as ctx:
        action = registry.get("data.split")
        params = action.parse({"input": "a", "output": "b", "on": "workstation"})
        async with aclosing(registry.perform(action, ctx, params)) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, ev.Progress) and event.text == "workstation: On and on":
                    break
            assert running(f"sleep {mark}")
        await gone(f"sleep {mark}")
        await gone("data split --input a --output b")


async def test_a_lost_connection_ends_the_command_there(tmp_path: Path) -> None:
    mark = f"2{os.getpid() % 10000:04d}.5"
    code = ENDLESS.format(mark=mark, stops="work.check() is None")
    env = patched(tmp_path / "p", "dm_isaac_g1.data.split", "split", code)
    async with context(env=env) as ctx:
        events = []
        action = registry.get("data.split")
        params = action.parse({"input": "a", "output": "c", "on": "workstation"})
        async with aclosing(registry.perform(action, ctx, params)) as said:  # type: ignore[type-var]
            async for event in said:
                events.append(event)
                if isinstance(event, ev.Progress) and "On and on" in event.text:
                    connection = ctx.hosts.opened("workstation").link.connection
                    if connection is not None:
                        connection.ssh.abort()
        assert failure(events).code == ExitCode.UNREACHABLE
        await gone("data split --input a --output c")


async def test_a_job_goes_on_by_itself_and_its_end_and_cause_are_seen(lab: Path) -> None:
    async with context() as ctx:
        started = result(await perform(ctx, "data.split", input="nowhere", output="x", on="workstation", detach=True))
    assert started.data["argv"][-6:] == ["data", "split", "--input", "nowhere", "--output", "x"]
    async with context() as ctx:
        async with asyncio.timeout(20):
            events = await perform(ctx, "train.monitor", job_id=started.data["id"], follow=True)
        assert result(events).code == ExitCode.FAILED
        listed = result(await perform(ctx, "train.list", limit=0)).data["jobs"]
        (job,) = [each for each in listed if each["id"] == started.data["id"]]
        assert job["state"] == "failed"
        assert "nowhere" in job["cause"]


async def test_a_job_is_stopped_as_by_ctrl_c_and_leaves_nothing(tmp_path: Path) -> None:
    mark = f"4{os.getpid() % 10000:04d}.5"
    code = ENDLESS.format(mark=mark, stops="work.check() is None")
    async with context(env=patched(tmp_path / "p", "dm_isaac_g1.data.split", "split", code)) as ctx:
        started = result(await perform(ctx, "data.split", input="a", output="d", on="workstation", detach=True))
        while not running(f"sleep {mark}"):
            await asyncio.sleep(0.05)
        events = await perform(ctx, "train.stop", job_id=started.data["id"], wait=True)
        assert any("interrupted at once" in event.text for event in events if isinstance(event, ev.Progress))
        assert result(events).data["state"] == "stopped"
        assert running(f"sleep {mark}") == []


async def test_a_job_needs_a_host() -> None:
    async with context() as ctx:
        wrong = failure(await perform(ctx, "data.split", input="a", output="b", detach=True))
        assert (wrong.code, wrong.fix) == (ExitCode.USAGE, "say --on HOST, too")


#: Says what it was given, and everything that others on the host could see of it.
NOSY = """
    def download_dataset(repo, output, *rest, token=None, work, **more):
        import json, os, pathlib
        from dm_isaac_g1.data.problems import DataProblem
        seen = [pathlib.Path(f"/proc/self/{each}").read_bytes().decode() for each in ("cmdline", "environ")]
        child = os.popen("env").read()
        pathlib.Path("seen.json").write_text(json.dumps([token, *seen, child, *os.environ.values()]))
        raise DataProblem("no", f"the Hub did not want {token}")
"""


@pytest.mark.parametrize("detach", [False, True])
async def test_a_token_goes_over_stdin_alone_and_never_to_a_job(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detach: bool
) -> None:
    secret = "hf_" + "x" * 30
    monkeypatch.setenv("HF_TOKEN", secret)
    config = load_config("lab")
    monkeypatch.delenv("HF_TOKEN")
    env = patched(tmp_path / "p", "dm_isaac_g1.data.hub.download", "download_dataset", NOSY)
    async with context(config, env=env) as ctx:
        events = await perform(ctx, "data.download", repo="a/b", on="workstation", detach=detach)
        if detach:
            assert any("HF_TOKEN" in event.text for event in events if isinstance(event, ev.Progress))
            folder = lab / "workstation" / "workspace" / "jobs" / result(events).data["id"]
            async with asyncio.timeout(20):
                await perform(ctx, "train.monitor", job_id=result(events).data["id"], follow=True)
            assert "the Hub did not want None" in (folder / "log").read_text()
            for file in folder.iterdir():
                assert secret.encode() not in file.read_bytes(), file
        else:
            assert secret not in msgspec.json.encode(events).decode()
        token, *seen = json.loads((datasets(lab) / "seen.json").read_text())
        assert token == (None if detach else secret)
        assert not any(secret in text for text in seen)


async def test_a_gated_dataset_comes_to_the_host_with_the_users_own_token(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hf_" + "y" * 30
    monkeypatch.setenv("HF_TOKEN", secret)
    config = load_config("lab")
    monkeypatch.delenv("HF_TOKEN")
    with HubServer() as hub:
        hub.add("owner/reach", sets.copy_of(tmp_path / "a", "dex3"))
        async with context(config, env={"HF_ENDPOINT": hub.endpoint}) as ctx:
            done = result(await perform(ctx, "data.download", repo="owner/reach", on="workstation"))
            listed = result(await perform(ctx, "data.list", on="workstation"))
        assert done.data["path"] == str(datasets(lab) / "reach")
        assert "reach" in [each["name"] for each in listed.data["datasets"]]
        assert (datasets(lab) / "reach" / "meta" / "info.json").is_file()
        assert {asked.token for asked in hub.log if asked.token} == {f"Bearer {secret}"}


async def test_datasets_of_all_hosts_are_listed_and_who_is_silent_is_said() -> None:
    async with context(ssh="nobody@127.0.0.1:1") as ctx:
        events = await perform(ctx, "data.list")
        assert result(events).data["datasets"] == []
        assert list(result(events).data["silent"]) == ["workstation"]
        assert any(event.text.startswith("workstation: ") for event in events if isinstance(event, ev.Progress))
        assert failure(await perform(ctx, "data.list", on="workstation")).code == ExitCode.UNREACHABLE


async def test_a_dataset_is_checked_where_it_lies_and_what_repairs_it_names_the_host(lab: Path) -> None:
    sets.copy_of(datasets(lab) / "broken", "dex3", defect="no_tasks_jsonl")
    async with context() as ctx:
        valid = result(await perform(ctx, "data.validate", path=seed.NAME, on="workstation"))
        assert (valid.code, valid.data["valid"], valid.data["host"]) == (0, True, "workstation")
        found = result(await perform(ctx, "data.validate", path="broken", on="workstation"))
        assert (found.code, found.data["valid"]) == (ExitCode.FAILED, False)
        assert found.data["findings"][0]["fix"].startswith("dm-g1 data repair --path broken")
        assert found.data["findings"][0]["fix"].endswith(" --on workstation")
        shown = result(await perform(ctx, "data.show", path=seed.NAME, on="workstation", episode=1, joints="right_arm"))
        assert shown.data["length"] > 100


@pytest.mark.parametrize("name", ["there", "copy"])
def test_what_is_sent_is_understood_by_an_old_python(name: str) -> None:
    """It has to say that it is too old."""
    ast.parse(hands.program(name), feature_version=(3, 8))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"old": True, "python": "3.8.10"}, "is Python 3.8.10, and dm-g1 needs 3.11"),
        ({"folder": "/x", "version": "0.0.1", "digest": "d"}, "is 0.0.1, not "),
        (
            {"folder": "/x", "version": "0.0.1", "checkout": "/c", "revision": "abc"},
            "pulls its checkout /c (now at abc)",
        ),
        ({"folder": "/x", "problem": "/data: Permission denied"}, "datasets folder cannot be used: /data"),
    ],
)
def test_every_reason_not_to_run_is_told(found: dict[str, Any], says: str) -> None:
    profile = load_profile("lab")
    host = open_host("box", profile.hosts["workstation"])
    assert says in places.wrong_copy(host, found, "ours").line()
