"""The command palette, dressed like the dialogs; imported when it first opens."""

from __future__ import annotations

from textual.command import CommandPalette


class Palette(CommandPalette):
    """Everything there is to do, by name."""

    SCOPED_CSS = False
    DEFAULT_CSS = """
    Palette > Vertical { width: 84; max-width: 100%; background: $surface; }
    Palette #--input { border: round $primary; background: $surface; }
    Palette #--input.--list-visible { border: round $primary; }
    Palette SearchIcon { display: none; }
    Palette CommandInput, Palette CommandInput:focus { background: $surface; padding: 0 1; }
    Palette CommandList {
        background: $surface; border: none; max-height: 60vh;
        scrollbar-size-vertical: 1; scrollbar-background: $surface; scrollbar-color: $line;
    }
    Palette CommandList > .option-list--option-highlighted { background: $cursor-bg; color: $foreground; }
    """
