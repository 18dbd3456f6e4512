"""How a server that is a container is exchanged, through the engine's socket on the host (Docker Engine API).

A part of `switch_program`, standard library only, Python 3.8 and later. The plan:

    socket                    the engine's
    old                       id of the container that serves, None: there is none
    park                      [its name, the name it waits under]
    older                     [id, other name] of one that waits under that name already, or None
    reuse                     id of the one that waits, if it is the new one: it was there before; else None
    new                       {"name": while it is made, "final": its name, "body": of POST /containers/create,
                              "networks": {name: settings} beside its first one}
    policy                    the restart policy of what serves
    address, port             where it listens, as seen from the host; address "": the container's own

A container that waits must not be started by the engine after a reboot, beside the one that serves: its restart
policy is taken away, and given back when it serves again.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.runtimes.process_program import with_words
    from dm_isaac_g1.deploy.runtimes.switch_program import Failed

#: Seconds for an answer of the engine, beyond what it was asked to wait.
API_S = 60.0


class Unix(http.client.HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Api:
    """The engine's API in a few words. Raises Failed with the engine's own."""

    def __init__(self, path: str) -> None:
        self.path = path

    def raw(self, method: str, path: str, body: Any = None, wait: float = 0.0, **query: Any) -> tuple[int, bytes]:
        connection = Unix(self.path, API_S + wait)
        try:
            text = None if body is None else json.dumps(body)
            where = f"{path}?{urlencode(query)}" if query else path
            connection.request(method, where, text, {"Content-Type": "application/json"} if text else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise Failed(f"the engine's answer makes no sense: {error!r}") from None
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: Any = None, ok: tuple[int, ...] = (), **more: Any) -> Any:
        """Its JSON; `ok`: statuses that are as good as done (304: is so already, 404: is gone already)."""
        status, data = self.raw(method, path, body, **more)
        try:
            answer = json.loads(data) if data.strip() else None
        except ValueError:
            answer = None
        if status >= 300 and status not in ok:
            said = answer.get("message") if isinstance(answer, dict) else data[:300].decode(errors="replace")
            raise Failed(f"Docker: {said}")
        return answer

    def inspect(self, name: str) -> Any:
        status, data = self.raw("GET", f"/containers/{quote(name, safe='')}/json")
        return json.loads(data) if status == 200 else None

    def name(self, id: str) -> str:
        found = self.inspect(id)
        return str(found["Name"]).lstrip("/") if found else ""

    def rename(self, id: str, name: str) -> None:
        if self.name(id) != name:
            self.ask("POST", f"/containers/{id}/rename", name=name)

    def policy(self, id: str, policy: Any) -> None:
        self.ask("POST", f"/containers/{id}/update", {"RestartPolicy": policy})

    def stop(self, id: str, seconds: float) -> None:
        """With the signal that its first process heeds: one that it has no handler for is ignored (pid_namespaces(7)).

        A Python that handles no SIGTERM still ends on SIGINT, and nobody waits in vain while nothing serves.
        """
        found = self.inspect(id) or {}
        state, wanted = found.get("State") or {}, str((found.get("Config") or {}).get("StopSignal") or "SIGTERM")
        heeds = handled(state.get("Pid") or 0)
        if state.get("Running") and heeds is not None and getattr(signal, wanted, None) not in heeds:
            if signal.SIGINT in heeds:
                self.ask("POST", f"/containers/{id}/kill", ok=(404, 409), signal="SIGINT")
                self.ask("POST", f"/containers/{id}/wait", ok=(404,), wait=seconds, condition="not-running")
            else:
                seconds = 0
        self.ask("POST", f"/containers/{id}/stop", ok=(304, 404), wait=seconds, t=int(seconds))

    def start(self, id: str) -> None:
        self.ask("POST", f"/containers/{id}/start", ok=(304,))

    def remove(self, id: str) -> None:
        self.ask("DELETE", f"/containers/{id}", ok=(404,), force="1", v="1")

    def words(self, id: str) -> str:
        """The last line of its log that says something."""
        status, data = self.raw("GET", f"/containers/{id}/logs", stdout="1", stderr="1", tail="20")
        lines, at = [], 0
        while status == 200 and at + 8 <= len(data) and data[at] in (0, 1, 2) and data[at + 1 : at + 4] == b"\0\0\0":
            size = int.from_bytes(data[at + 4 : at + 8], "big")
            lines += data[at + 8 : at + 8 + size].decode(errors="replace").splitlines()
            at += 8 + size
        if status == 200 and not at:  # a container with a terminal has no headers
            lines = data.decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def handled(pid: int) -> set[int] | None:
    """The signals that a process has handlers for; None: not known. proc(5), SigCgt; an init like tini blocks them."""
    found = set()
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith(("SigCgt:", "SigBlk:")):
                    mask = int(line.split()[1], 16)
                    found |= {number for number in range(1, 65) if mask >> (number - 1) & 1}
    except (OSError, ValueError, IndexError):
        return None
    return found


def first(container: Any) -> int:
    """The first process of a container on the host's network; 0: it has a network of its own, where nobody else is."""
    found = container or {}
    on_host = (found.get("HostConfig") or {}).get("NetworkMode") == "host"
    return int((found.get("State") or {}).get("Pid") or 0) if on_host else 0


