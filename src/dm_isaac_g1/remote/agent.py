"""Our side of the agent: send the program, take its lines apart, ask it questions.

A login shell may print whatever its startup files like (`conda init`, a banner) before the agent runs: its lines
count only after a marker that was made up for this run.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import itertools
import json
import secrets
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, RemoteFailed
from dm_isaac_g1.remote import wire
from dm_isaac_g1.remote.clean import clean, clean_bytes
from dm_isaac_g1.remote.runtime import Runtime, Spawned

#: The agent's parts, each a module there under the name it has here; the last one's `main` runs.
PARTS = (
    "agent_system",
    "agent_checkpoints",
    "agent_datasets",
    "agent_disks",
    "agent_questions",
    "agent_follow",
    "agent_gpu",
    "agent_jobs",
    "agent_program",
)
_PACKAGE = "dm_isaac_g1.remote"
_BOOT = (
    "import sys,json,types,zlib;M=sys.modules;T=types.ModuleType;"
    "d=json.loads(zlib.decompress(sys.stdin.buffer.read(%d)));"
    '[exec(compile(s,n,"exec"),M.setdefault(n,T(n)).__dict__)'
    ' or "." in n and setattr(M[n.rpartition(".")[0]],n.rpartition(".")[2],M[n])for n,s in d["parts"]];'
    'M[d["parts"][-1][0]].main(d["config"])'
)
#: A line longer than this is garbage: an answer holds at most 1 MiB of a file, in base64.
LINE_MAX = 4 << 20
#: How much a shell may print before the agent speaks, and how long that may take.
NOISE_MAX = 1 << 20
START_TIMEOUT = 20.0
#: Bytes of a followed file that may wait here: the agent's window, and room for an agent that counts otherwise.
HELD_MAX = 4 << 20
#: Senseless lines after which the agent is given up.
GARBAGE_MAX = 20


class AgentFailed(RemoteFailed):
    """The agent did not start, or says what makes no sense."""


@cache
def parts() -> tuple[tuple[str, str], ...]:
    """Names and sources of the agent's modules, the packages they are in first."""
    folder = importlib.resources.files(_PACKAGE)
    sources = ((f"{_PACKAGE}.{name}", (folder / f"{name}.py").read_text(encoding="utf-8")) for name in PARTS)
    return (("dm_isaac_g1", ""), (_PACKAGE, ""), *sources)


def payload(config: dict[str, Any]) -> bytes:
    """What is sent to the interpreter's stdin: the parts and their configuration, compressed."""
    return zlib.compress(json.dumps({"parts": parts(), "config": config}).encode(), 9)


