"""What the tests of serving need: models that behave or not, a spec, releases, and a robot that never stops asking."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dm_isaac_g1.core.deployments import Release
from dm_isaac_g1.deploy.runtimes.served import Launch
from dm_isaac_g1.inference import GrootClient
from dm_isaac_g1.inference.specs import PolicySpec

SERVER = Path(__file__).with_name("tiny_server.py")
SPEC = PolicySpec(state={"state": 4}, action={"arm": 3, "hand": 1}, horizon=5)
LOAD_S = 0.4


class Command(msgspec.Struct, frozen=True, kw_only=True):
    argv: tuple[str, ...]
    cwd: str | None = None
    env: dict[str, str] = {}


def command(path: str, port: int, bind: str) -> Command:
    argv = (sys.executable, str(SERVER), "--model", path, "--port", str(port), "--bind", bind)
    return Command(argv=argv, env={"PYTHONUNBUFFERED": "1"})


def release(models: Path, name: str, **behaviour: Any) -> Release:
    """A release in the models folder, as the store leaves it. `value`: what each of its actions is."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    folder = models / "rel" / f"{name}-{digest[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "behave.json").write_text(json.dumps({"load_s": LOAD_S, **behaviour}))
    return Release(id=folder.name, name=name, digest=digest, kind="bc", path=str(folder))


def launch(made: Release, txn: str) -> Launch:
    return Launch(release=made, txn=txn, command=command)


@dataclass
class Robot:
    """Asks for an action again and again, as a robot does; a request that fails is asked anew on a fresh socket."""

    port: int
    address: str = "127.0.0.1"
    timeout: float = 0.5
    #: (when it was answered, the action's value).
    answers: list[tuple[float, float]] = field(default_factory=list)
    failures: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def asking(self) -> Iterator[Robot]:
        thread = threading.Thread(target=self._ask, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(10)
            assert not thread.is_alive()

    def _ask(self) -> None:
        observation = {"state": {"state": np.zeros((1, 1, 4), np.float32)}, "video": {}, "language": {}}
        while not self._stop.is_set():
            with GrootClient(self.address, self.port, timeout=self.timeout, dialect="nested") as client:
                while not self._stop.is_set():
                    try:
                        actions, _ = client.get_action(observation)
                    except Exception:
                        self.failures += 1
                        self._stop.wait(0.02)
                        break
                    self.answers.append((time.monotonic(), float(actions["arm"][0, 0, 0])))
                    self._stop.wait(0.01)

    @property
    def value(self) -> float | None:
        return self.answers[-1][1] if self.answers else None

    def wait(self, value: float, timeout: float = 20.0) -> None:
        """Until an action of that value comes."""
        until = time.monotonic() + timeout
        while self.value != value:
            assert time.monotonic() < until, f"still {self.value}, {self.failures} failures"
            time.sleep(0.02)

    def ready(self, value: float) -> None:
        """Until the first action comes; what failed before does not count."""
        self.wait(value)
        self.failures = 0

    def wait_any(self, timeout: float = 20.0) -> None:
        """Until any action comes."""
        until = time.monotonic() + timeout
        while not self.answers:
            assert time.monotonic() < until, f"no answer, {self.failures} failures"
            time.sleep(0.02)

    def gap(self) -> float:
        """The longest time without an answer."""
        times = [when for when, _ in self.answers]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)
