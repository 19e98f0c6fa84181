"""Six distributions in lockstep: one version, one licence, entry points that are there."""

from __future__ import annotations

import re
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest

import reflow

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
SCHEDULERS = ("slurm", "pbs", "lsf", "sge", "flux")
DISTRIBUTIONS = ("reflow-core", *(f"reflow-{name}" for name in SCHEDULERS))
MINOR = ".".join(reflow.__version__.split(".")[:2])


def project(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_version_stands_in_one_place(name: str) -> None:
    settings = project(name)
    assert settings["project"]["dynamic"] == ["version"]
    source = ROOT / name / settings["tool"]["hatch"]["version"]["path"]
    assert source.resolve() == ROOT / "reflow-core" / "src" / "reflow" / "__init__.py"
    assert metadata.version(name) == reflow.__version__


def test_extras_name_every_scheduler_of_this_version() -> None:
    extras = project("reflow-core")["project"]["optional-dependencies"]
    assert set(extras) == {*SCHEDULERS, "all", "dev"}
    assert extras["all"] == [f"reflow-core[{','.join(SCHEDULERS)}]"]
    for name in SCHEDULERS:
        assert extras[name] == [f"reflow-{name}=={MINOR}.*"]
        assert project(f"reflow-{name}")["project"]["dependencies"] == [f"reflow-core=={MINOR}.*"]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_licence_and_types_travel_along(name: str) -> None:
    assert (ROOT / name / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    settings = project(name)
    assert settings["project"]["license"] == "MIT"
    assert settings["project"]["license-files"] == ["LICENSE"]
    (package,) = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert (ROOT / name / package / "py.typed").is_file()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_pythons_that_are_named_are_those_that_are_tested(name: str) -> None:
    tested = re.search(r"^PYTHONS = \((.*)\)$", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.M)
    assert tested
    named = [line.rpartition(" ")[2] for line in project(name)["project"]["classifiers"] if ":: 3." in line]
    assert named == re.findall(r"[\d.]+", tested[1])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_plugins_are_entry_points(name: str) -> None:
    (entry,) = [e for e in metadata.distribution(f"reflow-{name}").entry_points if e.group == "reflow.plugins"]
    assert (entry.name, entry.value) == (name, f"reflow_{name}")
    assert import_module(entry.value).__doc__


def test_typer_is_pinned_below_pydantic() -> None:
    (pin,) = [line for line in project("reflow-core")["project"]["dependencies"] if line.startswith("typer")]
    assert re.fullmatch(r"typer>=[\d.]+,<[\d.]+", pin)
    assert not [line for line in metadata.requires("typer") or () if line.startswith("pydantic")]


def test_changelog_knows_the_version() -> None:
    assert f"## {reflow.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
