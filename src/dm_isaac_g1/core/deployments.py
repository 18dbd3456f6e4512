"""What serves on a host, as the console and the command line show it: the release, its health, and what was before."""

from __future__ import annotations

from typing import Literal

import msgspec

#: The steps of a deploy, in their order; each is on the host's disk before the next begins.
Step = Literal["plan", "preflight", "copy", "verify", "candidate", "gate", "switch", "confirm"]
STEPS: tuple[Step, ...] = ("plan", "preflight", "copy", "verify", "candidate", "gate", "switch", "confirm")
#: Label of jobs and containers that serve a release, which they name.
RELEASE_LABEL = "dm-g1.release"
#: How a deploy ended. `refused`: before anything was changed.
Outcome = Literal["done", "rolled-back", "failed", "refused"]
#: `busy`: the port is open and a ping waits behind a get_action; it is not dead. `foreign`: something serves that no
#: deploy of ours put there.
ServeState = Literal["serving", "busy", "loading", "unhealthy", "down", "foreign", "none", "unknown"]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it lies on a serve host, ready to be served. `id`: <name>-<first 12 digits of `digest`>."""

    id: str
    name: str
    #: sha256 of the manifest: the same files have the same digest, wherever they come from.
    digest: str
    #: "groot-n1.6", "bc", "torchscript", "onnx".
    kind: str
    #: Absolute, as the server that loads it sees it.
    path: str
    bytes: int = 0
    #: HOST:PATH of the checkpoint, or hub:OWNER/NAME@REVISION.
    source: str = ""
    embodiment: str | None = None
    step: int | None = None
    #: Seconds since the epoch when it was copied.
    created: float = 0.0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a server found. `passed`: the last rung that it reached. Times in milliseconds."""

    ok: bool
    passed: Literal["nothing", "port", "greeting", "ping", "action"] = "nothing"
    problem: str | None = None
    ping_ms: float | None = None
    action_ms: float | None = None
    #: "nested", "flat", "n1.5" or "http".
    dialect: str | None = None
    checked: float = 0.0


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What a server of ours says of its requests; other servers do not say."""

    requests: int = 0
    errors: int = 0
    #: Over the last ten seconds.
    per_second: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One ended deploy or rollback, a line of the host's deploys.jsonl."""

    id: str
    at: float
    what: Literal["deploy", "rollback", "resume"]
    release: str
    previous: str | None = None
    outcome: Outcome
    #: Seconds in which nothing served.
    outage_s: float | None = None
    seconds: float | None = None
    bytes_sent: int | None = None
    #: Of `seconds`: sending those bytes, and the new model's loading. None: not done, or not measured.
    copy_s: float | None = None
    load_s: float | None = None
    by: str = ""
    #: Why it was rolled back or failed, on one line.
    reason: str | None = None


class DeployPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy is about to do, before anything is changed: the result of a dry run, as its data's "plan"."""

    host: str
    port: int
    #: As `Deployment.how`.
    how: str
    #: What will serve; its path is where it will lie.
    release: Release
    replaces: Release | None = None
    #: Something serves there that no deploy of ours put there: what, in a few words.
    foreign: str | None = None
    #: "copy" host to host, "relay" through the console's machine, "none": all of it is there.
    method: Literal["copy", "relay", "hub", "none"] = "copy"
    files: int = 0
    #: Of those files, and what of it the host does not have yet.
    bytes: int = 0
    to_send: int = 0
    #: Seconds: of all of it, and of the model's loading; None: not known.
    seconds: float | None = None
    load_s: float | None = None
    #: Bytes that the new server needs, and that are there now; None: not known.
    memory_needed: int | None = None
    memory_free: int | None = None
    disk_free: int | None = None
    #: The new server stands the test beside the old one; False: the old one is stopped before.
    beside: bool = True
    #: Seconds in which nothing will serve.
    outage_s: float | None = None
    #: Clients connected to the port now; None: not known.
    clients: int | None = None
    #: That very release serves already.
    serves: bool = False
    #: Why it cannot begin, a sentence each; none: it can.
    problems: tuple[str, ...] = ()
    #: What one should know all the same.
    warnings: tuple[str, ...] = ()


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """A deploy that has not ended: one is at work, or was cut off (`lease` is over)."""

    id: str
    step: Step
    release: str
    by: str
    began: float
    #: Seconds since the epoch until which its console vouches for it.
    lease: float


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What serves on one host, and all that was put into service there before."""

    host: str
    port: int
    #: "process", "container", "release" or "compose"; with the container's name: "container groot-server".
    how: str = ""
    state: ServeState = "unknown"
    problem: str | None = None
    current: Release | None = None
    #: Seconds since the epoch; of the server that runs.
    since: float | None = None
    health: Health | None = None
    traffic: Traffic | None = None
    #: Clients connected to the port now (robots); None: not known.
    clients: int | None = None
    #: On the host, newest first: what a rollback can go to.
    releases: tuple[Release, ...] = ()
    #: Newest first.
    history: tuple[HistoryEntry, ...] = ()
    unfinished: Unfinished | None = None
