"""Cutting and joining MP4s without touching a pixel: packets are copied, only their times change.

LeRobot v3.0 keeps the videos of many episodes in one file, v2.x one file an episode. Every episode was encoded on its
own, thus starts with a key frame, and can be cut out there. Where a cut is not at a key frame (a file that was not
made of episodes) the part is encoded again, and that is said. Needs PyAV.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec

from dm_isaac_g1.data.problems import IntegrityError
from dm_isaac_g1.data.scheduling import ordinary_threads
from dm_isaac_g1.data.video import broken, opened, packets, prepare_decoder, probe, reading

How = Literal["remuxed", "encoded"]

#: Codec -> FFmpeg's encoder, with LeRobot's options (lerobot 0.4.4, video_utils.encode_video_frames).
ENCODERS = {
    "av1": ("libsvtav1", {"g": "2", "crf": "30", "preset": "12"}),
    "h264": ("libx264", {"g": "2", "crf": "30"}),
    "hevc": ("libx265", {"g": "2", "crf": "30", "x265-params": "log-level=error"}),
}

#: What the file system answers; FFmpeg's other errors are about what it was given.
_STORAGE = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EACCES", "EPERM", "EROFS", "ENOENT")}
_STORAGE |= {errno.EISDIR, errno.ENOTDIR, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a joined video one of its sources lies: seconds from the start, and frames."""

    start_s: float
    end_s: float
    frames: int


def cut(source: Path, target: Path, start_s: float, end_s: float, fps: float, frames: int) -> How:
    """Write the frames of `source` shown from `start_s` until `end_s` as `target`, starting at 0 s.

    "remuxed": the packets as they were. "encoded": no key frame at `start_s`, or frames within need one outside.
    Writes over `target`. Raises IntegrityError unless there are exactly `frames` of them; OSError if `target` cannot
    be written.
    """
    with opened(source) as (container, stream):
        base = stream.time_base
        step = 1 / Fraction(fps).limit_denominator(1001) / base
        window = Window(start=Fraction(start_s) / base - step / 2, end=Fraction(end_s) / base - step / 2)
        survey = _survey(source, container, stream, window)
        if survey.frames != frames:
            raise IntegrityError(
                "video-length",
                f"the video has {survey.frames} frames from {start_s:.3f} s to {end_s:.3f} s, its episode {frames}",
                file=str(source),
            )
        if not survey.closed:
            _encode(source, target, container, stream, window)
            how: How = "encoded"
        else:
            with _writing(target, lambda: source) as output:
                copy = _stream_like(output, stream)
                _seek_before(source, container, stream, window)
                for packet in packets(source, stream):
                    if packet.dts > survey.last_dts:
                        break
                    if packet.pts in window:
                        packet.duration = round(
                            step
                        )  # only the last one's is written, and it ends where the next began
                        _mux(output, copy, packet, -survey.first_pts)
            how = "remuxed"
    _check_written(source, target, frames)
    return how


def concatenate(sources: Sequence[Path], target: Path, check: Callable[[], None] = lambda: None) -> list[Part]:
    """Write the `sources`, which `same_encoding` allows, one after the other as `target`; packets as they were.

    Each starts where the one before would show its next frame. Writes over `target`. `check`: called for every
    source, and may raise. Raises IntegrityError for a source that cannot be read, or whose first frame is not a key
    frame at 0 s; OSError if `target` cannot be written.
    """
    parts: list[Part] = []
    with _writing(target, lambda: sources[min(len(parts), len(sources) - 1)]) as output:
        copy = None
        offset = 0
        decoded = -(2**63)
        for source in sources:
            check()
            with opened(source) as (_, stream):
                copy = copy or _stream_like(output, stream)
                frames = 0
                last = step = 0
                for packet in packets(source, stream):
                    if frames == 0 and not (packet.is_keyframe and abs(packet.pts) * 2 <= packet.duration):
                        raise broken(source, "its first frame is not a key frame at 0 s")
                    frames += 1
                    step, last = packet.duration or step, max(last, packet.pts)
                    # A single frame is encoded without reordering, thus decoded later than those after it would be.
                    packet.dts = max(packet.dts, decoded + 1 - offset)
                    decoded = packet.dts + offset
                    _mux(output, copy, packet, offset)
                if frames == 0 or step <= 0 or frames < stream.frames:
                    raise broken(source, f"its header promises {stream.frames} frames, {frames} can be read")
                base = stream.time_base
                end = offset + last + step
                parts.append(Part(start_s=float(offset * base), end_s=float(end * base), frames=frames))
                offset = end
    _check_written(sources[0], target, sum(part.frames for part in parts))
    return parts


