"""What `dm-g1 data show` shows, of a dataset and of an episode, on a terminal and in a pipe."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sets import copy_of, make
from sets_families import FAMILIES

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.data.show import groups, pictures
from dm_isaac_g1.data.show.ink import cells, cut, padded
from dm_isaac_g1.data.show.plot import bars, gauge, plot
from dm_isaac_g1.data.show.text import render_episode, render_summary
from dm_isaac_g1.data.show.thinning import thinned
from dm_isaac_g1.data.show.view import episode_view, shrunk, summary_view
from dm_isaac_g1.data.stats import sidecar

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def towel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("show") / "G1_Fold_Towel"
    return make(root, "hospitality", episodes=3, video="h264", tasks=("Fold the towel.", "Wave."))


def summary(root: Path, width: int = 100, **options: Any) -> str:
    return "\n".join(render_summary(summary_view(root, **options), width))


# --- A dataset --------------------------------------------------------------------------------------------------------


def test_a_dataset_is_told_in_the_words_that_people_ask_in(towel: Path) -> None:
    shown = summary(towel)
    assert "LeRobot v2.1 · hospitality · G1_ALL" in shown
    assert "3 episodes, 123 frames, 4.1 s at 30 fps" in shown
    assert re.search(r"tasks +Fold the towel\. +2 episodes\n +Wave\. +1 episode", shown)
    assert re.search(r"cam_left_high +64x48 +h264 +30 fps", shown)
    assert "not yet" in shown and f"dm-g1 data validate --path {towel}" in shown


def test_joint_ranges_of_every_row_are_those_of_the_rows(towel: Path) -> None:
    view = summary_view(towel, deep=True)
    found = {(each["column"], each["name"]): each for each in view["ranges"]}
    tables = [pq.read_table(file) for file in sorted(towel.glob("data/*/*.parquet"))]
    arms = np.concatenate([np.array(table["observation.left_arm"].to_pylist()) for table in tables])
    elbow = found["observation.left_arm", "kLeftElbow"]
    assert (elbow["low"], elbow["high"]) == (arms[:, 3].min(), arms[:, 3].max())
    assert elbow["limits"] == (-1.0472, 2.0944)
    assert view["ranges_of"] == "every row"
    line = next(line for line in render_summary(view, 100) if line.strip().startswith("elbow"))
    assert f"{elbow['low']:.3f}" in line and "━" in line


def test_a_joint_beyond_its_limits_is_marked_without_colours_too(towel: Path) -> None:
    view = summary_view(towel, deep=True)
    for each in view["ranges"]:
        if each["name"] == "kLeftElbow":
            each["high"] = 3.0
    line = next(line for line in render_summary(view, 100) if line.strip().startswith("elbow"))
    assert line.endswith("▶")


def test_where_it_came_from_and_what_its_check_said(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "dex3")
    said = {"valid": False, "deep": True, "errors": 2, "warnings": 0, "at": 4e9, "findings": []}
    sidecar.write(root, source={"repo": "unitree/X", "revision": "ab" * 20, "subset": "0-2"}, validation=said)
    shown = summary(root)
    assert "unitree/X   at abababababab, only 0-2" in shown
    assert "✗ invalid   2 errors, every row" in shown


def test_a_dataset_without_its_episode_list_is_shown_with_what_is_wrong(tmp_path: Path) -> None:
    root = make(tmp_path / "set", "dex3", defect="no_episodes_jsonl")
    shown = summary(root)
    assert re.search(r"problems +.*episodes\.jsonl: No such file", shown)
    assert "LeRobot v2.1 · dex3" in shown


def test_a_dataset_is_named_as_people_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy_of(tmp_path / "set", "dex3")
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    for name in ("set", "link", "set/", "../" + tmp_path.name + "/set"):
        view = summary_view(name)
        assert (view["name"], view["family"], view["files"] > 3) == ("set", "dex3", True)
        assert episode_view(name, 0)["name"] == "set"
    root.rename(tmp_path / ".set")
    assert summary_view(".set")["family"] == "dex3"


def test_what_is_no_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataProblem, match="not a LeRobot dataset"):
        summary_view(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_version_is_shown_at_every_width(family: str, tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", family, version="3.0" if family == "dex3" else "2.1")
    view = json.loads(json.dumps(summary_view(root, deep=True), allow_nan=False))
    episode = json.loads(json.dumps(episode_view(root, 1, points=20), allow_nan=False))
    for width in (40, 80, 160):
        lines = render_summary(view, width) + render_episode(episode, width=width, height=24)
        assert max(map(cells, lines)) <= max(width, 80)
        assert not any("\x1b" in line for line in lines)
    assert max(map(cells, render_summary(view, 80))) <= 80


# --- An episode -------------------------------------------------------------------------------------------------------


def test_an_episode_shows_every_joint_and_every_camera(towel: Path) -> None:
    view = episode_view(towel, 1)
    assert (view["name"], view["episodes"], view["length"], view["tasks"]) == ("G1_Fold_Towel", [0, 2], 41, ["Wave."])
    column = next(each for each in view["columns"] if each["column"] == "observation.left_arm")
    table = pq.read_table(towel / "data/chunk-000/episode_000001.parquet")
    arm = np.array(table["observation.left_arm"].to_pylist())
    assert np.allclose(column["values"], arm.T, atol=1e-5) and column["times"][-1] == pytest.approx(40 / 30, abs=1e-4)
    assert [camera["key"].rsplit(".", 1)[-1] for camera in view["cameras"]] == list(FAMILIES["hospitality"].cameras)
    for camera in view["cameras"]:
        assert len(base64.b64decode(camera["rgb"])) == camera["width"] * camera["height"] * 3 > 0
    text = "\n".join(render_episode(view, width=100, height=30))
    assert "left_arm" in text and "shoulder_pitch" in text and re.search("[⠁-⣿]{9}", text)


def test_joints_are_chosen_by_part_name_or_pattern(towel: Path) -> None:
    def names(joints: str) -> set[str]:
        return {name for each in episode_view(towel, 0, joints=joints)["columns"] for name in each["names"]}

    assert names("left_arm") >= {"kLeftElbow", "kLeftWristYaw"} and "kRightElbow" not in names("left_arm")
    assert names("*elbow*") == {"kLeftElbow", "kRightElbow"}
    assert names("kLeftGripper,right_hand") == {"kLeftGripper", "kRightGripper"}
    with pytest.raises(UsageError, match=r"no joint or group matches 'tail'; there are left_arm, right_arm"):
        names("tail")


def test_a_strip_goes_over_the_whole_episode_and_one_picture_shows_its_second(towel: Path) -> None:
    strip = [c for c in episode_view(towel, 0, strip=3)["cameras"] if c["key"].endswith("cam_left_high")]
    assert [camera["at"] for camera in strip] == [0.0, pytest.approx(0.6667, abs=0.02), 1.3]
    assert len({camera["rgb"] for camera in strip}) == 3
    assert {camera["at"] for camera in episode_view(towel, 0, at=1.0)["cameras"]} == {1.0}
    with pytest.raises(UsageError, match=r"episode 0 has no second 99; it lasts 1\.33 s"):
        episode_view(towel, 0, at=99)
    with pytest.raises(DataProblem, match="no episode 7"):
        episode_view(towel, 7)


def test_an_episode_looks_the_same_in_both_formats(tmp_path: Path) -> None:
    views = []
    for version in ("2.1", "3.0"):
        root = copy_of(tmp_path / version, "dex3", version=version, video="h264", cameras=1, episodes=3)
        views.append(episode_view(root, 2, at=0.5) | {"name": ""})
    assert views[0]["cameras"][0]["problem"] is None
    pixels = [np.frombuffer(base64.b64decode(view["cameras"][0].pop("rgb")), np.uint8).astype(int) for view in views]
    assert views[0] == views[1] and np.abs(pixels[0] - pixels[1]).mean() < 3


@pytest.mark.parametrize(("defect", "words"), [("nan", "NaN"), ("null_value", "empty"), ("missing_video", "missing")])
def test_what_is_broken_is_said_and_the_rest_is_shown(tmp_path: Path, defect: str, words: str) -> None:
    video = "h264" if "video" in defect else None
    root = make(tmp_path / "set", "dex3", episodes=3, video=video, cameras=1 if video else None, defect=defect)
    views = [episode_view(root, number) for number in range(3)]
    told = [each["problem"] for view in views for each in (*view["columns"], *view["cameras"]) if each["problem"]]
    assert told and all(words.lower() in text.lower() for text in told)
    text = " ".join(line.strip() for view in views for line in render_episode(view, width=160, height=24))
    assert told[0] in text and "index_0" in text


# --- The pieces -------------------------------------------------------------------------------------------------------


def test_a_spike_of_one_frame_survives_thinning() -> None:
    values = np.zeros((10_000, 2), np.float32)
    values[7777, 1], values[3, 0] = 5.0, -3.0
    times, kept = thinned(np.arange(10_000) / 30, values, 240)
    assert len(times) == len(kept) == 240 and (np.diff(times) > 0).all()
    assert kept[:, 1].max() == 5.0 and kept[:, 0].min() == -3.0
    assert abs(times[kept[:, 1].argmax()] - 7777 / 30) < 3.0


@given(st.integers(1, 300), st.integers(2, 50))
def test_thinning_keeps_least_and_most_and_never_gives_more_points(frames: int, points: int) -> None:
    values = np.random.default_rng(frames).normal(size=(frames, 3))
    times, kept = thinned(np.arange(frames) / 30.0, values, points)
    assert len(times) == len(kept) <= max(points, 2)
    assert (kept.min(axis=0) == values.min(axis=0)).all() and (kept.max(axis=0) == values.max(axis=0)).all()


def test_a_curve_rises_from_the_lower_left_to_the_upper_right() -> None:
    rows = plot([([0.0, 1.0], [0.0, 1.0])], 4, 2, span=(0.0, 1.0), values=(0.0, 1.0))
    drawn = ["".join(text for text, _ in row) for row in rows]
    assert drawn[0][:2] == "  " and drawn[1][2:] == "  "
    assert drawn[1][0] == "⡠" and drawn[0][3] == "⠊"


def test_a_gap_is_no_line_and_a_flat_curve_is_one() -> None:
    gap = plot([([0.0, 1.0, 2.0], [0.0, None, 0.0])], 9, 1, span=(0.0, 2.0), values=(0.0, 1.0))[0]
    assert [text for text, _ in gap[2:7]] == [" "] * 5
    flat = plot([([0.0, 1.0], [3.0, 3.0])], 5, 1, span=(0.0, 1.0), values=(3.0, 3.0))[0]
    assert all(text != " " for text, _ in flat)


def test_the_first_curve_stands_before_the_second() -> None:
    both = [([0.0, 1.0], [0.0, 0.0]), ([0.0, 1.0], [0.0, 1.0])]
    row = plot(both, 6, 1, span=(0.0, 1.0), values=(0.0, 1.0))[0]
    assert {curve for _, curve in row} == {0}


@given(st.floats(-10, 10), st.floats(0, 10), st.integers(8, 60))
def test_a_gauge_is_as_wide_as_it_is_told_to_be(low: float, span: float, width: int) -> None:
    assert sum(len(text) for text, _ in gauge(low, low + span, (-1.0, 2.0), width)) == width


def test_a_histogram_shows_the_least_that_is_not_nothing() -> None:
    assert bars([0, 1, 1000]) == " ▁█"


def test_wide_characters_are_counted_as_the_terminal_does() -> None:
    assert cut("折叠毛巾", 5) == "折叠…" and cells(padded("折叠", 6)) == 6
    assert cut("a\tb\nc", 10) == "a b c"


def test_parts_and_labels_of_the_hands() -> None:
    names = ("kLeftHandThumb0", "L_index_proximal_joint", "kRightGripper", "weight")
    parts = [(value.part, value.label) for value in groups.values("observation.state", names)]
    assert parts == [("left_hand", "thumb_0"), ("left_hand", "index"), ("right_hand", "gripper"), ("state", "weight")]


# --- Pictures ---------------------------------------------------------------------------------------------------------

RAMP = np.stack(np.meshgrid(np.arange(64) * 4, np.arange(48) * 5, [0, 90, 255][:1], indexing="xy"), axis=-1)[:, :, 0, :]
PICTURE = RAMP.astype(np.uint8)


def test_half_blocks_have_the_colours_of_the_picture() -> None:
    lines = pictures.blocks(PICTURE, 64, 24)
    assert len(lines) == 24 and {cells(ESCAPE.sub("", line)) for line in lines} == {64}
    upper, lower = PICTURE[0, 0], PICTURE[1, 0]
    assert lines[0].startswith("\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*upper, *lower))
    assert all(line.endswith("\x1b[0m") for line in lines)


def test_kitty_gets_the_pixels_themselves() -> None:
    sent = pictures.kitty(PICTURE, 20, 8)
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sent)
    assert commands[0][0] == "a=T,f=24,s=64,v=48,c=20,r=8,C=1,q=2,m=1" and commands[-1][0] == "m=0"
    assert base64.b64decode("".join(data for _, data in commands)) == PICTURE.tobytes()


def sixel_pixels(text: str) -> np.ndarray:
    """A sixel picture as a terminal draws it: (height, width, 3)."""
    body = text.removeprefix("\x1bP0;1q").removesuffix("\x1b\\")
    size = re.match(r'"1;1;(\d+);(\d+)', body)
    assert size is not None
    pixels = np.full((int(size[2]), int(size[1]), 3), -1)
    colours: dict[int, tuple[int, ...]] = {}
    colour, x, top = 0, 0, 0
    for token in re.findall(r"#\d+;2;\d+;\d+;\d+|#\d+|!\d+.|\$|-|[?-~]", body[size.end() :]):
        if token.startswith("#"):
            number, *rgb = map(int, token[1:].split(";"))
            colour = number
            if rgb:
                colours[number] = tuple(each * 255 // 100 for each in rgb[1:])
        elif token == "$":
            x = 0
        elif token == "-":
            x, top = 0, top + 6
        else:
            count = int(token[1:-1]) if token.startswith("!") else 1
            bits = ord(token[-1]) - 0x3F
            for row in range(6):
                if bits >> row & 1:
                    pixels[top + row, x : x + count] = colours[colour]
            x += count
    return pixels


def test_a_sixel_terminal_draws_the_picture() -> None:
    drawn = sixel_pixels(pictures.sixel(PICTURE, 16, 6, cell=(8, 16)))
    assert drawn.shape == (96, 128, 3) and drawn.min() >= 0
    wanted = pictures.resized(PICTURE, 128, 96).astype(int)
    assert np.abs(drawn - wanted).max() <= 60  # a step of the palette
    blurred = [each.reshape(12, 8, 16, 8, 3).mean(axis=(1, 3)) for each in (drawn, wanted)]
    assert np.abs(blurred[0] - blurred[1]).max() < 16  # what the eye sees of the dither


def test_a_picture_is_shrunk_to_the_mean_of_its_pixels_and_fits_where_it_goes() -> None:
    assert shrunk(PICTURE, 32).shape == (24, 32, 3)
    assert (shrunk(PICTURE, 32)[0, 0] == PICTURE[:2, :2].reshape(-1, 3).mean(axis=0).astype(int)).all()
    assert shrunk(PICTURE, 100) is PICTURE
    assert pictures.fitted(PICTURE, 64, 100) == (64, 24) and pictures.fitted(PICTURE, 64, 6) == (16, 6)


def test_nothing_but_text_goes_into_a_pipe_and_colours_change_no_letter(towel: Path) -> None:
    for lines, coloured in (
        (render_summary(view := summary_view(towel, deep=True), 80), render_summary(view, 80, colour=True)),
        (
            render_episode(one := episode_view(towel, 0, joints="waist"), width=80, height=24),
            render_episode(one, width=80, height=24, colour=True),
        ),
    ):
        assert not any("\x1b" in line for line in lines)
        assert any("\x1b[" in line for line in coloured)
        plain = [ESCAPE.sub("", line).rstrip() for line in coloured]
        assert [line.rstrip() for line in lines] == plain


def test_state_and_action_are_told_apart_without_colours(towel: Path) -> None:
    lines = render_episode(episode_view(towel, 0, joints="*left*elbow*"), width=80, height=24)
    assert any("state" in line for line in lines) and any("action" in line for line in lines)


def test_pixels_are_drawn_into_lines_that_were_left_blank_for_them(towel: Path) -> None:
    view = episode_view(towel, 0, joints="waist")
    for graphics, mark in (("kitty", "\x1b_G"), ("sixel", "\x1bP")):
        lines = render_episode(view, width=80, height=24, graphics=graphics, colour=True)
        drawing = next(number for number, line in enumerate(lines) if mark in line)
        up = re.search(r"\x1b7\x1b\[(\d+)A", lines[drawing])
        assert up is not None and lines[drawing - int(up[1]) : drawing] == [""] * int(up[1])
        assert lines[drawing].count(mark) >= len(view["cameras"]) and lines[drawing].endswith("\x1b8")
