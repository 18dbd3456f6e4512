"""The command that serves a model on a host: GR00T's own server for its checkpoints, ours for the rest, or what the
profile says. Nothing is started or looked at here."""

from __future__ import annotations

import ipaddress
import re

import msgspec

from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.core.expected import did_you_mean
from dm_isaac_g1.core.profile import Host
from dm_isaac_g1.finetuning.trainers.flags import Flag, tyro_argv
from dm_isaac_g1.inference.models import ModelFacts

GROOT_SCRIPT = "gr00t/eval/run_gr00t_server.py"
OUR_MODULE = "dm_isaac_g1.inference.server"
#: What both servers print once the model is loaded and the port is bound; an address follows.
READY = "Server is ready and listening on tcp://"

#: Every flag of GR00T's server, read out of the script's own parser (Isaac-GR00T N1.6, 2026-02-24). It has none for a
#: token: bound to anything but loopback, anybody who reaches the port may ask it for actions, or kill it.
GROOT_FLAGS = (
    Flag("model_path", "str", None, True),
    Flag("embodiment_tag", "tag", "NEW_EMBODIMENT"),
    Flag("device", "str", "cuda"),
    Flag("dataset_path", "str", None, True),
    Flag("modality_config_path", "str", None, True),
    Flag("execution_horizon", "int", None, True),
    Flag("host", "str", "0.0.0.0"),  # noqa: S104  what its default is; we always say another
    Flag("port", "int", 5555),
    Flag("strict", "bool", True),
    Flag("use_sim_policy_wrapper", "bool", False),
)

_PLACE = re.compile(r"\{(\w+)\}")


class ServerCommand(msgspec.Struct, frozen=True, kw_only=True):
    """`ready`: how the line begins that it prints when it serves; "": nobody knows. `ours`: it is our PolicyServer,
    which has a token, metrics, and answers a ping at any time."""

    argv: tuple[str, ...]
    #: None: wherever.
    cwd: str | None = None
    env: dict[str, str] = {}
    ready: str = ""
    ours: bool = False
    #: The embodiment tag's NAME it serves, where the model has tags.
    embodiment: str | None = None


def server_command(
    facts: ModelFacts,
    path: str,
    host: Host,
    *,
    port: int,
    bind: str = "127.0.0.1",
    embodiment: str | None = None,
    token_file: str | None = None,
) -> ServerCommand:
    """What serves the model at `path`, as the command on the host sees it, on bind:port.

    Raises RefusedError for a model that cannot be served, UsageError for a profile or a value that makes no sense.
    """
    if not facts.complete:
        raise RefusedError("; ".join(facts.problems), where=facts.name, fix="choose a complete checkpoint")
    _check_address(bind, port)
    tag = choose_embodiment(facts, embodiment or host.serve.embodiment)
    env = {**host.env, "PYTHONUNBUFFERED": "1"}
    if host.serve.command:
        places = {"model": path, "port": str(port), "bind": bind, "embodiment": tag or ""}
        argv = tuple(_filled(word, places) for word in host.serve.command)
        return ServerCommand(argv=argv, env=env, embodiment=tag)
    if facts.kind == "groot-n1.6":
        if host.groot is None:
            raise UsageError("the profile does not say where GR00T lies on this host", fix="set `groot:` for the host")
        words = tyro_argv(
            GROOT_FLAGS,
            {"model_path": path, "embodiment_tag": tag, "host": bind, "port": port},
            script="run_gr00t_server.py",
        )
        return ServerCommand(
            argv=(host.python, GROOT_SCRIPT, *words), cwd=host.groot, env=env, ready=READY, embodiment=tag
        )
    argv = (host.python, "-m", OUR_MODULE, "--model", path, "--port", str(port), "--bind", bind)
    if token_file:
        argv += ("--token-file", token_file)
    return ServerCommand(argv=argv, env=env, ready=READY, ours=True, embodiment=tag)


def choose_embodiment(facts: ModelFacts, wanted: str | None) -> str | None:
    """The tag's NAME to serve the model for; None for a model without tags. Raises RefusedError, UsageError."""
    if not facts.embodiments:
        return None
    there = [tag.upper() for tag in facts.embodiments]
    if wanted is None:
        if facts.embodiment is not None:
            return facts.embodiment.upper()
        raise UsageError(
            f"the model knows several embodiments: {', '.join(there)}",
            where=facts.name,
            fix="set `serve: {embodiment: ...}` for the host, or name one",
        )
    if wanted.upper() not in there:
        raise RefusedError(
            f"the model was not trained for {wanted.upper()}: its server would end with KeyError {wanted.lower()!r}",
            where=facts.name,
            fix=did_you_mean(wanted.upper(), there),
        )
    return wanted.upper()


def _check_address(bind: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise UsageError(f"port {port}: there are 1 to 65535")
    try:
        ipaddress.ip_address(bind)
    except ValueError:
        raise UsageError(f"{bind!r} is not an IP address to bind to", fix="127.0.0.1 is this host alone") from None


def _filled(word: str, places: dict[str, str]) -> str:
    """{model}, {port}, {bind}, {embodiment}. Other braces are an error: a typo would reach the server as it is."""

    def fill(match: re.Match[str]) -> str:
        if match[1] not in places:
            raise UsageError(
                f"serve.command: {{{match[1]}}} is not known", fix=f"there are: {', '.join(f'{{{p}}}' for p in places)}"
            )
        return places[match[1]]

    return _PLACE.sub(fill, word)
