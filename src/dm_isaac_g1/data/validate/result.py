"""What a validation found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec

from dm_isaac_g1.data.problems import Finding, Severity

Reader = Literal["groot-n1.6", "lerobot"]

#: Findings kept of each code; of a broken download every file has one.
KEPT = 20


class ValidationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Findings, worst first; `hidden`: code -> how many more of it there are. None: info.json does not say."""

    path: str
    version: str | None = None
    family: str = "unknown"
    robot: str | None = None
    fps: float | None = None
    episodes: int = 0
    #: Rows that are there.
    frames: int = 0
    cameras: tuple[str, ...] = ()
    videos: int = 0
    deep: bool = False
    reader: Reader | None = None
    #: Wall clock.
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()
    hidden: dict[str, int] = {}
    errors: int = 0
    warnings: int = 0

    @property
    def valid(self) -> bool:
        """No errors."""
        return not self.errors

    def codes(self, severity: Severity | None = None) -> set[str]:
        """Codes of all findings, or of those of one severity."""
        return {finding.code for finding in self.findings if severity in (None, finding.severity)}


class Gathered:
    """Findings as they come, KEPT of each code, all of them counted."""

    def __init__(self) -> None:
        self.severities: Counter[Severity] = Counter()
        #: Episodes with an error.
        self.broken: set[int] = set()
        self._codes: Counter[str] = Counter()
        self._kept: list[Finding] = []

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.severities[finding.severity] += 1
            self._codes[finding.code] += 1
            if finding.severity == "error" and finding.place.episode is not None:
                self.broken.add(finding.place.episode)
            if self._codes[finding.code] <= KEPT:
                self._kept.append(finding)

    def has(self, *codes: str) -> bool:
        return any(code in self._codes for code in codes)

    @property
    def findings(self) -> tuple[Finding, ...]:
        order = {"error": 0, "warning": 1, "note": 2}
        return tuple(sorted(self._kept, key=lambda finding: order[finding.severity]))

    @property
    def hidden(self) -> dict[str, int]:
        return {code: count - KEPT for code, count in self._codes.items() if count > KEPT}
