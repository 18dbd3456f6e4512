"""What the Overview promises: the truth at a glance, in any size, and keys that do what they say."""

from __future__ import annotations

import asyncio
import time

import pytest

from dm_isaac_g1.console import marks
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.runs import JobState, MetricPoint, TrainProgress

from . import scenes
from .conftest import settled, text_of

WIDE, SMALL = (160, 48), (80, 24)


async def test_everything_stands_on_one_screen(console) -> None:
    async with console().run_test(size=WIDE) as pilot:
        await settled(pilot)
        text = text_of(pilot.app)
    for word in ("workstation", "RTX PRO 6000", "512/600 W", "GB10", "g1-pick-n16", "6100/10000", "1.04 it/s"):
        assert word in text, word
    for word in ("Next saves", "✓ FIT", "22.1 GB", "2/2 hosts up", "no alerts", "'loss': 0.0", "log scale"):
        assert (word in text) is (word != "log scale"), word


async def test_a_small_terminal_shows_the_same_in_brief(console) -> None:
    async with console("disk_fails").run_test(size=SMALL) as pilot:
        await settled(pilot)
        text = text_of(pilot.app)
    for word in ("✗ critical", "9000 misses", "✗ FAIL", "running", "g1-pick-n16", "61 %", "in 1 h"):
        assert word in text, word


async def test_what_a_host_does_not_say_is_a_dash_never_zero(console) -> None:
    async with console("bare_machine").run_test(size=WIDE) as pilot:
        await settled(pilot)
        text = text_of(pilot.app)
    assert "nvidia-smi not found" in text
    assert "read-only" in text
    assert "–" in text and " 0 %" not in text and "0.0 /" not in text


async def test_a_host_that_is_away_says_since_when_and_its_figures_stand_back(console) -> None:
    async with console("host_away").run_test(size=WIDE) as pilot:
        await settled(pilot)
        text = text_of(pilot.app)
        rows = pilot.app.overview.hosts._rows
    assert "away since 14:01" in text and "refused" in text and "ssh-keygen -R spark" in text
    gpu = next(row for row in rows if "GPU" in row.plain)
    assert {span.style for span in gpu.spans} == {"$faint"}


async def test_simulated_figures_are_marked(console) -> None:
    async with console("lab").run_test(size=WIDE) as pilot:
        await settled(pilot)
        assert "SIMULATED" in text_of(pilot.app)
    async with console("training").run_test(size=WIDE) as pilot:
        await settled(pilot)
        assert "SIMULATED" not in text_of(pilot.app)


async def test_the_failing_save_is_named_with_bytes_and_time(console) -> None:
    async with console("disk_fails").run_test(size=WIDE) as pilot:
        await settled(pilot)
        text = text_of(pilot.app)
    assert "the save at step 9000 in 46 m" in text and "misses 14.2 GB" in text
    assert "frees   31.0 GB" in text


async def test_a_failed_run_says_why_and_nothing_of_it_is_still_being_written(console) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        app.fleet.store.apply(scenes.checkpoints(scenes.FULL, (3000, 4000), writing=4000))
        await pilot.press("down", "down")
        await settled(pilot)
        text = text_of(app)
    assert "Why it failed" in text and "→ dm-g1 checkpoints clean" in text
    assert "✗ partial" in text and "being written" not in text


async def test_nan_is_a_word_and_marked_where_it_began(console) -> None:
    async with console("nan").run_test(size=WIDE) as pilot:
        await settled(pilot)
        text = text_of(pilot.app)
        plot = pilot.app.overview.loss._plot
        assert "NaN" in text and [line.x for line in plot._v_lines] == [5200]


async def test_the_cursor_chooses_what_plot_checkpoints_and_log_show(console) -> None:
    async with console().run_test(size=WIDE) as pilot:
        await settled(pilot)
        overview = pilot.app.overview
        assert overview.view.run == scenes.RUN
        await pilot.press("down")
        await settled(pilot)
        assert overview.view.run == scenes.DONE
        assert pilot.app.fleet.focused == scenes.DONE
        text = text_of(pilot.app)
        assert "2 hold" in text and "step 4000" in text


