"""``--dry-run`` shows what would be done, and does nothing."""

from __future__ import annotations

import json
import os
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

    def call(*words: str, flag: bool = True, command: str = "submit", **env: str) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            [sys.executable, "pipeline.py", command, *(["--dry-run"] if flag else []), "--run-dir", "run", *words],
            cwd=tmp_path,
            env={**os.environ, "PATH": "/nowhere", **env},
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
    assert [step["task"] for step in steps] == ["make", "work", "wake-up"]
    assert "--dependency=afterany:JOB_ID" in steps[2]["script"]


def test_here(dry: Any) -> None:
    found = dry("--executor", "local")
    assert found.returncode == 0, found.stderr
    assert "# make" in found.stdout
    assert "$ " not in found.stdout


def test_what_is_wrong_is_said_all_the_same(dry: Any) -> None:
    found = dry("--executor", "slurm", "--count", "x")
    assert found.returncode == 2
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("name", "program", "directive"),
    [
        ("slurm", "sbatch", "#SBATCH --job-name="),
        ("pbs", "qsub", "#PBS -N "),
        ("torque", "qsub", "#PBS -N "),
        ("lsf", "bsub", "#BSUB -J "),
        ("sge", "qsub", "#$ -N "),
        ("flux", "flux", "# submitted by: flux submit"),
    ],
)
def test_every_scheduler_and_nothing_of_it_is_here(dry: Any, name: str, program: str, directive: str) -> None:
    steps = json.loads(dry("--executor", name, "--json").stdout)
    assert [step["task"] for step in steps] == ["make", "work", "wake-up"]
    assert [step["command"].split()[0] for step in steps] == [program] * 3
    assert directive in steps[0]["script"]
    assert "JOB_ID" in steps[2]["script"] + steps[2]["command"]
    if name == "lsf":  # its scripts are read from stdin
        assert all(" < /" in step["command"] for step in steps)


def test_as_a_mode(dry: Any, tmp_path: Path) -> None:
    found = dry("--executor", "dry-run", flag=False)
    assert found.returncode == 0, found.stderr
    assert "#SBATCH" in found.stdout  # nothing named, configured or found: Slurm's
    assert "#PBS" in dry("--executor", "dry-run", flag=False, REFLOW_EXECUTOR="pbs").stdout
    assert "#BSUB" in dry("--executor", "lsf", flag=False, REFLOW_MODE="dry-run").stdout
    assert "#SBATCH" in dry(flag=False, command="run", REFLOW_MODE="dry-run").stdout
    (tmp_path / "reflow.toml").write_text('[executor]\nmode = "dry-run"\n')
    assert "#$ -N" in dry("--executor", "sge", flag=False).stdout
    assert "#BSUB" in dry(flag=False, REFLOW_EXECUTOR="lsf").stdout
    assert "'dry-run'" in dry("--executor", "dryrun", flag=False, REFLOW_DRY_RUN="false").stderr


def test_what_a_scheduler_cannot_do_is_refused_for_all_tasks_at_once(dry: Any, tmp_path: Path) -> None:
    for flag in (True, False):
        found = dry("--executor", "pbs", "--set", "make.qos=long", "--set", "work.gress=tmp", flag=flag)
        assert found.returncode == 2
        assert found.stdout == ""
        assert f"{tmp_path}/pipeline.py:6: task 'make': PBS has no 'qos'" in found.stderr
        assert "task 'work': PBS has no option 'gress'" in found.stderr
    found = dry("--executor", "lsf", REFLOW_DISPATCH_SUBMIT_OPTIONS="nice=5")
    assert found.stderr.startswith("error: wake-ups, by [dispatch] and [executor.submit_options]: LSF has no 'nice'")


def test_what_is_odd_in_the_configuration_is_said(dry: Any) -> None:
    told = "warning: REFLOW_QEUE sets nothing. Did you mean 'REFLOW_QUEUE'?"
    assert told in dry("--executor", "local", REFLOW_QEUE="fast").stderr
