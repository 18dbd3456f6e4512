"""An agent kept running in one runtime: started when the link comes up, started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable
from dm_isaac_g1.remote import tasks, wire
from dm_isaac_g1.remote.agent import Agent, AgentFailed
from dm_isaac_g1.remote.broadcast import Broadcast
from dm_isaac_g1.remote.link import Link, unexpected
from dm_isaac_g1.remote.probe import Probe
from dm_isaac_g1.remote.runtime import Runtime

#: Seconds between attempts to start an agent on a link that is up: an image may be pulled, a container started.
AGAIN = (0.5, 1.0, 2.0, 5.0)
#: Seconds without a line after which an agent that should talk is started anew.
SILENCE = 30.0
#: Seconds of quiet after which the link is asked for signs of life more often.
QUIET = 3.0
#: Seconds between pings; the agent ends itself after six that did not come.
PING = 10.0


class Station:
    """Keeps an agent in `runtime`. `sampled` gets its samples; `changed` is called when it came or went."""

    def __init__(
        self,
        link: Link,
        runtime: Runtime,
        config: dict[str, Any],
        *,
        pythons: Sequence[str],
        sampled: Callable[[wire.Sampled], None],
        changed: Callable[[], None],
    ) -> None:
        self._link = link
        self._runtime = runtime
        self._config = config
        self._pythons = pythons
        self._sampled = sampled
        self._changed = changed
        self._news: Broadcast[None] = Broadcast(1)
        self._heard = 0.0
        self.agent: Agent | Probe | None = None
        #: The last hello: it outlives the agent, so that paths are known while the host is away.
        self.hello: wire.Hello | None = None
        #: Why there is no agent although the link is up.
        self.problem: DmG1Error | None = None

    async def run(self) -> None:
        """Serve until cancelled."""
        failures = 0
        async for state in self._link.states():
            while state.state == "up" and self._link.connection is not None:
                connection = self._link.connection
                try:
                    await self._serve()
                    failures = 0
                except Exception as error:
                    if self._link.connection is not connection:
                        break
                    failures += 1
                    self._tell(None, error if isinstance(error, DmG1Error) else unexpected(error, self._runtime.where))
                if self._link.connection is connection:
                    await asyncio.sleep(AGAIN[min(failures, len(AGAIN) - 1)])
            self._tell(None, None)

    async def get(self, timeout: float | None = 15.0) -> Agent | Probe:
        """The agent, once it runs. Raises what keeps it from running."""
        async with asyncio.timeout(timeout) as limit:
            try:
                async for _ in self._news.listen(None):
                    if self.agent is not None:
                        return self.agent
                    if self.problem is not None:
                        raise self.problem
                    if self._link.state.state in ("away", "refused", "off"):
                        raise self._link.error()
            except TimeoutError:
                if not limit.expired():
                    raise
        raise HostUnreachable("the agent there does not start", where=self._runtime.where)

    async def next(self) -> Agent | Probe:
        """The agent, however long it takes: through reconnects. Raises only when the link refuses or is closed."""
        async for _ in self._news.listen(None):
            if self.agent is not None:
                return self.agent
            if self._link.state.state in ("refused", "off"):
                break
        raise self._link.error()

    def close(self) -> None:
        self._news.close()

    def wake(self) -> None:
        """The link's state changed: whoever waits looks again."""
        self._news.send(None)

    async def _serve(self) -> None:
        """Start an agent and take what it says until it ends."""
        agent = await self._start()
        self.hello = agent.hello
        self._heard = asyncio.get_running_loop().time()
        self._tell(agent, agent.problem)
        try:
            async with tasks.running(self._watch(agent), f"watch {self._runtime.where}"):
                try:
                    await agent.listen(self._take)
                finally:
                    # At once: whoever asks for the agent must not be handed one that is gone.
                    self.agent = None
        finally:
            await agent.close()

    async def _start(self) -> Agent | Probe:
        """The agent; on a host whose python3 is missing or too old, the probe that says less."""
        try:
            return await Agent.start(self._runtime, self._config, self._pythons)
        except AgentFailed as error:
            if not self._config["host"] or self._link.connection is None:
                raise
            try:
                return await Probe.start(self._runtime, self._config["paths"], error)
            except AgentFailed:
                raise error from None

    def _take(self, said: wire.Sampled) -> None:
        self._heard = asyncio.get_running_loop().time()
        self._sampled(said)

    async def _watch(self, agent: Agent | Probe) -> None:
        """Ping the agent. While one that should talk is quiet, doubt the link; end it if it hangs on a living one."""
        loop = asyncio.get_running_loop()
        doubted, pinged = False, loop.time()
        while True:
            await asyncio.sleep(1)
            now = loop.time()
            if now - pinged > PING:
                pinged = now
                with contextlib.suppress(DmG1Error):
                    await agent.ping()
            if not self._config["host"]:
                continue
            if (now - self._heard > QUIET) != doubted:
                doubted = not doubted
                self._link.doubt(doubted)
            if now - self._heard > SILENCE:
                await agent.close()
                return

    def _tell(self, agent: Agent | Probe | None, problem: DmG1Error | None) -> None:
        self.agent = agent
        self.problem = problem
        self._changed()
        self._news.send(None)
