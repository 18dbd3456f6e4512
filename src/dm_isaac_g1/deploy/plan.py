"""What a deploy is about to do, worked out from the facts, and said for people. Pure: nothing is asked or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from dm_isaac_g1.core import units
from dm_isaac_g1.core.deployments import DeployPlan
from dm_isaac_g1.core.units import many, size
from dm_isaac_g1.deploy import history, memory, preflight

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.preflight import Facts

#: Bytes a second at which a host's sha256 goes (hashlib, one core).
HASH_RATE = 1.2e9
#: Seconds between the old server's end and the new one's start; the model's loading comes on top.
CHANGEOVER = 1.0

Method = Literal["copy", "relay", "hub", "none"]


def plan_deploy(facts: Facts) -> DeployPlan:
    """The plan, with all problems in it. Never raises: what is wrong stands in `problems`."""
    needs = memory.needed(facts.model.weights_bytes)
    beside = facts.candidate and (facts.memory_free is None or facts.memory_free >= needs)
    load = history.load_s(facts.history, facts.releases, facts.release.kind, facts.release.bytes)
    serving = facts.current is not None or facts.foreign is not None
    return DeployPlan(
        host=facts.host,
        port=facts.port,
        how=facts.how,
        release=facts.release,
        replaces=facts.current,
        foreign=facts.foreign,
        method=cast("Method", facts.method) if facts.to_send else "none",
        files=len(facts.model.deploy_files),
        bytes=facts.release.bytes,
        to_send=facts.to_send,
        seconds=_seconds(facts, load, beside=beside),
        load_s=load,
        memory_needed=needs,
        memory_free=facts.memory_free,
        disk_free=facts.disk_free,
        beside=beside,
        outage_s=_outage(load, beside=beside, serving=serving),
        clients=facts.clients,
        serves=_serves(facts),
        problems=preflight.problems(facts),
        warnings=_warnings(facts, beside=beside, needs=needs),
    )


def _serves(facts: Facts) -> bool:
    """Whether a deploy would change nothing: the same files for the same embodiment, by a server that answers."""
    return preflight.again(facts.current, facts.release) and facts.current_ok


def _seconds(facts: Facts, load: float | None, *, beside: bool) -> float | None:
    """Seconds of all of it; None where the model's loading is not known."""
    if load is None:
        return None
    rate = history.rate(facts.history) or history.ASSUMED_RATE
    loads = 2 if beside else 1
    return facts.to_send / rate + facts.release.bytes / HASH_RATE + loads * load + CHANGEOVER


def _outage(load: float | None, *, beside: bool, serving: bool) -> float | None:
    """Seconds in which nothing serves: the new server loads on the real port once the old one has ended."""
    del beside  # the candidate is for the test; a second copy is not moved to another port
    if not serving:
        return 0.0
    return None if load is None else load + CHANGEOVER


def _warnings(facts: Facts, *, beside: bool, needs: int) -> tuple[str, ...]:
    found = []
    if facts.clients and (facts.current is not None or facts.foreign is not None):
        who = many(facts.clients, "client is", "clients are")
        found.append(f"{who} connected to port {facts.port} (a robot?) and will wait during the switch")
    if facts.unfinished is not None:
        found.append(
            f"the deploy of {facts.unfinished.release} by {facts.unfinished.by} was cut off at the step "
            f"{facts.unfinished.step}: it is ended first"
        )
    if not beside:
        why = (
            f"memory for two is lacking ({size(needs)} needed, {size(facts.memory_free)} free)"
            if facts.candidate
            else "no candidate is wanted"
        )
        found.append(f"the old server is stopped before the new one has answered: {why}")
    if preflight.again(facts.current, facts.release) and not facts.current_ok:
        found.append(f"{facts.release.id} is there already, but its server does not answer: it is started anew")
    if facts.memory_free is None:
        found.append(f"{facts.host} does not say how much memory is free; the server needs {size(needs)}")
    if facts.foreign is not None:
        found.append(f"{facts.foreign} serves there now; a later rollback cannot go back to it")
    return tuple(found)


def lines(plan: DeployPlan) -> tuple[str, ...]:
    """The plan for people: exactly what will happen, a line for each thing."""
    release = plan.release
    kept = "nothing of ours serves there now"
    if plan.serves:
        kept = f"{release.id} serves there already"
    elif plan.replaces is not None and plan.replaces.id == release.id:
        kept = "its own server" + (f", for {plan.replaces.embodiment}" if plan.replaces.embodiment else "")
    elif plan.replaces is not None:
        kept = f"{plan.replaces.id}, which stays there for a rollback"
    elif plan.foreign is not None:
        kept = plan.foreign
    clients = "not known" if plan.clients is None else many(plan.clients, "client") if plan.clients else "none"
    what = f"{release.kind}{_at(release.step)}, {many(plan.files, 'file')}, {size(release.bytes)}"
    found = [
        f"model      {release.id} ({what})",
        f"from       {release.source}",
        f"to         {plan.host}:{release.path}",
        f"to send    {_to_send(plan)}",
        f"serves as  {plan.how} on port {plan.port}" + (f" for {release.embodiment}" if release.embodiment else ""),
        f"replaces   {kept}",
        f"memory     {size(plan.memory_needed)} needed, {_free(plan.memory_free)}",
        f"disk       {_free(plan.disk_free)}",
        f"test       {'beside the old server, by a real request' if plan.beside else 'after the switch'}",
        f"clients    {clients} connected now",
        f"outage     {_span(plan)}",
        f"takes      {'about ' + units.duration(plan.seconds) if plan.seconds is not None else _unknown(plan)}",
    ]
    found += [f"note: {each}" for each in plan.warnings]
    found += [f"problem: {each}" for each in plan.problems]
    return tuple(found)


def _to_send(plan: DeployPlan) -> str:
    if not plan.to_send:
        return "nothing: all of it is there"
    how = {
        "copy": "straight from host to host",
        "relay": "through this machine",
        "hub": "from this machine's cache of the Hub",
    }
    return f"{size(plan.to_send)} of {size(plan.bytes)}, {how.get(plan.method, plan.method)}"


def _span(plan: DeployPlan) -> str:
    if plan.replaces is None and plan.foreign is None:
        return "none: nothing serves there now"
    if plan.outage_s is None:
        return "while the model loads on the port, and at most 1 s more (not measured there yet)"
    return f"about {units.duration(plan.outage_s)}, while the model loads on the port"


def _unknown(plan: DeployPlan) -> str:
    sending = plan.to_send / history.ASSUMED_RATE
    return f"about {units.duration(sending)} to send at 100 MB/s, and twice the model's loading"


def _at(step: int | None) -> str:
    return "" if step is None else f", step {step}"


def _free(count: int | None) -> str:
    return "how much is free is not known" if count is None else f"{size(count)} free"
