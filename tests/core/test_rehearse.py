"""What a run would do is shown, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from reflow.errors import UsageError
from reflow.model.definition import Entry
from reflow.worker.load import load_flow
from reflow.workflow import Workflow

SCRIPT = """
from typing import Annotated
import reflow

wf = reflow.Workflow("rehearsed")

@wf.job(env={"TOKEN": "s3cret"})
def numbers(n: Annotated[int, reflow.Param()]) -> list[int]:
    return list(range(n))

@wf.array_job(mem="2G", array_parallelism=3)
def double(x: Annotated[int, reflow.Result(step="numbers")]) -> int:
    return 2 * x
"""


@pytest.fixture
def wf(tmp_path: Path) -> Workflow:
    script = tmp_path / "rehearsed.py"
    script.write_text(SCRIPT)
    flow = load_flow(Entry(file=str(script), module="rehearsed", variable="wf", path=(str(tmp_path),)))
    assert isinstance(flow, Workflow)
    return flow


def test_local(wf: Workflow, tmp_path: Path) -> None:
    steps = wf.dry_run(tmp_path / "run", executor="local", store_path=tmp_path / "store", n=3)
    assert [(step["task"], step["array"], step["after"]) for step in steps] == [
        ("numbers", False, []),
        ("double", True, ["numbers"]),
    ]
    assert all(step["note"] and "script" not in step for step in steps)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "store").exists()


def test_a_scheduler_that_is_not_here(wf: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("reflow_slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    numbers, double = wf.dry_run(tmp_path / "run", executor="slurm", store_path=tmp_path / "store", n=3)
    assert numbers["command"].startswith("sbatch --parsable ")
    assert "-m reflow.worker" in numbers["script"]
    assert "s3cret" not in numbers["script"]
    assert "#SBATCH --mem=2097152K" in double["script"]
    assert "--array=0-0%3" in double["script"]
    assert not (tmp_path / "run").exists()


def test_mistakes_are_told_as_by_submit(wf: Workflow, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a value is missing for n"):
        wf.dry_run(tmp_path / "run", executor="local", store_path=tmp_path / "store")
    with pytest.raises(UsageError, match="no task 'dobule'"):
        wf.dry_run(tmp_path / "run", executor="local", store_path=tmp_path / "store", force_tasks=["dobule"], n=1)
