"""Policy servers: start one, and test one that is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from dm_isaac_g1.actions.data import SET, folder
from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.actions.working import Working, need
from dm_isaac_g1.core.errors import ExitCode, HostUnreachable, RemoteFailed, UsageError
from dm_isaac_g1.core.events import Event, Progress, Result
from dm_isaac_g1.core.units import many

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.inference import GrootClient
    from dm_isaac_g1.inference.evaluation.examine import Plan
    from dm_isaac_g1.remote.host import Host

#: NVIDIA's servers' own.
PORT = 5555
#: A token file is a line.
TOKEN_BYTES = 4096

Port = Annotated[int, Meta(ge=1, le=65535)]
TokenFile = Annotated[
    str | None,
    Meta(description="A file on this machine with the server's API token; of a host, the profile's else."),
]


class TestParams(Params, frozen=True, kw_only=True):
    host: Annotated[
        str | None,
        Meta(
            description="A host of the profile, reached over SSH; or an address. Else the host that serves.",
            extra={"names": "host"},
        ),
    ] = None
    port: Annotated[Port | None, Meta(description="The server's port; the profile's, or 5555.")] = None
    dataset: Annotated[
        str | None, Meta(description="Compare with the recorded actions of this dataset, here.", extra=SET)
    ] = None
    trajectories: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...], Meta(description="Episodes of the dataset, by number; else the first.")
    ] = ()
    steps: Annotated[int, Meta(description="At most so many steps of each.", ge=1, le=1_000_000)] = 200
    action_horizon: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | None,
        Meta(description="Steps of each answer that are used; 16, or what the policy predicts where that is less."),
    ] = None
    keys: Annotated[tuple[str, ...], Meta(description="Compare these groups of the action only.")] = ()
    definition: Annotated[
        Literal["n1.6", "n1.5"],
        Meta(description="Steps that count: as open_loop_eval (to the episode's end), or as N1.5's eval_policy (all)."),
    ] = "n1.6"
    clients: Annotated[int, Meta(description="Clients at once, after one alone.", ge=1, le=64)] = 4
    seconds: Annotated[float, Meta(description="How long each of the two calls; 0: not at all.", ge=0, le=3600)] = 3.0
    timeout: Annotated[float, Meta(description="Seconds that an answer may take.", gt=0, le=600)] = 10.0
    dialect: Annotated[
        Literal["auto", "nested", "flat", "n1.5", "n1.5-http"], Meta(description="What it speaks; found out else.")
    ] = "auto"
    token_file: TokenFile = None
    resize: Annotated[
        Annotated[int, Meta(ge=16, le=4096)] | None,
        Meta(description="Make pictures smaller before they are sent: the shorter side, in pixels."),
    ] = None
    plot: Annotated[
        str | None, Meta(description="Save the compared curves as this picture (.png, .svg, .pdf), one an episode.")
    ] = None
    out: Annotated[str | None, Meta(description="Save all that was found as this JSON file.")] = None


@action("infer.test", title="Test a policy server", params=TestParams, needs_profile="if-any")
async def test(ctx: Context, params: TestParams) -> AsyncIterator[Event]:
    """Test a policy server: is it up, what does it speak, how fast is it alone and under load.

    With a dataset its predictions are compared with the recorded actions: MSE and MAE as NVIDIA's open_loop_eval
    defines them, of each trajectory, of each joint, and on average. No robot moves.
    """
    from dm_isaac_g1.inference.evaluation.examine import examine

    plan = _plan(ctx, params)
    async with AsyncExitStack() as stack:
        for text in _waits(ctx, params):
            yield Progress(text=text, transient=True)
        target = await _reached(ctx, params, stack)

        def connect() -> GrootClient:
            from dm_isaac_g1.inference import GrootClient

            return GrootClient(**target, timeout=params.timeout, dialect=params.dialect, resize=params.resize)

        work = Working(lambda work: examine(connect, plan, work))
        async with aclosing(work.events()) as events:  # type: ignore[type-var]
            async for event in events:
                yield event
    failed = any(each["errors"] for each in work.result["latency"])
    yield Result(text=_said(work.result), data=work.result, code=ExitCode.FAILED if failed else ExitCode.DONE)


def _plan(ctx: Context, params: TestParams) -> Plan:
    """Raises UsageError for what makes no sense together, DmG1Error for what is not installed."""
    from dm_isaac_g1.inference.evaluation.examine import Plan
    from dm_isaac_g1.inference.evaluation.openloop import Order

    if params.dataset is None:
        for name in ("keys", "plot"):
            if getattr(params, name):
                fix = f"name one with {ctx.option('dataset')}"
                raise UsageError(f"{ctx.option(name)} is about a comparison with a dataset", fix=fix)
    else:
        need("pyarrow")
    return Plan(
        server=_server(ctx, params),
        clients=(1, params.clients),
        seconds=params.seconds,
        dataset=folder(params.dataset) if params.dataset is not None else None,
        order=Order(
            trajectories=tuple(dict.fromkeys(params.trajectories)),
            steps=params.steps,
            horizon=params.action_horizon,
            keys=params.keys,
            definition=params.definition,
        ),
        plot=folder(params.plot) if params.plot is not None else None,
        out=folder(params.out) if params.out is not None else None,
    )


def _name(ctx: Context, params: TestParams) -> str:
    """The host or address to test. Raises UsageError."""
    return params.host if params.host is not None else ctx.name_for(None, "serve")


def _server(ctx: Context, params: TestParams) -> str:
    name = _name(ctx, params)
    known = ctx.profile.hosts.get(name)
    return f"{name}:{params.port or (known.port if known else PORT)}"


def _waits(ctx: Context, params: TestParams) -> list[str]:
    name = _name(ctx, params)
    return [f"Connecting to {name}"] if name in ctx.profile.hosts else []


async def _reached(ctx: Context, params: TestParams, stack: AsyncExitStack) -> dict[str, Any]:
    """How a client gets there: `address`, or `host` and `port`; and the token.

    Raises HostUnreachable where nobody listens, RemoteFailed where something else does, UsageError.
    """
    name = _name(ctx, params)
    token = read_token(folder(params.token_file)) if params.token_file is not None else None
    if name not in ctx.profile.hosts:
        return {"host": await _address(ctx, name), "port": params.port or PORT, "api_token": token}
    host = await ctx.host(name)
    port, address = params.port or host.profile.port, seen_at(host.profile.serve.bind)
    await expect_server(host, port, address)
    if token is None and host.profile.serve.token_file is not None:
        token = await token_of(host)
    return {"address": await stack.enter_async_context(host.reach(port, address)), "api_token": token}


async def _address(ctx: Context, name: str) -> str:
    """A name that can be connected to. Raises UsageError."""
    import socket

    try:
        await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        known = ", ".join(ctx.profile.hosts) or "none"
        raise UsageError(f"{name!r} is no host of the profile and no address", fix=f"hosts there: {known}") from None
    return name


#: What a server binds to that listens on all addresses -> where it is found on its own machine.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def seen_at(bind: str) -> str:
    """The address of a server on its own machine."""
    return _ANY.get(bind, bind)


async def expect_server(host: Host, port: int, address: str = "127.0.0.1") -> None:
    """That somebody listens on the host's port. Raises HostUnreachable, RemoteFailed."""
    answer = await host.answers(port, address)
    where = f"{host.name}:{port}"
    if answer == "refused":
        raise HostUnreachable("nobody listens there", where=where, fix="`dm-g1 deploy` puts a model into service")
    if answer == "other":
        raise RemoteFailed("what listens there is no policy server", where=where)


