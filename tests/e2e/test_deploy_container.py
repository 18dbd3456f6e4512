"""The same deploys where a container serves, as `groot-server` does: a real Docker engine behind a real sshd."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sshd as openssh
from deploys import Fleet, fleet, write_model
from dockerd import IMAGE, Engine
from serving import SERVER, Robot
from test_deploy_killed import at_step

from required import require_dockerd, require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(180)]

#: What a container needs of this machine to run the tests' server, at the same paths.
PYTHON = sorted({sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2]), "/usr"})


@pytest.fixture
def spark(tmp_path: Path, engine: Engine) -> Iterator[Fleet]:
    """Spark serves a base model in a container that somebody once started by hand."""
    require_sshd()
    require_dockerd()
    name = f"groot-{tmp_path.name}"[:60]
    serve = {"how": "container", "container": name, "socket": engine.socket, "command": []}
    with openssh.running(tmp_path / "sshd") as server, fleet(tmp_path, server, **serve) as made:
        write_model(made.models / "base", value=0.5)
        shared = [part for path in PYTHON for part in ("-v", f"{path}:{path}:ro")]
        engine.docker(
            "run", "-d", "--name", name, "--network", "host", *shared, "-v", f"{made.models}:/models:ro",
            "-e", "HOME=/root", "-e", "PYTHONUNBUFFERED=1", IMAGE,
            sys.executable, str(SERVER), "--model", "/models/base", "--port", str(made.port),
        )  # fmt: skip
        try:
            yield made
        finally:
            for each in engine.docker("ps", "-aq", "--filter", f"name={name}").stdout.decode().split():
                engine.docker("rm", "-f", each, check=False)


def test_a_container_is_deployed_to_killed_and_rolled_back(spark: Fleet) -> None:
    good, better = spark.model("good", value=1.0), spark.model("better", value=2.0)
    with Robot(spark.port).asking() as robot:
        robot.wait(0.5)
        entry = spark.deploy(good)["data"]["entry"]
        robot.wait(1.0)
        assert entry["outage_s"] <= entry["load_s"] + 1.0
        assert robot.gap() <= entry["load_s"] + 1.0 + robot.timeout
    with Robot(spark.port).asking() as robot:
        robot.wait(1.0)
        said = spark.deploy(spark.model("broken", act="nan", value=9.0), exits=1)
        assert (robot.failures, {value for _, value in robot.answers}) == (0, {1.0})
    assert "its arm holds nan" in said["what"]
    with Robot(spark.port).asking() as robot:
        robot.wait(1.0)
        spark.kill_when(at_step("switch"), "deploy", better, "--yes", after=0.2)
        assert spark.run("deploy", "resume", "--yes")[-1]["data"]["entry"]["outcome"] == "done"
        robot.wait(2.0)
        back = spark.run("deploy", "rollback", "--yes")[-1]["data"]["entry"]
        robot.wait(1.0)
    assert (back["release"], back["outcome"]) == (entry["release"], "done")
    now = spark.status()
    assert (now["state"], now["current"]["id"], now["how"].split()[0]) == ("serving", entry["release"], "container")
