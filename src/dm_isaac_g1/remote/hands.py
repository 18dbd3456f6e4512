"""Changing something on a host: start a job, ask it to stop, remove, rename. One question, one answer.

The program that does it is `remote.hands_program`; it is sent over stdin and leaves nothing behind. Whether
something may be done is decided there, beside the files, and its refusals come back as our errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, JobNotFound, RefusedError, RemoteFailed
from dm_isaac_g1.remote.clean import clean_bytes, clean_tree
from dm_isaac_g1.remote.runtime import Runtime

Op = Literal["job_create", "job_stop", "remove", "rename"]

#: Reads one line: the programs and the question. argv stays short and shows nothing of them.
BOOT = (
    "import sys,json,types\n"
    "m=json.loads(sys.stdin.buffer.readline())\n"
    "lib=types.ModuleType('supervisor')\n"
    "exec(compile(m['supervisor'],'supervisor','exec'),lib.__dict__)\n"
    "hands={'__name__':'hands'}\n"
    "exec(compile(m['hands'],'hands','exec'),hands)\n"
    "if m['op']=='job_create': m['args']['source']=m['supervisor']\n"
    "hands['main'](m,lib)"
)
#: The same for a program that needs nobody's help: it has a `main(args)`, which prints MARK and its answer.
ALONE = (
    "import sys,json\n"
    "m=json.loads(sys.stdin.buffer.readline())\n"
    "g={'__name__':m['name']}\n"
    "exec(compile(m['source'],m['name'],'exec'),g)\n"
    "g['main'](m['args'])"
)
MARK = b"\x1edm-g1 "
ERRORS: dict[str, type[DmG1Error]] = {"refused": RefusedError, "missing": JobNotFound}
#: What shells exit with when a program is not there (POSIX 2.8.2), and docker exec.
NOT_FOUND = (126, 127)


@cache
def program(name: str) -> str:
    """The text of one of our programs for hosts, as it lies in this package."""
    return resources.files("dm_isaac_g1.remote").joinpath(f"{name}_program.py").read_text()


async def do(
    runtime: Runtime, op: Op, args: Mapping[str, Any], *, python: str = "python3", timeout: float = 60.0
) -> Any:
    """Do one thing on a host, or in its container; returns the answer.

    Raises RefusedError where it must not be done, JobNotFound, RemoteFailed where it could not, HostUnreachable where
    the connection was lost: then it may or may not have been done.
    """
    message = {"supervisor": program("supervisor"), "hands": program("hands"), "op": op, "args": dict(args)}
    return await send(runtime, BOOT, message, op, python=python, timeout=timeout)


async def ask(
    runtime: Runtime,
    name: str,
    args: Mapping[str, Any],
    *,
    source: str | None = None,
    python: str = "python3",
    timeout: float = 60.0,
) -> Any:
    """What `main(args)` of a program answers: `remote/<name>_program.py`, or `source`. Raises as `do`."""
    message = {"name": name, "source": program(name) if source is None else source, "args": dict(args)}
    return await send(runtime, ALONE, message, name, python=python, timeout=timeout)


async def send(
    runtime: Runtime, boot: str, message: Mapping[str, Any], what: str, *, python: str = "python3", timeout: float
) -> Any:
    """Run `boot` on a host with one JSON line on its stdin; its answer. Raises as `do`."""
    line = json.dumps(message).encode() + b"\n"
    try:
        done = await runtime.run([python, "-I", "-S", "-c", boot], stdin=line, timeout=timeout)
    except TimeoutError:
        raise RemoteFailed(f"{what} did not finish within {timeout:.0f} s", where=runtime.where) from None
    if done.exit is None:
        raise HostUnreachable("the connection was lost", where=runtime.where, fix="try again when the host is back")
    _, mark, answer = done.stdout.rpartition(MARK)
    if not mark:
        if done.exit in NOT_FOUND:
            raise RemoteFailed(f"{python} was not found", where=runtime.where, fix="install Python 3.8 or later there")
        last = clean_bytes(done.stderr.strip().rpartition(b"\n")[2][:300])
        raise RemoteFailed(f"{what} failed with exit {done.exit}: {last}", where=runtime.where)
    return _judge(answer, runtime.where)


def _judge(answer: bytes, where: str) -> Any:
    """The answer's value, or its error raised."""
    try:
        reply: Any = clean_tree(json.loads(answer))
        if "ok" in reply:
            return reply["ok"]
        kind, said, fix = reply["kind"], str(reply["error"]), str(reply.get("fix") or "")
    except (ValueError, KeyError, TypeError):
        raise RemoteFailed("an answer that makes no sense", where=where) from None
    raise ERRORS.get(kind, RemoteFailed)(said, where=where, fix=fix or None)
