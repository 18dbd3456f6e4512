"""The last part of the program that `deploy.program` sends to hosts: does what it is asked, and says how it went.

Standard library only, Python 3.8 and later. In: one JSON line with the parts and {"op", "root", "token", "args"}; after
`receive` a stream, after `push` one more line. With "stay" instead of an op, questions follow, a line each. Out: lines
that begin with a mark: {"at", "total"} while it works, {"hello"} once it takes a stream or sends one, and last
{"ok": ...} or {"error", "kind", "fix"}.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from dm_isaac_g1.deploy.disk_program import Refused, explain, say

#: Of a store: in which part each is. Those that only read make nothing on the host.
STORE = {
    "look": "ledger_program",
    "missing": "store_program",
    "verify": "store_program",
    "manifest_of": "store_program",
    "acquire": "ledger_program",
    "renew": "ledger_program",
    "release": "ledger_program",
    "write_transaction": "ledger_program",
    "append_history": "ledger_program",
    "prepare": "store_program",
    "receive": "arriving_program",
    "commit": "store_program",
    "set_current": "store_program",
    "remove": "store_program",
    "take": "transfer.local_program",
    "open_door": "transfer.key_program",
    "close_door": "transfer.key_program",
}
READING = ("look", "missing", "verify", "manifest_of", "close_door")
#: Of a machine, whatever lies on it.
ELSEWHERE = {"manifest": "manifest_program", "send": "transfer.send_program", "push": "transfer.push_program"}


def perform(asked: dict[str, Any]) -> dict[str, Any]:
    op, args = asked["op"], asked["args"]
    try:
        if op in ELSEWHERE:
            return {"ok": function(ELSEWHERE[op], op)(**args)}
        store = function("store_program", "Store")(asked["root"], asked.get("token"), make=op not in READING)
        return {"ok": function(STORE[op], op)(store, **args)}
    except Refused as error:
        return {"error": str(error), "kind": error.kind, "fix": error.fix}
    except BrokenPipeError:
        return {"error": "nobody listens any more", "kind": "cut", "fix": ""}
    except OSError as error:
        return explain(error)


def function(part: str, name: str) -> Any:
    """What a part of this program calls `name`; only the parts that a question needs are sent."""
    return getattr(sys.modules[f"dm_isaac_g1.deploy.{part}"], name)


def main(asked: dict[str, Any]) -> None:
    os.environ.pop("DM_G1_EXEC", None)  # a token of remote.docker: whoever carries it ends with its command
    try:
        if not asked.get("stay"):
            say(perform(asked))
            return
        for line in iter(sys.stdin.buffer.readline, b""):
            say(perform(json.loads(line)))
    except BrokenPipeError:
        os._exit(1)
