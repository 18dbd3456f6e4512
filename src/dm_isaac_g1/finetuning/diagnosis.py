"""Why a run failed: the end of its log, its exit and the free space left, against the table in `failures`."""

from __future__ import annotations

import re

from dm_isaac_g1.core import units
from dm_isaac_g1.core.runs import Diagnosis, JobExit
from dm_isaac_g1.finetuning.failures import DISK_FULL_FIX, FAILURES, Failure

#: torchrun's and `--tee`'s prefixes; a bar that an error was glued to ends with its rate.
_PREFIX = re.compile(r"^\[(?:rank|default)\d+\]: ?")
_GLUED = re.compile(r"^.*?(?:it/s|s/it)\](?=\S)")
#: An exception's own line; wrappers of torchrun say nothing of the cause.
_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?(?P<name>\w*(?:Error|Exception|Exit|Interrupt)|Refused)(?:: (?P<what>.*))?$")
_WRAPPER = re.compile(r"ChildFailedError|SignalException|elastic_launch|multiprocessing\.errors")
_NAN = re.compile(r"\{'loss': '?(?:nan|inf|-inf)'?|\{'loss': '?0(?:\.0)?'?, 'grad_norm': '?(?:nan|-?inf)'?")
_METRICS = re.compile(r"\s*\{'loss':")
_TRACEBACK = "Traceback (most recent call last)"
_CHILD = re.compile(r"exitcode\s*: (?P<code>-?\d+)")
#: How the command line tells an error, in its last line.
OURS = "dm-g1: "
#: Less than this left at the end is a full disk, whatever the log (which may lie there, too) had room to say.
_FULL = 1024 * 1024
#: With more than this left, a failed write was not for want of space.
_PLENTY = 50_000_000_000
#: Characters of a line that are looked at, from its start and its end, and that an evidence has; lines looked at.
_HEAD, _FOOT, _LINES = 500, 200, 1000
_LINE = 400
_SIGNALS = {1: "SIGHUP", 2: "SIGINT", 6: "SIGABRT", 7: "SIGBUS", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}


def diagnose(log_tail: str, exit: JobExit | None = None, avail: int | None = None) -> Diagnosis | None:
    """The cause of a failure, for people; None where nothing failed.

    `log_tail`: the log's last lines, cleaned. `exit`: how the job ended, where that is known. `avail`: bytes free on
    the output's file system at the end (default: what `exit` says).
    """
    lines = _lines(log_tail)
    if exit is not None and avail is None:
        avail = exit.avail
    became_nan = _last(lines, _NAN)
    if exit is not None and exit.code == 0:
        return _nan(became_nan) if became_nan else None
    if found := _ours(lines):
        return found
    text = "\n".join(lines)
    end = _end(lines)
    if found := _listed(end, text):
        return _checked(found, avail)
    if avail is not None and avail < _FULL:
        return Diagnosis(
            code="disk-full",
            cause=f"the disk was full: {units.size(avail)} were left when it ended",
            fix=DISK_FULL_FIX,
        )
    if found := _raised(end) or (_listed(lines, text) if end is not lines else None) or _killed(exit):
        return found
    return _nan(became_nan) if became_nan else _without_words(lines, exit)


def _lines(text: str) -> list[str]:
    """Lines without prefixes, bars and text glued to bars."""
    lines = []
    for line in re.split(r"[\r\n]+", text)[-_LINES:]:
        if len(line) > _HEAD + _FOOT:  # a dump of a model, or worse: patterns cost the square of a line
            line = f"{line[:_HEAD]} … {line[-_FOOT:]}"
        line = _GLUED.sub("", _PREFIX.sub("", line)).rstrip()
        if line:
            lines.append(line)
    return lines


def _end(lines: list[str]) -> list[str]:
    """From the first traceback after the last metrics on: what failed, without warnings from before. Else all."""
    moved = max((n for n, line in enumerate(lines) if _METRICS.match(line)), default=-1)
    start = next((n for n, line in enumerate(lines) if n > moved and line.startswith(_TRACEBACK)), None)
    return lines if start is None else lines[start:]


def _ours(lines: list[str]) -> Diagnosis | None:
    """What a command of dm-g1 said at last: it has named the cause itself (core.errors.DmG1Error.line)."""
    last = lines[-1].strip() if lines else ""
    if not last.startswith(OURS):
        return None
    cause = last.removeprefix(OURS)
    return Diagnosis(code="said", cause=cause[:_LINE], evidence=last[:_LINE])


