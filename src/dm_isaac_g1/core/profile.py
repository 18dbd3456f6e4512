"""A profile: the fleet (hosts, what they are for, where things lie on them) and the user's defaults, as typed values.

Reading one from YAML, with file, line and field in every error, is `core.profiles`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["train", "serve", "sim"]


class Docker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands run in this existing container."""

    container: str
    #: Commands run through `conda run --no-capture-output -n ENV`.
    conda_env: str | None = None
    socket: str = "/var/run/docker.sock"


class DockerRuntime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    docker: Docker


Runtime = Literal["bare"] | DockerRuntime


class Paths(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things lie, as seen by the commands (inside the container, for a docker runtime).

    Each may be absolute, start with `~/`, or be relative to `workspace`. `{lab}` is the lab's folder.
    """

    workspace: str = "~/dm-g1"
    datasets: str = "datasets"
    checkpoints: str = "checkpoints"
    logs: str = "logs"
    models: str = "models"
    jobs: str = "jobs"
    caches: str = "~/.cache/huggingface"


class Serve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models are served on a host. What is not said is found out: see `how`."""

    #: process: a supervised process where commands run. container: the existing container `container`, replaced by
    #: one that differs in the model's path alone. release: a new container of `image` for each release. compose: the
    #: service `service` of the project `compose`. auto: process on a bare host; for a docker runtime the profile's
    #: container, if its command takes a model's path, else a process in it.
    how: Literal["auto", "process", "container", "release", "compose"] = "auto"
    container: str | None = None
    image: str | None = None
    #: The compose file on the host, and the service in it that serves.
    compose: str | None = None
    service: str | None = None
    socket: str = "/var/run/docker.sock"
    #: GR00T's embodiment tag, where a checkpoint knows several.
    embodiment: str | None = None
    #: The server's command instead of the one that the model's kind has, with {model}, {port}, {bind}, {embodiment}.
    command: tuple[str, ...] = ()
    #: The address that the server binds to. NVIDIA's has no token and obeys anybody's `kill`: loopback by default.
    bind: str = "127.0.0.1"
    #: A file on the host with the API token of servers of ours (mode 0600).
    token_file: str | None = None
    #: The longest that a model may take to load, in seconds.
    load_s: float = 600.0
    #: Releases kept for a rollback, besides the one that serves.
    keep: int = 3


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine reached over SSH."""

    #: An alias of ~/.ssh/config, or user@host:port.
    ssh: str
    roles: tuple[Role, ...] = ()
    runtime: Runtime = "bare"
    paths: Paths = Paths()
    #: The interpreter on the host (in the container) that has this package's trainers.
    python: str = "python3"
    #: Where GR00T's repository lies there, for the groot-* trainers.
    groot: str | None = None
    #: Plain settings for commands there. Never a secret.
    env: dict[str, str] = {}
    #: The policy server's port.
    port: int = 5555
    serve: Serve = Serve()
    title: str = ""


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When alerts are raised."""

    gpu_temp_c: float = 88.0
    #: No new step for this many times the median step time counts as a stall (and at least stall_min_s).
    stall_factor: float = 20.0
    stall_min_s: float = 120.0
    #: The guard's reserve on a file system: the larger of the two.
    disk_reserve_gb: float = 5.0
    disk_reserve_share: float = 0.02


class Defaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user's defaults."""

    hub_org: str | None = None
    theme: str = "dm-dark"
    #: Re-bound keys: action name -> key.
    keys: dict[str, str] = {}
    train_host: str | None = None
    recipe: str | None = None
    thresholds: Thresholds = Thresholds()


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One YAML file: the fleet and the defaults."""

    name: str
    title: str = ""
    #: OpenSSH client configuration instead of ~/.ssh/config (the lab has its own).
    ssh_config: str | None = None
    hosts: dict[str, Host] = {}
    defaults: Defaults = Defaults()
    #: Folders with recipes, besides the shipped ones and ~/.config/dm-g1/recipes.
    recipes: tuple[str, ...] = ()
