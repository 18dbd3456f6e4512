"""Scenes: stores as a real fleet fills them, at a moment that never changes. Tests, pictures and benches share them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.forecasts import Forecast, Remedy, SaveForecast, Verdict
from dm_isaac_g1.core.profile import Defaults, Host, Profile
from dm_isaac_g1.core.runs import (
    Checkpoint,
    Diagnosis,
    JobExit,
    JobInfo,
    JobSpec,
    JobState,
    MetricPoint,
    SavePlan,
    StopRequest,
)
from dm_isaac_g1.core.samples import Disk, Gpu, HostSample, Memory
from dm_isaac_g1.fleet.store import Store

#: 20 November 2026, 14:03:20 UTC.
NOW = 1_795_183_400.0
GB = 10**9
GIB = 2**30

PROFILE = Profile(
    name="lab",
    hosts={
        "workstation": Host(ssh="workstation", roles=("train", "sim")),
        "spark": Host(ssh="spark", roles=("serve",)),
    },
    defaults=Defaults(theme="dm-dark", train_host="workstation", recipe="g1-reach-bc"),
)

RUN = "20261120T122512-g1-pick-n16-4fa21c"
DONE = "20261119T181044-g1-reach-bc-90be17"
FULL = "20261119T093001-g1-fold-n16-c0ffee"


def workstation(seq: int = 0, **changes: Any) -> HostSample:
    """An RTX PRO 6000 workstation under load; figures wander as real ones do."""
    wave = 92 + 5 * math.sin(seq / 7) - (70 if seq % 97 < 6 else 0)
    gpu = Gpu(
        index=0,
        uuid="GPU-5d3c",
        name="NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        driver="580.95.05",
        util=max(0.0, min(100.0, wave)),
        mem_used=61_240 * 2**20,
        mem_total=97_887 * 2**20,
        temp_c=71,
        power_w=512,
        power_limit_w=600,
        sm_mhz=2340,
        sm_max_mhz=3090,
    )
    sample = HostSample(
        host="workstation",
        seq=seq,
        t_mono=seq,
        t_wall=NOW - 600 + seq,
        cpu=34.0 + 8 * math.sin(seq / 11),
        load1=11.4,
        cpus=32,
        memory=Memory(total=270 * GB, available=188 * GB - seq * 10_000_000, free=61 * GB),
        gpus=(gpu,),
        gpu_state="ok",
        disks=(
            Disk(dev=66306, mount="/workspace", total=1968 * GB, avail=412 * GB, paths=("workspace", "checkpoints")),
            Disk(dev=66305, mount="/", total=490 * GB, avail=221 * GB, paths=("caches",)),
        ),
    )
    return _changed(sample, changes)


def spark(seq: int = 0, **changes: Any) -> HostSample:
    """A DGX Spark: one pool for CPU and GPU, no power limit, no fan."""
    gpu = Gpu(
        index=0,
        uuid="GPU-9a11",
        name="NVIDIA GB10",
        driver="580.126.09",
        util=max(0.0, 18 + 14 * math.sin(seq / 5)),
        unified=True,
        temp_c=52,
        power_w=10.8,
        sm_mhz=2405,
        sm_max_mhz=3003,
    )
    sample = HostSample(
        host="spark",
        seq=seq,
        t_mono=seq,
        t_wall=NOW - 600 + seq,
        cpu=4.0,
        load1=0.6,
        cpus=20,
        memory=Memory(total=128 * GB, available=76 * GB, free=31 * GB, gpu=39 * GB),
        gpus=(gpu,),
        gpu_state="ok",
        disks=(Disk(dev=259, mount="/", total=3840 * GB, avail=2960 * GB, paths=("workspace", "models")),),
    )
    return _changed(sample, changes)


def _changed(sample: HostSample, changes: dict[str, Any]) -> HostSample:
    import msgspec

    return msgspec.structs.replace(sample, **changes)


def job(
    id: str = RUN,
    *,
    state: JobState = JobState.RUNNING,
    host: str = "workstation",
    steps: int = 10_000,
    started: float = NOW - 5890,
    ended: float | None = None,
    **changes: Any,
) -> JobInfo:
    name = "-".join(id.split("-")[1:-1]) or id
    spec = JobSpec(
        id=id,
        name=name,
        kind="train",
        argv=("python", "-m", "train"),
        cwd="/workspace",
        trainer="groot-n1.6",
        output_dir=f"/workspace/checkpoints/{id}",
        save=SavePlan(save_steps=1000, max_steps=steps, limit=5, checkpoint_bytes=22 * GB, weights_bytes=6 * GB),
        created=started - 2,
        user="lea@laptop",
    )
    return JobInfo(
        host=host, spec=spec, folder=f"/workspace/jobs/{id}", state=state, started=started, ended=ended, **changes
    )


def curve(
    run: str, steps: int, *, every: int = 10, until: float = NOW - 3, per_step: float = 0.96, seed: int = 7
) -> ev.Metrics:
    """A loss that falls as a flow-matching fine-tune's does: fast, then slowly, with noise that shrinks."""
    draw = random.Random(seed)
    points = []
    for step in range(every, steps + 1, every):
        level = 0.035 + 0.55 * math.exp(-step / 420) + 0.11 * math.exp(-step / 2600)
        wall = until - (steps - step) * per_step
        points.append(MetricPoint(name="loss", step=step, value=level * math.exp(draw.gauss(0, 0.16)), wall=wall))
        points.append(MetricPoint(name="grad_norm", step=step, value=0.9 * level + draw.random() * 0.2, wall=wall))
        rate = 1e-4 * min(1.0, step / 500) * 0.5 * (1 + math.cos(math.pi * step / 10_000))
        points.append(MetricPoint(name="learning_rate", step=step, value=rate, wall=wall))
    return ev.Metrics(host="workstation", run=run, points=tuple(points), at=until)


