"""What engines of three API versions say of containers, read alike; shapes of API 1.41, 1.47 and 1.52, cut down."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.remote.containers import nearest, read_container, read_stats

LIST = {
    "1.41": {
        "Id": "8dfafdbc3a40",
        "Names": ["/web/alias", "/groot-server"],
        "Image": "groot:latest",
        "ImageID": "sha256:d74508fb6632",
        "Command": "python serve.py",
        "Created": 1367854155,
        "State": "running",
        "Status": "Up 3 days",
        "Ports": [{"PrivatePort": 5555, "PublicPort": 5555, "Type": "tcp"}],
        "Labels": {"com.example": "1"},
        "SizeRw": 12288,
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
        "Mounts": [],
    },
    "1.47": {
        "Id": "8dfafdbc3a40",
        "Names": ["/groot-server"],
        "Image": "groot:latest",
        "State": "running",
        "Status": "Up 3 days",
        "Labels": {"com.example": "1"},
        "HostConfig": {"NetworkMode": "default", "Annotations": {}},
    },
    "1.52": {
        "Id": "8dfafdbc3a40",
        "Names": ["/groot-server"],
        "Image": "groot:latest",
        "ImageManifestDescriptor": {"mediaType": "x"},
        "State": "running",
        "Status": "Up 3 days",
        "Labels": {"com.example": "1"},
        "Health": {"Status": "none", "FailingStreak": 0},
    },
}
INSPECT = {
    "1.41": {
        "Id": "8dfafdbc3a40",
        "Name": "/groot-server",
        "Image": "sha256:d74508fb6632",
        "State": {"Status": "exited", "Running": False, "ExitCode": 137, "OOMKilled": True},
        "Config": {"Image": "groot:latest", "Labels": {}, "OpenStdin": False},
        "NetworkSettings": {"IPAddress": "172.17.0.2"},
    },
    "1.47": {
        "Id": "8dfafdbc3a40",
        "Name": "/groot-server",
        "State": {"Status": "exited", "ExitCode": 137},
        "Config": {"Image": "groot:latest", "Labels": None},
    },
    "1.52": {
        "Id": "8dfafdbc3a40",
        "Name": "/groot-server",
        "State": {"Status": "exited", "ExitCode": 137},
        "Config": {"Image": "groot:latest"},
    },
}


@pytest.mark.parametrize("version", LIST)
def test_a_listed_container_reads_alike_in_every_version(version: str) -> None:
    found = read_container(LIST[version])
    assert (found.name, found.image, found.state, found.status) == (
        "groot-server", "groot:latest", "running", "Up 3 days",
    )  # fmt: skip
    assert found.running and found.labels == {"com.example": "1"}


@pytest.mark.parametrize("version", INSPECT)
def test_an_inspected_container_reads_alike_in_every_version(version: str) -> None:
    found = read_container(INSPECT[version])
    assert (found.name, found.image, found.state, found.status) == (
        "groot-server", "groot:latest", "exited", "Exited (137)",
    )  # fmt: skip
    assert not found.running and found.labels == {}


CPU = {
    "cpu_stats": {"cpu_usage": {"total_usage": 3_000_000_000}, "system_cpu_usage": 20_000_000_000, "online_cpus": 4},
    "precpu_stats": {"cpu_usage": {"total_usage": 1_000_000_000}, "system_cpu_usage": 12_000_000_000},
}


@pytest.mark.parametrize("cache", [{"inactive_file": 300}, {"total_inactive_file": 300}])
def test_stats_are_reckoned_as_docker_stats_does(cache: dict[str, int]) -> None:
    stats = read_stats({**CPU, "memory_stats": {"usage": 1300, "limit": 9000, "stats": cache}})
    assert (stats.cpu, stats.memory, stats.memory_limit) == (100.0, 1000, 9000)


def test_a_stopped_container_uses_nothing_that_is_known() -> None:
    stats = read_stats({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "precpu_stats": {}, "memory_stats": {}})
    assert (stats.cpu, stats.memory, stats.memory_limit, stats.pids) == (None, None, None, None)


def test_names_and_labels_are_made_harmless() -> None:
    found = read_container({"Names": ["/\x1b]0;x\x07box"], "Labels": {"a\x1b[2J": "b\n"}, "Status": "\x1b[31mUp"})
    assert (found.name, found.labels, found.status) == ("box", {"a": "b"}, "Up")


@given(
    st.dictionaries(st.sampled_from(["Id", "Names", "Image", "State", "Status", "Labels", "Config", "Name"]), st.none())
)
def test_what_is_null_is_as_what_is_missing(answer: dict[str, Any]) -> None:
    assert read_container(answer) == read_container({})


def test_a_wrong_name_is_answered_with_like_ones() -> None:
    known = ["dm-workstation", "groot-server", "postgres"]
    assert nearest("dm-worksation", known) == "dm-workstation"
    assert nearest("zzz", known) == "dm-workstation, groot-server, postgres"
