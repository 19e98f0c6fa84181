"""Two versions of reflow and one run: work goes on in the same schema, and is refused by name in another."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import reflow
from reflow import Run
from reflow.errors import DataError
from reflow.model import layout
from reflow.model.frames import parse
from reflow.model.record import SCHEMA, Opened
from reflow.model.versions import require_schema

FLOW = "@wf.job()\ndef one() -> int:\n    return 1\n"
OTHER = "0.9.9"
WORKER = "import sys; from reflow.worker.main import main; main(sys.argv[1:])"
WAKE_UP = "import sys; from reflow.run.drive.wakeup_main import main; sys.exit(main(sys.argv[1:]))"

Install = Callable[[int], Callable[..., Any]]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Install another version of reflow, in a directory of its own; the returned function runs code with it."""

    def put(schema: int) -> Callable[..., Any]:
        place = tmp_path / f"installed-{schema}"
        shutil.copytree(Path(reflow.__file__).parent, place / "reflow", ignore=shutil.ignore_patterns("__pycache__"))
        for file, old, new in (
            ("__init__.py", rf'__version__ = "{re.escape(reflow.__version__)}"', f'__version__ = "{OTHER}"'),
            ("model/record.py", rf"SCHEMA = {SCHEMA}\b", f"SCHEMA = {schema}"),
        ):
            path = place / "reflow" / file
            text, count = re.subn(old, new, path.read_text(encoding="utf-8"), count=1)
            assert count
            path.write_text(text, encoding="utf-8")

        def run(code: str, *words: str) -> Any:
            return subprocess.run(
                [sys.executable, "-c", code, *words],
                env={**os.environ, "PYTHONPATH": str(place)},
                cwd="/",
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )

        return run

    return put


def files(run: Run) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(run.root).rglob("*") if path.is_file()}


def waiting(sim: Any) -> tuple[Any, Run, str]:
    """Submit a run; its cluster, the run, and the tag of its job, which waits."""
    there = sim(places=0)
    run = there.submit(FLOW)
    (job,) = (path.stem for path in Path(run.root, "jobs").glob("*.json"))
    return there, run, job


@pytest.mark.slow
def test_a_job_and_a_wake_up_that_waited_are_refused_by_another_schema(sim: Any, install: Install) -> None:
    _, run, tag = waiting(sim)
    other, before = install(SCHEMA + 1), files(run)
    for code in (WORKER, WAKE_UP):
        done = other(code, run.root, tag)
        assert done.returncode == 1
        assert f"was written by reflow {reflow.__version__} in schema {SCHEMA}" in done.stderr
        assert f"this is reflow {OTHER}, which reads {SCHEMA + 1}" in done.stderr
        assert "Traceback" not in done.stderr
    assert files(run) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "events", "explain", "retry", "cancel", "drive", "repair"])
def test_commands_of_another_schema_are_refused_and_change_nothing(command: str, lab: Any, install: Install) -> None:
    lab.write(FLOW)
    run = lab.good()
    before = files(run)
    done = install(SCHEMA + 1)("import sys; from reflow.cli.main import main; sys.exit(main())", command, run.root)
    assert done.returncode == 1
    assert f"this is reflow {OTHER}" in done.stderr
    assert f"use reflow {reflow.__version__} for this run" in done.stderr
    assert files(run) == before


@pytest.mark.slow
def test_a_job_that_waited_is_finished_by_a_later_version_of_the_same_schema(sim: Any, install: Install) -> None:
    there, run, tag = waiting(sim)
    done = install(SCHEMA)(WORKER, run.root, tag)
    assert (done.returncode, done.stderr) == (0, "")
    payloads, _ = parse(Path(layout.box(run.root, tag, 0, 1)).read_bytes())
    opened = msgspec.json.decode(payloads[0], type=Opened)
    assert opened.version == OTHER
    there.advance()
    assert run.result("one") == 1


def test_a_record_without_a_version_is_refused_as_well() -> None:
    with pytest.raises(DataError, match="written by another version of reflow in schema 0; this is reflow"):
        require_schema("run.json", b'{"schema":0}')
    with pytest.raises(msgspec.DecodeError):
        require_schema("run.json", b"[" * 100_000)
    require_schema("run.json", b'{"schema":%d,"new":[1]}' % SCHEMA)
