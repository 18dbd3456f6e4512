"""What a look makes of a server: a robot that is answered, a server that is busy, one that is gone."""

from __future__ import annotations

from typing import Any

import pytest

from dm_isaac_g1.core.deployments import Health
from dm_isaac_g1.deploy.looking import judged
from dm_isaac_g1.deploy.runtimes.served import Served


def served(**more: Any) -> Served:
    return Served(**{"id": "j", "title": "process", "port": 5555, **more})


@pytest.mark.parametrize(
    ("what", "health", "expected", "state"),
    [
        (None, None, False, "none"),
        (None, None, True, "down"),
        (served(state="down"), None, True, "down"),
        (served(state="loading"), None, True, "loading"),
        (served(), Health(ok=True, passed="ping"), True, "serving"),
        (served(), Health(ok=False, passed="greeting"), True, "busy"),
        (served(), Health(ok=False, passed="greeting", problem="the token is wrong"), True, "unhealthy"),
        (served(), Health(ok=False, passed="port", problem="says nothing"), True, "unhealthy"),
        (served(foreign=True), Health(ok=True, passed="ping"), False, "foreign"),
    ],
)
def test_a_look_is_judged(what: Served | None, health: Health | None, expected: bool, state: str) -> None:
    assert judged(what, health, expected=expected)[0] == state


def test_what_is_wrong_is_said() -> None:
    assert judged(served(), Health(ok=False, passed="port", problem="says nothing"), expected=True)[1] == "says nothing"
    assert judged(None, None, expected=True)[1] == "nothing listens on the port"
