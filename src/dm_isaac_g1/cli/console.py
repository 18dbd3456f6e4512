"""The console's door: nothing of it is imported before somebody goes through."""

from __future__ import annotations

from dm_isaac_g1.cli.globals import Globals


def open_console(chosen: Globals, theme: str | None) -> int:
    """Open the console on the chosen fleet; returns when the user leaves it."""
    profile, config = chosen.load()
    from dm_isaac_g1.console.app import run

    run(profile, config, theme=theme)
    return 0
