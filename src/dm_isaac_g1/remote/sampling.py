"""From the agent's lines to a `HostSample`: what comes at different cadences, held together."""

from __future__ import annotations

from collections.abc import Sequence

from dm_isaac_g1.core.samples import Disk, Gpu, GpuProcess, GpuState, HostSample, Memory
from dm_isaac_g1.remote import nvidia_smi, wire
from dm_isaac_g1.remote.clean import clean

_STATES: dict[str, GpuState] = {"ok": "ok", "none": "none", "stale": "stale", "error": "error"}


class Sampler:
    """Makes one host's samples. Keeps what the agent does not repeat every second."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._gpus: tuple[Gpu, ...] = ()
        self._processes: tuple[GpuProcess, ...] = ()
        self._disks: tuple[Disk, ...] = ()
        self._clocks: dict[int, nvidia_smi.StuckClock] = {}
        self.last: HostSample | None = None

    def take(self, said: wire.Sampled) -> HostSample:
        """The host as it is with this line."""
        total = said.memory[0] if said.memory else None
        state: GpuState = "none"
        note = None
        if said.gpu is not None:
            state = _STATES.get(said.gpu.state, "error")
            note = clean(said.gpu.note)[:300] if said.gpu.note else None
            self._take_gpus(said.gpu, total)
        if said.apps is not None:
            self._processes = nvidia_smi.processes(said.apps.rows, said.apps.containers)
        if said.disks is not None:
            self.take_disks(said.disks)
        if state != "ok":
            # Old figures of a GPU that no longer answers would pass for new ones.
            self._gpus, self._processes = (), ()
        self.last = HostSample(
            host=self._host,
            seq=said.seq,
            t_mono=said.t_mono,
            t_wall=said.t_wall,
            cpu=said.cpu,
            load1=said.load1,
            cpus=said.cpus,
            memory=self._memory(said),
            gpus=self._gpus,
            gpu_state=state,
            gpu_note=note,
            processes=self._processes,
            disks=self._disks,
            simulated=said.simulated,
        )
        return self.last

    def take_disks(self, rows: Sequence[wire.DiskRow]) -> None:
        """File systems as the runtime sees them."""
        self._disks = tuple(disk(row) for row in rows)

    def _take_gpus(self, said: wire.GpuRows, memory_total: int | None) -> None:
        if not said.rows:
            return
        judged = []
        for gpu in nvidia_smi.gpus(clean(said.head), said.rows, memory_total=memory_total):
            fault = self._clocks.setdefault(gpu.index, nvidia_smi.StuckClock()).look(gpu)
            judged.append(gpu if fault is None else nvidia_smi.with_fault(gpu, fault))
        self._gpus = tuple(judged)

    def _memory(self, said: wire.Sampled) -> Memory | None:
        if said.memory is None or not said.memory[0]:
            return None
        total, available, free = said.memory
        unified = any(gpu.unified for gpu in self._gpus)
        held = nvidia_smi.resident(self._processes) if unified else None
        return Memory(total=total, available=available, free=free, gpu=held)


def disk(row: wire.DiskRow) -> Disk:
    """One file system, its texts cleaned."""
    return Disk(
        dev=row.dev,
        mount=clean(row.mount),
        total=row.total,
        avail=row.avail,
        inodes_avail=row.inodes_avail,
        readonly=row.readonly,
        paths=tuple(clean(path) for path in row.paths),
    )
