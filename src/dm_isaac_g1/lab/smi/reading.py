"""One reading of the simulated GPU: load from the host's jobs, and power and temperature that follow it slowly.

First-order: power settles within seconds, heat within half a minute, as on a real card. The last reading is kept in
a small file of the host, so that single calls and loops tell one story.
"""

from __future__ import annotations

import json
import os
import time
from math import exp
from typing import NamedTuple

from .cards import Card
from .usage import GpuProcess, Watch, cpu_seconds

#: Time constants, seconds.
POWER_SETTLES = 1.5
HEAT_SETTLES = 25.0
#: A single call without a recent reading looks this long, seconds.
GLANCE = 0.15
#: A kept reading older than this says nothing of the load since, seconds.
RECENT = 5.0
#: Below this share of a core the GPU counts as idle.
IDLE_LOAD = 0.02


class Reading(NamedTuple):
    """`at`: time.monotonic(). `load`: 0..1, one core fully used is a busy GPU. Watts, degrees Celsius."""

    at: float
    load: float
    power: float
    temp: float
    processes: list[GpuProcess]


class Sensor:
    """Takes readings of one host's GPU."""

    def __init__(self, card: Card, watch: Watch, keep: str) -> None:
        self.card = card
        self._watch = watch
        self._keep = keep
        self._last = self._kept()

    def read(self) -> Reading:
        """The GPU now. Sleeps GLANCE where there is nothing recent to compare with."""
        last = self._last
        now = time.monotonic()
        if last is None or not GLANCE / 2 < now - last.at < RECENT:
            start = last or Reading(now, 0.0, self.card.power_idle, self.card.temp_idle, [])
            begun = self._watch.look()
            cooled = follow(self.card, start, start.load if now - start.at < RECENT else 0.0, now - start.at)
            last = Reading(now, start.load, cooled[0], cooled[1], begun)
            time.sleep(GLANCE)
            now = time.monotonic()
        processes = self._watch.look()
        used = cpu_seconds({p.pid: p.ticks for p in last.processes}, processes)
        load = min(1.0, used / max(now - last.at, 0.01))
        power, temp = follow(self.card, last, load, now - last.at)
        self._last = Reading(now, load, power, temp, processes)
        self._write(self._last)
        return self._last

    def _kept(self) -> Reading | None:
        try:
            with open(self._keep) as file:  # noqa: PTH123
                at, load, power, temp, processes = json.load(file)
            kept = Reading(at, load, power, temp, [GpuProcess(*p) for p in processes])
            return kept if at <= time.monotonic() else None  # from before a reboot
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, reading: Reading) -> None:
        beside = f"{self._keep}.{os.getpid()}"
        try:
            with open(beside, "w") as file:  # noqa: PTH123
                json.dump(reading, file)
            os.replace(beside, self._keep)  # noqa: PTH105
        except OSError:
            pass  # a full disk must not cost the figures


def follow(card: Card, last: Reading, load: float, seconds: float) -> tuple[float, float]:
    """Power and temperature `seconds` after `last` under `load`."""
    wanted_power = card.power_idle + (card.power_full - card.power_idle) * load
    power = _approach(last.power, wanted_power, seconds / POWER_SETTLES)
    share = (power - card.power_idle) / (card.power_full - card.power_idle)
    wanted_temp = card.temp_idle + (card.temp_full - card.temp_idle) * max(0.0, share)
    return power, _approach(last.temp, wanted_temp, seconds / HEAT_SETTLES)


def _approach(value: float, target: float, constants: float) -> float:
    return target + (value - target) * exp(-max(0.0, constants))