class Docker:
    """One container takes another one's place; that one waits, stopped, under another name."""

    def __init__(self, plan: dict[str, Any], progress: dict[str, Any], note: Callable[..., None]) -> None:
        self.plan, self.progress, self.note = plan, progress, note
        self.api = Api(plan["socket"])
        self.running = ""

    def prepare(self) -> None:
        """Make the new container: what the engine does not take costs nothing."""
        new = self.plan["new"]
        if self.plan.get("reuse"):
            self.note(new=self.plan["reuse"])
            return
        if self.progress.get("new") and self.api.inspect(self.progress["new"]):
            return
        left = self.api.inspect(new["name"])  # of an attempt that was cut off before it was noted
        if left is not None and left["Id"] != self.plan["old"]:
            self.api.remove(left["Id"])
        made = self.api.ask("POST", "/containers/create", new["body"], name=new["name"])
        self.note(new=made["Id"])
        self.api.policy(made["Id"], {"Name": "no"})  # until it has listened once
        for name, settings in new.get("networks", {}).items():
            body = {"Container": made["Id"], "EndpointConfig": settings}
            self.api.ask("POST", f"/networks/{quote(name, safe='')}/connect", body)

    def unprepare(self) -> None:
        if self.progress.get("new") and not self.plan.get("reuse"):
            self.api.remove(self.progress["new"])

    def probe(self) -> tuple[str, int]:
        address = self.plan["address"]
        if not address and self.running:
            found = self.api.inspect(self.running) or {}
            networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
            address = next((each["IPAddress"] for each in networks.values() if each.get("IPAddress")), "")
        return address or "127.0.0.1", self.plan["port"]

    def had_old(self) -> bool:
        return self.plan["old"] is not None

    def stop_old(self) -> None:
        new, final = self.progress["new"], self.plan["new"]["final"]
        if self.plan.get("reuse"):
            self.api.rename(new, self.plan["new"]["name"])
        if self.plan.get("older") and self.api.inspect(self.plan["older"][0]):
            self.api.rename(*self.plan["older"])
        if self.plan["old"] is not None:
            self.api.policy(self.plan["old"], {"Name": "no"})
            self.api.stop(self.plan["old"], self.plan["stop_s"])
            self.api.rename(self.plan["old"], self.plan["park"][1])
        self.api.rename(new, final)

    def start_new(self) -> None:
        self.running = self.progress["new"]
        self.api.start(self.running)

    def confirmed(self) -> None:
        self.api.policy(self.running, self.plan["policy"])

    def gone(self) -> str | None:
        found = self.api.inspect(self.running)
        if found is None:
            return "its container was removed"
        state = found.get("State") or {}
        if state.get("Running") and not state.get("Restarting") and not found.get("RestartCount"):
            return None
        how = "it was killed for its memory" if state.get("OOMKilled") else "it ended before it listened"
        return with_words(f"{how}, with exit {state.get('ExitCode')}", self.api.words(self.running))

    def stop_new(self) -> None:
        for id in (self.progress.get("new"), self.plan.get("made")):
            if id and self.api.inspect(id) is not None:
                self.api.policy(id, {"Name": "no"})
                self.api.stop(id, self.plan["stop_s"])
                if self.plan.get("reuse") is None:
                    self.api.remove(id)

    def start_old(self) -> None:
        old, (name, parked) = self.plan["old"], self.plan["park"]
        if self.api.inspect(old) is None:
            raise Failed(f"the container {name} is not there any more")
        if self.plan.get("reuse"):
            self.api.rename(self.plan["reuse"], self.plan["new"]["name"])
        self.api.rename(old, name)
        for id, before in ((self.plan.get("reuse"), parked), ((self.plan.get("older") or [None])[0], parked)):
            if id and self.api.inspect(id):
                self.api.rename(id, before)
        self.api.policy(old, self.plan["policy"])
        self.running = old
        self.api.start(old)

    def identity(self) -> tuple[str, int]:
        return "", first(self.api.inspect(self.running))

    def serves(self) -> str:
        return self.running
