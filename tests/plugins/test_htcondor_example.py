"""The HTCondor executor of docs/plugins.md as a user has it: built, installed and chosen by name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "htcondor"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(installed: Callable[[Path], Path]) -> Path:
    """A directory in which it is installed from its wheel."""
    return installed(EXAMPLE)


def test_htcondor_is_chosen_by_name(site: Path, run_with: Run, tmp_path: Path) -> None:
    reflow = str(Path(sys.executable).parent / "reflow")
    done = run_with(site, reflow, "plugins", "--json", where=tmp_path)
    assert done.returncode == 0, done.stderr
    row = next(row for row in json.loads(done.stdout) if row["name"] == "htcondor")
    assert (row["distribution"], row["status"], row["executors"][0]["name"]) == ("reflow-htcondor", "ok", "htcondor")
    etl = str(ROOT / "examples" / "etl.py")
    argv = (sys.executable, etl, "submit", "--dry-run", "--run-dir", "out", "--executor", "htcondor")
    done = run_with(site, *argv, where=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "condor_submit -terse JobBatchName=" in done.stdout
    assert " < " not in done.stdout


def test_htcondor_passes_the_kit_on_recordings(site: Path, run_with: Run, tmp_path: Path) -> None:
    """As outside of this project, with nothing of ours around its tests; live tests say why they are not run."""
    for name in ("conftest.py", "tests", "live"):
        copy = shutil.copytree if (EXAMPLE / name).is_dir() else shutil.copy
        copy(EXAMPLE / name, tmp_path / name)
    argv = (sys.executable, "-m", "pytest", "-q", "-ra", "-W", "error", "-p", "no:cacheprovider", "-p", "no:cov")
    done = run_with(site, *argv, "tests", "live", where=tmp_path, PATH="/nowhere")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[6-9]\d passed", done.stdout), done.stdout
    assert "not run: there is no condor_master (Debian 13: apt-get install condor)" in done.stdout


def test_htcondor_imports_of_reflow_what_is_promised_to_stay() -> None:
    for path in (EXAMPLE / "src").rglob("*.py"):
        assert set(re.findall(r"from (reflow[.\w]*) import|import (reflow\S*)", path.read_text())) <= {
            ("reflow.plugin", "")
        }
