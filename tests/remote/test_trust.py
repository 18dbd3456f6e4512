"""Whom we trust and who trusts us: host keys, user keys, and one clear line for each way it fails.

Against a real OpenSSH sshd.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from sshd import Sshd, free_port, keygen, public, running

from dm_isaac_g1.core import profile
from dm_isaac_g1.core.errors import (
    AuthFailed,
    ConfigError,
    DmG1Error,
    ExitCode,
    HostUnreachable,
    HostUntrusted,
    RefusedError,
)
from dm_isaac_g1.remote import hostkeys
from dm_isaac_g1.remote.host import Host, open_host
from required import require_sshd

pytestmark = pytest.mark.sshd


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require_sshd()
    with running(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


@pytest.fixture(autouse=True)
def as_it_was(box: Sshd) -> Iterator[None]:
    """Each test may change the user's side; the next begins afresh."""
    box.write_config()
    box.known_hosts.write_text("")
    box.know(box.port)
    yield


def fingerprint(path: Path) -> str:
    told = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], stdout=subprocess.PIPE, check=True, timeout=20)
    return told.stdout.decode().split()[1]


async def failure(host: Host, timeout: float = 20.0) -> DmG1Error:
    """How connecting fails."""
    async with host:
        with pytest.raises(DmG1Error) as caught:
            await host.ready(timeout)
        line = str(caught.value)
        assert "\n" not in line
        assert "Traceback" not in line
        assert host.status.state in ("refused", "away")
        assert host.status.problem == line
        return caught.value


async def logins(box: Sshd) -> int:
    return (box.folder / "sshd.log").read_text().count("Connection closed by")


async def test_a_known_host_is_trusted(box: Sshd) -> None:
    async with box.host() as host:
        await host.ready(20)
        assert host.status.state == "up"
        assert host.status.problem is None


async def test_an_unknown_key_is_refused_with_its_fingerprint_and_the_command_that_accepts_it(box: Sshd) -> None:
    box.known_hosts.unlink()
    error = await failure(box.host())
    assert isinstance(error, HostUntrusted)
    assert error.kind == "unknown"
    assert fingerprint(box.host_key) in str(error)
    assert "dm-g1 hosts trust box" in str(error)
    assert error.exit_code is ExitCode.UNTRUSTED


async def test_a_changed_key_is_refused_with_both_fingerprints_and_no_command_of_ours(
    box: Sshd, tmp_path: Path
) -> None:
    other = keygen(tmp_path / "other")
    box.known_hosts.write_text("# a comment\n\nnonsense\n")
    box.know(box.port, other)
    error = await failure(box.host())
    assert isinstance(error, HostUntrusted)
    assert error.kind == "changed"
    line = str(error)
    assert "CHANGED" in line
    assert fingerprint(box.host_key) in line
    assert fingerprint(other) in line
    assert f"{box.known_hosts}:4" in line
    assert f"ssh-keygen -R '[127.0.0.1]:{box.port}'" in line
    assert "hosts trust" not in line


async def test_a_key_of_another_kind_counts_as_changed_too(box: Sshd, tmp_path: Path) -> None:
    other = keygen(tmp_path / "rsa", kind="rsa")
    box.known_hosts.write_text("")
    box.know(box.port, other)
    error = await failure(box.host())
    assert isinstance(error, HostUntrusted)
    assert error.kind == "changed"
    assert fingerprint(box.host_key) in str(error)


async def test_a_revoked_key_is_refused_even_where_it_is_known(box: Sshd) -> None:
    box.know(box.port, marker="@revoked ")
    error = await failure(box.host())
    assert isinstance(error, HostUntrusted)
    assert error.kind == "revoked"
    assert "REVOKED" in str(error)
    assert "hosts trust" not in str(error)


async def test_a_revocation_counts_without_the_port_as_well(box: Sshd) -> None:
    with box.known_hosts.open("a") as file:
        file.write(f"@revoked * {public(box.host_key)}\n")
    error = await failure(box.host())
    assert isinstance(error, HostUntrusted)
    assert error.kind == "revoked"


