"""Whether a server is fit to serve: port, greeting, ping, and one real request whose answer makes sense.

ZeroMQ "connects" to anything, so a connection proves nothing, and a model that loads may still answer NaN: only an
answer to a real observation, looked at value by value, lets a deploy go on. Nothing here raises for a sick server; what
is wrong is a sentence in `Health.problem`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from dm_isaac_g1.core import robot
from dm_isaac_g1.core.deployments import Health, Traffic
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.inference.protocol.errors import ProtocolError, ServerError, ServerGone, ServerSilent
from dm_isaac_g1.inference.specs import PolicySpec

if TYPE_CHECKING:
    from dm_isaac_g1.inference.client.async_client import GrootClientAsync

#: A ping takes 6 ms over a forward; one that takes longer waits behind somebody's get_action.
PING_S = 1.0
#: The first action may compile kernels; a server that was asked and says nothing for so long has hung.
ANSWER_S = 60.0
#: Seconds between two looks at a port that nobody listens on yet.
PAUSE = 0.2
GREETING_S = 2.0
SIGNATURE = 10

Tell = Callable[[str], None]
#: Something that is asked in between: a sentence, or None where nothing is wrong.
Ask = Callable[[], Awaitable[str | None]]
Seen = Literal["refused", "silent", "other", "zmtp"]


async def gate(
    address: str,
    spec: PolicySpec | None,
    *,
    token: str | None = None,
    patience_s: float = 600.0,
    answer_s: float = ANSWER_S,
    tell: Tell = lambda text: None,
    alive: Ask | None = None,
    taken: Ask | None = None,
) -> Health:
    """The verdict on the server at `address` (a ZeroMQ endpoint, as `Host.reach` gives it).

    `spec`: what it must take and give. `patience_s`: for the model to load. `alive` says what became of the server's
    process while it loads (a sentence), or None while it runs: then nobody waits for a dead one. `taken` says who else
    has its port, or None. Both are asked before anything is sent, and again once it has answered.
    """
    health = await _listens(address, patience_s, tell, alive)
    if health.problem is None:
        health = await _itself(health, alive, taken)
    if health.problem is not None:
        return health
    from dm_isaac_g1.inference.client.async_client import GrootClientAsync

    tell("it listens; asking for a ping")
    async with GrootClientAsync(address=address, api_token=token, timeout=PING_S) as client:
        health = await _pinged(client, replace(health, passed="greeting"), answer_s)
        if health.problem is not None:
            return health
        tell("it answers; asking for one action")
        try:
            acted = await _acted(client, replace(health, passed="ping"), spec, answer_s)
            return await _itself(acted, alive, taken) if acted.ok else acted
        except ServerSilent:
            return _sick(
                replace(health, passed="ping"), f"it did not answer get_action within {answer_s:g} s: it hangs"
            )
        except DmG1Error as error:
            return _sick(replace(health, passed="ping"), _line(error))


async def watch(address: str, *, token: str | None = None) -> tuple[Health, Traffic | None]:
    """A look for a monitor: greeting, ping, metrics of a server of ours; never an action, for which a robot would wait.

    A ping that takes too long is no illness: `problem` None, `ok` False and `passed` "greeting" mean busy.
    """
    health = Health(ok=False, checked=time.time())
    seen = await _knock(address)
    if seen != "zmtp":
        return replace(health, problem=_NOT_UP[seen], passed="port" if seen != "refused" else "nothing"), None
    from dm_isaac_g1.inference.client.async_client import GrootClientAsync

    health = replace(health, passed="greeting")
    async with GrootClientAsync(address=address, api_token=token, timeout=PING_S) as client:
        began = time.perf_counter()
        try:
            await client.call("ping", bare=True)
            health = replace(health, ok=True, passed="ping", ping_ms=1000 * (time.perf_counter() - began))
            traffic = _traffic(await client.metrics())
        except ServerSilent:
            return health, None
        except DmG1Error as error:
            return replace(health, problem=_line(error)), None
        return replace(health, dialect=client.dialect), traffic


# The rungs.

_NOT_UP: dict[Seen, str] = {
    "refused": "nothing listens on its port",
    "silent": "something took the connection and says nothing: no policy server listens there",
    "other": "something else than a ZeroMQ server listens on its port",
}


async def _listens(address: str, patience_s: float, tell: Tell, alive: Ask | None) -> Health:
    health = Health(ok=False, checked=time.time())
    until = time.monotonic() + patience_s
    looked = time.monotonic()
    tell("waiting until the model is loaded")
    while (seen := await _knock(address)) != "zmtp":
        if alive is not None and time.monotonic() - looked > 1.0:
            problem = await alive()
            looked = time.monotonic()
            if problem is not None:
                return _sick(health, problem)
        if seen == "other" or time.monotonic() > until:
            waited = f" after {patience_s:g} s" if seen != "other" else ""
            return _sick(replace(health, passed="nothing" if seen == "refused" else "port"), _NOT_UP[seen] + waited)
        await asyncio.sleep(PAUSE)
    return health


async def _itself(health: Health, *asks: Ask | None) -> Health:
    """Whether it is the server that was meant who listens there: a stranger's answers say nothing of it."""
    for ask in asks:
        problem = await ask() if ask is not None else None
        if problem is not None:
            return _sick(replace(health, passed="port"), problem)
    return health


async def _pinged(client: GrootClientAsync, health: Health, answer_s: float) -> Health:
    """A ping within a second; a server that is busy gets some time."""
    until = time.monotonic() + answer_s
    while True:
        began = time.perf_counter()
        try:
            await client.call("ping", bare=True, timeout=PING_S)
            return replace(health, ping_ms=1000 * (time.perf_counter() - began))
        except ServerSilent:
            if time.monotonic() > until:
                return _sick(
                    health, f"it listens and answered no ping within {answer_s:g} s: it hangs, or is very busy"
                )
        except DmG1Error as error:
            return _sick(health, _line(error))


