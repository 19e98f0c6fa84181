"""A cluster in memory whose jobs are real processes: their scripts, run by bash."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from reflow.plugin import Limits
from reflow.run.drive.advance import advance
from reflow.run.views.status import look
from reflow.testing import MemoryCluster
from reflow.testing.cluster import Start


def play(start: Start) -> int:
    """Run a job's script; wake-ups do nothing, for this cluster lives in this process alone."""
    if ".wake-up" in start.job.name:
        return 0
    paths = os.pathsep.join(path for path in sys.path if path)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "REFLOW_JOB_ID": start.ref.id, **start.environ}
    return subprocess.run(
        ["bash", start.job.script], env=environ, stdin=subprocess.DEVNULL, timeout=120, check=False
    ).returncode


def cluster(**given: Any) -> MemoryCluster:
    """A cluster that shows a job at once."""
    return MemoryCluster(program=play, limits=Limits(visibility_lag=0.0), **given)


def finish(run: Any, cluster: MemoryCluster, rounds: int = 50) -> None:
    """Let jobs run, and advance the run, until it has ended."""
    cluster.held = False
    for _ in range(rounds):
        if look(run.root, run.definition).run.ended:
            return
        cluster.advance(60.0)
        pause = advance(run.root, cluster, chain=False)
        if pause:
            time.sleep(min(pause, 0.2))
    raise AssertionError(f"the run did not end: {run.status()}")
