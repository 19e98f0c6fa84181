"""A user's script passes a strict type check as it stands: README, example, and what else people write."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
from pathlib import Path
from typing import Annotated

from reflow import LSFExecutor, Param, PBSExecutor, Result, Run, RunDir, SlurmExecutor, Workflow

wf = Workflow("typed")


@wf.job()
def parts(run_dir: RunDir, count: Annotated[int, Param(short="c")] = 3) -> list[Path]:
    return [run_dir / f"part-{index}" for index in range(count)]


@wf.array_job(cpus=2, queue="fast", retries=2)
def size(part: Annotated[Path, Result(step="parts")], run_dir: Path = RunDir()) -> int:
    return len((run_dir / part).read_bytes())


files: list[Path] = parts(Path("here"), count=2)
run: Run = wf.submit("runs", executor=SlurmExecutor(sbatch="/opt/slurm/bin/sbatch"), wait=True, count=2)
run = wf.submit("runs", executor=PBSExecutor(qsub="/opt/pbs/bin/qsub", array_flag="-t"))
cluster: LSFExecutor = LSFExecutor(bsub="/opt/lsf/bin/bsub")
state: str = run.state.value
"""
WRONG = """
from reflow import RunDir

def task(run_dir: RunDir) -> int:
    return run_dir / "x"
"""


@pytest.mark.slow
def test_users_scripts_pass_a_strict_type_check(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    readme = re.search(r"```python\n# pipeline\.py\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert readme
    (tmp_path / "readme.py").write_text(readme[1])
    (tmp_path / "typed.py").write_text(SCRIPT)
    (tmp_path / "wrong.py").write_text(WRONG)
    how = ["--strict", "--python-version", "3.10", f"--cache-dir={tmp_path}/cache", "--follow-imports=silent"]
    files = ["readme.py", "typed.py", "wrong.py", str(ROOT / "examples" / "etl.py")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *how, *files],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": ":".join(map(str, sorted(ROOT.glob("reflow-*/src"))))},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = done.stdout.splitlines()
    assert [line.partition(" error:")[0] for line in said if "error:" in line] == ["wrong.py:5:"], done.stdout
