"""The jobs of a host: an event for each when it appears and whenever something of it changed that anybody sees.

A server that a deploy started is a job, too, and no run: `monitors/deployments.py` tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.deployments import RELEASE_LABEL
from dm_isaac_g1.core.events import Event, Job
from dm_isaac_g1.core.runs import Diagnosis, JobInfo

if TYPE_CHECKING:
    from dm_isaac_g1.fleet.store import RunView
    from dm_isaac_g1.remote.host import Host


async def watch_jobs(
    host: Host,
    runs: Mapping[str, RunView],
    diagnoses: Mapping[str, Diagnosis],
    apply: Callable[[Event], None],
    told: Callable[[], None],
) -> None:
    """Feed `apply` with the host's jobs for ever; `told` is called after each list. `diagnoses` are ours, by job id."""
    async for jobs in host.jobs.changes():
        for job in jobs:
            if RELEASE_LABEL in job.spec.labels:
                continue
            job = with_diagnosis(job, diagnoses)
            known = runs.get(job.id)
            if known is None or differs(known.job, job):
                apply(Job(job=job))
        told()


def with_diagnosis(job: JobInfo, diagnoses: Mapping[str, Diagnosis]) -> JobInfo:
    """The job with the cause that was found for it; what the host itself says of it comes first."""
    found = diagnoses.get(job.id)
    return msgspec.structs.replace(job, diagnosis=found) if found and job.diagnosis is None else job


def differs(before: JobInfo, now: JobInfo) -> bool:
    """Whether anything changed but the log's length, which changes with every line."""
    return msgspec.structs.replace(before, log_bytes=0) != msgspec.structs.replace(now, log_bytes=0)
