"""A workflow without a file, as a notebook has it: runs here, shows itself, goes on, and is refused elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CELLS = [
    """
from pathlib import Path
from typing import Annotated
from reflow import Param, Result, Run, RunDir, Workflow
wf = Workflow("cells")

@wf.job()
def make(n: Annotated[int, Param()] = 3) -> list[int]:
    return list(range(n))

@wf.array_job()
def work(item: Annotated[int, Result(step="make")], run_dir: RunDir) -> float:
    if item == 1 and not (run_dir / "mended").exists():
        raise ValueError("not yet")
    return item / 2
""",
    "run = wf.run_local('run', n=3)\nrun",
    "Path('run/mended').touch(); run.retry()['said']",
    "(run.state.value, run.result('make'), run.results('work'), Run.open('latest').results('work'))",
    "wf.submit('other', executor='local')",
    "wf.submit('other', executor='slurm')",
    """
@wf.job()
def make(n: Annotated[int, Param()] = 3) -> list[int]:
    return [7]
""",
    "wf.run_local('run').results('work')",
    "run.drive().value",
]


#: cells one after another, as a notebook runs them; what each has to show
SESSION = """
import ast, sys
for cell in ast.literal_eval(sys.argv[1]):
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    try:
        exec(compile(tree, "cell", "exec"))
        shown = eval(compile(ast.Expression(last.value), "cell", "eval")) if last else ""
        print(shown._repr_html_() if hasattr(shown, "_repr_html_") else shown)
    except Exception as error:
        print(str(error).splitlines()[0])
"""


def test_in_a_session_that_leads_its_processes(tmp_path: Path) -> None:
    """As a notebook's kernel, or a shell's ``python``: whoever takes a run over must not end it with its workers."""
    done = subprocess.run(
        [sys.executable, "-c", SESSION, repr(CELLS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    _, table, retried, told, local, slurm, _, again, driven = done.stdout.splitlines()
    assert table.startswith("<table><caption>cells-")
    assert "FAILED" in table
    assert retried == "retrying 1 element of work"
    assert told == "('SUCCESS', [0, 1, 2], [0.0, 0.5, 1.0], [0.0, 0.5, 1.0])"
    for refused in (local, slurm):
        assert "is defined in a notebook or an interactive session" in refused
    assert again == "[3.5]"
    assert driven == "SUCCESS"


@pytest.mark.slow
def test_in_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat: Any = pytest.importorskip("nbformat")
    nbclient: Any = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True)
    client.execute()
    shown = [[output for output in cell.outputs if output.output_type != "stream"] for cell in notebook.cells]
    assert "FAILED" in shown[1][0].data["text/html"]
    assert "retrying 1 element of work" in shown[2][0].data["text/plain"]
    assert shown[3][0].data["text/plain"] == "('SUCCESS', [0, 1, 2], [0.0, 0.5, 1.0], [0.0, 0.5, 1.0])"
    for refused in (shown[4], shown[5]):
        assert "is defined in a notebook or an interactive session" in refused[0].evalue
    assert shown[7][0].data["text/plain"] == "[3.5]"
