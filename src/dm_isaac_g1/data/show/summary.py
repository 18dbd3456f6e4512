"""What is in a dataset as rows for people: a label, some lines, and a joint's range as a gauge. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from dm_isaac_g1.core.units import duration, many, size
from dm_isaac_g1.data.show import groups
from dm_isaac_g1.data.show.groups import Value
from dm_isaac_g1.data.show.ink import Line
from dm_isaac_g1.data.show.plot import bars

_IMAGES = "observation.images."


class Row(msgspec.Struct, frozen=True):
    """A line of the summary; no label: it goes on from the one before."""

    label: str
    line: Line


class Range(msgspec.Struct, frozen=True):
    """What a joint was seen to do: (least, most) of its state and its action. `limits`: its own, where it is known."""

    part: str
    label: str
    state: tuple[float, float] | None
    action: tuple[float, float] | None
    limits: tuple[float, float] | None

    @property
    def beyond(self) -> bool:
        """Whether a value passes the joint's limits by more than encoders and float32 do."""
        return self.limits is not None and any(
            each is not None and (each[0] < self.limits[0] - 1e-3 or each[1] > self.limits[1] + 1e-3)
            for each in (self.state, self.action)
        )


def heading(data: Mapping[str, Any]) -> Line:
    """Name, and what kind of dataset it is."""
    kind = data["family"] if data["family"] != "unknown" else "no known family"
    about = [f"LeRobot v{data['version']}", kind, *([data["robot"]] if data.get("robot") else [])]
    return [(data["name"], "title"), (f"   {' · '.join(about)}", "faint")]


def rows(data: Mapping[str, Any], now: float | None = None) -> list[Row]:
    """Everything but the joint ranges, in the order in which people ask."""
    now = time.time() if now is None else now
    found: list[Row] = []
    for label, lines in _facts(data, now):
        found += [Row(label if number == 0 else "", line) for number, line in enumerate(lines)]
    return found


def _facts(data: Mapping[str, Any], now: float) -> Iterator[tuple[str, list[Line]]]:
    yield "holds", [_holds(data)]
    if data.get("lengths"):
        yield "lengths", [_lengths(data["lengths"], data["fps"])]
    tasks = data["tasks"]
    if tasks:
        yield "task" if len(tasks) == 1 else "tasks", [_task(each, len(tasks)) for each in tasks]
    if data["cameras"]:
        yield "cameras", [_camera(each) for each in data["cameras"]]
    if data["columns"]:
        named = [f"{each['column']} {each['width']}" for each in data["columns"]]
        yield "columns", [[(f"{'   ' if number else ''}{text}", "plain") for number, text in enumerate(named)]]
    yield "from", [_source(data.get("source"), now)]
    if data["conversion"]:
        yield "made by", [[(text, "plain")] for text in data["conversion"]]
    yield "reads", [_reads(data)]
    yield "checked", [_checked(data, now)]
    if data["problems"]:
        yield "problems", [[(text, "bad")] for text in data["problems"]]


def _holds(data: Mapping[str, Any]) -> Line:
    episodes, frames = data["episodes"], data["frames"]
    text = "" if episodes is None else many(episodes, "episode")
    if frames is not None:
        text += f", {frames:,} frames, {duration(frames / data['fps'])} at {data['fps']:g} fps"
    return [(text, "plain"), (f"   {size(data['bytes'])} in {data['files']:,} files", "faint")]


def _lengths(lengths: Mapping[str, Any], fps: float) -> Line:
    least, median, most = (f"{lengths[word] / fps:.1f}" for word in ("least", "median", "most"))
    if lengths["least"] == lengths["most"]:
        return [(f"{least} s each", "plain")]
    return [
        (f"{least} s ", "plain"),
        (bars(lengths["bars"]), "state"),
        (f" {most} s", "plain"),
        (f"   median {median} s", "faint"),
    ]


def _task(task: Mapping[str, Any], tasks: int) -> Line:
    count = task.get("episodes")
    told = f"   {many(count, 'episode')}" if count is not None and tasks > 1 else ""
    return [(task["task"], "plain"), (told, "faint")]


def _camera(camera: Mapping[str, Any]) -> Line:
    wide, high = camera["width"], camera["height"]
    words = [f"{wide}x{high}" if wide and high else "", camera["codec"] or ""]
    words.append(f"{camera['fps']:g} fps" if camera["fps"] else "")
    return [(camera["key"].removeprefix(_IMAGES), "plain"), ("   " + "  ".join(filter(None, words)), "faint")]


def _source(source: Mapping[str, Any] | None, now: float) -> Line:
    if not source or not isinstance(source.get("repo"), str):
        return [("not recorded", "faint")]
    line: Line = [(source["repo"], "plain")]
    told = [f"at {source['revision'][:12]}"] if isinstance(source.get("revision"), str) else []
    if isinstance(source.get("at"), int | float):
        told.append(f"{duration(max(0.0, now - source['at']))} ago")
    if source.get("meta_only"):
        told.append("meta files only")
    elif source.get("subset"):
        told.append(f"only {source['subset']}")
    return [*line, ("   " + ", ".join(told), "faint")]


def _reads(data: Mapping[str, Any]) -> Line:
    """What GR00T wants beside the data."""
    line: Line = []
    for there, what in ((data["modality"], "modality.json"), (data["stats"], "stats.json")):
        line += [(("✓ " if there else "– ") + what, "good" if there else "faint"), ("   ", "plain")]
    if not data["stats"]:
        line.append((_command("stats", data), "faint"))
    return line


def _command(verb: str, data: Mapping[str, Any]) -> str:
    """The command as it is typed here, wherever the dataset lies."""
    on = f" --on {data['host']}" if data.get("host") else ""
    return f"dm-g1 data {verb} --path {data['path']}{on}"


def _checked(data: Mapping[str, Any], now: float) -> Line:
    command = _command("validate", data)
    if data["validity"] == "unknown":
        since = "not since it changed" if data.get("validated") else "not yet"
        return [(since, "warn"), (f"   {command}", "faint")]
    counts = [many(data[word], word[:-1]) for word in ("errors", "warnings") if data.get(word)]
    if data.get("validated"):
        how = "every row" if data["deep"] else "structure"
        counts.append(f"{how}, {duration(max(0.0, now - data['validated']))} ago")
    good = data["validity"] == "valid"
    return [
        ("✓ valid" if good else f"✗ {data['validity']}", "good" if good else "bad"),
        ("   " + ", ".join(counts), "faint"),
        *([] if good else [(f"   {command}", "faint")]),  # type: ignore[list-item]
    ]


# --- Joint ranges -----------------------------------------------------------------------------------------------------


def ranges(data: Mapping[str, Any]) -> list[Range]:
    """One row a joint, its state beside its action, part by part of the robot."""
    seen: dict[tuple[str, int], Mapping[str, Any]] = {}
    every: list[Value] = []
    for column in dict.fromkeys(each["column"] for each in data["ranges"]):
        its = [each for each in data["ranges"] if each["column"] == column]
        every += groups.values(column, [each["name"] for each in its])
        seen |= {(column, index): each for index, each in enumerate(its)}
    found = []
    for part, keys in groups.by_part(every).items():
        for values in keys.values():
            of = {value.action: seen[value.column, value.index] for value in reversed(values)}
            pair = {action: (each["low"], each["high"]) for action, each in of.items()}
            limits = next((tuple(each["limits"]) for each in of.values() if each.get("limits")), None)
            found.append(Range(part, values[0].label, pair.get(False), pair.get(True), limits))
    return found
