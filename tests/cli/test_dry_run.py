"""``--dry-run`` shows what would be done, and does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PIPELINE = """
from typing import Annotated
from reflow import Param, Result, Workflow
wf = Workflow("demo")

@wf.job(cpus=3)
def make(count: Annotated[int, Param()] = 2) -> list[int]:
    return list(range(count))

@wf.array_job()
def work(item: Annotated[int, Result(step="make")]) -> int:
    return item

if __name__ == "__main__":
    wf.cli()
"""


@pytest.fixture
def dry(tmp_path: Path) -> Any:
    (tmp_path / "pipeline.py").write_text(PIPELINE)

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            [sys.executable, "pipeline.py", "submit", "--dry-run", "--run-dir", "run", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not (tmp_path / "run").exists()
        return found

    return call


def test_a_scheduler_that_is_not_asked(dry: Any) -> None:
    found = dry("--executor", "slurm")
    assert found.returncode == 0, found.stderr
    assert "#SBATCH" in found.stdout
    assert "$ sbatch" in found.stdout or "/sbatch" in found.stdout
    assert found.stdout.index("# make") < found.stdout.index("# work, after make")
    assert "nothing is written or submitted" in found.stderr
    steps = json.loads(dry("--executor", "slurm", "--json").stdout)
    assert [step["task"] for step in steps] == ["make", "work"]


def test_here(dry: Any) -> None:
    found = dry("--executor", "local")
    assert found.returncode == 0, found.stderr
    assert "# make" in found.stdout
    assert "$ " not in found.stdout


def test_what_is_wrong_is_said_all_the_same(dry: Any) -> None:
    found = dry("--executor", "slurm", "--count", "x")
    assert found.returncode == 2
    assert found.stdout == ""
