"""A declaration is all there is: command, form and schema are made from it."""

from __future__ import annotations

import inspect

import jsonschema
import pytest

from dm_isaac_g1.actions import registry, schema
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import UsageError

ACTIONS = registry.catalogue()
WANTED = {
    *("train.start", "train.list", "train.stop", "train.logs", "train.monitor", "checkpoints.list"),
    *("checkpoints.clean", "disk.forecast", "hosts.list", "hosts.trust", "remote.exec", "remote.gpu"),
    *("remote.sync", "profile.list", "profile.show", "profile.check", "profile.new"),
}


def test_every_action_of_the_issue_is_declared() -> None:
    assert set(ACTIONS) >= WANTED


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_and_parameter_is_documented(name: str) -> None:
    action = ACTIONS[name]
    assert inspect.isasyncgenfunction(action.run)
    assert action.run.__doc__
    for field in action.fields():
        assert field.description.endswith((".", "?")), f"{name} --{field.name}"


def test_keys_are_given_to_one_action_each() -> None:
    keys = [action.key for action in ACTIONS.values() if action.key]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"steps": 0}, "--steps: must be at least 1"),
        ({"steps": "many"}, "--steps: must be a whole number"),
        ({"batch_size": -1}, "--batch-size"),
        ({"learning_rate": 0}, "--learning-rate: must be above 0"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_wrong_value_is_told_by_its_option(given: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ACTIONS["train.start"].parse(given)


def test_numbers_may_come_as_text() -> None:
    params = ACTIONS["train.start"].parse({"steps": "100", "learning_rate": "1e-4", "force": "true"})
    assert (params.steps, params.learning_rate, params.force) == (100, 1e-4, True)  # type: ignore[attr-defined]


def test_an_unknown_action_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"train\.start"):
        registry.get("train.begin")


def test_the_schema_is_valid_and_knows_every_event() -> None:
    document = schema.document()
    jsonschema.Draft202012Validator.check_schema(document)
    # Columns stay within the process: on the wire they are metrics.
    on_the_wire = set(ev.Event.__subclasses__()) - {ev.MetricColumns}
    tags = {event.__struct_config__.tag for event in on_the_wire}
    assert tags <= set(document["discriminator"]["mapping"])
    assert set(document["actions"]) == set(ACTIONS)


def test_a_line_that_is_no_event_is_not_valid() -> None:
    validator = jsonschema.Draft202012Validator(schema.document())
    assert validator.is_valid({"event": "progress", "at": 1.0, "text": "x", "done": None, "total": None, "unit": ""})
    assert not validator.is_valid({"event": "progress", "at": "soon"})
    assert not validator.is_valid({"event": "nonsense"})
