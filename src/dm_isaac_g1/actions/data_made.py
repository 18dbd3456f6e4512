"""Datasets made from others: converted, split, combined. What is made has its name only once all of it is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.data import SET, folder, told
from dm_isaac_g1.actions.registry import Placed, action
from dm_isaac_g1.actions.working import Working, need
from dm_isaac_g1.core.events import Event, Result
from dm_isaac_g1.core.units import many

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.data.problems import Finding
    from dm_isaac_g1.data.work import Work


class Made(Protocol):
    """What every function that makes a dataset says of it."""

    @property
    def path(self) -> Path: ...
    @property
    def episodes(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def findings(self) -> tuple[Finding, ...]: ...


Input = Annotated[str, Meta(description="The dataset to read.", extra=SET)]
Output = Annotated[str, Meta(description="The dataset to write: a folder that is not there yet.")]
Format = Literal["groot", "inspire", "v3.0", "v2.1"]


class ConvertParams(Placed, frozen=True, kw_only=True):
    input: Input
    output: Output
    format: Annotated[
        Format,
        Meta(
            description="UNITREE_G1's 31/23 layout for GR00T, 53 joints with Inspire hands, or another LeRobot version."
        ),
    ]
    hand: Annotated[
        Literal["gripper", "dex3", "trifinger", "inspire26", "brainco26", "inspire12"] | None,
        Meta(description="The hand in the input, where its names do not tell."),
    ] = None
    ego_camera: Annotated[str | None, Meta(description="The camera that becomes ego_view, for --format groot.")] = None
    keep_cameras: Annotated[bool, Meta(description="Keep the other cameras, too.")] = False
    body: Annotated[Literal["standing", "straight"], Meta(description="The legs, where the input has none.")] = (
        "standing"
    )
    grasp: Annotated[
        Literal["pinch", "power"], Meta(description="A closed gripper as Inspire fingers: tips that meet, or a fist.")
    ] = "pinch"
    gripper_open: Annotated[float, Meta(description="What the input's gripper reads when open.")] = 5.4
    gripper_closed: Annotated[float, Meta(description="What it reads when closed.")] = 0.0
    free_fingers: Annotated[
        Literal["follow", "open"], Meta(description="Fingers that the input's hand does not have.")
    ] = "follow"
    drop_episodes: Annotated[
        tuple[int, ...], Meta(description="Leave these episodes out.", extra={"option": "drop-episode"})
    ] = ()
    renumber: Annotated[bool, Meta(description="Number the episodes anew where some are missing.")] = False
    retime: Annotated[bool, Meta(description="Write timestamps anew from the frame rate.")] = False
    allow_clip: Annotated[bool, Meta(description="Also where more than 20 % of a joint's values are clipped.")] = False


@action("data.convert", title="Convert a dataset", params=ConvertParams, needs_profile=False, resumes=True)
async def convert(ctx: Context, params: ConvertParams) -> AsyncIterator[Event]:
    """Convert a dataset to another layout or LeRobot version. Videos are linked or cut, never encoded again.

    meta/conversion.json says what was done. The same command goes on where a former one ended.
    """
    del ctx
    need("pyarrow", "av")
    options = {
        name: value
        for name, value in msgspec.structs.asdict(params).items()
        if name not in ("input", "output", *Placed.__struct_fields__)
    }

    def make(work: Work) -> Any:
        from dm_isaac_g1.data.convert import convert

        return convert(folder(params.input), folder(params.output), **options, work=work)

    work = Working(make)
    async with aclosing(work.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    made = work.result
    yield _made(f"Converted {params.input} to", made, kept=made.kept, clipped=made.clipped)


class SplitParams(Placed, frozen=True, kw_only=True):
    input: Input
    output: Output


@action("data.split", title="Split a dataset into episodes", params=SplitParams, needs_profile=False, resumes=True)
async def split(ctx: Context, params: SplitParams) -> AsyncIterator[Event]:
    """Split parquet files of many episodes into one file an episode, by their episode_index column."""
    del ctx
    need("pyarrow", "av")

    def make(work: Work) -> Any:
        from dm_isaac_g1.data.split import split

        return split(folder(params.input), folder(params.output), work=work)

    work = Working(make)
    async with aclosing(work.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    yield _made(f"Split {params.input} into", work.result)


class CombineParams(Placed, frozen=True, kw_only=True):
    inputs: Annotated[
        tuple[str, ...],
        Meta(description="A dataset to read.", min_length=1, extra={**SET, "option": "input", "commas": False}),
    ]
    output: Output
    weights: Annotated[
        tuple[float, ...],
        Meta(description="How much each is to count in a mixture, of any scale; noted in meta/combined.json."),
    ] = ()
    episodes: Annotated[
        tuple[str, ...],
        Meta(
            description='Which episodes: "0:50,60" for all inputs, or one such text for each of them.',
            extra={"commas": False},
        ),
    ] = ()


@action("data.combine", title="Combine datasets", params=CombineParams, needs_profile=False, resumes=True)
async def combine(ctx: Context, params: CombineParams) -> AsyncIterator[Event]:
    """Combine datasets into one: tasks are united by their text, indices rewritten, what does not fit is refused."""
    del ctx
    need("pyarrow")

    def make(work: Work) -> Any:
        from dm_isaac_g1.data.combine import combine

        return combine(
            [folder(each) for each in params.inputs],
            folder(params.output),
            weights=params.weights or None,
            episodes=params.episodes or None,
            work=work,
        )

    work = Working(make)
    async with aclosing(work.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    yield _made(f"Combined {many(len(params.inputs), 'dataset')} into", work.result, tasks=work.result.tasks)


def _made(what: str, made: Made, **more: Any) -> Result:
    """The result of an action that made a dataset."""
    size = f"{many(made.episodes, 'episode')}, {many(made.frames, 'frame')}"
    data = {"path": str(made.path), "episodes": made.episodes, "frames": made.frames, "findings": told(made.findings)}
    return Result(text=f"{what} {made.path}: {size}", data={**data, **more})
