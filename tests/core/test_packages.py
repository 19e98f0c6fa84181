"""Versions of installed packages: kept with results, shown where they differ, and counted where they are named."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from reflow.authoring.code.packages import difference, listed, versions

SCRIPT = """
import fictive

@wf.job()
def task() -> int:
    note("task")
    return fictive.N

@wf.job()
def other() -> int:
    note("other")
    return 1
"""


@pytest.fixture
def fictive(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("fictive")
    vars(module).update(__version__="1.26.4", N=1)
    monkeypatch.setitem(sys.modules, "fictive", module)
    return module


def test_versions() -> None:
    found = versions(["msgspec", "no-such-package", "numpy"])
    assert found["msgspec"][0].isdigit()
    assert found["no-such-package"] == "none"
    assert "no-such-package" not in listed(found)
    assert difference("a 1, b 2, c 3", "a 1, b 4, d 5") == "b 2, now 4"
    assert difference("", "a 1") == difference("a 1", "a 1") == ""


def test_explain_shows_versions_that_differ(lab: Any, fictive: ModuleType) -> None:
    lab.write(SCRIPT)
    lab.good()
    assert "with" not in lab.why(lab.good(), "task")[None][1]
    vars(fictive)["__version__"] = "2.1.0"
    run = lab.good()
    decision, reason = lab.why(run, "task")[None]
    assert decision == "hit"
    assert reason.endswith(", with fictive 1.26.4, now 2.1.0")
    assert lab.ran() == ["other", "task"]


def test_versions_that_are_named_count(lab: Any, fictive: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_CACHE_PACKAGES", "fictive")
    lab.write(SCRIPT)
    lab.good()
    lab.good()
    assert len(lab.ran()) == 2
    vars(fictive)["__version__"] = "2.1.0"
    assert lab.why(lab.good(), "task") == {None: ("miss", "computed with fictive 1.26.4, now 2.1.0")}
