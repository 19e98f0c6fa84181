"""Beside reflow-hpc, which has the same import name, nothing runs: whichever of the two was installed last."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import reflow

OURS = Path(reflow.__file__).parent
LINE = "pip uninstall reflow-hpc && pip install --force-reinstall --no-deps reflow-core"


@pytest.fixture(params=["ours last", "theirs last"])
def mixed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Files of both in one directory, as pip leaves them; the other is a stand-in with names that it is known by."""
    site = tmp_path / "site"
    shutil.copytree(OURS, site / "reflow", ignore=shutil.ignore_patterns("__pycache__", "testing"))
    (site / "reflow" / "run.py").write_text("class Run: pass\n")
    (site / "reflow" / "cli.py").write_text("def main(): pass\n")
    (site / "reflow" / "workflow").mkdir()
    (site / "reflow" / "workflow" / "__init__.py").write_text("from ..run import Run\nclass Workflow: pass\n")
    if request.param == "theirs last":
        (site / "reflow" / "__init__.py").write_text("from .run import Run\nfrom .workflow import Workflow\n")
        (site / "reflow" / "errors.py").write_text("class Other(Exception): pass\n")
    info = site / "reflow_hpc-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: reflow-hpc\nVersion: 9.9\n")
    return request.param, site


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "reflow", "runs"],
        ["-m", "reflow", "plugins"],
        ["-c", "from reflow import Workflow"],
        ["-c", "from reflow.cli.main import main; raise SystemExit(main(['runs']))"],
    ],
)
def test_refused_with_what_to_do(mixed: tuple[str, Path], words: list[str]) -> None:
    _, site = mixed
    done = subprocess.run(
        [sys.executable, *words],
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (1, 2)
    assert LINE in done.stderr
    assert "reflow-hpc" in done.stderr