def read_token(path: Path) -> str:
    """The token in a file of this machine. Raises UsageError."""
    try:
        with path.open("rb") as file:
            return _token(file.read(TOKEN_BYTES + 1), str(path))
    except OSError as error:
        raise UsageError(f"the token cannot be read: {error.strerror}", where=str(path)) from None


async def token_of(host: Host) -> str:
    """The token in the file that the host's profile names. Raises UsageError, RemoteFailed."""
    path = host.profile.serve.token_file
    assert path is not None
    chunk = await host.files.read(path, 0, TOKEN_BYTES + 1)
    return _token(chunk.data, f"{host.name}:{path}")


def _token(data: bytes, where: str) -> str:
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > TOKEN_BYTES or not text.isprintable():
        raise UsageError("holds no token: one line of text is expected", where=where)
    return text


def _said(data: dict[str, Any]) -> str:
    """All of it in a sentence."""
    seen, found = data["probe"], data["open_loop"]
    parts = [f"{data['server']} is up ({seen['dialect']}, ping {seen['ping_ms']:.1f} ms)"]
    if data["latency"]:
        alone = data["latency"][0]
        if alone["p50"] is not None:
            parts.append(f"p50 {alone['p50']:.1f} ms, {alone['per_second']:.0f} calls/s")
        failed = sum(sum(each["errors"].values()) for each in data["latency"])
        if failed:
            parts.append(f"{many(failed, 'call')} failed")
    if found is not None:
        over = many(len(found["trajectories"]), "trajectory", "trajectories")
        parts.append(f"MSE {found['mse']:.4g}, MAE {found['mae']:.4g} over {over}")
    return "; ".join(parts)
