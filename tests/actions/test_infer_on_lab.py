"""Policy servers on real SSH hosts: served, tested over the connection, and gone when they should be."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from actionlab import failure, perform, result
from exported import onnx_policy

from dm_isaac_g1.actions import registry
from dm_isaac_g1.actions.context import Context
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import ExitCode
from dm_isaac_g1.core.profile import Serve
from dm_isaac_g1.core.profiles import load_profile
from dm_isaac_g1.lab import seed

pytestmark = [pytest.mark.usefixtures("lab"), pytest.mark.timeout(90)]
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@asynccontextmanager
async def context(**host: Any) -> AsyncIterator[Context]:
    """The lab, with a spark that differs in some fields."""
    profile = load_profile("lab")
    changed = msgspec.structs.replace(profile.hosts["spark"], **host)
    profile = msgspec.structs.replace(profile, hosts={**profile.hosts, "spark": changed})
    async with Context(profile, None, by="tester@here", dashes=True) as ctx:
        yield ctx


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture
def model(lab: Path) -> str:
    """In spark's models folder; its name."""
    folder = lab / "spark" / "workspace" / "models" / "still"
    if not folder.exists():
        onnx_policy(folder)
    return "still"


@pytest.fixture
def recording(lab: Path) -> Path:
    return lab / "workstation" / "workspace" / "datasets" / seed.NAME


def open_port(port: int) -> bool:
    with closing(socket.socket()) as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def lines(events: list[ev.Event]) -> None:
    for event in events:
        json.loads(ev.encode(event))


async def test_a_job_serves_and_is_tested_over_the_connection(model: str, port: int, recording: Path) -> None:
    async with context(port=port) as ctx:
        served = result(await perform(ctx, "infer.serve", model=model, on="spark", detach=True))
        assert served.data["state"] == "serving", served
        assert served.data["ours"]
        try:
            events = await perform(
                ctx, "infer.test", host="spark", dataset=str(recording), seconds=0.3, clients=2, trajectories=[0, 3]
            )
            lines(events)
            found = result(events)
            assert found.code == 0
            assert found.text.startswith(f"spark:{port} is up (nested, ping ")
            assert found.data["probe"]["kind"] == "onnx"
            assert [each["clients"] for each in found.data["latency"]] == [1, 2]
            # it answers zero: the error is what was recorded
            assert found.data["open_loop"]["action_horizon"] == 8
            assert found.data["open_loop"]["mse"] > 0.01
            assert [each["episode"] for each in found.data["open_loop"]["trajectories"]] == [0, 3]
            # a port that is taken is nobody's to take
            again = failure(await perform(ctx, "infer.serve", model=model, on="spark", detach=True))
            assert (again.code, again.where) == (ExitCode.REFUSED, "spark")
            assert f"port {port} is taken" in again.what
        finally:
            await perform(ctx, "train.stop", job_id=served.data["id"], mode="interrupt", wait=True)
        gone = failure(await perform(ctx, "infer.test", host="spark"))
        assert (gone.code, gone.where) == (ExitCode.UNREACHABLE, f"spark:{port}")


async def test_whoever_stops_watching_ends_the_server(model: str, port: int) -> None:
    async with context() as ctx:
        action = registry.get("infer.serve")
        params = action.parse({"model": model, "on": "spark", "port": port})
        async with aclosing(registry.perform(action, ctx, params)) as events:  # type: ignore[type-var]
            async for event in events:
                assert not isinstance(event, ev.Failure), event
                if isinstance(event, ev.Progress) and "serves on" in event.text:
                    break
            assert open_port(port)
        for _ in range(100):
            if not open_port(port):
                break
            await asyncio.sleep(0.05)
        assert not open_port(port)