def _listed(lines: list[str], text: str) -> Diagnosis | None:
    """The first failure of the table that the lines show; what must be `near` may stand anywhere in the text."""
    for failure in FAILURES:
        if (failure.near is None or failure.near.search(text)) and (found := _match(lines, failure)):
            return found
    return None


def _match(lines: list[str], failure: Failure) -> Diagnosis | None:
    """The last line that shows this failure, as a diagnosis."""
    for line in reversed(lines):
        if found := failure.pattern.search(line):
            groups = found.groupdict()
            # Alternatives of a pattern name what they found differently; a cause speaks of it by one name.
            thing = next((value for value in groups.values() if value), None)
            words = {name: value or thing or found.group() for name, value in groups.items()}
            return Diagnosis(
                code=failure.code,
                cause=failure.cause.format_map(words),
                evidence=line.strip()[:_LINE],
                fix=failure.fix.format_map(words),
            )
    return None


def _checked(found: Diagnosis, avail: int | None) -> Diagnosis:
    """A failed write with plenty of space left was something else."""
    silent = found.code == "disk-full" and "space" not in found.evidence.lower() and "os error" not in found.evidence
    if silent and avail is not None and avail > _PLENTY and "[Errno" not in found.evidence:
        return Diagnosis(
            code="write-failed",
            cause=f"writing a checkpoint failed, though {units.size(avail)} are free now",
            evidence=found.evidence,
            fix="see whether something freed space since; else check the disk (dmesg, quota)",
        )
    return found


def _raised(lines: list[str]) -> Diagnosis | None:
    """The last exception that is no wrapper's."""
    for line in reversed(lines):
        found = _EXCEPTION.match(line)
        if found and not _WRAPPER.search(line) and found["name"] != "SystemExit":
            return Diagnosis(
                code="exception",
                cause=f"the trainer raised {found['name']}" + (f": {found['what'][:200]}" if found["what"] else ""),
                evidence=line.strip()[:_LINE],
                fix="the log has the traceback",
            )
    return None


def _killed(exit: JobExit | None) -> Diagnosis | None:
    """Ended by a signal, with no word in the log."""
    number = exit.signal if exit else None
    if exit is not None and number is None and exit.code is not None and exit.code > 128:
        number = exit.code - 128
    if not number:
        return None
    name = _SIGNALS.get(number, f"signal {number}")
    cause, fix = {
        9: (
            "it was killed (SIGKILL), by the kernel for want of memory or by someone",
            "look for 'Out of memory' in the host's dmesg; else start it again: it resumes",
        ),
        11: ("it crashed (SIGSEGV) in native code", "check the versions of torch, CUDA and the video decoder"),
        7: ("it crashed (SIGBUS): out of shared memory, or of disk under a mapped file", "check /dev/shm and the disk"),
    }.get(number, (f"it was ended by {name}", "start it again: it resumes from its last checkpoint"))
    return Diagnosis(code="killed" if number in (9, 11, 7) else "interrupted", cause=cause, evidence=name, fix=fix)


def _nan(line: str) -> Diagnosis:
    return Diagnosis(
        code="nan",
        cause="the training became NaN (it prints as loss 0.0)",
        evidence=line.strip()[:_LINE],
        fix="lower the learning rate, look for outliers in the dataset's statistics; its checkpoints since are useless",
    )


def _without_words(lines: list[str], exit: JobExit | None) -> Diagnosis | None:
    child = _last(lines, _CHILD)
    if child:
        return Diagnosis(
            code="worker-failed",
            cause="a worker failed and left no traceback here",
            evidence=child.strip(),
            fix="look at the ranks' own logs",
        )
    if exit is None or exit.code is None:
        return None
    named = {126: "the command may not be executed", 127: "the command was not found", 2: "wrong usage, most likely"}
    why = named.get(exit.code)
    return Diagnosis(
        code={126: "permission", 127: "command-not-found", 2: "usage"}.get(exit.code, "unknown"),
        cause=f"it ended with code {exit.code}" + (f": {why}" if why else " and said nothing"),
        evidence=lines[-1].strip()[:_LINE] if lines else "",
        fix="the log has its last words",
    )


def _last(lines: list[str], pattern: re.Pattern[str]) -> str | None:
    return next((line for line in reversed(lines) if pattern.search(line)), None)
