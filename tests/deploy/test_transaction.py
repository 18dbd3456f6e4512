"""A deploy that is killed, cut off or fails anywhere: it goes on and the new one serves, or the old one does."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sites import NEW, OLD, Faults, Killed, Memory, World, begun

from dm_isaac_g1.actions import deploy
from dm_isaac_g1.core.deployments import Release
from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.core.events import Progress
from dm_isaac_g1.deploy import record as records
from dm_isaac_g1.deploy.record import Record
from dm_isaac_g1.deploy.transaction import Ended, abandon, carry_out

FAULTS = st.builds(
    Faults,
    copy_fails=st.booleans(),
    verify_fails=st.booleans(),
    candidate_sick=st.booleans(),
    switch_fails=st.booleans(),
    port_sick=st.booleans(),
    preflight_refuses=st.booleans(),
    restore_fails=st.booleans(),
    restore_raises=st.booleans(),
    revive_fails=st.booleans(),
    drop_raises=st.booleans(),
    tidying_fails=st.booleans(),
)


def run(world: World, record: Record, faults: Faults, *, away: bool = False) -> Ended:
    site = Memory(world, faults)
    return asyncio.run(abandon(site, record, "cut off", quiet) if away else carry_out(site, record, quiet))


def quiet(progress: Progress) -> None:
    assert progress.step is not None


def found(world: World) -> Record:
    """The record as the next console reads it from the host's disk."""
    assert world.record is not None
    return records.read(world.record, "spark")


def check(world: World, faults: Faults, record: Record | None = None) -> None:
    """What must be true when nobody works on it any more."""
    record = record or begun()
    assert world.record is None
    assert not world.candidate or faults.drop_raises
    assert len(world.history) == 1
    outcome = world.history[0].outcome
    assert world.current == (NEW.id if outcome == "done" else OLD.id)
    if world.serving is None:
        assert faults.revive_fails and (faults.restore_fails or faults.restore_raises)
        assert outcome == "failed" and "old" in (world.history[0].reason or "")
    else:
        assert world.serving == world.current
    met = [name for name, step in MEETS.items() if getattr(faults, name) and step in record.steps]
    assert outcome != "done" or not met, "a fault was met, and it was put into service all the same"


#: The step at which each fault is met.
MEETS = {
    "preflight_refuses": "preflight",
    "copy_fails": "copy",
    "verify_fails": "verify",
    "drop_raises": "candidate",
    "candidate_sick": "gate",
    "switch_fails": "switch",
    "port_sick": "confirm",
}


def test_a_good_deploy_serves_and_leaves_nothing_open() -> None:
    world = World()
    ended = run(world, begun(), Faults())
    assert (ended.entry.outcome, ended.entry.outage_s, world.serving) == ("done", 1.5, NEW.id)
    assert world.sent == world.total
    check(world, Faults())


@pytest.mark.parametrize(
    ("fault", "outcome", "touched"),
    [
        ("preflight_refuses", "refused", False),
        ("copy_fails", "failed", False),
        ("verify_fails", "failed", False),
        ("candidate_sick", "failed", False),
        ("switch_fails", "rolled-back", True),
        ("port_sick", "rolled-back", True),
    ],
)
def test_a_bad_one_ends_with_the_old_one_and_says_why(fault: str, outcome: str, touched: bool) -> None:
    world = World()
    ended = run(world, begun(), Faults(**{fault: True}))
    assert (ended.entry.outcome, world.serving, world.current) == (outcome, OLD.id, OLD.id)
    assert ended.entry.reason
    assert (world.outcome is not None) == touched, "the old server was stopped although the fault was before the switch"


def test_what_fails_before_the_switch_is_no_outage() -> None:
    world = World()
    assert run(world, begun(), Faults(candidate_sick=True)).entry.outage_s is None
    assert world.dark == 0


@settings(max_examples=400, deadline=None)
@given(
    faults=FAULTS,
    deaths=st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=4),
    beside=st.booleans(),
    rollback=st.booleans(),
    forward=st.booleans(),
)
def test_killed_at_any_call_any_number_of_times_it_ends_with_one_that_serves(
    faults: Faults, deaths: list[tuple[int, bool]], beside: bool, rollback: bool, forward: bool
) -> None:
    world = World()
    record = begun(beside=beside, what="rollback" if rollback else "deploy")
    if rollback:
        world.committed.add(NEW.id)
    for die_at, after in deaths:
        faults.die_at, faults.after = die_at, after
        try:
            run(world, record, faults)
            break
        except Killed:
            if world.record is None:  # before its first record, or after all was done: nothing is open
                break
            record = found(world)
    if world.record is not None:
        faults.die_at = None
        run(world, found(world), faults, away=not forward)
    if world.history:
        check(world, faults, record)
        if forward and not any(getattr(faults, name) for name in MEETS):
            assert world.history[0].outcome == "done", "nothing was wrong with it"
    else:
        assert (world.serving, world.candidate) == (OLD.id, False)