async def test_a_hashed_known_hosts_is_read(box: Sshd) -> None:
    subprocess.run(["ssh-keygen", "-H", "-f", str(box.known_hosts)], check=True, timeout=20, capture_output=True)
    assert "127.0.0.1" not in box.known_hosts.read_text()
    async with box.host() as host:
        await host.ready(20)


async def test_a_host_certificate_of_a_known_authority_is_trusted(box: Sshd, tmp_path: Path) -> None:
    authority = keygen(tmp_path / "ca")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "box", "-h", "-n", "127.0.0.1", f"{box.host_key}.pub"],
        check=True,
        timeout=20,
    )
    certificate = box.host_key.with_name("host_ed25519-cert.pub")
    with running(tmp_path / "certified") as other:
        other.stop()
        (tmp_path / "certified" / "host_ed25519").write_bytes(box.host_key.read_bytes())
        (tmp_path / "certified" / "host_ed25519.pub").write_bytes(
            box.host_key.with_name("host_ed25519.pub").read_bytes()
        )
        other.options = {"HostCertificate": str(certificate)}
        other.start()
        other.known_hosts.write_text(f"@cert-authority * {public(authority)}\n")
        async with other.host() as host:
            await host.ready(20)
    certificate.unlink()


async def test_known_hosts_none_in_the_configuration_does_not_mean_trust_everybody(box: Sshd) -> None:
    box.write_config(UserKnownHostsFile="none")
    error = await failure(box.host())
    assert isinstance(error, HostUntrusted)
    assert error.kind == "unknown"


async def test_strict_host_key_checking_no_is_not_obeyed(box: Sshd) -> None:
    box.known_hosts.write_text("")
    box.write_config(StrictHostKeyChecking="no")
    assert isinstance(await failure(box.host()), HostUntrusted)


async def test_a_refusal_is_never_tried_again_by_itself(box: Sshd, tmp_path: Path) -> None:
    box.write_config(IdentityFile=str(keygen(tmp_path / "wrong")))
    before = await logins(box)
    async with box.host() as host:
        with pytest.raises(AuthFailed):
            await host.ready(20)
        await asyncio.sleep(4)
        assert await logins(box) <= before + 1
        assert host.status.state == "refused"


async def test_after_the_key_was_accepted_a_retry_comes_up(box: Sshd) -> None:
    box.known_hosts.unlink()
    async with box.host() as host:
        with pytest.raises(HostUntrusted):
            await host.ready(20)
        offer = await hostkeys.offered("box", box.profile(), ssh_config=str(box.config))
        assert offer.fingerprint == fingerprint(box.host_key)
        assert offer.fingerprint in offer.line()
        assert hostkeys.accept(offer) == box.known_hosts
        host.retry()
        async for status in host.statuses():
            if status.state == "up":
                break
    assert box.known_hosts.stat().st_mode & 0o777 == 0o600
    ssh = ["ssh", "-F", str(box.config), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "box", "true"]
    subprocess.run(ssh, check=True, timeout=20, stdin=subprocess.DEVNULL)


async def test_accepting_keeps_what_stood_in_known_hosts(box: Sshd) -> None:
    box.known_hosts.write_text("example.org ssh-ed25519 AAAA")
    offer = await hostkeys.offered("box", box.profile(), ssh_config=str(box.config))
    hostkeys.accept(offer)
    assert box.known_hosts.read_text().splitlines()[0] == "example.org ssh-ed25519 AAAA"
    assert len(box.known_hosts.read_text().splitlines()) == 2


