"""How many sessions a connection bears, learned from refusals that may be wrong."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest

from dm_isaac_g1.core.errors import RemoteFailed
from dm_isaac_g1.remote import sessions
from dm_isaac_g1.remote.sessions import Sessions


class Sshd:
    """Bears `most` sessions, and clears an ended one only `late` seconds after the client thinks so."""

    def __init__(self, most: int, late: float = 0.0) -> None:
        self.most, self.late, self.held, self.asked = most, late, 0, 0

    async def open(self) -> None:
        self.asked += 1
        if self.held >= self.most:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")
        self.held += 1
        await asyncio.sleep(0)

    def clear(self) -> None:
        def gone() -> None:
            self.held -= 1

        asyncio.get_running_loop().call_later(self.late, gone)


async def test_a_session_that_the_host_clears_late_does_not_cost_the_connection_its_places() -> None:
    host, places = Sshd(most=2, late=0.3), Sessions("box")
    await places.begin(host.open)  # the agent, which stays

    async def command() -> None:
        await places.begin(host.open)
        host.clear()
        places.end()

    await asyncio.wait_for(asyncio.gather(*(command() for _ in range(4))), 20)
    assert host.held <= 2


async def test_a_host_without_a_place_is_asked_seldom_and_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PATIENCE", 1.5)
    host, places = Sshd(most=1), Sessions("box")
    await places.begin(host.open)
    with pytest.raises(RemoteFailed, match="MaxSessions"):
        await asyncio.wait_for(places.begin(host.open), 5)
    assert host.asked <= 6
