"""What nvidia-smi says, as values: its CSV with every way it has of not knowing, on every machine we know of.

Pure: text in, values out. Rows of real machines (GB10, Thor, Orin, RTX PRO 6000, H100 with MIG) stand in the tests.
Columns are found by the header's names, which carry units and vary with the driver; nothing goes by position.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from dm_isaac_g1.core.samples import Gpu, GpuProcess
from dm_isaac_g1.remote.clean import clean

MIB = 1024 * 1024

#: What stands where there is no value. `N/A` comes with brackets and without (temperature.memory), and padded.
SENTINELS = frozenset(
    {
        "",
        "-",
        "n/a",
        "not supported",
        "not available",
        "unknown error",
        "unknown",
        "insufficient permissions",
        "gpu requires reset",
        "gpu is lost",
        "err!",
        "none",
        "no data",
        "requested functionality has been deprecated",
        "function not found",
        "not found",
    }
)

#: One meaning, several names, best first. power.draw.instant before power.draw: the latter is an average over a
#: second on new drivers, and N/A on an RTX PRO 6000 whose instant draw is known.
ALIASES: dict[str, tuple[str, ...]] = {
    "power": ("power.draw.instant", "power.draw", "power.draw.average"),
    "power_limit": ("enforced.power.limit", "power.limit"),
    "sm": ("clocks.current.sm", "clocks.sm"),
    "sm_max": ("clocks.max.sm",),
    "reasons": ("clocks_event_reasons.active", "clocks_throttle_reasons.active"),
}

#: Machines on which CPU and GPU share one pool.
_UNIFIED_NAME = re.compile(r"\b(GB10|Thor|Orin)\b")
#: A numeric total this close to the whole memory, on such a machine, is the same pool.
UNIFIED_SHARE = 0.9

#: The stuck-clock fault of a GB10 after a reboot or update: 481 to 858 MHz under load, where 2171 to 2489 is healthy,
#: with no event reason set. Idle clocks prove nothing.
#: Other machines clock down for reasons of their own (an Orin never exceeds 1300 MHz).
_STUCK_NAME = re.compile(r"\bGB10\b")
JUDGED_UTIL = 50.0
STUCK_MHZ = 1500.0
STUCK_SHARE = 0.5
STUCK_SAMPLES = 10

_UNIT = re.compile(r"\s*\[[^\]]*\]\s*$")


class GpuRow(msgspec.Struct, frozen=True):
    """A row by its column's names, units stripped."""

    values: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """The first of the name's aliases that says something, cleaned; None where none does."""
        for column in ALIASES.get(name, (name,)):
            value = self.values.get(column, "").strip()
            if value.strip("[] ").lower() not in SENTINELS:
                return clean(value)[:200]
        return None

    def number(self, name: str) -> float | None:
        """The same as a number, without its unit if there is one."""
        for column in ALIASES.get(name, (name,)):
            value = number(self.values.get(column, ""))
            if value is not None:
                return value
        return None


def number(text: str) -> float | None:
    """A finite, not negative number at the beginning of `text` ("81559 MiB", " 66.84 W"), else None."""
    first = text.strip().partition(" ")[0]
    try:
        value = float(first)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value < 1e15 else None


def columns(header: str) -> tuple[str, ...]:
    """Names of a CSV header, without their units: `memory.total [MiB]` is memory.total."""
    return tuple(_UNIT.sub("", name).strip() for name in header.split(","))


def gpus(header: str, rows: Iterable[str], *, memory_total: int | None = None) -> tuple[Gpu, ...]:
    """The GPUs of a query's rows, by index; of several rows for one GPU the last counts.

    `memory_total`: the host's memory in bytes, to tell a unified pool. Rows that do not fit the header are left out.
    """
    names = columns(header)
    found: dict[int, Gpu] = {}
    for row in rows:
        fields = row.split(",")
        if len(fields) != len(names):
            continue
        values = GpuRow(dict(zip(names, fields, strict=True)))
        index = values.number("index")
        position = int(index) if index is not None else 0
        found[position] = gpu(values, position, memory_total)
    return tuple(found[index] for index in sorted(found))


