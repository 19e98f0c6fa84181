"""The climate pipeline on real files: right numbers, and nothing computed that need not be."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reflow import Run, RunState

iris_sample_data = pytest.importorskip("iris_sample_data")
pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "examples" / "climate" / "pipeline.py"
DECADES = 24  # 1860 to 2099


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory that has one of the two scenarios."""
    folder = tmp_path / "data"
    folder.mkdir()
    add(folder, "A1B")
    return folder


def add(folder: Path, scenario: str) -> None:
    name = f"{scenario}_north_america.nc"
    shutil.copy2(Path(iris_sample_data.path) / name, folder / name)


def run(script: Path, *flags: str) -> Run:
    # Third-party warnings are theirs, so they are not made errors here.
    argv = [sys.executable, str(script), "run", "--executor", "local", "--run-dir", "run", *flags]
    done = subprocess.run(argv, cwd=script.parent, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    opened = Run.open("latest")
    assert opened.state is RunState.SUCCESS
    return opened


def computed(opened: Run) -> dict[str, int]:
    """Return how many elements of each task were not taken from the cache, leaving out tasks with none."""
    summary = opened.status()["summary"]
    return {task: n for task, counts in summary.items() if (n := counts["total"] - counts["cached"])}


def test_climate(tmp_path: Path, data: Path) -> None:
    script = tmp_path / "pipeline.py"
    shutil.copy(SCRIPT, script)
    flags = ("--data", str(data))
    everything = {
        "discover": 1,
        "decades": 1,
        "boreal": 1,
        "subtropical": 1,
        "north.mean": DECADES,
        "north.trend": 1,
        "south.mean": DECADES,
        "south.trend": 1,
        "figure": 1,
        "table": 1,
    }

    first = run(script, *flags)
    assert computed(first) == everything
    assert first.result("figure").read_bytes().startswith(b"\x89PNG")

    assert computed(run(script, *flags)) == {}

    # One more input file: its own decades, and what gathers them.
    add(data, "E1")
    gathering = {"north.trend": 1, "south.trend": 1, "figure": 1, "table": 1}
    second = run(script, *flags)
    assert computed(second) == {"discover": 1, "decades": 1, "north.mean": DECADES, "south.mean": DECADES, **gathering}
    with second.result("table").open(encoding="utf-8") as stream:
        trends = {(row["region"], row["scenario"]): float(row["kelvin_per_decade"]) for row in csv.DictReader(stream)}
    # What the model says: the north warms twice as fast as the south, and half as fast where emissions are cut.
    assert trends == {
        ("45–60°N", "A1B"): pytest.approx(0.625, abs=0.001),
        ("45–60°N", "E1"): pytest.approx(0.286, abs=0.001),
        ("15–30°N", "A1B"): pytest.approx(0.306, abs=0.001),
        ("15–30°N", "E1"): pytest.approx(0.148, abs=0.001),
    }

    # A comment changes nothing; a task's code changes it and what depends on it.
    source = script.read_text(encoding="utf-8")
    script.write_text(
        source.replace('axes.axhline(0, color="0.7"', '# the baseline\n        axes.axhline(0, color="0.7"')
    )
    assert computed(run(script, *flags)) == {}
    script.write_text(source.replace('return Box("45–60°N", 45.0, 60.0)', 'return Box("50–60°N", 50.0, 60.0)'))
    assert computed(run(script, *flags)) == {
        "boreal": 1,
        "north.mean": 2 * DECADES,
        "north.trend": 1,
        "figure": 1,
        "table": 1,
    }

    # A local parameter reaches its task alone, a global one all that take it; a wrong choice is refused.
    assert computed(run(script, *flags, "--south-trend-since", "2000")) == {"south.trend": 1, "figure": 1, "table": 1}
    assert computed(run(script, *flags, "--baseline", "1961-1990")) == gathering

    # A deleted figure is drawn again.
    last = run(script, *flags)
    last.result("figure").unlink()
    assert computed(run(script, *flags)) == {"figure": 1}


def test_wrong_choice_is_refused(tmp_path: Path) -> None:
    argv = [sys.executable, str(SCRIPT), "run", "--run-dir", str(tmp_path / "run"), "--baseline", "1900-1950"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "1861-1890" in done.stderr
    assert not (tmp_path / "run").exists()


def test_without_arguments_it_says_where_its_outputs_are(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if line.startswith(("figure:", "table:")))
    assert set(said) == {"figure", "table"}
    for path in said.values():
        assert Path(path.strip()).stat().st_size > 100
