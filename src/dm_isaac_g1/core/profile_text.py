"""A new profile as a user first meets it: YAML with a comment at every field."""

from __future__ import annotations

import json

from dm_isaac_g1.core.profile import DockerRuntime, Host

_HEAD = """\
# dm-g1 profile `{name}`: the machines, what they are for, and where things lie on them.
# `dm-g1 profile check {name}` says what is wrong with it; passwords and tokens belong into .env, never here.

title: {title}

hosts:
"""

_TAIL = """
defaults:
  # theme: dm-dark              # or dm-light
  # hub_org: my-organisation    # where models and datasets go on the Hugging Face Hub
  # recipe: g1-groot-n16        # what the launch form begins with
  # keys: {train.start: t}      # re-bound keys: action name -> key
  thresholds:
    gpu_temp_c: 88
    disk_reserve_gb: 5          # the disk guard keeps the larger of the two free
    disk_reserve_share: 0.02
"""


def render(name: str, hosts: dict[str, Host]) -> str:
    """The file's text. Every value is written as JSON, which is YAML that needs no further quoting."""
    parts = [_HEAD.format(name=name, title=json.dumps(name))]
    parts += [_host(each, host) for each, host in hosts.items()]
    return "".join(parts if hosts else [*parts[:1], "  {}\n"]) + _TAIL


def _host(name: str, host: Host) -> str:
    lines = [
        f"  {name}:",
        *([f"    title: {json.dumps(host.title)}"] if host.title else []),
        f"    ssh: {json.dumps(host.ssh)}  # an alias of ~/.ssh/config, or user@host:port",
        f"    roles: {json.dumps(list(host.roles))}  # train, serve, sim",
        *_runtime(host),
        "    paths:  # as the commands see them; relative ones stand under workspace",
        *(f"      {place}: {json.dumps(getattr(host.paths, place))}" for place in host.paths.__struct_fields__),
        f"    python: {json.dumps(host.python)}  # the interpreter that has this package's trainers",
        f"    groot: {json.dumps(host.groot)}" if host.groot else "    # groot: /workspace/Isaac-GR00T",
        *([f"    port: {host.port}  # of the policy server"] if "serve" in host.roles else []),
        *([f"    env: {json.dumps(host.env)}  # plain settings, never a secret"] if host.env else []),
    ]
    return "\n".join(lines) + "\n"


def _runtime(host: Host) -> list[str]:
    if not isinstance(host.runtime, DockerRuntime):
        return ["    runtime: bare  # or docker: {container: NAME, conda_env: NAME}"]
    docker = host.runtime.docker
    conda = [f"        conda_env: {json.dumps(docker.conda_env)}"] if docker.conda_env else []
    return ["    runtime:", "      docker:", f"        container: {json.dumps(docker.container)}", *conda]
