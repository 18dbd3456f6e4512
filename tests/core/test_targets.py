from __future__ import annotations

import pytest

from dm_isaac_g1.core import targets
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.targets import Target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("lab-workstation", Target("lab-workstation")),
        ("me@10.0.0.1", Target("10.0.0.1", "me")),
        ("me@host.example:2222", Target("host.example", "me", 2222)),
        ("host:22", Target("host", None, 22)),
        ("[::1]:22", Target("::1", None, 22)),
        ("me@[fe80::1]", Target("fe80::1", "me")),
    ],
)
def test_a_target_reads_back_as_it_was_written(text: str, target: Target) -> None:
    assert targets.parse(text) == target
    assert str(target) == text


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "-oProxyCommand=x", "me@-x", "@host", "host:", "a@b@c", "h;ls", "$(ls)", "h\n", "::1", "ü"]
)
def test_what_ssh_could_misread_is_no_target(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no SSH target; expected an alias of ~/\.ssh/config or user@host:port"):
        targets.parse(text)


@pytest.mark.parametrize("text", ["0", "65536", "99999999999999999999", "-1", "22 ", "x", "", "²²"])
def test_a_port_is_1_to_65535(text: str) -> None:
    with pytest.raises(ConfigError, match="is no port; expected 1 to 65535"):
        targets.port(text)