def checkpoints(
    run: str, steps: Iterable[int], *, writing: int | None = None, size: int = 22_140_000_000
) -> ev.Checkpoints:
    found = [
        Checkpoint(
            path=f"/workspace/checkpoints/{run}/checkpoint-{step}",
            step=step,
            size=size if step != writing else size // 3,
            complete=step != writing,
            writing=step == writing,
            mtime=NOW - 3 - (6100 - step) * 0.96,
            weights=6 * GB,
        )
        for step in steps
    ]
    return ev.Checkpoints(host="workstation", run=run, checkpoints=tuple(found), at=NOW)


def saves(
    run: str, free: int, *, first: int = 7000, size: int = 22 * GB, reserve: int = 39 * GB
) -> tuple[SaveForecast, ...]:
    """The saves to come with rotation off: each takes `size` more."""
    out = []
    for index, step in enumerate(range(first, 10_001, 1000)):
        before = free - index * size
        after = before - size
        verdict = Verdict.FAIL if after < 0 else Verdict.TIGHT if after < reserve else Verdict.FIT
        eta = (step - 6100) * 0.96
        out.append(
            SaveForecast(
                run=run, step=step, eta=eta, free_before=before, free_at_peak=after, free_after=after, verdict=verdict
            )
        )
    return tuple(out)


def log_lines(count: int = 60) -> tuple[str, ...]:
    lines = [
        "Loading base model nvidia/GR00T-N1.6-3B",
        "Tune backbone llm: False, visual: False, projector: True, diffusion: True",
        "Total number of datasets: 3, episodes: 612, frames: 184,233",
        "***** Running training *****",
        "  Num examples = 184,233",
        "  Instantaneous batch size per device = 64",
        "  Total optimization steps = 10,000",
    ]
    draw = random.Random(3)
    for index in range(count):
        step = 6100 - (count - 1 - index) * 10
        if step % 1000 == 0:
            lines.append(f"Saving model checkpoint to /workspace/checkpoints/{RUN}/checkpoint-{step}")
        loss = 0.05 + draw.random() * 0.02
        epoch = step * 64 / 184_233
        lines.append(
            f"{{'loss': {loss:.4f}, 'grad_norm': {draw.random():.4f}, 'learning_rate': 4.1e-05, 'epoch': {epoch:.2f}}}"
        )
    lines.append(" 61%|██████    | 6100/10000 [1:37:36<1:02:24,  1.04it/s]")
    return tuple(lines)


def hosts_up(store: Store, *, seconds: int = 300, simulated: bool = False) -> None:
    for name, since in (("workstation", NOW - 7860), ("spark", NOW - 7858)):
        store.apply(ev.HostStatus(host=name, state="up", since=since, at=since))
    for seq in range(seconds):
        store.apply(ev.Sample(sample=workstation(seq, simulated=simulated)))
        store.apply(ev.Sample(sample=spark(seq, simulated=simulated)))


