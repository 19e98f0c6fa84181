"""Code that changes after submit: pending jobs run the frozen script; a helper beside it that changes is reported."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reflow.model.definition import Entry
from reflow.run.chain import advance
from reflow.run.helpers import helpers_of

from .scheduled import cluster, finish

FLOW = """
import {helper}

@wf.job()
def first() -> int:
    return 1

@wf.job()
def second(x: Annotated[int, Result(step="first")]) -> int:
    note("second", "as submitted", {helper}.VALUE)
    return x
"""


@pytest.fixture
def helper(lab: Any) -> Iterator[Path]:
    path = lab.path / f"helper_of_{lab.module}.py"
    path.write_text("VALUE = 1\n")
    yield path
    sys.modules.pop(path.stem, None)


def test_pending_jobs_run_the_frozen_script_and_changed_helpers_are_told(lab: Any, helper: Path) -> None:
    lab.write(FLOW.format(helper=helper.stem))
    site = cluster()
    site.held = True
    run = lab.flow.submit(lab.run_dir, executor=site)
    assert run.status()["run"]["helpers_changed"] == []
    assert list(run.definition.helpers) == [str(helper)]
    site.held = False
    site.advance(60.0)
    site.held = True
    text = lab.file.read_text()
    lab.file.write_text(text.replace("as submitted", "edited"))
    helper.write_text("VALUE = 20\n")
    os.utime(helper, (time.time() + 10, time.time() + 10))  # no stale byte code is taken for it
    assert run.status()["run"]["helpers_changed"] == [str(helper)]
    told: list[str] = []
    advance(run.root, site, chain=False, on_progress=lambda progress: told.append(progress.message))
    assert len([message for message in told if message.startswith(f"{helper} has changed")]) == 1
    finish(run, site)
    assert lab.ran() == ["second as submitted 20"]
    assert run.status()["run"]["helpers_changed"] == [], "it has ended: nothing will use it any more"


def test_a_helper_that_was_only_touched_has_not_changed(lab: Any, helper: Path) -> None:
    lab.write(FLOW.format(helper=helper.stem))
    site = cluster()
    site.held = True
    run = lab.flow.submit(lab.run_dir, executor=site)
    os.utime(helper)
    assert run.status()["run"]["helpers_changed"] == []
    helper.unlink()
    assert run.status()["run"]["helpers_changed"] == [str(helper)]


def test_retry_begins_anew_where_it_freezes_code(lab: Any, helper: Path) -> None:
    lab.write(FLOW.format(helper=helper.stem))
    lab.edit('note("second"', 'assert flag("fixed"); note("second"')
    run = lab.run()
    helper.write_text("VALUE = 3\n")
    lab.touch("fixed")
    lab.edit("as submitted", "again")
    told: list[str] = []
    run.retry(on_progress=lambda progress: told.append(progress.message))
    assert run.state.value == "SUCCESS"
    assert not any("has changed" in message for message in told)


def test_what_is_installed_is_no_helper(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = lab.path / "own.py"
    installed = lab.path / "venv" / "lib" / "other.py"
    packaged = lab.path / "env" / "site-packages" / "third.py"
    for path in (own, installed, packaged):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        module = ModuleType(f"{lab.module}_{path.stem}")
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys, "prefix", str(lab.path / "venv"))
    entry = Entry(file=str(lab.file), module=lab.module, variable="wf", path=(str(lab.path),))
    assert list(helpers_of(entry)) == [str(own)]
    assert helpers_of(Entry()) == {}
