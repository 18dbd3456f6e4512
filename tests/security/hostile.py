"""A host that says the worst it can wherever it can say anything: a real sshd, a real agent, hostile content.

GPU names, processes, job files, job folders, logs, checkpoints' names: all hold payloads. On top of that its `python3`
runs the real agent and adds a payload to every text that it answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from sshd import Sshd, running

#: What a terminal must never be told by a host. The odd numbers are nobody else's: they tell ours from theirs.
PAYLOADS = (
    "\x1b]0;0wned\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]52;c;ZXZpbA==\x1b\\",
    "\x1b]52;c;ZXZpbA==",
    "\x1b[2J\x1b[66;66H",
    "\x1b[7777mcolour",
    "\x1b[?7777hmode",
    "\x9b7777mC1",
    "\x9d52;c;ZXZpbA==\x9c",
    "\x1bP+q544e\x1b\\",
    "\x1b_evil\x1b\\",
    "\x1bc\x1b7\x0e\x0f\x08\x7f",
    "a\rb\x0bc\x0cd",
    "x[/nope]y",
    "ckpt[/]",
    "[@click=app.quit()]click[/]",
    "[link=http://x]",
    "[$error]var[/]",
    "\u202egnp.exe\u202c\u200b\ufeff\u2066",
    "'; touch pwned; '",
    "$(touch pwned)",
    "`touch pwned`",
    "-rf",
    "../../etc",
    "%h%n%s{0}",
    "e\u0301\u00e9",
    "宽字符" * 30,
    "n" * 255,
)
#: Bytes that are no text at all.
RAW = b"\xff\xfe\xc3(\xed\xa0\x80 lone \x00 nul \x1b]52;c;\xff\x07\n"

_SHIM = '''#!{python}
"""The real interpreter, every text of its answers with a payload behind."""
import itertools, json, os, subprocess, sys
PAYLOADS = itertools.cycle({payloads!r})
#: Words of the protocol, and paths that are used again: changed, they would only make the answer senseless.
KEPT = set(
    "kind mode id ids folder path paths home python ops boot head v op data tail cwd output_dir events_dir stop_file"
    " rows code type".split()
)
def worse(value):
    if isinstance(value, str):
        return value + next(PAYLOADS)
    if isinstance(value, list):
        return [worse(each) for each in value]
    if isinstance(value, dict):
        kept = KEPT | ({{"state"}} if isinstance(value.get("state"), str) else set())
        return {{key: each if key in kept else worse(each) for key, each in value.items()}}
    return value
child = subprocess.Popen(["/usr/bin/python3", *sys.argv[1:]], stdout=subprocess.PIPE)
for line in child.stdout:
    mark, text = (line[:7], line[7:]) if line.startswith(b"\\x1edm-g1 ") else (b"", line)
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if isinstance(said, dict):
        line = mark + json.dumps(worse(said)).encode() + b"\\n"
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        child.kill()
        break
os._exit(child.wait())
'''


@dataclass
class Hostile:
    """The host and a profile that knows it."""

    sshd: Sshd
    profile: Path
    workspace: Path
    running_job: str


@contextlib.contextmanager
def host(folder: Path, *, worse: bool = True) -> Iterator[Hostile]:
    """Bring it up. `worse`: its agent's answers are poisoned, too."""
    binaries = folder / "bin"
    binaries.mkdir(parents=True)
    if worse:
        _program(binaries / "python3", _SHIM.format(python=sys.executable, payloads=PAYLOADS))
    _nvidia_smi(binaries)
    search = f"{binaries}:/usr/bin:/bin"
    with running(folder / "sshd", SetEnv=f"PATH={search} HOME={folder}") as server:
        jobs = server.workspace / "jobs"
        for index, payload in enumerate(PAYLOADS):
            _ended_job(jobs, index, payload)
        live = _running_job(server.workspace)
        for odd in ("\x1b]52;c;ZXZpbA==\x07", "$(touch pwned)", "[@click=app.quit()]", "\u202ex", "-rf"):
            (jobs / f"20260101T000000-{odd}-abcdef").mkdir()
            (jobs / f"20260101T000000-{odd}-abcdef" / "job.json").write_text("{}")
        profile = folder / "hostile.yaml"
        paths = {"workspace": str(server.workspace), "caches": str(server.workspace / "caches")}
        machine = {"ssh": "box", "roles": ["train"], "runtime": "bare", "paths": paths}
        profile.write_text(yaml.safe_dump({"ssh_config": str(server.config), "hosts": {"box": machine}}))
        yield Hostile(server, profile, server.workspace, live)


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _nvidia_smi(folder: Path) -> None:
    """An nvidia-smi whose GPUs and processes are called by payloads."""
    rows = [f"{index}, GPU-{index}, {_cell(payload)}, 12, 1024, 512" for index, payload in enumerate(PAYLOADS)]
    (folder / "rows").write_text("\n".join(rows) + "\n", encoding="utf-8")
    apps = [f"GPU-0, {100 + index}, {_cell(payload)}, 5" for index, payload in enumerate(PAYLOADS)]
    (folder / "apps").write_text("\n".join(apps) + "\n", encoding="utf-8")
    fields = "index uuid name utilization.gpu memory.total memory.used"
    _program(
        folder / "nvidia-smi",
        f"""#!/bin/sh
case "$*" in
  *--help-query-gpu*) for each in {fields}; do echo "\\"$each\\""; done;;
  *--version*) printf 'NVIDIA-SMI version  : \\033]52;c;ZXZpbA==\\007580\\n';;
  *--query-compute-apps*) cat {folder}/apps;;
  *-lms*) echo '{", ".join(fields.split())}'; while :; do cat {folder}/rows; sleep 1; done;;
esac
""",
    )


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace(",", ";")


