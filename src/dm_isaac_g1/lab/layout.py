"""Where everything of a lab lies, and the marker that says a folder is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from dm_isaac_g1.core.errors import UsageError

HostName = Literal["workstation", "spark"]
#: The lab's hosts. Their ssh aliases are `lab-<name>`.
HOSTS: tuple[HostName, ...] = ("workstation", "spark")
#: The host whose workspace may have a size, and that gets the seed dataset.
TRAIN_HOST: HostName = "workstation"
#: The host that policies are served on.
SERVE_HOST: HostName = "spark"

MARKER = ".dm-g1-lab"
_MARKER_TEXT = "A dm-g1 lab: `dm-g1 lab reset` may delete this folder with all that is in it.\n"


class Layout(msgspec.Struct, frozen=True):
    """The paths of the lab in `root`; nothing here looks at the disk but `claim` and `is_lab`."""

    root: Path

    @property
    def ssh_config(self) -> Path:
        return self.root / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.root / "known_hosts"

    @property
    def user_key(self) -> Path:
        return self.root / "keys" / "id_ed25519"

    @property
    def authorized_keys(self) -> Path:
        return self.root / "keys" / "authorized_keys"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    def host_key(self, name: str) -> Path:
        return self.root / "keys" / f"{name}_host_ed25519"

    def home(self, name: str) -> Path:
        """The host's home folder; its workspace, bin and everything else of it lie here."""
        return self.root / name

    def bin(self, name: str) -> Path:
        return self.home(name) / "bin"

    def workspace(self, name: str) -> Path:
        return self.home(name) / "workspace"

    def server_file(self, name: str) -> Path:
        """Written by the server once it listens: pid, start time, port."""
        return self.root / "servers" / f"{name}.json"

    def server_log(self, name: str) -> Path:
        return self.root / "servers" / f"{name}.log"

    def is_lab(self) -> bool:
        return os.path.isfile(self.root / MARKER)  # noqa: PTH113  False where Path.is_file raises: no permission

    def claim(self) -> None:
        """Make `root` a lab. Raises UsageError where it is a folder with other things in it."""
        if self.is_lab():
            return
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise UsageError(
                "this folder is not a lab and not empty",
                where=str(self.root),
                fix="set DM_G1_LAB_DIR to a folder of its own",
            )
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)  # keys lie below
        (self.root / MARKER).write_text(_MARKER_TEXT)

    def folders(self) -> Iterator[Path]:
        """Every folder that must be there before a server starts."""
        yield self.root / "keys"
        yield self.root / "servers"
        for name in HOSTS:
            yield from (self.home(name), self.bin(name), self.workspace(name))
