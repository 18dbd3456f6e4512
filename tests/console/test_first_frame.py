"""The first frame waits for nothing but Textual, the core and the store."""

from __future__ import annotations

import json
import subprocess
import sys

CHILD = """
import asyncio, json, sys
from dm_isaac_g1.console.app import DmG1App
from dm_isaac_g1.core.profile import Host, Profile

class Watched(DmG1App):
    seen = []
    def _after_first_frame(self):
        self.seen = sorted(sys.modules)
        self.exit(0)

async def main():
    app = Watched(Profile(name="x", hosts={"a": Host(ssh="nobody@127.0.0.1:1")}))
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause(1)
    print(json.dumps(app.seen))

asyncio.run(main())
"""

LATE = ("asyncssh", "aiodocker", "aiohttp", "numpy", "textual_plot", "tsdownsample", "yaml", "torch", "cryptography")
OURS_LATE = (
    "actions",
    "remote.host",
    "fleet.fleet",
    "console.forms",
    "console.plot",
    "console.palette",
    "console.help",
    "console.datasets",
    "console.episode",
    "console.panes.datasets",
    "data",
)


def test_nothing_heavy_is_imported_before_the_first_frame() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, check=True)
    modules = json.loads(done.stdout.strip().splitlines()[-1])
    assert "dm_isaac_g1.console.overview" in modules
    early = [name for name in modules if name.split(".")[0] in LATE]
    assert not early
    assert not [name for name in modules for late in OURS_LATE if name.startswith(f"dm_isaac_g1.{late}")]


def test_the_console_at_rest_paints_nothing() -> None:
    """No timer repaints: two seconds after the last change not a byte is written (the clock moves once a minute)."""
    program = """
import asyncio, sys
from dm_isaac_g1.console.app import DmG1App
from dm_isaac_g1.core.profile import Profile
painted = []
class Watched(DmG1App):
    def _display(self, screen, renderable):
        painted.append(1)
        super()._display(screen, renderable)
async def main():
    app = Watched(Profile(name="x"), now=lambda: 1_795_183_400.0)
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause(3)
        before = len(painted)
        await asyncio.sleep(12)
        print(before, len(painted) - before)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    before, more = map(int, done.stdout.split())
    assert before > 0 and more == 0
