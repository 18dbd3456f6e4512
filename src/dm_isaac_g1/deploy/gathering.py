"""The facts that a deploy is planned from, asked of the two machines. Nothing is changed on either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.deployments import Release, Unfinished
from dm_isaac_g1.core.errors import AuthFailed, DmG1Error, HostUnreachable, HostUntrusted
from dm_isaac_g1.deploy import lease, preflight, record
from dm_isaac_g1.deploy.manifest import Manifest, manifest_of
from dm_isaac_g1.deploy.record import Record, Source
from dm_isaac_g1.deploy.runtimes import choose
from dm_isaac_g1.deploy.runtimes.served import Launch, Served, ServeRuntime
from dm_isaac_g1.deploy.store import Store, StoreState, release_id
from dm_isaac_g1.inference.serving import ServerCommand, choose_embodiment, server_command

if TYPE_CHECKING:
    from dm_isaac_g1.inference.models import ModelFacts
    from dm_isaac_g1.remote.around import Around
    from dm_isaac_g1.remote.host import Host

#: So many pings are waited for, a second each, behind the robot's get_action, before a server has hung.
PINGS = 3
#: Hashed so far, and of how many bytes.
Told = Callable[[int, int], None]


class Place(msgspec.Struct, frozen=True):
    """A serve host: how it serves, and its store."""

    host: Host
    runtime: ServeRuntime
    store: Store


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, of which `facts` is the part that the plan is made from."""

    place: Place
    facts: preflight.Facts
    state: StoreState
    manifest: Manifest


async def place(host: Host) -> Place:
    """Raises RefusedError where nothing can be served there as the profile says, UsageError."""
    runtime = await choose(host)
    home = await runtime.home()
    return Place(host, runtime, Store(host, home.folder))


async def gather(
    there: Place,
    model: ModelFacts,
    source: Source,
    source_host: Host | None,
    *,
    name: str,
    embodiment: str | None,
    candidate: bool,
    tell: Told,
) -> Gathered:
    """All that the plan needs. Raises HostUnreachable, RemoteFailed, and as `manifest_of`."""
    host, runtime, store = there.host, there.runtime, there.store
    asked = asyncio.ensure_future(now(there))
    try:
        manifest = await manifest_of(source_host, source.folder, source.files or None, tell=tell)
        state, served, around = await asked
    finally:
        asked.cancel()
    refused: list[str] = []
    tag = None
    if model.complete:
        try:
            tag = choose_embodiment(model, embodiment or host.profile.serve.embodiment)
        except DmG1Error as error:
            refused.append(_said(error))
    id = release_id(name, manifest)
    known = next((each for each in state.releases if each.id == id), None)
    release = Release(
        id=id,
        name=name,
        digest=manifest.digest,
        kind=model.kind,
        path=store.path(id),
        bytes=manifest.bytes,
        source=source.said,
        embodiment=tag,
        step=model.step,
        created=known.created if known else state.now,
    )
    if model.complete and not refused:
        refused += await _cannot(there, model, release)
    missing = await store.missing(manifest)
    current = serving(state, served)
    facts = preflight.Facts(
        host=host.name,
        port=host.profile.port,
        how=runtime.title,
        model=model,
        release=release,
        current=current,
        current_ok=served is not None and preflight.again(current, release) and await _answers(there, served),
        foreign=None if served is None or current is not None else _foreign(served),
        method="relay" if source_host is None else "copy",
        to_send=missing.bytes,
        disk_free=state.free or None,
        memory_free=around.memory_free,
        clients=len(around.clients),
        history=state.history,
        releases=state.releases,
        unfinished=_unfinished(state, host.name),
        locked=_locked(state),
        candidate=candidate,
        refused=tuple(refused),
    )
    return Gathered(place=there, facts=facts, state=state, manifest=manifest)


async def now(there: Place) -> tuple[StoreState, Served | None, Around]:
    """What lies there, what serves, and what is around the port."""
    return await asyncio.gather(there.store.look(), there.runtime.current(), there.runtime.around())


async def _answers(there: Place, served: Served) -> bool:
    """Whether a server of ours answers a ping: one that hung listens all the same. Raises HostUnreachable."""
    from dm_isaac_g1.deploy import asking, health

    if served.state != "serving":
        return False

    async def pinged(address: str, token: str | None) -> bool:
        for _ in range(PINGS):
            found, _ = await health.watch(address, token=token)
            if found.passed != "greeting" or found.problem is not None:
                break
        return found.ok

    try:
        return await asking.ask(there, served, pinged)
    except (HostUnreachable, HostUntrusted, AuthFailed):
        raise
    except DmG1Error:
        return False


def serving(state: StoreState, served: Served | None) -> Release | None:
    """The release that serves, of all that lie there."""
    if served is None or served.foreign:
        return None
    known = {release.id: release for release in state.releases}
    by_path = {release.path: release for release in state.releases}
    return known.get(served.release) or by_path.get(served.path)


def launch(there: Place, model: ModelFacts, release: Release, txn: str) -> Launch:
    """How the release's server is started there."""
    profile = there.host.profile

    def command(path: str, port: int, bind: str) -> ServerCommand:
        return server_command(
            model,
            path,
            profile,
            port=port,
            bind=bind,
            embodiment=release.embodiment,
            token_file=profile.serve.token_file,
        )

    return Launch(release, txn, command)


async def _cannot(there: Place, model: ModelFacts, release: Release) -> list[str]:
    """Why the release cannot be served this way: what its command and the host's way of serving say."""
    try:
        tried = launch(there, model, release, "")
        tried.command(release.path, there.host.profile.port, there.host.profile.serve.bind)
        return list(await there.runtime.check(tried))
    except HostUnreachable:
        raise
    except DmG1Error as error:
        return [_said(error)]


def _locked(state: StoreState) -> str | None:
    """Who has the lock; not a console of this machine that is gone: its lock is ours to take."""
    if state.lock is None or lease.left_behind(state.lock.txn) is not None:
        return None
    left = max(0.0, state.lock.until - state.now)
    return f"{state.lock.owner} (or was, and their console is gone: then their right ends in {left:.0f} s)"


def _unfinished(state: StoreState, where: str) -> Unfinished | None:
    found = open_record(state, where)
    return None if found is None else found.unfinished(state.lock.until if state.lock else 0.0)


def open_record(state: StoreState, where: str) -> Record | None:
    """The deploy that has not ended. Raises RemoteFailed for one that makes no sense."""
    return None if state.transaction is None else record.read(state.transaction, where)


def _foreign(served: Served) -> str:
    return served.title + (f" with {served.path}" if served.path else "")


def _said(error: DmG1Error) -> str:
    return f"{error.what} ({error.fix})" if error.fix else error.what