def _ended_job(jobs: Path, index: int, payload: str) -> None:
    id = f"20260101T0000{index:02d}-evil-{index:06x}"
    spec = _spec(id, payload) | {"recipe": {payload: [payload]}}
    ended = {"code": index % 2, "signal": None, "ended": 1767225700.0, "error": payload if index % 2 else None}
    log = f"Traceback (most recent call last):\nRuntimeError: {payload}\nKeyError: '{payload}'\n".encode()
    _write(
        jobs / id,
        {
            "job": spec,
            "state": {"rung": payload, "boot": payload, "started": 1767225610.0},
            "exit": ended,
            "stop": {"mode": "kill", "requested": 1767225650.0, "by": payload},
        },
        log + RAW,
    )


def _running_job(workspace: Path) -> str:
    """A job whose process really runs: this one. Its log trains, and lies."""
    id = "20260102T000000-evil-0000ff"
    output = workspace / "checkpoints" / "run"
    for step, payload in enumerate(PAYLOADS[:13], 1):
        for name in (f"checkpoint-{step}", f"checkpoint-{step}-best-{_plain(payload)}"):
            (output / name).mkdir(parents=True)
            (output / name / "trainer_state.json").write_text(json.dumps({"global_step": step, "best_metric": payload}))
            (output / name / f"model-{_plain(payload)}.safetensors").write_bytes(b"x" * 5000)
    log = b""
    for step, payload in enumerate(PAYLOADS, 1):
        log += f"{{'loss': {1 / step:.4f}, 'grad_norm': 1.0, 'epoch': 0.1, '{payload}': 1.0}}\n".encode()
        log += f"{payload}\n{payload * 2}\r {step}%|{payload}| {step}/100 [00:01<00:09, 1.0it/s]\r".encode() + RAW
    stat = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    init = Path("/proc/1/stat").read_bytes().rpartition(b")")[2].split()
    state = {
        "pid": os.getpid(),
        "ticks": int(stat[19]),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "init": int(init[19]),
        "state": "running",
        "started": 1767312000.0,
        "rung": None,
        "signalled": False,
    }
    spec = _spec(id, "\x1b]52;c;ZXZpbA==\x07[@click=app.quit()]") | {"output_dir": str(output)}
    _write(workspace / "jobs" / id, {"job": spec, "state": state}, log)
    return id


def _plain(payload: str) -> str:
    return payload.replace("/", "|").replace("\0", "")[:80]


def _spec(id: str, payload: str) -> dict[str, object]:
    return {
        "id": id,
        "name": payload,
        "kind": "train",
        "argv": [payload],
        "cwd": payload,
        "trainer": payload,
        "user": payload,
        "client": payload,
        "created": 1767225600.0,
    }


def _write(folder: Path, files: dict[str, object], log: bytes) -> None:
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "log").write_bytes(log)
    (folder / "heartbeat").touch()
