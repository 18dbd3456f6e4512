"""A dataset converted: plan, episodes one after another, meta files, statistics, and then its name.

The work itself is `episode.convert_episode`; what is here keeps what is finished, tells how far it is and stops when it
is asked to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.data.convert import record
from dm_isaac_g1.data.convert.cameras import bytes_to_copy
from dm_isaac_g1.data.convert.episode import convert_episode
from dm_isaac_g1.data.convert.planning import options_of, plan
from dm_isaac_g1.data.convert.plans import ConversionPlan, ConversionResult, Made
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.output import Output
from dm_isaac_g1.data.problems import Finding
from dm_isaac_g1.data.work import Work

Format = Literal["groot", "inspire", "v3.0", "v2.1"]
FORMATS: tuple[Format, ...] = ("groot", "inspire", "v3.0", "v2.1")


def convert(
    dataset_path: Path | str,
    output: Path | str,
    *,
    format: Format,
    stats: bool = True,
    work: Work | None = None,
    **options: Any,
) -> ConversionResult:
    """Write the dataset in `dataset_path` as `format` into the folder `output`, which must not be there yet.

    `options`: those of `plans.Options` and `handmaps.HandOptions`; versions take none. `stats`: also stats.json and
    relative_stats.json. Raises DataProblem, UsageError, Interrupted; what is finished is kept, and the same call
    goes on with it.
    """
    work = work or Work()
    if format == "v3.0" or format == "v2.1":
        return _change_version(Path(dataset_path), Path(output), format, options, work)
    if format not in FORMATS:
        raise UsageError(f"no format {format!r}", fix=f"there are {', '.join(FORMATS)}")
    dataset = Dataset.open(dataset_path, work)
    made = plan(dataset, format, options_of(options))
    for finding in made.findings:
        work.note(finding)
    return _carry_out(made, dataset, Path(output), stats, work)


def _carry_out(plan: ConversionPlan, dataset: Dataset, final: Path, stats: bool, work: Work) -> ConversionResult:
    recipe = {
        "op": "convert",
        "format": plan.format,
        "source": plan.root,
        "fingerprint": plan.fingerprint,
        "parameters": plan.parameters,
    }
    cameras = [old for old, _ in plan.cameras]
    needs = plan.needs + bytes_to_copy(dataset, (target.source for target in plan.targets), cameras, final)
    what = f"{final.name} ({plan.mapping})"
    tally = record.Tally(plan)
    with Output(final, recipe, needs=needs, what=what, sources=[dataset.root], total=len(plan.targets)) as out:
        kept = out.kept
        made = _episodes(plan, out, tally, work)
        record.write_all(out.partial, plan, dataset, made, tally)
        findings = tally.findings()
        for finding in findings:
            work.note(finding)
        if stats:
            findings += _statistics(out.partial, work)
        path = out.finish()
    return ConversionResult(
        path=str(path),
        episodes=len(made),
        frames=plan.frames,
        kept=kept,
        clipped=tally.shares,
        findings=(*plan.findings, *dataset.findings, *findings),
    )


def _episodes(plan: ConversionPlan, out: Output, tally: record.Tally, work: Work) -> list[Made]:
    made: list[Made] = []
    total = len(plan.targets)
    for target in plan.targets:
        work.progress(f"episode {target.index}", target.index, total, "episodes")
        known = out.finished(target.index)
        if known is None:
            found = convert_episode(plan, target, out.partial)
            tally.add(found)
            out.mark(target.index, msgspec.to_builtins(found))
        else:
            found = msgspec.convert(known, Made)
            tally.add(found)
        made.append(found)
    work.progress("all episodes", total, total, "episodes")
    return made


def _statistics(root: Path, work: Work) -> list[Finding]:
    """stats.json and relative_stats.json. Raises DataProblem."""
    from dm_isaac_g1.data.stats.compute import compute_stats

    work.progress("statistics")
    return [finding for finding in compute_stats(root, work=work).findings if finding.severity != "note"]


def _change_version(
    source: Path, output: Path, format: Format, options: dict[str, Any], work: Work
) -> ConversionResult:
    from dm_isaac_g1.data.versions.v21 import to_v21
    from dm_isaac_g1.data.versions.v30 import to_v30

    given, usual = options_of(dict(options)), options_of({})
    changed = [name for name in given.__struct_fields__ if getattr(given, name) != getattr(usual, name)]
    if changed:
        what = f"a change of version takes no {changed[0].replace('_', '-')}: nothing but the layout of files changes"
        raise UsageError(what)
    made = (to_v30 if format == "v3.0" else to_v21)(source, output, work)
    return ConversionResult(
        path=str(made.path), episodes=made.episodes, frames=made.frames, kept=0, clipped={}, findings=made.findings
    )
