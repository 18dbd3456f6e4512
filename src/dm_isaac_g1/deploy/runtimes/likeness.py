"""A new container that differs from an inspected one in its command alone: the body of POST /containers/create. Pure.

What `docker inspect` says of a container is nearly what makes one like it (Docker Engine API, ContainerInspect and
ContainerCreate); what is not is here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
#: Of a network's settings, what a user chose; all else the engine gave.
_CHOSEN = ("IPAMConfig", "Links", "Aliases", "DriverOpts", "GwPriority")


def like(
    container: Mapping[str, Any], image: str, *, cmd: Sequence[str] | None, entrypoint: Sequence[str] | None
) -> tuple[Json, Json]:
    """(the body, further networks to be connected to before it is started), with this image and command."""
    id = str(container.get("Id") or "")
    config: Json = copy.deepcopy(dict(container.get("Config") or {}))
    host: Json = copy.deepcopy(dict(container.get("HostConfig") or {}))
    mode = str(host.get("NetworkMode") or "")
    # The engine names a host after its container, and refuses a name where it is not the container's to give.
    if config.get("Hostname") == id[:12] or mode == "host" or mode.startswith("container:"):
        config.pop("Hostname", None)
    if mode == "host" or mode.startswith("container:"):
        config.pop("ExposedPorts", None)
    config.update(Image=image, Cmd=None if cmd is None else list(cmd))
    if entrypoint is not None:
        config["Entrypoint"] = list(entrypoint)
    host["Binds"] = [*(host.get("Binds") or []), *_unnamed(container, host)]
    first, others = _networks(container, mode, id)
    return {**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": first}}, others


def candidate(body: Json) -> Json:
    """The same, beside the one that serves: no port of the host, no fixed address, no name that others ask for."""
    made = copy.deepcopy(body)
    host = made["HostConfig"]
    host.update(PortBindings={}, PublishAllPorts=False, RestartPolicy={"Name": "no"}, AutoRemove=False)
    for settings in made["NetworkingConfig"]["EndpointsConfig"].values():
        for name in ("IPAMConfig", "Aliases", "Links"):
            settings.pop(name, None)
    made.pop("MacAddress", None)
    return made


def _unnamed(container: Mapping[str, Any], host: Mapping[str, Any]) -> list[str]:
    """Volumes that the engine made up a name for: the new container is to see the same ones."""
    known = {str(bind).split(":")[1] for bind in host.get("Binds") or [] if str(bind).count(":") >= 1}
    known |= {str(each.get("Target")) for each in host.get("Mounts") or [] if isinstance(each, dict)}
    found = []
    for each in container.get("Mounts") or []:
        if each.get("Type") == "volume" and each.get("Name") and each.get("Destination") not in known:
            found.append(f"{each['Name']}:{each['Destination']}:{'rw' if each.get('RW', True) else 'ro'}")
    return found


def _networks(container: Mapping[str, Any], mode: str, id: str) -> tuple[Json, Json]:
    """The network that it is made in, with its settings, and the others."""
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    if mode in ("host", "none") or mode.startswith("container:"):
        return {}, {}
    settings = {}
    for name, each in networks.items():
        chosen = {key: each[key] for key in _CHOSEN if each.get(key)}
        if "Aliases" in chosen:
            chosen["Aliases"] = [alias for alias in chosen["Aliases"] if alias != id[:12]]
        settings[name] = chosen
    own = mode if mode in settings else next(iter(settings), "")
    if mode in ("default", "bridge", ""):
        own = "bridge" if "bridge" in settings else own
        settings.get(own, {}).pop("Aliases", None)  # the default bridge has none
    return {own: settings.pop(own)} if own else {}, settings
