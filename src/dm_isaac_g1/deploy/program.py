"""Our side of a host's part of a deploy: the program is sent, asked one thing, heard while it works, and gone.

Nothing is installed. The program's parts are this package's own modules `*_program.py`, under their own names there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, RefusedError, RemoteFailed, UsageError
from dm_isaac_g1.remote.clean import clean_bytes, clean_tree
from dm_isaac_g1.remote.runtime import Runtime, Spawned

#: In the order of their imports; the last one's `main` runs.
PARTS = (
    "disk_program",
    "manifest_program",
    "objects_program",
    "store_program",
    "arriving_program",
    "transfer.key_program",
    "ledger_program",
    "transfer.local_program",
    "transfer.send_program",
    "transfer.push_program",
    "host_program",
)
#: What a question needs of them, where that is not all: a program that is smaller starts sooner.
_READING = ("disk_program", "manifest_program")
_SENDING = (*_READING, "objects_program", "transfer.send_program")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "manifest": (*_READING, "host_program"),
    "receive": (*_READING, "objects_program", "store_program", "arriving_program", "host_program"),
    "send": (*_SENDING, "host_program"),
    "push": (*_SENDING, "transfer.push_program", "host_program"),
}
PACKAGE = "dm_isaac_g1.deploy"
#: What runs the parts and the question `d`.
RUN = (
    "M=sys.modules;T=types.ModuleType;"
    '[exec(compile(s,n,"exec"),M.setdefault(n,T(n)).__dict__)'
    ' or "." in n and setattr(M[n.rpartition(".")[0]],n.rpartition(".")[2],M[n])for n,s in d["parts"]];'
    'M[d["parts"][-1][0]].main(d)'
)
BOOT = "import sys,json,types;d=json.loads(sys.stdin.buffer.readline());" + RUN
MARK = b"\x1edm-g1 "
PYTHON = "python3"
#: A line longer than this is garbage: a manifest of 10,000 files has 3 MB.
LINE_MAX = 64 << 20
#: What shells exit with when a program is not there (POSIX 2.8.2), and docker exec.
NOT_FOUND = (126, 127)
#: Seconds without a word after which the host is given up. What takes long tells how far it is.
SILENCE_S = 120.0


class Locked(RefusedError):
    """Somebody else is deploying there."""


class NoSpace(RefusedError):
    """It does not fit on the host's disk."""


class Changed(RemoteFailed):
    """A file was changed while it was read."""


class CutOff(HostUnreachable):
    """The stream between two machines ended before its end; what has arrived stays."""


class NoWay(RemoteFailed):
    """One machine does not reach the other in this way."""


ERRORS: dict[str, type[DmG1Error]] = {
    "refused": RefusedError,
    "missing": UsageError,
    "locked": Locked,
    "space": NoSpace,
    "changed": Changed,
    "cut": CutOff,
    "no-way": NoWay,
}


@cache
def parts(op: str | None = None) -> tuple[tuple[str, str], ...]:
    """Names and sources of the modules that a question needs, the packages they are in first."""
    packages = ("dm_isaac_g1", PACKAGE, f"{PACKAGE}.transfer")
    folder = resources.files(PACKAGE)
    names = PARTS if op is None else NEEDS.get(op, PARTS)
    sources = ((f"{PACKAGE}.{name}", folder.joinpath(name.replace(".", "/") + ".py")) for name in names)
    return (*((name, "") for name in packages), *((name, path.read_text(encoding="utf-8")) for name, path in sources))


def question(op: str, root: str | None, token: str | None, args: Mapping[str, Any]) -> dict[str, Any]:
    return {"parts": parts(op), "op": op, "root": root, "token": token, "args": dict(args)}


