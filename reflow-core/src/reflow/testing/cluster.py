"""A cluster in memory, on a fake clock: nothing sleeps, and everything that goes wrong on a real one can be had."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from inspect import GEN_RUNNING, getgeneratorstate
from weakref import WeakValueDictionary

import msgspec

from ..errors import ExecutorError, PluginError
from ..model.job import Job, JobRef, JobState, JobStatus, Limits, Submission
from ..model.names import FailureClass
from ..model.task import JSON
from ..plugin import Context
from .probe import act


class Died(msgspec.Struct, frozen=True):
    """How a slot ended, where that is not an exit code."""

    exit_code: int | None = None
    signal: int | None = None
    failure_class: FailureClass | None = None
    reason: str = ""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that starts, as its program sees it.

    Attributes
    ----------
    job : Job
        What was submitted.
    ref : JobRef
        The slot.
    slot : int
        The slot's number, 0 in a single job.
    environ : mapping
        What the cluster sets: ``REFLOW_SLOT`` in an array.
    rerun : int
        How often the cluster has started this slot before.
    now : float
        Fake seconds.
    umask : int
        Of the process that submitted.
    """

    job: Job
    ref: JobRef
    slot: int
    environ: Mapping[str, str]
    rerun: int
    now: float
    umask: int

    def say(self, text: str) -> None:
        """Write to the job's log."""
        with open(self.job.log, "a", encoding="utf-8") as stream:
            stream.write(text)


#: what plays a slot: returns at once, or is a generator that yields the seconds it takes. Its exit code is None or 0
#: for success, another number, or `Died`. A slot that is cancelled has its generator closed.
Program = Callable[[Start], "int | Died | Generator[float, None, int | Died | None] | None"]

_Play = Generator[float, None, "int | Died | None"]

_clusters: WeakValueDictionary[str, MemoryCluster] = WeakValueDictionary()


class _Slot:
    """One slot of a job, or a single job."""

    def __init__(self, ref: JobRef, job: Job, number: int, umask: int, submitted: float) -> None:
        self.ref = ref
        self.job = job
        self.number = number
        self.umask = umask
        self.submitted = submitted
        self.begin = submitted + (job.begin or 0.0)
        self.state = JobState.PENDING
        self.died = Died()
        self.ended: float | None = None
        self.starts = 0
        self.play: _Play | None = None
        self.wake = 0.0
        self.until: float | None = None
        #: whether it waits for ever, since what it depends on had ended: see `Limits.holds`
        self.held = False


class _Fault(msgspec.Struct):
    """A call that will go wrong."""

    verb: str
    done: bool
    times: int
    message: str


