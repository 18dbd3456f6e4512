"""Nothing outside a host's checkpoints is removed or renamed, whatever a job's own file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from actionlab import context, failure, perform, result
from test_actions_on_lab import checkpoints, make_checkpoint, start_command

from dm_isaac_g1.actions.allowed import roots
from dm_isaac_g1.core.errors import ExitCode


class Box:
    """A host whose checkpoints lie in /data/checkpoints."""

    def path(self, which: str) -> str:
        return f"/data/{which}"


BOX: Any = Box()


@pytest.mark.parametrize("name", ["checkpoint-5", "tmp-checkpoint-5", "broken-checkpoint-5", "checkpoint-5-best-0.1"])
def test_a_checkpoint_directly_in_an_output_elsewhere_may_go(name: str) -> None:
    assert roots(BOX, f"/big/run/{name}", "/big/run/") == ["/data/checkpoints", "/big/run"]


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("/home/me/thesis", "/home/me"),
        ("/home/me/checkpoint-5/inner", "/home/me"),
        ("/home/me/checkpoint-5x", "/home/me"),
        ("/checkpoint-5", "/"),
        ("/home/me/checkpoint-5", "/home"),
        ("/data/../etc/checkpoint-5", "/data/../etc"),
        ("etc/checkpoint-5", "etc"),
        ("//etc/checkpoint-5", "//etc"),
        ("/home/me/checkpoint-5\n", "/home/me"),
        ("/home/me/checkpoint-5", None),
    ],
)
def test_an_output_is_no_root_for_anything_else(path: str, output: str | None) -> None:
    assert roots(BOX, path, output) == ["/data/checkpoints"]


@pytest.mark.usefixtures("lab")
async def test_a_link_in_the_checkpoints_leads_no_clean_up_out_of_them(lab: Path, tmp_path: Path) -> None:
    for step in (1, 2):
        make_checkpoint(tmp_path / "precious", step)
    link = checkpoints(lab) / "way-out"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "precious")
    try:
        async with context() as (ctx, _):
            job = await start_command(ctx, "true", output_dir=str(link))
            wrong = failure(await perform(ctx, "checkpoints.clean", job_id=job.id))
        assert wrong.code == ExitCode.REFUSED
        assert (tmp_path / "precious" / "checkpoint-1").is_dir()
    finally:
        link.unlink()


@pytest.mark.usefixtures("lab")
async def test_checkpoints_of_a_job_that_saved_elsewhere_are_cleaned_up(tmp_path: Path) -> None:
    old, new = (make_checkpoint(tmp_path / "elsewhere", step) for step in (1, 2))
    async with context() as (ctx, _):
        job = await start_command(ctx, "true", output_dir=str(tmp_path / "elsewhere"))
        done = result(await perform(ctx, "checkpoints.clean", job_id=job.id)).data
    assert done["removed"] == [str(old)]
    assert not old.exists()
    assert new.is_dir()
