"""Fixtures of the actions' tests; what they call stands in actionlab.py."""

from __future__ import annotations

from actionlab import lab, lab_folder

__all__ = ["lab", "lab_folder"]
