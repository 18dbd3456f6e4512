"""What this user has on this machine: the profile, with the variables of `.env` and the environment over it.

A variable is taken from the environment, else from `.env` in the working folder, else from ~/.config/dm-g1/.env.
Nothing is ever written into the environment, where children and crash reports would find it.
"""

from __future__ import annotations

import hmac
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import msgspec

from dm_isaac_g1.core import paths, plainfile, profiles, redact, targets
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.profile import Host, Profile
from dm_isaac_g1.core.targets import Target

#: Host of the profile -> the beginning of its variables: _HOST, _USER, _SSH_PORT, _PASSWORD.
HOST_PREFIXES = {"workstation": "WORKSTATION", "spark": "SPARK"}
_PLAIN_SUFFIXES = ("_HOST", "_USER", "_SSH_PORT")

PLAIN = (
    *(prefix + suffix for prefix in HOST_PREFIXES.values() for suffix in _PLAIN_SUFFIXES),
    "GROOT_SERVER_HOST",
    "GROOT_SERVER_PORT",
)
SECRET = ("WORKSTATION_PASSWORD", "SPARK_PASSWORD", "HF_TOKEN", "GITHUB_TOKEN", "WANDB_API_KEY")

_MAX_BYTES = 64 * 1024


class Secret:
    """A value that never shows itself: not in a repr, a format, a traceback's locals, a pickle or JSON.

    `reveal()` stands where it is used, and only there.
    """

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    def __str__(self) -> str:
        return redact.MARK

    def __format__(self, spec: str) -> str:
        return format(redact.MARK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


#: Secrets that came with the command itself, from whoever started it on this host.
_handed: dict[str, str] = {}


def hand_over(secrets: Mapping[str, str]) -> None:
    """Secrets of `SECRET` for this process alone: they win, and are in no environment that a child would inherit."""
    _handed.update({name: value for name, value in secrets.items() if name in SECRET and value})


class Setting(msgspec.Struct, frozen=True):
    """A plain variable and where it was set: "environment" or file:line."""

    value: str
    where: str


class Config:
    """The profile as this user means it, their plain settings, and their secrets."""

    def __init__(
        self, profile: Profile | ConfigError, settings: dict[str, Setting], secrets: dict[str, Secret]
    ) -> None:
        self._profile = profile
        self._settings = settings
        self._secrets = secrets

    def __repr__(self) -> str:
        name = self._profile.name if isinstance(self._profile, Profile) else None
        return f"Config(profile={name!r}, settings={sorted(self._settings)}, secrets={sorted(self._secrets)})"

    @property
    def profile(self) -> Profile:
        """The profile with the variables over it. Raises NoProfile where nothing says which."""
        if isinstance(self._profile, ConfigError):
            raise self._profile
        return self._profile

    def setting(self, name: str) -> str | None:
        """A plain variable of `PLAIN`, None where it is not set."""
        if name not in PLAIN:
            raise KeyError(name)
        return self._settings[name].value if name in self._settings else None

    def secret(self, name: str) -> Secret | None:
        """A secret of `SECRET`, None where it is not set."""
        if name not in SECRET:
            raise KeyError(name)
        return self._secrets.get(name)

    def password(self, host: str) -> Secret | None:
        """The password for a host of the profile, None where there is none.

        Never for a profile that brings its own OpenSSH configuration: its `workstation` is another machine.
        """
        name = self.password_name(host)
        return self._secrets.get(name) if name else None

    def password_name(self, host: str) -> str | None:
        """The variable that holds a host's password, None where none does."""
        prefix = HOST_PREFIXES.get(host)
        if prefix is None or self.own_machines:
            return None
        return f"{prefix}_PASSWORD"

    @property
    def own_machines(self) -> bool:
        """Whether the profile brings its own OpenSSH configuration: what the user keeps for a host of some name is not
        meant for its host of that name."""
        return isinstance(self._profile, Profile) and bool(self._profile.ssh_config)

    def policy_server(self) -> tuple[str, int]:
        """Address and port of the policy server: GROOT_SERVER_HOST and _PORT, else the profile's serving host.

        Raises ConfigError where neither says one.
        """
        name = _serving(self.profile)
        host = self.setting("GROOT_SERVER_HOST") or (targets.parse(self.profile.hosts[name].ssh).host if name else None)
        if host is None:
            raise ConfigError("no policy server", fix="give a host the role serve, or set GROOT_SERVER_HOST")
        port = self.setting("GROOT_SERVER_PORT")
        return host, targets.port(port) if port else self.profile.hosts[name].port if name else 5555


def load_config(profile: str | None = None) -> Config:
    """Profile, .env and environment together. Raises ConfigError with file, line and variable.

    Where nobody says which profile, the shipped `workstation-spark` is taken if a variable names one of its machines;
    else only `Config.profile` raises.
    """
    settings: dict[str, Setting] = {}
    secrets: dict[str, Secret] = {}
    for name, setting in _variables():
        if name in SECRET and name not in secrets:
            secrets[name] = Secret(name, setting.value)
            redact.register(setting.value)
        elif name in PLAIN:
            settings.setdefault(name, setting)
    _check(settings)
    return Config(_profile(profile, settings), settings, secrets)


def _variables() -> Iterator[tuple[str, Setting]]:
    """Every variable that is ours, the one that wins first. Empty ones of the environment count as unset."""
    yield from ((name, Setting(value, "handed over")) for name, value in _handed.items())
    for name in (*PLAIN, *SECRET):
        if value := os.environ.get(name):
            yield name, Setting(value, f"${name}")
    for file in (Path.cwd() / ".env", paths.config_dir() / ".env"):
        if file.exists() and not file.is_dir():  # `.env` may be a virtual environment's folder
            yield from _read(file)


def _read(file: Path) -> Iterator[tuple[str, Setting]]:
    from dotenv.parser import parse_stream

    try:
        data = plainfile.read(file, _MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(file)) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text", where=f"{file}:{line}") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"larger than {_MAX_BYTES // 1024} KiB; that is no .env", where=str(file))
    for binding in parse_stream(io.StringIO(text)):
        # The text before a variable belongs to its binding: its line is where the variable itself stands.
        skipped = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string.count("\n", 0, skipped)
        if binding.error:
            # Not the text itself: a broken line may well be a password.
            raise ConfigError("not a NAME=value line", where=f"{file}:{line}", fix="quote a value with blanks or #")
        if binding.key in PLAIN and not binding.value:
            raise ConfigError(f"{binding.key} is empty", where=f"{file}:{line}", fix="give it a value or drop the line")
        if binding.key and binding.value and binding.key in (*PLAIN, *SECRET):
            yield binding.key, Setting(binding.value, f"{file}:{line}")


def _check(settings: dict[str, Setting]) -> None:
    for name, setting in settings.items():
        try:
            if name.endswith("_PORT"):
                targets.port(setting.value)
            elif name.endswith("_HOST"):
                targets.parse(setting.value)
            else:
                targets.parse(f"{setting.value}@host")
        except ConfigError as error:
            raise ConfigError(f"{name}: {error.what}", where=setting.where, fix=error.fix) from None


def _profile(name: str | None, settings: dict[str, Setting]) -> Profile | ConfigError:
    try:
        return _over(profiles.load_profile(name), settings)
    except profiles.NoProfile as error:
        if any(f"{prefix}_HOST" in settings for prefix in HOST_PREFIXES.values()):
            return _over(profiles.load_profile("workstation-spark"), settings)
        return error


def _over(profile: Profile, settings: dict[str, Setting]) -> Profile:
    """The variables over the profile; not over one with its own OpenSSH configuration (the lab), whose
    `workstation` is another machine than the one that the variables mean."""
    if profile.ssh_config:
        return profile
    hosts = dict(profile.hosts)
    for name in hosts.keys() & HOST_PREFIXES.keys():
        hosts[name] = _host_over(hosts[name], HOST_PREFIXES[name], settings)
    serving = _serving(profile)
    if serving and "GROOT_SERVER_PORT" in settings:
        port = targets.port(settings["GROOT_SERVER_PORT"].value)
        hosts[serving] = msgspec.structs.replace(hosts[serving], port=port)
    return msgspec.structs.replace(profile, hosts=hosts)


def _host_over(host: Host, prefix: str, settings: dict[str, Setting]) -> Host:
    given = {suffix: settings[prefix + suffix].value for suffix in _PLAIN_SUFFIXES if prefix + suffix in settings}
    if not given:
        return host
    before = targets.parse(host.ssh)
    named = targets.parse(given.get("_HOST", before.host))
    port = targets.port(given["_SSH_PORT"]) if "_SSH_PORT" in given else None
    target = Target(named.host, given.get("_USER") or named.user or before.user, port or named.port or before.port)
    return msgspec.structs.replace(host, ssh=str(target))


def _serving(profile: Profile) -> str | None:
    """The host that GROOT_SERVER_PORT speaks of: `spark`, else the first that serves."""
    serving = [name for name, host in profile.hosts.items() if "serve" in host.roles]
    return "spark" if "spark" in serving else next(iter(serving), None)
