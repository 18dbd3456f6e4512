"""A container for each release, and a service of a compose project, with a real Docker engine behind a real sshd."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sshd as openssh
import yaml
from dockerd import IMAGE, Engine, engine  # noqa: F401 - a fixture
from serving import SERVER, SPEC, Robot, launch, release

from dm_isaac_g1.core import profile
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.deploy import health
from dm_isaac_g1.deploy.runtimes import choose
from dm_isaac_g1.deploy.runtimes.compose import ComposeRuntime
from dm_isaac_g1.deploy.runtimes.release import ReleaseRuntime
from dm_isaac_g1.deploy.runtimes.served import Served
from dm_isaac_g1.remote.host import Host
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(90)]

#: What a container needs of this machine to run the tests' server, at the same paths.
SHARED = [
    f"{path}:{path}:ro" for path in (*{sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2])}, "/usr")
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openssh.Sshd]:
    require_sshd()
    with openssh.running(tmp_path_factory.mktemp("spark")) as running:
        yield running


@pytest.fixture
def port() -> int:
    return openssh.free_port()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def serve() -> dict[str, Any]:
    return {"how": "release", "image": IMAGE}


@pytest.fixture
async def host(
    server: openssh.Sshd,
    engine: Engine,  # noqa: F811
    models: Path,
    port: int,
    serve: dict[str, Any],
) -> AsyncIterator[Host]:
    paths = profile.Paths(workspace=str(models.parent), caches=str(models.parent / "caches"))
    serving = profile.Serve(socket=engine.socket, load_s=15.0, **serve)
    async with server.host("spark", roles=("serve",), port=port, paths=paths, serve=serving) as made:
        await made.ready(20)
        yield made
    for name in engine.docker("ps", "-aq").stdout.decode().split():
        engine.docker("rm", "-f", name, check=False)


class WithPython(ReleaseRuntime):
    """The tests' image is empty: it has the Python of this machine by mounts."""

    async def _body(self, launch: Any, port: int) -> dict[str, Any]:
        body = await super()._body(launch, port)
        body["HostConfig"]["Binds"] += SHARED
        return body


async def tried(host: Host, served: Served) -> health.Health:
    async with host.reach(served.port, served.address) as address:
        return await health.gate(address, SPEC, patience_s=15, answer_s=2)


