"""A model that lies in a container: straight from the host where a mount leads there, else through the console."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dockerd import Engine, engine  # noqa: F401 - a fixture
from twohosts import CHUNK, same, two_hosts

from dm_isaac_g1.core import profile
from dm_isaac_g1.deploy.manifest import manifest_of
from dm_isaac_g1.deploy.transfer import copy
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(120)]


async def test_a_model_in_a_container_is_taken_from_the_host_or_out_of_it(
    tmp_path: Path,
    engine: Engine,  # noqa: F811
) -> None:
    require_sshd()
    async with two_hosts(tmp_path) as hosts:
        folder = hosts.model()
        name = engine.container(f"box-{os.urandom(4).hex()}", "-v", f"{hosts.servers[0].workspace}:/workspace")
        try:
            engine.docker("exec", name, "cp", "-r", "/workspace/model", "/inside")
            runtime = profile.DockerRuntime(docker=profile.Docker(container=name, socket=engine.socket))
            paths = profile.Paths(workspace="/workspace")
            async with hosts.servers[0].host("workstation", runtime=runtime, paths=paths) as source:
                await source.ready(30)
                for number, (seen, method) in enumerate((("/workspace/model", "direct"), ("/inside", "console"))):
                    manifest = await manifest_of(source, seen, chunk=CHUNK)
                    copied = await copy(source, seen, hosts.store, manifest, f"t{number}")
                    assert (copied.method, copied.bytes_sent) == (method, manifest.bytes)
                    release = await hosts.release(manifest, f"t{number}")
                    same(folder, Path(release.path))
                    await hosts.store.remove(release.id)
        finally:
            engine.docker("rm", "-f", name, check=False)
