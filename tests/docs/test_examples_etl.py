"""The two-minute example does what its docstring says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from reflow import Run, RunState

SCRIPT = Path(__file__).parents[2] / "examples" / "etl.py"


def run(place: Path, *flags: str) -> Run:
    argv = [sys.executable, "-W", "error", str(SCRIPT), "run", "--executor", "local", "--run-dir", "etl-run", *flags]
    done = subprocess.run(argv, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Run.open("latest")


def cached(opened: Run) -> dict[str, tuple[int, int]]:
    return {task: (counts["cached"], counts["total"]) for task, counts in opened.status()["summary"].items()}


def test_etl(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first.state is RunState.SUCCESS
    totals = json.loads(first.result("load").read_text())
    assert set(totals) == {"cake", "coffee", "tea"}
    assert cached(first) == {"extract": (0, 1), "transform": (0, 7), "load": (0, 1)}
    assert str(first.result("load")) in first.logs("load")

    assert cached(run(tmp_path)) == {"extract": (1, 1), "transform": (7, 7), "load": (1, 1)}

    more = run(tmp_path, "-d", "9")
    assert cached(more) == {"extract": (0, 1), "transform": (7, 9), "load": (0, 1)}
    assert sum(json.loads(more.result("load").read_text()).values()) > sum(totals.values())
