"""An executor whose jobs are background processes of this machine.

A job is a directory named by its tag. `lane.py` runs its slots one after another
and leaves ``SLOT.pid`` when it starts one and ``SLOT.end`` when it has ended;
each file appears by a rename, so that it is whole when it is seen.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence

from reflow.plugin import (
    JSON,
    Context,
    ExecutorError,
    FailureClass,
    Job,
    JobRef,
    JobState,
    JobStatus,
    Limits,
    Submission,
)

from . import lane


class BackgroundExecutor:
    """Runs jobs as background processes.

    Parameters
    ----------
    directory : str
        Absolute path; jobs are kept below it.
    """

    name = "background"
    limits = Limits(visibility_lag=0.0)

    def __init__(self, directory: str) -> None:
        self.directory = directory

    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> BackgroundExecutor:
        """Build it from ``[executor.background]``, or from `settings` of another one."""
        return cls(settings.get("directory") or os.path.join(context.store, "background"))

    @property
    def settings(self) -> Mapping[str, JSON]:
        """What `create` rebuilds it from."""
        return {"directory": self.directory}

    def submit(self, job: Job) -> Submission:
        """Start the job's lanes: as many as slots may run at once."""
        home = self._home(job.tag)
        slots = 1 if job.slots is None else job.slots
        lanes = min(slots, job.throttle or slots)
        umask = os.umask(0o077)
        os.umask(umask)
        spec = {
            "script": job.script,
            "array": job.slots is not None,
            "slots": slots,
            "lanes": lanes,
            "begin": time.time() + (job.begin or 0),
            "after": [[self._home(ref.id), ref.slot] for ref in job.after],
            "log": job.log,
            "cwd": job.cwd,
            "umask": umask,
            "walltime": job.resources.time,
        }
        try:
            os.makedirs(home)
        except FileExistsError:
            raise ExecutorError(f"there is a job with tag {job.tag} already") from None
        lane.write(f"{home}/spec", spec)
        for number in range(lanes):
            subprocess.Popen(
                [sys.executable, lane.__file__, home, str(number)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            ).returncode = 0  # it is not waited for: it outlives this process
        return Submission(ref=JobRef(job.tag))

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        """Read what the lanes have left."""
        found: dict[JobRef, JobStatus] = {}
        for ref in jobs:
            spec = lane.read(f"{self._home(ref.id)}/spec")
            if spec is None:
                found[ref] = JobStatus(state=JobState.UNKNOWN, native="no such job")
            elif not spec["array"]:
                found[ref] = self._status(ref.id, 0)
            else:
                for slot in range(spec["slots"]) if ref.slot is None else [ref.slot]:
                    found[JobRef(ref.id, slot)] = self._status(ref.id, slot)
        return found

    def find(self, tags: Collection[str]) -> Mapping[str, JobRef]:
        """Look for the directories of these names."""
        return {tag: JobRef(tag) for tag in tags if lane.read(f"{self._home(tag)}/spec") is not None}

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        """Leave word for the lanes, and end what runs."""
        for ref in jobs:
            home = self._home(ref.id)
            spec = lane.read(f"{home}/spec")
            if spec is None:
                continue
            for slot in range(spec["slots"]) if ref.slot is None else [ref.slot]:
                if lane.read(f"{home}/{slot}.end") is None:
                    lane.write(f"{home}/{slot}.cancel", {})
                    lane.stop(home, slot, signal.SIGTERM)

    def _home(self, tag: str) -> str:
        return os.path.join(self.directory, os.path.basename(tag))

    def _status(self, tag: str, slot: int) -> JobStatus:
        home = self._home(tag)
        end = lane.read(f"{home}/{slot}.end")
        if end is not None:
            return _ended(end)
        if lane.read(f"{home}/{slot}.cancel") is not None:
            return _ended({"cancelled": True})
        if lane.read(f"{home}/{slot}.pid") is not None:
            return JobStatus(state=JobState.RUNNING, native="running")
        return JobStatus(state=JobState.PENDING, reason="waiting for its turn", native="waiting")


def _ended(end: Mapping[str, JSON]) -> JobStatus:
    native = json.dumps(end)
    if end.get("cancelled"):
        return JobStatus(state=JobState.CANCELLED, failure_class=FailureClass.CANCELLED, native=native)
    code = end.get("code")
    if code == 0:
        return JobStatus(state=JobState.SUCCESS, exit_code=0, native=native)
    failure = FailureClass(end.get("class", "exit"))
    if code is not None and code < 0:
        return JobStatus(state=JobState.FAILED, signal=-code, failure_class=failure, native=native)
    return JobStatus(
        state=JobState.FAILED, exit_code=code, failure_class=failure, reason=end.get("reason", ""), native=native
    )
