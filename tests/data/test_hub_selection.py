"""Which files of a repository are wanted, and which names are never written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.data.episodes import Clip, Episode
from dm_isaac_g1.data.hub.rate import Rate
from dm_isaac_g1.data.hub.selection import Selection, choose, listing, parse
from dm_isaac_g1.data.hub.wire import RepoFile
from dm_isaac_g1.data.problems import IntegrityError

CAM = "observation.images.cam"


def repo_file(path: str) -> RepoFile:
    return RepoFile(path, 1, "0" * 40)


def names(files: tuple[RepoFile, ...]) -> list[str]:
    return [file.path for file in files]


FILES = tuple(
    repo_file(path)
    for path in (
        "README.md",
        *(f"data/chunk-000/episode_{n:06d}.parquet" for n in range(4)),
        "meta/info.json",
        "raw/notes/old.txt",
        *(f"videos/chunk-000/{CAM}/episode_{n:06d}.mp4" for n in range(4)),
    )
)
EPISODES = [
    Episode(
        index=n,
        length=9,
        tasks=(),
        file=f"data/chunk-000/episode_{n:06d}.parquet",
        start=9 * n,
        videos={CAM: Clip(f"videos/chunk-000/{CAM}/episode_{n:06d}.mp4")},
    )
    for n in range(4)
]


@pytest.mark.parametrize(
    ("text", "episodes", "patterns", "folder"),
    [
        ("7", ((7, 7),), (), None),
        ("0-9", ((0, 9),), (), None),
        ("0:10", ((0, 9),), (), None),
        (":3, 5", ((0, 2), (5, 5)), (), None),
        ("videos/*", (), ("videos/*",), None),
        ("unitree_g1.Apple/,0-1", ((0, 1),), (), "unitree_g1.Apple"),
    ],
)
def test_a_subset_is_written_as_people_write_it(
    text: str, episodes: tuple[tuple[int, int], ...], patterns: tuple[str, ...], folder: str | None
) -> None:
    assert parse(text) == Selection(episodes, patterns, folder)
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize("text", ["", " , ", "9-0", "3:3", "one,two"])
def test_a_subset_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no episodes"):
        parse(text)


def test_episodes_bring_their_files_and_the_meta_folder() -> None:
    assert names(choose(FILES, parse("1-2"), EPISODES)) == [
        "README.md",
        "data/chunk-000/episode_000001.parquet",
        "data/chunk-000/episode_000002.parquet",
        "meta/info.json",
        f"videos/chunk-000/{CAM}/episode_000001.mp4",
        f"videos/chunk-000/{CAM}/episode_000002.mp4",
    ]
    assert names(choose(FILES, parse("3,raw/*"), EPISODES))[1:-1] == [
        "data/chunk-000/episode_000003.parquet",
        "meta/info.json",
        "raw/notes/old.txt",
    ]
    assert choose(FILES, Selection()) == FILES


def test_a_pattern_that_names_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no file matches '\*\.h5'"):
        choose(FILES, parse("*.h5"), EPISODES)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "data/../../x", "a//b", "./x", "a\\..\\x", "data/x\n", "data/x\x1b[2J", ".."]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        listing([*FILES, repo_file(path)], "a/b")
    assert caught.value.finding.code == "unsafe-name"


@pytest.mark.parametrize("path", ["meta/info.json", "data", "meta/info.json/x"])
def test_a_name_that_is_two_things_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        listing([*FILES, repo_file(path)], "a/b")
    assert caught.value.finding.code == "unsafe-name"


def test_notes_of_another_dm_g1_and_caches_are_left_where_they_are() -> None:
    theirs = ("meta/dm_g1.json", ".dm-g1-partial.json", ".dm-g1-done.jsonl", ".cache/huggingface/x", ".gitattributes")
    assert listing([*FILES, *map(repo_file, theirs)], "a/b") == FILES


@given(st.lists(st.text(alphabet="ab./\\*-~ \x00", min_size=1, max_size=8), max_size=6))
def test_whatever_a_repository_lists_every_name_stays_inside(paths: list[str]) -> None:
    try:
        files = listing([*map(repo_file, paths), repo_file("meta/info.json")], "a/b")
    except IntegrityError:
        return
    for name in names(files):
        assert not name.startswith(("/", "~/..")) and ".." not in name.split("/") and "\0" not in name


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.at(0, 0.0) == ""
    assert rate.at(900_000_000, 0.1) == ""  # what was there already
    for second in range(1, 10):
        text = rate.at(900_000_000 + second * 1_000_000, second)
    assert text == ", 1.0 MB/s"
