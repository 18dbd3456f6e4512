"""A key that changed is changed by whatever name the host is known, and is never accepted; nobody hears of us before.

`hosts trust` as a process, and OpenSSH's own verdict beside ours.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from passwordhost import PasswordHost
from sshd import Sshd, keygen, public, running

from dm_isaac_g1.core.errors import HostUntrusted
from dm_isaac_g1.remote import hostkeys
from required import require_sshd

pytestmark = pytest.mark.sshd

DM_G1 = (sys.executable, "-m", "dm_isaac_g1")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require_sshd()
    with running(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A key that is not the host's."""
    return public(keygen(tmp_path / "other"))


def trust(box: Sshd, folder: Path) -> subprocess.CompletedProcess[str]:
    profile = folder / "p.yaml"
    paths = {"workspace": str(box.workspace)}
    profile.write_text(
        yaml.safe_dump(
            {
                "ssh_config": str(box.config),
                "hosts": {"box": {"ssh": "box", "roles": ["train"], "runtime": "bare", "paths": paths}},
            }
        )
    )
    return subprocess.run(
        [*DM_G1, "--profile", str(profile), "hosts", "trust", "box", "--yes"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def openssh(box: Sshd) -> bool:
    """Whether `ssh` itself connects, asking nobody."""
    argv = ["ssh", "-F", str(box.config), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "box", "true"]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False).returncode == 0


#: How the configuration names the host -> how a line of known_hosts knows it.
NAMES = [
    ({}, "[127.0.0.1]:{port}"),
    ({}, "127.0.0.1"),
    ({"HostKeyAlias": "the-box"}, "the-box"),
    ({"HostName": "localhost"}, "[127.0.0.1]:{port}"),
    ({"HostName": "localhost"}, "localhost"),
]


@pytest.mark.parametrize(("config", "line"), NAMES, ids=lambda value: str(value))
async def test_a_changed_key_is_changed_by_whatever_name_it_is_known(
    box: Sshd, tmp_path: Path, other: str, config: dict[str, str], line: str
) -> None:
    box.write_config(**config)
    box.known_hosts.write_text(f"{line.format(port=box.port)} {other}\n")
    before = box.known_hosts.read_bytes()
    async with box.host() as host:
        with pytest.raises(HostUntrusted) as connecting:
            await host.ready(20)
    with pytest.raises(HostUntrusted) as offering:
        await hostkeys.offered("box", box.profile(), ssh_config=str(box.config))
    assert [connecting.value.kind, offering.value.kind] == ["changed", "changed"]
    done = trust(box, tmp_path)
    assert done.returncode == 5
    assert "CHANGED" in done.stderr
    assert box.known_hosts.read_bytes() == before
    assert not openssh(box)


@pytest.mark.parametrize(("config", "line"), NAMES, ids=lambda value: str(value))
async def test_the_same_names_vouch_for_the_key_itself(box: Sshd, config: dict[str, str], line: str) -> None:
    box.write_config(**config)
    box.known_hosts.write_text(f"{line.format(port=box.port)} {public(box.host_key)}\n")
    async with box.host() as host:
        await host.ready(20)


async def test_an_alias_stands_for_itself_whoever_else_lives_at_the_address(box: Sshd, other: str) -> None:
    """As in OpenSSH: what is known of the address says nothing of the alias, neither for nor against."""
    box.write_config(HostKeyAlias="the-box")
    box.known_hosts.write_text(f"the-box {public(box.host_key)}\n127.0.0.1 {other}\n[127.0.0.1]:{box.port} {other}\n")
    async with box.host() as host:
        await host.ready(20)
    assert openssh(box)
    box.known_hosts.write_text(f"[127.0.0.1]:{box.port} {public(box.host_key)}\n")
    async with box.host() as host:
        with pytest.raises(HostUntrusted) as caught:
            await host.ready(20)
    assert caught.value.kind == "unknown"
    assert not openssh(box)


@pytest.mark.parametrize("config", [{}, {"HostKeyAlias": "the-box"}, {"HostName": "localhost"}], ids=str)
def test_what_is_trusted_here_is_known_to_openssh(box: Sshd, tmp_path: Path, config: dict[str, str]) -> None:
    box.write_config(**config)
    box.known_hosts.write_text("")
    assert not openssh(box)
    done = trust(box, tmp_path)
    assert done.returncode == 0, done.stderr
    assert openssh(box)
    assert trust(box, tmp_path).returncode == 3, "it is trusted already"


#: The words that tell one from the other.
KINDS = {"unknown": "is unknown", "changed": "has CHANGED", "revoked": "is REVOKED"}


@pytest.mark.parametrize("what", KINDS)
def test_a_host_that_is_not_trusted_learns_nothing_of_us(own_home: Path, other: str, what: str) -> None:
    """Not even a user's name: the connection ends with the key, before a login begins."""
    (own_home / ".ssh").mkdir()
    with PasswordHost("x").running() as host:
        profile = own_home / "p.yaml"
        machine = {"ssh": f"secretive@127.0.0.1:{host.port}", "roles": ["train"], "runtime": "bare"}
        profile.write_text(yaml.safe_dump({"hosts": {"box": {**machine, "paths": {"workspace": "/nowhere"}}}}))
        lines = {
            "unknown": "",
            "changed": f"[127.0.0.1]:{host.port} {other}\n",
            "revoked": "@revoked " + host.known_hosts_line(),
        }
        (own_home / ".ssh" / "known_hosts").write_text(lines[what])
        for command in (["remote", "gpu"], ["hosts", "trust", "box"], ["--no-ui"]):
            done = subprocess.run(
                [*DM_G1, "--profile", str(profile), *command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            asked = what == "unknown" and command[0] == "hosts"
            assert done.returncode == (3 if asked else 5), done
            assert asked or KINDS[what] in done.stdout + done.stderr
        assert host.users == host.heard == []
