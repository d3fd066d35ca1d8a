"""The lock file fits pyproject.toml, and names nothing but versions and hashes."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.M)}


@pytest.mark.parametrize("wanted", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
def test_a_dependency_is_locked_within_its_bounds(wanted: str) -> None:
    requirement = Requirement(wanted)
    assert requirement.specifier.contains(LOCKED[canonicalize_name(requirement.name)])


def test_an_extra_for_users_has_the_bounds_that_are_tested() -> None:
    assert set(PROJECT["optional-dependencies"]["onnx"]) < set(PROJECT["optional-dependencies"]["dev"])


def test_the_build_backend_is_locked() -> None:
    assert "setuptools" in LOCKED  # make install builds without isolation


def test_every_entry_has_a_hash_and_none_names_a_place() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.M)[1:]
    assert len(entries) == len(LOCKED)
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"://|--(?:extra-)?index-url|--find-links|file:", LOCK) == []
