"""Videos: headers, packets without decoding, cuts and joins that change no packet, and files of strangers."""

from __future__ import annotations

import errno
import io
import os
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from sets_video import HEIGHT, WIDTH, grey, video

from dm_isaac_g1.data.problems import IntegrityError
from dm_isaac_g1.data.remux import concatenate, cut, encoding_key
from dm_isaac_g1.data.video import count_packets, frame_at, probe

FPS = 30


def packets(path: Path) -> list[tuple[int, bool, bytes]]:
    with av.open(str(path)) as container:
        return [(p.pts, bool(p.is_keyframe), bytes(p)) for p in container.demux(container.streams.video[0]) if p.size]


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def reordered(frames: int, seed: int) -> bytes:
    """H.264 whose frames are decoded in another order than they are shown: B-frames, a key frame at the start only."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"bf": "2", "g": "250", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(frames):
            picture = np.full((HEIGHT, WIDTH, 3), grey(i, seed), np.uint8)
            picture[:, i % WIDTH] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may become larger, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- Headers and packets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_a_header_says_codec_size_rate_and_frames(tmp_path: Path, codec: str) -> None:
    facts = probe(written(tmp_path, "a.mp4", video(codec, 40, FPS)))  # type: ignore[arg-type]
    assert (facts.codec, facts.width, facts.height, facts.fps, facts.frames) == (codec, WIDTH, HEIGHT, FPS, 40)
    assert facts.pix_fmt == "yuv420p"
    assert facts.seconds == pytest.approx(40 / FPS)
    assert not facts.audio


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_packets_are_counted_with_their_key_frames_and_times(tmp_path: Path, codec: str) -> None:
    found = count_packets(written(tmp_path, "a.mp4", video(codec, 41, FPS)))  # type: ignore[arg-type]
    assert (found.frames, found.keys) == (41, 21)
    assert (found.first_s, found.last_s) == (0.0, pytest.approx(40 / FPS))


@pytest.mark.parametrize("frame", [0, 7, 39])
def test_a_frame_is_the_one_shown_at_its_time(tmp_path: Path, frame: int) -> None:
    picture = frame_at(written(tmp_path, "a.mp4", video("av1", 40, FPS, 1)), frame / FPS)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    assert abs(float(np.median(picture)) - grey(frame, 1)) < 4


def test_a_time_beyond_the_end_is_an_error_and_not_the_last_frame(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="ends before"):
        frame_at(written(tmp_path, "a.mp4", video("h264", 10, FPS)), 10.6 / FPS)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(IntegrityError) as caught:
        probe(path)
    assert caught.value.finding.code == "no-video-stream"


# --- Cutting and joining ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["h264", "av1", "reordered"])
def test_joined_and_cut_again_no_packet_has_changed(tmp_path: Path, kind: str) -> None:
    lengths = (12, 7, 20)
    sources = [
        written(
            tmp_path,
            f"{i}.mp4",
            reordered(n, i) if kind == "reordered" else video(kind, n, FPS, i),  # type: ignore[arg-type]
        )
        for i, n in enumerate(lengths)
    ]
    together = tmp_path / "all.mp4"
    parts = concatenate(sources, together)
    assert [part.frames for part in parts] == list(lengths)
    assert [part.start_s for part in parts] == pytest.approx([0, 12 / FPS, 19 / FPS])
    assert count_packets(together).frames == sum(lengths)
    for source, part in zip(sources, parts, strict=True):
        target = tmp_path / "cut" / source.name
        assert cut(together, target, part.start_s, part.end_s, FPS, part.frames) == "remuxed"
        assert packets(target) == packets(source)


def test_a_cut_beside_a_key_frame_is_encoded_again_and_has_the_right_frames(tmp_path: Path) -> None:
    source = written(tmp_path, "a.mp4", video("h264", 30, FPS))
    target = tmp_path / "b.mp4"
    assert cut(source, target, 5 / FPS, 15 / FPS, FPS, 10) == "encoded"
    assert count_packets(target).frames == 10
    for frame in (0, 9):
        assert abs(float(np.median(frame_at(target, frame / FPS))) - grey(5 + frame, 0)) < 6


def test_frames_that_need_one_after_the_cut_are_encoded_again(tmp_path: Path) -> None:
    source = written(tmp_path, "a.mp4", reordered(30, 0))
    target = tmp_path / "b.mp4"
    assert cut(source, target, 0.0, 11 / FPS, FPS, 11) == "encoded"
    assert count_packets(target).frames == 11


@pytest.mark.parametrize(("end", "frames"), [(25, 10), (12, 10)])
def test_a_cut_has_exactly_the_episodes_frames_or_none(tmp_path: Path, end: int, frames: int) -> None:
    source = written(tmp_path, "a.mp4", video("h264", 22, FPS))
    with pytest.raises(IntegrityError) as caught:
        cut(source, tmp_path / "b.mp4", 4 / FPS, end / FPS, FPS, frames)
    assert caught.value.finding.code == "video-length"
    assert not (tmp_path / "b.mp4").exists()


def test_videos_of_other_encodings_are_told_apart(tmp_path: Path) -> None:
    same = [encoding_key(written(tmp_path, f"{i}.mp4", video("h264", 9 + i, FPS, i))) for i in range(2)]
    other = encoding_key(written(tmp_path, "o.mp4", reordered(9, 0)))
    assert same[0] == same[1] != other


def test_a_full_disk_is_said_with_the_file(tmp_path: Path) -> None:
    source = written(tmp_path, "a.mp4", video("h264", 40, FPS))
    for name, write in {
        "join.mp4": lambda target: concatenate([source, source], target),
        "cut.mp4": lambda target: cut(source, target, 0.0, 20 / FPS, FPS, 20),
        "encode.mp4": lambda target: cut(source, target, 1 / FPS, 21 / FPS, FPS, 20),
    }.items():
        with largest_file(512), pytest.raises(OSError) as caught:
            write(tmp_path / name)
        assert caught.value.errno in (errno.EFBIG, errno.ENOSPC)
        assert caught.value.filename == str(tmp_path / name)


# --- Files of strangers ----------------------------------------------------------------------------------------------

READERS = {
    "probe": probe,
    "count_packets": count_packets,
    "frame_at": lambda path: frame_at(path, 0.1),
    "encoding_key": encoding_key,
    "concatenate": lambda path: concatenate([path], path.with_suffix(".out")),
    "cut": lambda path: cut(path, path.with_suffix(".out"), 0.0, 0.5, FPS, 15),
}
WRONG = {
    "empty": (b"", "empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "not downloaded"),
    "text": (b"no video at all\n" * 99, "cannot be read"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "cannot be read"),
    "list": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "cannot be read"),
    "cut-off": (video("h264", 40, FPS)[:2000], "cannot be read"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_video_is_said_in_words(tmp_path: Path, wrong: str, reader: str) -> None:
    data, words = WRONG[wrong]
    path = written(tmp_path, "a.mp4", data)
    with pytest.raises(IntegrityError, match=words) as caught:
        READERS[reader](path)
    assert caught.value.finding.place.file == str(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("reader", READERS)
def test_neither_a_pipe_nor_a_folder_nor_nothing_hangs_or_crashes(tmp_path: Path, reader: str) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "folder.mp4", "nothing.mp4"):
        with pytest.raises(IntegrityError):
            READERS[reader](tmp_path / name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_damage_anywhere_is_an_integrity_error_or_harmless(tmp_path: Path, codec: str) -> None:
    whole = video(codec, 20, FPS)  # type: ignore[arg-type]
    chance = random.Random(codec)
    index = whole.index(b"moov")
    wrong = 0
    for round_ in range(60):
        damaged = bytearray(whole)
        first = index if round_ % 2 else 0
        for _ in range(1 + round_ % 7):
            damaged[chance.randrange(first, len(damaged))] = chance.randrange(256)
        path = written(tmp_path, "a.mp4", bytes(damaged))
        for reader in READERS.values():
            try:
                reader(path)
            except IntegrityError as problem:
                assert problem.finding.place.file == str(path)
                wrong += 1
    assert wrong > 20
