"""Has an exchange performed on a host, and waits for its outcome through whatever becomes of the connection.

The exchange itself is `switch_program`, detached there. Its folder, .serving/<txn>-<what> (in the models' folder of the
host, or beside the jobs of its servers), tells any console later how it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed
from dm_isaac_g1.deploy.runtimes.served import Home, Switched
from dm_isaac_g1.remote import hands
from dm_isaac_g1.remote.quoting import check_name
from dm_isaac_g1.remote.runtime import Runtime

What = Literal["switch", "restore"]
FOLDER = ".serving"
#: A question that waits on the host for the outcome comes back after so long, so that a dead link shows.
ASK_S = 10.0
#: An exchange takes the old server's stop and two loads at most; beyond that and this it has hung.
SLACK_S = 120.0
#: How often an exchange that died is begun again.
DEATHS = 3
#: The programs run with Python 3.8, too; a text has this line at its beginning or not at all.
FUTURE = "from __future__ import annotations\n"
_PARTS = ("process", "docker", "compose")


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    running: bool
    known: bool
    outcome: dict[str, Any] | None = None
    #: The last line of its log, where it neither runs nor has ended.
    words: str = ""


@cache
def _text(name: str) -> str:
    return resources.files("dm_isaac_g1.deploy.runtimes").joinpath(f"{name}_program.py").read_text()


@cache
def programs() -> dict[str, str]:
    """All that an exchange needs on a host, which may have to do it again without us."""
    return {
        "switch": _text("switch"),
        "drivers": "\n".join([FUTURE, *(_text(name).replace(FUTURE, "", 1) for name in _PARTS), _DRIVERS]),
        "supervisor": hands.program("supervisor"),
        "hands": hands.program("hands"),
        "around": hands.program("around"),
    }


_DRIVERS = "DRIVERS = {'process': Process, 'docker': Docker, 'compose': Compose}\n"


def folder(home: Home, txn: str, what: What) -> str:
    return f"{home.folder}/{FOLDER}/{check_name(txn, 'deploy')}-{what}"


async def perform(there: Home, txn: str, what: What, plan: Mapping[str, Any], *, longest: float) -> Switched:
    """See to it that the exchange is performed, and wait until it ended: `longest` seconds at most.

    The same txn again is the same exchange, performed once. While the host is away it is waited for; the exchange goes
    on there. Raises HostUnreachable, RemoteFailed when time is up.
    """
    runtime, where = there.runtime, folder(there, txn, what)
    clock = asyncio.get_running_loop().time
    until = clock() + longest + SLACK_S
    begin: dict[str, Any] = {"op": "begin", "plan": {**plan, "what": what}, "programs": programs()}
    question, died = begin, 0
    lost: HostUnreachable | None = None
    while clock() < until:
        try:
            answer = await _ask(runtime, {"folder": where, **question})
        except HostUnreachable as error:
            lost = error
            await asyncio.sleep(0.5)
            continue
        lost = None
        if answer.outcome is not None:
            return read(answer.outcome, runtime.where)
        question = {"op": "wait", "seconds": ASK_S}
        if not answer.running:
            # Nobody performs it any more, and it has not ended: the host was rebooted, or the program was killed.
            question, died = begin, died + 1
            if died > DEATHS:
                raise RemoteFailed(f"the {what} dies each time it is begun: {answer.words}", where=runtime.where)
            await asyncio.sleep(0.5)
    if lost is not None:
        raise HostUnreachable(
            f"the {what} goes on there without us: {lost.what}", where=lost.where, fix="`dm-g1 deploy resume` later"
        )
    raise RemoteFailed(f"the {what} did not end in time", where=runtime.where, fix=f"see {where}/log there")


async def outcome(there: Home, txn: str, what: What) -> tuple[bool, Switched | None]:
    """(it was begun, how it ended); None: it has not ended. Raises HostUnreachable, RemoteFailed."""
    answer = await _ask(there.runtime, {"op": "look", "folder": folder(there, txn, what)})
    return answer.known, None if answer.outcome is None else read(answer.outcome, there.runtime.where)


async def _ask(runtime: Runtime, args: Mapping[str, Any]) -> _Answer:
    said = await hands.ask(runtime, "switch", args, source=_text("switch"), timeout=ASK_S + 30)
    try:
        return msgspec.convert(said, _Answer)
    except msgspec.ValidationError as error:
        raise RemoteFailed(f"what it says of the exchange makes no sense: {error}", where=runtime.where) from None


def read(said: Mapping[str, Any], where: str) -> Switched:
    try:
        return msgspec.convert(said, Switched)
    except msgspec.ValidationError as error:
        raise RemoteFailed(f"the exchange's outcome makes no sense: {error}", where=where) from None