async def test_a_new_run_is_selected_until_the_user_chose(console) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        newer = scenes.job("20261120T140300-g1-new-aaaaaa", started=scenes.NOW - 1)
        app.fleet.store.apply(ev.Job(job=newer))
        await pilot.pause(0.4)
        assert app.overview.view.run == newer.id
        await pilot.press("down")
        newest = scenes.job("20261120T140310-g1-newer-bbbbbb", started=scenes.NOW)
        app.fleet.store.apply(ev.Job(job=newest))
        await pilot.pause(0.4)
        assert app.overview.view.run == scenes.RUN


async def test_tab_walks_the_panes_and_enter_gives_one_the_whole_screen(console) -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        seen = []
        for _ in range(5):
            await pilot.press("tab")
            await pilot.pause(0.1)
            seen.append(app.overview.focused_pane())
            assert app.focused is not None and app.focused.region.area > 0, f"{seen[-1]} is on the screen"
        assert seen == ["loss", "log", "checkpoints", "hosts", "runs"]
        await pilot.press("tab", "tab", "enter")
        await pilot.pause(0.2)
        assert app.focused is not None
        assert app.focused.region.width >= SMALL[0] - 4, "the log has the whole width"
        assert app.focused.region.height >= SMALL[1] - 6, "and height"
        await pilot.press("escape")
        await pilot.pause(0.2)
        assert app.overview.runs.region.area > 0


async def test_the_filter_narrows_runs_and_log_and_escape_drops_it(console) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        await pilot.press("slash", *"reach")
        await pilot.pause(0.2)
        assert [key for key in app.overview.runs._keys if key] == [scenes.DONE]
        assert "filter" in text_of(app)
        await pilot.press("enter")
        await pilot.press("escape")
        await pilot.pause(0.2)
        assert len([key for key in app.overview.runs._keys if key]) == 3


@pytest.mark.parametrize("scene", sorted(scenes.SCENES))
async def test_no_size_breaks_a_scene(console, scene) -> None:
    async with console(scene).run_test(size=WIDE) as pilot:
        await settled(pilot)
        for size in (SMALL, (40, 10), (20, 6), (3, 2), (240, 80), WIDE):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.05)
            await pilot.press("tab", "enter", "escape")
        assert pilot.app.is_running


async def test_plot_keys_change_scale_smoothing_metric_and_dots(console) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        loss = app.overview.loss
        await pilot.press("l", "right_square_bracket", "v", "b")
        await settled(pilot)
        assert (loss.log_scale, loss.weight, loss.metric, app.overview.view.braille) == (True, 0.97, "grad_norm", False)
        assert "log scale" in text_of(app) and "grad_norm" in text_of(app)
        assert not any("\u2800" < char <= "\u28ff" for char in text_of(app))


async def test_a_profile_rebinds_keys_and_is_told_what_is_wrong(console) -> None:
    import msgspec

    keys = {"quit": "ctrl+q", "train.start": "n", "nonsense": "x", "help": "n"}
    profile = msgspec.structs.replace(
        scenes.PROFILE, defaults=msgspec.structs.replace(scenes.PROFILE.defaults, keys=keys)
    )
    app = console(profile=profile)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await settled(pilot)
        said = " ".join(str(each.message) for each in app._notifications)
        assert "'nonsense'" in said and "'n' is train.start already" in said
        await pilot.press("q")
        await pilot.press("n")
        await pilot.pause(0.5)
        assert type(app.screen).__name__ == "LaunchForm"
        await pilot.press("escape")
        await pilot.press("question_mark")
        await pilot.pause(0.2)
        assert type(app.screen).__name__ == "Help"


async def test_help_and_palette_know_every_key_and_action(console) -> None:
    app = console()
    async with app.run_test(size=(160, 200)) as pilot:
        await settled(pilot)
        await pilot.press("question_mark")
        await pilot.pause(0.2)
        text = text_of(app)
        for key in app._table:
            assert key.title in text
        for action in app.catalogue().values():
            assert action.title in text
        await pilot.press("escape")
        commands = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Start a fine-tune from a recipe", "Forecast disks", "Theme dm-light"} <= commands