class MemoryCluster:
    """An executor whose jobs are played by Python functions while a fake clock is advanced.

    Parameters
    ----------
    places : int
        How many slots run at once.
    program : callable
        Plays a slot that starts, given a `Start`: see `Program`. By default the scripts of `Probe`.
    limits : Limits
        What it can take: enforced, and told to who asks.
    purge : float, optional
        Seconds after its end when a job is forgotten; None: never.
    separate : bool
        Whether each slot of an array is a job of its own, as on Flux.
    name : str
        What it calls itself.

    Attributes
    ----------
    now : float
        Fake seconds since it was made.
    calls : Counter
        How often each of submit, query, find and cancel was called.
    held : bool
        While True nothing starts.
    """

    def __init__(
        self,
        *,
        places: int = 4,
        program: Program = act,
        limits: Limits | None = None,
        purge: float | None = None,
        separate: bool = False,
        name: str = "memory",
    ) -> None:
        self.places = places
        self.program = program
        self.now = 0.0
        self.calls: Counter[str] = Counter()
        self.held = False
        self._name = name
        self._limits = limits or Limits(visibility_lag=0.0)
        self._purge = purge
        self._separate = separate
        self._slots: dict[str, list[_Slot]] = {}
        self._number = 100
        self._pending: dict[_Slot, None] = {}  # in the order of the queue
        self._running: dict[_Slot, None] = {}
        self._busy: Counter[str] = Counter()  # running slots by tag
        self._faults: list[_Fault] = []
        self._scheduling = False
        self._again = False
        self._token = f"{os.getpid()}-{id(self):x}"
        _clusters[self._token] = self

    # -- the executor -----------------------------------------------------------------

    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> MemoryCluster:
        """The cluster that has these settings; it lives in this process."""
        found = _clusters.get(str(settings.get("cluster")))
        if found is None:
            raise PluginError("this in-memory cluster is not, or no longer, in this process")
        return found

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self._name

    @property
    def settings(self) -> Mapping[str, JSON]:
        """What `create` finds it by."""
        return {"cluster": self._token}

    @property
    def limits(self) -> Limits:
        """What it can take."""
        return self._limits

    def submit(self, job: Job) -> Submission:
        """Queue a job.

        Raises
        ------
        ExecutorError
            Where a limit is passed, a dependency is not known, or a fault was planned.
        """
        lost = self._called("submit")
        self._check(job)
        ids = range(1 if job.slots is None or not self._separate else job.slots)
        mask = os.umask(0o077)
        os.umask(mask)
        made: dict[int, JobRef] = {}
        for index in ids:
            self._number += 1
            ref = JobRef(str(self._number))
            numbers = [index] if self._separate else range(job.slots or 1)
            whole = job.slots is None or self._separate
            self._slots[ref.id] = [
                _Slot(ref if whole else JobRef(ref.id, number), job, number, mask, self.now) for number in numbers
            ]
            for slot in self._slots[ref.id]:
                slot.held = self._limits.holds and any(
                    other.state.ended for after in job.after for other in self._depended(after)
                )
                self._queue(slot)
            made[index] = ref
        self._schedule()
        if lost:
            raise lost
        if self._separate and job.slots is not None:
            return Submission(slots=made)
        return Submission(ref=made[0])

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        """Tell of jobs, by one call."""
        if not jobs:
            return {}
        lost = self._called("query")
        answer: dict[JobRef, JobStatus] = {}
        for ref in jobs:
            slots = [slot for slot in self._visible(ref.id) if ref.slot is None or ref == slot.ref]
            answer.update({slot.ref: self._status(slot) for slot in slots})
            if not slots:
                answer[ref] = JobStatus(state=JobState.UNKNOWN, native="no such job")
        if lost:
            raise lost
        return answer

    def find(self, tags: Collection[str]) -> Mapping[str, JobRef | Submission]:
        """Look jobs up by tag, by one call."""
        if not tags:
            return {}
        lost = self._called("find")
        wanted = set(tags)
        known: dict[str, JobRef | Submission] = {}
        for number, slots in self._slots.items():
            job = slots[0].job
            if job.tag not in wanted or not self._visible(number):
                continue
            if self._separate and job.slots is not None:
                before = known.get(job.tag)
                others = before.slots if isinstance(before, Submission) else {}
                known[job.tag] = Submission(slots={**others, slots[0].number: JobRef(number)})
            else:
                known[job.tag] = JobRef(number)
        if lost:
            raise lost
        return known

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        """End jobs, by one call."""
        if not jobs:
            return
        lost = self._called("cancel")
        for ref in jobs:
            for slot in self._slots.get(ref.id, ()):
                if not slot.state.ended and (ref.slot is None or ref == slot.ref):
                    self._end(slot, JobState.CANCELLED, Died(signal=15, failure_class=FailureClass.CANCELLED))
        self._schedule()
        if lost:
            raise lost

    # -- the clock --------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let fake time pass, and everything happen that is due in it, in order."""
        until = self.now + seconds
        self._schedule()
        while True:
            due = [moment for moment in self._moments() if moment <= until]
            if not due:
                break
            self.now = max(self.now, min(due))
            self._step()
        self.now = max(self.now, until)

    def drain(self, limit: float = 1e6) -> None:
        """Advance from event to event until nothing is due, at most `limit` seconds."""
        until = self.now + limit
        self._schedule()
        while (moments := list(self._moments())) and min(moments) <= until:
            self.now = max(self.now, min(moments))
            self._step()

    # -- what an operator, or fate, does -------------------------------------------------

    def order(self) -> list[str]:
        """Tags of what is pending, in the order of the queue, once for each slot."""
        return [slot.job.tag for slot in self._pending]

    def jobs(self) -> dict[str, list[JobStatus]]:
        """Each tag that was submitted -> the statuses of its slots, whatever callers may see."""
        found: dict[str, list[JobStatus]] = {}
        for slot in self._all():
            found.setdefault(slot.job.tag, []).append(self._status(slot))
        return found

    def finish(self, ref: JobRef, exit_code: int = 0) -> None:
        """End a slot, or all of a job, at once and whatever its program does."""
        for slot in self._named(ref):
            self._finish(slot, exit_code)
        self._schedule()

    def fail(self, ref: JobRef, failure_class: FailureClass = FailureClass.EXIT, reason: str = "") -> None:
        """End a slot, or all of a job, in a way of failing: OOM, TIMEOUT, PREEMPTED, NODE_FAIL..."""
        killed = {FailureClass.EXIT: Died(exit_code=1)}.get(failure_class, Died(signal=9))
        for slot in self._named(ref):
            self._finish(slot, msgspec.structs.replace(killed, failure_class=failure_class, reason=reason))
        self._schedule()

    def lose_node(self, ref: JobRef) -> None:
        """Let the node that runs it die: the program stops without a word, the slot fails as ``node_fail``."""
        self.fail(ref, FailureClass.NODE_FAIL, "the node has died")

    def requeue(self, ref: JobRef) -> None:
        """Have a running slot, or all of a job, stopped and started anew later, as ``scontrol requeue`` does."""
        for slot in self._named(ref):
            self._stop(slot)
            self._queue(slot)
        self._schedule()

    def forget(self, ref: JobRef) -> None:
        """Let it vanish from the records, as an old job does."""
        for slot in self._slots.pop(ref.id, ()):
            self._stop(slot)
        self._schedule()

    def break_down(self, verb: str, *, done: bool = False, times: int = 1, message: str = "no answer") -> None:
        """Let the next calls of a verb fail.

        Parameters
        ----------
        verb : str
            ``submit``, ``query``, ``find`` or ``cancel``.
        done : bool
            Whether what was asked for is done all the same, and only the answer is lost.
        times : int
            How many calls fail.
        message : str
            What the error says.
        """
        self._faults.append(_Fault(verb, done, times, message))

    # -- inside -----------------------------------------------------------------------

    def _called(self, verb: str) -> ExecutorError | None:
        self.calls[verb] += 1
        fault = next((fault for fault in self._faults if fault.verb == verb and fault.times), None)
        if fault is None:
            return None
        fault.times -= 1
        error = ExecutorError(f"{verb}: {fault.message}", transient=True, maybe_done=fault.done)
        if fault.done:
            return error
        raise error

    def _check(self, job: Job) -> None:
        limits = self._limits
        slots = 1 if job.slots is None else job.slots
        live = len(self._pending) + len(self._running)
        if slots < 1:
            raise ExecutorError("submit: an array needs at least one slot")
        if job.slots is not None and limits.max_array is not None and slots > limits.max_array:
            raise ExecutorError(f"submit: an array may have {limits.max_array} slots, not {slots}", large=True)
        if limits.max_submitted is not None and live + slots > limits.max_submitted:
            raise ExecutorError(f"submit: at most {limits.max_submitted} jobs may be queued", full=True)
        if limits.max_after is not None and len(job.after) > limits.max_after:
            raise ExecutorError(f"submit: at most {limits.max_after} dependencies, not {len(job.after)}")
        if (job.after and not limits.dependencies) or (job.begin is not None and not limits.begin):
            raise ExecutorError("submit: dependencies and begin times are not supported here")
        for ref in job.after:
            if not self._known(ref.id):
                raise ExecutorError(f"submit: dependency problem, there is no job {ref.id}")

    def _all(self) -> Iterable[_Slot]:
        return [slot for slots in self._slots.values() for slot in slots]

    def _named(self, ref: JobRef) -> list[_Slot]:
        return [slot for slot in self._slots[ref.id] if (ref.slot is None or slot.ref == ref) and not slot.state.ended]

    def _known(self, id: str) -> list[_Slot]:
        """The slots of a job that are not purged."""
        return [
            slot
            for slot in self._slots.get(id, ())
            if slot.ended is None or self._purge is None or slot.ended + self._purge > self.now
        ]

    def _visible(self, id: str) -> list[_Slot]:
        """The slots of a job that a caller may see."""
        return [slot for slot in self._known(id) if slot.submitted + self._limits.visibility_lag <= self.now]

    def _moments(self) -> Iterable[float]:
        """When something is due."""
        for slot in self._running:
            yield slot.wake if slot.until is None else min(slot.wake, slot.until)
        for slot in self._pending:
            if slot.begin > self.now:
                yield slot.begin

    def _step(self) -> None:
        """Let happen what is due now."""
        for slot in list(self._running):
            if slot.play is None:  # ended by the program of another, just now
                continue
            if slot.wake <= self.now:
                self._go_on(slot, slot.play)
            elif slot.until is not None and slot.until <= self.now:
                self._finish(slot, Died(signal=15, failure_class=FailureClass.TIMEOUT, reason="walltime reached"))
        self._schedule()

    def _schedule(self) -> None:
        """Start what can start, in the order of the queue, until nothing more can.

        A program may itself submit or cancel: what that makes possible is looked at afterwards.
        """
        self._again = True
        if self._scheduling:
            return
        self._scheduling = True
        try:
            while self._again:
                self._again = False
                for slot in list(self._pending):
                    if len(self._running) >= self.places or self.held:
                        break
                    if slot in self._pending and not self._obstacle(slot):
                        self._start(slot)
                        self._again = True
        finally:
            self._scheduling = False

    def _obstacle(self, slot: _Slot) -> str:
        """What a pending slot waits for; "" where it may start."""
        job = slot.job
        if self.held:
            return "the queue is held"
        if slot.begin > self.now:
            return "waiting for its begin time"
        if slot.held or any(not other.state.ended for ref in job.after for other in self._depended(ref)):
            return "waiting for other jobs"
        if job.throttle is not None and self._busy[job.tag] >= job.throttle:
            return "waiting for other slots of its array"
        if len(self._running) >= self.places:
            return "waiting for resources"
        return ""

    def _depended(self, ref: JobRef) -> list[_Slot]:
        return [slot for slot in self._slots.get(ref.id, ()) if ref.slot is None or slot.ref == ref]

    def _status(self, slot: _Slot) -> JobStatus:
        return JobStatus(
            state=slot.state,
            exit_code=slot.died.exit_code,
            signal=slot.died.signal,
            failure_class=slot.died.failure_class,
            reason=self._obstacle(slot) if slot.state is JobState.PENDING else slot.died.reason,
            native=slot.state.value.upper(),
        )

    # Each slot goes through these: queue, start, end; stop takes it from wherever it is.

    def _queue(self, slot: _Slot) -> None:
        slot.state = JobState.PENDING
        self._pending[slot] = None

    def _start(self, slot: _Slot) -> None:
        self._stop(slot)
        slot.state, slot.wake = JobState.RUNNING, self.now
        slot.until = None if slot.job.resources.time is None else self.now + slot.job.resources.time
        slot.starts += 1
        self._running[slot] = None
        self._busy[slot.job.tag] += 1
        if not os.path.isdir(os.path.dirname(slot.job.log)):
            reason = f"the log {slot.job.log} cannot be written"
            self._finish(slot, Died(exit_code=1, failure_class=FailureClass.LAUNCH, reason=reason))
            return
        start = Start(
            job=slot.job,
            ref=slot.ref,
            slot=slot.number,
            environ={} if slot.job.slots is None else {"REFLOW_SLOT": str(slot.number)},
            rerun=slot.starts - 1,
            now=self.now,
            umask=slot.umask,
        )
        played = self.program(start)
        if isinstance(played, Generator):
            slot.play = played
            self._go_on(slot, played)
        elif slot in self._running:  # not cancelled or requeued by its own program
            self._finish(slot, played)

    def _go_on(self, slot: _Slot, play: _Play) -> None:
        slot.wake = math.inf  # a program may let time pass itself
        try:
            slot.wake = self.now + next(play)
        except StopIteration as end:
            if slot.play is play:
                self._finish(slot, end.value)

    def _finish(self, slot: _Slot, how: int | Died | None) -> None:
        """End a slot as its program, or fate, says."""
        died = how if isinstance(how, Died) else Died(exit_code=how or 0)
        good = died.exit_code == 0 and died.signal is None and died.failure_class is None
        if not good and died.failure_class is None:
            died = msgspec.structs.replace(died, failure_class=FailureClass.EXIT)
        self._end(slot, JobState.SUCCESS if good else JobState.FAILED, died)

    def _end(self, slot: _Slot, state: JobState, died: Died) -> None:
        self._stop(slot)
        slot.state, slot.died, slot.ended = state, died, self.now

    def _stop(self, slot: _Slot) -> None:
        self._pending.pop(slot, None)
        if slot in self._running:
            del self._running[slot]
            self._busy[slot.job.tag] -= 1
        play, slot.play = slot.play, None
        if play is not None and getgeneratorstate(play) != GEN_RUNNING:  # a program may end its own slot
            play.close()
