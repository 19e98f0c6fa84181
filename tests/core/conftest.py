"""A workflow in a script that tests edit between runs, and a ledger that its tasks write as they run."""

from __future__ import annotations

import itertools
import os
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Generator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow import Run, Workflow
from reflow.model import layout
from reflow.model.definition import Entry
from reflow.model.frames import parse
from reflow.model.job import Job, Limits
from reflow.model.names import FailureClass
from reflow.model.ranges import from_ranges
from reflow.model.record import Finished, JobSpec
from reflow.run.drive import advance as chain
from reflow.testing import Died, MemoryCluster, Start
from reflow.worker.load import load_flow
from reflow.worker.mailbox import Mailbox
from reflow.worker.tags import VOID
from reflow.worker.tags import claim as claim_tag
from reflow.worker.tags import read as read_tag

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


# --- runs on a cluster in memory, on its clock ---------------------------------------------------------------------


#: events that tell why a run stands where it does
_TOLD = ("intent", "submitted", "voided", "wake", "woke", "failed", "kill", "killed", "gone", "asked", "barred", "run")


class FakeTime:
    """The module `time`, on a cluster's clock."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.began = time.time()

    def time(self) -> float:
        return self.began + self.cluster.now

    def monotonic(self) -> float:
        return self.cluster.now

    def sleep(self, seconds: float) -> None:
        self.cluster.advance(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class Sim:
    """Plays a run on a `MemoryCluster`: workers report as real ones do, wake-ups advance, and nothing sleeps.

    Attributes
    ----------
    fate : dict
        (task, element, attempt) -> what becomes of it: an exception's text, or `Died`, or a list with the latter,
        where its worker reports that it was interrupted. By default it succeeds, with 1.
    lasts : dict of str, or (str, int), to float
        Seconds that each element of a task, or this one, takes.
    ran : list of (task, element, attempt)
        What began.
    most : Counter
        Task -> how many elements of it ran at once, at most.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lab: Lab, **kwargs: Any) -> None:
        self.lab = lab
        kwargs = {"places": 1000, "limits": Limits(visibility_lag=0.0), **kwargs}
        self.cluster = MemoryCluster(program=self.program, **kwargs)
        self.fate: dict[tuple[str, int, int], Any] = {}
        self.values: dict[str, Any] = {}
        self.lasts: dict[Any, float] = {}
        self.ran: list[tuple[str, int, int]] = []
        self.most: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.wakes = 0
        self.jobs: list[Job] = []
        self.dead_wakes = 0
        import_module("reflow.run.service.submit")  # a run that waits before its first job is taken sleeps there
        fake = FakeTime(self.cluster)
        for name, module in list(sys.modules.items()):
            if name.startswith("reflow.run.") and name != "reflow.run.journal.lease" and hasattr(module, "time"):
                monkeypatch.setattr(module, "time", fake)
        monkeypatch.setattr("reflow.worker.mailbox.time", fake)
        monkeypatch.setattr("reflow.run.service.api.executor_of", lambda definition, root: self.cluster)
        monkeypatch.setattr("reflow.run.service.refresh.executor_of", lambda definition, root: self.cluster)
        monkeypatch.setenv("REFLOW_DISPATCH_FAST_ADVANCE", "false")
        self.time = fake
        submit = self.cluster.submit

        def noted(job: Job) -> Any:
            self.jobs.append(job)
            return submit(job)

        monkeypatch.setattr(self.cluster, "submit", noted)

    def submit(self, source: str | None = None, **given: Any) -> Run:
        if source is not None:
            self.lab.write(source)
        run = self.lab.flow.submit(self.lab.run_dir, executor=self.cluster, **given)
        assert isinstance(run, Run)
        self.run = run
        return run

    def program(self, start: Start) -> Generator[float, None, int | Died | None]:
        job = start.job
        root = job.script.partition("/scripts/")[0]
        if job.spec is not None:
            return (yield from self.element(root, job.spec, start))
        yield 0.01
        if os.path.basename(job.script).startswith("join.") or read_tag(layout.tag(root, job.tag)) == VOID:
            return 0
        self.wakes += 1
        if self.dead_wakes:
            self.dead_wakes -= 1
            return Died(signal=9)
        yield from chain.waking(root, job.tag, self.cluster)
        return 0

    def element(self, root: str, spec: JobSpec, start: Start) -> Generator[float, None, int | Died | None]:
        index = from_ranges(spec.elements)[start.slot]
        if not claim_tag(layout.tag(root, spec.tag), f"claimed {start.ref.id}"):
            return 0
        began = self.time.time()
        fate = self.fate.get((spec.task, index, spec.attempt))
        if isinstance(fate, Died) and fate.failure_class is FailureClass.LAUNCH:
            return fate
        box = Mailbox(root, spec.tag, start.slot, job=start.ref.id)
        box.started(msgspec.json.encode(spec.task), index, spec.attempt, began)
        self.ran.append((spec.task, index, spec.attempt))
        self.running[spec.task] += 1
        self.most[spec.task] = max(self.most[spec.task], self.running[spec.task])
        try:
            yield self.lasts.get((spec.task, index), self.lasts.get(spec.task, 1.0))
        finally:
            self.running[spec.task] -= 1
        if isinstance(fate, Died):
            return fate
        if isinstance(fate, list):
            word = Finished(
                t=spec.task, i=index, a=spec.attempt, b=began, e=self.time.time(), f="cancelled", w="SIGTERM"
            )
            box.failed(word)
            box.close()
            return fate[0]  # type: ignore[no-any-return]
        if fate is not None:
            box.failed(
                Finished(t=spec.task, i=index, a=spec.attempt, b=began, e=self.time.time(), f="error", w=str(fate))
            )
        else:
            value = self.values.get(spec.task, 1)
            result = msgspec.json.encode(value(index) if callable(value) else value)
            box.succeeded(msgspec.json.encode(spec.task), index, spec.attempt, began, 0.0, 0, result, b"{}")
        box.close()
        return 0 if fate is None else 1

    def advance(self, **given: Any) -> float | None:
        """Advance the run from outside, once."""
        return chain.advance(self.run.root, self.cluster, **given)

    def end(self, state: str = "SUCCESS") -> Run:
        """Let the cluster go on until nothing is due; the run has ended as it should, and has left nothing behind."""
        self.cluster.drain()
        told = self.run.status()
        assert told["run"]["status"] == state, (
            told["run"],
            told["failures"],
            "\n".join(map(str, self.events(*_TOLD)[-12:])),
        )
        assert not self.cluster.order(), "nothing is left in the queue"
        return self.run

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Events of these kinds."""
        found = []
        for path in sorted(Path(self.run.root, "events").rglob("*.log")):
            found += [msgspec.json.decode(payload) for payload in parse(path.read_bytes())[0]]
        return [event for event in found if event["k"] in kinds]

    def sent(self, task: str | None) -> list[Job]:
        """Jobs that were submitted for a task; None: wake-ups."""
        return [job for job in self.jobs if (job.spec.task if job.spec else None) == task]


@pytest.fixture
def sim(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sim]:
    """Make a `Sim`; arguments are those of `MemoryCluster`."""
    return lambda **kwargs: Sim(monkeypatch, lab, **kwargs)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network file system is waited for here: what is damaged is so at once."""
    monkeypatch.setattr("reflow.run.journal.log.PATIENCE", ())
