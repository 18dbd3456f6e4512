"""The policy that a folder holds."""

from __future__ import annotations

from pathlib import Path

from dm_isaac_g1.core.errors import RefusedError
from dm_isaac_g1.inference.models import read_local
from dm_isaac_g1.inference.policies.base import Policy, PolicyError
from dm_isaac_g1.inference.specs import sidecar


def load(path: Path | str, *, device: str = "auto") -> Policy:
    """A bc checkpoint, or a TorchScript or ONNX policy with its policy.json. `device`: "auto", "cpu" or "cuda"; bc
    is too small for a GPU.

    Raises UsageError (no such folder), RefusedError (not complete, or not ours to serve), PolicyError (does not load).
    """
    folder = Path(path).expanduser()
    if folder.is_file() and (folder.parent / "policy.json").is_file():
        folder = folder.parent
    facts = read_local(folder)
    if not facts.complete:
        raise RefusedError("; ".join(facts.problems), where=str(path), fix="choose a complete checkpoint")
    if facts.kind == "groot-n1.6":
        raise RefusedError(
            "a GR00T checkpoint, which GR00T's own server serves",
            where=str(path),
            fix="`dm-g1 infer serve` starts it; --proxy stands in front of it",
        )
    if facts.kind == "bc":
        try:
            from dm_isaac_g1.inference.policies.bc import BcPolicy
        except ModuleNotFoundError as error:
            raise PolicyError(f"{error.name} is not installed", fix="pip install 'dm-isaac-g1[train]'") from None
        return BcPolicy(folder)
    from dm_isaac_g1.inference.policies.exported import ExportedPolicy

    return ExportedPolicy(folder, sidecar((folder / "policy.json").read_bytes()), device=device)
