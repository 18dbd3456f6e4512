"""What can go wrong between here and the Hub, each as an error of its own that says what to do.

Sources: huggingface_hub 1.0 to 2.4, errors.py and utils/_http.py (hf_raise_for_status). The exceptions of its HTTP
library (httpx, since 2.0 httpx2) are known by their names, so that both will do.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any, ClassVar

from dm_isaac_g1.core import units
from dm_isaac_g1.core.errors import ExitCode
from dm_isaac_g1.data.hub.wire import Failed, Of
from dm_isaac_g1.data.problems import DataProblem, IntegrityError

AGAIN = "the same command goes on where this one ended"


class HubProblem(DataProblem):
    """The Hub says no, or not now."""


class HubDenied(HubProblem):
    """The Hub does not know us, or does not let us in."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNTRUSTED


class HubUnreachable(HubProblem):
    """No answer from the Hub."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNREACHABLE


KINDS: dict[str, type[DataProblem]] = {
    kind.__name__: kind for kind in (HubProblem, HubDenied, HubUnreachable, IntegrityError, DataProblem)
}

#: Of the system: code, what, fix.
_ERRNO: dict[int, tuple[str, str, str]] = {
    errno.ENOSPC: ("disk-full", "the disk is full", f"free some space; {AGAIN}"),
    errno.EDQUOT: ("disk-full", "the disk quota is used up", f"free some space; {AGAIN}"),
    errno.EACCES: ("output-not-writable", "no permission to write", "choose another --output"),
    errno.EPERM: ("output-not-writable", "no permission to write", "choose another --output"),
    errno.EROFS: ("output-not-writable", "the file system is read-only", "choose another --output"),
    errno.ENAMETOOLONG: ("bad-file-name", "the name is too long for this file system", "download elsewhere"),
}
#: Of the HTTP library, by name of class, where the connection broke: what happened.
_BROKEN = {
    "ReadError": "the connection broke",
    "RemoteProtocolError": "the connection broke",
    "ReadTimeout": "no more data came",
    "WriteTimeout": "the connection stalled",
    "IncompleteRead": "the connection broke",
}


def problem(
    error: BaseException,
    *,
    repo: str,
    revision: str | None,
    token: bool,
    file: str | None = None,
    of: Of = "dataset",
) -> Failed:
    """What to tell the user of an exception that the Hub's library raised. `token`: one was sent along."""
    for each in _chain(error):
        found = _known(each, repo, revision, token, file, of)
        if found is not None:
            return found
    return Failed("HubProblem", "hub-failed", f"{type(error).__name__}: {_first_line(error)}", file, AGAIN)


def raised(failed: Failed, *, dataset: str) -> DataProblem:
    """The error of a `Failed`, to be raised."""
    kind = KINDS.get(failed.kind, HubProblem)
    return kind(failed.code, failed.what, file=failed.file, fix=failed.fix, dataset=dataset)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, then what caused it: LocalEntryNotFoundError only wraps what happened."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return iter(seen)


def _known(
    error: BaseException, repo: str, revision: str | None, token: bool, file: str | None, of: Of
) -> Failed | None:
    name = type(error).__name__
    names = {base.__name__ for base in type(error).__mro__}
    text = str(error)
    if isinstance(error, OSError) and error.errno in _ERRNO:
        code, what, fix = _ERRNO[error.errno]
        return Failed("DataProblem", code, what, file, fix)
    if "No space left on device" in text:  # hf_xet has no errno
        return Failed("DataProblem", *_ERRNO[errno.ENOSPC][:2], file, _ERRNO[errno.ENOSPC][2])
    if "GatedRepoError" in names:
        return Failed(
            "HubDenied",
            "gated",
            "its owner lets in only who asked",
            None,
            f"ask at https://huggingface.co/{'datasets/' if of == 'dataset' else ''}{repo}"
            + ("" if token else ", and set HF_TOKEN in .env"),
        )
    if "RepositoryNotFoundError" in names:
        return _missing(repo, token, of)
    if "RevisionNotFoundError" in names:
        return Failed("HubProblem", "no-such-revision", f"has no revision {revision}", None, "leave --revision out")
    if "DisabledRepoError" in names:
        return Failed("HubDenied", "disabled", "the Hub has disabled it", None, "ask its owner")
    if "RemoteEntryNotFoundError" in names:
        return Failed("IntegrityError", "file-gone", "the Hub lists the file and does not have it", file, AGAIN)
    if "HFValidationError" in names:
        return Failed("HubProblem", "bad-repo-id", f"{repo!r} is no {of}'s id", None, "write OWNER/NAME")
    if "OfflineModeIsEnabled" in names:
        fix = "unset HF_HUB_OFFLINE"
        return Failed("HubUnreachable", "offline-mode", "HF_HUB_OFFLINE is set: nothing is downloaded", None, fix)
    if "HfHubHTTPError" in names or "HTTPStatusError" in names:
        return _by_status(getattr(error, "response", None), repo, token, file, of)
    if isinstance(error, socket.gaierror):
        what = f"the Hub's address cannot be looked up ({error.strerror})"
        return Failed("HubUnreachable", "no-dns", what, None, f"is this machine online? {AGAIN}")
    if name in _BROKEN or "Consistency check failed" in text:
        what = _BROKEN.get(name, "the file ended too early")
        return Failed("IntegrityError", "broken-transfer", f"the transfer broke off: {what}", file, AGAIN)
    if name in ("ConnectError", "ConnectTimeout", "ProxyError", "NetworkError", "ConnectionRefusedError"):
        return _no_connection(error)
    return None


