"""What nvidia-smi prints for people: -L, --version, the help of its queries and the default table, marked SIMULATED."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .cards import NA, Card
from .fields import Field, gpu_values, uuid
from .reading import Reading

SIMULATED = "SIMULATED by the dm-g1 lab"

_RULE = "+" + "-" * 89 + "+"
_COLUMNS = "+" + "-" * 41 + "+" + "-" * 24 + "+" + "-" * 22 + "+"


def listing(card: Card) -> str:
    """-L."""
    return f"GPU 0: {card.name} (UUID: {uuid(card)})\n"


def version(card: Card) -> str:
    """--version."""
    return (
        f"NVIDIA-SMI version  : {card.driver}\n"
        f"NVML version        : {card.driver.rsplit('.', 1)[0]}\n"
        f"DRIVER version      : {card.driver}\n"
        f"CUDA Version        : {card.cuda}\n"
        f"{SIMULATED}\n"
    )


def query_help(switch: str, fields: Sequence[Field]) -> str:
    """--help-query-gpu and --help-query-compute-apps: quoted names joined by "or", a line of text, an empty line."""
    lines = [f'List of valid properties to query for the switch "--{switch}":', ""]
    for field in fields:
        lines += [" or ".join(f'"{name}"' for name in field.names), field.help, ""]
    return "\n".join(lines) + "\n"


def usage(card: Card) -> str:
    """-h: what this stand-in speaks."""
    return (
        f"NVIDIA System Management Interface -- v{card.driver} ({SIMULATED})\n\n"
        "nvidia-smi [-L] [-i ID] [--version] [--help-query-gpu] [--help-query-compute-apps]\n"
        "nvidia-smi --query-gpu=FIELD,... | --query-compute-apps=FIELD,... --format=csv[,noheader][,nounits]\n"
        "           [-i ID] [-l SEC | -lms MSEC]\n"
    )


def table(card: Card, reading: Reading) -> str:
    """The default screen, in the layout of drivers 580 to 595."""
    v = gpu_values(card, reading)
    memory = f"{'Not Supported':<22}" if card.memory is None else f"{v['memory.used']}MiB / {v['memory.total']:>6}MiB"
    power = f"{round(reading.power)}W / " + (
        "N/A " if card.power_limit is None else f"{round(card.power_limit)}W"
    ).rjust(5)
    fan = "N/A" if v["fan.speed"] == NA else v["fan.speed"] + "%"
    lines = [
        time.strftime("%a %b %e %H:%M:%S %Y"),
        _RULE,
        f"| NVIDIA-SMI {card.driver:<22} Driver Version: {card.driver:<14} CUDA Version: {card.cuda:<8} |",
        f"| {SIMULATED:<87} |",
        _COLUMNS,
        "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |",
        "| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |",
        "|                                         |                        |               MIG M. |",
        "|" + "=" * 41 + "+" + "=" * 24 + "+" + "=" * 22 + "|",
        f"|   0  {card.short:<27}{'On':>6}  |   {card.bus} Off |{'N/A':>21} |",
        f"| {fan:>3} {v['temperature.gpu']:>4}C  {v['pstate']:>4} {power:>23} | {memory:>22} |"
        f" {v['utilization.gpu']:>6}%      Default |",
        f"|{'':41}|{'':24}|{'N/A' if card.mig == NA else card.mig:>21} |",
        _COLUMNS,
        "",
        _RULE,
        f"| {'Processes:':<87} |",
        "|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |",
        "|        ID   ID                                                               Usage      |",
        "|" + "=" * 89 + "|",
    ]
    for p in reading.processes:
        name = p.name if len(p.name) <= 35 else "..." + p.name[-32:]
        lines.append(f"|    0   N/A  N/A {p.pid:>15}      C   {name:<35} {p.memory:>7}MiB |")
    if not reading.processes:
        lines.append(f"|  {'No running processes found':<86} |")
    return "\n".join([*lines, _RULE]) + "\n"
