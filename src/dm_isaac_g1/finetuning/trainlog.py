"""A trainer's log into metrics, step and phase: incremental, on bytes, without a guess where the format is exact.

Formats, as printed by Hugging Face's `Trainer` (ProgressCallback, transformers 4.51 and 5.23) and by GR00T on top:

- a log line is `\\r<spaces>\\r{'loss': 0.57, 'grad_norm': 0.02, 'learning_rate': 0.0006}\\n`, written through tqdm,
  which then redraws its bar. GR00T N1.6 leaves the epoch out, so the line has no step at all: **its step is the
  counter of the next bar segment**, `\\r  3%|▎  | 10/300 [00:00<00:10, 26.98it/s]`.
  GR00T N1.5 and transformers 5 add `'epoch'`,
  transformers 5 quotes the values.
- under torchrun the lines may start with `[rank0]: ` or `[default0]:`, and `--tee` turns CR into LF.
- past its total tqdm prints `401it [00:00, ...`; other bars carry a title ("Writing model shards:  33%|") or, in an
  evaluation, another total.
- NaN never shows as a loss: `logging_nan_inf_filter` prints `'loss': 0.0` beside `'grad_norm': nan`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from dm_isaac_g1.core.runs import MetricPoint

#: Bytes kept without a separator before the front is dropped: no bar or metrics line is longer.
_KEEP = 64 * 1024

#: Metrics lines that wait for a bar at most: a trainer without bars (disable_tqdm) never says their steps.
_WAITING = 10_000

_KEY = rb"'([\w./@ :+-]{1,80})': "
#: A flat dict on one line that starts with a word as key.
_DICT = re.compile(rb"\{(" + _KEY + rb"[^{}\r\n]*)\}")
#: One of its numbers, bare, quoted (transformers 5), or as numpy 2 and torch show their scalars.
_ITEM = re.compile(_KEY + rb"'?(?:np\.\w+\(|tensor\()?([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf))'?\)?(?=,|$)")
#: A dict with one of these is metrics; once one was seen, others of numbers alone are, too.
_KNOWN = frozenset((b"loss", b"grad_norm", b"learning_rate", b"eval_loss", b"train_loss", b"train_runtime"))
#: tqdm's untitled bar at the start of a segment (a torchrun prefix may stand before it), or past its total `401it [`.
_BAR = re.compile(
    rb"(?:^|[\r\n]|\]:)[ ]*(?:\d+%\|[^|\r\n]*\|[ ]*(?P<n>\d+)/(?P<total>\d+) \[|(?P<past>\d+)it \[)(?P<elapsed>[\d:]*)"
)


class Phase(StrEnum):
    """What the trainer is doing, by what it printed last."""

    STARTING = "starting"
    CACHING = "caching"
    TRAINING = "training"
    SAVING = "saving"
    FINISHED = "finished"
    FAILED = "failed"


#: Text -> phase; the one that stands last in the log counts. From GR00T's and transformers' own messages.
_MARKERS: tuple[tuple[bytes, Phase], ...] = (
    (b"Starting training...", Phase.STARTING),
    (b"Caching shard", Phase.CACHING),
    (b"Creating custom train dataloader", Phase.CACHING),
    (b"Saving model checkpoint to", Phase.SAVING),
    (b"Writing model shards", Phase.SAVING),
    (b"Copying experiment config directory", Phase.SAVING),
    (b"'train_runtime'", Phase.FINISHED),
    (b"Model saved to", Phase.FINISHED),
    (b"Training completed!", Phase.FINISHED),
    (b"Traceback (most recent call last)", Phase.FAILED),
)


@dataclass(slots=True)
class _Pending:
    """A metrics line whose step stands in the next bar."""

    values: list[tuple[str, float]]

    @property
    def loss(self) -> bool:
        return any(name == "loss" for name, _ in self.values)


def is_nan(loss: float | None, grad_norm: float | None) -> bool:
    """True where the training has become NaN: the loss says so, or prints as 0.0 beside a gradient that is none."""
    if loss is None:
        return False
    return not math.isfinite(loss) or (loss == 0.0 and grad_norm is not None and not math.isfinite(grad_norm))


class TrainLogReader:
    """Feed it the bytes of one run's log in order; it keeps `step`, `max_steps`, `phase` and the NaN flags."""

    def __init__(self) -> None:
        self.step: int | None = None
        self.max_steps: int | None = None
        self.phase = Phase.STARTING
        #: The first step whose metrics were NaN, and whether the last ones are.
        self.nan_step: int | None = None
        self.nan_now = False
        #: When the bar started, seconds since the epoch, as well as it is known.
        self.started: float | None = None
        self._tail = b""
        self._seen_metrics = False
        self._locked = False
        self._over = False
        self._pending: list[_Pending] = []
        self._last_logged: int | None = None
        self._interval: int | None = None

    def feed(self, data: bytes, wall: float | None = None) -> list[MetricPoint]:
        """The points that `data` completes, in the log's order.

        `wall`: when the last byte of `data` was written (now for a live log, the file's mtime for one read whole),
        seconds since the epoch; None where it is not known, as for an older part of a file. Points further back get
        their time from the bar's elapsed seconds.
        """
        if not data:
            return []
        text = self._tail + data
        self._phase_of(text, len(self._tail))
        self._clock(text, wall)
        points: list[MetricPoint] = []
        at = 0
        for found in _DICT.finditer(text):
            values = _ITEM.findall(found[1])
            known = any(name in _KNOWN for name, _ in values)
            if not known and not (values and self._seen_metrics and found[1].count(b"': ") == len(values)):
                continue
            self._bars(text, at, found.start(), points, wall)
            self._seen_metrics = True
            self._pending.append(_Pending([(name.decode(), float(value)) for name, value in values]))
            del self._pending[:-_WAITING]
            at = found.end()
        self._bars(text, at, len(text), points, wall)
        cut = max(at, text.rfind(b"\n") + 1, text.rfind(b"\r"))  # a CR stays: it is how a bar starts
        self._tail = text[max(cut, len(text) - _KEEP) :]
        return points

    def _bars(self, text: bytes, start: int, end: int, points: list[MetricPoint], wall: float | None) -> None:
        """Read the bars of `text[start:end]`: the first gives pending metrics their step, the last is where we are."""
        first = last = None
        if self._locked:
            first = self._find(text, start, end) if self._pending else None
            last = self._rfind(text, start, end) or first
        else:
            for found in _BAR.finditer(text, start, end):
                # The training's bar is the one drawn again after the first loss; until then, the last one started.
                # After a run's end other bars may follow, or another run in the same log.
                if found["total"] and not self._locked and (not self._over or self._pending):
                    self.max_steps = int(found["total"])
                    self._locked = any(pending.loss for pending in self._pending)
                elif found["total"] and int(found["total"]) != self.max_steps:
                    continue
                first, last = first or found, found
        if first is not None and self._pending:
            self._settle(_count(first), first, points, wall)
        if last is not None:
            self.step = _count(last)

    def _find(self, text: bytes, start: int, end: int) -> re.Match[bytes] | None:
        """The first bar of the known total in `text[start:end]`."""
        total = b"/%d [" % (self.max_steps or 0)
        hit = text.find(total, start, end)
        if hit < 0:
            return self._past(text, start, end)
        while hit >= 0:
            found = _BAR.match(text, _segment(text, hit))
            if found and found["total"]:
                return found
            hit = text.find(total, hit + 1, end)
        return None

    def _rfind(self, text: bytes, start: int, end: int) -> re.Match[bytes] | None:
        total = b"/%d [" % (self.max_steps or 0)
        hit = text.rfind(total, start, end)
        if hit < 0:
            return self._past(text, start, end)
        while hit >= 0:
            found = _BAR.match(text, _segment(text, hit))
            if found and found["total"]:
                return found
            hit = text.rfind(total, start, hit)
        return None

    @staticmethod
    def _past(text: bytes, start: int, end: int) -> re.Match[bytes] | None:
        """tqdm past its total."""
        hit = text.find(b"it [", start, end)
        found = _BAR.match(text, _segment(text, hit)) if hit >= 0 else None
        return found if found and found["past"] else None

    def _settle(self, step: int, bar: re.Match[bytes], points: list[MetricPoint], wall: float | None) -> None:
        """Give pending metrics their step.

        Several may wait for one bar: the end of a run prints its summary after the last metrics, and held-back output
        (no PYTHONUNBUFFERED) comes in bursts, whose steps are the logging interval apart.
        """
        logs = [pending for pending in self._pending if pending.loss]
        steps = {id(p): step for p in self._pending}
        if len(logs) > 1 and self._interval and self._last_logged is not None:
            for index, pending in enumerate(logs, 1):
                steps[id(pending)] = min(step, self._last_logged + index * self._interval)
        at = self._when(bar, wall)
        for pending in self._pending:
            self._over = any(name == "train_runtime" for name, _ in pending.values)
            self._locked = self._locked and not self._over
            where = steps[id(pending)]
            points += [MetricPoint(name=n, step=where, value=v, wall=at) for n, v in pending.values]
        for pending in logs:
            self._logged(steps[id(pending)], dict(pending.values))
        self._pending.clear()

    def _logged(self, step: int, values: dict[str, float]) -> None:
        self.nan_now = is_nan(values.get("loss"), values.get("grad_norm"))
        if self.nan_now and self.nan_step is None:
            self.nan_step = step
        if self._last_logged is not None and step > self._last_logged:
            self._interval = step - self._last_logged
        self._last_logged = step

    def _clock(self, text: bytes, wall: float | None) -> None:
        """Learn when the bar started: never later than any look at it says."""
        self._latest: int | None = None
        if wall is None:
            return
        bar = text.rfind(b"it/s]"), text.rfind(b"s/it]")
        found = _BAR.match(text, _segment(text, max(bar))) if max(bar) >= 0 else None
        self._latest = _seconds(found["elapsed"]) if found else None
        if self._latest is not None:
            start = wall - self._latest
            self.started = start if self.started is None else min(self.started, start)

    def _when(self, bar: re.Match[bytes], wall: float | None) -> float | None:
        elapsed = _seconds(bar["elapsed"])
        if wall is not None and (elapsed is None or self._latest is None or elapsed >= self._latest):
            return wall
        return None if self.started is None or elapsed is None else self.started + elapsed

    def _phase_of(self, text: bytes, old: int) -> None:
        """The phase of the last marker in the new bytes; a bar after it means training goes on."""
        best, phase = -1, None
        for marker, what in _MARKERS:
            hit = text.rfind(marker, max(0, old - len(marker)))
            if hit > best:
                best, phase = hit, what
        bar = max(text.rfind(b"it/s]", old), text.rfind(b"s/it]", old))
        moving = bar > best and (phase or self.phase) is not Phase.FINISHED
        if moving and (found := _BAR.match(text, _segment(text, bar))) and found["n"]:
            # A failing run draws its bar once more as it closes: that is no progress.
            if phase is Phase.FAILED or (self.phase is Phase.FAILED and phase is None):
                phase = Phase.FAILED
            else:
                phase = Phase.TRAINING
        if phase is not None:
            self.phase = phase


def _segment(text: bytes, position: int) -> int:
    """Where the segment around `position` starts, its separator included (or its torchrun prefix's end)."""
    start = max(text.rfind(b"\r", 0, position), text.rfind(b"\n", 0, position), 0)
    prefix = text.rfind(b"]:", start, position)
    return prefix if prefix >= 0 else start


def _count(bar: re.Match[bytes]) -> int:
    return int(bar["n"] or bar["past"])


def _seconds(elapsed: bytes) -> int | None:
    """tqdm's `[[h:]mm:]ss` in seconds."""
    try:
        parts = [int(p) for p in elapsed.split(b":")]
    except ValueError:
        return None
    total = 0
    for part in parts:
        total = total * 60 + part
    return total