async def test_the_token_of_the_profile_opens_its_own_server(model: str, port: int, lab: Path) -> None:
    path = lab / "spark" / "token"
    path.write_text("s3cret-of-spark\n")
    path.chmod(0o600)
    async with context(port=port, serve=Serve(token_file=str(path))) as ctx:
        served = result(await perform(ctx, "infer.serve", model=model, on="spark", detach=True))
        assert "s3cret-of-spark" not in json.dumps(served.data)
        try:
            assert result(await perform(ctx, "infer.test", seconds=0)).data["probe"]["kind"] == "onnx"
            wrong = lab / "spark" / "wrong"
            wrong.write_text("another")
            refused = failure(await perform(ctx, "infer.test", seconds=0, token_file=str(wrong)))
            assert (refused.code, refused.where) == (ExitCode.UNTRUSTED, f"spark:{port}")
            assert "token" in refused.what
        finally:
            await perform(ctx, "train.stop", job_id=served.data["id"], mode="interrupt", wait=True)


async def test_a_server_that_ends_while_it_loads_says_why(port: int, lab: Path) -> None:
    folder = lab / "spark" / "workspace" / "models" / "broken"
    if not folder.exists():
        onnx_policy(folder)
        (folder / "p.onnx").write_bytes(b"no such thing")
    async with context() as ctx:
        began = time.monotonic()
        told = failure(await perform(ctx, "infer.serve", model="broken", on="spark", detach=True, port=port))
        assert time.monotonic() - began < 25
        assert told.where == "spark"
        assert "not an ONNX model" in told.what


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        ({"model": "nowhere"}, ExitCode.USAGE, "no folder nowhere"),
        ({"model": "../../etc"}, ExitCode.USAGE, "is no path"),
        ({"model": "--help"}, ExitCode.USAGE, "is no path"),
        ({"model": "still", "bind": "spark.local"}, ExitCode.USAGE, "not an IP address"),
        ({"model": "still", "on": "sprak"}, ExitCode.USAGE, "no host 'sprak'"),
    ],
)
async def test_what_cannot_be_served_is_said_before_anything_starts(
    model: str, given: dict[str, Any], code: ExitCode, told: str
) -> None:
    async with context() as ctx:
        wrong = failure(await perform(ctx, "infer.serve", **({"on": "spark"} | given)))
        assert (wrong.code, told in wrong.what) == (code, True), wrong
        assert await ctx.hosts.jobs(["spark"]) is not None


async def test_a_dataset_of_something_else_is_refused_before_the_server_is_asked(port: int, tmp_path: Path) -> None:
    async with context(port=port) as ctx:
        away = failure(await perform(ctx, "infer.test", host="spark", dataset=str(tmp_path / "none")))
        assert (away.code, away.where) == (ExitCode.UNREACHABLE, f"spark:{port}")


# --- GR00T's scripts --------------------------------------------------------------------------------------------------

#: Stands where GR00T's scripts do: says what it was called with, in the log of its job.
STANDIN = "import json, os, sys\nprint(json.dumps([os.getcwd(), *sys.argv]), flush=True)\n"


@pytest.fixture
def groot(lab: Path) -> str:
    """A checkout with a stand-in for each script."""
    root = lab / "spark" / "groot"
    for name in ("export_onnx_n1d6", "build_tensorrt_engine", "benchmark_inference"):
        path = root / "scripts" / "deployment" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STANDIN)
    return str(root)


@pytest.fixture
def checkpoint(lab: Path) -> Path:
    """A whole GR00T checkpoint, as far as its files tell, of a few bytes of weights."""
    folder = lab / "spark" / "workspace" / "models" / "checkpoint-20"
    folder.mkdir(parents=True, exist_ok=True)
    modality = {
        name: {"delta_indices": [0], "modality_keys": keys}
        for name, keys in {"video": ["ego_view"], "state": ["waist"], "action": ["waist"], "language": ["task"]}.items()
    }
    processor = {"processor_class": "Gr00tN1d6Processor"}
    processor |= {"processor_kwargs": {"modality_configs": {"unitree_g1": modality}}}
    stats = {"unitree_g1": {kind: {"waist": {"mean": [0.0] * 3}} for kind in ("state", "action")}}
    head = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    texts: dict[str, Any] = {
        "config.json": {"model_type": "Gr00tN1d6"},
        "processor_config.json": processor,
        "statistics.json": stats,
        "embodiment_id.json": {"unitree_g1": 8},
        "trainer_state.json": {"global_step": 20},
    }
    for name, value in texts.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"\0" * 4)
    return folder


