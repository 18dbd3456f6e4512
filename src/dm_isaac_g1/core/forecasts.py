"""What the disk guard says: values only; the simulation is in `finetuning.guard`."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec


class Verdict(StrEnum):
    """FAIL: a save will not fit. TIGHT: it fits with less than the reserve left. UNKNOWN: a size is not known yet."""

    FIT = "FIT"
    TIGHT = "TIGHT"
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"


class SaveForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One save to come: free bytes before it, at its peak (before rotation) and after rotation."""

    run: str
    step: int
    #: Seconds from now; None where the run's rate is unknown.
    eta: float | None
    free_before: int
    free_at_peak: int
    free_after: int
    verdict: Verdict
    #: "checkpoint", or "final" for the model written at the end of the run.
    kind: Literal["checkpoint", "final"] = "checkpoint"


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """Something that frees space, with what it frees and what is lost by it."""

    kind: Literal["quarantine", "old-run", "checkpoint", "lower-limit", "weights-only", "hf-cache", "docker"]
    title: str
    bytes: int
    risk: Literal["none", "low", "high"]
    path: str | None = None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """The guard's word on one file system."""

    host: str
    dev: int
    mount: str
    verdict: Verdict
    avail: int
    total: int
    reserve: int
    saves: tuple[SaveForecast, ...] = ()
    #: The first save that will fail.
    failing: SaveForecast | None = None
    #: Bytes missing for the failing save.
    missing: int = 0
    #: Seconds until other writers alone fill it; None: they do not.
    full_in: float | None = None
    #: Other writers' growth, bytes a second.
    background: float = 0.0
    #: The verdict is FAIL only because saves of several runs may coincide: each fits while the others do not save.
    coincidence: bool = False
    remedies: tuple[Remedy, ...] = ()
    #: Why the verdict is what it is, one line for people.
    reason: str = ""
