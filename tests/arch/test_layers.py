"""The layers of docs/architecture.md hold, and the tool that checks them notices when they do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]


def test_layers_hold() -> None:
    done = subprocess.run(LINT, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("reflow/model/units.py", "import reflow.run", "A module imports lower layers only"),
        ("reflow/novel.py", "", "novel"),
        ("reflow/worker/main.py", "import sqlite3", "stays lean"),
        ("reflow/store/paths.py", "import subprocess", "Only reflow.process starts programs"),
        ("reflow_slurm/dialect.py", "import reflow_pbs", "Schedulers don't know each other"),
        ("reflow_slurm/dialect.py", "import reflow.run", "Schedulers see of core its plugin module only"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    for name in ("core", "slurm", "pbs", "lsf", "sge", "flux"):
        for package in (ROOT / f"reflow-{name}" / "src").iterdir():
            _copy_sources(package, tmp_path / package.name)
    with (tmp_path / module).open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")
    done = subprocess.run(
        [*LINT, "--config", str(ROOT / "pyproject.toml")],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert contract in done.stdout


def _copy_sources(package: Path, target: Path) -> None:
    for source in package.rglob("*.py"):
        copy = target / source.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
