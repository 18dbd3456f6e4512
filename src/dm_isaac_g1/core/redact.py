"""Takes secrets out of a text before it is shown, logged or put into a crash report.

Secrets that we were given are known by value (`register`); those that a host's output may hold are known by their
form. Sources of the forms: huggingface.co user access tokens (hf_...); github.blog "Behind GitHub's new
authentication token formats" (ghp_ gho_ ghu_ ghs_ ghr_, github_pat_); W&B API keys (40 hex digits); RFC 7468 (PEM).
"""

from __future__ import annotations

import re
import threading

MARK = "[redacted]"

_NAMES = r"(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|authorization)"

#: Pattern -> replacement, in order. A name that says what it is keeps its name.
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?(?:-----END \1PRIVATE KEY-----|\Z)", re.DOTALL), MARK),
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), MARK),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"), MARK),
    (re.compile(r"\bgithub_pat_[A-Za-z0-9_]{20,}"), MARK),
    (re.compile(r"\bwandb_v1_[A-Za-z0-9_]{20,}"), MARK),
    # user:password@ in an address, as git and pip print them
    (re.compile(r"(?P<before>\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,256}:)[^\s/@]{1,1024}(?=@)"), rf"\g<before>{MARK}"),
    # 40 hex digits are also a git commit: a key only where something says so.
    (
        re.compile(r"(?i)(?P<before>\b(?:wandb|api)[\w .:=-]{0,40}?[\s:='\"])[0-9a-f]{40}\b"),
        rf"\g<before>{MARK}",
    ),
    (re.compile(r"(?i)(?P<before>\bbearer\s+)[\w.~+/=-]{8,}"), rf"\g<before>{MARK}"),
    (
        re.compile(
            rf"(?i)(?P<before>\b[\w-]{{0,64}}{_NAMES}[\"']?\s{{0,4}}[=:]\s{{0,4}})"
            rf"(?!\[redacted\]|bearer\b)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;&\"']+)"
        ),
        rf"\g<before>{MARK}",
    ),
)

_lock = threading.Lock()
_values: set[str] = set()
_known: re.Pattern[str] | None = None


def register(value: str) -> None:
    """From now on `redact` takes this value out wherever it stands. An empty one is ignored."""
    global _known
    if not value:
        return
    with _lock:
        _values.add(value)
        longest_first = sorted(_values, key=lambda each: (-len(each), each))
        _known = re.compile("|".join(map(_literal, longest_first)))


def redact(text: str) -> str:
    """The text without secrets. Costs a few microseconds a line; never raises."""
    text = hide_known(text)
    for pattern, replacement in _FORMS:
        text = pattern.sub(replacement, text)
    return text


def hide_known(text: str) -> str:
    """The text without the secrets that we were given; what only looks like one stays."""
    known = _known
    return text if known is None else known.sub(MARK, text)


def _literal(value: str) -> str:
    """A short password is taken out as a word only: of "a" not every letter a."""
    escaped = re.escape(value)
    return escaped if len(value) >= 8 else rf"(?<!\w){escaped}(?!\w)"
