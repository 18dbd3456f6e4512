"""The connection for scripts: a caller's own shell line runs as it was written, and says how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd import Sshd, agents, running

from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed, UsageError
from dm_isaac_g1.remote.workstation import WorkstationConnection
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(60)]


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[tuple[Sshd, str]]:
    require_sshd()
    with running(tmp_path / "sshd") as box:
        file = tmp_path / "mine.yaml"
        file.write_text(
            f"name: mine\nssh_config: {box.config}\nhosts:\n"
            f"  workstation: {{ssh: box, roles: [train], paths: {{workspace: {box.workspace}}}}}\n"
        )
        yield box, str(file)


def test_a_line_runs_as_it_was_written_and_its_exit_comes_back(profile: tuple[Sshd, str], tmp_path: Path) -> None:
    box, file = profile
    with WorkstationConnection(profile=file) as workstation:
        nasty = f"it's; touch {tmp_path}/pwned"
        (tmp_path / nasty.replace("/", "_")).write_text("content")
        done = workstation.execute(f"cd {tmp_path}; echo \"$((6 * 7))\" 'a  b'; echo err >&2; exit 3")
        assert (done.exit, done.stdout, done.stderr) == (3, "42 a  b\n", "err\n")
        with pytest.raises(RemoteFailed, match="exit 3: err"):
            done.check()
        assert workstation.execute("printf '\\033[2Jx\\377'").check().stdout == "x\ufffd"
        with pytest.raises(RemoteFailed, match="did not end within"):
            workstation.execute("sleep 20", timeout=0.5)
        with pytest.raises(UsageError, match="no container"):
            workstation.docker_exec("true")
    assert not (tmp_path / "pwned").exists()
    workstation.close()
    assert box.process is not None
    assert agents(box.process.pid) == []


def test_what_cannot_be_connected_to_raises_and_leaves_nothing(profile: tuple[Sshd, str]) -> None:
    box, file = profile
    with pytest.raises(UsageError, match="hosts there: workstation"):
        WorkstationConnection("spark", profile=file)
    box.stop()
    with pytest.raises(HostUnreachable), WorkstationConnection(profile=file):
        pass
