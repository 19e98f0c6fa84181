"""The HTCondor executor passes the suite on a real pool, and what is HTCondor's own ends as it has to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reflow.plugin import Completed, Context, FailureClass, JobState, JobStatus, Resources
from reflow.process.runner import Runner
from reflow.testing import ExecutorConformance
from reflow_htcondor.dialect import HTCondorExecutor

ETL = Path(__file__).parents[2] / "etl.py"


class Counting(Runner):
    """Counts the commands that it runs."""

    calls = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: str | None = None,
    ) -> Completed:
        """Run a command."""
        self.calls += 1
        return super().run(argv, stdin=stdin, timeout=timeout, env=env, cwd=cwd)


@pytest.fixture(scope="module")
def learned(pool: None) -> HTCondorExecutor:
    """Return an executor that has asked for the pool's limits: the suite counts what comes after."""
    made = HTCondorExecutor().bind(Counting())
    assert made.limits.max_array == 20_000
    return made


class TestOnAPool(ExecutorConformance):
    """The suite."""

    timeout: ClassVar[float] = 120.0
    interval: ClassVar[float] = 0.5
    short: ClassVar[int] = 2

    @pytest.fixture
    def executor(self, learned: HTCondorExecutor) -> HTCondorExecutor:
        """Return the executor."""
        return learned

    def calls(self, executor: HTCondorExecutor) -> int:
        """Return how many commands it has run."""
        return executor._runner.calls

    def context(self) -> Context:
        """Return what an executor is rebuilt with."""
        return Context(environ=dict(os.environ), runner=Runner(), cwd=os.getcwd())

    def ended(self, executor: HTCondorExecutor, directory: Path, **asked: Any) -> JobStatus:
        """Return how a job ends that would sleep for long."""
        refs = self.submit(executor, self.job(self.probe(directory, seconds=self.long), **asked))
        return self.ends(executor, refs)[refs.first]

    def test_a_walltime_is_an_end(self, executor: HTCondorExecutor, directory: Path) -> None:
        """HTCondor holds what takes too long; the job's own periodic_remove makes an end of that."""
        status = self.ended(executor, directory, resources=Resources(time=3))
        assert status.failure_class is FailureClass.TIMEOUT, status

    def test_what_is_held_can_be_told_and_ended(self, executor: HTCondorExecutor, directory: Path) -> None:
        """It stays in the queue until it is cancelled."""
        refs = self.submit(executor, self.job(self.probe(directory), options={"output": "/no/such/directory/out"}))
        found = self.watch(executor, [refs], lambda known: "held" in known[refs.first].reason, "be held")
        assert found[refs.first].failure_class is FailureClass.LAUNCH, found
        executor.cancel(refs.asked)
        assert self.ends(executor, refs)[refs.first].state is JobState.CANCELLED

    def test_an_evicted_job_is_not_started_again(self, executor: HTCondorExecutor, directory: Path) -> None:
        """What loses its machine goes back to the queue, fits no machine any more, and is removed."""
        probe = self.probe(directory, seconds=self.long)
        refs = self.submit(executor, self.job(probe))
        self.running(executor, refs, probe)
        subprocess.run(["condor_vacate_job", "-fast", refs.first.id], check=True, capture_output=True, timeout=60)
        status = self.ends(executor, refs)[refs.first]
        assert status.failure_class is FailureClass.PREEMPTED, status


def test_a_pipeline_of_three_stages(pool: None, tmp_path: Path) -> None:
    """It is run, and once more out of the cache."""
    environ = {**os.environ, "REFLOW_STORE_PATH": str(tmp_path / "store"), "REFLOW_RUN_GRACE": "5s"}
    for name in ("one", "two"):
        argv = [sys.executable, str(ETL), "run", "--run-dir", str(tmp_path / name), "--executor", "htcondor"]
        done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
