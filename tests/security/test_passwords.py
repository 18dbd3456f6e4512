"""A password opens the host it is for, goes nowhere else, and is found nowhere afterwards.

The command line as a process, on hosts that really take passwords.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import watching
import yaml
from passwordhost import PasswordHost, openssh
from sshd import keygen, public, running
from terminal import terminal

from required import require_sshd

CANARY = "canary-9c41f7 e$'\"x"
WRONG = "canary-wrong-5d20"
DM_G1 = (sys.executable, "-m", "dm_isaac_g1")

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def up() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Fleet:
    """A home with a profile, known_hosts and a .env, and the command line in it."""

    def __init__(self, home: Path, hosts: dict[str, int], known: str) -> None:
        self.home = home
        (home / ".ssh").mkdir(mode=0o700)
        (home / ".ssh" / "known_hosts").write_text(known)
        self.profile = home / "fleet.yaml"
        self.profile.write_text(
            yaml.safe_dump(
                {
                    "hosts": {
                        name: {
                            "ssh": f"root@127.0.0.1:{port}",
                            "roles": ["train"],
                            "runtime": "bare",
                            "paths": {"workspace": str(home / "ws" / name)},
                        }
                        for name, port in hosts.items()
                    }
                }
            )
        )
        (home / "ws").mkdir()

    def env_file(self, **variables: str) -> None:
        Path(".env").write_text("".join(f"{name}={_quoted(value)}\n" for name, value in variables.items()))

    def argv(self, *args: str) -> list[str]:
        return [*DM_G1, "--profile", str(self.profile), *args]

    def run(self, *args: str, **env: str) -> Done:
        return subprocess.run(
            self.argv(*args),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | env,
            check=False,
        )

    def clean_of(self, secret: str, done: Done | None = None) -> None:
        """The secret stands in no file of this home, and in no output."""
        assert watching.in_files(secret.encode(), self.home) == []
        if done is not None:
            assert secret not in done.stdout + done.stderr


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@pytest.fixture
def pair(own_home: Path, up: ExitStack) -> tuple[Fleet, PasswordHost, PasswordHost]:
    """Two hosts, each with a password of its own."""
    workstation = up.enter_context(PasswordHost(CANARY).running())
    spark = up.enter_context(PasswordHost("another").running())
    ports = {"workstation": workstation.port, "spark": spark.port}
    return (
        Fleet(own_home, ports, workstation.known_hosts_line() + spark.known_hosts_line()),
        workstation,
        spark,
    )


def test_a_password_of_the_env_file_opens_its_host_and_no_other_host_hears_it(
    pair: tuple[Fleet, PasswordHost, PasswordHost],
) -> None:
    fleet, workstation, spark = pair
    fleet.env_file(WORKSTATION_PASSWORD=CANARY)
    with watching.processes(CANARY) as seen:
        done = fleet.run("--json", "remote", "exec", "--host", "workstation", "echo in; env; cat /proc/self/cmdline")
        listed = fleet.run("--json", "hosts")
    assert done.returncode == 0, done.stderr
    assert '"in"' in done.stdout
    assert set(workstation.heard) == {CANARY}
    assert CANARY not in spark.heard
    assert '"state":"refused"' in listed.stdout
    assert "SPARK_PASSWORD in .env" in listed.stdout
    assert not seen
    for each in (done, listed):
        fleet.clean_of(CANARY, each)


def test_a_password_of_the_environment_is_not_handed_on_to_any_program(
    pair: tuple[Fleet, PasswordHost, PasswordHost], own_home: Path
) -> None:
    """Ours shows it, for the user put it there; what we start does not: here a ProxyCommand that writes it all down."""
    fleet, workstation, _ = pair
    told = own_home / "told"
    proxy = "import os,socket,sys,threading;" + (
        "s=socket.create_connection(('127.0.0.1',int(sys.argv[1])));"
        "open(sys.argv[2],'ab').write(open('/proc/self/environ','rb').read());"
        "threading.Thread(target=lambda:[os.write(1,d) for d in iter(lambda:s.recv(65536),b'')],daemon=True).start();"
        "[s.sendall(d) for d in iter(lambda:os.read(0,65536),b'')]"
    )
    program = own_home / "proxy.py"
    program.write_text(proxy)
    (own_home / ".ssh" / "config").write_text(
        f"Host *\n  ProxyCommand {sys.executable} {program} {workstation.port} {told}\n"
    )
    done = fleet.run(
        "remote", "exec", "--host", "workstation", "env", WORKSTATION_PASSWORD=CANARY, HF_TOKEN="hf_x1y2z3"
    )
    assert done.returncode == 0, done.stderr
    assert workstation.heard == [CANARY]
    assert b"HOME=" in told.read_bytes()
    assert b"hf_x1y2z3" not in told.read_bytes()
    assert "hf_x1y2z3" not in done.stdout
    fleet.clean_of(CANARY, done)


def test_a_wrong_password_is_sent_once_and_shown_nowhere(pair: tuple[Fleet, PasswordHost, PasswordHost]) -> None:
    fleet, workstation, _ = pair
    fleet.env_file(WORKSTATION_PASSWORD=WRONG)
    with watching.processes(WRONG) as seen:
        done = fleet.run("remote", "exec", "--host", "workstation", "true")
    assert done.returncode == 5
    assert workstation.heard == [WRONG]
    assert "refuses our keys and the password" in done.stderr
    assert "keyring set dm-g1 workstation" in done.stderr
    assert "WORKSTATION_PASSWORD in .env" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not seen
    fleet.clean_of(WRONG, done)


@pytest.mark.parametrize(("method", "heard"), [("hidden", [CANARY]), ("shown", [])])
def test_a_question_that_is_not_for_a_password_gets_none(
    own_home: Path, up: ExitStack, method: str, heard: list[str]
) -> None:
    """Keyboard-interactive: only one question, whose answer would not be shown, is taken for the password's."""
    host = up.enter_context(PasswordHost(CANARY, method).running())
    fleet = Fleet(own_home, {"workstation": host.port}, host.known_hosts_line())
    fleet.env_file(WORKSTATION_PASSWORD=CANARY)
    done = fleet.run("remote", "exec", "true")
    assert host.heard == heard
    assert done.returncode == (0 if heard else 5)


