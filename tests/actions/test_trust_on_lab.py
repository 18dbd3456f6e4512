"""A host that is not known yet, and one whose key has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from actionlab import context, failure, perform, result

from dm_isaac_g1.core.errors import ExitCode


@pytest.fixture
def known_hosts(lab: Path) -> Iterator[Path]:
    """The lab's own known_hosts, given back as it was."""
    path = lab / "known_hosts"
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


async def test_an_unknown_key_is_refused_until_somebody_agrees_to_its_fingerprint(known_hosts: Path) -> None:
    known_hosts.write_text("")
    async with context(agree=False) as (ctx, asked):
        refused = failure(await perform(ctx, "remote.gpu", host="spark"))
        assert refused.code == ExitCode.UNTRUSTED
        assert "hosts trust spark" in (refused.fix or "")
        assert failure(await perform(ctx, "hosts.trust", name="spark")).code == ExitCode.REFUSED
        assert "SHA256:" in asked.plans[0].lines[0]
        assert known_hosts.read_text() == ""
    async with context() as (ctx, _):
        trusted = result(await perform(ctx, "hosts.trust", name="spark"))
        assert trusted.data["known_hosts"] == str(known_hosts)
    async with context() as (ctx, _):
        result(await perform(ctx, "remote.gpu", host="spark"))


async def test_a_changed_key_is_never_a_question(known_hosts: Path) -> None:
    import asyncssh

    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[:2]
    lines = [line.split()[0] for line in known_hosts.read_text().splitlines()]
    known_hosts.write_text("".join(f"{name} {' '.join(other)}\n" for name in lines))
    before = known_hosts.read_bytes()
    async with context() as (ctx, asked):
        refused = failure(await perform(ctx, "hosts.trust", name="spark"))
        assert (refused.code, "CHANGED" in refused.what) == (ExitCode.UNTRUSTED, True)
        events = await perform(ctx, "hosts.list")
        assert {host["state"] for host in result(events).data["hosts"].values()} == {"refused"}
        assert not asked.plans
    assert known_hosts.read_bytes() == before


async def test_one_refused_host_does_not_hold_up_the_others(known_hosts: Path) -> None:
    lines = known_hosts.read_text().splitlines(keepends=True)
    known_hosts.write_text(lines[0])
    async with context() as (ctx, _):
        data = result(await perform(ctx, "train.list")).data
        assert len(data["silent"]) == 1
        states = {host["state"] for host in result(await perform(ctx, "hosts.list")).data["hosts"].values()}
        assert states == {"up", "refused"}
