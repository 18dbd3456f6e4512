"""Themes: one TOML file each, in the shipped `themes/` and in the user's, as Textual themes.

TOML because the standard library reads it: a YAML parser would cost a tenth of the time to the first frame.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from textual.color import Color, ColorParseError
from textual.theme import Theme

from dm_isaac_g1.core import paths
from dm_isaac_g1.core.errors import ConfigError

DEFAULT = "dm-dark"

#: What a theme must say besides Textual's own colours; a theme that leaves one out takes these.
VARIABLES = {
    "muted": "#8593a8",
    "faint": "#566378",
    "line": "#2b3647",
    "track": "#2b3647",
    "gpu": "#37c8a4",
    "memory": "#5fb3f9",
    "cpu": "#a78bfa",
    "disk": "#d9a0e8",
    "raw": "#3d6a94",
    "smooth": "#7cc4ff",
    "cursor-bg": "#1b2a40",
}


class Colors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Textual's own colours (textual.theme.Theme), as `#rrggbb`."""

    primary: str
    secondary: str | None = None
    accent: str | None = None
    foreground: str | None = None
    background: str | None = None
    surface: str | None = None
    panel: str | None = None
    success: str | None = None
    warning: str | None = None
    error: str | None = None


class ThemeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file in `themes/`."""

    name: str
    title: str = ""
    dark: bool = True
    colors: Colors
    variables: dict[str, str] = {}


def read(path: Path) -> Theme:
    """The theme of one file. Raises ConfigError."""
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=ThemeFile)
        theme = Theme(
            name=file.name,
            dark=file.dark,
            variables=VARIABLES | file.variables,
            **msgspec.structs.asdict(file.colors),
        )
        theme.to_color_system().generate()
        for color in file.variables.values():
            Color.parse(color)
    except OSError as error:
        raise ConfigError(f"cannot read the theme: {error.strerror}", where=str(path)) from error
    except (msgspec.DecodeError, ValueError, ColorParseError) as error:
        raise ConfigError(
            f"not a theme: {error}", where=str(path), fix="compare it with the shipped dm-dark"
        ) from error
    return theme


def load() -> tuple[dict[str, Theme], list[ConfigError]]:
    """All themes by name, the user's over the shipped ones, and what was wrong with those left out."""
    themes: dict[str, Theme] = {}
    problems = []
    for folder in (paths.shipped("themes"), paths.config_dir() / "themes"):
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
            try:
                theme = read(path)
            except ConfigError as error:
                problems.append(error)
            else:
                themes[theme.name] = theme
    return themes, problems
