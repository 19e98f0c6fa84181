"""``script`` prints what was submitted last, for a task and for an element."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reflow.model.state import Flight

PIPELINE = """
from pathlib import Path
from typing import Annotated
from reflow import Param, Result, Workflow
wf = Workflow("demo")

@wf.job()
def make() -> list[int]:
    return [0, 1, 2]

@wf.array_job()
def work(item: Annotated[int, Result(step="make")], flag: Annotated[Path, Param()]) -> int:
    if item == 1 and not flag.exists():
        raise ValueError("no flag yet")
    return item

if __name__ == "__main__":
    wf.cli()
"""

#: runs what it is given at once, one slot after another
SBATCH = """#!/bin/bash
for script; do :; done
count=$(cat "$0.count" 2>/dev/null || echo 100); echo $((count + 1)) > "$0.count"
echo $((count + 1))
export SLURM_JOB_ID=$((count + 1))
array=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
if [ -z "$array" ]; then "$script" >/dev/null 2>&1; exit 0; fi
for SLURM_ARRAY_TASK_ID in $(seq 0 "$array"); do export SLURM_ARRAY_TASK_ID; "$script" >/dev/null 2>&1; done
exit 0
"""


@pytest.fixture
def reflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("reflow_slurm")
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
        (programs / name).write_text(SBATCH if name == "sbatch" else "#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("REFLOW_DISPATCH_CHAIN", "false")
    monkeypatch.setenv("REFLOW_DISPATCH_FAST_ADVANCE", "false")

    def call(*words: str, code: int = 0) -> str:
        found = subprocess.run(
            [sys.executable, "pipeline.py", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert found.returncode == code, f"{found.stdout}\n{found.stderr}"
        assert "Traceback" not in found.stderr
        return found.stdout if not code else found.stderr

    return call


def test_a_run_on_a_scheduler(reflow: Any, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    reflow("run", "--executor", "slurm", "--run-dir", "run", "--flag", str(flag), code=1)
    script = reflow("script", "latest", "make")
    assert script.startswith("#!/bin/bash\n#SBATCH --job-name=")
    found = json.loads(reflow("script", "work[2]", "--json"))
    assert found["script"] == Path(found["path"]).read_text() == reflow("script", "latest", "work")
    assert found["path"] == reflow("script", "work", "--path").strip()
    assert (found["task"], found["index"], found["elements"], found["attempt"]) == ("work", 2, "0-2", 1)
    assert found["job"] == "102"
    assert found["tag"] in found["script"]

    flag.touch()
    reflow("retry", "latest")
    reflow("drive", "latest")
    newest = json.loads(reflow("script", "work", "--json"))
    assert (newest["elements"], newest["job"]) == ("1", "103")
    assert json.loads(reflow("script", "work[2]", "--json"))["tag"] == found["tag"]
    assert json.loads(reflow("script", "work[1]", "--json"))["tag"] == newest["tag"]
    assert "so there is no element 7" in reflow("script", "work[7]", code=2)
    assert "did you mean 'work'?" in reflow("script", "wrok", code=2)
    assert "name one task" in reflow("script", code=2)


def test_a_run_without_scripts(reflow: Any, tmp_path: Path) -> None:
    (tmp_path / "flag").touch()
    reflow("run", "--executor", "local", "--run-dir", "run", "--flag", "flag")
    assert "the executor 'local' runs tasks without" in reflow("script", "make", code=1)
    reflow("run", "--executor", "local", "--run-dir", "run", "--flag", "flag")
    assert "results were taken from the cache" in reflow("script", "make", code=1)


def test_where_each_slot_is_a_job_of_its_own() -> None:
    flight = Flight(tag="t", task="work", elements=[3, 7], attempt=1, part=1, at=0.0, array=True, left=2, id="a,b")
    assert flight.own_ids() == {3: "a", 7: "b"}
    flight.id, flight.slots = "", {0: "c", 1: "d"}
    assert flight.own_ids() == {3: "c", 7: "d"}
    flight.id, flight.slots = "a", {}
    assert flight.own_ids() == {}
