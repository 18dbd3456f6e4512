"""Every code that validation may report: how bad it is, what it means, and the command that repairs it.

The page README.md is printed from this table (`python -m dm_isaac_g1.data.validate.codes`), a test holds the two
together, and another holds the table against the codes that the readers of files raise.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from dm_isaac_g1.data.problems import DataProblem, Finding, Place, Severity

_REPAIR = "dm-g1 data repair --path {path}"
_STATS = "dm-g1 data stats --path {path}"
_PICTURES = "dm-g1 data stats --path {path} --images"
_RETIME = "dm-g1 data repair --path {path} --retime"
_REWRITE = "dm-g1 data combine --input {path} --output {path}-rewritten"
_SPLIT = "dm-g1 data split --input {path} --output {path}-split"
#: Stands in a fix for all episodes without an error; filled in when all errors are known.
OTHERS = "{others}"
_WITHOUT = "dm-g1 data combine --input {path} --output {path}-without --episodes {others}"
_GROOT = "dm-g1 data convert --input {path} --output {path}-groot --format groot"
_V21 = "dm-g1 data convert --input {path} --output {path}-v2.1 --format v2.1"
_AGAIN = "download it again: dm-g1 data download fetches only what is missing or broken"


class Code(msgspec.Struct, frozen=True):
    """`says`: what it means, for the page. `fix`: {path} is the dataset's folder."""

    severity: Severity
    says: str
    fix: str | None = None


