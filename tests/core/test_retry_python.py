"""`retry` goes on with today's interpreter, says so, and fails at once where that is gone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import UsageError

from .conftest import Sim

FLOW = """
@wf.job()
def only() -> str:
    if not flag("fixed"):
        raise ValueError("no")
    return os.environ["WHICH"]
"""


def interpreter(path: Path) -> str:
    """An environment's interpreter, as far as reflow can see."""
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nWHICH={path.parent.name} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_an_environment_that_moved(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    former = interpreter(lab.path / "env1" / "python")
    monkeypatch.setenv("REFLOW_PYTHON", former)
    lab.write(FLOW)
    run = lab.run("local", max_workers=1)
    lab.touch("fixed")
    (lab.path / "env1").rename(lab.path / "env2")
    events = sorted(Path(run.root, "events").rglob("*.log"))
    for act in (run.retry, run.drive):
        with pytest.raises(UsageError, match=f"the interpreter {former} is gone"):
            act()
    assert sorted(Path(run.root, "events").rglob("*.log")) == events, "nothing was begun"
    now = str(lab.path / "env2" / "python")
    Path(now).write_text(Path(now).read_text().replace("env1", "env2"))
    monkeypatch.setenv("REFLOW_PYTHON", now)
    told: list[str] = []
    run.retry(on_progress=lambda progress: told.append(progress.message))
    assert f"{now} runs the tasks from now on; until now {former} did" in told
    assert run.result("only") == "env2"
    assert run.drive().value == "SUCCESS"


def test_jobs_after_the_retry_use_it(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_PYTHON", interpreter(lab.path / "env1" / "python"))
    sim = Sim(monkeypatch, lab)
    sim.fate["only", 0, 1] = "no"
    run = sim.submit(FLOW)
    sim.end("FAILED")
    monkeypatch.delenv("REFLOW_PYTHON")
    submitted = len(sim.jobs)
    run.retry()
    sim.end()
    scripts = [Path(job.script).read_text() for job in sim.jobs[submitted:]]
    assert scripts
    assert all(sys.executable in script and "env1" not in script for script in scripts)


def test_another_name_of_the_interpreter_is_no_other_one(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    python = interpreter(lab.path / "env1" / "python")
    (lab.path / "env1" / "python3").symlink_to("python")
    monkeypatch.setattr(sys, "executable", python)
    lab.write(FLOW)
    run = lab.run("local", max_workers=1)
    lab.touch("fixed")
    monkeypatch.setattr(sys, "executable", str(lab.path / "env1" / "python3"))
    told: list[str] = []
    run.retry(on_progress=lambda progress: told.append(progress.message))
    assert run.result("only") == "env1"
    assert not any("from now on" in one for one in told)
