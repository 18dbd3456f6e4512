"""What the lab does for policies that are served on it: a port of its own, keys that are let in for once, an end."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import asyncssh
import pytest
from labs import connect, exists, run

from dm_isaac_g1.core import labport
from dm_isaac_g1.core.profiles import load_profile
from dm_isaac_g1.lab.lab import Lab

#: A server of no use: it listens until it is ended, as one that a deploy started would.
LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); print('up', flush=True); time.sleep(60)"


def test_two_labs_side_by_side_serve_on_ports_of_their_own(tmp_path: Path, monkeypatch) -> None:
    ports = []
    for name in ("one", "two"):
        monkeypatch.setenv("DM_G1_LAB_DIR", str(tmp_path / name))
        ports.append(load_profile("lab").hosts["spark"].port)
        assert load_profile("lab").hosts["spark"].port == ports[-1]
    assert ports[0] != ports[1]
    assert all(labport.FIRST <= port < labport.FIRST + labport.COUNT for port in ports)


def test_a_port_that_somebody_else_has_is_left_to_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DM_G1_LAB_DIR", str(tmp_path / "l"))
    here = Lab(tmp_path / "l")
    with socket.create_server(("127.0.0.1", labport.serve_port(here.layout.root))) as there:
        here.up()
        try:
            chosen = load_profile("lab").hosts["spark"].port
            assert chosen != there.getsockname()[1]
        finally:
            here.down()
    here.up()  # free again, but what was chosen stays: profiles that were read know it
    try:
        assert load_profile("lab").hosts["spark"].port == chosen
    finally:
        here.reset()


def test_the_port_stays_while_the_labs_own_server_has_it_and_down_ends_that_server(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DM_G1_LAB_DIR", str(tmp_path / "l"))
    here = Lab(tmp_path / "l")
    here.up()
    try:
        port = labport.serve_port(here.layout.root)
        program = f'{sys.executable} -c "{LISTEN.format(port=port)}"'
        run(
            here,
            "spark",
            f"setsid {program} </dev/null >up 2>&1 & for i in $(seq 100); do test -s up && break; sleep 0.1; done",
        )
        found = run(here, "spark", "pgrep -f create_server | head -1").stdout.split()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            here.up()
            assert labport.serve_port(here.layout.root) == port
        assert here.down().others >= 1
        assert not exists(int(found[0]))
        with socket.create_server(("127.0.0.1", port)):
            pass
    finally:
        here.reset()


async def test_a_key_is_let_in_by_the_hosts_own_file_for_its_one_command_and_no_longer_than_that(lab, tmp_path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    line = key.export_public_key("openssh").decode().strip()
    options = {"known_hosts": None, "client_keys": [key], "config": None}
    port = next(host.port for host in lab.status().hosts if host.name == "spark")
    file = lab.layout.home("spark") / ".ssh" / "authorized_keys"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(f'restrict,command="echo only this" {line}\n')
    async with asyncssh.connect("127.0.0.1", port, **options) as connection:
        assert (await connection.run("echo anything")).stdout == "only this\n"
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", port)
    file.unlink()
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect("127.0.0.1", port, **options)
    async with connect(lab, "spark") as connection:
        assert (await connection.run("echo ours")).stdout == "ours\n"


def test_what_serves_there_counts_as_the_gpus(lab) -> None:
    """A process that has torch loaded holds memory of the simulated GPU for as long as it lives."""
    program = "import torch, time; print('up', flush=True); time.sleep(20)"
    argv = ["ssh", "-F", str(lab.layout.ssh_config), "lab-spark", f'exec {sys.executable} -c "{program}"']
    server = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None and server.stdout.readline() == b"up\n"
        ask = "nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits"
        deadline = time.monotonic() + 15
        while not (rows := run(lab, "spark", ask).stdout.decode().split()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(rows) == 2 and int(rows[1]) > 50
    finally:
        server.terminate()
        server.wait(10)
