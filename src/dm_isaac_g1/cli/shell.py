"""A shell on a host: interactive through the user's own `ssh`, or one command with its bytes passed on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from dm_isaac_g1.cli.globals import Globals
from dm_isaac_g1.core.errors import UsageError

if TYPE_CHECKING:
    from dm_isaac_g1.core.config import Config
    from dm_isaac_g1.core.profile import Profile


def execute(chosen: Globals, command: Sequence[str], host: str | None, *, outside: bool) -> int:
    """Run a command on a host; its exit code. With --json its output becomes events."""
    from dm_isaac_g1.cli.performing import perform, run
    from dm_isaac_g1.remote.quoting import command_line

    line = command[0] if len(command) == 1 else command_line(command)
    if chosen.json:
        from dm_isaac_g1.actions.registry import get

        given = {"command": line, "outside": outside} | ({"host": host} if host else {})
        return perform(chosen, get("remote.exec"), given)
    return run(_pass_on(chosen, line, host, outside))


async def _pass_on(chosen: Globals, line: str, name: str | None, outside: bool) -> int:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.actions.remote import run, which
    from dm_isaac_g1.cli import stdin
    from dm_isaac_g1.cli.asking import asker

    profile, config = chosen.load()
    async with Context(profile, config, ask=asker(json=False), dashes=True) as ctx:
        host = await ctx.host(which(ctx, name))
        async with aclosing(run(host, line, outside=outside, stdin=stdin.piped())) as pieces:  # type: ignore[type-var]
            async for stream, data in pieces:
                if isinstance(data, int):
                    return data
                out = sys.stdout if stream == "stdout" else sys.stderr
                out.buffer.write(_harmless(data) if out.isatty() else data)
                out.buffer.flush()
    return 0


def _harmless(data: bytes) -> bytes:
    """What goes to a terminal is cleaned line by line; a pipe gets the bytes as they are."""
    from dm_isaac_g1.remote.clean import clean

    return "\n".join(clean(part) for part in data.decode(errors="replace").split("\n")).encode()


def interactive(chosen: Globals, name: str | None, *, outside: bool) -> int:
    """Become the user's own `ssh`, with the profile's configuration and its container. Never returns on success."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("no terminal for a shell", fix='`dm-g1 remote exec "..."` runs one command')
    profile, config = chosen.load()
    argv = shell_argv(profile, config, name, outside=outside)
    try:
        os.execvp(argv[0], argv)  # noqa: S606  no shell in between is just what is wanted
    except FileNotFoundError:
        raise UsageError("no `ssh` on this machine", fix="install OpenSSH's client") from None


def shell_argv(profile: Profile, config: Config | None, name: str | None, *, outside: bool) -> list[str]:
    """The `ssh` command line. The user's ~/.ssh/config counts; a key is never accepted on the way."""
    from dm_isaac_g1.core import targets
    from dm_isaac_g1.core.profile import DockerRuntime
    from dm_isaac_g1.fleet.hosts import Hosts
    from dm_isaac_g1.remote.quoting import command_line

    hosts = Hosts(profile, config)
    if name is None and len(hosts.names) == 1:
        name = hosts.names[0]
    host = profile.hosts[hosts.name_for(name, "train")]
    target = targets.parse(host.ssh)
    argv = ["ssh", "-t", "-o", "StrictHostKeyChecking=yes"]
    if profile.ssh_config:
        argv += ["-F", profile.ssh_config]
    if target.port:
        argv += ["-p", str(target.port)]
    argv += ["--", f"{target.user}@{target.host}" if target.user else target.host]
    if isinstance(host.runtime, DockerRuntime) and not outside:
        argv.append(command_line(["docker", "exec", "-it", host.runtime.docker.container, "bash", "-l"]))
    return argv
