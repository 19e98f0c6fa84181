"""Records: what workers report (mailbox) and what a run decides (events).

Every record is one frame (`reflow.model.frames`) of a JSON object whose ``k``
names its kind. `SCHEMA` counts the versions of this vocabulary; a reader refuses
a newer one, and keeps what it does not know of an equal one.
Times are seconds since the epoch, memory is in bytes.
"""

from collections.abc import Mapping
from struct import Struct

import msgspec

from .names import FailureClass, RunState
from .resources import Resources

SCHEMA = 1


class _Record(msgspec.Struct, tag_field="k", omit_defaults=True, kw_only=True, gc=False):
    pass


# --- mailbox -----------------------------------------------------------------


class Opened(_Record, tag="opened"):
    """First frame of a mailbox file: who writes it."""

    schema: int
    tag: str
    slot: int
    host: str
    pid: int
    #: the scheduler's id of the job, where there is one
    job: str = ""
    #: the process's start time as the kernel counts it, so that a reused pid is told apart
    born: str = ""
    b: float = 0.0
    #: the run has given the slot up: no worker writes this, and none that comes later is to run it
    void: bool = False
    #: of reflow, that writes it
    version: str = ""


class Started(_Record, tag="started"):
    """An element's function is about to be called."""

    t: str
    i: int
    a: int
    b: float


class Finished(_Record, tag="finished"):
    """An element has ended; copied from the mailbox to the events as it is.

    Attributes
    ----------
    t, i, a : str, int, int
        Task, index and attempt.
    b, e : float
        Begin and end.
    h : str
        Host.
    c, m : float, int
        CPU seconds and peak memory of the element alone; 0 bytes where nobody knows it.
    r : msgspec.Raw, optional
        The encoded result; absent where the element failed.
    o : mapping
        Files named by the result -> seal.
    u : tuple of str
        What became of its input files, see `reflow.worker.given.looked_at`.
    f : str
        Failure class; "" for success.
    x, s : int, optional
        Exit code and signal.
    w : str
        Why, in one line.
    d : str
        Details: the traceback.
    p : str
        The place in the user's own code, ``FILE:LINE, in FUNCTION``.
    """

    t: str
    i: int
    a: int
    b: float
    e: float
    h: str = ""
    c: float = 0.0
    m: int = 0
    r: msgspec.Raw = msgspec.Raw()
    o: Mapping[str, str] = {}
    u: tuple[str, ...] = ()
    f: str = ""
    x: int | None = None
    s: int | None = None
    w: str = ""
    d: str = ""
    p: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether the element was ended from outside, so that only its scheduler knows why, and may run it again."""
        ended = self.f == FailureClass.REQUEUED and self.s is not None  # it asks for that, having got a signal
        return ended or self.f == FailureClass.CANCELLED


class Closed(_Record, tag="closed"):
    """The writer ended as it meant to; nothing follows."""

    b: float


Mail = Opened | Started | Finished | Closed


# --- events ------------------------------------------------------------------


class Epoch(_Record, tag="epoch"):
    """First frame of an event file: whose it is, and how much of the former one counts.

    ``gaps``: events before this file, or in it, are lost, so that one may follow which could not otherwise.
    """

    schema: int
    epoch: int
    former: int
    length: int
    host: str
    pid: int
    at: float
    version: str
    gaps: bool = False


class RunChanged(_Record, tag="run"):
    """The run's own state."""

    state: RunState
    at: float
    reason: str = ""


class Expanded(_Record, tag="expanded"):
    """A task's inputs are known; its elements exist.

    ``misses`` says why elements were not taken from the cache: reason ->
    indices. ``part`` numbers the file of inputs, ``pending`` names the elements
    in it. ``skipped`` are elements whose own upstream element did not succeed.
    """

    task: str
    size: int
    part: int
    pending: str
    at: float
    skipped: str = ""
    misses: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


class Hit(_Record, tag="hit"):
    """An element was taken from the cache; ``by`` is the run that computed it, ``at`` when, ``w`` with what reserve."""

    t: str
    i: int
    r: msgspec.Raw
    by: str = ""
    at: float = 0.0
    o: Mapping[str, str] = {}
    w: str = ""