@settings(max_examples=150, deadline=None)
@given(cut_at=st.integers(1, 25), after=st.booleans(), port_sick=st.booleans())
def test_a_lost_connection_leaves_it_open_and_it_goes_on_from_there(cut_at: int, after: bool, port_sick: bool) -> None:
    world, faults = World(), Faults(cut_at=cut_at, after=after, port_sick=port_sick)
    try:
        run(world, begun(), faults)
    except HostUnreachable:
        faults.cut_at = None
        if world.record is None:
            return
        run(world, found(world), faults)
    check(world, faults)


@settings(max_examples=100, deadline=None)
@given(die_at=st.integers(1, 25), after=st.booleans())
def test_what_was_sent_is_never_sent_again(die_at: int, after: bool) -> None:
    world = World()
    try:
        run(world, begun(), Faults(die_at=die_at, after=after))
    except Killed:
        if world.record is not None:
            run(world, found(world), Faults())
    assert world.sent <= world.total


def test_an_undoing_that_was_cut_off_is_never_turned_into_a_success() -> None:
    """Killed after the old one is back: what answers on the port is fine, and it is not the new one."""
    for die_at in range(1, 40):
        world, faults = World(), Faults(port_sick=True, die_at=die_at, after=True)
        try:
            run(world, begun(), faults)
        except Killed:
            if world.record is None:
                continue
            run(world, found(world), Faults(port_sick=True))
        assert world.serving == OLD.id
        assert [each.outcome for each in world.history] == ["rolled-back"]


def test_a_host_that_was_rebooted_serves_the_old_one_again() -> None:
    world = World()
    with pytest.raises(Killed):
        run(world, begun(), Faults(die_at=4))
    world.serving, world.candidate = None, False
    run(world, found(world), Faults(), away=True)
    assert (world.serving, world.history[0].outcome) == (OLD.id, "failed")


async def test_ctrl_c_before_the_switch_undoes_it() -> None:
    world = World()
    site = Memory(world, Faults())
    copying = asyncio.Event()

    async def copy(record: Record, tell: object) -> None:
        copying.set()
        await asyncio.sleep(60)

    site.copy = copy  # type: ignore[assignment]
    task = asyncio.ensure_future(carry_out(site, begun(), quiet))
    await copying.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (world.record, world.serving, world.history[0].reason) == (None, OLD.id, "interrupted")


def test_a_record_that_makes_no_sense_is_refused() -> None:
    from dm_isaac_g1.core.errors import RemoteFailed

    plain = records.plain(begun())
    for wrong in ({"id": "../../etc"}, {"step": "party"}, {"release": 3}, {"began": "x"}):
        with pytest.raises(RemoteFailed):
            records.read({**plain, **wrong}, "spark")
    assert records.read(plain, "spark") == begun()


@pytest.mark.parametrize("how", ["restore_fails", "restore_raises"])
def test_an_old_one_that_does_not_come_back_is_said_and_the_next_deploy_can_begin(how: str) -> None:
    world = World()
    ended = run(world, begun(), Faults(port_sick=True, revive_fails=True, **{how: True}))
    assert (ended.entry.outcome, ended.record.lost, world.record) == ("failed", True, None)
    reason = ended.entry.reason or ""
    assert "the new server failed its test on the port" in reason and "old did not come back" in reason
    world.outcome, world.history = None, []
    assert run(world, begun(id="20260101T000001-abcdef", previous=None), Faults()).entry.outcome == "done"


def test_one_that_the_exchange_could_not_bring_back_is_started_anew() -> None:
    world = World()
    ended = run(world, begun(), Faults(port_sick=True, restore_raises=True))
    assert (ended.entry.outcome, ended.record.lost, world.serving) == ("rolled-back", False, OLD.id)


def test_an_old_one_that_cannot_be_started_after_a_reboot_keeps_no_record_open() -> None:
    world = World()
    with pytest.raises(Killed):
        run(world, begun(), Faults(die_at=4))
    world.serving = None
    ended = run(world, found(world), Faults(revive_fails=True), away=True)
    assert (world.record, ended.entry.outcome, ended.record.lost) == (None, "failed", True)
    assert "could not be started again" in (ended.entry.reason or "")


def test_what_cannot_be_tidied_up_is_said_and_the_deploy_is_done() -> None:
    world, told = World(), []
    ended = asyncio.run(carry_out(Memory(world, Faults(tidying_fails=True)), begun(), told.append))
    assert (ended.entry.outcome, world.record, ended.warnings) == ("done", None, ("old-2: Permission denied",))
    assert any("not tidied up: old-2: Permission denied" in each.text for each in told)


@pytest.mark.parametrize(
    ("faults", "previous"),
    [(Faults(), OLD), (Faults(revive_fails=True), None)],
)
def test_the_next_deploy_expects_what_ending_the_last_one_put_into_service(
    faults: Faults, previous: Release | None
) -> None:
    """The host was rebooted: when the next one was planned, nothing served."""
    world = World()
    with pytest.raises(Killed):
        run(world, begun(), Faults(die_at=4))
    world.serving = None
    last = run(world, found(world), faults, away=True)
    following = deploy.after(last, begun(id="20260101T000001-abcdef", previous=None, first=True))
    assert (following.previous, following.first) == (previous, previous is None)
    assert world.serving == (previous.id if previous else None)