async def test_a_changed_or_known_key_cannot_be_accepted(box: Sshd, tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        await hostkeys.offered("box", box.profile(), ssh_config=str(box.config))
    box.known_hosts.write_text("")
    box.know(box.port, keygen(tmp_path / "other"))
    with pytest.raises(HostUntrusted) as caught:
        await hostkeys.offered("box", box.profile(), ssh_config=str(box.config))
    assert caught.value.kind == "changed"


# Reaching it.


async def test_a_wrong_port_says_that_nothing_listens_there(box: Sshd) -> None:
    box.write_config(port=free_port())
    error = await failure(box.host())
    assert isinstance(error, HostUnreachable)
    assert "nothing listens" in str(error)
    assert error.exit_code is ExitCode.UNREACHABLE


async def test_a_name_that_does_not_resolve_says_so(box: Sshd) -> None:
    box.write_config(HostName="no-such-host.invalid")
    error = await failure(box.host())
    assert isinstance(error, HostUnreachable)
    assert "no address is known for 'no-such-host.invalid'" in str(error)


async def test_a_host_that_takes_the_connection_and_says_nothing_is_given_up_within_five_seconds(box: Sshd) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        box.write_config(port=silent.getsockname()[1])
        began = time.monotonic()
        error = await failure(box.host())
        assert time.monotonic() - began < 6
    assert isinstance(error, HostUnreachable)
    assert "does not answer" in str(error)


async def test_a_port_that_speaks_something_else_says_so(box: Sshd) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n<html>\r\n" * 40)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    box.write_config(port=server.sockets[0].getsockname()[1])
    error = await failure(box.host())
    server.close()
    assert isinstance(error, HostUnreachable)


@pytest.mark.parametrize("target", ["-oProxyCommand=touch pwned", "a b", "user@", "host:99999", "$(id)"])
async def test_a_target_that_is_none_is_refused(target: str) -> None:
    host = open_host("odd", profile.Host(ssh=target))
    async with host:
        with pytest.raises(ConfigError):
            await host.ready(10)


async def test_a_missing_ssh_configuration_is_named(box: Sshd, tmp_path: Path) -> None:
    async with open_host("box", box.profile(), ssh_config=str(tmp_path / "nowhere")) as host:
        with pytest.raises(ConfigError, match="nowhere"):
            await host.ready(10)


# Who we are.


async def test_a_wrong_key_is_refused_with_the_user_and_what_to_do(box: Sshd, tmp_path: Path) -> None:
    box.write_config(IdentityFile=str(keygen(tmp_path / "wrong")))
    error = await failure(box.host())
    assert isinstance(error, AuthFailed)
    assert error.exit_code is ExitCode.UNTRUSTED
    assert "refuses our keys" in str(error)
    assert "ssh-copy-id" in str(error)


async def test_a_key_that_needs_its_passphrase_is_named(box: Sshd, tmp_path: Path) -> None:
    locked = keygen(tmp_path / "locked", passphrase="open sesame")
    box.write_config(IdentityFile=str(locked))
    error = await failure(box.host())
    assert isinstance(error, AuthFailed)
    assert "passphrase" in str(error)
    assert str(locked) in str(error)
    assert f"ssh-add {locked}" in str(error)


class Asked:
    """Secrets of a test, counting how often they are asked for."""

    def __init__(self, password: str | None = None, passphrase: str | None = None) -> None:
        self._password, self._passphrase = password, passphrase
        self.asked: list[str] = []

    async def password(self, host: str) -> str | None:
        self.asked.append("password")
        return self._password

    async def passphrase(self, host: str, key_file: str) -> str | None:
        self.asked.append(key_file)
        return self._passphrase


async def test_the_passphrase_is_asked_for_once_and_opens_the_key(box: Sshd, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.write_bytes(box.user_key.read_bytes())
    locked.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(locked)], check=True, timeout=20)
    box.write_config(IdentityFile=str(locked))
    secrets = Asked(passphrase="open sesame")
    async with open_host("box", box.profile(), ssh_config=str(box.config), secrets=secrets) as host:
        await host.ready(20)
    assert secrets.asked == [str(locked)]
    wrong = Asked(passphrase="guess")
    error = await failure(open_host("box", box.profile(), ssh_config=str(box.config), secrets=wrong))
    assert isinstance(error, AuthFailed)
    assert "guess" not in str(error)


class PasswordServer(asyncssh.SSHServer):
    """Knows one password, and no keys."""

    tries = 0

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        type(self).tries += 1
        return password == "canary-3141"


