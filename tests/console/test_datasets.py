"""The Datasets room: from key to action, several at once, and never anything that the screen did not say."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from textual.geometry import Size

from dm_isaac_g1.console.app import DmG1App
from dm_isaac_g1.console.datasets import DatasetsRoom, Wishes, arrange
from dm_isaac_g1.console.episode_data import episode_of, part_of, parts
from dm_isaac_g1.console.forms.data import suggested, will
from dm_isaac_g1.console.picture import fitted, scaled
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.profile import Defaults

from . import scenes
from . import scenes_datasets as sd
from .conftest import Asked, settled, text_of

WIDE, SMALL = (160, 48), (80, 24)


async def entered(pilot: Any) -> DatasetsRoom:
    """In the room, with the scene on the screen."""
    await settled(pilot)
    await pilot.press("4")
    for _ in range(200):
        await pilot.pause(0.02)
        room = pilot.app.room
        if isinstance(room, DatasetsRoom) and room.datasets._rows:
            await pilot.pause(0.1)
            return room
    raise AssertionError("the room did not open")


async def until(pilot: Any, seen: Any) -> None:
    for _ in range(200):
        if seen():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not happen")


def screen(app: DmG1App) -> str:
    return type(app.screen).__name__


async def test_one_and_four_walk_between_the_rooms_and_each_keeps_its_place(console) -> None:
    app = console(sd.full())
    async with app.run_test(size=WIDE) as pilot:
        room = await entered(pilot)
        assert "G1_Clean_Table" in text_of(app) and "hospitality" in text_of(app)
        await pilot.press("down", "down")
        chosen = room.view.chosen
        await pilot.press("1")
        await until(pilot, lambda: app.room is app.overview)
        assert "Runs" in text_of(app) and "G1_Clean_Table" not in text_of(app)
        await pilot.press("4")
        await until(pilot, lambda: app.room is room)
        assert room.view.chosen == chosen == (sd.WS, sd.GROOT.path)


async def test_the_fleet_looks_often_only_while_the_room_is_open(console) -> None:
    app = console(sd.full())
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        assert not app.fleet.open
        await entered(pilot)
        assert app.fleet.open
        await pilot.press("down")
        assert app.fleet.near == (sd.WS, sd.TOWEL.path)
        await pilot.press("R")
        assert app.fleet.looks == [None]
        await pilot.press("1")
        await until(pilot, lambda: app.room is app.overview)
        assert not app.fleet.open


async def test_what_comes_while_another_room_is_shown_is_there_on_return(console) -> None:
    store = sd.empty()
    app = console(store)
    async with app.run_test(size=WIDE) as pilot:
        room = await entered(pilot)
        assert "none yet" in text_of(app)
        await pilot.press("1")
        await until(pilot, lambda: app.room is app.overview)
        store.apply(ev.Datasets(host=sd.SPARK, datasets=(sd.INSPIRE,)))
        await pilot.pause(0.5)
        await pilot.press("4")
        await until(pilot, lambda: app.room is room and "g1_inspire26_6ep" in text_of(app))


async def test_a_change_is_on_the_screen_without_a_key(console) -> None:
    store = sd.looking()
    app = console(store)
    async with app.run_test(size=WIDE) as pilot:
        await entered(pilot)
        assert "looking" in text_of(app)
        store.apply(ev.Datasets(host=sd.WS, datasets=(sd.TOWEL,)))
        await until(pilot, lambda: "G1_Fold_Towel" in text_of(app))
        assert "reading" in text_of(app)
        store.apply(sd.near(sd.TOWEL))
        await until(pilot, lambda: "Fold the towel and put it" in text_of(app))


@pytest.mark.parametrize(("key", "action"), [("v", "data.validate"), ("s", "data.stats"), ("minus", "data.split")])
async def test_what_is_asked_is_about_the_selected_one_where_it_lies(console, asked: Asked, key, action) -> None:
    app = console(sd.full())
    async with app.run_test(size=WIDE) as pilot:
        await entered(pilot)
        await pilot.press("down", key)
        await until(pilot, lambda: screen(app) == "DataForm")
        await pilot.pause(0.1)
        text = text_of(app)
        assert "G1_Fold_Towel on workstation" in text and "200 episodes, 75,909 frames, 21.4 GB" in text
        assert "writes" in text and f"--on {sd.WS}" in text.replace("\n", " ")
        assert not asked.calls
        await pilot.press("enter")
        await until(pilot, lambda: asked.calls)
    (params,) = asked.named(action)
    assert params.on == sd.WS
    assert (params.input if action == "data.split" else params.path) == sd.TOWEL.path


async def test_escape_asks_for_nothing(console, asked: Asked) -> None:
    app = console(sd.full())
    async with app.run_test(size=SMALL) as pilot:
        await entered(pilot)
        await pilot.press("down", "c")
        await until(pilot, lambda: screen(app) == "DataForm")
        await pilot.press("escape")
        await pilot.pause(0.1)
    assert not asked.calls


async def test_a_suggested_name_follows_the_format_and_a_typed_one_stays(console, asked: Asked) -> None:
    app = console(sd.full())
    async with app.run_test(size=WIDE) as pilot:
        await entered(pilot)
        await pilot.press("down", "c")
        await until(pilot, lambda: screen(app) == "DataForm")
        await pilot.pause(0.1)
        assert "/workspace/datasets/G1_Fold_Towel-groot on workstation" in text_of(app)
        await pilot.press("tab", "right")
        await pilot.pause(0.1)
        assert "/workspace/datasets/G1_Fold_Towel-inspire53 on workstation" in text_of(app)
        await pilot.press("enter")
        await until(pilot, lambda: asked.calls)
    (params,) = asked.named("data.convert")
    assert (params.input, params.output, params.format) == (sd.TOWEL.path, "G1_Fold_Towel-inspire53", "inspire")
    assert (params.hand, params.ego_camera, params.on) == (None, None, sd.WS)


async def test_marked_ones_of_one_host_are_combined_and_of_two_are_refused(console, asked: Asked) -> None:
    app = console(sd.full())
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        room = await entered(pilot)
        await pilot.press("space", "space")
        assert room.view.marked == {(sd.WS, sd.TABLE.path), (sd.WS, sd.TOWEL.path)}
        await pilot.press("plus")
        await until(pilot, lambda: screen(app) == "DataForm")
        await pilot.press("enter")
        await until(pilot, lambda: asked.calls)
        (params,) = asked.named("data.combine")
        assert (params.inputs, params.output, params.on) == ((sd.TABLE.path, sd.TOWEL.path), "combined", sd.WS)
        await pilot.press("end", "space", "plus")
        await pilot.pause(0.4)
        said = " ".join(str(each.message) for each in app._notifications)
        assert "lie on spark and workstation" in said
        await pilot.press("escape")
        assert not room.view.marked
    assert len(asked.calls) == 1


async def test_a_repair_shows_its_plan_before_anybody_agrees(console, asked: Asked) -> None:
    asked.answers["data.repair"] = lambda params: [
        ev.Result(text="Would do 1 thing", data={"lines": ["write meta/tasks.parquet"]})
        if params.dry_run
        else ev.Result(text="done")
    ]
    app = console(sd.invalid())
    async with app.run_test(size=SMALL) as pilot:
        await entered(pilot)
        assert "3 values are not finite" in text_of(app)
        await pilot.press("r")
        await until(pilot, lambda: "· write meta/tasks.parquet" in text_of(app))
        assert [params.dry_run for params in asked.named("data.repair")] == [True]
        await pilot.press("enter")
        await until(pilot, lambda: len(asked.calls) == 2)
    assert not asked.named("data.repair")[-1].dry_run


async def test_g_gets_a_dataset_onto_the_host_that_trains(console, asked: Asked) -> None:
    profile = msgspec.structs.replace(scenes.PROFILE, defaults=Defaults(train_host="workstation"))
    app = console(sd.empty(), profile=profile)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        await pilot.press("g")
        await until(pilot, lambda: screen(app) == "DataForm")
        await pilot.press("enter")
        await pilot.pause(0.1)
        assert screen(app) == "DataForm" and not asked.calls  # a repository must be named
        await pilot.press(*"unitreerobotics/G1_Fold_Towel")
        await pilot.pause(0.1)
        assert "G1_Fold_Towel in the datasets folder of workstation" in text_of(app)
        assert "412.0 GB free" in text_of(app)
        await pilot.press("enter")
        await until(pilot, lambda: asked.calls)
    (params,) = asked.named("data.download")
    assert (params.repo, params.on, params.output) == ("unitreerobotics/G1_Fold_Towel", "workstation", None)


@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_two_at_once_show_how_far_they_are_and_one_is_cancelled(console, size) -> None:
    ended: list[str] = []
    steps = asyncio.Event()

    async def slow(action: Any, hosts: Any, params: Any) -> Any:
        try:
            yield ev.Progress(text="at work", done=3, total=4, unit="episodes")
            await steps.wait()
            yield ev.Result(text=f"{action.name} did it")
        finally:
            ended.append(action.name)

    app = console(sd.full())
    app.runner._perform = slow
    app.now = lambda: scenes.NOW + len(ended)
    async with app.run_test(size=size) as pilot:
        await entered(pilot)
        for key in ("v", "s"):
            await pilot.press(key)
            await until(pilot, lambda: screen(app) == "DataForm")
            await pilot.press("enter")
            await until(pilot, lambda: screen(app) != "DataForm")
            await pilot.press("down")
        await until(pilot, lambda: text_of(app).count("75 %") >= 2)
        text = text_of(app)
        assert "2 going" in text and "validate" in text and "x cancel" in text
        assert "► 75 %" in text  # in the dataset's own row
        await pilot.press("x")  # the newest
        await until(pilot, lambda: ended == ["data.stats"])
        await until(pilot, lambda: [task.state for task in app.runner.tasks] == ["running", "cancelled"])
        await until(pilot, lambda: "1 going" in text_of(app) and "■ stats" in text_of(app))
        steps.set()
        await until(pilot, lambda: "✓ validate" in text_of(app))
        assert app.fleet.looks == [sd.WS, sd.WS]  # what they left is looked at
    assert ended == ["data.stats", "data.validate"]


async def test_what_was_made_becomes_the_selected_one(console, asked: Asked) -> None:
    store = sd.full()
    made = sd.dataset("G1_Fold_Towel-inspire53", family="inspire53", validity="unknown")
    asked.answers["data.convert"] = lambda params: [ev.Result(text="Converted", data={"path": made.path})]
    app = console(store)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        room = await entered(pilot)
        await pilot.press("down", "c")
        await until(pilot, lambda: screen(app) == "DataForm")
        await pilot.press("enter")
        await until(pilot, lambda: "✓ convert" in text_of(app))
        assert not app._notifications  # its own pane tells it
        store.apply(ev.Datasets(host=sd.WS, datasets=(sd.TABLE, sd.TOWEL, made)))
        await until(pilot, lambda: room.view.chosen == (sd.WS, made.path))


async def test_an_action_that_fails_says_why_in_the_room_and_the_rest_goes_on(console, asked: Asked) -> None:
    asked.answers["data.stats"] = lambda params: [
        ev.Failure(what="kLeftElbow is NaN", where="episode 51, frame 118", fix="leave it out", code=1)
    ]
    app = console(sd.full())
    async with app.run_test(size=WIDE) as pilot:
        await entered(pilot)
        await pilot.press("s")
        await until(pilot, lambda: screen(app) == "DataForm")
        await pilot.press("enter")
        await until(pilot, lambda: "episode 51, frame 118: kLeftElbow is NaN; leave it out" in text_of(app))
        assert app.is_running


async def test_what_is_not_finished_or_away_takes_no_action(console, asked: Asked) -> None:
    for scene, said in ((sd.partial(), "G1_Wipe_Table is not finished"), (sd.away(), "workstation is away")):
        app = console(scene)
        async with app.run_test(size=WIDE, notifications=True) as pilot:
            await entered(pilot)
            assert "v check" not in text_of(app).splitlines()[-1]
            await pilot.press("v")
            await pilot.pause(0.4)
            assert said in " ".join(str(each.message) for each in app._notifications)
    assert not asked.calls


async def test_filter_and_order(console) -> None:
    app = console(sd.full())
    async with app.run_test(size=WIDE) as pilot:
        room = await entered(pilot)

        def listed() -> list[str]:
            return [key.rpartition("/")[2] for key in room.datasets._keys if key]

        assert listed()[:3] == ["G1_Clean_Table", "G1_Fold_Towel", "G1_Fold_Towel-groot"]
        await pilot.press("o")
        assert listed()[:3] == ["G1_Clean_Table", "G1_Fold_Towel", "seven_sets"]
        await pilot.press("O")
        assert listed()[0] == "pick_apple_dex3"
        await pilot.press("slash", *"groot")
        assert listed() == ["G1_Fold_Towel-groot", "seven_sets"]
        await pilot.press("enter", "escape")
        assert len(listed()) == 7
        await pilot.press("slash", *"invalid", "enter")
        assert listed() == ["pick_apple_dex3"]
        await pilot.press("slash", *"zz", "enter")
        await pilot.pause(0.1)
        assert "No dataset matches" in text_of(app)


async def test_keys_are_rebound_by_name_and_help_tells_them(console) -> None:
    profile = msgspec.structs.replace(scenes.PROFILE, defaults=Defaults(keys={"data.stats": "w", "room.datasets": "9"}))
    app = console(sd.full(), profile=profile)
    async with app.run_test(size=(160, 120)) as pilot:
        await settled(pilot)
        await pilot.press("9")
        await until(pilot, lambda: app.room.room == "datasets")
        await pilot.pause(0.2)
        assert "w stats" in text_of(app)
        await pilot.press("question_mark")
        await until(pilot, lambda: screen(app) == "Help")
        await pilot.pause(0.1)
        assert "Compute its statistics" in text_of(app) and "it was not checked since it changed" in text_of(app)
        await pilot.press("escape")
        commands = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Compute its statistics", "Overview: hosts, runs, loss, log, checkpoints"} <= commands
        assert "Stop the selected run, gently first" not in commands


# --- An episode -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_enter_shows_an_episode_and_the_arrows_walk(console, asked: Asked, size) -> None:
    asked.answers["data.show"] = lambda params: [ev.Result(text="", data=sd.episode(params.episode, at=params.at))]
    app = console(sd.full())
    async with app.run_test(size=size) as pilot:
        await entered(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "420 frames" in text_of(app))
        await pilot.pause(0.3)
        text = text_of(app)
        assert "episode 0 of 200" in text and "left arm" in text and "kLeftElbow  -0.6 to 0.6" in text
        await pilot.press("down", "a")
        await pilot.pause(0.1)
        assert "right arm  action" in text_of(app)
        await pilot.press("right")
        await until(pilot, lambda: "episode 1 of 200  420" in text_of(app))
        if size == SMALL:
            await pilot.press("c")
        await pilot.pause(0.3)
        assert "cam_left_high" in text_of(app) and "▀▀▀▀" in text_of(app)
        await pilot.press("full_stop")
        await until(pilot, lambda: "at 7.50 s" in text_of(app))
        await pilot.press("v")
        await pilot.pause(0.2)
        assert "the video is shorter" in text_of(app)
        await pilot.press("left")
        await until(pilot, lambda: "episode 0 of 200  420" in text_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: screen(app) == "DatasetsRoom")
    asked_for = [(params.path, params.on, params.episode, params.at) for params in asked.named("data.show")]
    where = (sd.TOWEL.path, sd.WS)
    # The first episode was known already when it was shown again.
    assert asked_for == [(*where, 0, None), (*where, 1, None), (*where, 1, 7.5)]


async def test_an_episode_that_cannot_be_shown_says_why(console, asked: Asked) -> None:
    asked.answers["data.show"] = lambda params: [ev.Failure(what="data/x.parquet: not readable", fix="get it again")]
    app = console(sd.full())
    async with app.run_test(size=WIDE) as pilot:
        await entered(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "✗ data/x.parquet: not readable; get it again" in text_of(app))
        asked.answers["data.show"] = lambda params: [ev.Result(text="", data={"columns": "no"})]
        await pilot.press("right")
        await until(pilot, lambda: "the answer makes no sense" in text_of(app))
        assert app.is_running


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        {"episode": "x"},
        {"episode": 0, "columns": [{"column": "a", "names": ["x"], "times": [0.0], "values": []}]},
        {"episode": 0, "columns": [{"column": "a", "names": ["x"], "times": [0.0], "values": [[1.0, 2.0]]}]},
        {"episode": 0, "cameras": [{"key": "a", "width": 10, "height": 10, "rgb": "AAAA"}]},
        {"episode": 0, "cameras": [{"key": "a", "width": 1 << 30, "height": 1 << 30, "rgb": ""}]},
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(DmG1Error, match="makes no sense"):
        episode_of(wrong)


def test_parts_are_those_of_the_body_and_nothing_is_left_out() -> None:
    found = parts(episode_of(sd.episode()))
    assert [(part.name, part.column, len(part.traces)) for part in found][:4] == [
        ("left arm", "state", 7),
        ("right arm", "state", 7),
        ("left hand", "state", 1),
        ("right hand", "state", 1),
    ]
    wide = {"column": "action", "names": [f"x{i}" for i in range(20)], "times": [0.0], "values": [[None]] * 20}
    pieces = parts(episode_of({"episode": 0, "columns": [wide]}))
    assert [len(part.traces) for part in pieces] == [7, 7, 6]
    assert pieces[0].traces[0].range is None
    assert part_of("L_index_proximal_joint", "action") == "left hand"


@pytest.mark.parametrize("size", [(640, 480, 60, 20), (1, 1, 3, 3), (480, 640, 200, 50), (1000, 2, 10, 10)])
def test_a_picture_keeps_its_proportions_and_its_place(size: tuple[int, int, int, int]) -> None:
    width, height, columns, rows = size
    across, lines = fitted(width, height, columns, rows)
    assert 0 < across <= columns and 0 < lines <= rows * 2 and lines % 2 == 0
    pixels = scaled(bytes(width * height * 3), width, height, across, lines)
    assert len(pixels) == lines and all(len(row) == across for row in pixels)


# --- Pure parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 34), (160, 48), (240, 70)])
@pytest.mark.parametrize("chosen", [True, False])
@pytest.mark.parametrize("work", [0, 2, 40])
@pytest.mark.parametrize("stage", ["facts", "problems", "joints"])
def test_panes_fill_the_screen_and_never_overlap(size, chosen, work, stage) -> None:
    wishes = Wishes(datasets=12, problems=3, work=work, chosen=chosen)
    regions = arrange(Size(*size), wishes, stage=stage, maximised=None)
    assert sum(region.area for region in regions.values()) == size[0] * size[1]
    listed = list(regions.values())
    assert not any(a.overlaps(b) for i, a in enumerate(listed) for b in listed[i + 1 :])
    assert all(region.height >= 1 for region in listed)


def test_what_will_happen_is_said_of_every_action_that_the_room_offers() -> None:
    values = {"on": sd.WS, "path": sd.TOWEL.path, "output": "new", "repo": "o/n", "format": "groot"}
    for action in ("download", "convert", "split", "combine", "validate", "stats", "repair"):
        lines = will(f"data.{action}", values, [sd.TOWEL], 10**9)
        told = " ".join(text for _, text in lines)
        assert sd.WS in told or action in ("validate", "stats"), action
        assert any(word in ("writes", "repairs") for word, _ in lines)
    assert ("writes", "/workspace/datasets/new on workstation; videos are linked") in will(
        "data.combine", values, [sd.TOWEL, sd.GROOT], None
    )
    assert suggested("data.convert", {"format": "v2.1"}, [sd.BAD]) == "pick_apple_dex3-v21"
    assert suggested("data.validate", {}, [sd.BAD]) is None
