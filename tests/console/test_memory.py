"""How the user likes to look at things is remembered; what cannot be remembered is no trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from dm_isaac_g1.console.memory import Choices, Memory, usual

from .conftest import settled

WIDE = (160, 48)


async def test_theme_dots_scale_and_smoothing_are_the_same_at_the_next_start(console, tmp_path: Path) -> None:
    path = tmp_path / "console.json"
    async with console(theme=None, memory=Memory(path)).run_test(size=WIDE) as pilot:
        await settled(pilot)
        await pilot.press("T", "b", "l", "right_square_bracket")
        await settled(pilot)
        worn = pilot.app.theme
    app = console(theme=None, memory=Memory(path))
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        loss = app.overview.loss
        assert (app.theme, app.overview.view.braille, loss.log_scale, loss.weight) == (worn, False, True, 0.97)
        assert worn != "dm-dark"
    assert [each.name for each in tmp_path.iterdir()] == ["console.json"]


async def test_what_is_asked_for_now_goes_before_what_was_chosen_then(console, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "console.json")
    memory.keep(theme="dm-light")
    assert console(theme="dm-dark", memory=memory).theme == "dm-dark"
    assert console(theme=None, memory=memory).theme == "dm-light"


async def test_a_theme_that_is_gone_is_not_missed(console, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "console.json")
    memory.keep(theme="no-such-theme")
    app = console(theme=None, memory=memory)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await settled(pilot)
        assert app.theme == "dm-dark" and not app._notifications


async def test_a_scale_turned_back_to_what_it_would_be_is_no_choice(console, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "console.json")
    async with console(memory=memory).run_test(size=WIDE) as pilot:
        await settled(pilot)
        await pilot.press("l")
        assert memory.choices.log_scale is True
        await pilot.press("l")
        assert memory.choices.log_scale is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"\xff\x00\x1b[2J",
        b"[1, 2]",
        b"null",
        b'{"smoothing": 7}',
        b'{"theme": 3}',
        b'{"theme": "' + b"x" * 100_000 + b'"}',
        b"{" * 5000,
    ],
    ids=lambda data: ascii(data)[:20],
)
def test_garbage_is_forgotten(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "console.json"
    path.write_bytes(garbage)
    memory = Memory(path)
    assert memory.choices == Choices()
    memory.keep(theme="dm-light")
    assert Memory(path).choices.theme == "dm-light"


def test_what_a_newer_console_wrote_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    path = tmp_path / "console.json"
    path.write_bytes(b'{"theme": "dm-light", "window": [1, 2]}')
    assert Memory(path).choices == Choices(theme="dm-light")


def test_a_folder_that_cannot_be_written_costs_the_memory_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memory = Memory(tmp_path / "file" / "console.json")
    memory.keep(braille=False)
    assert memory.choices.braille is False


def test_it_lies_in_the_users_state_folder_for_the_user_alone() -> None:
    Memory(usual()).keep(braille=False)
    assert Memory(usual()).choices.braille is False
    assert usual().parent.stat().st_mode & 0o77 == 0
