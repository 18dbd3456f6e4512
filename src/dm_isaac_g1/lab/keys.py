"""The lab's own keys, known_hosts and ssh_config. Ephemeral: made by `up`, gone with the lab's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dm_isaac_g1.lab.environment import user_name
from dm_isaac_g1.lab.files import write_whole
from dm_isaac_g1.lab.layout import HOSTS, Layout


def ensure_keys(layout: Layout) -> None:
    """Make the keys that are missing or unreadable; the ones that are there stay, so that `up` twice is one lab."""
    for path, comment in [(layout.user_key, "dm-g1 lab"), *((layout.host_key(n), f"lab-{n}") for n in HOSTS)]:
        _ensure_key(path, comment)
    write_whole(layout.authorized_keys, _public(layout.user_key), 0o600)


def write_client_files(layout: Layout, ports: Mapping[str, int]) -> None:
    """ssh_config and known_hosts for the ports that the servers listen on. Good for OpenSSH and asyncssh alike."""
    hosts, blocks = [], ["# Written by dm-g1 lab up. Try it: ssh -F THIS_FILE lab-workstation\n"]
    for name, port in sorted(ports.items()):
        alias = f"lab-{name}"
        key = " ".join(_public(layout.host_key(name)).decode().split()[:2])
        hosts.append(f"{alias},[127.0.0.1]:{port} {key}\n")
        blocks.append(
            f"Host {alias}\n"
            f"  HostName 127.0.0.1\n"
            f"  Port {port}\n"
            f"  User {user_name()}\n"
            f"  HostKeyAlias {alias}\n"
            f"  IdentityFile {_quoted(layout.user_key)}\n"
            f"  IdentitiesOnly yes\n"
            f"  IdentityAgent none\n"
            f"  UserKnownHostsFile {_quoted(layout.known_hosts)}\n"
            f"  GlobalKnownHostsFile /dev/null\n"
            f"  StrictHostKeyChecking yes\n"
            f"  PasswordAuthentication no\n"
        )
    write_whole(layout.known_hosts, "".join(hosts).encode(), 0o600)
    write_whole(layout.ssh_config, "\n".join(blocks).encode(), 0o600)


def _ensure_key(path: Path, comment: str) -> None:
    import asyncssh

    try:
        key = asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError):
        key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
        write_whole(path, key.export_private_key(), 0o600)
    write_whole(path.with_name(path.name + ".pub"), key.export_public_key(), 0o644)
    os.chmod(path, 0o600)  # noqa: PTH101  OpenSSH refuses a key that others may read


def _public(path: Path) -> bytes:
    return path.with_name(path.name + ".pub").read_bytes()


def _quoted(path: Path) -> str:
    """ssh_config takes a path with blanks in double quotes; a percent sign would begin a token."""
    return '"' + str(path).replace("%", "%%") + '"'
