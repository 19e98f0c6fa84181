"""A run's dealings with its scheduler: what it submits, asks and cancels, and what it makes of the answers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from ...batch.ends import exited
from ...errors import ExecutorError, ReflowError
from ...model import layout
from ...model.definition import Definition
from ...model.job import Executor, Job, JobRef, Limits, Submission
from ...model.lifecycle.states import ACTIVE, SUCCESS
from ...model.names import NEVER, FailureClass
from ...model.ranges import from_ranges, to_ranges
from ...model.record import (
    Asked,
    Barred,
    Capped,
    Failed,
    Gone,
    Intent,
    Kill,
    Killed,
    Requeued,
    Submitted,
    Voided,
    Wake,
    Woke,
)
from ...model.resources import Resources
from ...model.state import Flight, WakeUp
from ...planning.plan import CAP_LASTS, Submit
from ...planning.reconcile import judge, missing, overdue, references, refs, tags
from ...planning.tags import new_tag
from ...planning.waking import flying, groups, joins, room, uncovered
from ...worker.durable import make_directories
from ...worker.mailbox import give_up
from ...worker.opener import read_regular
from ...worker.tags import close, void
from ..journal.writer import Writer
from .factory import Jobs
from .failures import fail

#: seconds after which a scheduler that did not answer is asked again; they double, up to the second
AGAIN, _MOST = 15.0, 300.0

#: the longest such pause while a job was refused in words that nobody knows
_SOONER = 60.0

#: bytes of memory that an advance takes, and for each element of its run
_MEMORY, _EACH = 64 << 20, 1 << 10

#: seconds after which a wake-up begins that is asked for to see whether a node can submit
_PROBE = 60.0

#: seconds by which a wake-up may be later than what is due
_SOON = 30.0

#: how often in a row it may be full, with nothing of the run in flight, before nobody waits for others' jobs any more
_FULL = 6

#: how often in a row what is refused in words that nobody knows is submitted, within some minutes
_TRIES = 3

#: how often in a row a scheduler may refuse to cancel something, for good as it says, before it is let go
_REFUSALS = 4

#: seconds after which a job that is ending is looked at again
_ENDING = 2.0


class Scheduler:
    """What runs a run's jobs, a pool of this process's own included.

    Parameters
    ----------
    writer : Writer
        The run.
    executor : Executor
        What is asked.
    jobs : Jobs
        Makes the jobs.
    pooled : bool
        Whether the executor's workers belong to this process.
    grace : float
        Seconds for which a record may be late.
    lost_after : float
        Seconds for which the end of a job is waited for that was cancelled because it seemed to be lost.
    relays : bool
        Whether the last worker of a group starts the next advance.
    interval : float
        Seconds between two looks at jobs for which no wake-up can wait.
    hear : callable
        Takes in what workers have reported: the last thing to be done before elements are given up.

    Attributes
    ----------
    stranded : str
        Why the run cannot wake itself, where it cannot.
    crowded : bool
        Whether a wake-up is needed that finds no room under the submit cap.
    replaced : bool
        Whether wake-ups were taken back when they were last arranged, since they may never start.
    full : bool
        Whether it takes no more jobs before others have ended, whatever its limits told.
    away : bool
        Whether the scheduler does not answer, or takes nothing, for now.
    unheard : frozenset of str
        Tags of jobs of which it could say nothing when it was asked last.
    ending : frozenset of str
        Tags of jobs that it had not done with then, though nothing of them ran.
    answered : float
        When it last answered this process, in seconds since the epoch; 0: not yet.
    woken : bool
        Whether this process runs on a compute node, which may not be allowed to submit.
    relaying : bool
        Whether it runs in a job whose work was another, so that what it cannot do is left to a wake-up.
    """

    def __init__(
        self,
        writer: Writer,
        executor: Executor,
        jobs: Jobs,
        *,
        pooled: bool,
        grace: float,
        lost_after: float,
        relays: bool,
        interval: float,
        hear: Callable[[], object],
    ) -> None:
        self.stranded = ""
        self.crowded = self.full = self.replaced = False
        self.away = False
        self.woken = self.relaying = False
        #: whether a submission was taken from here, and whether one is made to find that out
        self._able = self._trying = False
        self.unheard: frozenset[str] = frozenset()
        self.ending: frozenset[str] = frozenset()
        self.answered = 0.0
        self.executor = executor
        self._writer = writer
        self._jobs = jobs
        self._pooled = pooled
        self._grace = grace
        self._lost_after = lost_after
        self._relays, self._interval = relays, interval
        self._hear = hear

    def use(self, definition: Definition) -> None:
        """Make jobs from now on as a later code generation has them: by its interpreter, in its environment."""
        self._jobs.definition = definition

    @property
    def limits(self) -> Limits:
        """What the executor can take beside this very job, where this process runs in one; what it refused counts."""
        bounds, cap = self._writer.state.bounds, self._writer.state.cap
        rebound = getattr(self.executor, "rebound", None)
        if bounds and callable(rebound):
            rebound(bounds)
        limits = self.executor.limits
        for name, bound in bounds.items():
            if bound:
                limits = msgspec.structs.replace(limits, **{name: min(bound, getattr(limits, name) or bound)})
        if cap is not None and self._writer.now() - cap.at < CAP_LASTS:
            limits = msgspec.structs.replace(limits, max_array=min(limits.max_array or cap.size, cap.size))
        if limits.max_submitted is None or not (self.woken or self.relaying):
            return limits
        return msgspec.structs.replace(limits, max_submitted=max(1, limits.max_submitted - 1))

    @property
    def again(self) -> float | None:
        """Seconds after which to ask again a scheduler that is away, or could not tell of all; None where it is well.

        They grow with each time in a row that it was found so. Where there is
        no room for a wake-up, this process has to stay in its place.
        """
        if not (self.away or self.unheard):
            if self.ending:
                return _ENDING
            return AGAIN if self.crowded and not self.covered else None
        state = self._writer.state
        times = max(state.unanswered, state.refusals, 1)
        # Words that nobody knows are tried again within minutes, however long the scheduler was away before.
        return min(AGAIN * 2.0 ** min(times - 1, 10), _SOONER if state.obscure else _MOST)

    # --- submitting ----------------------------------------------------------

    def submit(self, action: Submit) -> None:
        """Submit elements of a task: the intent first, and how it went after.

        What cannot be taken since an earlier submission of the same plan was refused is left to the next plan.
        """
        limits = self.limits
        if self.away or self.full or len(action.elements) > (limits.max_array or len(action.elements)):
            return
        writer = self._writer
        task = writer.definition.task(action.task)
        tag = new_tag(os.urandom(8))
        env, relay = (
            writer.secrets.env.get(task.name, {}),
            self._relays and writer.state.relays and self._fits(action.resources),
        )
        spec = self._jobs.spec(action, tag, task, env, writer.state.generation, relay=relay)
        self._jobs.write(task, spec, action.elements, warm=self._pooled)
        writer.add(
            Intent(
                tag=tag,
                task=task.name,
                elements=spec.elements,
                attempt=action.attempt,
                part=action.part,
                at=writer.now(),
                generation=writer.state.generation,
                resources=action.resources,
                array=task.array,
                throttle=action.throttle,
            )
        )
        if lost := writer.secrets.missing(task.name):
            writer.commit()
            why = f"{lost} were lost with secrets.json; `reflow retry` takes them from today's script"
            self._refused(tag, why, final=True)
            return
        self._send(self._jobs.job(task, spec, len(action.elements), action.throttle))

    def _fits(self, asked: Resources) -> bool:
        """Whether a job has the memory that it takes to advance this run, as far as is known."""
        elements = sum(progress.size or 1 for progress in self._writer.state.tasks.values())
        return asked.mem is None or asked.mem >= _MEMORY + _EACH * elements

    def _send(self, job: Job) -> bool:
        """Submit a job whose intent was written down; False where it was refused, or nobody knows yet."""
        writer = self._writer
        if self._pooled:
            writer.flush()  # what this process's own workers do cannot outlast the machine
        else:
            writer.commit()
        writer.check()
        try:
            submission = self.executor.submit(job)
        except ReflowError as error:
            self._not_taken(job, error)
            return False
        writer.add(_submitted(job.tag, submission, writer.now()))
        self._able = True
        return True

    def _not_taken(self, job: Job, error: ReflowError) -> None:
        writer, now, tag = self._writer, self._writer.now(), job.tag
        why = error.line
        if not isinstance(error, ExecutorError):
            error = ExecutorError(error.message)
        if error.maybe_done:
            self._outage(f"{why}; it is looked for before anything else is submitted")
        elif error.full and self._makes_room(tag):
            self.full = True
            self.crowded = tag in writer.state.wakes
            writer.warn(f"{why}; what is left is submitted when others have ended")
            self._void(tag, why, now)
        elif (error.full or error.large) and job.slots is not None and job.slots > 1:
            size = job.slots // 2
            writer.add(Capped(at=now, size=size, w=why))
            writer.warn(f"{why}; arrays of {size} elements at most are submitted")
            self._void(tag, why, now)
        elif error.full and self._taken_before() and writer.state.unanswered >= _FULL and not self.relaying:
            # Nothing of the run will make room: it stands until somebody goes on with it.
            self.full = True
            self._outage(f"{why}; no job of the run is left that would make room", away=False)
            self._void(tag, why, now)
        elif self._passes(error):
            self._outage(f"{why}; it is tried again")
            self._void(tag, why, now, obscure=error.obscure)
        elif not (error.full or error.definite) and (
            self.relaying or (self.woken and (error.elsewhere or self._unable()))
        ):
            # What cannot be submitted from here waits for a process that can.
            self._void(tag, why, now)
            if not self.away:
                who = "compute nodes cannot submit" if error.elsewhere else "jobs from a compute node are refused"
                writer.add(Barred(at=now, w=f"{who}: {why}", relay=self.relaying))
                self.stranded = self.stranded if self.relaying else why
            self.away = True
        else:
            self._refused(tag, why, final=error.definite or error.obscure or bool(error.hint))

    def _passes(self, error: ExecutorError) -> bool:
        """Whether a refusal may pass by itself, as far as one can know."""
        obscure = error.obscure and self._writer.state.obscure < _TRIES - 1
        return error.transient or obscure or (error.full and self._taken_before())

    def _makes_room(self, tag: str) -> bool:
        """Whether other jobs of the run are in flight, at whose end there will be room."""
        state = self._writer.state
        return any(state.flights[position].known for one, position in state.open_flights.items() if one != tag)

    def _taken_before(self) -> bool:
        """Whether it has taken a job of the run before: where it is full now, others fill it."""
        return self._able or any(flight.known for flight in self._writer.state.flights)

    def _unable(self) -> bool:
        """Whether a node takes no submission at all, or the one that it has refused was at fault.

        If none was taken from here, one more wake-up is asked for: the submit host took one like it.
        """
        if not self._able and not self._trying:
            self._trying = True
            self._begin(_PROBE)
            self._trying = False
        return not self._able

    def _refused(self, tag: str, why: str, *, final: bool) -> None:
        """The scheduler did not take a job: its elements have failed to launch; a wake-up is not to be had.

        ``final``: it would not take it a second time.
        """
        writer, now = self._writer, self._writer.now()
        if not self._void(tag, why, now, refused=True):
            return  # it was taken all the same
        position = writer.state.open_flights.get(tag)
        if position is None:
            writer.add(Woke(tag=tag, at=now, reason=why))
            writer.warn(f"the run cannot wake itself: {why}")
            self.stranded = why
            return
        flight = writer.state.flights[position]
        fail(
            writer,
            Failed(
                task=flight.task,
                elements=to_ranges(flight.elements),
                attempt=flight.attempt,
                f=FailureClass.LAUNCH,
                at=now,
                w=why,
                j=tag,
                final=final,
            ),
        )

    # --- finding out ---------------------------------------------------------

    def resolve(self) -> float | None:
        """Find out what became of submissions whose answer was never written down.

        Returns
        -------
        float or None
            Seconds until those that the scheduler may not show yet can be
            decided; None where none is left.
        """
        writer, state = self._writer, self._writer.state
        unknown = {
            flight.tag: flight.at
            for position in state.open_flights.values()
            if not (flight := state.flights[position]).known
        }
        unknown |= {wake.tag: wake.at for wake in state.wakes.values() if not wake.id}
        if not unknown:
            return None
        writer.check()
        try:
            found = self.executor.find(list(unknown))
        except ExecutorError as error:
            self._outage(f"the scheduler does not answer: {error}")
            return None
        lag = self.executor.limits.visibility_lag
        wait: float | None = None
        for tag, at in unknown.items():
            now = writer.now()
            if tag in found and (now - at >= lag or not self._unsubmitted(tag, found[tag])):
                ref = found[tag]
                absent = self._unsubmitted(tag, ref)
                writer.add(_submitted(tag, Submission(ref) if isinstance(ref, JobRef) else ref, now))
                if absent:
                    self._requeue(tag, absent)
            elif now - at < lag:
                wait = lag - (now - at) if wait is None else max(wait, lag - (now - at))
            else:
                self._void(tag, "the scheduler does not know it", now)
        writer.commit()
        return wait

    def _unsubmitted(self, tag: str, found: JobRef | Submission) -> list[int]:
        """Slots of an array without a job, where the scheduler makes a job of each slot and took some of them only."""
        position = self._writer.state.open_flights.get(tag)
        if position is None:
            return []
        slots = range(len(self._writer.state.flights[position].elements))
        if isinstance(found, JobRef):
            ids = found.id.split(",")
            return [slot for slot in slots if not (slot < len(ids) and ids[slot])] if len(ids) > 1 else []
        return [slot for slot in slots if slot not in found.slots] if found.slots else []

    def _requeue(self, tag: str, slots: Sequence[int]) -> None:
        """Let slots be submitted that never were; should a job of them come after all, it runs nothing."""
        writer = self._writer
        flight = writer.state.flights[writer.state.open_flights[tag]]
        for slot in slots:
            give_up(writer.root, tag, slot)
        elements = to_ranges(sorted(flight.elements[slot] for slot in slots))
        why = "the scheduler took only a part of its array"
        writer.add(Requeued(task=flight.task, elements=elements, reason=why, at=writer.now()))

    def _void(self, tag: str, why: str, now: float, *, refused: bool = False, obscure: bool = False) -> bool:
        """Give a submission up, so that a job of it that comes all the same runs nothing; False where one came before.

        ``refused``: what follows from it, the caller writes down; ``obscure``: as in `Voided`.
        """
        writer = self._writer
        make_directories(os.path.dirname(layout.tag(writer.root, tag)))
        claimed = void(layout.tag(writer.root, tag))
        if claimed is None:
            if not refused:
                writer.add(Voided(tag=tag, reason=why, at=now, obscure=obscure))
            return True
        if claimed:
            writer.add(Submitted(tag=tag, id=claimed, at=now))
        else:
            self._started_unseen(tag, now)
        return False

    def _started_unseen(self, tag: str, now: float) -> None:
        """A job has started that the scheduler does not know, and that could not tell its own id.

        So it has ended, or nobody can be asked about it. Its record counts if one
        comes within the grace period; a wake-up's start was all that was waited for.
        """
        state = self._writer.state
        position = state.open_flights.get(tag)
        if position is None:
            self._writer.add(Woke(tag=tag, at=now, reason="it has started"))
            return
        flight = state.flights[position]
        silent = [index for index in self._active(flight) if (flight.task, index) not in state.gone]
        if silent:
            why = "it has started, and the scheduler does not know it"
            for one in self._with_exit_codes(Gone(tag=tag, elements=to_ranges(silent), at=now, w=why, sure=True)):
                self._writer.add(one)

    def ask(self) -> bool:
        """Ask the scheduler once for everything in flight; an outage is no evidence, and is said.

        Returns
        -------
        bool
            Whether something has ended of which that was not known.
        """
        writer, state = self._writer, self._writer.state
        wanted = refs(state)
        if not wanted:
            return False
        writer.check()
        self._expect()
        try:
            answers = self.executor.query(wanted)
        except ExecutorError as error:
            self._outage(f"the scheduler does not answer: {error}")
            return False
        now = self.answered = writer.now()
        verdict = judge(state, answers, now, self.executor.limits)
        self.unheard, self.ending = verdict.unheard, verdict.ending
        for event in verdict.events:
            for one in [event] if type(event) is not Gone else self._with_exit_codes(event):
                writer.add(one)
        for tag in verdict.woken:
            writer.add(Woke(tag=tag, at=now, reason="its job is gone"))
        return bool(verdict.woken) or any(type(event) is Gone and not event.back for event in verdict.events)

    def _with_exit_codes(self, event: Gone) -> list[Gone]:
        """Split what has gone, not known how, by the exit codes that its jobs' shells have left."""
        flight = self._writer.state.flights[self._writer.state.open_flights[event.tag]]
        if event.f or event.back:
            return [event]
        groups: dict[int | None, list[int]] = {}
        for index in from_ranges(event.elements):
            groups.setdefault(exit_code(self._writer.root, flight.tag, flight.slot_of(index)), []).append(index)
        found = []
        for code, indices in groups.items():
            one = msgspec.structs.replace(event, elements=to_ranges(indices))
            if code is not None:
                status = exited(code, shell=True)
                cls = status.failure_class or FailureClass.EXIT
                one = msgspec.structs.replace(
                    one, f=cls.value, x=status.exit_code, s=status.signal, w=status.reason, never=False, sure=True
                )
            found.append(one)
        return found

    def _expect(self) -> None:
        """Tell the executor what the run's jobs are called, where it can tell them from others of the same number."""
        expect = getattr(self.executor, "expect", None)
        if callable(expect):
            expect(tags(self._writer.state))

    def _outage(self, problem: str, *, away: bool = True) -> None:
        """The scheduler does not answer, or takes nothing now: no evidence of anything, and a reason to wait."""
        self.away = away
        waiting = self._writer.state.asked.waiting
        self._writer.add(Asked(at=self._writer.now(), waiting=waiting, problem=" ".join(problem.split())))
        self._writer.warn(problem)

    @property
    def silent(self) -> bool:
        """Whether something in flight has not reported its end, or a wake-up has not come yet."""
        state = self._writer.state
        return bool(missing(state)) or any(wake.id for wake in state.wakes.values())

    @property
    def doubtful(self) -> bool:
        """Whether the next answer may tell that an element is lost, or that one which was cancelled has ended."""
        state, lag, now = self._writer.state, self.executor.limits.visibility_lag, self._writer.now()
        return any(
            now - gone.at >= (lag if gone.killed else max(lag, self._grace))
            for gone in state.gone.values()
            if gone.killed or not gone.sure
        )

    def give_up(self) -> float | None:
        """Let elements fail whose record did not arrive within the grace period; seconds until the next one is due.

        What is lost may run all the same: it is cancelled first.
        """
        now = self._writer.now()
        events, soonest = self._overdue(now)
        if events:
            for event in events:
                if type(event) is Failed:
                    self._outlaw(event.task, from_ranges(event.elements))
            # Since the mailbox was read, the scheduler may have been waited for.
            self._hear()
            events, soonest = self._overdue(now)
        for event in events:
            if isinstance(event, Failed):
                fail(self._writer, event)
            else:
                self._writer.add(event)
        if any(type(event) is Kill for event in events):
            self.enforce()
            soonest = self._overdue(now)[1]
        return soonest

    def _overdue(self, now: float) -> tuple[list[Failed | Kill], float | None]:
        lag = self.executor.limits.visibility_lag
        return overdue(self._writer.state, now, grace=self._grace, lag=lag, lost_after=self._lost_after)

    def _outlaw(self, task: str, elements: Iterable[int]) -> None:
        """A scheduler may start once more what it has said to be gone: no worker is to run it any more then."""
        for index in elements:
            flight = self._writer.state.flight_of(task, index)
            if flight is not None:
                give_up(self._writer.root, flight.tag, flight.slot_of(index))

    # --- cancelling ----------------------------------------------------------

    def enforce(self) -> None:
        """Cancel what is to be cancelled, the chain first, by one call; held for later where that fails."""
        if self.away:
            return
        writer, state = self._writer, self._writer.state
        chain: list[JobRef] = []
        jobs: list[JobRef] = []
        orders: dict[str, list[Kill]] = {}
        for tag, kills in state.kills.items():
            wake, position = state.wakes.get(tag) or state.spares.get(tag), state.open_flights.get(tag)
            if wake is not None and wake.id:
                chain.append(JobRef(wake.id, None, wake.cluster or None))
            elif position is not None:
                flight = state.flights[position]
                meant = {index for kill in kills for index in from_ranges(kill.elements)}
                if flight.known:
                    jobs += references(flight, meant.intersection(self._active(flight)))
                elif not all((flight.task, index) in state.gone for index in meant):
                    continue  # it is found out first what became of its submission
            else:
                continue
            orders[tag] = list(kills)
        if not orders:
            return
        writer.commit()
        writer.check()
        self._expect()
        try:
            if chain or jobs:
                self.executor.cancel([*chain, *jobs])
        except ExecutorError as error:
            if error.transient or state.unanswered < _REFUSALS:
                self._outage(f"the scheduler does not cancel: {error}")
                return
            # It never will: nothing may wait for that for ever.
            writer.warn(f"some jobs may be left, which the scheduler does not cancel: {error}")
        now = writer.now()
        aims = {tag: state.flights[state.open_flights[tag]] for tag in orders if tag in state.open_flights}
        if aims and not self._pooled:
            for tag, flight in aims.items():
                active = self._active(flight)
                for kill in orders[tag]:
                    if kill.f == FailureClass.LOST:
                        self._outlaw(flight.task, sorted(set(from_ranges(kill.elements)).intersection(active)))
            self._hear()  # what has ended meanwhile, of itself, has not been cancelled
        for tag, kills in orders.items():
            if tag not in aims:
                writer.add(Woke(tag=tag, at=now, reason=kills[0].w))
                continue
            flight = aims[tag]
            for kill in kills:
                left = set(from_ranges(kill.elements)).intersection(self._active(flight))
                if left and kill.f == FailureClass.LOST and flight.known:
                    # It may run all the same: its end is confirmed before anything of it is tried again.
                    elements = to_ranges(sorted(left))
                    writer.add(Gone(tag=tag, elements=elements, at=now, w=kill.w, sure=True, killed=True))
                elif left and not self._pooled:
                    fail(
                        writer,
                        Failed(
                            task=flight.task,
                            elements=to_ranges(sorted(left)),
                            attempt=flight.attempt,
                            f=FailureClass(kill.f),
                            at=now,
                            w=kill.w,
                            j=tag,
                            final=kill.w.startswith(NEVER),
                        ),
                    )
            writer.add(Killed(tag=tag, at=now))
        writer.commit()

    def _active(self, flight: Flight) -> list[int]:
        """Elements of a job that have not ended."""
        progress = self._writer.state.tasks[flight.task]
        return [
            index
            for index in flight.elements
            if progress.status[index] in ACTIVE and self._writer.state.flight_of(flight.task, index) is flight
        ]

    # --- waking --------------------------------------------------------------

    def arrange(self, pause: float | None) -> bool:
        """Make sure that the run is woken when it has to go on.

        Parameters
        ----------
        pause : float, optional
            Seconds until something is due by the clock, and too long to wait here.

        Returns
        -------
        bool
            Whether a wake-up was asked for: what ended in the meantime, nobody
            may have told of.
        """
        if self.away:
            return False
        writer, state, limits = self._writer, self._writer.state, self.limits
        self.stranded, self.crowded, self.replaced = "", False, False
        now = writer.now()
        before = set(state.wakes)
        open_tags = flying(state, self.unheard | self.ending)
        wakes = [wake for wake in state.wakes.values() if wake.id and not wake.join]
        wanted = uncovered(groups(writer.definition, state, now), wakes, open_tags)
        if not limits.dependencies:  # no job can wait for others: one that begins later looks again, and so on
            wanted = []
            pause = self._interval if pause is None and open_tags and limits.begin else pause
        places = room(state, limits)
        asked = False
        if places is not None and places < len(wanted):
            self.crowded = not places
            wanted = wanted[:places]  # the others are seen to when the first of these wake the run
        for group in wanted:
            if self.crowded:
                break
            waits = tuple(tag for tag in group if tag in open_tags)
            if waits:
                asked = True
                if not self._wake(waits):
                    return True
        if pause is not None and not any(0.0 < wake.due <= now + pause + _SOON for wake in wakes):
            self._begin(pause)
        if asked and limits.holds:
            self._confirm([state.wakes[tag] for tag in state.wakes.keys() - before])
        return asked

    def _confirm(self, wakes: Sequence[WakeUp]) -> None:
        """Take back new wake-ups that may be held for ever: of what they wait for, something may have ended before.

        What is still waited for has another wake-up at the next round, which `ask` makes necessary.
        """
        writer, state = self._writer, self._writer.state
        self.ask()
        alive = flying(state, self.unheard | self.ending)
        held = [wake for wake in wakes if wake.id and wake.waits and not alive.issuperset(wake.waits)]
        self.replaced = bool(held) and not self.away
        if not self.replaced:
            return
        refs = [JobRef(id, None, wake.cluster or None) for wake in held for id in self._ids(wake)]
        try:
            self.executor.cancel(refs)
        except ExecutorError as error:
            self._outage(f"the scheduler does not cancel: {error}")
            return
        for wake in held:
            writer.add(Woke(tag=wake.tag, at=writer.now(), reason="what it waits for was ending: it may never start"))

    def _ids(self, wake: WakeUp) -> list[str]:
        """Ids of a wake-up, and of the jobs that stand for others in its dependency."""
        joined = [self._writer.state.wakes[tag].id for tag in wake.joined if tag in self._writer.state.wakes]
        return [wake.id, *filter(None, joined)]

    @property
    def covered(self) -> bool:
        """Whether a wake-up is under way; one whose work this is, before it has started, will not be for long."""
        state = self._writer.state
        wakes = [wake for wake in state.wakes.values() if wake.id and not wake.join]
        if self.relaying:
            open_tags = flying(state)
            wakes = [wake for wake in wakes if not wake.waits or not open_tags.isdisjoint(wake.waits)]
        return bool(wakes)

    @property
    def arranged(self) -> bool:
        """Whether wake-ups that were just submitted go on with the run, whatever has ended meanwhile."""
        return self.covered and not (self.relaying or self.replaced or self.crowded or self.away or self.stranded)

    def _wake(self, waits: tuple[str, ...]) -> bool:
        """Submit a wake-up that waits for jobs; where they are too many for one dependency, others join them.

        Returns
        -------
        bool
            Whether the scheduler has answered, with a refusal maybe.
        """
        state, limits = self._writer.state, self.limits
        refs = [ref for tag in waits for ref in references(state.flights[state.open_flights[tag]])]
        # Each job of an array counts, where the scheduler makes one of each slot.
        after = [JobRef(id, None, ref.cluster) for ref in refs for id in ref.id.split(",") if id]
        joined: list[str] = []
        steps, places = joins(len(after), limits.max_after), room(state, limits)
        if limits.max_after == 1 or (places is not None and sum(map(len, steps)) >= places > 0):
            # Nothing can join them: it wakes when the first have ended, and sees to the others then.
            after, steps = after[: limits.max_after], []
        for step in steps:
            following: list[JobRef] = []
            for first, last in step:
                if last - first == 1:
                    following.append(after[first])
                    continue
                tag = new_tag(os.urandom(8))
                self._writer.add(Wake(tag=tag, waits=waits, at=self._writer.now(), join=True))
                job = self._jobs.join(tag, after[first:last])
                self._jobs.write_join(job)
                if not self._send(job):
                    return not self.away
                joined.append(tag)
                wake = state.wakes[tag]
                following.append(JobRef(wake.id, None, wake.cluster or None))
            after = following
        tag = new_tag(os.urandom(8))
        self._writer.add(Wake(tag=tag, waits=waits, at=self._writer.now(), joined=tuple(joined)))
        if self._relays and state.relays:
            self._jobs.awaited(waits, [wake for wake in state.wakes.values() if not wake.join])
        job = self._jobs.wake(tag, after, None)
        self._jobs.write_wake(job)
        return self._send(job) or not self.away

    def _begin(self, pause: float) -> None:
        """Submit a wake-up that begins later."""
        tag, now = new_tag(os.urandom(8)), self._writer.now()
        self._writer.add(Wake(tag=tag, waits=(), at=now, due=now + pause))
        # Where the scheduler knows no begin time, it sleeps until then.
        job = self._jobs.wake(tag, (), pause if self.executor.limits.begin else None)
        self._jobs.write_wake(job)
        self._send(job)

    def woke(self, tag: str) -> None:
        """Note that a wake-up has started."""
        if tag in self._writer.state.wakes:
            self._writer.add(Woke(tag=tag, at=self._writer.now()))

    def relieve(self, tags: Sequence[str]) -> list[str]:
        """Note that the work of wake-ups is done, though they have not started; says of which ones it is."""
        wakes, open_tags = self._writer.state.wakes, flying(self._writer.state)
        done = [tag for tag in tags if tag in wakes and open_tags.isdisjoint(wakes[tag].waits)]
        for tag in done:
            self._writer.add(Woke(tag=tag, at=self._writer.now(), reason="the last worker went on", spare=True))
        return done

    def close(self) -> None:
        """The run ends: let no job of it run anything that is not known to have succeeded, should it start again."""
        if self._pooled:
            return
        state = self._writer.state
        succeeded = Counter(
            position
            for progress in state.tasks.values()
            for position, status in zip(progress.job, progress.status, strict=True)
            if status == SUCCESS
        )
        for position, flight in enumerate(state.flights):
            if flight.known and succeeded[position] < len(flight.elements):
                close(layout.tag(self._writer.root, flight.tag))

    def dismiss(self) -> None:
        """The run has ended: take the wake-ups out of the queue that nobody needs any more."""
        writer, state = self._writer, self._writer.state
        left = {**state.wakes, **state.spares}
        refs = [JobRef(wake.id, None, wake.cluster or None) for wake in left.values() if wake.id]
        if self._pooled or not refs:
            return
        writer.check()
        self._expect()
        try:
            self.executor.cancel(refs)
        except ReflowError as error:
            writer.warn(f"wake-ups that are not needed any more are still queued: {error}")
            return
        for tag in left:
            writer.add(Woke(tag=tag, at=writer.now(), reason="the run has ended"))


def exit_code(root: str, tag: str, slot: int) -> int | None:
    """Return the bad exit code that the first shell of a slot's job has left; None where it has left none."""
    try:
        said = read_regular(f"{layout.exits(root, tag)}/{slot}")
    except OSError:
        return None
    return int(said) or None if said.isdigit() and len(said) < 4 else None


def _submitted(tag: str, submission: Submission, now: float) -> Submitted:
    ref = submission.ref or JobRef("")
    cluster = ref.cluster or next((one.cluster for one in submission.slots.values()), None)
    return Submitted(
        tag=tag,
        id=ref.id,
        cluster=cluster or "",
        at=now,
        slots={slot: one.id for slot, one in submission.slots.items()},
    )
