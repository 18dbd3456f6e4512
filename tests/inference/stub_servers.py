"""Small policy servers in threads, each of which speaks one dialect in the words of the real one."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import observed
import zmq

from dm_isaac_g1.inference.protocol import ModalityConfig, ServerError, json_numpy, pack, unpack

#: A reply that is never sent.
SILENCE = object()
ACTIONS = {"left_arm": 7, "navigate_command": 3, "left_hand": 1}

Handler = Callable[[dict[str, Any]], Any]


class ZmqStub:
    """`handler`: request -> reply, bytes and tuples of them as they are, SILENCE for none; ServerError becomes an
    {"error": ...}."""

    def __init__(self, handler: Handler, port: int = 0, delay: float = 0.0) -> None:
        self._handler, self._delay = handler, delay
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        self.port = int(self._socket.last_endpoint.rpartition(b":")[2])
        self.seen: list[dict[str, Any]] = []
        self._left, self._ending = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._left.is_set():
            if not self._socket.poll(20):
                continue
            peer, empty, frame = self._socket.recv_multipart()
            request = unpack(frame)
            self.seen.append(request)
            try:
                reply = self._handler(request)
            except ServerError as error:
                reply = {"error": error.said}
            if reply is SILENCE:
                continue
            if self._delay and request["endpoint"] == "get_action":
                self._left.wait(self._delay)
            frames = reply if isinstance(reply, tuple) else (reply if isinstance(reply, bytes) else pack(reply),)
            self._socket.send_multipart([peer, empty, *frames])

    def endpoints(self) -> list[str]:
        return [request["endpoint"] for request in self.seen]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        """Any thread may, and more than one."""
        self._left.set()
        with self._ending:
            self._thread.join(5)
            if not self._context.closed:
                self._context.destroy(linger=0)


def actions(batch: int, steps: int = 5, prefix: str = "") -> dict[str, Any]:
    return {
        f"{prefix}{group}": np.full((batch, steps, width), index, np.float32)
        for index, (group, width) in enumerate(ACTIONS.items())
    }


def _config(prefix: str = "") -> dict[str, Any]:
    groups = [f"{prefix}{group}" for group in observed.GROUPS]
    return {"state": ModalityConfig(delta_indices=[0], modality_keys=groups)}


def nested(request: dict[str, Any]) -> Any:
    """N1.6."""
    match request["endpoint"]:
        case "ping":
            return {"status": "ok", "message": "Server is running"}
        case "get_modality_config":
            return _config()
        case "reset":
            assert set(request["data"]) == {"options"}
            return {"episode": 0}
        case "get_action":
            sent = request["data"]["observation"]
            if "video" not in sent:
                raise ServerError("Observation must contain a 'video' key")
            assert sent["language"][observed.LANGUAGE][0] == [observed.TASK]
            return [actions(len(sent["state"]["waist"])), {"options": request["data"]["options"]}]
        case other:
            raise ServerError(f"Unknown endpoint: {other}")


def flat(request: dict[str, Any]) -> Any:
    """N1.6 with --use-sim-policy-wrapper."""
    if request["endpoint"] != "get_action":
        return nested(request)
    sent = request["data"]["observation"]
    if "video.ego_view" not in sent:
        raise ServerError("Video key 'video.ego_view' must be in observation")
    assert sent[observed.LANGUAGE][0] == observed.TASK
    return [actions(len(sent["state.waist"]), prefix="action."), {}]


def n15(request: dict[str, Any]) -> Any:
    """N1.5 over ZeroMQ."""
    match request["endpoint"]:
        case "ping":
            return {"status": "ok", "message": "Server is running"}
        case "get_modality_config":
            text = json.dumps({"delta_indices": [0], "modality_keys": [f"state.{group}" for group in observed.GROUPS]})
            return {"state": {"__ModalityConfig_class__": True, "as_json": text}}
        case "get_action":
            return _n15_actions(request["data"])
        case other:
            raise ServerError(f"Unknown endpoint: {other}")


def _n15_actions(sent: dict[str, Any]) -> dict[str, Any]:
    single = sent["video.ego_view"].ndim == 4
    assert sent["state.waist"].ndim == (2 if single else 3) and sent[observed.LANGUAGE][0] == observed.TASK
    given = actions(1 if single else len(sent["state.waist"]), steps=16, prefix="action.")
    return (
        {key: value[0, :, 0] if value.shape[2] == 1 else value[0] for key, value in given.items()} if single else given
    )


class HttpStub:
    """N1.5's HTTP server: GET /health, POST /act. `lists`: some versions answer plain lists. `drip`: a byte a time."""

    def __init__(self, *, lists: bool = False, drip: bool = False) -> None:
        class Pages(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, {"status": "healthy", "model": "GR00T"})

            def do_POST(self) -> None:
                sent = json_numpy.unpack(self.rfile.read(int(self.headers["Content-Length"])))
                if "observation" not in sent or "state.waist" not in sent["observation"]:
                    return self._answer(500, {"detail": "Internal server error: 400: Missing 'observation' field"})
                found = _n15_actions(sent["observation"])
                return self._answer(200, {k: v.tolist() for k, v in found.items()} if lists else found)

            def _answer(self, status: int, value: Any) -> None:
                body = json_numpy.pack(value)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked has gone
                    for byte in body if drip and self.command == "POST" else ():
                        self.wfile.write(bytes([byte]))
                        time.sleep(0.05)
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