async def test_a_password_is_used_only_after_the_keys_and_stands_nowhere(box: Sshd) -> None:
    """An asyncssh server: sshd would need PAM for passwords."""
    PasswordServer.tries = 0
    key = asyncssh.read_private_key(box.host_key)
    server = await asyncssh.create_server(
        PasswordServer, "127.0.0.1", 0, server_host_keys=[key], process_factory=_shell, encoding=None
    )
    port = server.sockets[0].getsockname()[1]
    box.know(port)
    box.write_config(port=port)
    try:
        secrets = Asked(password="canary-3141")
        async with open_host("box", box.profile(), ssh_config=str(box.config), secrets=secrets) as host:
            await host.ready(20)
            for file in ("cmdline", "environ"):
                assert b"canary-3141" not in Path(f"/proc/{host.hello.pid}/{file}").read_bytes()  # type: ignore[union-attr]
                assert b"canary-3141" not in Path(f"/proc/{os.getpid()}/{file}").read_bytes()
        assert "canary" not in repr(host.link) + repr(vars(host.link))
        assert PasswordServer.tries == 1
        wrong = Asked(password="canary-2718")
        error = await failure(open_host("box", box.profile(), ssh_config=str(box.config), secrets=wrong))
        assert isinstance(error, AuthFailed)
        assert "canary" not in str(error)
        assert PasswordServer.tries == 2
    finally:
        server.close()
        await server.wait_closed()


async def _shell(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Runs what was asked for, as sshd would."""
    child = await asyncio.create_subprocess_shell(
        process.command or "true",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        process.exit(await child.wait())
    finally:
        # What redirecting leaves to be awaited (Queue.join) is awaited by this alone.
        await process.wait_closed()


# By way of others.


async def test_a_jump_host_of_the_configuration_is_used_and_its_key_checked(box: Sshd, tmp_path: Path) -> None:
    with running(tmp_path / "jump") as jump:
        (tmp_path / "jump" / "authorized_keys").write_text(public(box.user_key) + "\n")
        box.know(jump.port, jump.host_key)
        jumping = f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n  User root\n"
        box.write_config(ProxyJump="jump")
        common = "".join(
            f"  {name} {value}\n"
            for name, value in {
                "IdentityFile": box.user_key,
                "IdentitiesOnly": "yes",
                "UserKnownHostsFile": box.known_hosts,
                "GlobalKnownHostsFile": "/dev/null",
            }.items()
        )
        box.config.write_text(box.config.read_text() + jumping + common)
        async with box.host() as host:
            await host.ready(20)
        assert "Accepted publickey" in (tmp_path / "jump" / "sshd.log").read_text()
        box.known_hosts.write_text("")
        box.know(box.port)
        error = await failure(box.host())
        assert isinstance(error, HostUntrusted)
        assert "jump host jump" in str(error)


async def test_a_proxy_command_of_the_configuration_is_used(box: Sshd) -> None:
    connect = "import socket,sys,threading,os;s=socket.create_connection(('127.0.0.1',int(sys.argv[1])));"
    pump = (
        "threading.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,65536),b'')],daemon=True).start();"
    )
    out = "[os.write(1,d) for d in iter(lambda:s.recv(65536),b'')]"
    script = box.folder / "proxy.py"
    script.write_text(connect + pump + out)
    box.write_config(ProxyCommand=f"python3 {script} {box.port}")
    async with box.host() as host:
        await host.ready(20)


async def test_a_request_for_a_terminal_or_command_in_the_configuration_does_not_reach_our_commands(box: Sshd) -> None:
    box.write_config(RequestTTY="force", RemoteCommand="tmux attach")
    async with box.host() as host:
        await host.ready(20)
        done = await host.runtime.run(["printf", "a\\nb"])
        assert done.stdout == b"a\nb"


async def test_no_variable_of_ours_is_sent_to_the_host(box: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    async with box.host() as host:
        await host.ready(20)
        done = await host.runtime.run(["env"])
        assert b"canary" not in done.stdout