def empty() -> Store:
    """A profile without hosts."""
    return Store()


def idle() -> Store:
    """Two hosts, nothing runs, nothing ever ran."""
    store = Store()
    hosts_up(store)
    quiet = workstation(300).gpus[0]
    import msgspec

    quiet = msgspec.structs.replace(quiet, util=0.0, mem_used=512 * 2**20, temp_c=34, power_w=18, sm_mhz=210)
    store.hosts["workstation"].gpu_history.extend([0.0] * 200)
    store.apply(ev.Sample(sample=workstation(301, gpus=(quiet,), cpu=1.2, load1=0.1)))
    return store


def training(*, simulated: bool = False) -> Store:
    """A fine-tune at step 6100 of 10000, one done, one that failed on a full disk yesterday."""
    store = Store()
    hosts_up(store, simulated=simulated)
    diagnosis = Diagnosis(
        code="disk-full", cause="the disk was full at the save of step 4000", fix="dm-g1 checkpoints clean"
    )
    store.apply(
        ev.Job(
            job=job(
                FULL,
                state=JobState.FAILED,
                started=NOW - 102_000,
                ended=NOW - 98_000,
                diagnosis=diagnosis,
                exit=JobExit(code=1, signal=None, ended=NOW - 98_000, avail=1_900_000_000),
            )
        )
    )
    store.apply(ev.Job(job=job(DONE, state=JobState.SUCCEEDED, started=NOW - 71_000, ended=NOW - 66_800, steps=4000)))
    store.apply(curve(FULL, 3990, seed=2, until=NOW - 98_000))
    store.apply(curve(DONE, 4000, seed=3, until=NOW - 66_800))
    store.apply(checkpoints(DONE, (3000, 4000)))
    store.apply(checkpoints(FULL, (3000,)))
    store.apply(ev.Job(job=job()))
    store.apply(curve(RUN, 6100))
    store.apply(checkpoints(RUN, range(2000, 6001, 1000)))
    store.apply(ev.Log(host="workstation", source=RUN, lines=log_lines()))
    store.apply(
        ev.Forecasts(
            host="workstation",
            forecasts=(
                Forecast(
                    host="workstation",
                    dev=66306,
                    mount="/workspace",
                    verdict=Verdict.FIT,
                    avail=412 * GB,
                    total=1968 * GB,
                    reserve=39 * GB,
                    saves=saves(RUN, 412 * GB),
                    reason="4 saves and the final model fit with 318 GB to spare",
                ),
                Forecast(
                    host="workstation",
                    dev=66305,
                    mount="/",
                    verdict=Verdict.FIT,
                    avail=221 * GB,
                    total=490 * GB,
                    reserve=10 * GB,
                ),
            ),
        )
    )
    store.apply(
        ev.Forecasts(
            host="spark",
            forecasts=(
                Forecast(
                    host="spark",
                    dev=259,
                    mount="/",
                    verdict=Verdict.FIT,
                    avail=2960 * GB,
                    total=3840 * GB,
                    reserve=77 * GB,
                ),
            ),
        )
    )
    return store


def lab() -> Store:
    """The same on the lab, whose figures are simulated."""
    return training(simulated=True)


def disk_fails() -> Store:
    """The 22 GB checkpoint that will not fit: the third save from now fails."""
    store = training()
    free = 51_800_000_000
    disks = (
        Disk(dev=66306, mount="/workspace", total=1968 * GB, avail=free, paths=("workspace", "checkpoints")),
        Disk(dev=66305, mount="/", total=490 * GB, avail=221 * GB, paths=("caches",)),
    )
    store.apply(ev.Sample(sample=workstation(301, disks=disks)))
    coming = saves(RUN, free)
    failing = next(save for save in coming if save.verdict is Verdict.FAIL)
    forecast = Forecast(
        host="workstation",
        dev=66306,
        mount="/workspace",
        verdict=Verdict.FAIL,
        avail=free,
        total=1968 * GB,
        reserve=39 * GB,
        saves=coming,
        failing=failing,
        missing=-failing.free_at_peak,
        remedies=(
            Remedy(kind="quarantine", title="partial checkpoints", bytes=7 * GB, risk="none"),
            Remedy(kind="old-run", title="g1-fold-n16, failed yesterday", bytes=22 * GB, risk="low"),
            Remedy(kind="hf-cache", title="2 unused models in the Hub cache", bytes=31 * GB, risk="low"),
        ),
        reason="other writers grow 1.2 GB an hour",
    )
    store.apply(ev.Forecasts(host="workstation", forecasts=(forecast,)))
    store.apply(
        ev.Alert(
            key="disk:workstation:66306",
            kind="disk",
            severity="critical",
            host="workstation",
            run=RUN,
            title="the save at step 9000 misses 14.2 GB on /workspace",
            detail="in 46 m",
            fix="dm-g1 checkpoints clean",
            since=NOW - 190,
        )
    )
    return store


