"""How large, deep and many: what a frame may hold before it is refused."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one frame, checked before anything is allocated for what it declares."""

    #: Bytes of a frame. 16 observations of two 720p cameras are 88 MB.
    frame: int = 128 << 20
    #: Values inside values; GR00T's own messages have 6.
    depth: int = 12
    #: Keys and values of all maps and lists together; a reply with 30 steps has 150.
    items: int = 1 << 16
    #: Bytes of one text.
    text: int = 1 << 20
    #: Dimensions of an array; a batch of videos has 5.
    dimensions: int = 8


LIMITS = Limits()
