"""The fields that can be queried, by the real program's names, and their values as it prints them.

Names, aliases and units: `nvidia-smi --help-query-gpu` of drivers 590 and 595. Values that a model does not have are
`[N/A]`, but for temperature.memory, which the real one prints without brackets.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from .cards import NA, Card
from .reading import IDLE_LOAD, Reading


class Field(NamedTuple):
    """`names`: the field's name, then its aliases. `unit`: as in the header's brackets, "" for none."""

    names: tuple[str, ...]
    unit: str
    help: str


def _field(names: str, unit: str, text: str) -> Field:
    return Field(tuple(names.split()), unit, text)


GPU_FIELDS = (
    _field("timestamp", "", 'When the query was made, as "YYYY/MM/DD HH:MM:SS.msec".'),
    _field("driver_version", "", "Version of the (simulated) display driver."),
    _field("count", "", "Number of GPUs in the system."),
    _field("name gpu_name", "", "Product name of the GPU."),
    _field("serial gpu_serial", "", "Serial number of the board."),
    _field("uuid gpu_uuid", "", "Unique identifier of the GPU."),
    _field("pci.bus_id gpu_bus_id", "", 'PCI bus id as "domain:bus:device.function", in hex.'),
    _field("pci.device_id", "", "PCI vendor and device id, in hex."),
    _field("pcie.link.gen.current", "", "PCIe generation of the link now."),
    _field("pcie.link.gen.max", "", "Highest PCIe generation of GPU and system."),
    _field("pcie.link.width.current", "", "Lanes of the link now."),
    _field("pcie.link.width.max", "", "Most lanes of GPU and system."),
    _field("index", "", "Number of the GPU, from 0."),
    _field("display_active", "", "Whether a display is initialised on the GPU."),
    _field("persistence_mode", "", "Whether the driver stays loaded without clients."),
    _field("addressing_mode", "", "How the GPU addresses the system's memory: HMM, ATS or None."),
    _field("vbios_version", "", "Version of the video BIOS."),
    _field("gpu_recovery_action", "", "What would recover the GPU after a fault."),
    _field("fan.speed", "%", "Fan speed that the driver wants, of its maximum."),
    _field("pstate", "", "Performance state, P0 (most) to P12 (least)."),
    _field("clocks_event_reasons.active clocks_throttle_reasons.active", "", "Bit mask of what holds the clocks back."),
    _field("memory.total", "MiB", "Memory of the GPU."),
    _field("memory.reserved", "MiB", "Memory that the driver and firmware hold."),
    _field("memory.used", "MiB", "Memory that is allocated."),
    _field("memory.free", "MiB", "Memory that is free."),
    _field("compute_mode", "", "Whether several processes may compute on the GPU."),
    _field("compute_cap", "", "CUDA compute capability."),
    _field("utilization.gpu", "%", "Share of the last sample period in which kernels ran."),
    _field("utilization.memory", "%", "Share of the last sample period in which memory was read or written."),
    _field("ecc.mode.current", "", "Whether ECC is on."),
    _field("ecc.errors.uncorrected.volatile.total", "", "Uncorrected memory errors since the driver was loaded."),
    _field("temperature.gpu", "", "Temperature of the GPU core, in degrees C."),
    _field("temperature.memory", "", "Temperature of the memory, in degrees C."),
    _field("power.draw", "W", "Power of the board."),
    _field("power.draw.average gpu.power.draw.average", "W", "Power of the board, averaged."),
    _field("power.draw.instant gpu.power.draw.instant", "W", "Power of the board at this moment."),
    _field("power.limit gpu.power.requested_limit", "W", "Power limit that software set."),
    _field("enforced.power.limit gpu.power.current_limit", "W", "Power limit in force."),
    _field("power.default_limit gpu.power.default_limit", "W", "Power limit from the factory."),
    _field("power.max_limit gpu.power.max_limit", "W", "Highest power limit that can be set."),
    _field("clocks.current.graphics clocks.gr", "MHz", "Graphics clock now."),
    _field("clocks.current.sm clocks.sm", "MHz", "Clock of the streaming multiprocessors now."),
    _field("clocks.current.memory clocks.mem", "MHz", "Memory clock now."),
    _field("clocks.max.graphics clocks.max.gr", "MHz", "Highest graphics clock."),
    _field("clocks.max.sm", "MHz", "Highest clock of the streaming multiprocessors."),
    _field("clocks.max.memory clocks.max.mem", "MHz", "Highest memory clock."),
    _field("mig.mode.current", "", "Whether the GPU is split into instances (MIG)."),
)

APP_FIELDS = (
    _field("timestamp", "", 'When the query was made, as "YYYY/MM/DD HH:MM:SS.msec".'),
    _field("gpu_name", "", "Product name of the GPU."),
    _field("gpu_bus_id", "", 'PCI bus id as "domain:bus:device.function", in hex.'),
    _field("gpu_serial", "", "Serial number of the board."),
    _field("gpu_uuid", "", "Unique identifier of the GPU."),
    _field("pid", "", "Number of the process."),
    _field("process_name name", "", "Name of the process."),
    _field("used_gpu_memory used_memory", "MiB", "Memory that the process holds on the GPU."),
)


def uuid(card: Card) -> str:
    """Plainly made up, and the same on every call."""
    return f"GPU-51301a7e-0000-4000-8000-{int(card.device, 16):012x}"


def timestamp() -> str:
    now = time.time()
    return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1000):03d}"


def gpu_values(card: Card, reading: Reading) -> dict[str, str]:
    """Every field of GPU_FIELDS by its first name, without units."""
    busy = reading.load > IDLE_LOAD
    held = sum(p.memory for p in reading.processes)
    draw = f"{reading.power:.2f}"
    limit = f"{card.power_limit:.2f}" if card.power_limit is not None else NA
    sm = card.sm_busy if busy else card.sm_idle
    values = {
        "timestamp": timestamp(),
        "driver_version": card.driver,
        "count": "1",
        "name": card.name,
        "serial": NA,
        "uuid": uuid(card),
        "pci.bus_id": card.bus,
        "pci.device_id": card.device,
        "pcie.link.gen.current": str(card.pcie[0] if busy else 1),
        "pcie.link.gen.max": str(card.pcie[1]),
        "pcie.link.width.current": str(card.pcie[2]),
        "pcie.link.width.max": str(card.pcie[3]),
        "index": "0",
        "display_active": "Disabled",
        "persistence_mode": "Enabled",
        "addressing_mode": card.addressing,
        "vbios_version": NA,
        "gpu_recovery_action": "None",
        "fan.speed": _fan(card, reading),
        "pstate": "P1" if busy and card.memory else "P0" if busy else "P8",
        "clocks_event_reasons.active": "0x0000000000000000" if busy else "0x0000000000000001",
        "compute_mode": "Default",
        "compute_cap": card.compute_cap,
        "utilization.gpu": str(round(reading.load * 100)),
        "utilization.memory": str(round(reading.load * 38)) if card.memory else "0",
        "ecc.mode.current": card.ecc,
        "ecc.errors.uncorrected.volatile.total": NA,
        "temperature.gpu": str(round(reading.temp)),
        "temperature.memory": "N/A",
        "power.draw": draw,
        "power.draw.average": draw,
        "power.draw.instant": draw,
        "power.limit": limit,
        "enforced.power.limit": limit,
        "power.default_limit": limit,
        "power.max_limit": limit,
        "clocks.current.graphics": str(sm),
        "clocks.current.sm": str(sm),
        "clocks.current.memory": _or_na(card.mem_clock_max if busy else card.mem_clock_idle),
        "clocks.max.graphics": str(card.sm_max),
        "clocks.max.sm": str(card.sm_max),
        "clocks.max.memory": _or_na(card.mem_clock_max),
        "mig.mode.current": card.mig,
    }
    if card.memory is None:
        return values | dict.fromkeys(("memory.total", "memory.reserved", "memory.used", "memory.free"), NA)
    used = min(held + 2, card.memory - card.reserved)
    return values | {
        "memory.total": str(card.memory),
        "memory.reserved": str(card.reserved),
        "memory.used": str(used),
        "memory.free": str(card.memory - card.reserved - used),
    }


def app_values(card: Card, reading: Reading) -> list[dict[str, str]]:
    """A row for each process that holds the GPU, by the first names of APP_FIELDS."""
    shared = {
        "timestamp": timestamp(),
        "gpu_name": card.name,
        "gpu_bus_id": card.bus,
        "gpu_serial": NA,
        "gpu_uuid": uuid(card),
    }
    return [
        shared | {"pid": str(p.pid), "process_name": p.name, "used_gpu_memory": str(p.memory)}
        for p in reading.processes
    ]


def _fan(card: Card, reading: Reading) -> str:
    if card.fan is None:
        return NA
    low, high = card.fan
    share = (reading.temp - card.temp_idle) / (card.temp_full - card.temp_idle)
    return str(round(low + (high - low) * min(1.0, max(0.0, share))))


def _or_na(value: int | None) -> str:
    return NA if value is None else str(value)
