"""Up, down, status, reset: in any state, any number of times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from labs import run

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.paths import lab_dir
from dm_isaac_g1.core.runs import StopRequest
from dm_isaac_g1.lab import processes
from dm_isaac_g1.lab.lab import Lab


@pytest.fixture
def fresh(tmp_path):
    here = Lab(tmp_path / "lab")
    yield here
    if here.layout.is_lab():
        here.reset()


def ports(status):
    return {host.name: host.port for host in status.hosts}


def test_up_twice_is_one_lab(fresh):
    first = fresh.up()
    key = fresh.layout.user_key.read_bytes()
    second = fresh.up()
    assert first.up and second.up
    assert [h.pid for h in first.hosts] == [h.pid for h in second.hosts]
    assert ports(first) == ports(second)
    assert fresh.layout.user_key.read_bytes() == key


def test_the_lab_outlives_whoever_started_it(fresh):
    code = f"from pathlib import Path; from dm_isaac_g1.lab.lab import Lab; Lab(Path({str(fresh.layout.root)!r})).up()"
    starter = subprocess.run([sys.executable, "-c", code], timeout=60, check=True, start_new_session=True)
    assert starter.returncode == 0
    assert fresh.status().up
    assert run(fresh, "spark", "echo $DM_G1_LAB").stdout == b"spark\n"


def test_down_stops_the_servers_and_keeps_the_files(fresh):
    status = fresh.up()
    marker = fresh.layout.workspace("workstation") / "mine"
    marker.write_text("kept")
    stopped = fresh.down()
    assert not any(host.up for host in stopped.hosts)
    assert not any(processes.start_ticks(host.pid) for host in status.hosts)
    assert marker.read_text() == "kept"
    assert fresh.down().ended == 0
    assert fresh.up().up


def test_down_ends_the_jobs_and_says_how_many(fresh):
    fresh.up()
    for marker in ("DM_G1_JOB=j", ""):
        job = run(fresh, "workstation", f"{marker} setsid sleep 300 >/dev/null 2>&1 </dev/null & echo $!")
        assert job.returncode == 0
    assert len(list(processes.of_host(fresh.layout, "workstation"))) == 2
    stopped = fresh.down()
    assert (stopped.ended, stopped.others) == (1, 1), "only what carries a job's marker is a job's"
    assert list(processes.of_host(fresh.layout, "workstation")) == []


def test_a_killed_server_comes_back_on_its_port_with_its_key(fresh):
    before = fresh.up()
    known = fresh.layout.known_hosts.read_bytes()
    os.kill(before.hosts[0].pid, signal.SIGKILL)
    while processes.start_ticks(before.hosts[0].pid):
        pass
    assert [host.up for host in fresh.status().hosts] == [False, True]
    after = fresh.up()
    assert after.up and ports(after) == ports(before)
    assert fresh.layout.known_hosts.read_bytes() == known


def test_a_server_file_from_before_a_reboot_is_not_believed(fresh):
    fresh.up()
    fresh.down()
    stale = {"process": {"pid": 1, "started": 1, "boot": "another boot"}, "port": 22}
    fresh.layout.server_file("workstation").write_text(json.dumps(stale))
    assert not fresh.status().hosts[0].up
    assert fresh.up().up  # and port 22, which is taken or forbidden or not, did not stop it


def test_a_taken_port_is_given_up_for_another(fresh):
    import socket

    status = fresh.up()
    port = status.hosts[0].port
    saved = fresh.layout.server_file("workstation").read_text()
    fresh.down()
    fresh.layout.server_file("workstation").write_text(saved)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        again = fresh.up()
        assert again.up and again.hosts[0].port != port
        assert run(fresh, "workstation", "echo here").stdout == b"here\n"


def test_a_half_made_lab_is_repaired(fresh):
    fresh.up()
    fresh.down()
    fresh.layout.host_key("spark").write_text("half a ke")
    fresh.layout.ssh_config.unlink()
    (fresh.layout.bin("workstation") / "nvidia-smi").unlink()
    (fresh.layout.workspace("workstation") / "datasets" / "g1_right_arm" / "meta" / "info.json").unlink()
    fresh.up()
    assert run(fresh, "spark", "nvidia-smi -L").stdout.startswith(b"GPU 0: NVIDIA GB10")
    assert run(fresh, "workstation", "nvidia-smi -L; ls workspace/datasets/g1_right_arm/meta").returncode == 0
    assert b"info.json" in run(fresh, "workstation", "ls workspace/datasets/g1_right_arm/meta").stdout


def test_reset_deletes_the_folder_and_only_a_lab(fresh, tmp_path):
    fresh.up()
    fresh.reset()
    assert not fresh.layout.root.exists()
    fresh.reset()  # nothing there: nothing to do
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not a lab"):
        Lab(other).reset()
    with pytest.raises(UsageError, match="not a lab"):
        Lab(other).up()
    assert (other / "chapter1.tex").read_text() == "years of work"


def test_a_folder_that_cannot_be_made_is_told_in_one_line():
    with pytest.raises(UsageError, match=r"/proc/x: no lab can be made there: .*; set DM_G1_LAB_DIR") as caught:
        Lab(Path("/proc/x")).up()
    assert "\n" not in caught.value.line()


def test_the_default_folder_is_dm_g1_lab_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("DM_G1_LAB_DIR", str(tmp_path / "x"))
    assert Lab().layout.root == tmp_path / "x" == lab_dir()
    assert not Lab().status().up


def test_keys_are_readable_by_their_owner_only(fresh):
    fresh.up()
    keys = [fresh.layout.user_key, *(fresh.layout.host_key(n) for n in ("workstation", "spark"))]
    assert {oct(key.stat().st_mode & 0o777) for key in keys} == {"0o600"}
    assert oct(fresh.layout.root.stat().st_mode & 0o777) == "0o700"


def test_a_server_whose_folder_was_deleted_ends(fresh, monkeypatch):
    import shutil
    import time

    status = fresh.up()
    shutil.rmtree(fresh.layout.root)
    deadline = time.monotonic() + 15
    while any(processes.start_ticks(host.pid) for host in status.hosts):
        assert time.monotonic() < deadline, "the servers still run"
        time.sleep(0.1)


def test_jobs_stopped_with_the_lab_know_who_stopped_them(fresh):
    """A process that carries a job's marker stands for its job, as remote/supervisor_program.py starts them."""
    fresh.up()
    folder = fresh.layout.workspace("workstation") / "jobs" / "20261120T101500-arm-0a1b2c"
    folder.mkdir(parents=True)
    job = f"DM_G1_JOB={folder.name} DM_G1_JOB_DIR={folder} setsid sleep 300 >/dev/null 2>&1 </dev/null & sleep 0.3"
    assert run(fresh, "workstation", job).returncode == 0
    status = fresh.down()
    assert status.ended == 1 and f"workstation: stopped job {folder.name}" in status.notes
    request = msgspec.json.decode((folder / "stop.json").read_bytes(), type=StopRequest)
    assert (request.mode, request.by) == ("terminate", "dm-g1 lab down")
