"""Unitree's hospitality datasets: seven tasks of the G1 with grippers.

Source: the dataset cards of https://huggingface.co/unitreerobotics, and Unitree's UnifoLM-WMA README, which lists them
by their first names. The Hub renamed them (G1_Wipe_Table is G1_Dex1_Wipe_Table today) and redirects the first names, of
which it may stop at any time: both are asked for. Episodes and frames change with the revision; the Hub says them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from dm_isaac_g1.core import units
from dm_isaac_g1.data.hub.download import RESERVE, Download, look_up
from dm_isaac_g1.data.hub.failures import HubProblem
from dm_isaac_g1.data.hub.process import HubProcess
from dm_isaac_g1.data.hub.selection import Selection, always
from dm_isaac_g1.data.hub.wire import Hub, Listed
from dm_isaac_g1.data.problems import DataProblem, RefusedOutput
from dm_isaac_g1.data.work import Work

_OWNER = "unitreerobotics"


class HubSet(msgspec.Struct, frozen=True):
    """A dataset on the Hub. `name`: its first name, and the folder that it comes into. `task`: what the robot does."""

    name: str
    task: str

    @property
    def repos(self) -> tuple[str, str]:
        """Its ids: today's, then the first one."""
        return f"{_OWNER}/{self.name.replace('G1_', 'G1_Dex1_', 1)}", f"{_OWNER}/{self.name}"


HOSPITALITY = (
    HubSet("G1_Fold_Towel", "fold a towel"),
    HubSet("G1_Clean_Table", "clear and clean a table"),
    HubSet("G1_Wipe_Table", "wipe a table"),
    HubSet("G1_Prepare_Fruit", "prepare fruit"),
    HubSet("G1_Pour_Medicine", "pour medicine"),
    HubSet("G1_Organize_Tools", "put tools in order"),
    HubSet("G1_Pack_PingPong", "pack ping-pong balls"),
)


def download_all_hospitality(
    output_dir: Path | str,
    *,
    meta_only: bool = False,
    work: Work | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    sets: tuple[HubSet, ...] = HOSPITALITY,
) -> list[Path]:
    """Download all of them, each into a folder of its name in `output_dir`; returns the folders.

    All are looked up first, and their sizes together compared with the disk. One that the Hub does not give does not
    keep the others from coming. Raises as `download_dataset`; HubProblem at the end, naming what did not come.
    """
    work = work or Work()
    folder, hub = Path(output_dir), Hub(endpoint, token)
    found: dict[HubSet, Listed] = {}
    failed: dict[HubSet, DataProblem] = {}
    folders = []
    with HubProcess(work, str(folder)) as process:
        for each in sets:
            try:
                found[each] = _look_up(each, process, work, hub)
            except HubProblem as problem:
                failed[each] = problem
        _refuse_small(folder, found, meta_only)
        for each, listed in found.items():
            process.dataset = listed.repo
            download = Download(process, work, hub, listed, Selection(), folder / each.name)
            try:
                folders.append(download.run(meta_only=meta_only))
            except HubProblem as problem:
                failed[each] = problem
    if failed:
        first = next(iter(failed.values()))
        names = ", ".join(each.name for each in failed)
        what = f"{len(failed)} of {units.many(len(sets), 'dataset')} did not come ({names}): {first.line()}"
        raise HubProblem("some-missing", what, fix="the same command asks for these again", dataset=str(folder))
    return folders


def _look_up(each: HubSet, process: HubProcess, work: Work, hub: Hub) -> Listed:
    today, first = each.repos
    try:
        return look_up(process, work, hub, today)
    except DataProblem as problem:
        if problem.finding.code != "no-such-repo":
            raise
    return look_up(process, work, hub, first)


def _refuse_small(folder: Path, found: dict[HubSet, Listed], meta_only: bool) -> None:
    """Raises RefusedOutput where the disk has no room for all that is not there yet."""
    needs = sum(
        file.size
        for each, listed in found.items()
        if not (folder / each.name).exists()
        for file in listed.files
        if not meta_only or always(file.path)
    )
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if needs and needs + RESERVE > free:
        raise RefusedOutput(
            "disk-too-small",
            f"{units.many(len(found), 'dataset')} need {units.size(needs)}, {units.size(free)} are free on the disk",
            fix="free some space there, or choose an --output on another disk",
            dataset=str(folder),
        )
