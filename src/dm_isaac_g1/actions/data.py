"""Datasets: get one, turn it into another, check it, repair it, compute its statistics.

Each works where its files lie (`registry.Placed`): here, on a host, or detached there. Paths are relative to the
working folder here, and to the host's datasets folder there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.registry import Placed, action
from dm_isaac_g1.actions.working import Working, need
from dm_isaac_g1.core import paths
from dm_isaac_g1.core.errors import ExitCode, UsageError
from dm_isaac_g1.core.events import Event, Result
from dm_isaac_g1.core.units import many

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.data.problems import Finding
    from dm_isaac_g1.data.repair import RepairPlan
    from dm_isaac_g1.data.stats.compute import StatsResult
    from dm_isaac_g1.data.validate.result import ValidationResult
    from dm_isaac_g1.data.work import Work

SET: dict[str, Any] = {"names": "dataset"}
Dataset = Annotated[str, Meta(description="The dataset's folder.", extra=SET)]
#: Findings that a result brings along.
SHOWN = 200


def folder(text: str) -> Path:
    """A path as the user wrote it, where this process runs."""
    return paths.expanded(text)


#: Stands for all seven of Unitree's hospitality sets.
HOSPITALITY = "hospitality"


class DownloadParams(Placed, frozen=True, kw_only=True):
    repo: Annotated[
        str, Meta(description=f"The dataset on the Hub as OWNER/NAME, or `{HOSPITALITY}` for all of Unitree's seven.")
    ]
    output: Annotated[
        str | None, Meta(description="The folder to make; the repo's own name otherwise. Of all seven: around them.")
    ] = None
    subset: Annotated[
        str | None,
        Meta(
            description="Only these, separated by commas: episodes (7, 0-9, 0:10), patterns of file names "
            "(videos/*cam_left_high*), or one folder of a repo that holds several datasets."
        ),
    ] = None
    revision: Annotated[str | None, Meta(description="A branch, tag or commit; the newest otherwise.")] = None
    meta_only: Annotated[bool, Meta(description="Only meta/, to see what is in it.")] = False


@action(
    "data.download",
    title="Download a dataset",
    params=DownloadParams,
    key="g",
    needs_profile="if-any",
    secrets=("HF_TOKEN",),
    resumes=True,
)
async def download(ctx: Context, params: DownloadParams) -> AsyncIterator[Event]:
    """Download a dataset from the Hugging Face Hub, pinned to the revision that it has now.

    The size is known and the disk checked before anything is fetched; the same command goes on where a former one
    ended. Gated repos need HF_TOKEN or `hf auth login`: --on sends your HF_TOKEN along, --detach uses the host's own.
    """
    need("huggingface_hub", "pyarrow")
    if params.repo == HOSPITALITY and (params.subset or params.revision):
        said = ctx.option("subset" if params.subset else "revision")
        raise UsageError(f"{said} is for one repo, and {HOSPITALITY} means seven", fix="download them one by one")
    secret = ctx.config.secret("HF_TOKEN") if ctx.config else None
    work = Working(lambda work: _download(params, secret.reveal() if secret else None, work))
    async with aclosing(work.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    made = [str(each) for each in work.result]
    yield Result(
        text=f"Downloaded {params.repo} to {', '.join(made)}",
        data={"path": made[0], "paths": made, "repo": params.repo},
    )


def _download(params: DownloadParams, token: str | None, work: Work) -> list[Path]:
    if params.repo == HOSPITALITY:
        from dm_isaac_g1.data.hub.hospitality import download_all_hospitality

        return download_all_hospitality(
            folder(params.output or "."), meta_only=params.meta_only, token=token, work=work
        )
    from dm_isaac_g1.data.hub.download import download_dataset

    output = folder(params.output or params.repo.rstrip("/").rpartition("/")[2])
    return [
        download_dataset(
            params.repo,
            output,
            params.subset,
            params.revision,
            meta_only=params.meta_only,
            token=token,
            work=work,
        )
    ]


class ValidateParams(Placed, frozen=True, kw_only=True):
    path: Dataset
    deep: Annotated[bool, Meta(description="Look at every row and every video's packets, not at structure alone.")] = (
        False
    )
    reader: Annotated[
        Literal["groot-n1.6", "lerobot"] | None,
        Meta(description="Also insist on what this reader does.", extra={"option": "for"}),
    ] = None


@action("data.validate", title="Check a dataset", params=ValidateParams, needs_profile=False)
async def validate(ctx: Context, params: ValidateParams) -> AsyncIterator[Event]:
    """Check a dataset: every problem with its place and, where there is one, the command that repairs it.

    The exit code is 1 where it is not valid.
    """
    del ctx
    need("pyarrow", "av")

    def check(work: Work) -> ValidationResult:
        from dm_isaac_g1.data.validate import validate_dataset

        return validate_dataset(folder(params.path), deep=params.deep, reader=params.reader, work=work)

    work = Working(check)
    async with aclosing(work.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    found = work.result
    yield Result(
        text=verdict(params.path, found.errors, found.warnings),
        data={
            "path": params.path,
            "valid": found.valid,
            "deep": params.deep,
            "errors": found.errors,
            "warnings": found.warnings,
            "episodes": found.episodes,
            "frames": found.frames,
            "videos": found.videos,
            "seconds": found.seconds,
            "findings": told(found.findings),
            "left_out": max(0, len(found.findings) - SHOWN) + sum(found.hidden.values()),
        },
        code=ExitCode.DONE if found.valid else ExitCode.FAILED,
    )


def verdict(path: str, errors: int, warnings: int) -> str:
    """The one sentence of a validation."""
    valid = not errors
    counts = [many(count, word) for count, word in ((errors, "error"), (warnings, "warning")) if count]
    return f"{path} is {'valid' if valid else 'not valid'}" + (f": {', '.join(counts)}" if counts else "")


def told(findings: Any) -> list[dict[str, Any]]:
    """Findings for scripts and tables; the place both in parts and in words."""
    shown: list[Finding] = list(findings)[:SHOWN]
    return [{**msgspec.to_builtins(each), "where": str(each.place)} for each in shown]


class RepairParams(Placed, frozen=True, kw_only=True):
    path: Dataset
    tasks: Annotated[
        tuple[str, ...],
        Meta(
            description="The instruction of task 0, 1, ..., where it stands nowhere in the dataset.",
            extra={"option": "task", "commas": False},
        ),
    ] = ()
    retime: Annotated[bool, Meta(description="Set timestamps that are off, from the frame rate.")] = False
    dry_run: Annotated[bool, Meta(description="Only say what would be done.")] = False


@action("data.repair", title="Repair a dataset", params=RepairParams, needs_profile=False)
async def repair(ctx: Context, params: RepairParams) -> AsyncIterator[Event]:
    """Repair what can be repaired without guessing: missing meta files, misnamed video folders, half a split.

    Nothing that is there is overwritten.
    """
    del ctx
    need("pyarrow")

    def look(work: Work) -> RepairPlan:
        from dm_isaac_g1.data.repair import plan_repair

        return plan_repair(folder(params.path), tasks=params.tasks, retime=params.retime, work=work)

    def carry_out(work: Work) -> None:
        from dm_isaac_g1.data.repair import repair

        repair(plan, work)

    planning = Working(look)
    async with aclosing(planning.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    plan = planning.result
    lines = list(plan.lines)
    data: dict[str, Any] = {"path": params.path, "lines": lines, "dry_run": params.dry_run}
    if params.dry_run or not lines:
        yield Result(text=f"Would do {many(len(lines), 'thing')}" if lines else "Nothing to repair", data=data)
        return
    doing = Working(carry_out)
    async with aclosing(doing.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    yield Result(text=f"Repaired {params.path}: {many(len(lines), 'thing')} done", data=data)


class StatsParams(Placed, frozen=True, kw_only=True):
    path: Dataset
    horizon: Annotated[int, Meta(description="Steps of an action chunk, for the relative statistics.", gt=0)] = 30
    images: Annotated[bool, Meta(description="Also of the pictures, for LeRobot: decodes frames of every video.")] = (
        False
    )


@action("data.stats", title="Compute a dataset's statistics", params=StatsParams, needs_profile=False)
async def stats(ctx: Context, params: StatsParams) -> AsyncIterator[Event]:
    """Compute meta/stats.json, and what else a reader wants: relative_stats.json for GR00T's relative actions,
    episodes_stats.jsonl for LeRobot v2.1. Statistics of another horizon or of other data are replaced.
    """
    del ctx
    need("pyarrow", *(("av",) if params.images else ()))

    def compute(work: Work) -> StatsResult:
        from dm_isaac_g1.data.stats.compute import compute_stats

        return compute_stats(folder(params.path), horizon=params.horizon, images=params.images, work=work)

    work = Working(compute)
    async with aclosing(work.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    made = work.result
    data = {
        "path": params.path,
        "files": list(made.files),
        "horizon": made.horizon,
        "relative": list(made.relative),
        "episodes": made.episodes,
        "frames": made.frames,
        "findings": told(made.findings),
    }
    steps = f"; {', '.join(made.relative)} relative, {made.horizon} steps" if made.relative else ""
    yield Result(text=f"Computed the statistics of {params.path}: {', '.join(made.files)}{steps}", data=data)
