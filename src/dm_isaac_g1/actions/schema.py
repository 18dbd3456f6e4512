"""The published JSON schema: every event line, and every action's parameters. Made from the types themselves."""

from __future__ import annotations

from typing import Any

import msgspec

from dm_isaac_g1.actions.registry import Params, catalogue, get
from dm_isaac_g1.core.events import AnyEvent

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def document() -> dict[str, Any]:
    """One document: a line of `--json` output is valid against it; `$defs` has every type, `actions` the parameters."""
    actions = catalogue()
    types: list[Any] = [AnyEvent, *(each.params for each in actions.values())]
    (events, *params), parts = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    # JSON has no NaN; see `events.encode`.
    value = parts["MetricPoint"]["properties"]["value"]
    value |= {"type": ["number", "null"], "description": "null: not a finite number (NaN)"}
    return {
        "$schema": DIALECT,
        "title": "dm-g1 events",
        "description": "One JSON object a line: what dm-g1 prints with --json.",
        **events,
        "actions": {
            each.name: {"title": each.title, "description": each.help, "danger": each.danger, "params": schema}
            for each, schema in zip(actions.values(), params, strict=True)
        },
        "$defs": parts,
    }


def params_of(action: str) -> dict[str, Any]:
    """The schema of one action's parameters. Raises UsageError."""
    params: type[Params] = get(action).params
    (schema,), parts = msgspec.json.schema_components([params], ref_template="#/$defs/{name}")
    return {"$schema": DIALECT, "title": action, **schema, "$defs": parts}
