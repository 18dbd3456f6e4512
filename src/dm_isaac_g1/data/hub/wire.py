"""What dm-g1 and its hub process say to each other: one JSON line each, over the process's stdin and stdout."""

from __future__ import annotations

from typing import Literal

import msgspec

#: What a repository is; datasets, unless said otherwise.
Of = Literal["dataset", "model"]


class RepoFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a repository at one commit. `sha256` for what git-lfs or Xet stores, else git's own `blob` SHA-1.

    `path`: where it lies in the dataset; in the repository it may lie in a `folder`, which ends with a slash.
    """

    path: str
    size: int
    blob: str
    sha256: str | None = None
    folder: str = ""

    @property
    def remote(self) -> str:
        """Its name in the repository."""
        return self.folder + self.path


class Hub(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which hub, and as whom. None: what huggingface_hub itself finds ($HF_ENDPOINT; a login by `hf auth login`)."""

    endpoint: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return f"Hub({self.endpoint!r}, token={'[redacted]' if self.token else None})"


# --- Asked ------------------------------------------------------------------------------------------------------------


class LookUp(msgspec.Struct, frozen=True, tag="look-up"):
    """Which commit is `revision` (None: the newest of the main branch), and what is in it?"""

    hub: Hub
    repo: str
    revision: str | None
    of: Of = "dataset"


class Fetch(msgspec.Struct, frozen=True, tag="fetch"):
    """Bring `files` of commit `revision` into `folder`; those that are there already are checked and kept."""

    hub: Hub
    repo: str
    revision: str
    folder: str
    files: tuple[RepoFile, ...]
    of: Of = "dataset"


class Verify(msgspec.Struct, frozen=True, tag="verify"):
    """Compare `files` in `folder` with size and hash; nothing is asked of the Hub."""

    folder: str
    files: tuple[RepoFile, ...]


Asked = LookUp | Fetch | Verify


# --- Answered ---------------------------------------------------------------------------------------------------------


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """The answer to LookUp. `repo`: as the Hub calls it today. `revision`: the commit."""

    repo: str
    revision: str
    files: tuple[RepoFile, ...]


class Bytes(msgspec.Struct, frozen=True, tag="bytes"):
    """How far a Fetch or Verify is."""

    done: int


class Said(msgspec.Struct, frozen=True, tag="said"):
    """Something worth telling while one waits."""

    text: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The answer to Fetch and Verify. `differing`: what Verify found missing or changed."""

    differing: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The answer where it went wrong; `kind` names a class of `failures.KINDS`."""

    kind: str
    code: str
    what: str
    file: str | None = None
    fix: str | None = None


Answered = Listed | Bytes | Said | Finished | Failed
