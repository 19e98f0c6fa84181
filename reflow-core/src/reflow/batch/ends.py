"""What a scheduler says of a job, in few words: the states that dialects make."""

from __future__ import annotations

from ..model.job import JobState, JobStatus
from ..model.names import FailureClass
from .script import STOPPED


def succeeded(native: str = "") -> JobStatus:
    """Return the status of a job that ended with exit code 0."""
    return JobStatus(state=JobState.SUCCESS, exit_code=0, native=native)


def failed(
    cls: FailureClass, native: str = "", reason: str = "", code: int | None = None, signal: int | None = None
) -> JobStatus:
    """Return the status of a job that ended in another way."""
    return JobStatus(
        state=JobState.FAILED, failure_class=cls, exit_code=code, signal=signal, reason=reason, native=native
    )


def cancelled(native: str = "", reason: str = "") -> JobStatus:
    """Return the status of a job that somebody ended."""
    return JobStatus(
        state=JobState.CANCELLED, failure_class=FailureClass.CANCELLED, reason=reason or "cancelled", native=native
    )


def pending(native: str = "", reason: str = "", *, never: bool = False) -> JobStatus:
    """Return the status of a job that waits; `never`: for something that will not come, so that reflow ends it."""
    cls = FailureClass.LAUNCH if never else None
    return JobStatus(state=JobState.PENDING, failure_class=cls, reason=reason, native=native)


def held(reason: str, native: str = "") -> JobStatus:
    """Return the status of a job that waits, and will never run by itself: reflow ends it."""
    return pending(native, f"held: {reason}", never=True)


def running(native: str = "", reason: str = "", *, ending: bool = False) -> JobStatus:
    """Return the status of a job that runs; `ending`: it has run, and the scheduler clears up behind it."""
    return JobStatus(state=JobState.RUNNING, reason=reason, native=native, ending=ending)


def unknown(native: str = "", reason: str = "", *, never_ran: bool = False) -> JobStatus:
    """Return the status of a job that is not known; `never_ran`: the scheduler would know it if it had ever run."""
    cls = FailureClass.CANCELLED if never_ran else None
    return JobStatus(state=JobState.UNKNOWN, failure_class=cls, reason=reason, native=native)


def exited(code: int, native: str = "", *, shell: bool = False) -> JobStatus:
    """Return the status of a job that ended with an exit code; `shell`: 129 and more may stand for a signal."""
    if code == 0:
        return succeeded(native)
    if code == STOPPED:
        return failed(FailureClass.LAUNCH, native, "its script stopped before the task began: see the job's log", code)
    if shell and 128 < code < 128 + 65:
        return failed(FailureClass.EXIT, native, f"killed by signal {code - 128}", code, code - 128)
    return failed(FailureClass.EXIT, native, f"exit code {code}", code)


def signalled(number: int, native: str = "") -> JobStatus:
    """Return the status of a job that a signal ended."""
    return failed(FailureClass.EXIT, native, f"killed by signal {number}", signal=number)