class Intent(_Record, tag="intent"):
    """A job is about to be submitted; recorded before the scheduler is asked."""

    tag: str
    task: str
    elements: str
    attempt: int
    part: int
    at: float
    generation: int = 1
    resources: Resources = Resources()
    #: array slot -> element is the order of `elements`; a single job has one
    array: bool = True
    #: how many of its slots may run at once, as the scheduler was told; None: all
    throttle: int | None = None


class Submitted(_Record, tag="submitted"):
    """The scheduler's answer to an intent."""

    tag: str
    id: str
    at: float
    cluster: str = ""
    slots: Mapping[int, str] = {}


class Voided(_Record, tag="voided"):
    """An intent that came to nothing; its elements are pending again, uncounted.

    ``obscure``: the scheduler refused it in words that nobody knows.
    """

    tag: str
    reason: str
    at: float
    obscure: bool = False


class PoolOpened(_Record, tag="pool"):
    """Workers of the driving process report below this tag."""

    tag: str
    host: str
    at: float


class Failed(_Record, tag="failed"):
    """An element ended without a record of its own; the scheduler's words, or ours.

    ``b`` is when it began, ``d`` and ``p`` are what is known of its stack, as in `Finished`, where anything is;
    ``j`` is the tag of the job whose log has the words where the element has none;
    ``final`` tells that another attempt would end no better, whatever the budget.
    """

    task: str
    elements: str
    attempt: int
    f: FailureClass
    at: float
    b: float = 0.0
    x: int | None = None
    s: int | None = None
    w: str = ""
    d: str = ""
    p: str = ""
    j: str = ""
    final: bool = False


class Requeued(_Record, tag="requeued"):
    """Elements are pending again, without counting an attempt."""

    task: str
    elements: str
    reason: str
    at: float


class Again(_Record, tag="again"):
    """Failed elements are pending again: their next attempt, not before ``due``."""

    task: str
    elements: str
    attempt: int
    due: float
    at: float
    reason: str = ""
    resources: Resources | None = None


class Settled(_Record, tag="settled"):
    """Failed elements that are not tried again."""

    task: str
    elements: str
    at: float


class Skipped(_Record, tag="skipped"):
    """A task that cannot run because of what it depends on."""

    task: str
    reason: str
    at: float


class Cancelled(_Record, tag="cancelled"):
    """Elements that will not run because someone asked; those that run are left to their executor's answer.

    ``elements`` None: the whole task, which from here on submits nothing.
    """

    task: str
    at: float
    elements: str | None = None
    reason: str = ""


class Reset(_Record, tag="reset"):
    """`retry`: elements start over. Tasks in ``tasks`` are waiting again."""

    task: str
    at: float
    elements: str
    reason: str = ""


class CodeChanged(_Record, tag="code"):
    """From here on jobs run this generation of the code."""

    generation: int
    at: float


class Read(_Record, tag="read"):
    """How far a mailbox file has been ingested."""

    box: str
    upto: int


class Obeyed(_Record, tag="obeyed"):
    """A mailed command was carried out; ``verb`` is ``stop`` where it cancelled the whole run."""

    id: str
    verb: str
    at: float
    said: str = ""


class Wake(_Record, tag="wake"):
    """A wake-up is about to be submitted.

    ``waits`` are the tags of the jobs that it depends on; ``due`` is the time
    before which it must not start, where it waits for a time. One that joins
    (``join``) does nothing: where a scheduler takes few jobs in one
    dependency, the wake-up depends on it in their place (``joined``).
    """

    tag: str
    waits: tuple[str, ...]
    at: float
    due: float = 0.0
    join: bool = False
    joined: tuple[str, ...] = ()


class Woke(_Record, tag="woke"):
    """A wake-up has started, or is gone; nothing is to be expected of it any more.

    ``spare``: its work was done before; its job may still be queued.
    """

    tag: str
    at: float
    reason: str = ""
    spare: bool = False


class Capped(_Record, tag="capped"):
    """The scheduler has refused an array, for its size or for what is queued: it is sent again in smaller ones."""

    at: float
    size: int
    w: str = ""


class Bounded(_Record, tag="bounded"):
    """Bounds on arrays and submissions that are configured today, 0 for none; what refusals taught is forgotten."""

    at: float
    bounds: Mapping[str, int]


