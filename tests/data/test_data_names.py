"""What scripts import from `dm_isaac_g1.data`: there, callable, and cheap until it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dm_isaac_g1.data as data

HEAVY = ("numpy", "pyarrow", "av", "huggingface_hub")


def said(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("name", data.__all__)
def test_every_public_name_is_there_and_can_be_called(name: str) -> None:
    assert callable(getattr(data, name))


def test_the_package_costs_nothing_until_something_of_it_is_used() -> None:
    assert said(f"import sys, dm_isaac_g1.data; print([m for m in {HEAVY} if m in sys.modules])") == "[]\n"


@pytest.mark.parametrize("before", ["", "import dm_isaac_g1.data.split"])
def test_a_function_is_one_whoever_imported_the_module_of_its_name_before(before: str, tmp_path: Path) -> None:
    code = f"""
{before}
from dm_isaac_g1.data import split
try:
    split({str(tmp_path / "no")!r}, {str(tmp_path / "out")!r})
except Exception as error:
    print(type(error).__name__)
"""
    assert said(code) == "IntegrityError\n"


def test_other_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'delete'"):
        data.delete  # noqa: B018
