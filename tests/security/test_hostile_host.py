"""The whole program on a host that means harm: what it says is text, on every way out that there is.

A real sshd with a poisoned agent; the console and the command line as processes, on a pseudo-terminal and in a pipe.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import PAYLOADS, Hostile, host
from terminal import COMMAND_LINE, TEXTUAL, terminal, told

from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(180)]

DM_G1 = (sys.executable, "-m", "dm_isaac_g1")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """Hostile content that a true agent reports."""
    require_sshd()
    with host(tmp_path_factory.mktemp("content"), worse=False) as up:
        yield up


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """The same, and an agent that lies on top of it."""
    require_sshd()
    with host(tmp_path_factory.mktemp("agent")) as up:
        yield up


@pytest.fixture(scope="module", params=["content", "agent"])
def evil(request: pytest.FixtureRequest) -> Hostile:
    found: Hostile = request.getfixturevalue(request.param)
    return found


#: Ways to look at a host. Their exit codes are none of this file's matter, but 1 with "unexpected" would be.
LOOKS = (
    ["--no-ui"],
    ["hosts"],
    ["train", "list"],
    ["train", "logs", "--job-id", "JOB"],
    ["train", "monitor", "--job-id", "JOB"],
    ["checkpoints", "list"],
    ["remote", "gpu"],
    ["disk", "forecast"],
    ["train", "stop", "--job-id", "20260101T000001-evil-000001"],
    ["train", "logs", "--job-id", "20260101T000015-evil-00000f"],
    ["checkpoints", "clean"],
    ["remote", "exec", "cat $HOME/bin/rows; cat $HOME/bin/rows >&2"],
)


def argv(evil: Hostile, *arguments: str) -> list[str]:
    return [*DM_G1, "--profile", str(evil.profile), *(evil.running_job if a == "JOB" else a for a in arguments)]


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: " ".join(look)[:32])
def test_nothing_of_a_host_commands_a_terminal_from_the_command_line(evil: Hostile, look: list[str]) -> None:
    with terminal(argv(evil, *look)) as screen:
        if screen.watch(60, until=b"[y/N]"):
            screen.type(b"n\n")
        screen.end(20)
        assert told(screen.seen, COMMAND_LINE) == []
        _calm(screen.seen)


@pytest.mark.parametrize("look", LOOKS[:-1], ids=lambda look: " ".join(look)[:32])
def test_nothing_of_a_host_commands_whoever_reads_the_pipe(evil: Hostile, look: list[str]) -> None:
    done = subprocess.run(argv(evil, *look), stdin=subprocess.DEVNULL, capture_output=True, timeout=90, check=False)
    assert told(done.stdout, None) == []
    assert told(done.stderr, None) == []
    _calm(done.stdout + done.stderr)
    # What is left of the payloads is there, as text.
    if look[:2] in (["remote", "gpu"], ["train", "list"], ["train", "logs"], ["train", "monitor"]):
        assert b"[@click=app.quit()]" in done.stdout


@pytest.mark.parametrize("look", [*LOOKS], ids=lambda look: " ".join(look)[:32])
def test_json_of_a_host_is_clean_once_it_is_read(evil: Hostile, look: list[str]) -> None:
    done = subprocess.run(
        argv(evil, "--json", *look), stdin=subprocess.DEVNULL, capture_output=True, timeout=90, check=False
    )
    assert done.stdout
    for line in done.stdout.splitlines():
        for text in _strings(json.loads(line)):
            assert told(text.encode(errors="surrogatepass"), None) == []
    _calm(done.stdout + done.stderr)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def test_nothing_of_a_host_commands_a_terminal_through_the_console(evil: Hostile) -> None:
    keys = ("\t", "\r", "\x1b", "j", "j", "k", "v", "\x1b", "?", "\x1b", ":", "\x1b", "t", "\x1b", "c", "\x1b", "s")
    with terminal(argv(evil)) as screen:
        assert screen.watch(40, until=b"0000ff")
        screen.watch(5)
        for each in (*keys, "\x1b", "\t\t", "/", "evil", "\r", "\x1b", "f", "\x1b"):
            screen.type(each.encode())
            screen.watch(0.6)
        assert screen.process.poll() is None, screen.seen[-3000:].decode(errors="replace")
        screen.type(b"\x1b")
        screen.watch(0.6)
        screen.type(b"q")
        code = screen.end(20)
        assert (code, told(screen.seen, TEXTUAL)) == (0, [])
        assert b"Traceback" not in TEXTUAL.sub(b"", screen.seen).replace(b"Traceback (most recent call last)", b"")


def test_nothing_was_run_written_or_crashed_meanwhile(evil: Hostile, own_home: Path) -> None:
    """The last of this file: what the others did has left nothing."""
    for folder in (evil.profile.parent, own_home, Path("/tmp"), Path.cwd()):
        assert not list(folder.glob("**/pwned") if folder != Path("/tmp") else folder.glob("pwned"))
    assert not list(own_home.glob("**/crash.log"))


def _calm(output: bytes) -> None:
    assert b"unexpected" not in output
    assert b'File "' not in output


# Names that a user hands in.


NAMES = (
    "'; touch pwned; '",
    "$(touch pwned)",
    "`touch pwned`",
    "a\nb",
    "-rf",
    "../../etc",
    "%h",
    "n" * 255,
    "\x1b]52;c;ZXZpbA==\x07",
)
PLACES = (
    ["train", "stop", "--job-id"],
    ["train", "start", "--recipe"],
    ["checkpoints", "list", "--host"],
    ["--profile"],
)


@pytest.mark.parametrize(
    ("command", "name"),
    [(["train", "logs", "--job-id"], name) for name in NAMES] + [(each, NAMES[1]) for each in PLACES],
)
def test_a_name_that_is_none_is_one_line_and_nothing_is_done(
    content: Hostile, own_home: Path, command: list[str], name: str
) -> None:
    given = (
        [*command, name, "hosts"] if command == ["--profile"] else ["--profile", str(content.profile), *command, name]
    )
    done = subprocess.run([*DM_G1, *given], stdin=subprocess.DEVNULL, capture_output=True, timeout=90, check=False)
    assert done.returncode in (2, 3), done
    assert len(done.stderr.splitlines()) == 1
    assert told(done.stderr, None) == []
    for folder in (own_home, content.workspace):
        assert not list(folder.glob("**/pwned"))


ACCIDENT = """
import sys
from dm_isaac_g1.cli import main
import dm_isaac_g1.actions.remote as actions
def which(ctx, name):
    import logging
    logging.getLogger("dm_isaac_g1").error("in the journal %s", sys.argv[1])
    raise RuntimeError(sys.argv[1])
actions.which = which
main.main(sys.argv[2:])
"""


def test_an_accident_commands_no_terminal_neither_at_once_nor_when_its_report_is_read(
    content: Hostile, own_home: Path
) -> None:
    payload = "".join(PAYLOADS[:12])
    done = subprocess.run(
        [sys.executable, "-c", ACCIDENT, payload, "--profile", str(content.profile), "remote", "exec", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"unexpected: RuntimeError" in done.stderr
    assert told(done.stderr, None) == []
    state = own_home / ".local" / "state" / "dm-g1"
    assert state.stat().st_mode & 0o077 == 0
    for file in (state / "crash.log", state / "journal.log"):
        assert b"colour" in file.read_bytes()
        assert told(file.read_bytes(), None) == []
        assert file.stat().st_mode & 0o077 == 0
