"""An action performed for the command line: its events written, its question asked, its end an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dm_isaac_g1.actions import registry
from dm_isaac_g1.core.errors import ExitCode, Interrupted
from dm_isaac_g1.core.events import Failure, Job, Result

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Plan
    from dm_isaac_g1.actions.registry import Action
    from dm_isaac_g1.cli.globals import Globals
    from dm_isaac_g1.cli.writing import Writer
    from dm_isaac_g1.core.config import Config
    from dm_isaac_g1.core.profile import Profile

T = TypeVar("T")

#: What is told of an interrupted action that keeps what it finished.
RESUMES = "the same command goes on where this one ended"


def perform(chosen: Globals, action: Action, given: dict[str, Any], *, agreed: bool = False) -> int:
    """Perform an action and write its events; the exit code. Raises DmG1Error for what is wrong before it begins."""
    params = action.parse(given)
    return run(_story(chosen, action, params, agreed))


def run(story: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, with SIGTERM and SIGHUP ending it as Ctrl-C does, so that nothing is left behind.

    Interrupted, it ends the command with exit code 130.
    """

    async def guarded() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, task.cancel)
        return await story

    try:
        return asyncio.run(guarded())
    except (asyncio.CancelledError, KeyboardInterrupt):
        # click would print an empty line for a KeyboardInterrupt.
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None


async def _story(chosen: Globals, action: Action, params: registry.Params, agreed: bool) -> int:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.cli import stdin
    from dm_isaac_g1.cli.asking import asker
    from dm_isaac_g1.cli.writing import writer

    profile, config = _fleet(chosen, action, params)
    out = writer(action.name, json=chosen.json)

    async def confirm(plan: Plan) -> bool:
        return agreed or await _ask(plan, json=chosen.json)

    code = 0
    name = "lab" if chosen.lab else chosen.profile
    async with (
        _closing(out),
        Context(
            profile,
            config,
            confirm=confirm,
            profile_name=name,
            ask=asker(json=chosen.json),
            stdin=stdin.piped(),
            dashes=True,
        ) as ctx,
        aclosing(registry.perform(action, ctx, params)) as events,  # type: ignore[type-var]
    ):
        try:
            async for event in events:
                out.write(event)
                if isinstance(event, Failure | Result):
                    code = event.code
                elif isinstance(event, Job):
                    from dm_isaac_g1.cli.completing import remember_job

                    remember_job(event.job.id)
        except asyncio.CancelledError:
            if action.resumes:
                out.write(registry.failure(Interrupted("interrupted", fix=RESUMES)))
            raise
    return code


@contextlib.asynccontextmanager
async def _closing(out: Writer) -> AsyncIterator[None]:
    try:
        yield
    finally:
        out.close()


def _fleet(chosen: Globals, action: Action, params: registry.Params) -> tuple[Profile, Config | None]:
    """The profile and configuration that the action needs; what needs none must work with a broken one."""
    from dm_isaac_g1.core.profile import Profile

    if action.needs_profile is True or (registry.elsewhere(params) and params.on is not None):
        return chosen.load()
    if action.needs_profile == "if-any":
        return chosen.load_if_any()
    return Profile(name="none"), None


async def _ask(plan: Plan, *, json: bool) -> bool:
    """Show the plan and ask. Nobody at the terminal: no."""
    for line in (plan.title, *(f"  {each}" for each in plan.lines), *((plan.loses,) if plan.loses else ())):
        click.echo(line, err=True)
    if json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    # asyncio turns Ctrl-C into a cancellation, which a prompt would not see: give it back for the while.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return click.confirm("Go on?", default=False, err=True)
    finally:
        signal.signal(signal.SIGINT, before)
