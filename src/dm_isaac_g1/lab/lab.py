"""Up, down, status and reset of the lab: what `dm-g1 lab` does. Each may be called in any state, any time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dm_isaac_g1.core import labport, units
from dm_isaac_g1.core.errors import DmG1Error, UsageError
from dm_isaac_g1.core.paths import lab_dir
from dm_isaac_g1.lab import disk as disks
from dm_isaac_g1.lab import jobs, ports, processes, seed, standin
from dm_isaac_g1.lab.environment import host_environment
from dm_isaac_g1.lab.files import write_whole
from dm_isaac_g1.lab.keys import ensure_keys, write_client_files
from dm_isaac_g1.lab.layout import HOSTS, SERVE_HOST, TRAIN_HOST, HostName, Layout
from dm_isaac_g1.lab.server import Serving

#: A server listens well within this, even on a busy machine; seconds.
START_TIMEOUT = 30.0
#: What running jobs get to end when the lab goes down; seconds.
JOB_PATIENCE = 10.0


class LabError(DmG1Error):
    """The lab could not be started or stopped."""


class LabHost(msgspec.Struct, frozen=True, kw_only=True):
    """One host as it is now. `disk`: its workspace's own size in bytes, None where it is as large as the disk below."""

    name: str
    up: bool
    port: int | None = None
    pid: int | None = None
    disk: int | None = None
    disk_by: disks.Way | None = None


class LabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The lab as it is now.

    `ended`: processes of jobs that were stopped by what was just done; `others`: what else ran on its hosts, such as
    the agents of a console.
    """

    folder: str
    ssh_config: str
    hosts: tuple[LabHost, ...]
    ended: int = 0
    others: int = 0
    notes: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        return all(host.up for host in self.hosts)


class Lab:
    """The lab in `folder` (default: core.paths.lab_dir()). Blocking; `up` takes about a second, more the first time."""

    def __init__(self, folder: Path | None = None) -> None:
        self.layout = Layout((folder or lab_dir()).absolute())

    def up(self, disk: int | None = None) -> LabStatus:
        """Start what is not running. `disk`: bytes of the workstation's workspace; None leaves it as it is.

        Raises UsageError where the folder is no lab or the lab is up with another disk, LabError where a server does
        not start.
        """
        _need_linux()
        try:
            self.layout.claim()
        except OSError as error:
            raise UsageError(
                f"no lab can be made there: {error.strerror}",
                where=str(self.layout.root),
                fix="set DM_G1_LAB_DIR to a folder that you may write to",
            ) from None
        with self._locked():
            for folder in self.layout.folders():
                folder.mkdir(parents=True, exist_ok=True)
            ensure_keys(self.layout)
            notes = []
            for name in HOSTS:
                standin.install(self.layout, name)
                notes += self._start(name, disk if name == TRAIN_HOST else None)
            self._choose_port()
            write_client_files(self.layout, {name: self._serving(name).port for name in HOSTS})
            return self._status(notes=tuple(notes))

    def down(self) -> LabStatus:
        """Stop the servers, and the jobs that still run on them; the status says how many processes that ended."""
        if not self.layout.is_lab():
            return self._status()
        with self._locked():
            ended = others = 0
            notes = []
            for name in HOSTS:
                serving = self._alive(name)
                in_memory = os.path.ismount(self.layout.workspace(name)) or (serving and serving.by == "mount")
                notes += [f"{name}: stopped job {job}" for job in jobs.ask_to_stop(self.layout, name)]
                of_jobs = jobs.processes_of(self.layout, name)
                stopped = self._stop(name)
                ended += min(of_jobs, stopped)
                others += stopped - min(of_jobs, stopped)
                if in_memory:
                    notes.append(f"{name}: its disk was in memory: all runs, checkpoints and files on it are gone")
            return self._status(ended=ended, others=others, notes=tuple(notes))

    def status(self) -> LabStatus:
        """How the lab is; changes nothing."""
        return self._status()

    def reset(self) -> LabStatus:
        """Down, and the lab's folder deleted. Raises UsageError where the folder is there and no lab."""
        if not self.layout.root.exists():
            return self._status()
        if not self.layout.is_lab():
            raise UsageError("this folder is not a lab: nothing was deleted", where=str(self.layout.root))
        status = self.down()
        still = [name for name in HOSTS if os.path.ismount(self.layout.workspace(name))]
        if still:
            raise LabError(f"the workspace of {still[0]} is still mounted: nothing was deleted", where=status.folder)
        shutil.rmtree(self.layout.root)
        return msgspec.structs.replace(
            self._status(), ended=status.ended, others=status.others, notes=("the lab's folder was deleted",)
        )

    def _choose_port(self) -> None:
        """Keep the port that spark serves on, unless somebody outside the lab has it."""
        root = self.layout.root
        port = labport.serve_port(root)
        if not ports.taken(port) or ports.held_by(port, processes.of_host(self.layout, SERVE_HOST)):
            chosen = port
        else:
            chosen = next((each for each in labport.candidates(root) if not ports.taken(each)), port)
        write_whole(labport.file(root), str(chosen).encode())

    # One host

    def _start(self, name: HostName, size: int | None) -> list[str]:
        serving = self._alive(name)
        if serving is not None:
            if size is not None and serving.disk != size:
                raise UsageError(
                    f"the lab is up with {_size(serving.disk)}, not {_size(size)}", fix="dm-g1 lab down first"
                )
            return self._seed(name)
        last = self._serving_file(name)
        self.layout.server_file(name).unlink(missing_ok=True)
        if size is None and os.path.ismount(self.layout.workspace(name)) and last is not None:
            size = last.disk  # its server died; the disk, and the jobs on it, are still there
        command = [sys.executable, "-m", "dm_isaac_g1.lab.server", "--lab", str(self.layout.root), "--name", name]
        command += ["--port", str(last.port if last else 0)]
        notes = []
        if size is not None:
            way = self._way(name, size)
            command += ["--disk", str(size), "--by", "quota" if way == "quota" else "mount"]
            if way == "namespace":
                processes.end(processes.of_host(self.layout, name), patience=JOB_PATIENCE)
                command = [*disks.UNSHARE, *command, "--seed"]
            notes.append(f"{name}: a workspace of {units.size(size)}, {_WAYS[way]}")
        self._spawn(name, command)
        return notes + self._seed(name)

    def _way(self, name: HostName, size: int) -> disks.Way:
        if size < disks.SMALLEST:
            least = units.size(disks.SMALLEST)
            raise UsageError(f"a disk of {units.size(size)} is too small for the lab", fix=f"give it at least {least}")
        return "mount" if os.path.ismount(self.layout.workspace(name)) else disks.choose()

    def _spawn(self, name: HostName, command: list[str]) -> None:
        log = self.layout.server_log(name)
        with log.open("wb") as output:
            starter = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=host_environment(self.layout, name) | {"DM_G1_LAB": "", "DM_G1_LAB_ROOT": ""},
                cwd=self.layout.root,
            )
        failed = starter.wait(START_TIMEOUT) != 0  # it forks itself away at once
        deadline = time.monotonic() + START_TIMEOUT
        while self._alive(name) is None:
            said = log.read_text(errors="replace").strip().splitlines()
            failed = failed or any(line.startswith((f"{name}: ", "Traceback")) for line in said)
            if failed or time.monotonic() > deadline:
                raise LabError(said[-1] if said else "did not start", where=f"lab host {name}", fix=f"see {log}")
            time.sleep(0.02)

    def _seed(self, name: HostName) -> list[str]:
        serving = self._serving(name)
        hidden = serving.by == "mount" and not os.path.ismount(self.layout.workspace(name))
        if name != TRAIN_HOST or hidden:  # hidden: in the server's own namespace, where it did it itself
            return []
        return seed.ensure(self.layout, name)

    def _stop(self, name: HostName) -> int:
        ended = processes.end(processes.of_host(self.layout, name), patience=JOB_PATIENCE)
        serving = self._alive(name)
        if serving is not None:
            processes.end([serving.process.pid], patience=5.0)
        disks.unmount(self.layout.workspace(name))
        return ended

    # What is

    def _serving_file(self, name: HostName) -> Serving | None:
        try:
            return msgspec.json.decode(self.layout.server_file(name).read_bytes(), type=Serving)
        except (OSError, msgspec.DecodeError):
            return None

    def _alive(self, name: HostName) -> Serving | None:
        serving = self._serving_file(name)
        return serving if serving is not None and processes.alive(serving.process) else None

    def _serving(self, name: HostName) -> Serving:
        serving = self._alive(name)
        if serving is None:
            raise LabError("stopped while the lab was starting", where=f"lab host {name}")
        return serving

    def _status(self, *, ended: int = 0, others: int = 0, notes: tuple[str, ...] = ()) -> LabStatus:
        hosts = []
        for name in HOSTS:
            serving = self._alive(name)
            if serving is None:
                hosts.append(LabHost(name=name, up=False))
                continue
            mounted = os.path.ismount(self.layout.workspace(name))
            by: disks.Way | None = None
            if serving.by is not None:
                by = "quota" if serving.by == "quota" else "mount" if mounted else "namespace"
            hosts.append(
                LabHost(name=name, up=True, port=serving.port, pid=serving.process.pid, disk=serving.disk, disk_by=by)
            )
        return LabStatus(
            folder=str(self.layout.root),
            ssh_config=str(self.layout.ssh_config),
            hosts=tuple(hosts),
            ended=ended,
            others=others,
            notes=notes,
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One `up` or `down` at a time: a second console waits for the first."""
        with self.layout.lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


_WAYS: dict[disks.Way, str] = {
    "mount": "in memory (tmpfs)",
    "namespace": "in memory (tmpfs), seen from inside the lab host only",
    "quota": "kept by a quota, since nothing may be mounted here",
}


def _size(size: int | None) -> str:
    return "no disk of its own" if size is None else f"a disk of {units.size(size)}"


def _need_linux() -> None:
    if sys.platform != "linux":
        raise UsageError(
            "the lab needs Linux: its hosts are read through /proc", fix="run it in a container or on the host"
        )