#: Heading -> code -> what it is.
TABLE: dict[str, dict[str, Code]] = {
    "meta/info.json and the other files in meta/": {
        "no-dataset": Code("error", "There is no such folder."),
        "not-a-dataset": Code("error", "The folder has no meta/info.json."),
        "unknown-version": Code("error", "codebase_version is none of v2.0, v2.1, v3.0."),
        "no-features": Code("error", "info.json has no features."),
        "bad-feature": Code("error", "A feature has no dtype."),
        "bad-feature-name": Code("error", "A feature's name cannot be a folder's or a column's."),
        "feature-without-shape": Code("error", "A feature has no shape; lerobot fails with KeyError 'shape'."),
        "bad-shape": Code("error", "A feature's shape is no list of positive numbers."),
        "bad-fps": Code("error", "fps is missing, or no positive number."),
        "bad-count": Code("error", "A total or chunks_size is no number."),
        "bad-path": Code("error", "data_path or video_path has placeholders that make no sense."),
        "path-leaves-dataset": Code("error", "A path or a link leads out of the dataset's folder."),
        "file-missing": Code("error", "A file of meta/ is missing.", _AGAIN),
        "too-large": Code("error", "A file of meta/ is larger than any real one."),
        "not-json": Code("error", "A file of meta/ is no JSON; NaN and Infinity are none."),
        "unfinished": Code("error", "The folder is being written, or was left half-written; the same command goes on."),
        "default-column": Code(
            "error", "info.json does not list timestamp, frame_index, episode_index, index or task_index."
        ),
        "names-count": Code("warning", "A feature has more or fewer names than values; its names are not used."),
        "no-names": Code("warning", "observation.state or action has no names: what stands where can only be guessed."),
        "unknown-family": Code("note", "The names fit no schema that dm-g1 knows; conversion needs a known one."),
        "total-episodes": Code("error", "total_episodes is not the number of listed episodes.", _REPAIR),
        "total-frames": Code("error", "total_frames is not the sum of the episodes' lengths.", _REPAIR),
        "total-tasks": Code("error", "total_tasks is not the number of tasks.", _REPAIR),
        "total-videos": Code("warning", "total_videos is not episodes times cameras.", _REPAIR),
        "total-chunks": Code("warning", "total_chunks is not episodes divided by chunks_size, rounded up.", _REPAIR),
        "splits-partial": Code("warning", "The splits leave episodes out.", _REPAIR),
        "splits-wrong": Code(
            "warning", "A split is no range START:END, or names episodes that are not there.", _REPAIR
        ),
    },
    "Episodes and tasks": {
        "no-episodes-jsonl": Code("error", "meta/episodes.jsonl is missing.", _REPAIR),
        "no-tasks-jsonl": Code("error", "meta/tasks.jsonl is missing.", _REPAIR),
        "no-tasks-parquet": Code(
            "error",
            "v3.0: meta/tasks.parquet is missing.",
            _REPAIR,
        ),
        "no-episodes-parquet": Code("error", "v3.0: meta/episodes has no files.", _AGAIN),
        "no-episodes": Code("error", "The list of episodes is empty."),
        "no-tasks": Code("error", "The list of tasks is empty."),
        "bad-episode": Code("error", "A row of the list of episodes has no number or length."),
        "empty-episode": Code("error", "An episode of length 0."),
        "duplicate-episode": Code("error", "An episode is listed twice."),
        "episode-numbers": Code("error", "Numbers of episodes have gaps; readers go from 0 to the last.", _REWRITE),
        "bad-clip": Code("error", "v3.0: an episode's times in its video make no sense."),
        "bad-task": Code("error", "A row of the list of tasks has no number or text."),
        "duplicate-task": Code("error", "A task is listed twice with different texts."),
        "empty-task": Code("warning", "A task's text is empty: a language model learns nothing from it."),
        "task-unlisted": Code("error", "An episode names a task that the list of tasks does not have.", _REWRITE),
    },
    "Parquet files": {
        "missing-parquet": Code("error", "A listed episode has no parquet file.", _AGAIN),
        "missing-episode": Code("error", "A listed episode has no rows in any parquet file.", _AGAIN),
        "unlisted-episode": Code("error", "Rows of an episode that is not listed."),
        "orphan-parquet": Code(
            "warning", "A parquet file that no listed episode has. Statistics of GR00T and all of lerobot read it, too."
        ),
        "combined-parquet": Code("error", "Rows of many episodes in one file of a v2.x dataset.", _SPLIT),
        "lfs-pointer": Code("error", "A git-lfs pointer: the file was not downloaded.", _AGAIN),
        "unreadable": Code("error", "No parquet file, or cut off.", _AGAIN),
        "too-many-rows": Code("error", "More rows in one file than days of recording."),
        "length-differs": Code("error", "An episode's rows are more or fewer than its listed length.", _WITHOUT),
        "scattered-rows": Code("error", "Rows of an episode do not follow one another."),
        "wrong-file-index": Code(
            "warning",
            "v3.0: data/file_index names another file than the one with the rows (lerobot 0.4.0-0.4.4).",
            _REPAIR,
        ),
        "missing-column": Code("error", "A feature of info.json is not in the file.", _WITHOUT),
        "extra-column": Code("note", "A column that info.json does not list; readers ignore it."),
        "wrong-width": Code("error", "Frames with more or fewer values than the feature's shape says.", _WITHOUT),
        "not-numbers": Code("error", "A numeric feature holds something else.", _WITHOUT),
        "not-whole": Code("error", "An index with a fraction.", _WITHOUT),
        "other-precision": Code(
            "note", "Stored as double where info.json says float32, or the other way; it is cast when read.", _REWRITE
        ),
        "variable-list": Code("note", "Stored as lists of any length; every frame's length was checked.", _REWRITE),
        "not-checked": Code("note", "A feature of several dimensions: its values are not looked at."),
        "null": Code("error", "A frame or value is empty.", _WITHOUT),
        "not-finite": Code("error", "A value is NaN or infinite.", _WITHOUT),
        "values-not-read": Code(
            "note",
            "The values of a large dataset were judged by the files' own statistics, which know no NaN.",
            "dm-g1 data validate --path {path} --deep",
        ),
    },
    "Rows": {
        "ragged-timestamps": Code("error", "A timestamp is more than 0.1 ms off frame_index / fps.", _RETIME),
        "timestamp-start": Code("error", "An episode's first timestamp is not 0; videos are looked up by it.", _RETIME),
        "frame-index": Code("error", "frame_index does not count from 0.", _WITHOUT),
        "episode-index": Code("error", "The episode_index column has another number than the file.", _REWRITE),
        "index": Code("error", "index does not run through the whole dataset.", _REWRITE),
        "unknown-task": Code("error", "task_index is not in the list of tasks.", _WITHOUT),
        "task-differs": Code("error", "Rows point to another instruction than the list of episodes names."),
    },
    "Videos": {
        "video-folder": Code("error", "A camera's videos lie in a folder of another name.", _REPAIR),
        "missing-video": Code("error", "An episode has no video of a camera.", _AGAIN),
        "orphan-video": Code("warning", "A video that no listed episode has."),
        "not-a-video": Code("error", "Not a file."),
        "no-video-stream": Code("error", "An MP4 without a video in it.", _AGAIN),
        "video-truncated": Code("error", "An empty file.", _AGAIN),
        "video-unreadable": Code("error", "No MP4, or a damaged one.", _AGAIN),
        "video-length": Code(
            "error", "More or fewer frames than the episode has rows. GR00T repeats the last frame silently.", _WITHOUT
        ),
        "video-size": Code("error", "Frames of another size than the feature's shape says.", _WITHOUT),
        "video-fps": Code("error", "Another number of frames a second than info.json says.", _WITHOUT),
        "video-codec": Code("warning", "Another codec than info.json says."),
        "video-clip": Code(
            "error",
            "v3.0: an episode's time in its video is shorter or longer than its rows, or beyond the file's end.",
        ),
        "video-overlap": Code("error", "v3.0: two episodes claim the same time of a video."),
    },
    "Statistics": {
        "stats-stale": Code(
            "error", "Statistics speak of other data or columns; GR00T's tools keep and use them.", _STATS
        ),
        "stats-older": Code("warning", "Statistics that dm-g1 did not write are older than the data.", _STATS),
        "bad-modality": Code("error", "meta/modality.json names values that no column has.", _GROOT),
    },
    "Only with --deep": {
        "beyond-limits": Code(
            "warning", "More than 1 % of a joint's values are beyond its limits; an error above 20 %."
        ),
        "near-limits": Code("note", "Up to 1 % of a joint's values are beyond its limits."),
        "gripper-range": Code("warning", "A gripper outside 0..6: not the raw Dex1 value that conversion expects."),
        "video-packets": Code("error", "The video holds another number of frames than its own header says.", _AGAIN),
    },
    "Only with --for groot-n1.6": {
        "groot-version": Code("error", "N1.6 reads LeRobot v2.x only.", _V21),
        "groot-info": Code("error", "info.json lacks data_path, chunks_size or, with cameras, video_path (KeyError)."),
        "groot-no-modality": Code("error", "meta/modality.json is missing.", _GROOT),
        "groot-group": Code("error", "A group of UNITREE_G1 is missing, or points to no column, or beyond it.", _GROOT),
        "groot-relative-widths": Code(
            "error", "A relative action and its state differ in width, so they cannot be subtracted.", _GROOT
        ),
        "groot-video": Code(
            "error",
            "ego_view is missing, or its original_key is no camera.",
            "dm-g1 data convert --input {path} --output {path}-groot --format groot --ego-camera CAMERA",
        ),
        "groot-annotation": Code("error", "human.task_description is missing, or points to no column.", _GROOT),
        "groot-stats": Code("error", "meta/stats.json is missing or incomplete: the loader asserts it.", _STATS),
        "groot-relative-stats": Code(
            "error", "meta/relative_stats.json has a relative action with another horizon or width.", _STATS
        ),
        "groot-no-relative-stats": Code(
            "warning",
            "meta/relative_stats.json lacks a relative action: training computes it first, for minutes.",
            _STATS,
        ),
        "groot-short-episode": Code("warning", "An episode shorter than the horizon gives no training window."),
        "groot-orphan": Code("error", "A parquet file that no episode has goes into NVIDIA's statistics."),
    },
    "Only with --for lerobot": {
        "lerobot-info": Code("error", "info.json lacks a key that lerobot reads."),
        "lerobot-episodes-stats": Code(
            "error", "v2.1: meta/episodes_stats.jsonl is missing, or lacks an episode.", _STATS
        ),
        "lerobot-picture-stats": Code(
            "warning", "v2.1: not every episode has statistics of its pictures; lerobot-train wants them.", _PICTURES
        ),
        "lerobot-stats": Code("error", "meta/stats.json is missing.", _STATS),
        "lerobot-timestamps": Code(
            "error", "A step between timestamps is more than 0.1 ms off 1 / fps, in float32 as lerobot counts.", _RETIME
        ),
        "lerobot-orphan": Code(
            "error", "A parquet file that no episode has shifts all later rows: lerobot reads all of data/."
        ),
        "lerobot-tasks": Code("error", "Tasks are not numbered from 0 without a gap.", _REWRITE),
    },
}

