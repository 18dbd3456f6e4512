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
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy import ledger_program, manifest_program, store_program
from dm_isaac_g1.deploy.disk_program import Refused, explain, say
from dm_isaac_g1.deploy.store_program import Store
from dm_isaac_g1.deploy.transfer import key_program, local_program, push_program, send_program

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of a store.
OPS: dict[str, Callable[..., Any]] = {
    "acquire": ledger_program.acquire,
    "renew": ledger_program.renew,
    "release": ledger_program.release,
    "write_transaction": ledger_program.write_transaction,
    "append_history": ledger_program.append_history,
    "look": ledger_program.look,
    "missing": store_program.missing,
    "prepare": store_program.prepare,
    "receive": store_program.receive,
    "commit": store_program.commit,
    "verify": store_program.verify,
    "manifest_of": store_program.manifest_of,
    "set_current": store_program.set_current,
    "remove": store_program.remove,
    "take": local_program.take,
    "open_door": key_program.open_door,
    "close_door": key_program.close_door,
}
#: Of a machine, whatever lies on it.
ELSEWHERE: dict[str, Callable[..., Any]] = {
    "manifest": manifest_program.manifest,
    "send": send_program.send,
    "reach": push_program.reach,
    "push": push_program.push,
}


def perform(asked: dict[str, Any]) -> dict[str, Any]:
    op, args = asked["op"], asked["args"]
    try:
        if op in ELSEWHERE:
            return {"ok": ELSEWHERE[op](**args)}
        return {"ok": OPS[op](Store(asked["root"], asked.get("token")), **args)}
    except Refused as error:
        return {"error": str(error), "kind": error.kind, "fix": error.fix}
    except BrokenPipeError:
        return {"error": "nobody listens any more", "kind": "cut", "fix": ""}
    except OSError as error:
        return explain(error)


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
