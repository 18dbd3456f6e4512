"""A host without python3: a POSIX sh stream that says less, in the agent's place.

Memory, load, CPU, disks and nvidia-smi, once a second; no questions, no files. It ends by SIGPIPE when nobody reads.
"""

from __future__ import annotations

import asyncio
import posixpath
import secrets
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from dm_isaac_g1.core.errors import DmG1Error, RemoteFailed
from dm_isaac_g1.remote import wire
from dm_isaac_g1.remote.agent import LINE_MAX, NOISE_MAX, START_TIMEOUT, AgentFailed
from dm_isaac_g1.remote.clean import clean_bytes
from dm_isaac_g1.remote.runtime import Runtime, Spawned

#: Fields that every driver of the last ten years knows: there is nobody to intersect them.
_FIELDS = (
    "index,uuid,name,driver_version,pstate,memory.total,memory.used,utilization.gpu,temperature.gpu,power.draw,"
    "power.limit,clocks.current.sm,clocks.max.sm,fan.speed"
)
FIX = "install Python 3.8 or later"
#: $1: the marker, $2: nvidia-smi's fields, the rest: paths. One letter says what a line is; T ends a sample.
_SCRIPT = r"""
printf '\n%s\n' "$1"; printf 'H %s\n' "$HOME"; printf 'U %s\n' "$(id -un)"
fields=$2; shift 2
if command -v nvidia-smi >/dev/null 2>&1; then
  nvidia-smi "--query-gpu=$fields" --format=csv,nounits -lms 1000 2>&1 </dev/null |
    while IFS= read -r line; do printf 'G %s\n' "$line"; done &
else
  echo N
fi
trap 'kill $! 2>/dev/null; exit' PIPE HUP TERM
n=0
while :; do
  while IFS= read -r line; do
    case $line in MemTotal:*|MemFree:*|MemAvailable:*) printf 'M %s\n' "$line" ;; esac
  done </proc/meminfo
  IFS= read -r line </proc/loadavg; printf 'L %s\n' "$line"
  IFS= read -r line </proc/stat; printf 'C %s\n' "$line"
  if [ "$n" -eq 0 ]; then
    i=0
    for path do
      case $path in "~"|"~/"*) path=$HOME${path#"~"} ;; esac
      while [ ! -e "$path" ] && [ "$path" != / ]; do path=$(dirname -- "$path"); done
      printf 'D %s %s\n' "$i" "$(df -Pk "$path" 2>/dev/null | tail -n 1)"
      i=$((i + 1))
    done
  fi
  n=$(((n + 1) % 10))
  printf 'T %s\n' "$(date +%s)"
  sleep 1
done
"""


class Probe:
    """The stream, with the agent's face."""

    def __init__(self, spawned: Spawned, where: str, paths: Mapping[str, str], problem: DmG1Error) -> None:
        self.problem = RemoteFailed(f"{problem.what}; only the machine itself can be watched", where=where, fix=FIX)
        self._spawned = spawned
        self._where = where
        self._reader = ProbeReader(paths)
        self._rest = b""
        self.hello = wire.Hello(version=0, home="/")

    @classmethod
    async def start(cls, runtime: Runtime, paths: Mapping[str, str], problem: DmG1Error) -> Probe:
        """`problem`: why there is no agent. Raises AgentFailed where sh is no help either, and as `Runtime.spawn`."""
        mark = secrets.token_hex(12)
        # A `~` is the script's to expand: the shell there knows the home, we do not yet.
        given = [_join(paths.get("workspace", "~"), path) for path in paths.values()]
        spawned = await runtime.spawn(["sh", "-c", _SCRIPT, "dm-g1", mark, _FIELDS, *given])
        probe = cls(spawned, runtime.where, paths, problem)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await probe._begin(f"\n{mark}\n".encode())
        except TimeoutError as error:
            await spawned.close()
            raise AgentFailed("neither python3 nor sh says anything there", where=runtime.where) from error
        except BaseException:
            await spawned.close()
            raise
        return probe

    async def listen(self, sampled: Callable[[wire.Sampled], None]) -> None:
        """Take samples until the stream ends."""
        buffer = self._rest
        while True:
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                said = self._reader.feed(line)
                if said is not None:
                    sampled(said)
            buffer = buffer[-LINE_MAX:]
            data = await self._spawned.read()
            if not data:
                return
            buffer += data

    async def ask(self, op: str, *, timeout: float = 30.0, **args: Any) -> NoReturn:
        self._cannot()

    @asynccontextmanager
    async def following(self, **args: Any) -> AsyncIterator[NoReturn]:
        self._cannot()
        yield

    async def ping(self) -> None:
        """Nothing to tell: writing to nobody ends it."""

    async def close(self) -> None:
        await self._spawned.close()

    def _cannot(self) -> NoReturn:
        raise RemoteFailed("no agent there, so files and jobs cannot be seen", where=self._where, fix=FIX)

    async def _begin(self, mark: bytes) -> None:
        heard = b""
        while mark not in heard or heard.split(mark, 1)[1].count(b"\n") < 2:
            data = await self._spawned.read()
            heard += data
            if not data or len(heard) > NOISE_MAX:
                said = clean_bytes((await self._spawned.errors())[-300:].replace(b"\n", b" ")).strip()
                raise AgentFailed(f"neither python3 nor sh can be used there: {said}", where=self._where)
        home, user, self._rest = heard.split(mark, 1)[1].split(b"\n", 2)
        where = clean_bytes(home[2:])
        workspace = _absolute(self._reader.paths.get("workspace", "~"), where, where)
        self.hello = wire.Hello(
            version=0,
            home=where,
            user=clean_bytes(user[2:]),
            paths={name: _absolute(path, workspace, where) for name, path in self._reader.paths.items()},
        )


