"""The pure parts of serving by containers: where a command names its model, paths through mounts, likenesses."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core.errors import RefusedError
from dm_isaac_g1.deploy.runtimes import cmdline, likeness, mounts
from dm_isaac_g1.remote.engine import address, frames

GROOT = ["python", "gr00t/eval/run_gr00t_server.py", "--model-path", "/models/a", "--embodiment-tag", "UNITREE_G1"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (GROOT, [*GROOT[:3], "/m/new one", *GROOT[4:]]),
        (["serve", "--model_path=/models/a", "--port=1"], ["serve", "--model_path=/m/new one", "--port=1"]),
        (
            ["bash", "-lc", "cd /groot && python x.py --model-path /models/a --port 5555"],
            ["bash", "-lc", "cd /groot && python x.py --model-path '/m/new one' --port 5555"],
        ),
        (["sh", "-c", 'exec x --model-path="/models/a b"; y'], ["sh", "-c", "exec x --model-path='/m/new one'; y"]),
        (["sh", "-c", "x --model-path $MODEL"], ["sh", "-c", "x --model-path '/m/new one'"]),
        (["sleep", "infinity"], None),
        (["sh", "-c", "x --model-pathology /a"], None),
        (["x", "--model-path"], None),
    ],
)
def test_the_models_path_is_found_wherever_it_stands_and_nothing_else_changes(
    words: list[str], expected: list[str] | None
) -> None:
    assert cmdline.replaced(words, cmdline.MODEL, "/m/new one") == expected


@given(st.lists(st.text(min_size=1), max_size=4), st.text(st.characters(exclude_categories=["C"]), min_size=1))
def test_what_was_put_in_is_read_out_again(before: list[str], path: str) -> None:
    before = [word for word in before if "--model" not in word]
    made = cmdline.replaced([*before, "--model-path", "x"], cmdline.MODEL, path)
    assert made is not None and cmdline.value(made, cmdline.MODEL) == path and made[: len(before)] == before
    text = cmdline.replaced(["sh", "-c", "python serve.py --model-path x --strict"], cmdline.MODEL, path)
    assert text is not None and shlex.split(text[2])[3] == path and shlex.split(text[2])[4] == "--strict"


def test_a_port_is_put_where_there_is_none() -> None:
    assert cmdline.with_port(["x", "--port", "5555"], 5600) == ["x", "--port", "5600"]
    assert cmdline.with_port(GROOT, 5600) == [*GROOT, "--port", "5600"]
    assert cmdline.with_port(["bash", "-c", "x --model-path /a"], 5600)[2] == "x --model-path /a --port 5600"


def read(*pairs: tuple[str, str]) -> tuple[mounts.Mount, ...]:
    return mounts.read({"Mounts": [{"Source": source, "Destination": target} for source, target in pairs]})


def test_a_path_goes_through_the_nearest_mount_and_back() -> None:
    known = read(("/srv", "/workspace"), ("/data/models", "/workspace/models/"))
    assert mounts.outside(known, "/workspace/models/rel/a", where="spark") == "/data/models/rel/a"
    assert mounts.outside(known, "/workspace/modelsX", where="spark") == "/srv/modelsX"
    assert mounts.inside(known, "/data/models/rel/a", where="spark") == "/workspace/models/rel/a"
    assert mounts.inside(read(("/", "/host")), "/data/a", where="spark") == "/host/data/a"
    with pytest.raises(RefusedError) as caught:
        mounts.outside(read(("/srv", "/other")), "/workspace/models", where="spark")
    assert "-v /folder/on/the/host:/workspace/models" in (caught.value.fix or "")


@given(
    st.sampled_from(["/a", "/a/b", "/a/b/c.d"]), st.sampled_from(["/x", "/x/y"]), st.sampled_from(["", "/m", "/m/n"])
)
def test_through_a_mount_and_back_is_where_one_was(source: str, target: str, rest: str) -> None:
    known = read((source, target))
    assert mounts.inside(known, mounts.outside(known, target + rest, where="h"), where="h") == target + rest


INSPECTED: dict[str, Any] = {
    "Id": "0123456789abcdef" * 4,
    "Name": "/groot-server",
    "Config": {
        "Hostname": "0123456789ab",
        "Image": "groot:1.6",
        "Cmd": GROOT,
        "Env": ["A=b"],
        "Labels": {"who": "me"},
        "ExposedPorts": {"5555/tcp": {}},
    },
    "HostConfig": {
        "NetworkMode": "lan",
        "Binds": ["/data:/models:ro"],
        "PortBindings": {"5555/tcp": [{"HostIp": "", "HostPort": "5555"}]},
        "RestartPolicy": {"Name": "always"},
        "DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}],
    },
    "Mounts": [
        {"Type": "bind", "Source": "/data", "Destination": "/models"},
        {"Type": "volume", "Name": "abc", "Source": "/var/lib/docker/volumes/abc/_data", "Destination": "/cache"},
    ],
    "NetworkSettings": {
        "Networks": {
            "lan": {
                "IPAMConfig": {"IPv4Address": "172.20.0.9"},
                "Aliases": ["policy", "0123456789ab"],
                "IPAddress": "172.20.0.9",
                "EndpointID": "e",
            },
            "other": {"IPAddress": "172.21.0.2"},
        }
    },
}


def test_a_likeness_has_all_that_was_chosen_and_nothing_that_was_given() -> None:
    body, others = likeness.like(INSPECTED, "groot:1.6", cmd=["new"], entrypoint=None)
    assert "Hostname" not in body and body["Cmd"] == ["new"] and body["Env"] == ["A=b"]
    assert body["HostConfig"]["Binds"] == ["/data:/models:ro", "abc:/cache:rw"]
    assert body["HostConfig"]["DeviceRequests"] == INSPECTED["HostConfig"]["DeviceRequests"]
    lan = body["NetworkingConfig"]["EndpointsConfig"]["lan"]
    assert lan == {"IPAMConfig": {"IPv4Address": "172.20.0.9"}, "Aliases": ["policy"]} and others == {"other": {}}
    assert INSPECTED["Config"]["Hostname"] == "0123456789ab", "what was looked at is not changed"


def test_a_candidate_takes_no_port_no_address_and_no_name_of_the_one_that_serves() -> None:
    body, _ = likeness.like(INSPECTED, "groot:1.6", cmd=["new"], entrypoint=None)
    beside = likeness.candidate(body)
    assert beside["HostConfig"]["PortBindings"] == {} and beside["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert beside["NetworkingConfig"]["EndpointsConfig"]["lan"] == {}
    assert body["HostConfig"]["RestartPolicy"] == {"Name": "always"}


def test_on_the_hosts_network_nothing_is_said_of_networks() -> None:
    on_host = {**INSPECTED, "HostConfig": {**INSPECTED["HostConfig"], "NetworkMode": "host"}}
    body, others = likeness.like(on_host, "groot:1.6", cmd=None, entrypoint=None)
    assert body["NetworkingConfig"] == {"EndpointsConfig": {}} and others == {} and "ExposedPorts" not in body


def test_an_address_and_a_log_are_read_whatever_the_engine_leaves_out() -> None:
    assert address(INSPECTED) == "172.20.0.9" and address({}) == ""
    assert frames(b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x04two\n") == b"onetwo\n"
    assert frames(b"plain\n") == b"plain\n" and frames(b"") == b""
