#!/usr/bin/env python3
"""`docker` for a host of the tests: `docker compose` for one service, as far as a deploy uses it; all else goes on.

What a container is made of, project and service labels, and what `-f` over `-f` means are compose's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

REAL = os.environ["REAL_DOCKER"]


def docker(*words: str, check: bool = True) -> str:
    done = subprocess.run([REAL, *words], capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(done.stderr)
    return done.stdout.strip()


def main(words: list[str]) -> None:
    if words[:1] != ["compose"]:
        os.execv(REAL, [REAL, *words])
    words, files = words[1:], []
    while words and words[0].startswith("-"):
        flag, value, words = words[0], words[1], words[2:]
        if flag == "-f":
            files.append(value)
    project = merged(files)
    {"config": config, "up": up, "stop": stop, "run": run}[words[0]](project, words[1:])


def merged(files: list[str]) -> dict[str, Any]:
    project: dict[str, Any] = yaml.safe_load(Path(files[0]).read_text())
    for path in files[1:]:
        for name, service in yaml.safe_load(Path(path).read_text())["services"].items():
            project["services"][name].update(service)
    return project


def config(project: dict[str, Any], words: list[str]) -> None:
    if "--quiet" not in words:
        for service in project["services"].values():
            rows = [each.split(":") for each in service["volumes"]]
            service["volumes"] = [{"type": "bind", "source": row[0], "target": row[1]} for row in rows]
        print(json.dumps(project))


def made(project: dict[str, Any], name: str, one_off: bool) -> list[str]:
    service = project["services"][name]
    labels = {
        "com.docker.compose.project": project["name"],
        "com.docker.compose.service": name,
        "com.docker.compose.oneoff": str(one_off),
        **service.get("labels", {}),
    }
    words = ["run", "-d", "--network", service["network_mode"]]
    words += [word for each in service["volumes"] for word in ("-v", each)]
    words += [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    return [*words, "-e", "HOME=/root"]


def up(project: dict[str, Any], words: list[str]) -> None:
    name = words[-1]
    own = f"{project['name']}-{name}-1"
    docker("rm", "-f", own, check=False)
    service = project["services"][name]
    command = [word.replace("$$", "$") for word in service["command"]]
    docker(*made(project, name, False), "--name", own, service["image"], *command)


def stop(project: dict[str, Any], words: list[str]) -> None:
    docker("stop", "-t", words[1], f"{project['name']}-{words[-1]}-1", check=False)


def run(project: dict[str, Any], words: list[str]) -> None:
    words, options = words[2:], []
    while words[0].startswith("-"):
        options, words = [*options, *words[:2]], words[2:]
    docker(*made(project, words[0], True), *options, project["services"][words[0]]["image"], *words[1:])


main(sys.argv[1:])
