"""Servers of N1.5 are tested as well: over ZeroMQ they say what they take in their own way, over HTTP not at all."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sets
from recorded import Recorded
from stub_servers import ZmqStub

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.inference import GrootClient
from dm_isaac_g1.inference.evaluation.examine import Plan, examine
from dm_isaac_g1.inference.evaluation.openloop import Order
from dm_isaac_g1.inference.protocol import ServerError, json_numpy


@pytest.fixture(scope="module")
def groot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sets.copy_of(tmp_path_factory.mktemp("sets") / "groot", "groot", episodes=1, frames=40, video="h264")


class Older:
    """What N1.5's services do with a policy: flat keys, no batch, no options, an action dictionary alone."""

    def __init__(self, groot: Path) -> None:
        self.policy = Recorded(groot)
        self.pictures: list[Any] = []

    def act(self, sent: dict[str, Any]) -> dict[str, Any]:
        self.pictures.append(sent["video.ego_view"])
        assert sent["annotation.human.task_description"] == ["Fold the towel."]
        state = {key.removeprefix("state."): value[None] for key, value in sent.items() if key.startswith("state.")}
        found, _ = self.policy.get_action({"state": state})
        return {f"action.{name}": rows[0] for name, rows in found.items()}

    def handle(self, request: dict[str, Any]) -> Any:
        match request["endpoint"]:
            case "ping":
                return {"status": "ok", "message": "Server is running"}
            case "get_modality_config":
                keys = {kind: [f"{kind}.{name}" for name in names] for kind, names in self.policy.groups.items()}
                keys |= {"video": ["video.ego_view"], "language": ["annotation.human.task_description"]}
                return {kind: self._config(kind, names) for kind, names in keys.items()}
            case "get_action":
                return self.act(request["data"])
            case other:
                raise ServerError(f"Unknown endpoint: {other}")

    def _config(self, kind: str, keys: list[str]) -> dict[str, Any]:
        deltas = list(range(self.policy.horizon)) if kind == "action" else [0]
        text = json.dumps({"delta_indices": deltas, "modality_keys": keys})
        return {"__ModalityConfig_class__": True, "as_json": text}


@contextmanager
def over_http(older: Older) -> Iterator[int]:
    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"status": "healthy", "model": "GR00T"})

        def do_POST(self) -> None:
            sent = json_numpy.unpack(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(older.act(sent["observation"]))

        def _answer(self, value: Any) -> None:
            body = json_numpy.pack(value)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def examined(port: int, **plan: Any) -> dict[str, Any]:
    wanted = {"server": "old", "seconds": 0.2, "clients": (1, 2)} | plan
    return examine(lambda: GrootClient(port=port, timeout=5.0), Plan(**wanted), Work())


def test_n15_over_zeromq_replays_the_recording_without_an_error(groot: Path) -> None:
    older = Older(groot)
    with ZmqStub(older.handle) as server:
        found = examined(server.port, dataset=groot, order=Order(steps=60, definition="n1.5"))
    assert (found["probe"]["dialect"], found["probe"]["model"]) == ("n1.5", None)
    assert (found["open_loop"]["mse"], found["open_loop"]["trajectories"][0]["steps"]) == (0.0, 60)
    assert found["probe"]["gives"] == {"left_arm": 7, "right_arm": 7, "left_hand": 1, "right_hand": 1} | {
        "waist": 3,
        "base_height_command": 1,
        "navigate_command": 3,
    }
    assert older.pictures[0].shape == (1, 48, 64, 3)
    assert all(each["calls"] and not each["errors"] for each in found["latency"])


def test_n15_over_http_is_shown_all_that_the_dataset_has(groot: Path) -> None:
    older = Older(groot)
    for left_out in ("base_height_command", "navigate_command"):  # its action is what it answers
        del older.policy.groups["action"][left_out]
    with over_http(older) as port:
        found = examined(port, dataset=groot)
    assert (found["probe"]["dialect"], found["probe"]["steps"]) == ("n1.5-http", 16)
    assert found["open_loop"]["groups"] == ["left_arm", "right_arm", "left_hand", "right_hand", "waist"]
    assert (found["open_loop"]["mse"], found["open_loop"]["action_horizon"]) == (0.0, 16)


def test_n15_over_http_without_a_recording_is_told_what_helps(groot: Path) -> None:
    with over_http(Older(groot)) as port, pytest.raises(DmG1Error) as told:
        examined(port)
    assert "--dataset" in told.value.line()
