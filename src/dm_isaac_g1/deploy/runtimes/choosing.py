"""Which way a host serves: what its profile says, or what is found there."""

from __future__ import annotations

from dm_isaac_g1.core.profile import DockerRuntime
from dm_isaac_g1.deploy.runtimes.served import ServeRuntime
from dm_isaac_g1.remote.host import Host


async def choose(host: Host) -> ServeRuntime:
    """The host's way to serve. Raises UsageError for a profile that lacks something, and what looking raises."""
    match host.profile.serve.how:
        case "process":
            return _process(host)
        case "container":
            from dm_isaac_g1.deploy.runtimes.container import ContainerRuntime

            return ContainerRuntime(host)
        case "release":
            from dm_isaac_g1.deploy.runtimes.release import ReleaseRuntime

            return ReleaseRuntime(host)
        case "compose":
            from dm_isaac_g1.deploy.runtimes.compose import ComposeRuntime

            return ComposeRuntime(host)
    return await _found(host)


async def _found(host: Host) -> ServeRuntime:
    """auto: the container that the profile names, if its command names a model; else a process."""
    serve, runtime = host.profile.serve, host.profile.runtime
    name = serve.container or (runtime.docker.container if isinstance(runtime, DockerRuntime) else None)
    if name is None:
        return _process(host)
    from dm_isaac_g1.deploy.runtimes.by_engine import socket_of
    from dm_isaac_g1.deploy.runtimes.container import ContainerRuntime, model_of

    engine = host.engine(socket_of(host.profile))
    found = await engine.inspect(name)
    # One that is not there just now may be in the middle of an exchange.
    if found is None:
        found = await engine.inspect(f"{name}-prev")
    return ContainerRuntime(host) if serve.container or (found and model_of(found)) else _process(host)


def _process(host: Host) -> ServeRuntime:
    from dm_isaac_g1.deploy.runtimes.process import ProcessRuntime

    return ProcessRuntime(host)
