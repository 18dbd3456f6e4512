"""A shell on a host: the user's own ssh, with just the words it needs; and what happens behind the screen."""

from __future__ import annotations

import logging
import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest
from running import DM_G1, dm_g1

from dm_isaac_g1.cli import journal
from dm_isaac_g1.cli.shell import shell_argv
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.profile import Docker, DockerRuntime, Host, Profile
from dm_isaac_g1.core.profiles import load_profile


def test_the_users_own_configuration_counts_and_no_key_is_accepted_on_the_way() -> None:
    profile = Profile(name="p", hosts={"ws": Host(ssh="me@ws:2222", roles=("train",))})
    argv = shell_argv(profile, None, None, outside=False)
    assert argv == ["ssh", "-t", "-o", "StrictHostKeyChecking=yes", "-p", "2222", "--", "me@ws"]


def test_a_container_is_entered_unless_the_host_itself_is_meant() -> None:
    runtime = DockerRuntime(docker=Docker(container="it's; rm -rf /"))
    profile = Profile(name="p", hosts={"ws": Host(ssh="ws", runtime=runtime, roles=("train",))})
    assert shell_argv(profile, None, "ws", outside=False)[-1].endswith("docker exec -it 'it'\"'\"'s; rm -rf /' bash -l")
    assert shell_argv(profile, None, "ws", outside=True)[-1] == "ws"


def test_the_shipped_example_reaches_its_container() -> None:
    argv = shell_argv(load_profile("workstation-spark"), None, "workstation", outside=False)
    assert "dm-workstation" in argv[-1]
    with pytest.raises(UsageError, match="did you mean spark"):
        shell_argv(load_profile("workstation-spark"), None, "sparc", outside=False)


@pytest.mark.slow
def test_a_shell_opens_and_ends_with_its_exit_code(lab: Path) -> None:
    assert dm_g1("lab", "up").returncode == 0
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*DM_G1, "remote", "connect", "--host", "spark"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        preexec_fn=lambda: os.login_tty(follower),
    )
    os.close(follower)
    time.sleep(1)
    os.write(leader, b"echo here-$((40+2)); exit 5\n")
    seen, deadline = b"", time.monotonic() + 15
    while b"here-42" not in seen and time.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                seen += os.read(leader, 4096)
            except OSError:
                break
    assert process.wait(10) == 5
    os.close(leader)
    assert b"here-42" in seen


def test_the_journal_holds_no_secret_and_the_terminal_none_of_it(own_home: Path) -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        journal.keep()
        try:
            raise ValueError("token hf_abcdefghijklmnopqrstuvwxyz0123")
        except ValueError:
            logging.getLogger("dm_isaac_g1.test").exception("an accident")
        text = (own_home / ".local" / "state" / "dm-g1" / "journal.log").read_text()
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers = before
    assert "an accident" in text
    assert "Traceback" in text
    assert "hf_abcdef" not in text