async def _acted(client: GrootClientAsync, health: Health, spec: PolicySpec | None, answer_s: float) -> Health:
    from dm_isaac_g1.inference.observations import canned

    modality: Mapping[str, Any] = await client.get_modality_config(timeout=answer_s)
    spec = spec or of_modality(modality)
    if spec is None:
        return _sick(health, "nobody knows how wide its state is, so that no request can be made")
    differs = disagrees(modality, spec)
    if differs is not None:
        return _sick(health, differs)
    began = time.perf_counter()
    actions, _ = await client.get_action(canned(spec), timeout=answer_s)
    health = replace(health, action_ms=1000 * (time.perf_counter() - began), dialect=client.dialect)
    problem = wrong(actions, spec)
    return _sick(health, problem) if problem is not None else replace(health, ok=True, passed="action")


def _sick(health: Health, problem: str) -> Health:
    return replace(health, ok=False, problem=" ".join(problem.split())[:600])


def _line(error: DmG1Error) -> str:
    match error:
        case ServerError():
            return f"it answers with an error: {error.said}"
        case ServerGone():
            return f"it went away while it was asked: {error.what}"
        case ProtocolError():
            return f"its answer makes no sense: {error.what}"
        case _:
            return error.what


async def _knock(address: str) -> Seen:
    """Who is at an endpoint: the first ten bytes of ZMTP come unasked. A forward to a closed port ends at once."""
    scheme, _, rest = address.partition("://")
    said = b""
    connected = False
    try:
        async with asyncio.timeout(GREETING_S):
            if scheme == "ipc":
                reader, writer = await asyncio.open_unix_connection(rest)
            else:
                host, _, port = rest.rpartition(":")
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            connected = True
            try:
                said = await reader.readexactly(SIGNATURE)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except asyncio.IncompleteReadError as error:
        return "other" if error.partial else "refused"
    except TimeoutError:
        return "silent" if connected else "refused"
    except OSError:
        return "refused"
    return "zmtp" if said[0] == 0xFF and said[9] & 1 else "other"


# What an answer must be. Pure.


def wrong(actions: Mapping[str, Any], spec: PolicySpec) -> str | None:
    """What is wrong with an answer to a batch of one: names, kind, shapes, numbers; None: nothing."""
    import numpy as np

    missing = [name for name in spec.action if name not in actions]
    if missing:
        return f"its answer lacks {', '.join(missing)} (it has {', '.join(map(str, actions)) or 'nothing'})"
    more = [str(name) for name in actions if name not in spec.action]
    if more:
        return f"its answer has {', '.join(more)}, which the model does not"
    for name, width in spec.action.items():
        value = actions[name]
        if not isinstance(value, np.ndarray) or value.dtype != np.float32:
            kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            return f"its {name} is {kind}, not float32"
        expected = (1, spec.horizon, width)
        if value.shape != expected:
            return f"its {name} has the shape {value.shape}, not {expected}"
        bad = np.argwhere(~np.isfinite(value))
        if len(bad):
            _, step, place = (int(each) for each in bad[0])
            return (
                f"its {name} holds {value[0, step, place]} at step {step}, value {place} "
                f"({len(bad)} of {value.size} are no finite numbers): the model is broken"
            )
    return None


def disagrees(modality: Mapping[str, Any], spec: PolicySpec) -> str | None:
    """Whether a server says that it takes and gives something else than the model; None: no, or it does not say."""
    for name, known in (("state", spec.state), ("action", spec.action)):
        keys = _keys(modality, name)
        if keys and set(keys) != set(known):
            return f"it serves another model: its {name} is {', '.join(keys)}, the model's {', '.join(known)}"
    steps = getattr(modality.get("action"), "delta_indices", None)
    if steps and len(steps) != spec.horizon:
        return f"it serves another model: {len(steps)} steps of action, the model's are {spec.horizon}"
    return None


def of_modality(modality: Mapping[str, Any]) -> PolicySpec | None:
    """The spec of a server that nobody has a checkpoint of, where its groups are the G1's own; else None."""
    widths = {group.name: len(group.names) for layout in (robot.STATE_31, robot.ACTION_23) for group in layout.groups}
    state, action = _keys(modality, "state"), _keys(modality, "action")
    language = _keys(modality, "language")
    steps = getattr(modality.get("action"), "delta_indices", None) or ()
    if not action or not steps or any(name not in widths for name in (*state, *action)):
        return None
    return PolicySpec(
        state={name: widths[name] for name in state},
        action={name: widths[name] for name in action},
        horizon=len(steps),
        cameras=_keys(modality, "video"),
        language=language[0] if language else None,
    )


def _keys(modality: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Without the prefixes that N1.5 puts before them."""
    keys = getattr(modality.get(name), "modality_keys", None) or ()
    return tuple(str(key).removeprefix("video.").removeprefix("state.").removeprefix("action.") for key in keys)


def _traffic(metrics: Mapping[str, Any] | None) -> Traffic | None:
    """What a server of ours says of itself; numbers only."""
    if metrics is None:
        return None

    def number(name: str) -> float | None:
        value = metrics.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
            return None
        return float(value)

    return Traffic(
        requests=int(number("requests") or 0),
        errors=int(number("errors") or 0),
        per_second=number("per_second") or 0.0,
        p50_ms=number("p50_ms"),
        p99_ms=number("p99_ms"),
    )
