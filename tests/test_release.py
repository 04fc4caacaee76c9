"""What a release says of itself is true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from ragatouille_xm import __version__

ROOT = Path(__file__).parents[1]
if not (ROOT / "CITATION.cff").exists():
    pytest.skip("the root is not here", allow_module_level=True)
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}  # of Keep a Changelog


def test_the_citation_names_this_version() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert found["version"] == __version__
    assert {"cff-version", "message", "title", "authors"} <= set(found)


def test_the_changelog_has_versions_and_kinds_of_change() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= KINDS


def test_what_is_built_is_typed() -> None:
    assert (ROOT / "ragatouille_xm" / "py.typed").exists()
    assert len(list((ROOT / "integrations").glob("l*/**/py.typed"))) == 2


def test_what_is_derived_from_e5_carries_its_licence() -> None:
    demo = ROOT / "integrations" / "demo"
    project = tomllib.loads((demo / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
    notice = (demo / "LICENSE").read_text(encoding="utf-8")
    assert notice.startswith("The MIT License (MIT)\n\nCopyright (c) Microsoft Corporation\n")
    assert "The above copyright notice and this permission notice shall be included in all\ncopies" in notice