class Barred(_Record, tag="barred"):
    """A compute node could not submit: where a wake-up ran, or (``relay``) where the last worker of a group did."""

    at: float
    w: str
    relay: bool = False


class Kill(_Record, tag="kill"):
    """A job, or some slots of it, is to be cancelled; written before the scheduler is asked, and held until it obeys.

    ``elements`` are indices of the task; "" for a wake-up. What then has no
    record fails as ``f``, for the reason ``w``.
    """

    tag: str
    at: float
    elements: str = ""
    f: str = "cancelled"
    w: str = ""


class Killed(_Record, tag="killed"):
    """The scheduler has taken the order to cancel."""

    tag: str
    at: float


class Gone(_Record, tag="gone"):
    """The scheduler has done with slots of a job that have left no record; a record may still arrive.

    ``elements`` are indices of the task. ``f`` is "" where the scheduler says
    nothing of why; ``never`` tells that, for all that is known, they did not
    start; ``back`` that they are there again; ``sure`` that it named their end,
    or that two whole answers, a visibility lag apart, did not know them;
    ``killed`` that they were cancelled at that moment, and that the scheduler
    has not confirmed their end yet.
    """

    tag: str
    elements: str
    at: float
    f: str = ""
    x: int | None = None
    s: int | None = None
    w: str = ""
    never: bool = False
    back: bool = False
    sure: bool = False
    killed: bool = False


class Asked(_Record, tag="asked"):
    """The scheduler was asked; what it said of jobs that wait, by tag, in words."""

    at: float
    waiting: Mapping[str, str] = {}
    problem: str = ""


class Told(_Record, tag="told"):
    """People are about to be told of an occasion; written first, so that nobody is told twice."""

    occasion: str
    at: float


class Kept(_Record, tag="kept"):
    """Results that are in the cache now."""

    task: str
    elements: str


class Uncached(_Record, tag="uncached"):
    """Results that were computed but not kept in the cache, and why."""

    task: str
    elements: str
    reason: str


Event = (
    Epoch
    | RunChanged
    | Expanded
    | Hit
    | Intent
    | Submitted
    | Voided
    | PoolOpened
    | Finished
    | Failed
    | Requeued
    | Again
    | Settled
    | Skipped
    | Cancelled
    | Reset
    | CodeChanged
    | Read
    | Obeyed
    | Wake
    | Woke
    | Barred
    | Bounded
    | Capped
    | Kill
    | Killed
    | Gone
    | Asked
    | Told
    | Kept
    | Uncached
)


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What `cancel` and `retry` mail to a run; one file each."""

    id: str
    verb: str
    #: task -> indices, None for all; no tasks: the whole run
    tasks: Mapping[str, str | None] = {}
    generation: int = 0
    by: str = ""
    at: float = 0.0
    reason: str = ""
    #: of a retry: ``max_array`` and ``max_submitted``, where they are configured today; 0 where they were before
    bounds: Mapping[str, int] = {}


#: one element that a lane of the local pool is to run, in the pool's pipe: number of the job, element, flags
TOKEN = Struct("<IIII")
#: ring the bell when the element has ended, and when it has started
RING_END, RING_START = 1, 2


class Announced(msgspec.Struct, frozen=True):
    """A job made known to lanes: its number in tokens, its tag, and what is reported of its elements."""

    number: int
    tag: str
    task: str
    array: bool
    attempt: int


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to know of its job: ``jobs/TAG.json``."""

    schema: int = SCHEMA
    #: of reflow, that submitted it
    version: str = ""
    tag: str
    run_id: str
    task: str
    array: bool
    elements: str
    attempt: int
    inputs: str
    generation: int
    resources: Resources = Resources()
    env: Mapping[str, str] = {}
    modules: tuple[str, ...] = ()
    setup: str = ""
    fingerprint: str = "stat"
    #: the warning before the walltime is over, as ``SIGINT@60``; "" for none
    signal: str = ""
    #: the last worker of a group starts the next advance
    relay: bool = False
    #: each element has a process of its own
    fresh: bool = False


class Awaited(msgspec.Struct, frozen=True):
    """A wake-up that waits for a job, one of ``count`` jobs; its workers read this: ``jobs/TAG.wakes``."""

    wake: str
    position: int
    count: int
