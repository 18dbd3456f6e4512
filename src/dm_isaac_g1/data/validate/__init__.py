"""Validation: every problem of a dataset with its code, its place and, where there is one, the command that repairs it.

validate_dataset(path) looks at structure, schemas, counts, tasks, timestamps and video headers; `deep` at every row, at
joint limits and at the videos' packets, too; `reader` at what that reader insists on. README.md lists all codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.data.validate.result import ValidationResult as ValidationResult
    from dm_isaac_g1.data.validate.run import validate_dataset as validate_dataset

__all__ = ["ValidationResult", "validate_dataset"]


def __getattr__(name: str) -> Any:
    """Light until used: the checks need pyarrow."""
    if name == "validate_dataset":
        from dm_isaac_g1.data.validate.run import validate_dataset

        return validate_dataset
    if name == "ValidationResult":
        from dm_isaac_g1.data.validate.result import ValidationResult

        return ValidationResult
    raise AttributeError(name)