async def test_a_flood_of_log_lines_keeps_the_keys_alive(console) -> None:
    """50,000 lines in five seconds: the event loop is never late by more than 50 ms at the 95th percentile."""
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        late: list[float] = []
        done = False

        async def flood() -> None:
            nonlocal done
            for batch in range(100):
                lines = tuple(f"line {batch * 500 + i} {'x' * 60}" for i in range(500))
                app.fleet.store.apply(ev.Log(host="workstation", source=scenes.RUN, lines=lines))
                await asyncio.sleep(0.05)
            done = True

        task = asyncio.create_task(flood())
        while not done:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - began - 0.005)
        await task
        await pilot.pause(0.5)
        assert "line 49999" in text_of(app)
        assert sorted(late)[int(len(late) * 0.95)] < 0.05


async def test_scrolling_up_pauses_the_log_and_end_follows_again(console) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        log = app.overview.log_tail
        log.focus()
        assert log.following
        await pilot.press("pageup")
        await pilot.pause(0.1)
        top = int(log.scroll_offset.y)
        assert not log.following and "paused" in text_of(app)
        app.fleet.store.apply(ev.Log(host="workstation", source=scenes.RUN, lines=tuple("abcdefgh")))
        await pilot.pause(0.4)
        assert int(log.scroll_offset.y) == top
        await pilot.press("end")
        await pilot.pause(0.1)
        assert log.following
        app.fleet.store.apply(ev.Log(host="workstation", source=scenes.RUN, lines=("the very last",)))
        await pilot.pause(0.4)
        assert "the very last" in text_of(app)


async def test_a_progress_bar_replaces_its_own_line(console) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        for percent in (62, 63):
            line = f" {percent}%|######    | {percent}00/10000"
            app.fleet.store.apply(ev.Log(host="workstation", source=scenes.RUN, lines=(line,), replaced=True))
            await pilot.pause(0.4)
        text = text_of(app)
        assert " 63%|" in text and " 62%|" not in text and " 61%|" not in text


async def test_a_picture_of_the_screen_holds_no_secret(console, tmp_path) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        token = "hf_" + "abcdEFGH" * 4 + "ab"
        app.fleet.store.apply(ev.Log(host="workstation", source=scenes.RUN, lines=(f"HF_TOKEN={token}",)))
        await pilot.pause(0.4)
        path = app.save_picture(tmp_path / "screen.svg")
        assert app.save_picture(tmp_path / "no such folder" / "screen.svg") is None
    assert path is not None and "workstation" in path.read_text() and token not in path.read_text()


async def test_a_run_that_ends_says_how(console) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        ended = scenes.job(state=JobState.FAILED, ended=scenes.NOW - 2)
        import msgspec

        from dm_isaac_g1.core.runs import Diagnosis

        ended = msgspec.structs.replace(ended, diagnosis=Diagnosis(code="oom", cause="out of GPU memory"))
        app.fleet.store.apply(ev.Job(job=ended))
        await pilot.pause(0.4)
        text = text_of(app)
        assert "✗ failed" in text and "out of GPU memory" in text


async def test_the_rows_in_view_are_told_to_the_fleet(console) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        assert app.fleet.seen == {scenes.RUN, scenes.DONE, scenes.FULL}


async def test_an_older_run_shows_its_last_value_before_its_curve_is_read(console) -> None:
    store = scenes.training()
    store.runs[scenes.DONE].curves.by_name.clear()
    store.apply(
        ev.Metrics(host="workstation", run=scenes.DONE, points=(MetricPoint(name="loss", step=4000, value=0.0421),))
    )
    app = console(store)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        row = next(row.plain for row in app.overview.runs._rows if "g1-reach-bc" in row.plain)
        assert "4000/4000" in row and "0.0421" in row
        await pilot.press("down")
        await settled(pilot)
        assert "Its last loss is 0.0421, at step 4000." in text_of(app)


async def test_a_loss_that_prints_as_zero_and_is_nan_says_nan(console) -> None:
    app = console()
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        point = MetricPoint(name="loss", step=6110, value=0.0)
        progress = TrainProgress(step=6110, max_steps=10_000, phase="training", nan_step=6110, nan_now=True)
        app.fleet.store.apply(ev.Metrics(host="workstation", run=scenes.RUN, points=(point,), progress=progress))
        await pilot.pause(0.4)
        row = next(row.plain for row in app.overview.runs._rows if "g1-pick-n16" in row.plain)
        assert "NaN" in row


