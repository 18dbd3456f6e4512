"""Pictures made smaller before they cross a slow link: two 720p cameras are 5.5 MB, and 0.3 MB at 224 x 224."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.inference.protocol.npy import Array

#: The shorter side in pixels, keeping the proportions; or exactly (height, width).
Resize = int | tuple[int, int]


def resized(observation: Mapping[str, Any], size: Resize) -> dict[str, Any]:
    """A nested observation with each video (B, T, H, W, 3) at `size`. Nothing becomes larger. Raises UsageError."""
    return {
        modality: {key: _video(video, size) for key, video in values.items()} if modality == "video" else values
        for modality, values in observation.items()
    }


def target(height: int, width: int, size: Resize) -> tuple[int, int]:
    """(height, width) that pictures are made."""
    if isinstance(size, tuple):
        return min(height, size[0]), min(width, size[1])
    share = min(1.0, size / min(height, width))
    return max(1, round(height * share)), max(1, round(width * share))


def _video(video: Any, size: Resize) -> Any:
    if not isinstance(video, np.ndarray) or video.ndim < 3 or video.shape[-1] != 3 or video.dtype != np.uint8:
        raise UsageError("only uint8 pictures (..., H, W, 3) can be made smaller")
    height, width = target(video.shape[-3], video.shape[-2], size)
    if (height, width) == video.shape[-3:-1]:
        return video
    flat = video.reshape(-1, *video.shape[-3:])
    smaller = np.stack([_picture(each, height, width) for each in flat])
    return smaller.reshape(*video.shape[:-3], height, width, 3)


def _picture(picture: Array, height: int, width: int) -> Array:
    try:
        from PIL import Image
    except ImportError:
        raise UsageError(
            "making pictures smaller needs pillow", fix="pip install 'dm-isaac-g1[inference]', or do without resize"
        ) from None
    image = Image.fromarray(np.ascontiguousarray(picture))
    # As cv2's INTER_AREA, which robots' image pipelines use: the mean of the pixels that each new one covers.
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))
