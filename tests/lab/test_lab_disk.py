"""A workspace with a size of its own really fills, whichever way the machine allows."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from labs import run

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.lab import disk
from dm_isaac_g1.lab.lab import Lab

SIZE = 64 << 20
WAYS = [
    pytest.param("mount", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")),
    pytest.param(
        "namespace",
        marks=pytest.mark.skipif(
            subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0,
            reason="this machine allows no user namespaces",
        ),
    ),
]


@pytest.fixture
def fresh(tmp_path):
    here = Lab(tmp_path / "lab")
    yield here
    if here.layout.is_lab():
        here.reset()


@pytest.fixture
def sized(fresh, request, monkeypatch):
    monkeypatch.setattr(disk, "choose", lambda: request.param)
    fresh.up(SIZE)
    return fresh


@pytest.mark.parametrize("sized", WAYS, indirect=True)
def test_the_workspace_really_fills(sized):
    free = run(sized, "workstation", "df -B1 --output=size,avail workspace | tail -1").stdout.split()
    assert int(free[0]) == SIZE and int(free[1]) < SIZE
    full = run(sized, "workstation", "head -c 80000000 /dev/zero > workspace/big; echo $?; stat -c %s workspace/big")
    assert b"No space left on device" in full.stderr
    code, written = map(int, full.stdout.split())
    assert code != 0 and 50_000_000 < written < SIZE
    assert (
        run(sized, "workstation", "rm workspace/big && echo x > workspace/small && cat workspace/small").stdout
        == b"x\n"
    )
    assert run(sized, "spark", "head -c 80000000 /dev/zero > workspace/big && echo fits").stdout == b"fits\n"


@pytest.mark.parametrize("sized", WAYS, indirect=True)
def test_the_seed_dataset_is_on_it(sized):
    assert b"info.json" in run(sized, "workstation", "ls workspace/datasets/g1_right_arm/meta").stdout


@pytest.mark.parametrize("sized", WAYS, indirect=True)
def test_status_says_its_size_and_up_without_one_leaves_it(sized, request):
    host = sized.status().hosts[0]
    assert host.disk == SIZE and host.disk_by in ("mount", "namespace")
    assert sized.up().hosts[0].disk == SIZE
    with pytest.raises(UsageError, match="lab down first"):
        sized.up(2 * SIZE)


@pytest.mark.parametrize("sized", WAYS, indirect=True)
def test_down_takes_the_disk_away(sized):
    workspace = sized.layout.workspace("workstation")
    status = sized.down()
    assert not os.path.ismount(workspace)
    assert str(sized.layout.root) not in Path("/proc/mounts").read_text()
    assert sized.up().hosts[0].disk is None
    assert status.up is False
    assert "workstation: its disk was in memory: all runs, checkpoints and files on it are gone" in status.notes


@pytest.mark.parametrize("sized", WAYS[:1], indirect=True)
def test_a_killed_server_leaves_its_disk_for_the_next(sized):
    import signal
    import time

    run(sized, "workstation", "echo kept > workspace/mine")
    pid = sized.status().hosts[0].pid
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    assert sized.up().hosts[0].disk == SIZE
    assert run(sized, "workstation", "cat workspace/mine").stdout == b"kept\n"


def test_a_disk_too_small_for_anything_is_refused(fresh):
    with pytest.raises(UsageError, match=r"^a disk of 1\.0 MB is too small for the lab; give it at least 16\.8 MB$"):
        fresh.up(1 << 20)


@pytest.fixture
def quota(fresh, monkeypatch):
    monkeypatch.setattr(disk, "choose", lambda: "quota")
    fresh.up(SIZE)
    return fresh


def test_without_mounts_a_quota_stops_pythons_writes(quota):
    fill = "python3 -c \"open('workspace/a','wb').write(bytes(70_000_000))\"; python3 -c \"open('workspace/b','wb')\""
    got = run(quota, "workstation", fill)
    assert b"[Errno 28] No space left on device" in got.stderr and got.returncode != 0
    assert run(quota, "workstation", "python3 -c \"open('elsewhere','wb').write(b'x')\"").returncode == 0
    assert run(quota, "workstation", "rm workspace/a; python3 -c \"open('workspace/b','wb')\"").returncode == 0


@pytest.mark.train
def test_without_mounts_a_quota_cuts_a_save_that_went_over(quota):
    save = (
        "import torch; from safetensors.torch import save_file; t = torch.zeros(5_000_000)\n"
        "torch.save(t, 'workspace/one.pt'); save_file({'t': t}, 'workspace/two.safetensors')\n"
        "try: torch.save(t, 'workspace/three.pt')\n"
        "except OSError as e: print(e.errno)\n"
        "try: save_file({'t': t}, 'workspace/four.safetensors')\n"
        "except OSError as e: print(e.errno)\n"
        "try: save_file({'t': t}, 'workspace/five.safetensors')\n"
        "except OSError as e: print(e.errno)\n"
    )
    got = run(quota, "workstation", f'python3 -c "{save}"; du -sk workspace | cut -f1', timeout=60)
    said = got.stdout.split()
    assert said[:-1] == [b"28"] * (len(said) - 1) and len(said) >= 2, got
    assert int(said[-1]) * 1024 <= SIZE + (1 << 20)
