"""The lab's hosts as SSH servers: what OpenSSH's client and asyncssh can do on them, and what nobody may."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import time
from pathlib import Path

import asyncssh
import pytest
from labs import connect, eventually, exists, run


def test_openssh_gets_output_errors_and_exit_code(lab):
    got = run(lab, "workstation", "cat; echo problem >&2; exit 7", stdin=b"\x00\xffbytes\n")
    assert (got.stdout, got.stderr, got.returncode) == (b"\x00\xffbytes\n", b"problem\n", 7)


def test_each_host_has_a_home_and_a_name_of_its_own(lab):
    for name in ("workstation", "spark"):
        said = run(lab, name, "echo $DM_G1_LAB; pwd; echo $HOME; command -v nvidia-smi python3").stdout.decode().split()
        home = str(lab.layout.home(name))
        assert said[:4] == [name, home, home, f"{home}/bin/nvidia-smi"]
        assert said[4].endswith("/python3")


def test_nothing_of_the_users_environment_gets_in(tmp_path, monkeypatch):
    from dm_isaac_g1.lab.lab import Lab

    for name in ("HF_TOKEN", "WANDB_API_KEY", "SSH_AUTH_SOCK", "MY_SECRET"):
        monkeypatch.setenv(name, "canary-51")
    here = Lab(tmp_path / "l")
    here.up()
    try:
        seen = run(here, "workstation", "env").stdout
        served = [Path(f"/proc/{h.pid}/environ").read_bytes() for h in here.status().hosts]
    finally:
        here.reset()
    assert b"canary-51" not in seen + b"".join(served)


async def test_asyncssh_reads_the_same_configuration(lab):
    async with connect(lab) as connection:
        ran = await connection.run("head -c 3000000 /dev/zero | tr '\\0' '\\377'; exit 3", encoding=None)
        assert ran.exit_status == 3
        assert ran.stdout == b"\xff" * 3_000_000


async def test_a_command_killed_by_a_signal_says_so(lab):
    async with connect(lab) as connection:
        ran = await connection.run("kill -TERM $$")
        assert ran.exit_signal[0] == "TERM"


async def test_signals_from_the_client_reach_the_command(lab):
    async with connect(lab) as connection:
        process = await connection.create_process(
            "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done"
        )
        assert await process.stdout.readline() == "ready\n"
        process.send_signal("INT")
        assert await process.stdout.readline() == "caught\n"
        assert (await process.wait()).exit_status == 5


async def test_a_terminal_is_a_terminal_and_can_be_resized(lab):
    async with connect(lab) as connection:
        process = await connection.create_process(
            "test -t 0 && stty size; read line; stty size", term_type="xterm", term_size=(100, 30)
        )
        assert (await process.stdout.readline()).strip() == "30 100"
        process.change_terminal_size(160, 48)
        await asyncio.sleep(0.3)
        process.stdin.write("go\n")
        rest = await process.stdout.read()
        assert "48 160" in rest
        assert (await process.wait()).exit_status == 0


def test_an_interactive_shell_through_openssh(lab):
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["ssh", "-tt", "-F", str(lab.layout.ssh_config), "lab-spark"], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, b"echo $((6*7))-$DM_G1_LAB\nexit 4\n")
    said, deadline = b"", time.monotonic() + 20
    while shell.poll() is None and time.monotonic() < deadline:
        try:
            said += os.read(ours, 4096)
        except OSError:
            break
    assert shell.wait(10) == 4
    assert b"42-spark" in said
    os.close(ours)


async def test_a_closed_channel_ends_its_command(lab, tmp_path):
    async with connect(lab) as connection:
        process = await connection.create_process("echo $$; exec sleep 300")
        pid = int(await process.stdout.readline())
        process.close()
        await eventually(lambda: not exists(pid))
        stubborn = await connection.create_process("trap '' HUP TERM PIPE; echo $$; while :; do sleep 1; done")
        pid = int(await stubborn.stdout.readline())
    await eventually(lambda: not exists(pid))


async def test_an_agent_ends_when_its_stdin_does(lab):
    async with connect(lab) as connection:
        process = await connection.create_process(
            "exec python3 -I -S -u -c 'import os,sys; print(os.getpid()); sys.stdin.read()'"
        )
        pid = int(await process.stdout.readline())
        process.stdin.write_eof()
        assert (await asyncio.wait_for(process.wait(), 5)).exit_status == 0
    assert not exists(pid)


async def test_a_job_in_a_session_of_its_own_survives_the_connection(lab):
    connection = await connect(lab)
    ran = await connection.run("setsid sh -c 'sleep 2; echo done > survived' >/dev/null 2>&1 </dev/null & echo $!")
    pid = int(ran.stdout)
    connection.abort()
    await connection.wait_closed()
    assert exists(pid)
    await eventually(lambda: (lab.layout.home("workstation") / "survived").exists())


async def test_a_background_process_does_not_hang_the_command(lab):
    async with connect(lab) as connection:
        started = time.monotonic()
        ran = await connection.run("sleep 30 & echo started")
        assert ran.stdout == "started\n" and ran.exit_status == 0
        assert time.monotonic() - started < 15


async def test_files_over_sftp_are_the_hosts_own(lab):
    async with connect(lab) as connection, connection.start_sftp_client() as sftp:
        assert await sftp.getcwd() == str(lab.layout.home("workstation"))
        async with sftp.open("workspace/.part", "wb") as file:
            await file.write(b"\x00\xff" * 100_000)
        await sftp.posix_rename("workspace/.part", "workspace/whole")
        assert (lab.layout.workspace("workstation") / "whole").read_bytes() == b"\x00\xff" * 100_000
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await sftp.stat("workspace/nothing")


async def test_tcp_and_unix_sockets_are_forwarded(lab, tmp_path):
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    path = str(tmp_path / "s")
    tcp = await asyncio.start_server(echo, "127.0.0.1", 0)
    unix = await asyncio.start_unix_server(echo, path)
    port = tcp.sockets[0].getsockname()[1]
    async with connect(lab) as connection:
        reader, writer = await connection.open_connection("127.0.0.1", port, encoding=None)
        writer.write(b"over tcp\n")
        assert await reader.readline() == b"over tcp\n"
        reader, writer = await connection.open_unix_connection(path, encoding=None)
        writer.write(b"over unix\n")
        assert await reader.readline() == b"over unix\n"
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("192.0.2.1", 80)
    tcp.close()
    unix.close()


async def test_a_wrong_key_is_refused(lab):
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        async with connect(lab, client_keys=[stranger]):
            pass


async def test_a_password_is_not_even_asked_for(lab):
    port = lab.status().hosts[0].port
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            "127.0.0.1", port, username="root", password="root", client_keys=None, known_hosts=None, config=None
        )


async def test_a_client_that_does_not_know_the_host_refuses_it(lab, tmp_path):
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        async with connect(lab, known_hosts=str(empty)):
            pass
    port = lab.status().hosts[0].port
    argv = [
        "ssh",
        "-F",
        "/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        f"UserKnownHostsFile={empty}",
        "-o",
        "StrictHostKeyChecking=yes",
    ]
    refused = subprocess.run(
        [*argv, "-p", str(port), "127.0.0.1", "true"], capture_output=True, timeout=20, check=False
    )
    assert refused.returncode == 255 and b"Host key verification failed" in refused.stderr


def test_the_servers_listen_on_loopback_only(lab):
    ports = {host.port for host in lab.status().hosts}
    listening = [
        line.split() for path in ("/proc/net/tcp", "/proc/net/tcp6") for line in Path(path).read_text().splitlines()[1:]
    ]
    ours = {fields[1] for fields in listening if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) in ports}
    assert {address.rsplit(":", 1)[0] for address in ours} == {"0100007F"}
