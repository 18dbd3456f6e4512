"""Checks of the videos: there, of the right size and rate, as many frames as the episode has rows.

Headers only; with `deep` the packets are counted, too, since a header may lie.
"""

from __future__ import annotations

from collections.abc import Iterator

from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.info import Feature
from dm_isaac_g1.data.problems import DataProblem, Finding
from dm_isaac_g1.data.validate.subject import Subject
from dm_isaac_g1.data.video import VideoFacts, count_packets, probe
from dm_isaac_g1.data.videofolders import misplaced

#: Frames a second may differ by this share: containers round their time base.
_FPS = 1e-3


def check(subject: Subject) -> Iterator[Finding]:
    info = subject.info
    if not info.cameras:
        return
    moves = {move.target: move.source for move in misplaced(info, subject.episodes, subject.files)}
    said: set[str] = set()
    expected: set[str] = set()
    total = len(subject.episodes) * len(info.cameras)
    done = 0
    by_file: dict[tuple[str, str], list[Episode]] = {}
    for episode in subject.episodes:
        for key, clip in episode.videos.items():
            by_file.setdefault((key, clip.file), []).append(episode)
    for (key, file), episodes in by_file.items():
        if not done % 50:
            subject.work.progress("checking videos", done, total, "videos")
        done += len(episodes)
        expected.add(file)
        if file in subject.files:
            subject.videos += 1
            yield from _video(subject, key, file, episodes)
        elif file in moves:
            expected.add(moves[file])
            folder, wanted = moves[file].rpartition("/")[0], file.rpartition("/")[0]
            if folder not in said:
                said.add(folder)
                what = f"the videos of {key} lie in {folder}, expected in {wanted}"
                yield subject.finding("video-folder", what, file=folder, joint=key)
        else:
            what = f"no video of {key}; cameras with videos: {_cameras_there(subject)}"
            yield subject.finding("missing-video", what, file=file, episode=episodes[0].index, joint=key)
    if subject.listed:
        for file in subject.files:
            if file.startswith("videos/") and file.endswith(".mp4") and file not in expected:
                yield subject.finding("orphan-video", "belongs to no listed episode", file=file)


def _video(subject: Subject, key: str, file: str, episodes: list[Episode]) -> Iterator[Finding]:
    episode = episodes[0].index if len(episodes) == 1 else None
    try:
        path = subject.path_of(file)
        facts = probe(path)
        packets = count_packets(path).frames if subject.deep else facts.frames
    except DataProblem as problem:
        found = subject.finding.of(problem.in_file(file), episode=episode)
        yield found
        return
    if packets != facts.frames:
        what = f"{packets} frames can be read, its header says {facts.frames}"
        yield subject.finding("video-packets", what, file=file, episode=episode, joint=key)
    yield from _like_info(subject, subject.info.features[key], facts, key, file, episode)
    if subject.info.version == "3.0":
        yield from _clips(subject, key, file, episodes, packets)
    else:
        yield from _whole(subject, key, file, episodes[0], packets)


def _like_info(
    subject: Subject, feature: Feature, facts: VideoFacts, key: str, file: str, episode: int | None
) -> Iterator[Finding]:
    """Size, rate and codec against info.json."""
    size = {facts.height, facts.width}
    if len(feature.shape) == 3 and not size <= set(feature.shape):
        what = f"frames of {facts.width}x{facts.height}, info.json says {list(feature.shape)}"
        yield subject.finding("video-size", what, file=file, episode=episode, joint=key)
    fps = subject.info.fps
    if facts.fps and abs(facts.fps - fps) > _FPS * fps:
        what = f"{facts.fps:.6g} frames a second, info.json says {fps:g}"
        yield subject.finding("video-fps", what, file=file, episode=episode, joint=key)
    said = feature.raw.get("info") or feature.raw.get("video_info")
    codec = said.get("video.codec") if isinstance(said, dict) else None
    if isinstance(codec, str) and _codec(codec) != _codec(facts.codec):
        what = f"codec is {facts.codec}, info.json says {codec[:40]}"
        yield subject.finding("video-codec", what, file=file, episode=episode, joint=key)


def _whole(subject: Subject, key: str, file: str, episode: Episode, frames: int) -> Iterator[Finding]:
    """v2.x: a video an episode."""
    rows = subject.lengths.get(episode.index)
    if rows is not None and frames != rows:
        listed = f", its listed length is {episode.length}" if episode.length else ""
        what = f"{frames} frames for {rows} rows of episode {episode.index}{listed}"
        yield subject.finding("video-length", what, file=file, episode=episode.index, joint=key)


def _clips(subject: Subject, key: str, file: str, episodes: list[Episode], frames: int) -> Iterator[Finding]:
    """v3.0: every episode's time in the file is its own, as long as its rows, and in the file."""
    fps = subject.info.fps
    half = 0.5 / fps
    before = 0.0
    for episode in sorted(episodes, key=lambda episode: episode.videos[key].start):
        clip = episode.videos[key]
        end = clip.start if clip.end is None else clip.end
        rows = subject.lengths.get(episode.index, episode.length)
        if abs(end - clip.start - rows / fps) > half:
            what = f"from {clip.start:.4f} to {end:.4f} s is {(end - clip.start) * fps:.1f} frames for {rows} rows"
            yield subject.finding("video-clip", what, file=file, episode=episode.index, joint=key)
        elif end > frames / fps + half:
            what = f"ends at {end:.4f} s, the file's {frames} frames end at {frames / fps:.4f} s"
            yield subject.finding("video-clip", what, file=file, episode=episode.index, joint=key)
        if clip.start < before - half:
            what = f"begins at {clip.start:.4f} s, where another episode lasts until {before:.4f} s"
            yield subject.finding("video-overlap", what, file=file, episode=episode.index, joint=key)
        before = max(before, end)


def _codec(name: str) -> str:
    """libsvtav1, libdav1d and av1 are one codec."""
    lowered = name.lower()
    known = {"av1": "av1", "264": "h264", "avc": "h264", "265": "hevc", "hevc": "hevc"}
    return next((codec for part, codec in known.items() if part in lowered), lowered)


def _cameras_there(subject: Subject) -> str:
    folders = {part for f in subject.files if f.startswith("videos/") for part in f.split("/")[1:-1]}
    named = sorted(folder for folder in folders if not folder.startswith("chunk-"))
    return ", ".join(named[:8]) or "none"
