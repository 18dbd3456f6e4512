"""What answers requests behind the socket: a policy of ours, called in the worker's thread."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.inference.protocol import pack
from dm_isaac_g1.inference.protocol.messages import PING_REPLY, error_reply
from dm_isaac_g1.inference.server.checks import Dialect, WrongObservation, checked
from dm_isaac_g1.inference.server.log import Log
from dm_isaac_g1.inference.server.metrics import Metrics

#: Endpoints that a policy answers, one at a time.
POLICY_ENDPOINTS = ("get_action", "reset")
#: Of an error's text, at most this much goes to a client.
_ERROR_MAX = 2000


class Request(msgspec.Struct, kw_only=True):
    """One request on its way. `frame`: its bytes as they came; `data`: views on them."""

    envelope: list[bytes]
    endpoint: str
    data: Any
    frame: Any
    size: int
    received: float


class Answer(msgspec.Struct, frozen=True):
    """What goes back, packed."""

    payload: bytes
    error: bool = False


class Backend(Protocol):
    """Behind the socket. `at_once` is called by the socket's thread and must not wait; the rest by the worker."""

    model: str
    kind: str

    def at_once(self, endpoint: str) -> Answer | None:
        """The answer that needs no policy; None: ask `answer`."""

    def answer(self, request: Request) -> Answer:
        """Never raises."""

    def idle(self) -> None:
        """Called now and then while there is nothing to do."""

    def close(self) -> None:
        """The server is leaving."""


def failed(text: str) -> Answer:
    """The answer that says what was wrong, in the protocol's own form."""
    return Answer(pack(error_reply(text[:_ERROR_MAX])), error=True)


class BasePolicy:
    """The two calls' parameters: Python's own words for a wrong one are those of NVIDIA's server, whose class has this
    name."""

    def get_action(self, observation: Any, options: Any = None) -> tuple[Any, Any]:
        return observation, options

    def reset(self, options: Any = None) -> Any:
        return options


_CALLS = BasePolicy()


class PolicyBackend:
    """A policy of this process. Observations are checked; answers are looked at, logged, and sent as they are: whoever
    asks has to find a model that answers NaN, and a health check does."""

    def __init__(self, policy: Any, *, dialect: Dialect = "nested", log: Log | None = None) -> None:
        self._policy = policy
        self._dialect: Dialect = dialect
        self._spec = getattr(policy, "spec", None)
        self._log = log or Log()
        self.model = str(getattr(policy, "name", type(policy).__name__))
        self.kind = str(getattr(policy, "kind", "policy"))
        self.metrics: Metrics | None = None
        describe: Callable[[], Any] = getattr(policy, "modality_config", None) or policy.get_modality_config
        self._quick = {
            "ping": Answer(pack(PING_REPLY)),
            "get_modality_config": Answer(pack(describe())),
        }

    def at_once(self, endpoint: str) -> Answer | None:
        return self._quick.get(endpoint)

    def answer(self, request: Request) -> Answer:
        try:
            return Answer(pack(self._call(request.endpoint, request.data)))
        except (WrongObservation, TypeError) as error:
            self._log.say(f"{request.endpoint}: {error}")
            return failed(str(error))
        except DmG1Error as error:
            self._log.say(f"{request.endpoint}: {error.line()}")
            return failed(error.line())
        except Exception as error:
            self._log.say(f"{request.endpoint}: {error!r}", details=traceback.format_exc())
            return failed(str(error) or repr(error))

    def _call(self, endpoint: str, data: Any) -> Any:
        if endpoint == "reset":
            return self._policy.reset(_CALLS.reset(**data))
        observation, options = _CALLS.get_action(**data)
        if self._spec is not None:
            observation = checked(observation, self._spec, self._dialect)
        actions, info = self._policy.get_action(observation, options)
        self._look_at(actions)
        if self._dialect == "flat" and self._spec is not None:
            actions = {f"action.{group}": values for group, values in actions.items()}
        return [actions, info]

    def _look_at(self, actions: Mapping[str, Any]) -> None:
        for group, values in actions.items():
            wrong = None
            if isinstance(values, np.ndarray) and values.dtype.kind == "f" and not np.isfinite(values).all():
                wrong = "not finite"
            elif self._spec is not None:
                horizon, width = self._spec.horizon, self._spec.action.get(group)
                if getattr(values, "shape", (0,))[1:] != (horizon, width):
                    wrong = f"of shape {getattr(values, 'shape', None)}, expected (B, {horizon}, {width})"
            if wrong is not None:
                self._log.say(f"the model's action {group} is {wrong}; it is sent as it is")
                if self.metrics is not None:
                    self.metrics.odd()

    def idle(self) -> None:
        pass

    def close(self) -> None:
        close = getattr(self._policy, "close", None)
        if close is not None:
            close()
