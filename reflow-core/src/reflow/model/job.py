"""The executor contract: jobs, references to them, and what schedulers say of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

import msgspec

from .names import FailureClass
from .record import Finished, JobSpec, Mail
from .resources import Resources
from .task import JSON


class JobRef(msgspec.Struct, frozen=True, order=True):
    """A job as its scheduler names it; ``slot`` names one slot of an array."""

    id: str
    slot: int | None = None
    cluster: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor is asked to start.

    Attributes
    ----------
    tag : str
        Unique name of this submission, at most 15 characters; heads the
        job's name.
    name : str
        The job's full name, beginning with the tag; ASCII ``[A-Za-z0-9._-]``.
    script : str
        Absolute path of the script to run, executable, readable by the user.
        It finds its slot, counted from 0, in ``REFLOW_SLOT``.
    slots : int, optional
        Number of slots 0..slots-1 of an array; None for a single job.
    throttle : int, optional
        How many slots may run at once.
    after : tuple of JobRef
        Jobs that must have ended, in whatever way, before this one starts.
    begin : float, optional
        Seconds from now before which the job must not start.
    log : str
        Absolute path that takes what the script says before it redirects
        its output.
    cwd : str
        The directory to run in.
    spec : JobSpec, optional
        What the script's worker will run: for executors whose own workers can
        run it without the script; others ignore it.
    """

    tag: str
    name: str
    script: str
    slots: int | None = None
    throttle: int | None = None
    after: tuple[JobRef, ...] = ()
    begin: float | None = None
    resources: Resources = Resources()
    options: Mapping[str, JSON] = {}
    native: tuple[str, ...] = ()
    log: str = "/dev/null"
    cwd: str = "/"
    spec: JobSpec | None = None


class Submission(msgspec.Struct, frozen=True):
    """One reference for the whole job, or one for each slot where the scheduler makes separate jobs."""

    ref: JobRef | None = None
    slots: Mapping[int, JobRef] = {}


class JobState(str, Enum):
    """What a scheduler says of a job, or of one slot of an array."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether the scheduler is done with it."""
        return self in (JobState.SUCCESS, JobState.FAILED, JobState.CANCELLED)


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduler's word on one job or slot; ``native`` is its own text.

    ``failure_class`` tells how it failed. With PENDING it says that the job
    will never run, and is to be ended; with UNKNOWN, CANCELLED says that the
    scheduler would know of it if it had ever run. With RUNNING, ``ending`` says
    that nothing of it runs any more, and the scheduler clears up behind it.
    """

    state: JobState
    exit_code: int | None = None
    signal: int | None = None
    failure_class: FailureClass | None = None
    reason: str = ""
    native: str = ""
    ending: bool = False


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheduler can take.

    Attributes
    ----------
    array_base : int
        The index of an array's first slot, as the scheduler counts.
    max_array : int, optional
        Most slots in one array.
    max_submitted : int, optional
        Most slots queued and running at once.
    max_after : int, optional
        Most jobs named in one dependency.
    throttle : bool
        Whether it can bound how many slots of an array run at once.
    dependencies : bool
        Whether a job can wait for others.
    begin : bool
        Whether a job can wait for a time.
    visibility_lag : float
        Seconds after a submit or an end during which the scheduler may not
        know the job.
    vanishes : bool
        Whether a slot of an array is forgotten without a word when it is
        cancelled while it waits, though its array is known.
    holds : bool
        Whether a job that depends on one which is just ending may be accepted,
        and then held for ever.
    """

    array_base: int = 0
    max_array: int | None = None
    max_submitted: int | None = None
    max_after: int | None = None
    throttle: bool = True
    dependencies: bool = True
    begin: bool = True
    visibility_lag: float = 5.0
    vanishes: bool = False
    holds: bool = False


#: limits that ``[executor]`` may lower
BOUNDS = ("max_array", "max_submitted")


@runtime_checkable
class Executor(Protocol):
    """What runs jobs. `reflow.testing.ExecutorConformance` is its definition."""

    @property
    def name(self) -> str:
        """The name it is chosen by."""
        ...

    @property
    def settings(self) -> Mapping[str, JSON]:
        """Plain data that ``create(settings, context)`` rebuilds it from on another host."""
        ...

    @property
    def limits(self) -> Limits:
        """What it can take."""
        ...

    def submit(self, job: Job) -> Submission:
        """Start a single job or an array, by one scheduler call wherever it can."""
        ...

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        """Ask for any number of jobs by a fixed number of calls.

        An array's reference (``slot`` None, submitted with ``slots``) is answered
        with one status for each of its slots, under ``JobRef(id, slot)``.
        """
        ...

    def find(self, tags: Collection[str]) -> Mapping[str, JobRef | Submission]:
        """Look jobs up by the tag at the head of their name, live or finished.

        An array whose slots are jobs of their own, without a reference to all
        of them, is answered with the `Submission` of those that are there.
        """
        ...

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        """End jobs; one that has ended, or is not known, is no error."""
        ...


@runtime_checkable
class Examiner(Protocol):
    """What an executor may offer besides: whether it can be asked for a job, before anything is submitted."""

    def check(self, job: Job) -> None:
        """Raise `UsageError`, with the reason and what to write instead, for what it cannot do."""
        ...

    def notes(self, job: Job) -> Sequence[str]:
        """What a job asks for and is left out: said once, and no error."""
        ...


class Ended(msgspec.Struct, frozen=True):
    """A slot that ended without a finished record of its own that counts, and how."""

    tag: str
    slot: int
    status: JobStatus
    #: what its worker said before it was ended, where that is known
    said: Finished | None = None


class Letter(msgspec.Struct, frozen=True):
    """News from one mailbox file: records with their JSON text, and where the file was read up to."""

    box: str
    upto: int
    records: Sequence[tuple[Mail, bytes]]


class Heard(msgspec.Struct, frozen=True):
    """What a pool has heard from its workers."""

    letters: Sequence[Letter] = ()
    ended: Sequence[Ended] = ()
    warnings: Sequence[str] = ()


@runtime_checkable
class Pool(Executor, Protocol):
    """An executor inside the driving process, with workers of its own that stay warm.

    A job whose `Job.spec` is set is run by them, without a process of its own.
    """

    def open(self, root: str, tag: str, *, python: str, cwd: str) -> None:
        """Work for the run at `root`; workers report below the mailbox's `tag`."""
        ...

    def warm(self) -> None:
        """Get ready for an array, whose elements are being found out; nothing need come of it."""
        ...

    def wait(self, timeout: float) -> Heard:
        """Let workers work until something is heard, at most `timeout` seconds."""
        ...

    def close(self) -> None:
        """End the workers; elements that run are interrupted."""
        ...
