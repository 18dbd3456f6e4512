"""Names that a profile's defaults may use and that another part defines: the themes and the console's keys."""

from __future__ import annotations

import tomllib

from dm_isaac_g1.core import paths

#: What a profile re-binds a key by: `console.keys.KEYS` has the same names (a test holds the two together).
KEYS = (
    "room.overview",
    "room.datasets",
    "room.deployments",
    "train.start",
    "train.stop",
    "checkpoints.clean",
    "deploy.start",
    "deploy.rollback",
    "deploy.verify",
    "deploy.resume",
    "data.download",
    "data.show",
    "data.validate",
    "data.convert",
    "data.stats",
    "data.repair",
    "mark",
    "data.combine",
    "data.split",
    "work.cancel",
    "sort",
    "reverse",
    "look",
    "palette",
    "filter",
    "next",
    "previous",
    "open",
    "zoom",
    "back",
    "plot.log",
    "plot.rougher",
    "plot.smoother",
    "plot.metric",
    "plot.dots",
    "log.left",
    "log.right",
    "follow",
    "picture",
    "theme",
    "help",
    "quit",
)


def themes() -> list[str]:
    """The names of the shipped themes and the user's; a file that is no theme has none."""
    found = set()
    for folder in (paths.shipped("themes"), paths.config_dir() / "themes"):
        for path in folder.glob("*.toml") if folder.is_dir() else ():
            try:
                name = tomllib.loads(path.read_text(encoding="utf-8")).get("name") if path.is_file() else None
            except (OSError, ValueError):
                continue
            if isinstance(name, str):
                found.add(name)
    return sorted(found)
