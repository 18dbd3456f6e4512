"""The plan of a conversion: for every value of the target vectors where it comes from. Pure, frozen, picklable.

Nothing is ever filled in silently. A value comes from the source by its name; or from a hand by a map; or, for legs and
waist that a source of arms has no record of, it is a constant of a pose with a name, told as a warning and written down
in meta/conversion.json. What is lacking otherwise is an error that says what.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.hands import SIDES, Side
from dm_isaac_g1.core.robot import ACTION_23, INSPIRE_53, STATE_31, Layout
from dm_isaac_g1.data.convert.cameras import cameras_for
from dm_isaac_g1.data.convert.handmaps import HandOptions
from dm_isaac_g1.data.convert.layouts import BASE, COMMAND, POSES, Offer, Offers, hand_names, offers, said
from dm_isaac_g1.data.convert.plans import ConversionPlan, Format, Job, Options, Piece, Target
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import missing_numbers
from dm_isaac_g1.data.families import Hand, nearest_family
from dm_isaac_g1.data.info import ACTION, DEFAULT_COLUMNS, DEFAULT_FEATURES, STATE
from dm_isaac_g1.data.output import fingerprint
from dm_isaac_g1.data.problems import Finding, IntegrityError, Place, SchemaError

_LOWER = ("left_leg", "right_leg", "waist")
_WAIST = (
    "the waist's action is the torso command (yaw, pitch, roll) by name: Unitree does not say whether it means the "
    "joints or the torso's attitude"
)


def plan(dataset: Dataset, format: Format, **options: Any) -> ConversionPlan:
    """The plan for a dataset; `options` as `engine.convert` has them. Reads meta files only.

    Raises SchemaError (what is lacking, and the nearest family), IntegrityError (episodes are missing), UsageError.
    """
    if unknown := sorted(set(options) - set(Options.__struct_fields__)):
        raise UsageError(f"no option {unknown[0]}", fix=f"there are {', '.join(Options.__struct_fields__)}")
    try:
        chosen = msgspec.convert(options, Options)
    except msgspec.ValidationError as error:
        raise UsageError(str(error)) from None
    return _Planner(dataset, format, chosen).plan()


class _Planner:
    def __init__(self, dataset: Dataset, format: Format, options: Options) -> None:
        self.dataset, self.format, self.options = dataset, format, options
        self.findings: list[Finding] = []
        if options.body not in POSES:
            raise UsageError(f"no pose {options.body!r}", fix=f"one of {', '.join(POSES)}")
        self.hand = self._hand()

    def plan(self) -> ConversionPlan:
        dataset, options = self.dataset, self.options
        cameras = self._cameras()
        targets = tuple(self._targets())
        jobs, dropped = self._jobs()
        read = {piece.column for target in targets for piece in target.pieces}
        left_out = tuple(c for c in dataset.info.columns if c not in read and c not in DEFAULT_COLUMNS)
        features = {t.column: _feature(t) for t in targets} | {
            camera: {key: value for key, value in dataset.info.features[source].raw.items() if key != "fps"}
            for camera, source in cameras.items()
        }
        return ConversionPlan(
            root=dataset.root.resolve(),
            fingerprint=fingerprint(dataset.root),
            format=self.format,
            hand=self.hand,
            hands=HandOptions(
                grasp=options.grasp,
                gripper_open=options.gripper_open,
                gripper_closed=options.gripper_closed,
                free_fingers=options.free_fingers,
            ),
            targets=targets,
            features={**features, **{name: DEFAULT_FEATURES[name] for name in DEFAULT_COLUMNS}},
            cameras=cameras,
            jobs=jobs,
            tasks=dict(dataset.tasks),
            retime=options.retime,
            renumber=options.renumber,
            findings=tuple(self.findings),
            left_out=left_out,
            dropped=dropped,
            parameters=msgspec.to_builtins(options),
        )

    # --- Hands --------------------------------------------------------------------------------------------------------

    def _hand(self) -> Hand:
        """What the hands are: as the names tell, or as the user says where they do not. Raises SchemaError."""
        family, wanted = self.dataset.family, self.options.hand
        if family.name == "so101":
            raise self._wrong("not-a-g1", "is of an SO-101 arm, not of a G1")
        if family.hand is not None:
            if wanted is not None and wanted != family.hand and {wanted, family.hand} != {"dex3", "trifinger"}:
                raise self._wrong("other-hand", f"has {family.hand} hands by the names of its values, not {wanted}")
            return family.hand
        if wanted is None:
            near, missing = nearest_family(self.dataset.info.features)
            nearest = f"; nearest is {near}, which also has {'; '.join(missing[:4])}" if missing else ""
            fix = "say --hand, or `dm-g1 data show` for what it has"
            raise self._wrong("unknown-hand", f"its columns are of no known family{nearest}", fix)
        return wanted

    # --- Columns ------------------------------------------------------------------------------------------------------

    def _targets(self) -> Iterator[Target]:
        state, action = offers(self.dataset.family.name, self.hand)
        if self.format == "groot":
            if self.hand != "gripper":
                what = f"has {self.hand} hands; the 31/23 layout has one gripper value a hand"
                raise self._wrong("other-hand", what, "`dm-g1 data convert --format inspire` keeps its fingers")
            yield self._target(STATE, STATE_31, state)
            yield self._target(ACTION, ACTION_23, action)
            return
        yield self._target(STATE, INSPIRE_53, state)
        # Legs and waist without a command: as they were observed at the same moment, and said so.
        yield self._target(ACTION, INSPIRE_53, action, {part: state[part] for part in _LOWER if part in state})
        if all(self._found(action.get(group)) for group in BASE):
            yield self._target(COMMAND, _BASE_LAYOUT, action)

    def _target(self, column: str, layout: Layout, offered: Offers, observed: Offers | None = None) -> Target:
        """`observed`: what a group may be taken from where `offered` has no such column at all."""
        pieces, lacking = [], []
        unrecorded: dict[str, list[str]] = {"constant": [], "observed": []}
        for group in layout.groups:
            side: Side | None = next((s for s in SIDES if group.name.startswith(s) and "hand" in group.name), None)
            offer = offered.get(group.name) or offered.get(f"{side}_hand") if side else offered.get(group.name)
            seen = (observed or {}).get(group.name)
            if seen is not None and self._found(offer) is None and not self._partly(offer) and self._found(seen):
                offer = seen
                unrecorded["observed"].append(group.name)
            if (found := self._found(offer)) is not None:
                source, names = found
                if side is None:
                    wanted = group.names if offer is None else tuple(offer.names[name] for name in group.names)
                else:
                    wanted = hand_names(self.hand, side)
                mapped = side is not None and self.format == "inspire"
                pieces.append(
                    Piece(
                        group=group.name,
                        start=group.start,
                        end=group.end,
                        column=source,
                        places=tuple(names[name] for name in wanted),
                        hand=self.hand if mapped else None,
                        side=side if mapped else None,
                        observed=offer is seen,
                    )
                )
            elif self.format == "inspire" and group.name in _LOWER and not self._partly(offer):
                pose = POSES[self.options.body]
                values = tuple(pose.get(name, 0.0) for name in group.names)
                pieces.append(Piece(group=group.name, start=group.start, end=group.end, constants=values))
                unrecorded["constant"].append(group.name)
            else:
                lacking.append(f"{group.name} ({self._why(offer)})")
        if lacking:
            near = f"dm-g1 knows it as {self.dataset.family.name}" if self.dataset.family.name != "unknown" else ""
            what = f"cannot fill {column} of {layout.width} values: it has no {', no '.join(lacking)}"
            fix = "`--format inspire` needs arms and hands only" if self.format == "groot" else "say --hand"
            raise self._wrong("cannot-fill", f"{what}; {near}" if near else what, fix)
        for how, groups in unrecorded.items():
            self._tell_unrecorded(column, how, groups)
        waist = offered.get("waist")
        if waist is not None and "torso_yaw" in waist.names.values() and self._found(waist):
            self._note("waist-command", _WAIST, column, severity="note")
        return Target(column, layout.names, tuple(pieces))

    def _tell_unrecorded(self, column: str, how: str, groups: list[str]) -> None:
        if not groups:
            return
        are = "is" if len(groups) == 1 else "are"
        told = {
            "constant": f"not recorded in the source: constants of the pose {self.options.body!r}",
            "observed": "not commanded in the source: taken as observed at the same moment",
        }[how]
        fix = "do not train these groups on it"
        self._note(how, f"{', '.join(groups)} of {column} {are} {told}", column, fix=fix)

    def _found(self, offer: Offer | None) -> tuple[str, dict[str, int]] | None:
        """The column of an offer and where in it each name stands; None where it, or a name, is not there."""
        if offer is None:
            return None
        feature = self.dataset.info.features.get(offer.column)
        if feature is None or not feature.is_numeric:
            return None
        meant, believed = said(offer.column, feature, self.hand if self.options.hand else None)
        places: dict[str, int] = {}
        for place, name in enumerate(meant):
            if name is None or name not in offer.names.values():
                continue
            if name in places:
                raise self._wrong("name-twice", f"column {offer.column} has {name} twice", joint=name)
            places[name] = place
        if not set(offer.names.values()) <= set(places):
            return None
        if believed:
            what = f"column {offer.column} has no names that tell what its values are: believed by their positions"
            self._note("positions-believed", what, offer.column)
        return offer.column, places

    def _partly(self, offer: Offer | None) -> bool:
        """Some of the group's names are there and some not: no case for a constant."""
        feature = self.dataset.info.features.get(offer.column) if offer is not None else None
        if offer is None or feature is None or not feature.is_numeric:
            return False
        return bool(set(said(offer.column, feature)[0]) & set(offer.names.values()))

    def _why(self, offer: Offer | None) -> str:
        if offer is None:
            return "such sets have none"
        feature = self.dataset.info.features.get(offer.column)
        if feature is None:
            return f"column {offer.column} is missing"
        there = set(said(offer.column, feature)[0])
        missing = [name for name in offer.names.values() if name not in there]
        return f"{offer.column} does not name {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"

    # --- Cameras, episodes --------------------------------------------------------------------------------------------

    def _cameras(self) -> dict[str, str]:
        there = self.dataset.cameras
        try:
            found = cameras_for(there, self.options.ego_camera, keep=self.options.keep_cameras)
        except SchemaError as problem:
            raise problem.within(self.dataset.root) from None
        if not found:
            self._note("no-camera", "the dataset has no camera: GR00T's UNITREE_G1 asks for ego_view", "ego_view")
        if left := [camera.rpartition(".")[2] for camera in there if camera not in found.values()]:
            what = f"left out: camera {', '.join(left)}"
            self._note("cameras-left-out", what, fix="--keep-cameras keeps them", severity="note")
        return found

    def _jobs(self) -> tuple[tuple[Job, ...], tuple[int, ...]]:
        episodes, drop = self.dataset.episodes, set(self.options.drop_episodes)
        if unknown := drop - {episode.index for episode in episodes}:
            raise UsageError(f"there is no episode {min(unknown)} to drop", where=str(self.dataset.root))
        gaps = missing_numbers(episodes)
        if gaps and not self.options.renumber:
            what = f"there is no episode {gaps[0]}, but later ones: readers go from 0 to the last"
            fix = "--renumber numbers them anew"
            raise IntegrityError("episode-gap", what, fix=fix, dataset=str(self.dataset.root))
        jobs: list[Job] = []
        start = 0
        for episode in episodes:
            if episode.index not in drop:
                jobs.append(Job(episode, len(jobs), start))
                start += episode.length
        if not jobs:
            raise UsageError("no episode is left", where=str(self.dataset.root))
        return tuple(jobs), tuple(sorted(drop))

    # --- Words --------------------------------------------------------------------------------------------------------

    def _note(
        self, code: str, what: str, joint: str | None = None, *, fix: str | None = None, severity: Any = "warning"
    ) -> None:
        finding = Finding(code=code, severity=severity, what=what, place=Place(joint=joint), fix=fix)
        if finding not in self.findings:
            self.findings.append(finding)

    def _wrong(self, code: str, what: str, fix: str | None = None, joint: str | None = None) -> SchemaError:
        return SchemaError(code, what, fix=fix, joint=joint, dataset=str(self.dataset.root))


#: What a base is commanded, as a column of its own.
_BASE_LAYOUT = Layout(
    "g1.command",
    tuple(
        msgspec.structs.replace(ACTION_23[name], start=ACTION_23[name].start - ACTION_23[BASE[0]].start)
        for name in BASE
    ),
)


def _feature(target: Target) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [len(target.names)], "names": list(target.names)}