def test_a_host_that_is_not_trusted_hears_no_password(pair: tuple[Fleet, PasswordHost, PasswordHost]) -> None:
    fleet, workstation, _ = pair
    (fleet.home / ".ssh" / "known_hosts").write_text("")
    fleet.env_file(WORKSTATION_PASSWORD=CANARY)
    done = fleet.run("remote", "exec", "--host", "workstation", "true")
    assert done.returncode == 5
    assert "unknown" in done.stderr
    assert workstation.heard == []


@pytest.mark.sshd
def test_openssh_takes_the_password_too(own_home: Path, tmp_path: Path, up: ExitStack) -> None:
    require_sshd()
    server = up.enter_context(openssh(tmp_path / "sshd", CANARY))
    fleet = Fleet(own_home, {"workstation": server.port}, server.known_hosts.read_text())
    fleet.env_file(WORKSTATION_PASSWORD=CANARY)
    with watching.processes(CANARY) as seen:
        done = fleet.run("remote", "exec", "echo in; cat /proc/$PPID/environ")
    assert (done.returncode, done.stdout[:3]) == (0, "in\n"), done.stderr
    assert "Accepted password" in (tmp_path / "sshd" / "sshd.log").read_text()
    assert not seen
    fleet.clean_of(CANARY, done)
    assert watching.in_files(CANARY.encode(), tmp_path) == []


CRASH = """
import asyncio, sys
from dm_isaac_g1.cli import main
from dm_isaac_g1.remote import connect
real = connect.login
async def login(target, *, secrets=None, **more):
    found = await secrets.password(target.name)
    typed = found.reveal()
    raise RuntimeError(f"with {typed} in its text, and {found!r} {found} {vars(secrets)}")
from dm_isaac_g1.remote import link
link.login = login
import dm_isaac_g1.actions.remote as actions
def which(ctx, name):
    raise RuntimeError("and another: " + ctx.config.password("workstation").reveal())
if sys.argv[1] == "report":
    actions.which = which
sys.argv[1:] = sys.argv[2:]
main.main()
"""


@pytest.mark.parametrize("what", ["report", "journal"])
def test_an_accident_that_holds_the_password_tells_nobody(
    pair: tuple[Fleet, PasswordHost, PasswordHost], what: str
) -> None:
    fleet, _, _ = pair
    fleet.env_file(WORKSTATION_PASSWORD=CANARY)
    asked = ["remote", "exec", "true"] if what == "report" else ["--no-ui", "--watch", "--interval", "0.2"]
    process = subprocess.Popen(
        [sys.executable, "-c", CRASH, what, "--profile", str(fleet.profile), *asked],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=6 if what == "journal" else 30)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    fleet.clean_of(CANARY)
    assert CANARY not in out + err
    if what == "report":
        report = (fleet.home / ".local" / "state" / "dm-g1" / "crash.log").read_text()
        assert "[redacted]" in report
        assert "[redacted]" in err


