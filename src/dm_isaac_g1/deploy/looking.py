"""What serves on a host now, and what was put into service there before. Nothing is changed, the model is not asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dm_isaac_g1.core.deployments import Deployment, Health, ServeState, Traffic
from dm_isaac_g1.core.errors import AuthFailed, DmG1Error, HostUnreachable, HostUntrusted
from dm_isaac_g1.deploy import asking, gathering

if TYPE_CHECKING:
    from dm_isaac_g1.core.profile import Host as HostProfile
    from dm_isaac_g1.deploy.gathering import Place
    from dm_isaac_g1.deploy.runtimes.served import Served
    from dm_isaac_g1.remote.around import Around
    from dm_isaac_g1.remote.host import Host

#: Entries of the history that are shown.
SHOWN = 50
#: What is raised: the host is away, and nothing is known of its server.
AWAY = (HostUnreachable, HostUntrusted, AuthFailed)


async def look(host: Host, made: HostProfile) -> Deployment:
    """What serves there. A sick store or server is `problem`. Raises HostUnreachable, HostUntrusted, AuthFailed."""
    try:
        there = await gathering.place(host)
    except AWAY:
        raise
    except DmG1Error as error:
        return Deployment(host=host.name, port=made.port, problem=error.line())
    try:
        return await _seen(there, made)
    except AWAY:
        raise
    except DmG1Error as error:
        return Deployment(host=host.name, port=made.port, how=there.runtime.title, problem=error.line())


async def _seen(there: Place, made: HostProfile) -> Deployment:
    runtime = there.runtime
    state, served, around = await gathering.now(there)
    health, traffic = await _health(there, served, around) if served is not None else (None, None)
    current = gathering.serving(state, served)
    expected = next((each for each in state.releases if each.id == state.current), None)
    unfinished, problem = None, None
    try:
        found = gathering.open_record(state, there.host.name)
        unfinished = found.unfinished(state.lock.until if state.lock else 0.0) if found is not None else None
    except DmG1Error as error:
        problem = error.line()
    word, why = judged(served, health, expected=expected is not None)
    return Deployment(
        host=there.host.name,
        port=made.port,
        how=runtime.title if served is None or not served.foreign else served.title,
        state=word,
        problem=problem or why,
        current=current or (expected if served is None else None),
        since=served.since if served is not None else None,
        health=health,
        traffic=traffic,
        clients=len(around.clients),
        releases=state.releases,
        history=state.history[:SHOWN],
        unfinished=unfinished,
    )


def judged(served: Served | None, health: Health | None, *, expected: bool) -> tuple[ServeState, str | None]:
    """The state, and what is wrong with it. `expected`: a deploy put something into service there. Pure."""
    if served is None:
        return ("down", "nothing listens on the port") if expected else ("none", None)
    if served.state == "down":
        return "down", f"{served.title} does not run"
    if served.foreign:
        return "foreign", None if health is None or health.ok else health.problem
    if health is not None and health.ok:
        return "serving", None
    if served.state == "loading" and (health is None or health.passed == "nothing"):
        return "loading", None
    # The port is open, it greets, and a ping waits behind a get_action.
    if health is not None and health.passed == "greeting" and health.problem is None:
        return "busy", None
    return "unhealthy", health.problem if health is not None else None


async def _health(there: Place, served: Served, around: Around) -> tuple[Health | None, Traffic | None]:
    """By greeting, ping and metrics: a robot never waits for it."""
    if served.state != "serving":
        return None, None
    taken = asking.taken_by(there, served, around.listening)
    if taken is not None:
        return Health(ok=False, problem=taken, passed="port", checked=time.time()), None
    from dm_isaac_g1.deploy import health

    async def watched(address: str, token: str | None) -> tuple[Health, Traffic | None]:
        return await health.watch(address, token=token)

    try:
        return await asking.ask(there, served, watched)
    except AWAY:
        raise
    except DmG1Error as error:
        return Health(ok=False, problem=error.line(), checked=time.time()), None
