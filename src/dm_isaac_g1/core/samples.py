"""What a machine says of itself at one moment: GPUs, memory, disks.

Units: bytes, watts, degrees Celsius, MHz, percent 0..100, seconds. `None` means the host does not say, and is
shown as such; it is never 0.
"""

from __future__ import annotations

from typing import Literal

import msgspec

GpuState = Literal["ok", "none", "stale", "error"]


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, from a row of nvidia-smi's query."""

    index: int
    uuid: str = ""
    name: str = ""
    driver: str | None = None
    util: float | None = None
    mem_used: int | None = None
    mem_total: int | None = None
    #: True where CPU and GPU share one pool (GB10, Thor): the host's memory is the GPU's, see `Memory`.
    unified: bool = False
    temp_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    sm_mhz: float | None = None
    sm_max_mhz: float | None = None
    fan: float | None = None
    pstate: str | None = None
    mig: bool = False
    #: "stuck-clock" where the SM clock stays low under load (GB10 after a reboot); None: no verdict or healthy.
    fault: str | None = None


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    """One process that holds GPU memory."""

    pid: int
    name: str
    gpu_uuid: str = ""
    mem: int | None = None
    container: str | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The host's memory, from /proc/meminfo. `gpu` is what GPU processes hold of it on a unified machine."""

    total: int
    available: int
    free: int
    gpu: int | None = None

    @property
    def used(self) -> int:
        return self.total - self.available


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """One file system (one st_dev) that a path of the profile lies on."""

    dev: int
    mount: str
    total: int
    #: What an ordinary user may still write: f_bavail, not f_bfree (ext4 keeps 5 % for root).
    avail: int
    inodes_avail: int | None = None
    readonly: bool = False
    #: Names of the profile's paths that lie here: workspace, checkpoints, caches...
    paths: tuple[str, ...] = ()


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    """All of one host at one moment; `seq` and `t_mono` are the host's own, `t_wall` its clock."""

    host: str
    seq: int
    t_mono: float
    t_wall: float
    cpu: float | None = None
    load1: float | None = None
    cpus: int | None = None
    memory: Memory | None = None
    gpus: tuple[Gpu, ...] = ()
    gpu_state: GpuState = "none"
    #: Why there is no GPU figure, for people: "nvidia-smi not found", "nvidia-smi gave nothing for 5 s".
    gpu_note: str | None = None
    processes: tuple[GpuProcess, ...] = ()
    disks: tuple[Disk, ...] = ()
    #: True where the figures come from the lab's stand-in.
    simulated: bool = False