async def ended(ctx: Context, id: str) -> list[str]:
    """What the job's script was called with, once it has ended."""
    host = await ctx.host("spark")
    for _ in range(200):
        job = await host.jobs.get(id)
        if job.state.ended:
            break
        await asyncio.sleep(0.05)
    assert job.state.value == "succeeded", job
    said = (await host.files.read(f"{job.folder}/log", 0, 65536)).data.decode()
    called: list[str] = json.loads(next(line for line in said.splitlines() if line.startswith("[")))
    return called


async def test_groots_scripts_run_as_jobs_in_its_checkout(groot: str, checkpoint: Path, lab: Path) -> None:
    recording = lab / "spark" / "workspace" / "datasets" / "set" / "meta"
    recording.mkdir(parents=True, exist_ok=True)
    (recording / "info.json").write_text("{}")
    exports = f"{lab}/spark/workspace/models/exports/checkpoint-20"
    async with context(groot=groot) as ctx:
        no_onnx = failure(await perform(ctx, "infer.export", model="checkpoint-20", format="tensorrt"))
        assert "dit_model.onnx" in no_onnx.what
        assert "infer export" in str(no_onnx.fix)

        started = result(await perform(ctx, "infer.export", model="checkpoint-20", dataset="set"))
        where, script, *words = await ended(ctx, started.data["id"])
        assert (where, script) == (groot, "scripts/deployment/export_onnx_n1d6.py")
        assert words == [
            *("--model_path", str(checkpoint), "--dataset_path", f"{lab}/spark/workspace/datasets/set"),
            *("--embodiment_tag", "unitree_g1", "--output_dir", exports, "--video_backend", "torchcodec"),
        ]
        assert started.data["output"] == f"{exports}/dit_model.onnx"

        Path(exports).mkdir(parents=True, exist_ok=True)
        Path(started.data["output"]).write_bytes(b"")
        built = result(await perform(ctx, "infer.export", model="checkpoint-20", format="tensorrt", precision="fp8"))
        _, script, *words = await ended(ctx, built.data["id"])
        assert script == "scripts/deployment/build_tensorrt_engine.py"
        assert words[:4] == ["--onnx", f"{exports}/dit_model.onnx", "--engine", f"{exports}/dit_model_fp8.trt"]

        timed = result(await perform(ctx, "infer.benchmark", model="checkpoint-20", iterations=3, skip_compile=True))
        _, script, *words = await ended(ctx, timed.data["id"])
        assert script == "scripts/deployment/benchmark_inference.py"
        assert words[-1] == "--skip_compile"
        assert "--trt_engine_path" not in words


async def test_what_groots_scripts_cannot_do_is_refused(groot: str, checkpoint: Path, model: str) -> None:
    async with context(groot=groot) as ctx:
        kind = failure(await perform(ctx, "infer.benchmark", model=model))
        assert (kind.code, "of kind onnx" in kind.what) == (ExitCode.REFUSED, True)
        tag = failure(await perform(ctx, "infer.benchmark", model="checkpoint-20", embodiment="GR1"))
        assert (tag.code, "not trained for GR1" in tag.what) == (ExitCode.REFUSED, True)
        nothing = failure(await perform(ctx, "infer.export", model="checkpoint-20"))
        assert (nothing.code, nothing.fix) == (ExitCode.USAGE, "name one: --dataset")
    async with context() as ctx:
        where = failure(await perform(ctx, "infer.benchmark", model="checkpoint-20"))
        assert (where.code, where.fix) == (ExitCode.USAGE, "set `groot:` for the host")
