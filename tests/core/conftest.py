"""A workflow in a script that tests edit between runs, and a ledger that its tasks write as they run."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import Any

import pytest

from reflow import Run, Workflow
from reflow.model.definition import Entry
from reflow.worker.load import load_flow

PRELUDE = """\
from __future__ import annotations
import os, signal, subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Optional, Union
import reflow
from reflow import Flow, Param, Result, RunDir
from reflow.model.retry import Retry, Scale

HERE = Path({here!r})
wf = reflow.Workflow({name!r})

def note(*words):
    line = " ".join(map(str, words)) + "\\n"
    fd = os.open(HERE / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode())
    os.close(fd)

def flag(name):
    return (HERE / name).exists()

"""

_names = itertools.count()


class Lab:
    """A script, its runs and its ledger."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = f"lab_{next(_names)}"
        self.file = path / f"{self.module}.py"
        self.name = "lab"
        self.run_dir = path / "run"
        self.settings: dict[str, Any] = {}
        self._read = 0

    def write(self, source: str) -> Workflow:
        """Put this into the script, below a common prelude, and load it as a process of its own would."""
        text = PRELUDE.format(here=str(self.path), name=self.name) + textwrap.dedent(source)
        self.file.write_text(text + "\nif __name__ == '__main__':\n    wf.cli()\n")
        return self.load()

    def edit(self, old: str, new: str) -> Workflow:
        """Replace a piece of the script, and load it again."""
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))
        return self.load()

    def load(self) -> Workflow:
        entry = Entry(file=str(self.file), module=self.module, variable="wf", path=(str(self.path),))
        flow = load_flow(entry)
        assert isinstance(flow, Workflow)
        self.flow = flow
        return flow

    def run(self, executor: Any = "inline", **given: Any) -> Run:
        """Run it to its end, whatever that is."""
        return self.flow.run_local(given.pop("run_dir", self.run_dir), executor=executor, **{**self.settings, **given})

    def good(self, executor: Any = "inline", **given: Any) -> Run:
        """Run it to a good end."""
        run = self.run(executor, **given)
        assert run.state.value == "SUCCESS", run.status()["failures"]
        return run

    def ran(self) -> list[str]:
        """What tasks have noted since this was last asked, sorted."""
        try:
            lines = (self.path / "ledger").read_text().splitlines()
        except FileNotFoundError:
            return []
        new, self._read = lines[self._read :], len(lines)
        return sorted(new)

    def touch(self, name: str) -> None:
        """Raise a flag that tasks look at."""
        (self.path / name).touch()

    @staticmethod
    def counts(run: Run) -> dict[str, dict[str, int]]:
        """Elements by state of each task that has any."""
        summary = run.status()["summary"]
        left_out = ("total", "cached")
        return {task: {k: n for k, n in row.items() if k not in left_out} for task, row in summary.items()}

    @staticmethod
    def why(run: Run, task: str) -> dict[int | None, tuple[str, str]]:
        """Decision and reason of each element."""
        return {row["index"]: (row["decision"], row["reason"]) for row in run.explain(task)}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A script to be written, in a directory of its own."""
    return Lab(tmp_path)