def _join(base: str, path: str) -> str:
    return path if path.startswith("~") else posixpath.join(base, path)


def _absolute(path: str, base: str, home: str) -> str:
    path = _join(base, path)
    return posixpath.normpath(home + path[1:] if path == "~" or path.startswith("~/") else path)


class ProbeReader:
    """The stream's lines, gathered into samples. Pure. A line that makes no sense is passed over."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self.paths = dict(paths)
        self._seq = 0
        self._memory: dict[str, int] = {}
        self._load: float | None = None
        self._ticks: list[int] = []
        self._cpu: float | None = None
        self._disks: dict[str, wire.DiskRow] = {}
        self._head = ""
        self._rows: list[str] = []
        self._gpu = wire.GpuRows(state="stale")

    def feed(self, line: bytes) -> wire.Sampled | None:
        """One line; the sample that it ends, if it does."""
        kind, _, text = clean_bytes(line).partition(" ")
        try:
            if kind == "T":
                return self._sample(float(text))
            if kind == "M":
                name, value = text.split()[:2]
                self._memory[name] = int(value) * 1024
            elif kind == "L":
                self._load = float(text.split()[0])
            elif kind == "C":
                self._take_cpu([int(each) for each in text.split()[1:9]])
            elif kind == "D":
                self._take_disk(text)
            elif kind == "N":
                self._gpu = wire.GpuRows(state="none", note="nvidia-smi not found")
            elif kind == "G":
                self._take_gpu(text)
        except (ValueError, IndexError):
            return None
        return None

    def _take_cpu(self, ticks: list[int]) -> None:
        spent = [new - old for new, old in zip(ticks, self._ticks, strict=False)]
        self._ticks = ticks
        total = sum(spent)
        self._cpu = max(0.0, 100.0 - 100.0 * sum(spent[3:5]) / total) if total > 0 else None

    def _take_disk(self, text: str) -> None:
        """`df -P`: source, blocks, used, available, capacity, mount; POSIX's only portable figures."""
        index, _, row = text.partition(" ")
        fields = row.split(None, 5)
        name, mount = list(self.paths)[int(index)], fields[5]
        before = self._disks.get(mount)
        self._disks[mount] = wire.DiskRow(
            dev=zlib.crc32(mount.encode()),
            mount=mount,
            total=int(fields[1]) * 1024,
            avail=int(fields[3]) * 1024,
            paths=[*(each for each in (before.paths if before else []) if each != name), name],
        )

    def _take_gpu(self, text: str) -> None:
        if not self._head and text.startswith("index"):
            self._head = text
        elif self._head and text != self._head:
            self._rows = [*self._rows[-63:], text]
        elif not self._head:
            self._gpu = wire.GpuRows(state="error", note=text[:300])

    def _sample(self, wall: float) -> wire.Sampled:
        self._seq += 1
        if self._rows:
            self._gpu = wire.GpuRows(state="ok", head=self._head, rows=self._rows)
            self._rows = []
        memory = self._memory
        return wire.Sampled(
            seq=self._seq,
            t_mono=float(self._seq),
            t_wall=wall,
            cpu=self._cpu,
            load1=self._load,
            memory=(memory["MemTotal:"], memory.get("MemAvailable:", 0), memory.get("MemFree:", 0))
            if "MemTotal:" in memory
            else None,
            gpu=self._gpu,
            disks=list(self._disks.values()) or None,
        )
