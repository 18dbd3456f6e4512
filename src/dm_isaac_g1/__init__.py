"""Mission control for humanoid fine-tunes, in a terminal."""

__version__ = "0.1.0"