def host_away() -> Store:
    """The workstation went away in the middle of the run; the Spark's key is another one than yesterday."""
    store = training()
    store.apply(
        ev.HostStatus(
            host="workstation", state="away", since=NOW - 95, problem="no answer for 15 s; trying again in 8 s", at=NOW
        )
    )
    store.apply(
        ev.HostStatus(
            host="spark",
            state="refused",
            since=NOW - 4000,
            at=NOW,
            problem="its host key changed (SHA256:qN7… is not SHA256:8fX…); ssh-keygen -R spark if you expected that",
        )
    )
    store.apply(
        ev.Alert(
            key="away:workstation",
            kind="host-away",
            severity="warning",
            host="workstation",
            title="away: no answer for 15 s",
            fix="its jobs go on; connecting again",
            since=NOW - 95,
        )
    )
    store.apply(
        ev.Alert(
            key="refused:spark",
            kind="host-refused",
            severity="critical",
            host="spark",
            title="host key changed",
            fix="ssh-keygen -R spark, if you expected that",
            since=NOW - 4000,
        )
    )
    return store


def nan() -> Store:
    """The loss is NaN since step 5200, and nobody stopped the run."""
    store = training()
    points = tuple(
        MetricPoint(name="loss", step=step, value=math.nan, wall=NOW - (6100 - step) * 0.9)
        for step in range(5200, 6101, 10)
    )
    store.apply(ev.Metrics(host="workstation", run=RUN, points=points))
    store.apply(
        ev.Alert(
            key=f"nan:{RUN}",
            kind="nan",
            severity="critical",
            host="workstation",
            run=RUN,
            title="the loss is NaN since step 5200",
            fix="s stops it; resume from checkpoint-5000",
            since=NOW - 860,
        )
    )
    return store


def stopping() -> Store:
    """A stop is under way: its second rung."""
    store = training()
    store.apply(
        ev.Job(job=job(stop=StopRequest(mode="checkpoint", requested=NOW - 40, by="lea@laptop"), rung="interrupt"))
    )
    return store


def bare_machine() -> Store:
    """A host that says little: no GPU, no memory, a read-only disk."""
    store = Store()
    store.apply(ev.HostStatus(host="workstation", state="up", since=NOW - 60))
    store.apply(
        ev.Sample(
            sample=HostSample(
                host="workstation",
                seq=1,
                t_mono=1,
                t_wall=NOW,
                gpu_note="nvidia-smi not found",
                disks=(Disk(dev=1, mount="/", total=100 * GB, avail=40 * GB, readonly=True),),
            )
        )
    )
    store.apply(ev.HostStatus(host="spark", state="connecting", since=NOW - 2))
    return store


#: Every payload that the terminal or Textual's markup would act on (OSC 52 writes the clipboard, OSC 0 the title,
#: CSI 2J clears, C1, bidi, zero width; markup that raises, runs an action, or links).
PAYLOADS = (
    "\x1b]0;owned\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]52;c;ZXZpbA==\x1b\\",
    "\x1b[2J\x1b[H",
    "\x9b2J",
    "\x9d0;owned\x9c",
    "\x1bP+q544e\x1b\\",
    "\x1b_evil\x1b\\",
    "x[/nope]y",
    "a[/b]c",
    "ckpt[/]",
    "[@click=app.evil()]click[/]",
    "[@click=screen.evil]click",
    "[link=http://x]",
    "[bold red]not red[/]",
    "[$error]var[/]",
    "\u202egnp.exe\u202c",
    "zero\u200bwidth\ufeff",
    "'; touch pwned; '",
    "$(id)",
    "`id`",
    "a\nb\r\nc\td",
    "-rf",
    "../../etc",
    "%h%n",
    "n" * 255,
    "e\u0301 vs \u00e9",
    "\ud800 lone",
    "宽字符" * 20,
)


