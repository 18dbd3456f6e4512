"""A policy server of a few lines that can be told to misbehave, by behave.json in the model's folder.

    {"load_s": 0.3, "act": "good" | "nan" | "shape" | "dtype" | "names" | "error" | "hang" | "deaf" | "exit" | "crash",
     "deaf_if": FILE}

With `deaf_if`, it never answers a request that comes while that file exists, nor any after it.
Its command is ours to make: `tiny_server.py --model FOLDER --port N --bind A`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import zmq

from dm_isaac_g1.inference.protocol import ModalityConfig, pack, unpack

WIDTHS, ACTIONS, HORIZON = {"state": 4}, {"arm": 3, "hand": 1}, 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, default=5555)
    parser.add_argument("--bind", default="127.0.0.1")
    args = parser.parse_args()
    how = json.loads((Path(args.model) / "behave.json").read_text())
    act = how.get("act", "good")
    time.sleep(how.get("load_s", 0.2))
    if act == "exit":
        print("RuntimeError: the weights are no weights", flush=True)
        sys.exit(3)
    if how.get("sigterm", True):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    socket = zmq.Context().socket(zmq.REP)
    socket.linger = 500
    socket.bind(f"tcp://{args.bind}:{args.port}")
    print(f"Server is ready and listening on tcp://{args.bind}:{args.port}", flush=True)
    while True:
        request = unpack(socket.recv())
        endpoint = request.get("endpoint", "get_action")
        if (act == "deaf" and endpoint != "nothing") or os.path.exists(how.get("deaf_if", "")):
            time.sleep(3600)
        if endpoint == "get_action" and act == "hang":
            time.sleep(3600)
        if endpoint == "get_action" and act == "crash":
            os._exit(9)
        socket.send(pack(answer(endpoint, request, how.get("value", 0.0), act)))


def answer(endpoint: str, request: dict, value: float, act: str) -> object:
    if endpoint == "ping":
        return {"status": "ok", "message": "Server is running"}
    if endpoint == "get_modality_config":
        return {
            "video": ModalityConfig(delta_indices=[0], modality_keys=[]),
            "state": ModalityConfig(delta_indices=[0], modality_keys=list(WIDTHS)),
            "action": ModalityConfig(delta_indices=list(range(HORIZON)), modality_keys=list(ACTIONS)),
            "language": ModalityConfig(delta_indices=[0], modality_keys=[]),
        }
    if endpoint != "get_action":
        return {"error": f"Unknown endpoint: {endpoint}"}
    if act == "error":
        return {"error": "CUDA error: device-side assert triggered"}
    actions = {name: np.full((1, HORIZON, width), value, np.float32) for name, width in ACTIONS.items()}
    if act == "nan":
        actions["arm"][0, 2, 1] = np.nan
    elif act == "shape":
        actions["hand"] = actions["hand"][:, :2]
    elif act == "dtype":
        actions["hand"] = actions["hand"].astype(np.float64)
    elif act == "names":
        actions["wing"] = actions.pop("hand")
    return [actions, {}]


if __name__ == "__main__":
    main()
