"""A run whose driver was killed says so, is not waited for in vain, and is driven on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reflow.errors import NotReady, Stalled
from reflow.model.names import RunState
from reflow.run.service.api import Run

SCRIPT = """
import os, signal, sys
import reflow

wf = reflow.Workflow("stalled")

@wf.job()
def kills_the_driver(mark: str = {mark!r}) -> int:
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getppid(), signal.SIGKILL)
    return 1

if __name__ == "__main__":
    wf.run_local({run!r}, max_workers=1, store_path={store!r})
"""


def test_a_killed_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "stalled.py"
    names = {name: str(tmp_path / name) for name in ("mark", "run", "store")}
    script.write_text(SCRIPT.format(**names))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    run = Run.open(names["run"])
    assert run.status()["run"]["status"] == "STALLED"
    with pytest.raises(Stalled, match=f"reflow drive {run.run_id}"):
        run.wait(interval=0.01)
    monkeypatch.setattr("reflow.run.views.events._LOOK", 0.0)
    with pytest.raises(Stalled, match=f"reflow drive {run.run_id}"):
        list(run.events(follow=True))
    assert run.drive() is RunState.SUCCESS
    assert run.wait() is RunState.SUCCESS
    assert run.result("kills_the_driver") == 1


BRANCHES = """
import os, signal
import reflow

wf = reflow.Workflow("branches")

@wf.job()
def kills_the_driver(mark: str = {mark!r}) -> int:
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getppid(), signal.SIGKILL)
    return 1

@wf.job(after=["kills_the_driver"])
def one() -> int:
    return 1

@wf.job(after=["kills_the_driver"])
def other() -> int:
    open({mark!r} + ".other", "w").close()
    return 2

if __name__ == "__main__":
    wf.run_local({run!r}, max_workers=1, store_path={store!r})
"""


def test_who_cancels_a_task_of_it_does_not_run_the_rest(tmp_path: Path) -> None:
    script = tmp_path / "branches.py"
    names = {name: str(tmp_path / name) for name in ("mark", "run", "store")}
    script.write_text(BRANCHES.format(**names))
    subprocess.run([sys.executable, str(script)], capture_output=True, timeout=60, check=False)
    run = Run.open(names["run"])
    assert run.cancel("one")["said"].startswith("cancelled")
    assert run.status()["run"]["status"] == "STALLED"
    assert run.status()["summary"]["one"]["CANCELLED"] == 1
    assert not (tmp_path / "mark.other").exists()
    assert run.drive() is RunState.CANCELLED
    assert (tmp_path / "mark.other").exists()
    assert run.result("other") == 2


def test_cancelling_all_of_it_ends_it(tmp_path: Path) -> None:
    script = tmp_path / "branches.py"
    names = {name: str(tmp_path / name) for name in ("mark", "run", "store")}
    script.write_text(BRANCHES.format(**names))
    subprocess.run([sys.executable, str(script)], capture_output=True, timeout=60, check=False)
    run = Run.open(names["run"])
    run.cancel()
    assert run.state is RunState.CANCELLED
    assert not (tmp_path / "mark.other").exists()
    with pytest.raises(NotReady):
        run.result("other")
