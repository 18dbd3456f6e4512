"""A schema is told by names: in any order, in any spelling, and never by the number of values alone."""

from __future__ import annotations

import json

import pytest
from sets import copy_of
from sets_families import FAMILIES

from dm_isaac_g1.data.families import FAMILIES as KNOWN
from dm_isaac_g1.data.families import family_named, family_of, nearest_family
from dm_isaac_g1.data.info import info_of, read_info

NAMES = {"groot": "groot-31-23"}
HANDS = {
    "hospitality": "gripper",
    "dex1": "gripper",
    "dex3": "dex3",
    "inspire26": "inspire26",
    "brainco26": "brainco26",
    "trifinger43": "trifinger",
    "wbt": "gripper",
    "so101": "gripper",
    "groot": "gripper",
    "inspire53": "inspire12",
}


def features(folder, family, change=lambda features: None):
    raw = json.loads((copy_of(folder, family) / "meta/info.json").read_text())
    change(raw["features"])
    return info_of(raw).features


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", ["2.1", "3.0"])
def test_every_family_is_recognised(tmp_path, family, version):
    found = family_of(read_info(copy_of(tmp_path, family, version=version)).features)
    assert (found.name, found.hand) == (NAMES.get(family, family), HANDS[family])
    assert found.combined == (family not in ("hospitality", "wbt"))


def test_all_known_families_are_in_the_fixtures():
    assert {family.name for family in KNOWN} == {NAMES.get(name, name) for name in FAMILIES}


def test_the_order_of_the_values_does_not_matter(tmp_path):
    def backwards(features):
        for column in ("observation.state", "action"):
            features[column]["names"] = features[column]["names"][0][::-1]

    assert family_of(features(tmp_path, "dex3", backwards)).name == "dex3"


@pytest.mark.parametrize("change", ["nameless", "one renamed", "one doubled", "no action"])
def test_what_does_not_have_the_names_is_unknown(tmp_path, change):
    def broken(features):
        names = features["observation.state"]["names"][0]
        if change == "nameless":
            features["observation.state"]["names"] = None
        elif change == "one renamed":
            names[3] = "kLeftSomething"
        elif change == "one doubled":
            names[3] = names[4]
        else:
            del features["action"]

    found = features(tmp_path, "inspire26", broken)
    assert family_of(found).name == "unknown"
    name, missing = nearest_family(found)
    assert name == "inspire26" and missing


def test_inspire_and_brainco_of_the_same_width_are_told_apart(tmp_path):
    found = {family_of(features(tmp_path / f, f)).name for f in ("inspire26", "brainco26")}
    assert found == {"inspire26", "brainco26"}


def test_the_nearest_family_says_which_joint_is_missing(tmp_path):
    def renamed(features):
        features["action"]["names"][0][3] = "kLeftSomething"

    assert nearest_family(features(tmp_path, "dex3", renamed)) == ("dex3", ("action with left_elbow_joint",))


def test_the_nearest_family_says_which_column_is_missing(tmp_path):
    found = features(tmp_path, "hospitality", lambda features: features.pop("action.body"))
    assert nearest_family(found) == ("hospitality", ("action.body",))


def test_nothing_is_near_to_something_else():
    raw = {
        "codebase_version": "v2.1",
        "fps": 10,
        "features": {"pixels": {"dtype": "float32", "shape": [3], "names": None}},
    }
    assert nearest_family(info_of(raw).features) == ("unknown", ())


def test_a_family_is_found_by_its_name():
    assert family_named("dex3").hand == "dex3" and family_named("unknown").hand is None
    with pytest.raises(KeyError):
        family_named("dex4")
