"""Which way a host serves: what its profile says, or what is found there."""

from __future__ import annotations

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.deploy.runtimes.served import ServeRuntime
from dm_isaac_g1.remote.host import Host


async def choose(host: Host) -> ServeRuntime:
    """The host's way to serve. Raises UsageError for a profile that makes no sense, and what looking raises."""
    how = host.profile.serve.how
    if how in ("auto", "process"):
        from dm_isaac_g1.deploy.runtimes.process import ProcessRuntime

        return ProcessRuntime(host)
    raise UsageError(f"serve.how {how!r} is not known", where=host.name)