def _missing(repo: str, token: bool, of: Of) -> Failed:
    """A private repository answers as one that is not there."""
    seen = "with this HF_TOKEN" if token else "without an HF_TOKEN"
    fix = f"check the spelling of {repo}" + (
        ", and that HF_TOKEN may read it" if token else "; is it private: set HF_TOKEN in .env"
    )
    return Failed("HubDenied", "no-such-repo", f"the Hub shows no such {of} {seen}", None, fix)


def _by_status(response: Any, repo: str, token: bool, file: str | None, of: Of) -> Failed:
    status = getattr(response, "status_code", 0)
    headers = getattr(response, "headers", {})
    if status == 401:
        what = "the Hub does not accept this HF_TOKEN" if token else "the Hub wants to know who asks"
        fix = "make a new one at https://huggingface.co/settings/tokens and set HF_TOKEN in .env"
        return Failed("HubDenied", "bad-token", what, None, fix)
    if status == 403:
        fix = "give HF_TOKEN the right to read it: https://huggingface.co/settings/tokens"
        return Failed("HubDenied", "forbidden", "the Hub forbids it", file, fix)
    if status == 429:
        wait = headers.get("Retry-After") or ""
        when = f" in {units.duration(int(wait))}" if wait.isdigit() else " in some minutes"
        more = "" if token else "; with HF_TOKEN in .env the Hub allows more"
        return Failed("HubProblem", "rate-limited", "too many requests for the Hub", file, f"try again{when}{more}")
    if status >= 500:
        what = f"the Hub is out of order (HTTP {status})"
        return Failed("HubUnreachable", "hub-down", what, file, f"wait (https://status.huggingface.co); {AGAIN}")
    if status == 404:
        return (
            _missing(repo, token, of)
            if file is None
            else Failed("IntegrityError", "file-gone", "the Hub lists the file and does not have it", file, AGAIN)
        )
    return Failed("HubProblem", "hub-failed", f"the Hub answers HTTP {status}", file, AGAIN)


def _no_connection(error: BaseException) -> Failed:
    for each in _chain(error):
        if isinstance(each, socket.gaierror):
            what = f"the Hub's address cannot be looked up ({each.strerror})"
            return Failed("HubUnreachable", "no-dns", what, None, f"is this machine online? {AGAIN}")
    text = _first_line(error)
    if "name or service" in text.lower() or "name resolution" in text.lower():
        what = "the Hub's address cannot be looked up"
        return Failed("HubUnreachable", "no-dns", what, None, f"is this machine online? {AGAIN}")
    if "certificate" in text.lower() or "ssl" in text.lower():
        what = f"no trusted connection to the Hub: {text}"
        return Failed("HubUnreachable", "tls", what, None, "check the machine's clock, and any proxy between")
    what = f"no connection to the Hub: {text}"
    return Failed("HubUnreachable", "unreachable", what, None, f"is this machine online? {AGAIN}")


def _first_line(error: BaseException) -> str:
    """An address in it without its query: a signed one is a key to the file."""
    line = next(iter(str(error).strip().splitlines()), "")
    return " ".join(word.split("?")[0] if "://" in word else word for word in line.split())
