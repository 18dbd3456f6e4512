"""A Runtime on this very machine: the same programs and pipes as on a host, without a connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from dm_isaac_g1.core.errors import RemoteFailed
from dm_isaac_g1.remote.runtime import Completed


class LocalRuntime:
    """Runs commands here. `env`: on top of the test's own."""

    where = "here"

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.env = dict(env or {})

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Completed:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self.env, **(env or {})},
            cwd=cwd,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin), timeout)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise RemoteFailed("timeout", where=self.where) from None
        return Completed(argv=tuple(argv), exit=process.returncode, stdout=out, stderr=err)

    def command(self, argv: Sequence[str]) -> list[str]:
        return list(argv)


def agent_ask(runtime: Any) -> Any:
    """`Host.ask` for the op "jobs" alone: the agent's own functions, in a process where `runtime` runs commands."""

    async def ask(op: str, **args: Any) -> Any:
        source = resources.files("dm_isaac_g1.remote").joinpath("agent_jobs.py").read_text()
        boot = (
            "import sys,json;m=json.loads(sys.stdin.readline());g={'__name__':'agent'};"
            "exec(compile(m['source'],'agent_jobs','exec'),g);print(json.dumps(g['OPS'][m['op']](**m['args'])))"
        )
        line = json.dumps({"source": source, "op": op, "args": args}).encode() + b"\n"
        done = await runtime.run(["python3", "-I", "-S", "-c", boot], stdin=line)
        assert done.exit == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return ask
