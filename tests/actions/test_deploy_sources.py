"""Which model a user's words mean, and what its release is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from dm_isaac_g1.actions import deploy_sources
from dm_isaac_g1.actions.context import Context
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.profile import Host, Profile

FLEET = Profile(name="fleet", hosts={"workstation": Host(ssh="nowhere.invalid", roles=("train",))})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/c/pick-apple/checkpoint-300", "pick-apple-checkpoint-300"),
        ("/c/20260101T010203-bc-5c1f2a/checkpoint-300/", "bc-5c1f2a-checkpoint-300"),
        ("/c/run/checkpoint-300-best-0.1", "run-checkpoint-300-best-0.1"),
        ("/models/GR00T-N1.6-G1", "GR00T-N1.6-G1"),
        ("/", "model"),
    ],
)
def test_a_release_is_called_after_its_run(path: str, name: str) -> None:
    assert deploy_sources.called(path) == name


async def test_a_folder_of_this_machine_needs_no_host(tmp_path: Path) -> None:
    from servedmodels import groot_checkpoint

    folder = groot_checkpoint(tmp_path / "run" / "checkpoint-7")
    async with Context(FLEET, None) as ctx:
        chosen = await deploy_sources.named(ctx, str(folder), None)
    assert (chosen.host, chosen.name, chosen.facts.kind) == (None, "run-checkpoint-7", "groot-n1.6")
    assert (chosen.source.host, chosen.source.folder) == (None, str(folder))
    assert "optimizer.pt" not in chosen.source.files and "statistics.json" in chosen.source.files


async def test_a_host_that_the_profile_does_not_have_is_said_without_a_connection() -> None:
    async with Context(FLEET, None) as ctx:
        with pytest.raises(UsageError, match="did you mean workstation"):
            await deploy_sources.named(ctx, "workstatoin:/c/run/checkpoint-7", None)


async def test_two_words_for_where_it_lies_must_agree() -> None:
    profile = Profile(name="fleet", hosts={**FLEET.hosts, "spark": Host(ssh="nowhere.invalid")})
    async with Context(profile, None, dashes=True) as ctx:
        with pytest.raises(UsageError, match="--from says spark"):
            await deploy_sources.named(ctx, "workstation:/c/run/checkpoint-7", "spark")
