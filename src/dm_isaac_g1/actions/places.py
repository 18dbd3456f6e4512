"""An action in another place: on a host, by that host's own dm-g1, or detached there as a job.

It is the same command there, with the same words and `--json`; its lines are events here (`actions.hearing`). No other
version than ours is run: its answers would be taken for ours. Whoever leaves before the end ends the command and all
that it started; a job goes on, and `train list`, `train logs` and the console show it.

A secret goes to a host over the command's stdin, and only for an action that asks for it (`Action.secrets`): no
process list, environment or file there ever holds it. A job has no stdin, so it is given none: it uses what the host
itself has (its Hugging Face login, or HF_TOKEN in its own ~/.config/dm-g1/.env).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from dm_isaac_g1.actions import registry
from dm_isaac_g1.actions.attending import MARK, attend, new_mark
from dm_isaac_g1.actions.hearing import Hearing, header_line
from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, RefusedError, RemoteFailed, UsageError
from dm_isaac_g1.core.events import Event, Failure, Job, Progress, Result
from dm_isaac_g1.remote import hands, reaping
from dm_isaac_g1.remote.clean import clean_bytes

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.actions.registry import Action, Placed
    from dm_isaac_g1.remote.host import Host

#: Reads one line, the program and all that it needs: argv stays short, and shows the command alone.
BOOT = (
    "import sys,json;h=json.loads(sys.stdin.buffer.readline());"
    "exec(compile(h['program'],'there','exec'),{'__name__':'there','header':h})"
)
#: Seconds that a command gets to write down where it is and end, once nobody waits for it any more.
PATIENCE = 4.0
#: What shells exit with when a program is not there (POSIX 2.8.2), and docker exec.
NOT_FOUND = (126, 127)


async def run(action: Action, ctx: Context, params: Placed) -> AsyncIterator[Event]:
    """The action where `params` says. Raises UsageError, HostUnreachable, RefusedError for another version there."""
    if params.on is None:
        raise UsageError("a job runs on a host", fix=f"say {ctx.option('on')} HOST, too")
    name = ctx.hosts.check(params.on)
    yield Progress(text=f"Connecting to {name}", transient=True)
    host = await ctx.host(name)
    values = {key: value for key, value in msgspec.structs.asdict(params).items() if key not in ("on", "detach")}
    words = registry.words(action.name, action.fields(), values)
    go = _detached(action, ctx, host, words) if params.detach else attended(host, words, secrets_of(action, ctx))
    async with aclosing(go) as events:  # type: ignore[type-var]
        async for event in events:
            yield event


def secrets_of(action: Action, ctx: Context) -> dict[str, str]:
    """What the action needs to know on a host, by the names of `core.config.SECRET`."""
    found = {name: ctx.config.secret(name) for name in action.secrets} if ctx.config else {}
    return {name: secret.reveal() for name, secret in found.items() if secret is not None}


async def attended(
    host: Host, words: list[str], secrets: Mapping[str, str] | None = None, *, only_look: bool = False
) -> AsyncIterator[Event]:
    """`dm-g1 WORDS` on the host: its events, the last of them its Result or Failure.

    Raises RefusedError where its dm-g1 is another than ours, RemoteFailed where there is none or it ends without a
    word, HostUnreachable when the link is lost (the command ends there then, too).
    """
    from dm_isaac_g1.actions import wheel

    mark = new_mark()
    digest = await asyncio.to_thread(wheel.digest)
    header = {
        "program": hands.program("there"),
        "copy": hands.program("copy"),
        "reaping": reaping.PROGRAM,
        "mark": f"{MARK}={mark}",
        "digest": digest,
        "cwd": host.path("datasets"),
        "secrets": dict(secrets or {}),
        "run": not only_look,
    }

    async def stdin() -> AsyncIterator[bytes]:
        """The header; its end is when nobody waits any more."""
        yield header_line(header)
        await asyncio.get_running_loop().create_future()

    argv = host.runtime.command([host.profile.python, "-c", BOOT, *words])
    hearing = Hearing(host.name)
    said, code, ended = b"", 0, False
    go = attend(host, host.runtime, argv, stdin=stdin(), env=host.profile.env, mark=mark, patience=PATIENCE)
    async with aclosing(go) as pieces:  # type: ignore[type-var]
        async for stream, data in pieces:
            if isinstance(data, int):
                code = data
                continue
            if stream == "stderr":
                said = (said + data)[-4096:]
                continue
            for event in hearing.feed(data):
                ended = ended or isinstance(event, Result | Failure)
                yield event
    for event in hearing.end():
        ended = ended or isinstance(event, Result | Failure)
        yield event
    if hearing.refused is not None:
        raise wrong_copy(host, hearing.refused, digest)
    if not ended and not (only_look and code == 0):
        raise _silent(
            host, code, clean_bytes(said.strip().rpartition(b"\n")[2]).removeprefix("dm-g1: ")[:300] or hearing.noise
        )


def wrong_copy(host: Host, found: Mapping[str, Any], ours: str) -> DmG1Error:
    """Why the host's dm-g1 was not run, from what it says of itself; and how it becomes ours."""
    from dm_isaac_g1 import __version__

    where, python = host.runtime.where, host.profile.python
    sync = f"`dm-g1 remote sync --host {host.name}`"
    if found.get("old"):
        fix = f"name a newer one in the profile: hosts.{host.name}.python"
        return RemoteFailed(f"{python} is Python {found.get('python')}, and dm-g1 needs 3.11", where=where, fix=fix)
    if found.get("problem"):
        return RemoteFailed(f"its datasets folder cannot be used: {found['problem']}", where=where)
    if found.get("missing"):
        fix = f'`dm-g1 remote exec --host {host.name} "{python} -m pip install {" ".join(requirements())}"`'
        return RemoteFailed(f"its dm-g1 cannot start: {python} has no module {found['missing']}", where=where, fix=fix)
    if not found.get("folder"):
        return RemoteFailed(
            f"there is no dm-g1: {python} (Python {found.get('python')}) has none",
            where=where,
            fix=f"{sync} installs it",
        )
    theirs = found.get("version") or "of unknown version"
    other = f"{theirs}, not {__version__}" if theirs != __version__ else f"{theirs} with other code than here"
    if found.get("checkout"):
        fix = f"{sync} pulls its checkout {found['checkout']} (now at {found.get('revision')}); or pull here"
    else:
        fix = f"{sync} installs this one"
    return RefusedError(f"its dm-g1 is {other} ({found.get('digest')}, here {ours})", where=where, fix=fix)


