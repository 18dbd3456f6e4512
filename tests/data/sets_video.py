"""Tiny videos: 64x48, key frame at every second frame as LeRobot writes them, each frame told by its brightness."""

from __future__ import annotations

import io
import os
from functools import lru_cache
from typing import Literal

from dm_isaac_g1.data.scheduling import ordinary_threads

Codec = Literal["h264", "av1"]
WIDTH, HEIGHT = 64, 48

_ENCODERS = {
    "h264": ("libx264", {"preset": "ultrafast", "crf": "30", "g": "2", "bf": "0"}),
    "av1": ("libsvtav1", {"preset": "12", "crf": "50", "g": "2", "svtav1-params": "lp=1"}),
}


@lru_cache(maxsize=256)
def video(codec: Codec, frames: int, fps: int, seed: int = 0) -> bytes:
    """An mp4. Frame i of seed s is grey: (16 + 5 i + 37 s) % 200 + 20, with a bright bar that wanders."""
    os.environ.setdefault("SVT_LOG", "1")
    import av
    import numpy as np

    encoder, options = _ENCODERS[codec]
    file = io.BytesIO()
    # SVT-AV1 as root makes this process a real-time one, and dockerd with it: it starves the machine.
    with ordinary_threads() as calm, av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(encoder, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(frames):
            picture = np.full((HEIGHT, WIDTH, 3), grey(i, seed), np.uint8)
            bar = (2 * i) % WIDTH
            picture[:, bar : bar + 4] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            if i == 0:
                calm()
        container.mux(stream.encode())
    return file.getvalue()


def grey(frame: int, seed: int) -> int:
    return (16 + 5 * frame + 37 * seed) % 200 + 20


def joined(codec: Codec, fps: int, parts: tuple[tuple[int, int], ...]) -> bytes:
    """Videos of (frames, seed) after one another in one mp4, each starting at a key frame, nothing re-encoded."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = None
        done = 0
        for frames, seed in parts:
            with av.open(io.BytesIO(video(codec, frames, fps, seed))) as part:
                source = part.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(source, opaque=True)  # not opaque: no encoder for dav1d
                    stream.time_base = source.time_base
                start = round(done / fps / source.time_base)
                for packet in part.demux(source):
                    if packet.dts is None:
                        continue
                    packet.pts += start
                    packet.dts += start
                    packet.stream = stream
                    out.mux(packet)
            done += frames
    return file.getvalue()
