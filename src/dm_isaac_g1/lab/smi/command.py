"""The stand-in's command line: the switches of nvidia-smi that monitors use, with its errors and exit codes.

Exit codes as in nvidia-smi(1), RETURN VALUE: 0 success, 2 an invalid argument, 6 no such device. Errors go to stdout,
as the real one's do.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from . import screens
from .cards import CARDS, NA, Card
from .fields import APP_FIELDS, GPU_FIELDS, Field, app_values, gpu_values, uuid
from .reading import Reading, Sensor
from .usage import Watch

_BAD_ARGUMENT = 2
_NO_DEVICE = 6


class BadArgumentError(Exception):
    """Ends the command with its text on stdout and exit code 2."""


class Request:
    """A parsed command line: what to print, and how often (seconds; None: once)."""

    def __init__(self) -> None:
        self.show = "table"
        self.fields: list[str] = []
        self.format: set[str] = set()
        self.every: float | None = None
        self.device: str | None = None


#: Switches that print one screen and end.
_SCREENS = {
    "-L": "list",
    "--list-gpus": "list",
    "-h": "usage",
    "--help": "usage",
    "--version": "version",
    "--help-query-gpu": "help-gpu",
    "--help-query-compute-apps": "help-apps",
}


def parse(arguments: Sequence[str]) -> Request:
    """Raises BadArgumentError. Both spellings of a value are taken: `--format=csv` and `-lms 1000`, `-lms=1000`."""
    request = Request()
    rest = list(arguments)
    while rest:
        switch, equals, value = rest.pop(0).partition("=")
        if switch in _SCREENS:
            request.show = _SCREENS[switch]
            continue
        take = _VALUES.get(switch)
        if take is None:
            raise BadArgumentError("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n\n")
        if not equals:
            if not rest:
                raise BadArgumentError(f"Option {switch} needs a value. Please run 'nvidia-smi -h' for help.\n\n")
            value = rest.pop(0)
        take(request, value)
    if request.fields and "csv" not in request.format:
        raise BadArgumentError("\"--format=\" switch is missing. Please run 'nvidia-smi -h' for help.\n\n")
    return request


def main(arguments: Sequence[str], *, host: str, root: str) -> int:
    """Run as host `host` of the lab in `root`; the exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    card = CARDS[host]
    try:
        request = parse(arguments)
        show = _printer(request, card)
    except BadArgumentError as error:
        sys.stdout.write(str(error))
        return _BAD_ARGUMENT
    if request.device is not None and request.device not in ("0", card.bus, uuid(card)):
        sys.stdout.write("No devices were found\n")
        return _NO_DEVICE
    if request.show in _FIXED:
        sys.stdout.write(_FIXED[request.show](card))
        return 0
    sensor = Sensor(card, Watch(host, root), os.path.join(root, host, ".smi-reading"))  # noqa: PTH118
    with suppress(KeyboardInterrupt):
        _loop(request, sensor, show)
    return 0


def _loop(request: Request, sensor: Sensor, show: Callable[[Reading, bool], str]) -> None:
    due = time.monotonic()
    first = True
    while True:
        sys.stdout.write(show(sensor.read(), first))
        sys.stdout.flush()
        if request.every is None:
            return
        first = False
        due = max(due + request.every, time.monotonic())
        time.sleep(due - time.monotonic())


def _printer(request: Request, card: Card) -> Callable[[Reading, bool], str]:
    if request.show in ("gpu", "apps"):
        known = GPU_FIELDS if request.show == "gpu" else APP_FIELDS
        wanted = [_find(known, name) for name in request.fields]
        rows = _gpu_rows if request.show == "gpu" else app_values

        def csv(reading: Reading, first: bool) -> str:
            lines = [] if "noheader" in request.format or not first else [_header(request.fields, wanted)]
            units = "nounits" not in request.format
            lines += [", ".join(_cell(row[f.names[0]], f, units) for f in wanted) for row in rows(card, reading)]
            return "".join(line + "\n" for line in lines)

        return csv
    return lambda reading, _: screens.table(card, reading)


def _gpu_rows(card: Card, reading: Reading) -> list[dict[str, str]]:
    return [gpu_values(card, reading)]


def _find(known: Sequence[Field], name: str) -> Field:
    for field in known:
        if name in field.names:
            return field
    raise BadArgumentError(f'Field "{name}" is not a valid field to query.\n\n')


def _header(asked: Sequence[str], fields: Sequence[Field]) -> str:
    """The names as they were asked for, with units whatever the format."""
    return ", ".join(f"{n} [{f.unit}]" if f.unit else n for n, f in zip(asked, fields, strict=True))


def _cell(value: str, field: Field, units: bool) -> str:
    return f"{value} {field.unit}" if units and field.unit and value != NA else value


def _query(show: str) -> Callable[[Request, str], None]:
    def take(request: Request, value: str) -> None:
        request.show = show
        request.fields = [name.strip() for name in value.split(",")]

    return take


def _format(request: Request, value: str) -> None:
    request.format = {word.strip() for word in value.split(",")}
    if not request.format <= {"csv", "noheader", "nounits"}:
        raise BadArgumentError("Invalid format specified. Please run 'nvidia-smi -h' for help.\n\n")


def _interval(unit: float) -> Callable[[Request, str], None]:
    def take(request: Request, value: str) -> None:
        if not value.isdecimal() or int(value) < 1:
            raise BadArgumentError(f'"{value}" is not a valid interval.\n\n')
        request.every = int(value) * unit

    return take


def _device(request: Request, value: str) -> None:
    request.device = value


_VALUES: dict[str, Callable[[Request, str], None]] = {
    "--query-gpu": _query("gpu"),
    "--query-compute-apps": _query("apps"),
    "--format": _format,
    "-l": _interval(1.0),
    "--loop": _interval(1.0),
    "-lms": _interval(0.001),
    "--loop-ms": _interval(0.001),
    "-i": _device,
    "--id": _device,
}

_FIXED: dict[str, Callable[[Card], str]] = {
    "list": screens.listing,
    "usage": screens.usage,
    "version": screens.version,
    "help-gpu": lambda card: screens.query_help("query-gpu", GPU_FIELDS),
    "help-apps": lambda card: screens.query_help("query-compute-apps", APP_FIELDS),
}
