"""What a camera's MP4 holds: its header, its packets counted without decoding, one frame of it decoded.

The files come from strangers. Only regular files are opened (a pipe would block for ever), only as MP4 (FFmpeg would
follow a playlist of that name to other files and hosts), and decoding stops at a size and a count that no camera of a
robot reaches. What FFmpeg says of a broken file becomes an IntegrityError. Needs PyAV.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dm_isaac_g1.data.problems import IntegrityError

if TYPE_CHECKING:
    import numpy as np

# SVT-AV1 prints a banner for every encoder that it opens, unless told so before the library is loaded.
os.environ.setdefault("SVT_LOG", "1")

#: Of a Git LFS pointer (git-lfs/docs/spec.md): what lies there when a download left the large files out.
LFS_POINTER = b"version https://git-lfs"
#: No camera of a robot has more; 8192x8192 as RGB is 200 MB.
MAX_PIXELS = 8192 * 8192
#: From a key frame to the wanted one. LeRobot's own videos have a key frame every second frame, others every 250th.
MAX_DECODED = 3000

DOWNLOAD = "download the dataset again; finished files are kept"


class VideoFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a video's header says; nothing of it is decoded, and a hostile header may lie."""

    #: FFmpeg's name of the format: "av1", "h264", "hevc".
    codec: str
    #: Pixels.
    width: int
    height: int
    #: Frames per second, on average; 0.0 where the header does not say.
    fps: float
    frames: int
    seconds: float
    #: "yuv420p"; None where the header does not say.
    pix_fmt: str | None
    audio: bool


class Packets(msgspec.Struct, frozen=True, kw_only=True):
    """What demuxing a video to its end found: a packet of a video stream is a frame."""

    frames: int
    keys: int
    #: Presentation times of the first and the last frame.
    first_s: float
    last_s: float


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The file as PyAV's container and its first video stream.

    Raises IntegrityError: it is missing, a Git LFS pointer, not an MP4, or without a video stream.
    """
    import av

    _check_regular(path)
    # By the demuxer's name, since FFmpeg would go by the content; and never beyond this file.
    options = {"protocol_whitelist": "file", "enable_drefs": "0"}
    with reading(path):
        container = av.open(f"file:{path.absolute()}", format="mp4", options=options)
    with container:
        videos = container.streams.video
        if not videos:
            raise IntegrityError("no-video-stream", "the file has no video in it", file=str(path), fix=DOWNLOAD)
        if not videos[0].time_base or videos[0].codec_context is None:
            raise broken(path, "its video is of a kind that is not known here")
        yield container, videos[0]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What FFmpeg and the file system raise in the block, as an IntegrityError that names `path`."""
    import av

    try:
        yield
    except (av.error.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as error:
        raise broken(path, _reason(error)) from error


def probe(path: Path) -> VideoFacts:
    """What the header says. Raises IntegrityError, as `opened`."""
    with opened(path) as (container, stream):
        context = stream.codec_context
        if context.width <= 0 or context.height <= 0:
            raise broken(path, "its header has no picture size")
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        return VideoFacts(
            codec=context.codec.canonical_name,
            width=context.width,
            height=context.height,
            fps=float(stream.average_rate or 0),
            frames=stream.frames,
            seconds=seconds,
            pix_fmt=context.pix_fmt,
            audio=bool(container.streams.audio),
        )


def count_packets(path: Path) -> Packets:
    """Frames and key frames of the video, by demuxing it to the end; 20x cheaper than decoding it.

    Raises IntegrityError, as `opened`; also if the file ends before what its header promises.
    """
    with opened(path) as (_, stream):
        frames = keys = 0
        first, last = None, None
        for packet in packets(path, stream):
            frames += 1
            keys += packet.is_keyframe
            first = packet.pts if first is None else min(first, packet.pts)
            last = packet.pts if last is None else max(last, packet.pts)
        if first is None or last is None:
            raise broken(path, "it has no frames")
        if frames < stream.frames:
            raise broken(path, f"its header promises {stream.frames} frames, {frames} can be read")
        base = stream.time_base
        return Packets(frames=frames, keys=keys, first_s=float(first * base), last_s=float(last * base))


def packets(path: Path, stream: Any) -> Iterator[Any]:
    """The stream's packets from where its container stands, in decoding order, each with a time.

    Raises IntegrityError for one that FFmpeg calls corrupt or that has no time, and at the first beyond the file's
    size in bytes, as no frame is smaller than a byte.
    """
    bound = path.stat().st_size
    with reading(path):
        for packet in stream.container.demux(stream):
            if packet.size == 0:
                continue  # the end, for decoders
            bound -= 1
            if packet.pts is None or packet.dts is None or packet.is_corrupt or bound < 0:
                raise broken(path, "a frame in it is damaged or has no time")
            yield packet


def frame_at(path: Path, seconds: float) -> np.ndarray:
    """The frame shown at `seconds`, as RGB: (height, width, 3), uint8.

    The nearest frame, at most half a frame's time earlier. Raises IntegrityError, as `opened`; also if the video ends
    before `seconds`, or cannot be decoded.
    """
    import numpy as np

    with opened(path) as (container, stream), reading(path):
        prepare_decoder(path, stream)
        base = stream.time_base
        wanted = max(seconds, 0.0) / base
        container.seek(int(wanted), stream=stream, backward=True)
        for count, frame in enumerate(container.decode(stream)):
            if frame.pts is not None and frame.pts >= wanted - half_frame(stream) / base:
                return np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
            if count > MAX_DECODED:
                raise broken(path, f"no key frame within {MAX_DECODED} frames")
    raise IntegrityError(
        "video-short", f"the video ends before {seconds:.2f} s", file=str(path), fix="dm-g1 data validate --deep"
    )


def prepare_decoder(path: Path, stream: Any) -> None:
    """Bounds what decoding `stream` may take. Raises IntegrityError: its frames are larger than any camera's."""
    context = stream.codec_context
    if context.width * context.height > MAX_PIXELS:
        raise broken(path, f"frames of {context.width}x{context.height} are more than a camera gives")
    context.options = {"max_pixels": str(MAX_PIXELS)}
    context.thread_count = 1


def half_frame(stream: Any) -> Fraction:
    """Half of the time between two frames, in seconds; 1/60 where the header does not say."""
    return 1 / (2 * stream.average_rate) if stream.average_rate else Fraction(1, 60)


def _check_regular(path: Path) -> None:
    """That `path` is a file with a video's content in it, as far as its first bytes tell."""
    try:
        mode = path.stat()
    except OSError as error:
        raise IntegrityError(
            "missing-video", f"the video is missing ({_reason(error)})", file=str(path), fix=DOWNLOAD
        ) from error
    if not stat.S_ISREG(mode.st_mode):
        raise IntegrityError("not-a-video", "this is not a file", file=str(path))
    if mode.st_size == 0:
        raise IntegrityError("video-truncated", "the video is empty: 0 bytes", file=str(path), fix=DOWNLOAD)
    with reading(path), path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise IntegrityError(
                "lfs-pointer", "the video was not downloaded: this is a Git LFS pointer", file=str(path), fix=DOWNLOAD
            )


def broken(path: Path, why: str) -> IntegrityError:
    return IntegrityError("video-unreadable", f"the video cannot be read: {why}", file=str(path), fix=DOWNLOAD)


def _reason(error: BaseException) -> str:
    """FFmpeg's or the system's own words, without the path that they append."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()