class Agent:
    """A running agent. Made by `start`; `listen` must run for anything to be answered."""

    def __init__(self, spawned: Spawned, where: str, hello: wire.Hello, rest: bytes) -> None:
        self.hello = hello
        #: What keeps it from all that an agent can do.
        self.problem: DmG1Error | None = None
        self._spawned = spawned
        self.where = where
        self._rest = rest
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._followed: dict[int, Callable[[wire.Chunk | DmG1Error], None]] = {}
        self._gone: DmG1Error | None = None

    @classmethod
    async def start(cls, runtime: Runtime, config: dict[str, Any], pythons: Sequence[str] = ("python3",)) -> Agent:
        """Send the agent to the first of `pythons` that runs it. Raises AgentFailed, and as `Runtime.spawn`."""
        problem: AgentFailed | None = None
        for python in dict.fromkeys(pythons):
            try:
                return await cls._start(runtime, config, python)
            except AgentFailed as error:
                problem = error
        raise problem or AgentFailed("no interpreter to run the agent with", where=runtime.where)

    @classmethod
    async def _start(cls, runtime: Runtime, config: dict[str, Any], python: str) -> Agent:
        mark = secrets.token_hex(12)
        program = payload({**config, "mark": mark})
        spawned = await runtime.spawn([python, "-I", "-S", "-u", "-c", _BOOT % len(program)])
        try:
            async with asyncio.timeout(START_TIMEOUT):
                # Nothing follows the program until it speaks: the interpreter may read ahead.
                await spawned.write(program)
                hello, rest = await _hello(spawned, f"\n{mark}\n".encode(), runtime.where)
            return cls(spawned, runtime.where, hello, rest)
        except (TimeoutError, HostUnreachable) as error:
            await spawned.close()
            raise AgentFailed(f"{clean(python)} did not start the agent", where=runtime.where) from error
        except BaseException:
            await spawned.close()
            raise

    async def listen(self, sampled: Callable[[wire.Sampled], None]) -> None:
        """Take lines until the agent ends. Raises AgentFailed when it talks nonsense."""
        garbage = 0
        try:
            async for line in self._lines():
                try:
                    said = wire.decoder.decode(line)
                except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError):
                    garbage += 1
                    if garbage > GARBAGE_MAX:
                        raise AgentFailed("the agent's answers make no sense", where=self.where) from None
                    continue
                if isinstance(said, wire.Sampled):
                    sampled(said)
                elif isinstance(said, wire.Reply):
                    self._reply(said)
                elif isinstance(said, wire.Chunk) and said.id in self._followed:
                    self._followed[said.id](said)
        finally:
            self._gone = HostUnreachable("the agent is gone", where=self.where)
            self._drop(self._gone)

    async def ask(self, op: str, *, timeout: float = 30.0, **args: Any) -> msgspec.Raw:
        """The answer to a question, as JSON. Raises RemoteFailed (also after `timeout`), HostUnreachable."""
        ident = next(self._ids)
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._asked[ident] = answer
        try:
            await self._send({"op": op, "id": ident, "args": args})
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise RemoteFailed(f"no answer to {op!r} within {timeout:g} s", where=self.where) from None
        finally:
            del self._asked[ident]

    @contextlib.asynccontextmanager
    async def following(self, **args: Any) -> AsyncIterator[Following]:
        """Follow a file; leaving ends it. `args`: path, start, from_end."""
        following = Following(self, next(self._ids))
        self._followed[following.id] = following.take
        try:
            await self._send({"op": "follow", "id": following.id, "args": args})
            yield following
        finally:
            self._followed.pop(following.id, None)
            with contextlib.suppress(DmG1Error):
                await self._send({"op": "unfollow", "id": following.id})

    async def ping(self) -> None:
        """Tell the agent that somebody is still there: alone, it would end. Raises HostUnreachable."""
        await self._send({"op": "ping"})

    async def close(self) -> None:
        """End the agent by ending its stdin."""
        await self._spawned.close()

    async def _send(self, value: dict[str, Any]) -> None:
        if self._gone is not None:
            raise self._gone
        await self._spawned.write(msgspec.json.encode(value) + b"\n")

    def _reply(self, reply: wire.Reply) -> None:
        if reply.id in self._followed and reply.error is not None:
            self._followed[reply.id](RemoteFailed(clean(reply.error), where=self.where))
        answer = self._asked.get(reply.id)
        if answer is None or answer.done():
            return
        if reply.error is not None:
            answer.set_exception(RemoteFailed(clean(reply.error), where=self.where))
        else:
            answer.set_result(reply.value)

    def _drop(self, error: DmG1Error) -> None:
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(error)
        for take in list(self._followed.values()):
            take(error)

    async def _lines(self) -> AsyncIterator[bytes]:
        """Whole lines; one that is too long is passed over without being held."""
        buffer, skipping = bytearray(self._rest), False
        while True:
            *whole, rest = buffer.split(b"\n") if b"\n" in buffer else (buffer,)
            for line in whole:
                if not skipping and line:
                    yield bytes(line)
                elif skipping:
                    yield b"too long"
                skipping = False
            buffer = bytearray(rest)
            if len(buffer) > LINE_MAX:
                buffer.clear()
                skipping = True
            data = await self._spawned.read(1 << 18)
            if not data:
                return
            buffer += data


class Following:
    """Chunks of one followed file, in order, with the credit that keeps the agent from sending too much."""

    def __init__(self, agent: Agent, ident: int) -> None:
        self.id = ident
        self._agent = agent
        self._queue: asyncio.Queue[wire.Chunk | DmG1Error] = asyncio.Queue()
        self._held = 0

    def take(self, said: wire.Chunk | DmG1Error) -> None:
        """Raises AgentFailed where the agent does not keep to the credit."""
        if isinstance(said, wire.Chunk):
            self._held += len(said.data)
            if self._held > HELD_MAX:
                raise AgentFailed("the agent sends more than it was allowed to", where=self._agent.where)
        self._queue.put_nowait(said)

    async def next(self) -> wire.Chunk:
        """The next chunk, and leave for the agent to send as much more. Raises RemoteFailed, HostUnreachable."""
        said = await self._queue.get()
        if isinstance(said, DmG1Error):
            raise said
        self._held -= len(said.data)
        if said.data:
            with contextlib.suppress(HostUnreachable):
                await self._agent._send({"op": "ack", "id": self.id, "bytes": len(said.data)})
        return said


async def _hello(spawned: Spawned, mark: bytes, where: str) -> tuple[wire.Hello, bytes]:
    """Read past the shell's noise to the agent's first line."""
    heard = bytearray()
    while mark not in heard or b"\n" not in heard[heard.index(mark) + len(mark) :]:
        data = await spawned.read()
        if not data:
            exit_ = await spawned.wait()
            said = clean_bytes((await spawned.errors())[-300:].replace(b"\n", b" ")).strip()
            raise AgentFailed(f"the agent did not start (exit {exit_}): {said or 'it said nothing'}", where=where)
        heard += data
        if len(heard) > NOISE_MAX:
            raise AgentFailed("the shell there prints without end before a command runs", where=where)
    line, _, rest = bytes(heard[heard.index(mark) + len(mark) :]).partition(b"\n")
    try:
        hello = wire.decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise AgentFailed("the agent's first words make no sense", where=where) from error
    if not isinstance(hello, wire.Hello):
        raise AgentFailed("the agent did not say hello", where=where)
    return hello, rest
