"""The hub process from the outside: started, asked, and ended within a second when the work is cancelled."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from dm_isaac_g1.core import redact
from dm_isaac_g1.data.hub import failures
from dm_isaac_g1.data.hub.wire import Answered, Asked, Bytes, Failed, Finished, Listed, Said
from dm_isaac_g1.data.work import Work

#: Seconds between two looks whether the work was cancelled.
_CADENCE = 0.1
_SETTINGS = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}


class HubProcess:
    """A context manager. `dataset` names what is being downloaded in errors; it may change with every question."""

    def __init__(self, work: Work, dataset: str) -> None:
        self._work = work
        self.dataset = dataset
        self._buffer = b""

    def __enter__(self) -> Self:
        self._complaints = tempfile.TemporaryFile()
        # -P: a file in the working folder must not be taken for a module. A session of its own: Ctrl-C is ours.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dm_isaac_g1.data.hub.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, **_SETTINGS},
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._complaints.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # a question that it did not live to read
                    stream.close()

    def ask(self, asked: Asked, *, at: Callable[[int], None] = lambda done: None) -> Listed | Finished:
        """The answer. `at` is told how many bytes are done.

        Raises Interrupted once the work is cancelled, and what the process says went wrong as a DataProblem.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(asked) + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None
        while True:
            match self._next():
                case Bytes(done=done):
                    at(done)
                case Said(text=text):
                    self._work.progress(text)
                case Failed() as failed:
                    raise failures.raised(failed, dataset=self.dataset)
                case answer:
                    return answer

    def _next(self) -> Answered:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            self._work.check()
            if select.select([descriptor], [], [], _CADENCE)[0]:
                data = os.read(descriptor, 1 << 16)
                if not data:
                    raise self._died()
                self._buffer += data
        self._work.check()
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer: Answered = msgspec.json.decode(line, type=Answered)
        return answer

    def _died(self) -> failures.HubProblem:
        code = self._process.wait()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        self._complaints.seek(0)
        last = next(reversed(self._complaints.read().decode(errors="replace").split("\n")[:-1]), "")
        how += f": {redact.redact(last)}" if last else ""
        fix = f"is huggingface_hub there (the extra `data`)? {failures.AGAIN}"
        return failures.HubProblem(
            "hub-process-died", f"the download process ended {how}", fix=fix, dataset=self.dataset
        )