def test_the_console_says_what_to_do_and_holds_the_password_no_longer(
    pair: tuple[Fleet, PasswordHost, PasswordHost],
) -> None:
    fleet, workstation, spark = pair
    fleet.env_file(WORKSTATION_PASSWORD=WRONG)
    with watching.processes(WRONG) as seen, terminal(fleet.argv()) as screen:
        assert screen.watch(30, until=b"keyring set"), screen.seen[-3000:]
        assert screen.watch(10, until=b"SPARK_PASSWORD"), screen.seen[-3000:]
        screen.watch(3)
        screen.type(b"q")
        assert screen.end(20) == 0
    assert (workstation.heard, spark.heard) == ([WRONG], [])
    assert WRONG.encode() not in screen.seen
    assert not seen
    fleet.clean_of(WRONG)


# At a terminal.


def at_terminal(
    argv: Sequence[str], answers: Sequence[tuple[bytes, bytes]], timeout: float = 40.0
) -> tuple[int, bytes]:
    """Run it on a pseudo-terminal; each time the first of a pair is seen, the second is typed. Exit code and output."""
    master, slave = pty.openpty()

    def own() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, preexec_fn=own)
    os.close(slave)
    seen, mark, left = b"", 0, list(answers)
    until = time.monotonic() + timeout
    try:
        while time.monotonic() < until:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    data = os.read(master, 65536)
                except OSError:
                    break
                if not data:
                    break
                seen += data
            if left and left[0][0] in seen[mark:]:
                mark = len(seen)
                time.sleep(0.1)
                os.write(master, left.pop(0)[1])
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return process.returncode, seen


def test_at_a_terminal_the_password_is_asked_for_once_unseen(pair: tuple[Fleet, PasswordHost, PasswordHost]) -> None:
    fleet, workstation, spark = pair
    with watching.processes(CANARY) as seen:
        code, shown = at_terminal(
            fleet.argv("remote", "exec", "--host", "workstation", "echo $((6*7))"),
            [(b"Password of root@127.0.0.1", CANARY.encode() + b"\n")],
        )
    assert code == 0, shown
    assert b"42" in shown
    assert CANARY.encode() not in shown
    assert shown.count(b"Password of") == 1
    assert workstation.heard == [CANARY]
    assert spark.heard == []
    assert not seen
    fleet.clean_of(CANARY)


def test_a_wrong_answer_is_not_asked_for_again(pair: tuple[Fleet, PasswordHost, PasswordHost]) -> None:
    fleet, workstation, _ = pair
    code, shown = at_terminal(
        fleet.argv("remote", "exec", "--host", "workstation", "true"), [(b"Password of", WRONG.encode() + b"\n")]
    )
    assert code == 5
    assert b"refuses our keys and the password" in shown
    assert shown.count(b"Password of") == 1
    assert WRONG.encode() not in shown
    assert workstation.heard == [WRONG]
    fleet.clean_of(WRONG)


def test_every_host_that_needs_one_is_asked_for_and_nobody_runs_out_of_time(
    pair: tuple[Fleet, PasswordHost, PasswordHost],
) -> None:
    fleet, workstation, spark = pair
    code, shown = at_terminal(fleet.argv("--no-ui"), [(b"Password of", b"\n"), (b"Password of", b"\n")])
    assert code == 5
    assert shown.count(b"Password of") == 2
    assert workstation.heard == spark.heard == []


def test_ctrl_c_at_the_question_ends_it_and_gives_the_terminal_back(
    pair: tuple[Fleet, PasswordHost, PasswordHost],
) -> None:
    fleet, workstation, _ = pair
    shell = ["bash", "-c", '"$@"; code=$?; stty -a; exit $code', "bash"]
    code, shown = at_terminal(
        [*shell, *fleet.argv("remote", "exec", "--host", "workstation", "true")], [(b"Password of", b"\x03")]
    )
    assert code == 130, shown
    assert b" echo " in shown
    assert b"Traceback" not in shown
    assert workstation.heard == []


def test_with_json_nobody_is_asked(pair: tuple[Fleet, PasswordHost, PasswordHost]) -> None:
    fleet, _, _ = pair
    code, shown = at_terminal(fleet.argv("--json", "remote", "exec", "--host", "workstation", "true"), [], 30)
    assert code == 5
    assert b"Password of" not in shown