def encoding_key(path: Path) -> tuple[object, ...]:
    """Equal for videos that may stand in one file: codec with its parameter sets, picture, time base, rate."""
    with opened(path) as (_, stream):
        context = stream.codec_context
        return (
            context.codec.canonical_name,
            context.width,
            context.height,
            context.pix_fmt,
            bytes(context.extradata or b""),
            stream.time_base,
            stream.average_rate,
        )


class Window(msgspec.Struct, frozen=True):
    """From `start` on, before `end`, in ticks of the stream's time base."""

    start: Fraction
    end: Fraction

    def __contains__(self, pts: int) -> bool:
        return self.start <= pts < self.end


class _Survey(msgspec.Struct, frozen=True):
    """What lies in a window. `closed`: its packets need none outside of it to be decoded."""

    frames: int
    first_pts: int
    last_dts: int
    closed: bool


def _survey(source: Path, container: Any, stream: Any, window: Window) -> _Survey:
    """Look at the packets of `window` from the key frame at or before its start.

    Closed: the first in decoding order is a key frame and shown first; and none outside of the window lies between
    them in decoding order, except leading pictures of that key frame, which nothing refers to.
    """
    _seek_before(source, container, stream, window)
    frames, first, last, lowest = 0, None, 0, 0
    closed = True
    foreign = False
    for packet in packets(source, stream):
        if packet.pts in window:
            if first is None:
                first, lowest = packet.pts, packet.pts
                closed = packet.is_keyframe
            frames += 1
            closed = closed and not foreign and packet.pts >= first
            lowest, last = min(lowest, packet.pts), packet.dts
        elif first is not None and packet.pts >= window.end:
            foreign = True
            if packet.dts >= window.end:
                break  # nothing that is decoded later is shown earlier
    return _Survey(frames, lowest, last, closed)


def _seek_before(source: Path, container: Any, stream: Any, window: Window) -> None:
    """To a key frame before the window; a second early, since MP4's index is by decoding time, which runs ahead."""
    with reading(source):
        container.seek(max(int(window.start - 1 / stream.time_base), 0), stream=stream, backward=True)


def _encode(source: Path, target: Path, container: Any, stream: Any, window: Window) -> None:
    """Decode what is shown in `window` and encode it as LeRobot would."""
    context = stream.codec_context
    codec = context.codec.canonical_name
    if codec not in ENCODERS:
        raise broken(source, f"the cut is not at a key frame, and nothing here encodes {codec}")
    prepare_decoder(source, stream)
    encoder, options = ENCODERS[codec]
    with ordinary_threads() as calm, _writing(target, lambda: source) as output:
        made = output.add_stream(encoder, rate=stream.average_rate, options=options)
        made.width, made.height, made.pix_fmt = context.width, context.height, context.pix_fmt or "yuv420p"
        made.codec_context.time_base = stream.time_base
        made.codec_context.thread_count = 1
        origin = None
        for frame in _decoded(source, container, stream, window):
            first = origin is None
            origin = frame.pts if origin is None else origin
            frame.pts -= origin
            frame.pict_type = 0
            output.mux(made.encode(frame))
            if first:
                calm()
        output.mux(made.encode(None))


def _decoded(source: Path, container: Any, stream: Any, window: Window) -> Iterator[Any]:
    _seek_before(source, container, stream, window)
    with reading(source):
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts in window:
                yield frame
            elif frame.pts is not None and frame.pts >= window.end:
                return


@contextmanager
def _writing(target: Path, source: Callable[[], Path]) -> Iterator[Any]:
    """`target` as PyAV's output container, in a folder made for it; `source`: what is being written now.

    Raises OSError that names the target where it cannot be written, IntegrityError where FFmpeg refuses the source.
    """
    import av

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # faststart as LeRobot writes it: the index before the frames, for those who read over a network.
        with av.open(f"file:{target.absolute()}", "w", format="mp4", options={"movflags": "faststart"}) as output:
            yield output
    except av.error.FFmpegError as error:
        if error.errno in _STORAGE:
            raise OSError(error.errno, str(error.strerror), str(target)) from error
        raise broken(source(), "its times or its frames make no sense") from error
    except OverflowError as error:
        raise broken(source(), "its times make no sense") from error


def _stream_like(output: Any, stream: Any) -> Any:
    copy = output.add_stream_from_template(stream, opaque=True)
    copy.time_base = stream.time_base
    return copy


def _mux(output: Any, stream: Any, packet: Any, shift: int) -> None:
    packet.pts += shift
    packet.dts += shift
    packet.stream = stream
    output.mux(packet)


def _check_written(source: Path, target: Path, frames: int) -> None:
    """The disk may have filled up without a word from FFmpeg, which writes the index last; or times were the same."""
    found = probe(target).frames
    if found != frames and os.statvfs(target).f_bavail == 0:
        raise OSError(errno.ENOSPC, f"{found} of {frames} frames were written", str(target))
    if found != frames:
        raise broken(source, f"only {found} of its {frames} frames can be written")