def names(engine: Engine) -> list[str]:  # noqa: F811
    return sorted(engine.docker("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout.decode().splitlines())


async def test_each_release_has_a_container_of_its_own_and_the_one_before_waits(
    host: Host,
    engine: Engine,  # noqa: F811
    models: Path,
    port: int,
) -> None:
    runtime = WithPython(host)
    one, two = (launch(release(models, name, value=value), name) for name, value in (("one", 1.0), ("two", 2.0)))
    assert await runtime.check(one) == () and await runtime.current() is None
    assert (await tried(host, await runtime.start_candidate(one))).ok
    await runtime.drop_candidate("one")
    assert (await runtime.switch(one)).ok
    now = await runtime.current()
    assert now is not None and (now.release, now.state, now.txn) == (one.release.id, "serving", "one")
    with Robot(port).asking() as robot:
        robot.ready(1.0)
        done = await runtime.switch(two)
        robot.wait(2.0)
        assert done.ok and done.load_s is not None and robot.gap() <= done.load_s + 1.0
        assert names(engine) == [f"dm-g1-{one.release.id}-one exited", f"dm-g1-{two.release.id}-two running"]
        back = await runtime.restore("two")
        robot.wait(1.0)
        assert back.ok and robot.gap() <= max(done.load_s, back.load_s or 0.0) + 1.0
    bad = await runtime.switch(launch(release(models, "bad", act="exit"), "bad"))
    assert not bad.ok and bad.back and "exit 3" in (bad.problem or "")
    await runtime.settle("bad", keep=0)
    assert names(engine) == [f"dm-g1-{one.release.id}-one running"]


def image_for(architecture: str) -> bytes:
    """An empty image `elsewhere`, as `docker save` writes one."""
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    layer = empty.getvalue()
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["elsewhere:latest"], "Layers": ["layer.tar"]}]
    image = io.BytesIO()
    with tarfile.open(fileobj=image, mode="w") as archive:
        for name, data in (
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
            ("layer.tar", layer),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return image.getvalue()


async def test_an_image_that_is_not_there_or_for_another_machine_is_refused(
    host: Host,
    engine: Engine,  # noqa: F811
    models: Path,
) -> None:
    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    engine.docker("load", stdin=image_for(other))
    one = launch(release(models, "one"), "one")
    found = []
    for image in ("elsewhere", "nowhere"):
        runtime = ReleaseRuntime(host)
        runtime._image = image
        found += await runtime.check(one)
    assert found[0] == f"the image elsewhere is made for {other}, and this host is {os.uname().machine}"
    assert "`docker pull` it there" in found[1]


async def test_a_profile_that_lacks_something_says_what(server: openssh.Sshd) -> None:
    for how, said in (("release", "serve.image"), ("compose", "serve.compose"), ("container", "serve.container")):
        with pytest.raises(UsageError, match=said):
            await choose(server.host("spark", serve=profile.Serve(how=how)))  # type: ignore[arg-type]


# Compose.


class Without(ComposeRuntime):
    """A host whose docker knows no compose: its plugins are looked for in an empty folder only."""

    def _words(self) -> tuple[str, ...]:
        program, _, *more = super()._words()
        return (program, "no-such-plugin", *more)


@pytest.fixture
def project(tmp_path: Path, models: Path, port: int) -> Path:
    words = [sys.executable, str(SERVER), "--model", "/models/rel/base", "--port", str(port)]
    service = {
        "image": IMAGE,
        "network_mode": "host",
        "volumes": [*SHARED, f"{models}:/models:ro"],
        "command": words,
    }
    path = tmp_path / "compose.yaml"
    path.write_text(yaml.safe_dump({"name": f"groot{port}", "services": {"policy": service}}))
    return path


class TestCompose:
    @pytest.fixture
    def serve(self, project: Path) -> dict[str, Any]:
        return {"how": "compose", "compose": str(project), "service": "policy"}

    @pytest.fixture
    def runtime(self, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ComposeRuntime:
        fake = tmp_path / "bin" / "docker"
        fake.parent.mkdir()
        source = Path(__file__).with_name("fake_compose.py").read_text()
        fake.write_text(source.replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1))
        fake.chmod(0o755)
        mine = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "REAL_DOCKER": shutil.which("docker") or ""}
        plain = ComposeRuntime._environment
        monkeypatch.setattr(ComposeRuntime, "_environment", lambda self: {**plain(self), **mine})
        return ComposeRuntime(host)

    async def test_the_service_serves_another_model_and_the_projects_own_file_stays_as_it_is(
        self,
        host: Host,
        runtime: ComposeRuntime,
        models: Path,
        port: int,
        project: Path,
    ) -> None:
        text = project.read_text()
        one, two = (launch(release(models, name, value=value), name) for name, value in (("one", 1.0), ("two", 2.0)))
        assert await runtime.current() is None
        assert await runtime.check(one) == ()
        done = await runtime.switch(one)
        assert done.ok, done
        assert await runtime.check(two) == ()
        candidate = await runtime.start_candidate(two)
        assert candidate.port != port and (await tried(host, candidate)).ok
        await runtime.drop_candidate("two")
        with Robot(port).asking() as robot:
            robot.ready(1.0)
            done = await runtime.switch(two)
            robot.wait(2.0)
            assert done.ok and robot.gap() <= (done.outage_s or 0.0) + 1.0, (done, robot.gap())
            bad = await runtime.switch(launch(release(models, "bad", act="exit"), "bad"))
            assert not bad.ok and bad.back and "no weights" in (bad.problem or ""), bad
            back = await runtime.restore("two")
            robot.wait(1.0)
        assert back.ok and project.read_text() == text
        now = await runtime.current()
        assert now is not None and (now.release, now.state) == (one.release.id, "serving")

    async def test_where_there_is_no_compose_it_says_so(self, host: Host, models: Path) -> None:
        one = launch(release(models, "one"), "one")
        problems = await Without(host).check(one)
        assert "docker compose is not installed" in problems[0] and "docker-compose-plugin" in problems[0]