@pytest.mark.sshd
def test_the_passphrase_of_a_key_is_asked_for_at_a_terminal(own_home: Path, tmp_path: Path, up: ExitStack) -> None:
    require_sshd()
    server = up.enter_context(running(tmp_path / "sshd"))
    fleet = Fleet(own_home, {"workstation": server.port}, server.known_hosts.read_text())
    locked = keygen(own_home / ".ssh" / "id_ed25519", passphrase=CANARY)
    (tmp_path / "sshd" / "authorized_keys").write_text(public(locked) + "\n")
    refused = fleet.run("remote", "exec", "true")
    assert (refused.returncode, f"ssh-add {locked}" in refused.stderr) == (5, True), refused.stderr
    with watching.processes(CANARY) as seen:
        code, shown = at_terminal(
            fleet.argv("remote", "exec", "echo $((6*7))"), [(b"Passphrase for", CANARY.encode() + b"\n")]
        )
    assert (code, b"42" in shown) == (0, True), shown
    assert CANARY.encode() not in shown
    assert not seen
    fleet.clean_of(CANARY)


# The keyring.

KEYRING = """
import json, os
from keyring.backend import KeyringBackend
class Keyring(KeyringBackend):
    priority = 9
    def get_password(self, service, user):
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{service} {user}\\n")
        if os.environ.get("KEYRING_FAILS"):
            raise RuntimeError("locked")
        with open(os.environ["KEYRING_STORE"]) as file:
            return json.load(file).get(user)
    def set_password(self, service, user, password): ...
    def delete_password(self, service, user): ...
"""


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A keyring of the test's own; the file that lists what it was asked for."""
    pytest.importorskip("keyring")
    (tmp_path / "ourkeyring.py").write_text(KEYRING)
    (tmp_path / "store").write_text(f'{{"workstation": {_json(CANARY)}}}')
    asked = tmp_path / "asked"
    for name, value in {
        "PYTHONPATH": str(tmp_path),
        "PYTHON_KEYRING_BACKEND": "ourkeyring.Keyring",
        "KEYRING_STORE": str(tmp_path / "store"),
        "ASKED": str(asked),
    }.items():
        monkeypatch.setenv(name, value)
    return asked


def _json(text: str) -> str:
    import json

    return json.dumps(text)


def test_a_password_of_the_keyring_opens_its_host(
    pair: tuple[Fleet, PasswordHost, PasswordHost], keyring: Path
) -> None:
    fleet, workstation, spark = pair
    with watching.processes(CANARY) as seen:
        done = fleet.run("remote", "exec", "--host", "workstation", "echo in")
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    assert keyring.read_text() == "dm-g1 workstation\n"
    assert workstation.heard == [CANARY]
    assert spark.heard == []
    assert not seen
    fleet.clean_of(CANARY, done)


def test_a_profile_with_machines_of_its_own_is_given_nothing_that_was_kept_for_others(
    pair: tuple[Fleet, PasswordHost, PasswordHost], keyring: Path, own_home: Path
) -> None:
    """The lab's `workstation` is another machine than the one whose password stands in .env or in the keyring."""
    fleet, workstation, _ = pair
    (own_home / "ssh_config").write_text(
        f"Host *\n  UserKnownHostsFile {own_home}/.ssh/known_hosts\n  Port {workstation.port}\n"
    )
    profile = yaml.safe_load(fleet.profile.read_text())
    fleet.profile.write_text(yaml.safe_dump({"ssh_config": str(own_home / "ssh_config"), **profile}))
    fleet.env_file(WORKSTATION_PASSWORD=CANARY)
    done = fleet.run("remote", "exec", "--host", "workstation", "true")
    assert done.returncode == 5
    assert "WORKSTATION_PASSWORD" not in done.stderr
    assert workstation.heard == []
    assert not keyring.exists()


def test_a_keyring_that_fails_or_is_not_there_is_as_an_empty_one(
    pair: tuple[Fleet, PasswordHost, PasswordHost], keyring: Path, tmp_path: Path
) -> None:
    fleet, workstation, _ = pair
    failing = fleet.run("remote", "exec", "--host", "workstation", "true", KEYRING_FAILS="1")
    (tmp_path / "keyring.py").write_text("raise ImportError('not installed')")
    missing = fleet.run("remote", "exec", "--host", "workstation", "true")
    assert workstation.heard == []
    for done in (failing, missing):
        assert done.returncode == 5
        assert len(done.stderr.splitlines()) == 1
        assert "refuses our keys and wants a password; " in done.stderr


def test_nothing_of_a_keyring_is_loaded_before_a_host_refused_us() -> None:
    for arguments in (["--help"], ["profile", "list"], ["train", "--help"]):
        program = (
            f"import sys; from dm_isaac_g1.cli import main; main.code({arguments!r}); print('keyring' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.splitlines()[-1] == "False"
