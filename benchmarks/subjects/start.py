"""A job whose function ends the process as it begins. Usage: ``start.py RUN_DIR`` prints its worker's command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence

from reflow import Workflow
from reflow.model.job import Job, JobRef, JobStatus, Limits, Submission
from reflow.model.task import JSON

wf = Workflow("start")


@wf.job()
def leave() -> None:
    """End before anything is written: the next start is again the first."""
    os._exit(0)


class Desk:
    """An executor that takes jobs and starts none."""

    name = "desk"
    settings: Mapping[str, JSON] = {}
    limits = Limits()

    def __init__(self) -> None:
        self.tags: list[str] = []

    def submit(self, job: Job) -> Submission:
        """Keep the job's tag."""
        self.tags.append(job.tag)
        return Submission(JobRef(str(len(self.tags))))

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        """Know nothing."""
        return {}

    def find(self, tags: Collection[str]) -> Mapping[str, JobRef]:
        """Find nothing."""
        return {}

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        """Do nothing."""


if __name__ == "__main__":
    desk = Desk()
    run = wf.submit(sys.argv[1], executor=desk)
    root = f"{run.run_dir}/.reflow/{run.run_id}"
    print(json.dumps([sys.executable, "-m", "reflow.worker", root, desk.tags[0]]))
