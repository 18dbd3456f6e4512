"""What the policy protocol costs: our client and server beside ZeroMQ alone with the same bytes, in one run.

    scripts/bench infer [--calls 300] [--rounds 5] [--json FILE]

One 480x640 picture and 31 states go there, 30 steps of 23 values come back (923,182 and 3,949 bytes), over TCP on
loopback; client and server are processes of their own, and the policy answers at once. Rounds take turns, so that
a busy moment meets all of them. Beside it: the codec alone, into the buffer that a client uses again.
Goals: our pair's p50 at most 7 times that of ZeroMQ alone; packing and unpacking an observation at most 0.1 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from dm_isaac_g1.inference import GrootClient, GrootClientAsync, PolicyServer, observation
from dm_isaac_g1.inference.embodiments import embodiment_of
from dm_isaac_g1.inference.policies.base import modality_config
from dm_isaac_g1.inference.protocol import Packer, pack, unpack
from dm_isaac_g1.inference.protocol.messages import request

GOAL_RATIO, GOAL_CODEC_MS = 7.0, 0.1
SPEC = embodiment_of("UNITREE_G1").spec
WARM_UP = 20


class Constant:
    """The same 30 x 23 values for every observation."""

    kind = name = "constant"
    spec = SPEC

    def __init__(self) -> None:
        self._actions = {group: np.zeros((1, SPEC.horizon, width), np.float32) for group, width in SPEC.action.items()}

    def modality_config(self) -> Any:
        return modality_config(SPEC)

    def get_action(self, observation: Any, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._actions, {}

    def reset(self, options: Any = None) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


def seen() -> dict[str, Any]:
    """What a G1 with one camera sends, the same every time."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    return observation(state=random.standard_normal(SPEC.state_width), image=picture, task="fold the towel")


def serve(what: str) -> None:
    """Until killed; the port is the first line."""
    if what == "ours":
        with PolicyServer(Constant(), port=0) as server:
            print(server.port, flush=True)
            time.sleep(3600)
    reply = pack(list(Constant().get_action(None)))
    link = zmq.Context.instance().socket(zmq.REP)
    print(link.bind_to_random_port("tcp://127.0.0.1"), flush=True)
    while True:
        link.recv()
        link.send(reply)


@contextlib.contextmanager
def server(what: str) -> Iterator[int]:
    """Its port."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", what], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def timed(call: Callable[[], Any], calls: int) -> list[float]:
    """Milliseconds of each call."""
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - started))
    return taken


def raw_call(port: int, frame: bytes) -> Callable[[], Any]:
    link = zmq.Context.instance().socket(zmq.REQ)
    link.setsockopt(zmq.LINGER, 0)
    link.connect(f"tcp://127.0.0.1:{port}")

    def call() -> Any:
        link.send(frame)
        return link.recv()

    return call


async def awaited(port: int, given: dict[str, Any], calls: int) -> list[float]:
    async with GrootClientAsync(port=port) as client:
        taken = []
        for _ in range(WARM_UP + calls):
            started = time.perf_counter()
            await client.get_action(given)
            taken.append(1e3 * (time.perf_counter() - started))
    return taken[WARM_UP:]


def row(name: str, rounds: list[list[float]]) -> dict[str, float]:
    """p50 and calls a second of the best round: what a machine does besides is not the protocol's. p99 over all."""
    best = min(rounds, key=statistics.median)
    everything = sorted(each for taken in rounds for each in taken)
    found = {
        "p50_ms": statistics.median(best),
        "p99_ms": everything[int(len(everything) * 0.99)],
        "calls_s": 1e3 * len(best) / sum(best),
    }
    print(f"{name:<34}{found['p50_ms']:>9.3f}{found['p99_ms']:>9.3f}{found['calls_s']:>10.0f}")
    return found


def measure(calls: int, rounds: int) -> tuple[dict[str, list[list[float]]], list[float]]:
    """Milliseconds by name and round, and the ratio of the medians in each round."""
    given = seen()
    frame = pack(request("get_action", {"observation": given, "options": None}))
    packer, reply = Packer(), pack(list(Constant().get_action(None)))
    message = unpack(frame)
    found: dict[str, list[list[float]]] = {}
    ratios = []
    with server("raw") as raw_port, server("ours") as our_port, GrootClient(port=our_port) as client:
        pairs = {"raw": raw_call(raw_port, frame), "ours": lambda: client.get_action(given)}
        for call in pairs.values():
            timed(call, WARM_UP)
        for _ in range(rounds):
            taken = {name: timed(call, calls) for name, call in pairs.items()}
            taken["async"] = asyncio.run(awaited(our_port, given, calls))
            taken["pack"] = timed(lambda: packer.pack(message), calls)
            taken["unpack"] = timed(lambda: unpack(frame), calls)
            taken["unpack_reply"] = timed(lambda: unpack(reply), calls)
            ratios.append(statistics.median(taken["ours"]) / statistics.median(taken["raw"]))
            for name, each in taken.items():
                found.setdefault(name, []).append(each)
    return found, ratios


NAMES = {
    "raw": "ZeroMQ alone, the same bytes",
    "ours": "GrootClient -> PolicyServer",
    "async": "GrootClientAsync -> PolicyServer",
    "pack": "pack an observation",
    "unpack": "unpack an observation",
    "unpack_reply": "unpack an action chunk",
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench infer", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--serve", choices=("raw", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        serve(options.serve)
    found, ratios = measure(options.calls, options.rounds)
    print(f"{'480x640 picture, 31 -> 30 x 23':<34}{'p50 ms':>9}{'p99 ms':>9}{'calls/s':>10}")
    rows = {name: row(title, found[name]) for name, title in NAMES.items()}
    ratio = statistics.median(ratios)
    codec = rows["pack"]["p50_ms"] + rows["unpack"]["p50_ms"]
    print(
        f"our pair takes {ratio:.1f} times ZeroMQ alone (goal {GOAL_RATIO:g}), {min(ratios):.1f} to {max(ratios):.1f}"
    )
    print(f"the codec takes {codec:.3f} ms an observation (goal {GOAL_CODEC_MS:g})")
    figures = {f"{name}_{what}": round(value, 4) for name, each in rows.items() for what, value in each.items()}
    text = json.dumps({"bench": "infer", "ratio": round(ratio, 2), "codec_ms": round(codec, 4), **figures})
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0 if ratio <= GOAL_RATIO and codec <= GOAL_CODEC_MS else 1


if __name__ == "__main__":
    sys.exit(main())
