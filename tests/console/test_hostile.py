"""Text from a host is text: it is never markup, never an action, and never reaches the terminal as a command."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from dm_isaac_g1.actions.context import Plan
from dm_isaac_g1.console.forms.confirm import Confirm
from dm_isaac_g1.console.forms.stop import StopDialog
from dm_isaac_g1.console.runner import progress_line
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.events import Datasets, Progress, Result

from . import scenes, scenes_datasets, scenes_deployments
from .conftest import settled, text_of

#: What Textual itself says to a terminal: colours, cursor, modes, its questions about them, the pointer's shape.
OURS = re.compile(rb"\x1b\]22;[a-z-]*\x07|\x1b\[[?<>=]?[0-9;:]*[$]?[mHhlpcutnqKABCDGJ]|\x1b[78=>]")
#: What is left when those are gone must hold none of these.
NEVER = (b"\x1b", b"\x07", "\x9b".encode(), "\x9d".encode())
HIDDEN = "\u202e\u202c\u200b\ufeff\u2066\u2028"


async def _everywhere(pilot, payload: str) -> None:
    """Put a payload into everything that can show text, and look at all of it."""
    app = pilot.app
    await settled(pilot)
    app.say(payload)
    app.fail(DmG1Error(payload, where=payload, fix=payload))
    app.overview.footer.say(progress_line(payload, Progress(text=payload, done=1, unit=payload)))
    for keys in (("enter",), ("escape",), ("tab", "enter", "escape"), ("v", "l"), ("slash", "x", "escape")):
        await pilot.press(*keys)
        await pilot.pause(0.02)
    for dialog in (Confirm(Plan(title=payload, lines=(payload,), loses=payload)),):
        app.push_screen(dialog)
        await pilot.pause(0.1)
        await pilot.press("escape")
    run = app.overview.view.selected
    if run is not None:
        app.push_screen(StopDialog(run.job))
        await pilot.pause(0.1)
        await pilot.press("escape")
    await pilot.pause(0.05)


@pytest.mark.parametrize("payload", scenes.PAYLOADS, ids=lambda text: ascii(text)[:24])
async def test_no_payload_crashes_runs_or_shows_a_control_character(console, payload: str) -> None:
    app = console(scenes.hostile(payload))
    async with app.run_test(size=(160, 48), notifications=True) as pilot:
        await _everywhere(pilot, payload)
        text = text_of(app)
        assert app.is_running
        assert _clicks(app) <= {
            f"screen.{key.call}" if "(" in key.call else f"screen.{key.call}()" for key in app._table
        }
    assert not [char for char in text if ord(char) < 32 and char != "\n"]
    assert not [char for char in text if 0x7F <= ord(char) < 0xA0 or char in HIDDEN or 0xD800 <= ord(char) < 0xE000]


@pytest.mark.parametrize("payload", scenes.PAYLOADS[3::9], ids=lambda text: ascii(text)[:24])
async def test_no_payload_of_a_deployment_does_either(console, asked, payload: str) -> None:
    """The Deployments room: its panes, the plan, the steps."""
    release = replace(scenes_deployments.NEW, name=payload, source=payload, kind=payload, embodiment=payload)
    plan = replace(
        scenes_deployments.PLAN, release=release, how=payload, problems=(payload,), warnings=(payload,), foreign=payload
    )
    asked.answers["deploy.start"] = lambda params: scenes_deployments.planned(plan)
    app = console(scenes_deployments.hostile(payload))
    async with app.run_test(size=(160, 48), notifications=True) as pilot:
        await settled(pilot)
        await pilot.press("5")
        await pilot.pause(0.3)
        seen = [text_of(app)]
        app.runner.tasks = [scenes_deployments.task("failed", upto="gate", ended=scenes.NOW, said=payload, fix=payload)]
        for walked in app.runner.tasks[0].steps:
            walked.text = payload
        app.room.show_work()
        for keys in (("tab", "enter"), ("tab",), ("tab",), ("tab", "escape"), ("d", "o"), ("escape",)):
            await pilot.press(*keys)
            await pilot.pause(0.05)
            seen.append(text_of(app))
        await pilot.press("1")
        await pilot.pause(0.2)
        assert app.is_running
    text = "".join(seen)
    assert not [char for char in text if ord(char) < 32 and char != "\n"]
    assert not [char for char in text if 0x7F <= ord(char) < 0xA0 or char in HIDDEN or 0xD800 <= ord(char) < 0xE000]


@pytest.mark.parametrize("payload", scenes.PAYLOADS[4::9], ids=lambda text: ascii(text)[:24])
async def test_no_payload_of_a_dataset_does_either(console, asked, payload: str) -> None:
    """The Datasets room: its panes, forms, work, and an episode."""
    episode = scenes_datasets.episode() | {"tasks": [payload]}
    episode["columns"][0]["names"] = [payload] * len(episode["columns"][0]["names"])
    episode["cameras"] = [{"key": payload, "problem": payload}]
    asked.answers["data.show"] = lambda params: [Progress(text=payload), Result(text=payload, data=episode)]
    asked.answers["data.stats"] = lambda params: [Progress(text=payload, done=1, unit=payload), Result(text=payload)]
    store = scenes_datasets.hostile(payload)
    for each in list(store.hosts.values()):
        store.apply(
            Datasets(host=each.name, datasets=tuple(replace(d, validity="unknown") for d in each.datasets or ()))
        )
    app = console(store)
    seen = []
    async with app.run_test(size=(160, 48), notifications=True) as pilot:
        await settled(pilot)
        for keys in (("4",), ("s",), ("enter",), ("z",), ("escape",), ("enter",), ("escape",), ("slash", "x", "enter")):
            await pilot.press(*keys)
            await pilot.pause(0.1)
            seen.append(text_of(app))
            allowed = {f"screen.{key.call}" if "(" in key.call else f"screen.{key.call}()" for key in app._table}
            calls = {"episode(1)", "part(1)", "side()", "camera()", "time(1)", "stage()", "leave()"}
            assert _clicks(app) <= allowed | {f"screen.{call}" for call in calls}
        assert app.is_running
        assert type(app.screen).__name__ == "DatasetsRoom"
    text = "".join(seen)
    assert not [char for char in text if ord(char) < 32 and char != "\n"]
    assert not [char for char in text if 0x7F <= ord(char) < 0xA0 or char in HIDDEN or 0xD800 <= ord(char) < 0xE000]


async def test_markup_in_data_stands_as_it_was_written(console) -> None:
    for payload in ("x[/nope]y", "[bold red]not red[/]", "[@click=app.evil()]click[/]"):
        app = console(scenes.hostile(payload))
        async with app.run_test(size=(160, 48)) as pilot:
            await settled(pilot)
            assert payload in text_of(app)


def _clicks(app) -> set[str]:
    """What a click anywhere on the screen would do."""
    segments = [segment for strip in app.screen._compositor.render_strips() for segment in strip]
    return {segment.style.meta["@click"] for segment in segments if segment.style and "@click" in segment.style.meta}


async def test_clicking_on_data_runs_nothing(console, asked) -> None:
    app = console(scenes.hostile("[@click=screen.train]click[/]"))
    async with app.run_test(size=(160, 48)) as pilot:
        await settled(pilot)
        assert "[@click=screen.train]click[/]" in text_of(app)
        for y in range(2, 46, 6):
            for x in (12, 40, 90):
                await pilot.click(offset=(x, y))
        assert len(app.screen_stack) == 1
    assert not asked.calls


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from console import scenes
from dm_isaac_g1.console.app import DmG1App
class Loud(DmG1App):
    def on_ready(self):
        for payload in scenes.PAYLOADS[:6]:
            self.say(payload)
Loud(scenes.PROFILE, fleet_factory=scenes.fleet_of(scenes.hostile()), now=lambda: scenes.NOW).run()
"""


