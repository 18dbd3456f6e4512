"""What a host's own dm-g1 says: its JSON lines as events here. Everything in them is untrusted.

Only events that a command may speak of itself are taken: a host cannot raise an alert, or tell of another host. Text
is cleaned and cut; what is no line of ours is dropped and counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.remote.clean import clean_tree

#: A longer line is no line of ours: an episode's view, the largest there is, has half a megabyte.
LONGEST = 4 * 1024 * 1024
#: Characters of a sentence that are shown.
SENTENCE = 2000
#: Lines of noise of which the last one is kept, to say what happened where nothing else does.
NOISE = 300
#: How a command begins that can be run on a host.
COMMAND = "dm-g1 data "

Heard = ev.Progress | ev.Log | ev.Datasets | ev.Result | ev.Failure
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class Hearing:
    """Feed it bytes of stdout; it gives events that say which host they come from."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._rest = bytearray()
        self._skipping = False
        #: Why the command was not run there (`remote.there_program`), as it said it.
        self.refused: dict[str, Any] | None = None
        #: Lines that were none of ours, and the last of them.
        self.dropped = 0
        self.noise = ""

    def feed(self, data: bytes) -> Iterator[ev.Event]:
        """The events of all lines that end in `data`."""
        first, *more = data.split(b"\n")
        self._add(first)
        for part in more:
            if not self._skipping:
                yield from self._line(bytes(self._rest))
            self._rest.clear()
            self._skipping = False
            self._add(part)

    def end(self) -> Iterator[ev.Event]:
        """The last line, where nothing ended it."""
        if self._rest and not self._skipping:
            yield from self._line(bytes(self._rest))
        self._rest.clear()

    def _add(self, part: bytes) -> None:
        if self._skipping:
            return
        self._rest += part
        if len(self._rest) > LONGEST:
            self._skipping = True
            self._rest.clear()
            self.dropped += 1

    def _line(self, line: bytes) -> Iterator[ev.Event]:
        if not line.strip():
            return
        try:
            said = clean_tree(_decoder.decode(line))
            if isinstance(said, dict) and isinstance(refused := said.get("there"), dict):
                self.refused = refused
                return
            heard = msgspec.convert(said, Heard)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            self.dropped += 1
            self.noise = str(clean_tree(line[:NOISE].decode(errors="replace")))
            return
        yield self._here(heard)

    def _here(self, heard: Heard) -> ev.Event:
        """The event as ours: it says which host it is from."""
        match heard:
            case ev.Progress():
                text = f"{self._host}: {_cut(heard.text)}"
                return msgspec.structs.replace(heard, text=text, unit=_cut(heard.unit, 20))
            case ev.Log():
                return msgspec.structs.replace(heard, host=self._host, source=_cut(heard.source, 80))
            case ev.Datasets():
                known = tuple(msgspec.structs.replace(each, host=self._host) for each in heard.datasets)
                return msgspec.structs.replace(heard, host=self._host, datasets=known)
            case ev.Result():
                data = {**heard.data, "host": self._host}
                if isinstance(found := data.get("findings"), list):
                    data["findings"] = [self._repaired(each) for each in found]
                text = f"{self._host}: {_cut(heard.text)}" if heard.text else ""
                return msgspec.structs.replace(heard, text=text, data=data, code=_code(heard.code, 0))
            case ev.Failure():
                where = f"{self._host}: {_cut(heard.where)}" if heard.where else self._host
                fix = self._there(_cut(heard.fix)) if heard.fix else None
                return msgspec.structs.replace(
                    heard, what=_cut(heard.what), where=where, fix=fix, code=_code(heard.code, 1)
                )

    def _repaired(self, finding: Any) -> Any:
        """A finding whose fix is a command for this machine."""
        if isinstance(finding, dict) and isinstance(fix := finding.get("fix"), str):
            return {**finding, "fix": self._there(fix)}
        return finding

    def _there(self, fix: str) -> str:
        """A command that helps on that host, as it is typed here."""
        if fix.startswith(COMMAND) and "`" not in fix:
            return f"{fix} --on {self._host}"
        return re.sub(rf"`({COMMAND}[^`]*)`", rf"`\1 --on {self._host}`", fix)


def _cut(text: str, most: int = SENTENCE) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _code(code: int, otherwise: int) -> int:
    """An exit code, if it is one."""
    return code if 0 <= code <= 255 else otherwise


def header_line(header: dict[str, Any]) -> bytes:
    """What `remote.there_program` reads first."""
    return json.dumps(header).encode() + b"\n"