def requirements() -> list[str]:
    """What this package needs on any host, as pip names it."""
    from importlib.metadata import requires

    from dm_isaac_g1.actions.wheel import DISTRIBUTION

    needed = [each for each in requires(DISTRIBUTION) or () if "extra ==" not in each]
    return [re.split(r"[^A-Za-z0-9._-]", each)[0] for each in needed]


def _silent(host: Host, code: int, last: str) -> DmG1Error:
    """The error of a command that ended without a result."""
    where, python = host.runtime.where, host.profile.python
    if code in NOT_FOUND:
        fix = f"say which Python runs dm-g1 there: hosts.{host.name}.python in the profile"
        return RemoteFailed(f"{python} could not be started", where=where, fix=fix)
    if code > 128:
        return RemoteFailed(f"its dm-g1 was ended by signal {code - 128}", where=where, fix="see its memory and dmesg")
    return RemoteFailed(f"its dm-g1 ended with exit {code}" + (f": {last}" if last else ""), where=where)


async def _detached(action: Action, ctx: Context, host: Host, words: list[str]) -> AsyncIterator[Event]:
    """The same as a job: it is looked at first, since a job's words come too late to be read at once."""
    from dm_isaac_g1.core.runs import JobSpec
    from dm_isaac_g1.remote.jobs import new_job_id

    yield Progress(text=f"Looking at dm-g1 on {host.name}", transient=True)
    async with aclosing(attended(host, [], only_look=True)) as looks:  # type: ignore[type-var]
        async for _ in looks:
            pass
    if secrets_of(action, ctx):
        names = " and ".join(action.secrets)
        yield Progress(text=f"{host.name}: a job is given no {names}: it uses the host's own login")
    now = time.time()
    spec = JobSpec(
        id=new_job_id(action.name.replace(".", "-"), now),
        name=action.name,
        kind="command",
        # -P: Python would look for modules in the working folder first, and datasets lie there.
        argv=(host.profile.python, "-P", "-m", "dm_isaac_g1", *words),
        cwd=host.path("datasets"),
        env=dict(host.profile.env),
        created=now,
        user=ctx.by,
        client="dm-g1",
    )
    try:
        job = await host.jobs.start(spec)
    except HostUnreachable as lost:
        raise HostUnreachable(
            lost.what, where=lost.where, fix=f"it may run all the same: `dm-g1 train list --host {host.name}`"
        ) from None
    yield Job(job=job)
    yield Progress(text=f"`dm-g1 train logs --job-id {job.id} --follow` shows how it goes")
    yield Result(
        text=f"Started {job.id} on {host.name}",
        data={"id": job.id, "host": host.name, "state": job.state.value, "argv": list(spec.argv)},
    )
