"""`dm-g1 deploy` takes a checkpoint directly, beside its commands."""

from __future__ import annotations

from typing import Any

import click
import pytest

from dm_isaac_g1.cli import app, commands, deploy_views


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], bool, Any]]:
    """What the command line would have performed: action, values, agreed, globals."""
    said: list[tuple[str, dict[str, Any], bool, Any]] = []

    def perform(chosen: Any, action: Any, given: dict[str, Any]) -> int:
        agreed = bool(given.pop("yes", False))
        said.append((action.name, commands.values(action, given), agreed, chosen))
        return 0

    monkeypatch.setattr(commands, "_perform", perform)
    return said


@pytest.mark.parametrize(
    ("words", "name", "values"),
    [
        ("deploy checkpoint-300", "deploy.start", {"checkpoint": "checkpoint-300"}),
        ("deploy run/checkpoint-300 --to spark", "deploy.start", {"checkpoint": "run/checkpoint-300", "to": "spark"}),
        ("deploy --to spark checkpoint-300", "deploy.start", {"checkpoint": "checkpoint-300", "to": "spark"}),
        ("deploy --from-hub o/n --dry-run", "deploy.start", {"from_hub": "o/n", "dry_run": True}),
        ("deploy start status", "deploy.start", {"checkpoint": "status"}),
        ("deploy last --from workstation", "deploy.start", {"checkpoint": "last", "from_host": "workstation"}),
        ("deploy status", "deploy.status", {}),
        ("deploy rollback --release a-1", "deploy.rollback", {"release": "a-1"}),
        ("deploy history --limit 3", "deploy.history", {"limit": 3}),
    ],
)
def test_a_checkpoint_or_a_command(
    performed: list[tuple[str, dict[str, Any], bool, Any]], words: str, name: str, values: dict[str, Any]
) -> None:
    assert app.run(words.split()) == 0
    assert [each[:2] for each in performed] == [(name, values)]


@pytest.mark.parametrize(
    "words", ["deploy --profile p --json checkpoint-3 --yes", "--json --profile p deploy --yes checkpoint-3"]
)
def test_common_options_may_stand_anywhere(performed: list[tuple[str, dict[str, Any], bool, Any]], words: str) -> None:
    assert app.run(words.split()) == 0
    ((name, values, agreed, chosen),) = performed
    assert (name, values, agreed, chosen.profile, chosen.json) == (
        "deploy.start",
        {"checkpoint": "checkpoint-3"},
        True,
        "p",
        True,
    )


def test_alone_it_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    app.run(["deploy"])
    said = "".join(capsys.readouterr())
    assert all(word in said for word in ("rollback", "status", "verify", "resume", "history"))
    assert isinstance(app.root().commands["deploy"], click.Group)


def test_the_history_is_a_table_with_reasons() -> None:
    entry = {"id": "t", "at": 0.0, "what": "deploy", "release": "a-1", "outcome": "failed", "reason": "it said NaN"}
    release = {"id": "a-1", "name": "a", "digest": "1", "kind": "bc", "path": "/m"}
    lines = deploy_views.shown("deploy.history", {"history": [entry], "releases": [release], "current": "a-1"})
    text = "\n".join(lines)
    assert "a-1 (failed): it said NaN" in text and "a-1 *" in text
