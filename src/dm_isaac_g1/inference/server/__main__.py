"""`python -m dm_isaac_g1.inference.server`: serve a model or the replay of a dataset, or stand before another server.

Exit codes: 0 asked to leave and all was answered, 1 the model does not load or the port is taken, 2 usage, 3 a model
that cannot be served.
"""

from __future__ import annotations

import argparse
import os
import resource
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core import plainfile
from dm_isaac_g1.core.errors import DmG1Error, ExitCode, RefusedError, UsageError
from dm_isaac_g1.inference.server import ports

if TYPE_CHECKING:
    from dm_isaac_g1.inference.server import PolicyServer

_LOOPBACK = ("127.", "::1", "ipc:")


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m dm_isaac_g1.inference.server", description=__doc__, allow_abbrev=False
    )
    what = flags.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="a bc checkpoint, or a folder with a TorchScript or ONNX policy and policy.json")
    what.add_argument("--dataset", help="replay the actions of this LeRobot dataset")
    what.add_argument("--proxy", metavar="tcp://HOST:PORT", help="stand in front of this policy server")
    flags.add_argument("--port", type=int, default=5555, help="0: any free one (default: 5555)")
    flags.add_argument("--bind", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1, this host)")
    flags.add_argument("--token-file", help="a file (mode 0600) with the API token that every request must have")
    flags.add_argument("--upstream-token-file", help="with --proxy: the token of the server behind")
    flags.add_argument("--deadline", type=float, default=30.0, help="with --proxy: seconds the server behind may take")
    flags.add_argument("--dialect", choices=("nested", "flat"), default="nested", help="flat: as the sim wrapper's")
    flags.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where exported policies run")
    flags.add_argument("--horizon", type=int, default=16, help="with --dataset: steps in one answer")
    flags.add_argument("--execute", type=int, help="with --dataset: steps of each answer that are taken (default: all)")
    flags.add_argument("--allow-kill", action="store_true", help="let a client end the server with `kill`")
    return flags


def main(argv: list[str]) -> int:
    """Serve; the exit code. Bad input is one line on stderr, never a traceback."""
    given = parser().parse_args(argv)
    try:
        _check(given)
        ports.try_out(given.bind, given.port)
        server = build(given)
        return int(ExitCode.DONE if server.serve_forever() else ExitCode.FAILED)
    except DmG1Error as error:
        sys.stderr.write(f"error: {error.line()}\n")
        return int(error.exit_code)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: {error.name} is not installed; pip install 'dm-isaac-g1[inference]'\n")
        return int(ExitCode.FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted while it was loading\n")
        return int(ExitCode.INTERRUPTED)


def build(given: argparse.Namespace) -> PolicyServer:
    """The server that was asked for, with its model loaded; not bound yet. Raises DmG1Error."""
    from dm_isaac_g1.inference.server import PolicyServer

    token = None if given.token_file is None else read_token(given.token_file)
    if token is None and not given.bind.startswith(_LOOPBACK):
        sys.stderr.write(
            f"warning: anybody who reaches {given.bind} may ask this server; --token-file asks for a token\n"
        )
    return PolicyServer(
        _served(given),
        port=given.port,
        bind=given.bind,
        token=token,
        allow_kill=given.allow_kill,
        dialect=given.dialect,
    )


def _served(given: argparse.Namespace) -> Any:
    if given.proxy is not None:
        from dm_isaac_g1.inference.policies.proxy import Proxy

        theirs = None if given.upstream_token_file is None else read_token(given.upstream_token_file)
        return Proxy(given.proxy, token=theirs, deadline_s=given.deadline)
    if given.dataset is not None:
        from dm_isaac_g1.inference.policies.replay import ReplayPolicy

        return ReplayPolicy(Path(given.dataset).expanduser(), horizon=given.horizon, executed=given.execute)
    from dm_isaac_g1.inference.policies.loading import load

    return load(given.model, device=given.device)


def read_token(name: str) -> str:
    """The token in a file. Raises UsageError, and RefusedError where others may read it."""
    path = Path(name).expanduser()
    try:
        text = plainfile.read(path, 4097).decode()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", where=name) from None
    except UnicodeDecodeError:
        raise UsageError("is not a text", where=name) from None
    if mode & 0o077:
        raise RefusedError(f"others may read it (mode {mode:04o})", where=name, fix=f"chmod 600 {name}")
    token = text.strip()
    if not token or len(text) > 4096 or not token.isprintable():
        raise UsageError("holds no token: one line of at most 4096 characters", where=name)
    return token


def _check(given: argparse.Namespace) -> None:
    if not 0 <= given.port <= 65535:
        raise UsageError(f"port {given.port}: there are 1 to 65535")
    if not 0 < given.deadline < 86400:
        raise UsageError(f"a deadline of {given.deadline:g} s makes no sense")
    if not 0 < given.horizon <= 4096:
        raise UsageError(f"a horizon of {given.horizon} steps makes no sense")


def _prepare() -> None:
    """Take the working folder off the import path, where `-m` put it: what lies there is not ours. Allow as many
    connections as this user may have."""
    here = str(Path.cwd())
    sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 65536 if most == resource.RLIM_INFINITY else min(most, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    _prepare()
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a policy that hangs in its thread, or a library's own threads, must not keep the process.
    os._exit(code)
