"""One lab host: an SSH server on loopback, in a process of its own that outlives whoever started it.

`python -m dm_isaac_g1.lab.server --lab FOLDER --name workstation [--port N] [--disk BYTES --by mount|quota]`. It leaves
its starter's session, takes the workspace's mount with it where it made one, and says that it listens by writing
servers/<name>.json (`Serving`), beside and renamed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from dm_isaac_g1.lab import disk as disks
from dm_isaac_g1.lab import seed
from dm_isaac_g1.lab.environment import host_environment
from dm_isaac_g1.lab.files import write_whole
from dm_isaac_g1.lab.layout import Layout
from dm_isaac_g1.lab.processes import Identity, identify

if TYPE_CHECKING:
    import asyncssh

LOOPBACK = "127.0.0.1"
#: Where a client may be forwarded to: this machine only.
_FORWARD_TO = {"127.0.0.1", "::1", "localhost"}


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """servers/<name>.json: who serves the host, where, and how large its workspace is (None: as the disk below)."""

    process: Identity
    port: int
    disk: int | None = None
    by: disks.Method | None = None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    layout: Layout
    name: str
    port: int
    disk: int | None
    by: disks.Method | None
    seed: bool


def main(argv: list[str]) -> int:
    """Serve until SIGTERM. The exit code; a problem is one line on stderr, which is the server's log."""
    wanted = _parse(argv)
    _leave_starter()
    try:
        if wanted.disk is not None and wanted.by == "mount":
            disks.mount(wanted.layout.workspace(wanted.name), wanted.disk)
        if wanted.seed:
            seed.ensure(wanted.layout, wanted.name)
        asyncio.run(_serve(wanted))
    except OSError as error:
        sys.stderr.write(f"{wanted.name}: {error}\n")
        return 1
    return 0


async def _serve(wanted: Wanted) -> None:
    import asyncssh

    from dm_isaac_g1.lab.session import run_session

    layout, name = wanted.layout, wanted.name
    home = layout.home(name)
    os.chdir(home)  # where relative SFTP paths begin
    env = host_environment(layout, name, quota=wanted.disk if wanted.by == "quota" else None)

    async def session(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await run_session(process, env=env, home=home)

    class Server(asyncssh.SSHServer):
        """Public keys only: the lab's own, and those that the host's ~/.ssh/authorized_keys has at that moment, with
        their options. Forwards to this machine only.
        """

        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self.conn = conn

        def begin_auth(self, username: str) -> bool:
            with contextlib.suppress(OSError, ValueError, UnicodeError):
                self.conn.set_authorized_keys(_authorized(layout, home))
            return True

        def _restricted(self) -> bool:
            return bool(self.conn.get_key_option("restrict"))

        def password_auth_supported(self) -> bool:
            return False

        def kbdint_auth_supported(self) -> bool:
            return False

        def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
            return dest_host in _FORWARD_TO and not self._restricted()

        def server_requested(self, listen_host: str, listen_port: int) -> bool:
            return listen_host in _FORWARD_TO and not self._restricted()

        def unix_connection_requested(self, dest_path: str) -> bool:
            return not self._restricted()

        def unix_server_requested(self, listen_path: str) -> bool:
            return not self._restricted()

    async def listen(port: int) -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            Server,
            LOOPBACK,
            port,
            server_host_keys=[str(layout.host_key(name))],
            authorized_client_keys=str(layout.authorized_keys),
            process_factory=session,
            sftp_factory=True,
            allow_scp=True,
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            keepalive_interval=15,
            login_timeout=15,
        )

    try:
        acceptor = await listen(wanted.port)
    except OSError:  # somebody took the port since last time
        acceptor = await listen(0)
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    serving = Serving(process=identify(os.getpid()), port=acceptor.get_port(), disk=wanted.disk, by=wanted.by)
    write_whole(layout.server_file(name), msgspec.json.encode(serving))
    async with acceptor:
        watcher = asyncio.create_task(_until_folder_gone(layout, done))
        await done.wait()
        watcher.cancel()
    layout.server_file(name).unlink(missing_ok=True)
    if wanted.disk is not None and wanted.by == "mount":
        with contextlib.suppress(OSError):
            disks.unmount(layout.workspace(name))


def _authorized(layout: Layout, home: Path) -> asyncssh.SSHAuthorizedKeys:
    """The lab's key, and what the host's user let in. Raises OSError, and ValueError for a line that is none."""
    import asyncssh

    keys = layout.authorized_keys.read_text()
    own = home / ".ssh" / "authorized_keys"
    if own.is_file():
        keys += own.read_text()
    return asyncssh.import_authorized_keys(keys)


async def _until_folder_gone(layout: Layout, done: asyncio.Event) -> None:
    """A server whose lab was deleted under it ends: nobody could find it again to stop it."""
    while layout.is_lab():  # noqa: ASYNC110  nobody tells of a deletion
        await asyncio.sleep(5)
    done.set()


def _leave_starter() -> None:
    """Fork twice and start a session: no terminal, no parent that has to reap us, whatever becomes of the starter."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)


def _parse(argv: list[str]) -> Wanted:
    flags = argparse.ArgumentParser(prog="python -m dm_isaac_g1.lab.server", allow_abbrev=False)
    flags.add_argument("--lab", type=Path, required=True)
    flags.add_argument("--name", required=True)
    flags.add_argument("--port", type=int, default=0)
    flags.add_argument("--disk", type=int)
    flags.add_argument("--by", choices=("mount", "quota"))
    flags.add_argument("--seed", action="store_true", help="write the seed dataset; for a workspace only we see")
    given = flags.parse_args(argv)
    by: Literal["mount", "quota"] | None = given.by
    return Wanted(layout=Layout(given.lab), name=given.name, port=given.port, disk=given.disk, by=by, seed=given.seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