CODES: dict[str, Code] = {code: row for rows in TABLE.values() for code, row in rows.items()}


class Findings:
    """Makes findings about one dataset, with its folder in the commands."""

    def __init__(self, root: Path) -> None:
        #: Quoted for a shell.
        self.path = shlex.quote(str(root))

    def __call__(
        self,
        code: str,
        what: str,
        *,
        file: str | None = None,
        episode: int | None = None,
        frame: int | None = None,
        joint: str | None = None,
        severity: Severity | None = None,
        fix: str | None = None,
    ) -> Finding:
        """A finding of CODES; raises KeyError for another. `severity`, `fix`: instead of the table's."""
        row = CODES[code]
        return Finding(
            code=code,
            what=what,
            severity=severity or row.severity,
            place=Place(file, episode, frame, joint),
            fix=fix or self.fix(code),
        )

    def fix(self, code: str) -> str | None:
        """The command of the table, for this dataset."""
        fix = CODES[code].fix
        return None if fix is None else fix.replace("{path}", self.path)

    def of(self, problem: DataProblem, *, file: str | None = None, episode: int | None = None) -> Finding:
        """What a reader raised, placed, with the table's command where it has one."""
        found = problem.finding
        place = Place(
            found.place.file or file,
            episode if found.place.episode is None else found.place.episode,
            found.place.frame,
            found.place.joint,
        )
        fix = self.fix(found.code) if found.code in CODES else None
        return Finding(code=found.code, what=found.what, place=place, fix=fix or found.fix)


def page() -> str:
    """README.md of this folder."""
    lines = ["# What `dm-g1 data validate` reports", ""]
    lines += ["Printed from codes.py by `python -m dm_isaac_g1.data.validate.codes`. `--json` has the same codes.", ""]
    for heading, rows in TABLE.items():
        lines += [f"## {heading}", "", "| code | | means | repaired by |", "| --- | --- | --- | --- |"]
        for code, row in rows.items():
            fix = (row.fix or "").replace("{path}", "PATH").replace("{others}", "ALL_OTHERS")
            command = f"`{fix}`" if fix.startswith("dm-g1") else fix
            lines.append(f"| {code} | {row.severity} | {row.says.replace('|', '/')} | {command} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