async def test_every_meter_of_a_host_has_its_history_in_one_column(console) -> None:
    async with console("disk_fails").run_test(size=WIDE) as pilot:
        await settled(pilot)
        rows = [row.plain for row in pilot.app.overview.hosts._rows]
    graphs = {}
    for label in ("GPU", "VRAM", "RAM", "CPU", "/workspace", "/"):
        row = next(row for row in rows if row.split()[:1] == [label])
        graphs[label] = next(at for at, char in enumerate(row) if "\u2800" <= char <= "\u28ff")
    assert len(set(graphs.values())) == 1
    assert any("✗ FAIL" in row and "51.8 GB free" in row for row in rows)


async def test_alerts_on_the_whole_screen_say_why_and_what_to_do(console) -> None:
    app = console("disk_fails")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        app.overview.alerts.focus()
        await pilot.pause(0.1)
        assert "enter tells all of it" in text_of(app)
        await pilot.press("enter")
        await pilot.pause(0.2)
        text = text_of(app)
        assert "in 46 m" in text and "→ dm-g1 checkpoints clean" in text and scenes.RUN in text


async def test_the_end_of_a_long_line_can_be_read_at_80_columns(console) -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("tab", "tab")
        app.fleet.store.apply(ev.Log(host="workstation", source=scenes.RUN, lines=("x" * 90 + " the cause",)))
        await pilot.pause(0.4)
        assert "the cause" not in text_of(app)
        await pilot.press("right")
        await pilot.pause(0.2)
        assert "the cause" in text_of(app) and "from column 41" in text_of(app)
        await pilot.press("left", "left")
        await pilot.pause(0.2)
        assert "from column" not in text_of(app)


async def test_help_explains_every_mark_there_is(console) -> None:
    app = console()
    async with app.run_test(size=(80, 200)) as pilot:
        await settled(pilot)
        await pilot.press("question_mark")
        await pilot.pause(0.3)
        text = text_of(app)
    for table in (marks.RUNS, marks.HOSTS, marks.VERDICTS, marks.SEVERITIES):
        for mark in table.values():
            assert f"{mark.glyph} {mark.word}" in text, mark
    for sign in ("◢ stopping", "◢ being written", "✗ partial", "SIMULATED", "█ ▓ ▒ ░", "━━━╸───"):
        assert sign in text, sign


async def test_a_small_terminal_shows_at_once_why_a_run_failed_and_what_to_do(console) -> None:
    app = console()
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "Loss" in text_of(app)
        await pilot.press("down", "down")
        await settled(pilot)
        text = text_of(app)
        assert "Why it failed" in text and "→ dm-g1 checkpoints clean" in text
        await pilot.press("tab")
        await settled(pilot)
        assert "loss" in app.overview._arranged.regions
        await pilot.press("shift+tab", "up")
        await settled(pilot)
        assert "loss" in app.overview._arranged.regions


async def test_no_two_labels_of_the_plot_share_a_row(console) -> None:
    from dm_isaac_g1.console.plot import LogTicks, Ticks

    for most in (2, 4, 8):
        for low, high in ((0.0, 0.45), (0.0, 1.0), (0.1, 0.11), (0.0, 7e6)):
            assert 1 <= len(Ticks(most).get_ticks(low, high)) <= most
            assert len(LogTicks(most).get_ticks(low - 5, high)) <= most


async def test_a_refusal_says_why_on_its_line_as_far_as_there_is_room(console) -> None:
    store = scenes.training()
    detail = "the host key of spark is unknown (ED25519 SHA256:abc); dm-g1 hosts trust spark, if it is that one"
    store.apply(
        ev.Alert(key="x", kind="host-refused", severity="critical", host="spark", title="refused", detail=detail)
    )
    async with console(store).run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "refused: the host key of spark is unknown" in text_of(pilot.app)
        pilot.app.overview.alerts.focus()
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert "dm-g1 hosts trust spark" in " ".join(text_of(pilot.app).split())
