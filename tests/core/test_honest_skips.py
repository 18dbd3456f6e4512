"""A test that cannot run must say so on a laptop and fail in CI: the promise of tests/required.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dm_isaac_g1.core import paths

pytest_plugins = ["pytester"]

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite under our conftest on a machine without sshd."""
    nothing_installed = "\nshutil.which = lambda name: None\nos.access = lambda path, mode: False\n"
    pytester.makepyfile(required=(TESTS / "required.py").read_text() + nothing_installed)
    pytester.makeconftest((TESTS / "conftest.py").read_text())
    pytester.makepyfile(test_it="def test_it(sshd): assert sshd")
    for variable in ("DM_G1_REQUIRE_SSHD", "DM_G1_REQUIRE_DOCKERD"):
        monkeypatch.delenv(variable, raising=False)
    return pytester


def test_without_sshd_a_test_is_skipped_with_the_reason(suite: pytest.Pytester) -> None:
    result = suite.runpytest_subprocess("-rs", "-p", "no:cacheprovider")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*sshd is not installed (DM_G1_REQUIRE_SSHD makes this a failure)*"])


def test_where_sshd_is_required_the_skip_becomes_a_failure(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DM_G1_REQUIRE_SSHD", "1")
    result = suite.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*sshd is not installed, and DM_G1_REQUIRE_SSHD is set*"])


def test_no_test_sees_the_users_files_or_variables(own_home: Path) -> None:
    assert Path.home() == own_home
    assert own_home in paths.config_dir().parents
    assert own_home in paths.state_dir().parents
    assert Path.cwd().is_relative_to(own_home)
    assert not {"WORKSTATION_HOST", "HF_TOKEN", "SSH_AUTH_SOCK", "DM_G1_PROFILE"} & os.environ.keys()
