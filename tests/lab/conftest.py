"""Fixtures of the lab's tests; what they call stands in labs.py."""

from __future__ import annotations

from labs import lab

__all__ = ["lab"]