def gpu(row: GpuRow, index: int, memory_total: int | None) -> Gpu:
    """One GPU. Memory of a unified machine is None: the host's pool is the GPU's."""
    name = row.text("name") or ""
    total = _mib(row.number("memory.total"))
    unified = is_unified(name, row.text("addressing_mode"), total, memory_total)
    return Gpu(
        index=index,
        uuid=row.text("uuid") or "",
        name=name,
        driver=row.text("driver_version"),
        util=row.number("utilization.gpu"),
        mem_used=None if unified else _mib(row.number("memory.used")),
        mem_total=None if unified else total,
        unified=unified,
        temp_c=row.number("temperature.gpu"),
        power_w=row.number("power"),
        power_limit_w=row.number("power_limit"),
        sm_mhz=row.number("sm"),
        sm_max_mhz=row.number("sm_max"),
        fan=row.number("fan.speed"),
        pstate=row.text("pstate"),
        mig=row.text("mig.mode.current") == "Enabled",
    )


def is_unified(name: str, addressing: str | None, total: int | None, memory_total: int | None) -> bool:
    """Whether the GPU has no memory of its own.

    The addressing mode alone says nothing: GH200 is ATS with HBM of its own, a discrete RTX says HMM.
    """
    known = bool(_UNIFIED_NAME.search(name))
    if total is None:
        return known or addressing in ("ATS", "HMM")
    return known and memory_total is not None and total >= UNIFIED_SHARE * memory_total


def _mib(value: float | None) -> int | None:
    return None if value is None else int(value * MIB)


def processes(rows: Iterable[str], containers: Mapping[str, str] | None = None) -> tuple[GpuProcess, ...]:
    """Processes of `gpu_uuid, pid, process_name, used_memory` rows, largest first.

    A name may hold commas: GPU and pid are taken from the left, memory from the right. A pid that stands there twice
    for one GPU (as compute and graphics) counts once, with the larger figure.
    """
    found: dict[tuple[str, int], GpuProcess] = {}
    for row in rows:
        fields = row.split(",")
        if len(fields) < 4 or not fields[1].strip().isascii() or not fields[1].strip().isdigit():
            continue
        uuid, pid = clean(fields[0].strip())[:80], int(fields[1].strip()[:12])
        mem = _mib(number(fields[-1]))
        name = clean(",".join(fields[2:-1]).strip())[:200]
        known = found.get((uuid, pid))
        if known is None or (known.mem or 0) < (mem or 0):
            container = (containers or {}).get(str(pid))
            found[uuid, pid] = GpuProcess(
                pid=pid,
                name="" if name.strip("[] ").lower() in SENTINELS else name,
                gpu_uuid=uuid,
                mem=mem,
                container=clean(container)[:64] if container else None,
            )
    return tuple(sorted(found.values(), key=lambda each: (-(each.mem or 0), each.pid)))


def resident(rows: Sequence[GpuProcess]) -> int | None:
    """Bytes that GPU processes hold, each pid once; None where none says."""
    largest: dict[int, int] = {}
    for each in rows:
        if each.mem is not None:
            largest[each.pid] = max(each.mem, largest.get(each.pid, 0))
    return sum(largest.values()) if largest else None


class StuckClock:
    """Watches one GPU for the stuck-clock fault: only loaded samples count, and only many in a row."""

    def __init__(self, samples: int = STUCK_SAMPLES) -> None:
        self._needed = samples
        self._slow = 0
        self._stuck = False

    def look(self, gpu: Gpu) -> str | None:
        """ "stuck-clock" while the fault lasts. Idle samples change nothing: they prove neither."""
        if gpu.util is None or gpu.sm_mhz is None or gpu.util < JUDGED_UTIL or not _STUCK_NAME.search(gpu.name):
            return "stuck-clock" if self._stuck else None
        slow = gpu.sm_mhz < STUCK_MHZ or (gpu.sm_max_mhz is not None and gpu.sm_mhz < STUCK_SHARE * gpu.sm_max_mhz)
        self._slow = self._slow + 1 if slow else 0
        self._stuck = self._slow >= self._needed if slow else False
        return "stuck-clock" if self._stuck else None


def with_fault(gpu: Gpu, fault: str) -> Gpu:
    """The same GPU, found faulty."""
    return msgspec.structs.replace(gpu, fault=fault)