def test_a_real_terminal_gets_no_command_from_data() -> None:
    """The bytes that a pseudo-terminal receives: every escape sequence in them is one that Textual makes."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
    # Terminal sizes in variables, as test runners set them, would outdo the terminal's own.
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(Path(__file__).parents[1])], stdin=slave, stdout=slave, stderr=slave, env=env
    )
    os.close(slave)
    seen = b""
    script = [b"\t", b"\r", b"\x1b", b"j", b"j", b"v", b"?", b"\x1b", b":", b"\x1b", b"s", b"\x1b", b"\t\t", b"q"]

    def hear(least: float) -> None:
        """For so long, and on until nothing more is said for a moment."""
        nonlocal seen
        until = time.monotonic() + least
        last = until + 5
        while time.monotonic() < min(until, last):
            if select.select([master], [], [], 0.02)[0]:
                try:
                    seen += os.read(master, 1 << 16)
                except OSError:
                    return
                until = max(until, time.monotonic() + 0.1)

    try:
        deadline = time.monotonic() + 30
        while b"h8x[/nope]y" not in seen and process.poll() is None and time.monotonic() < deadline:
            hear(0.5)
        hear(0.5)
        for keys in script:
            os.write(master, keys)
            hear(0.25)
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert process.returncode == 0, seen[-3000:].decode(errors="replace")
    assert b"h8x[/nope]y" in seen
    assert b"\x1b[2J" not in seen
    left = OURS.sub(b"", seen)
    for bad in NEVER:
        assert bad not in left, (bad, left[max(0, left.index(bad) - 80) :][:160])
    text = left.decode()
    assert not [char for char in text if char in HIDDEN or 0x80 <= ord(char) < 0xA0]