class Conversation:
    """A program at work: what it says, and its answer. Made by `conversing`."""

    def __init__(self, spawned: Spawned, where: str, op: str) -> None:
        self.spawned = spawned
        #: The last thing that it said was an answer, good or bad.
        self.answered = False
        self._where = where
        self._op = op
        self._buffer = b""

    async def tell(self, value: Mapping[str, Any]) -> None:
        """One more line for it. Raises HostUnreachable when it no longer reads."""
        await self.spawned.write(json.dumps(value).encode() + b"\n")

    async def heard(self) -> dict[str, Any]:
        """The next thing it says. Raises its error, HostUnreachable where the connection was lost, RemoteFailed."""
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                _, mark, said = line.partition(MARK)
                if mark:
                    return self._judge(said)
                continue
            if len(self._buffer) > LINE_MAX:
                raise RemoteFailed(f"{self._op}: an answer that makes no sense", where=self._where)
            try:
                async with asyncio.timeout(SILENCE_S):
                    data = await self.spawned.read(1 << 20)
            except TimeoutError:
                raise RemoteFailed(f"{self._op}: not a word for {SILENCE_S:.0f} s", where=self._where) from None
            if not data:
                raise await self.ended()
            self._buffer += data

    async def answer(self, heard: Callable[[dict[str, Any]], None] = lambda said: None) -> Any:
        """Its answer; whatever it says before that goes to `heard`. Raises as `heard` does."""
        self.answered = False
        while True:
            said = await self.heard()
            if "ok" in said:
                return said["ok"]
            heard(said)

    def _judge(self, line: bytes) -> dict[str, Any]:
        try:
            said: Any = clean_tree(json.loads(line))
            if not isinstance(said, dict):
                raise TypeError
            if "error" not in said:
                return said
            kind, what, fix = said["kind"], str(said["error"]), str(said.get("fix") or "")
        except (ValueError, KeyError, TypeError, RecursionError):
            raise RemoteFailed(f"{self._op}: an answer that makes no sense", where=self._where) from None
        self.answered = True
        raise ERRORS.get(kind, RemoteFailed)(what, where=self._where, fix=fix or None)

    def rest(self) -> bytes:
        """What was read beyond its last word: the beginning of a stream."""
        data, self._buffer = self._buffer, b""
        return data

    async def ended(self) -> DmG1Error:
        """Why it ended without an answer."""
        code = await self.spawned.wait()
        if code is None:
            return HostUnreachable("the connection was lost", where=self._where, fix="try again when it is back")
        if code in NOT_FOUND:
            return RemoteFailed("python3 was not found", where=self._where, fix="install Python 3.8 or later there")
        last = clean_bytes((await self.spawned.errors()).strip().rpartition(b"\n")[2][:300])
        return RemoteFailed(f"{self._op} ended with exit {code}: {last}", where=self._where)


@contextlib.asynccontextmanager
async def conversing(
    runtime: Runtime,
    op: str,
    args: Mapping[str, Any],
    *,
    root: str | None = None,
    token: str | None = None,
) -> AsyncIterator[Conversation]:
    """Start the program and ask it. Leaving lets go of it: its stdin ends, and so does it."""
    spawned = await runtime.spawn([PYTHON, "-I", "-S", "-u", "-c", BOOT])
    try:
        conversation = Conversation(spawned, runtime.where, op)
        await conversation.tell(question(op, root, token, args))
        yield conversation
    finally:
        await spawned.close()


async def do(
    runtime: Runtime,
    op: str,
    args: Mapping[str, Any],
    *,
    root: str | None = None,
    token: str | None = None,
    heard: Callable[[dict[str, Any]], None] = lambda said: None,
) -> Any:
    """Ask one thing; the answer. `heard` is told what it says meanwhile.

    Raises RefusedError where it must not be done (Locked, NoSpace), UsageError for what is not there, RemoteFailed
    where it could not, HostUnreachable where the connection was lost: then it may or may not have been done.
    """
    async with conversing(runtime, op, args, root=root, token=token) as conversation:
        return await conversation.answer(heard)


class Kept:
    """A program that stays, for several questions: no start for each. Begun anew when it is gone."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stack = contextlib.AsyncExitStack()
        self._conversation: Conversation | None = None
        self._asking = asyncio.Lock()

    @property
    def busy(self) -> bool:
        return self._asking.locked()

    async def start(self) -> Conversation:
        """Begin it, without waiting for it. Raises as `Runtime.spawn`."""
        await self.close()
        spawned = await self._runtime.spawn([PYTHON, "-I", "-S", "-u", "-c", BOOT])
        self._stack.push_async_callback(spawned.close)
        self._conversation = Conversation(spawned, self._runtime.where, "a deploy's program")
        await self._conversation.tell({"parts": parts(), "stay": True})
        return self._conversation

    async def ask(
        self,
        op: str,
        args: Mapping[str, Any],
        *,
        root: str | None = None,
        token: str | None = None,
        heard: Callable[[dict[str, Any]], None] = lambda said: None,
    ) -> Any:
        """As `do`."""
        async with self._asking:
            conversation = self._conversation or await self.start()
            # Whatever ends this without an answer ends the program: its next word would be taken for another's.
            self._conversation = None
            await conversation.tell({"op": op, "root": root, "token": token, "args": dict(args)})
            try:
                answer = await conversation.answer(heard)
            except DmG1Error:
                if conversation.answered:
                    self._conversation = conversation
                raise
            self._conversation = conversation
            return answer

    async def close(self) -> None:
        self._conversation = None
        await self._stack.aclose()
