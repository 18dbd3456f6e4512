"""A model's files from where they lie into a store: what is missing of them, each chunk verified on arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.transfer.copying import Copied, CopyProgress, copy

__all__ = ["Copied", "CopyProgress", "copy"]


def __getattr__(name: str) -> Any:
    """What `copying` has; later, since the store needs this package's `here` first."""
    if name not in __all__:
        raise AttributeError(name)
    from dm_isaac_g1.deploy.transfer import copying

    return getattr(copying, name)