def hostile(payload: str | None = None) -> Store:
    """Payloads in every text that a host may send, as if nothing had cleaned them."""
    store = Store()
    payloads = (payload,) if payload is not None else PAYLOADS
    for index, text in enumerate(payloads):
        host = f"h{index}{text}"
        store.apply(ev.HostStatus(host=host, state="refused" if index % 3 else "up", since=NOW - 5, problem=text))
        gpu = Gpu(index=0, name=text, util=50.0, mem_used=GB, mem_total=2 * GB, fault=text)
        disk = Disk(dev=1, mount=text, total=2 * GB, avail=GB)
        store.apply(
            ev.Sample(
                sample=HostSample(
                    host=host, seq=1, t_mono=1, t_wall=NOW, gpus=(gpu,), gpu_state="stale", gpu_note=text, disks=(disk,)
                )
            )
        )
        run = f"2026-{text}-{index}"
        spec = job(run).spec
        import msgspec

        spec = msgspec.structs.replace(spec, id=run, name=text, trainer=text)
        info = JobInfo(
            host=host,
            spec=spec,
            folder=text,
            state=JobState.RUNNING if index % 2 else JobState.FAILED,
            started=NOW - 100,
            diagnosis=Diagnosis(code="x", cause=text, evidence=text, fix=text) if not index % 2 else None,
            stop=StopRequest(mode="interrupt", requested=NOW, by=text) if index % 4 == 1 else None,
            rung=text,
        )
        store.apply(ev.Job(job=info))
        store.apply(
            ev.Metrics(
                host=host,
                run=run,
                points=(MetricPoint(name=text, step=1, value=0.5), MetricPoint(name=text, step=2, value=0.4)),
            )
        )
        store.apply(ev.Log(host=host, source=run, lines=(text, text * 3)))
        store.apply(
            ev.Checkpoints(
                host=host,
                run=run,
                checkpoints=(Checkpoint(path=f"/{text}/checkpoint-1", step=1, size=1, complete=True, mtime=NOW),),
            )
        )
        save = SaveForecast(
            run=run, step=2, eta=5.0, free_before=1, free_at_peak=-5, free_after=-5, verdict=Verdict.FAIL
        )
        store.apply(
            ev.Forecasts(
                host=host,
                forecasts=(
                    Forecast(
                        host=host,
                        dev=1,
                        mount=text,
                        verdict=Verdict.FAIL,
                        avail=1,
                        total=2,
                        reserve=1,
                        saves=(save,),
                        failing=save,
                        missing=5,
                        reason=text,
                        remedies=(Remedy(kind="docker", title=text, bytes=5, risk="high", path=text),),
                    ),
                ),
            )
        )
        store.apply(
            ev.Alert(
                key=f"k{index}",
                kind="gpu",
                severity="critical",
                host=host,
                run=run,
                title=text,
                detail=text,
                fix=text,
                since=NOW,
            )
        )
    return store


SCENES: dict[str, Callable[[], Store]] = {
    "empty": empty,
    "idle": idle,
    "training": training,
    "lab": lab,
    "disk_fails": disk_fails,
    "host_away": host_away,
    "nan": nan,
    "stopping": stopping,
    "bare_machine": bare_machine,
    "hostile": hostile,
}


class SceneFleet:
    """Stands where the fleet stands; nothing in it connects anywhere."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hosts = None
        self.focused: str | None = None
        self.seen: set[str] = set()
        self.open = False
        self.looks: list[str | None] = []
        self.near: tuple[str | None, str | None] = (None, None)
        self.serving_open = False
        self.serving_looks: list[str | None] = []

    def apply(self, event: ev.Event) -> None:
        self.store.apply(event)

    def focus(self, run: str | None) -> None:
        self.focused = run

    def in_view(self, runs: Iterable[str]) -> None:
        self.seen = set(runs)

    def open_datasets(self, open_: bool) -> None:
        self.open = open_

    def look_at_datasets(self, host: str | None = None) -> None:
        self.looks.append(host)

    def near_dataset(self, host: str | None, path: str | None) -> None:
        self.near = (host, path)

    def open_deployments(self, open_: bool) -> None:
        self.serving_open = open_

    def look_at_deployments(self, host: str | None = None) -> None:
        self.serving_looks.append(host)


def fleet_of(store: Store) -> Callable[..., Any]:
    """A fleet factory that shows `store`."""

    @asynccontextmanager
    async def factory(profile: Profile, config: object) -> Any:
        yield SceneFleet(store)

    return factory
