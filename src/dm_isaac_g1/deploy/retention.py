"""Which releases on a serve host may go: all but the one that serves, what is tried now, and the newest few. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from dm_isaac_g1.core.deployments import HistoryEntry, Release


def superfluous(
    releases: Iterable[Release], history: Sequence[HistoryEntry], *, keep: int, spared: Collection[str]
) -> list[Release]:
    """The releases to remove: not the `spared` (what serves, what served before), and not the `keep` last in service.

    Those that never served (they failed their test) go first. `history`: newest first.
    """
    served: dict[str, float] = {}
    for each in history:
        if each.outcome == "done":
            served.setdefault(each.release, each.at)
    others = [release for release in releases if release.id not in spared]
    others.sort(key=lambda release: (served.get(release.id, 0.0), release.created), reverse=True)
    return others[max(0, keep - max(0, len(set(spared)) - 1)) :]
