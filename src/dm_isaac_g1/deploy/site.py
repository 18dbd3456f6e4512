"""A real serve host, as the transaction needs it: its store, its way of serving, its health. See `transaction.Site`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dm_isaac_g1.core.deployments import Health, HistoryEntry, Release
from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, RefusedError, RemoteFailed
from dm_isaac_g1.core.events import Progress
from dm_isaac_g1.deploy import asking, gathering, health, record, retention, transaction
from dm_isaac_g1.deploy.gathering import Place
from dm_isaac_g1.deploy.lease import Lease
from dm_isaac_g1.deploy.manifest import Manifest, manifest_of
from dm_isaac_g1.deploy.record import Record, new_id
from dm_isaac_g1.deploy.runtimes.served import Launch, Served, Switched
from dm_isaac_g1.deploy.transaction import Tell
from dm_isaac_g1.deploy.transfer.copying import copy
from dm_isaac_g1.inference import models

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.store import Damage, StoreState
    from dm_isaac_g1.deploy.transfer.copying import Copied, CopyProgress
    from dm_isaac_g1.inference.models import ModelFacts
    from dm_isaac_g1.remote.host import Host


class HostSite:
    """`source`: the host that the model comes from, None for this machine; needed up to the step `verify`."""

    def __init__(
        self,
        there: Place,
        lease: Lease,
        source: Host | None = None,
        *,
        manifest: Manifest | None = None,
    ) -> None:
        self._there = there
        self._host = there.host
        self._runtime = there.runtime
        self._store = there.store
        self._lease = lease
        self._source = source
        self._manifest = manifest
        self._models: dict[str, ModelFacts] = {}

    async def write(self, record_: Record) -> None:
        self._lease.check()
        await self._store.write_transaction(record.plain(record_))

    # --- Before the switch --------------------------------------------------------------------------------------------

    async def preflight(self, record_: Record) -> None:
        """What serves may have changed since the plan, and what was to be gone back to. (The copy looks for room.)"""
        state, served = await asyncio.gather(self._store.look(), self._runtime.current())
        now = gathering.serving(state, served)
        if (now.id if now else None) != (record_.previous.id if record_.previous else None):
            was = record_.previous.id if record_.previous else "nothing of ours"
            raise RefusedError(
                f"{now.id if now else 'nothing of ours'} serves there now, and {was} did when this was planned",
                where=self._host.name,
                fix="look at the new plan",
            )
        if record_.what == "rollback" and record_.release.id not in {each.id for each in state.releases}:
            raise RefusedError(f"{record_.release.id} does not lie there any more", where=self._host.name)

    async def copy(self, record_: Record, tell: Tell) -> Copied:
        source = record_.source
        if source is None:
            raise RemoteFailed("its record does not say where the model comes from", where=self._host.name)

        def told(progress: CopyProgress) -> None:
            text = f"Copying {record_.release.id} ({progress.method})"
            tell(Progress(text=text, done=progress.done, total=progress.total, unit="bytes", step="copy"))

        manifest = await self._manifest_of(record_)
        return await copy(self._source, source.folder, self._store, manifest, record_.id, tell=told)

    async def verify(self, record_: Record) -> Release:
        """Every byte is read again: what lay there already may have rotted, and is then sent once more."""
        release = record_.release
        if record_.what == "rollback":
            self._insist(record_, await self._store.verify(release.id))
            return release
        manifest = await self._manifest_of(record_)
        release = await self._store.commit(record_.id, manifest, release)
        if await self._store.verify(release.id):
            await self.copy(record_, _quiet)
            release = await self._store.commit(record_.id, manifest, release)
            self._insist(record_, await self._store.verify(release.id))
        return release

    def _insist(self, record_: Record, damage: Sequence[Damage]) -> None:
        if damage:
            lines = "; ".join(each.line() for each in damage[:3])
            fix = "deploy its checkpoint again: only what is damaged is sent"
            raise RefusedError(f"{record_.release.id} is damaged: {lines}", where=self._host.name, fix=fix)

    async def _manifest_of(self, record_: Record) -> Manifest:
        """The manifest of what is to be sent; the source must still be what was planned."""
        if self._manifest is None:
            assert record_.source is not None
            self._manifest = await manifest_of(self._source, record_.source.folder, record_.source.files)
        if self._manifest.digest != record_.release.digest:
            raise RefusedError(
                f"the model at {record_.release.source} is not what it was when the deploy was begun",
                fix="deploy it again",
            )
        return self._manifest

    async def start_candidate(self, record_: Record) -> None:
        await self._runtime.start_candidate(await self._launch(record_.release, record_.id))

    async def test_candidate(self, record_: Record, tell: Tell) -> Health:
        served = await self._runtime.candidate(record_.id)
        if served is None:
            return Health(ok=False, problem="it is gone", checked=time.time())

        async def gone() -> str | None:
            now = await self._runtime.candidate(record_.id)
            return await self._why_gone(now or served) if now is None or now.state == "down" else None

        return await self._gate(served, record_, gone, tell)

    async def drop_candidate(self, record_: Record) -> None:
        await self._runtime.drop_candidate(record_.id)

    # --- The switch ---------------------------------------------------------------------------------------------------

    async def switch(self, record_: Record) -> Switched:
        self._lease.check()
        return await self._runtime.switch(await self._launch(record_.release, record_.id))

    async def test(self, record_: Record, tell: Tell) -> Health:
        served = await self._runtime.current()
        release = record_.release
        if served is None or (served.release != release.id and served.path != release.path):
            what = served.title if served is not None else "nothing"
            return Health(ok=False, problem=f"{what} is on the port, not {release.id}", checked=time.time())

        async def gone() -> str | None:
            now = await self._runtime.current()
            return await self._why_gone(served) if now is None or now.state == "down" else None

        return await self._gate(served, record_, gone, tell)

    async def restore(self, record_: Record) -> Switched:
        return await self._runtime.restore(record_.id)

    async def revive(self, record_: Record) -> bool:
        """After a reboot in the midst of it nothing serves: what served before is started as it was deployed."""
        served = await self._runtime.current()
        if record_.previous is None:
            return False
        if served is not None and served.state != "down":
            theirs = record_.previous.id, record_.previous.path
            return served.state == "serving" and (served.release == theirs[0] or served.path == theirs[1])
        done = await self._runtime.switch(await self._launch(record_.previous, new_id(time.time())))
        if not done.ok:
            what = f"{record_.previous.id} served before, and could not be started again: {done.problem}"
            raise RemoteFailed(what, where=self._host.name)
        return True

    async def close(self, record_: Record, entry: HistoryEntry, serving: Release | None) -> tuple[str, ...]:
        state = await self._store.look()
        there = {release.id for release in state.releases}
        if serving is not None and serving.id in there and state.current != serving.id:
            await self._store.set_current(serving.id)
        await self._store.append_history(entry)
        warnings = [said async for said in self._tidied(record_, entry, state)]
        await self._store.write_transaction(None)
        return tuple(warnings)

    async def _tidied(self, record_: Record, entry: HistoryEntry, state: StoreState) -> AsyncIterator[str]:
        """Remove what is superfluous; what could not be, as sentences."""
        keep, previous = self._host.profile.serve.keep, record_.previous
        work: list[Callable[[], Awaitable[object]]] = [lambda: self._runtime.settle(record_.id, keep)]
        if entry.outcome == "done":
            spared = {record_.release.id} | ({previous.id} if previous else set())
            gone = retention.superfluous(state.releases, (entry, *state.history), keep=keep, spared=spared)
            work += [partial(self._store.remove, each.id) for each in gone]
        elif previous is not None and previous.id == record_.release.id:
            work.append(partial(self._described_again, record_.id, previous))
        for each in work:
            try:
                await each()
            except transaction.AWAY:
                raise
            except RefusedError:
                pass  # it is what `current` leads to
            except DmG1Error as error:
                yield error.what

    async def _described_again(self, txn: str, release: Release) -> None:
        """The same files serve as before, for the embodiment of before."""
        await self._store.commit(txn, await self._store.manifest_of(release.id), release)

    # --- Parts --------------------------------------------------------------------------------------------------------

    async def _launch(self, release: Release, txn: str) -> Launch:
        return gathering.launch(self._there, await self._facts(release), release, txn)

    async def _facts(self, release: Release) -> ModelFacts:
        """What the release's folder is, as it lies on the host."""
        if release.id not in self._models:
            self._models[release.id] = await models.read_on_host(self._host.host_files, release.path)
        return self._models[release.id]

    async def _gate(self, served: Served, record_: Record, gone: Alive, tell: Tell) -> Health:
        def told(text: str) -> None:
            tell(Progress(text=text, step=record_.step, transient=True))

        return await fitness(self._there, served, record_.release, alive=gone, tell=told)

    async def _why_gone(self, served: Served) -> str:
        try:
            words = await self._runtime.last_words(served.id)
        except HostUnreachable:
            raise
        except DmG1Error:
            words = ""
        last = words.strip().rpartition("\n")[2][:300]
        return f"it ended while loading{f': {last}' if last else ''}"


def _quiet(progress: Progress) -> None:
    """Nobody asked how far it is."""


Alive = Callable[[], Awaitable[str | None]]


async def fitness(
    there: Place,
    served: Served,
    release: Release | None,
    *,
    alive: Alive | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Health:
    """One real request to a server there, judged by what its release takes and gives. See `health.gate`.

    Raises HostUnreachable where the link was lost meanwhile.
    """
    spec = None
    if release is not None:
        facts = await models.read_on_host(there.host.host_files, release.path)
        spec = facts.spec_for(release.embodiment)
    patience = there.host.profile.serve.load_s

    async def taken() -> str | None:
        return await asking.taken(there, served)

    async def gated(address: str, token: str | None) -> Health:
        return await health.gate(address, spec, token=token, patience_s=patience, tell=tell, alive=alive, taken=taken)

    return await asking.ask(there, served, gated)
