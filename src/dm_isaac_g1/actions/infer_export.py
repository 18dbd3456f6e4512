"""GR00T's own scripts as jobs: a model as ONNX, as a TensorRT engine, and how fast each of them is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from dm_isaac_g1.actions.infer_serve import model_path
from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.actions.train import HostName
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.events import Event, Job, Progress, Result

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.inference.export import Command
    from dm_isaac_g1.inference.models import ModelFacts
    from dm_isaac_g1.remote.host import Host

Model = Annotated[
    str, Meta(description="A GR00T checkpoint on the host: absolute, or under its checkpoints or models.")
]
Embodiment = Annotated[
    str | None, Meta(description="GR00T's embodiment tag; the profile's, or the only one that the model knows.")
]


class ExportParams(Params, frozen=True, kw_only=True):
    host: HostName = None
    model: Model
    format: Annotated[
        Literal["onnx", "tensorrt"],
        Meta(description="tensorrt builds an engine from what an export to onnx has written, for this host's GPU."),
    ] = "onnx"
    dataset: Annotated[
        str | None,
        Meta(
            description="For onnx: a dataset on the host; its first observation gives the shapes.",
            extra={"names": "dataset"},
        ),
    ] = None
    embodiment: Embodiment = None
    precision: Annotated[Literal["fp32", "fp16", "bf16", "fp8"], Meta(description="Of a TensorRT engine.")] = "bf16"
    workspace_mb: Annotated[int, Meta(description="MiB that TensorRT may use while it builds.", ge=1)] = 8192


@action("infer.export", title="Export a model", params=ExportParams, needs_host="serve")
async def export(ctx: Context, params: ExportParams) -> AsyncIterator[Event]:
    """Export a GR00T model to ONNX, or build a TensorRT engine of it, by GR00T's own scripts as a job on a host.

    Both lie in exports/ under the host's models folder. An engine runs on the kind of GPU that built it.
    """
    from dm_isaac_g1.inference import export as scripts

    host, path, facts = await _model(ctx, params.host, params.model)
    output = scripts.folder(host.path("models"), facts.name)
    if params.format == "onnx":
        if params.dataset is None:
            raise UsageError("the shapes come from a dataset", fix=f"name one: {ctx.option('dataset')}")
        dataset = await _dataset(host, params.dataset)
        command = scripts.export_onnx(host.profile, path, dataset, output, _tag(host, facts, params.embodiment))
    else:
        onnx = f"{output}/{scripts.ONNX_FILE}"
        if await host.files.stat(onnx) is None:
            fix = f"first: `dm-g1 infer export --host {host.name} --model {params.model} --dataset ...`"
            raise UsageError(f"no {onnx}", where=host.name, fix=fix)
        command = scripts.build_engine(host.profile, onnx, params.precision, params.workspace_mb)
    yield Progress(text=f"It writes {command.output}")
    async for event in _start(ctx, host, command, f"export-{params.format}-{facts.name}"):
        yield event


class BenchmarkParams(Params, frozen=True, kw_only=True):
    host: HostName = None
    model: Model
    dataset: Annotated[
        str | None,
        Meta(description="A dataset on the host; else the one in GR00T's checkout.", extra={"names": "dataset"}),
    ] = None
    embodiment: Embodiment = None
    engine: Annotated[str | None, Meta(description="A TensorRT engine on the host to measure, too.")] = None
    iterations: Annotated[int, Meta(description="Timed calls.", ge=1)] = 20
    warm_up: Annotated[int, Meta(description="Calls before them.", ge=0)] = 5
    skip_compile: Annotated[bool, Meta(description="Leave torch.compile out: it compiles for minutes.")] = False
    whole_trajectory: Annotated[bool, Meta(description="All observations of an episode, not the first alone.")] = False


@action("infer.benchmark", title="Benchmark a model", params=BenchmarkParams, needs_host="serve")
async def benchmark(ctx: Context, params: BenchmarkParams) -> AsyncIterator[Event]:
    """Time a GR00T model by GR00T's own script, as a job on a host: PyTorch, torch.compile, TensorRT, part by part.

    Without a server and a network in between; `dm-g1 infer test` measures those.
    """
    from dm_isaac_g1.inference import export as scripts

    host, path, facts = await _model(ctx, params.host, params.model)
    command = scripts.benchmark(
        host.profile,
        path,
        _tag(host, facts, params.embodiment),
        dataset=await _dataset(host, params.dataset) if params.dataset is not None else None,
        engine=await _engine(host, params.engine) if params.engine is not None else None,
        iterations=params.iterations,
        warm_up=params.warm_up,
        skip_compile=params.skip_compile,
        whole_trajectory=params.whole_trajectory,
    )
    async for event in _start(ctx, host, command, f"benchmark-{facts.name}"):
        yield event


async def _model(ctx: Context, name: str | None, model: str) -> tuple[Host, str, ModelFacts]:
    """The host, and the model on it. Raises RefusedError where GR00T's scripts could not load it."""
    from dm_isaac_g1.inference.export import check
    from dm_isaac_g1.inference.models import read_on_host

    host = await ctx.host(ctx.name_for(name, "serve"))
    path = await model_path(host, model)
    facts = await read_on_host(host.files, path)
    check(facts)
    return host, path, facts


def _tag(host: Host, facts: ModelFacts, wanted: str | None) -> str:
    """The embodiment tag's NAME. Raises UsageError, RefusedError."""
    from dm_isaac_g1.inference.serving import choose_embodiment

    tag = choose_embodiment(facts, wanted or host.profile.serve.embodiment)
    if tag is None:
        raise UsageError("the checkpoint names no embodiment", where=facts.name, fix="say which with --embodiment")
    return tag


async def _dataset(host: Host, text: str) -> str:
    """A dataset's folder there. Raises UsageError."""
    from dm_isaac_g1.finetuning.trainers.compose import under

    path = under(host.path("datasets"), text, "dataset")
    if await host.files.stat(f"{path}/meta/info.json") is None:
        raise UsageError(f"no dataset {path}", where=host.name, fix=f"`dm-g1 data list --on {host.name}` shows them")
    return path


async def _engine(host: Host, text: str) -> str:
    from dm_isaac_g1.finetuning.trainers.compose import under

    path = under(f"{host.path('models')}/exports", text, "engine")
    if await host.files.stat(path) is None:
        raise UsageError(f"no engine {path}", where=host.name, fix="`dm-g1 infer export --format tensorrt` builds one")
    return path


async def _start(ctx: Context, host: Host, command: Command, name: str) -> AsyncIterator[Event]:
    from dm_isaac_g1.core.runs import JobSpec
    from dm_isaac_g1.remote.jobs import new_job_id

    now = time.time()
    spec = JobSpec(
        id=new_job_id(name, now),
        name=name,
        kind="command",
        argv=command.argv,
        cwd=command.cwd,
        env=command.env,
        created=now,
        user=ctx.by,
        client="dm-g1",
    )
    job = await host.jobs.start(spec)
    yield Job(job=job)
    yield Progress(text=f"`dm-g1 train logs --job-id {job.id} --follow` shows how it goes")
    data = {"id": job.id, "host": host.name, "argv": list(spec.argv), "cwd": spec.cwd, "output": command.output}
    yield Result(text=f"Started {job.id} on {host.name}", data=data)
