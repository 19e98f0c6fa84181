"""The state of a run, as its events tell it.

`State.apply` is the only way it changes, and it is fed by the same events
whether they were just decided or are read back from disk, so that a state can
be rebuilt at any time. Elements are kept in arrays: a run may have a million.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence

import msgspec

from .definition import Definition
from .lifecycle import transitions as change
from .lifecycle.admission import Verdict, admit
from .lifecycle.states import (
    ACTIVE,
    CACHED,
    CANCELLED,
    FAILED,
    NAMES,
    PENDING,
    QUEUED,
    REQUEUE_PENDING,
    RUNNING,
    SHOWN,
    SKIPPED,
    SUCCESS,
    UNDECIDED,
)
from .lifecycle.transitions import FORBIDDEN, Change, InvalidTransition
from .names import FailureClass, RunState, TaskState, explains
from .ranges import from_ranges, to_ranges
from .record import (
    Again,
    Asked,
    Barred,
    Bounded,
    Cancelled,
    Capped,
    CodeChanged,
    Epoch,
    Event,
    Expanded,
    Failed,
    Finished,
    Gone,
    Hit,
    Intent,
    Kept,
    Kill,
    Killed,
    Obeyed,
    PoolOpened,
    Read,
    Requeued,
    Reset,
    RunChanged,
    Settled,
    Skipped,
    Started,
    Submitted,
    Told,
    Uncached,
    Voided,
    Wake,
    Woke,
)
from .resources import Resources
from .spans import Spans

INFRASTRUCTURE = frozenset({FailureClass.PREEMPTED, FailureClass.NODE_FAIL, FailureClass.LOST})


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an element's last attempt failed."""

    cls: FailureClass
    attempt: int
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    details: str = ""
    #: in the user's own code
    place: str = ""
    #: tag of the job whose log says why, where the element has none
    job: str = ""
    at: float = 0.0
    #: when the attempt began, where that is known
    began: float = 0.0
    #: another attempt would end no better
    final: bool = False


class Tries(msgspec.Struct):
    """How many attempts of an element failed, by the budget they count against."""

    own: int = 0
    infrastructure: int = 0
    launch: int = 0
    requeued: int = 0


class Flight(msgspec.Struct):
    """A job that was submitted, or is about to be."""

    tag: str
    task: str
    elements: Sequence[int]
    attempt: int
    part: int
    at: float
    array: bool
    #: elements that have not ended
    left: int
    #: of the code that it runs
    generation: int = 1
    #: the scheduler's; several, between commas, where it makes a job of its own for each slot
    id: str = ""
    cluster: str = ""
    #: slot -> id, where each slot is a job of its own
    slots: dict[int, str] = {}
    #: how many of its slots the scheduler runs at once, at most
    throttle: int | None = None

    @property
    def known(self) -> bool:
        """Whether the scheduler has told under what ids it runs."""
        return bool(self.id or self.slots)

    def slot_of(self, element: int) -> int:
        """The slot of one of its elements, which are in ascending order."""
        return bisect_left(self.elements, element)

    def own_ids(self) -> dict[int, str]:
        """Element -> the id of its own job; empty where all are in one."""
        parts = self.id.split(",")
        if len(parts) > 1:
            return dict(zip(self.elements, parts, strict=False))
        return {self.elements[slot]: id for slot, id in self.slots.items()}


class WakeUp(msgspec.Struct):
    """A job that will advance the run; or one that only joins others into one dependency."""

    tag: str
    waits: tuple[str, ...]
    at: float
    due: float = 0.0
    id: str = ""
    cluster: str = ""
    join: bool = False
    joined: tuple[str, ...] = ()


class Progress:
    """Where the elements of one task stand."""

    __slots__ = (
        "array",
        "at",
        "attempt",
        "began",
        "cancelled",
        "cancels",
        "counts",
        "due",
        "ended_at",
        "failures",
        "fell",
        "file",
        "forgiven",
        "job",
        "kept",
        "length",
        "made",
        "name",
        "offset",
        "open",
        "part",
        "parts",
        "ran",
        "reason",
        "scaled",
        "size",
        "skipped",
        "started_at",
        "status",
        "stopped",
        "tries",
        "worked",
    )

    def __init__(self, name: str, *, many: bool = True) -> None:
        self.name = name
        self.array = many
        self.size: int | None = None
        #: its inputs are known; elements that are PENDING may be submitted
        self.open = False
        #: ended without ever being expanded
        self.skipped = False
        self.cancelled = False
        #: cancelled: what has not been submitted never is
        self.stopped = False
        #: why it was skipped or cancelled as a whole
        self.reason = ""
        #: why elements were cancelled before they ran, oldest first: reason, elements
        self.cancels: list[tuple[str, str]] = []
        self.status = bytearray()
        #: 1 where the cache has the result, or is not to have it
        self.kept = bytearray()
        self.attempt = array("H")
        self.part = array("I")
        self.job = array("i")
        #: where the result lies: event file, offset and length of its record
        self.file = array("i")
        self.offset = array("q")
        self.length = array("i")
        self.counts = [0] * len(NAMES)
        self.failures: dict[int, Failure] = {}
        #: element -> class of its last failure, of those that `retry` has let start over
        self.fell: dict[int, str] = {}
        self.tries: dict[int, Tries] = {}
        #: element -> time before which its next attempt must not start
        self.due: dict[int, float] = {}
        #: element -> what its next attempt asks for, where that is not the task's own
        self.scaled: dict[int, Resources] = {}
        #: failures that stood when the run was last retried: they give up nothing any more
        self.forgiven = 0
        self.parts = 0
        #: whether any element of it ran, rather than being taken from the cache
        self.ran = False
        #: run -> when the newest of its results that were taken from the cache was computed
        self.made: dict[str, float] = {}
        self.at = 0.0
        self.started_at = 0.0
        self.ended_at = 0.0
        #: when elements of it ran, in all their attempts
        self.worked = Spans()
        #: element -> when its function was called, of those that run
        self.began: dict[int, float] = {}

    @property
    def active(self) -> int:
        """Elements queued or running."""
        return self.counts[QUEUED] + self.counts[RUNNING]

    @property
    def undecided(self) -> int:
        """Elements of which an attempt has ended, and it is not decided whether there is another."""
        return sum(self.counts[code] for code in UNDECIDED)

    @property
    def ended(self) -> bool:
        """Whether nothing of this task is left to do."""
        if self.skipped or self.cancelled:
            return True
        return self.open and not (self.counts[PENDING] or self.active or self.undecided)

    @property
    def succeeded(self) -> bool:
        """Whether all of its elements succeeded."""
        return self.open and not (self.skipped or self.cancelled) and self.done == self.size

    @property
    def state(self) -> TaskState:
        """The task's state in one word."""
        if self.skipped:
            return TaskState.SKIPPED
        if self.cancelled:
            return TaskState.CANCELLED
        if not self.open:
            return TaskState.PENDING
        if self.counts[RUNNING]:
            return TaskState.RUNNING
        if self.counts[QUEUED]:
            return TaskState.QUEUED
        if self.counts[PENDING] or self.undecided:
            return TaskState.PENDING if not self.ran else TaskState.QUEUED
        for code in (FAILED, CANCELLED):
            if self.counts[code]:
                return SHOWN[code]
        if self.counts[SKIPPED]:
            return TaskState.FAILED if self.done else TaskState.SKIPPED
        return TaskState.SUCCESS

    @property
    def done(self) -> int:
        """Elements that succeeded."""
        return self.counts[SUCCESS] + self.counts[CACHED]

    def shown(self) -> dict[str, int]:
        """Elements by the state that users see, zeros left out; none of an array whose size is not known."""
        found: dict[str, int] = {}
        for code, count in enumerate(self.counts):
            if count:
                state = SHOWN[code].value
                found[state] = found.get(state, 0) + count
        return found or ({self.state.value: 1} if self.size is None and not self.array else {})

    def cancel_reasons(self) -> dict[int, str]:
        """Element -> why it was cancelled, of those that were before they ran."""
        found = {index: reason for reason, elements in self.cancels for index in from_ranges(elements)}
        return {index: reason for index, reason in found.items() if self.status[index] == CANCELLED}

    def indices(self, code: int) -> list[int]:
        """Elements that stand at `code`, ascending."""
        found: list[int] = []
        position = self.status.find(code)
        while position >= 0:
            found.append(position)
            position = self.status.find(code, position + 1)
        return found

    def resize(self, size: int) -> None:
        """Make it `size` elements; new ones are PENDING and not yet attempted.

        It becomes smaller only where it had failed as a whole, in one element that stood for all.
        """
        self.size = size
        for code in self.status[size:]:
            self.counts[code] -= 1
        more = max(0, size - len(self.status))
        self.counts[PENDING] += more
        self.status[size:] = bytes(more)
        self.kept[size:] = bytes(more)
        for column, empty in (
            (self.attempt, 0),
            (self.part, 0),
            (self.job, -1),
            (self.file, -1),
            (self.offset, 0),
            (self.length, 0),
        ):
            column[size:] = array(column.typecode, [empty]) * more

    def add_cached(self, file: int, offset: int, length: int) -> None:
        """Make it one element larger, whose result is cached: many are found so, one after the other."""
        self.size = len(self.status) + 1
        self.counts[CACHED] += 1
        self.status.append(CACHED)
        self.kept.append(0)
        self.attempt.append(0)
        self.part.append(0)
        self.job.append(-1)
        self.file.append(file)
        self.offset.append(offset)
        self.length.append(length)


def _named(definition: Definition, key: str) -> tuple[str, ...]:
    section = definition.config.get("run")
    names = section.get(key) if isinstance(section, dict) else None
    return tuple(map(str, names or ()))


class State:
    """Where a run stands.

    Parameters
    ----------
    definition : Definition
        The run's frozen definition.
    """

    def __init__(self, definition: Definition) -> None:
        self.run_id = definition.run_id
        #: users whose mail counts as if it were the owner's, by name or number
        self.trusted_owners = _named(definition, "trusted_owners")
        #: groups whose members may write it, by name or number
        self.trusted_groups = _named(definition, "trusted_groups")
        self.tasks = {task.name: Progress(task.name, many=task.array) for task in definition.tasks}
        self.run = RunState.PENDING
        self.reason = ""
        self.created = definition.created
        self.started = 0.0
        self.ended = 0.0
        self.heard = 0.0
        self.generation = 1
        #: the whole run was cancelled, and not retried since
        self.stopping = False
        self.epoch = 0
        self.flights: list[Flight] = []
        #: tag -> position in `flights`, of those with elements that have not ended
        self.open_flights: dict[str, int] = {}
        #: wake-ups that have not started, by tag
        self.wakes: dict[str, WakeUp] = {}
        #: wake-ups whose work was done before they started, and whose jobs may still be queued
        self.spares: dict[str, WakeUp] = {}
        #: why compute nodes cannot submit, as far as wake-ups have found; "" where one could since
        self.barred = ""
        #: the largest array that is sent, where the scheduler has refused a larger one
        self.cap: Capped | None = None
        #: bounds that were configured when the run was retried last
        self.bounds: Mapping[str, int] = {}
        #: whether workers may start the next advance: none was refused yet
        self.relays = True
        #: (task, element) -> what the scheduler said when it was done with it and there was no record
        self.gone: dict[tuple[str, int], Gone] = {}
        #: what is to be cancelled, and the scheduler has not been told of with success, by tag
        self.kills: dict[str, list[Kill]] = {}
        self.asked = Asked(at=0.0)
        #: questions in a row that the scheduler did not answer, and submissions in a row that came to nothing
        self.unanswered = 0
        self.refusals = 0
        #: how many of those in a row were in words that nobody knows
        self.obscure = 0
        self.pools: list[str] = []
        self.boxes: dict[str, int] = {}
        self.obeyed: dict[str, str] = {}
        self.uncached: list[Uncached] = []
        #: occasions that people were told of since the run last began to run
        self.told: set[str] = set()
        self.misses: dict[str, dict[str, str]] = {}
        self.notes: list[str] = []
        #: events are lost: one may follow that could not otherwise
        self.has_gaps = False
        #: what has happened to each element, where a forbidden event is to tell it
        self._stories: dict[tuple[str, int], list[str]] | None = {} if change.is_strict() else None

    # --- reading -------------------------------------------------------------

    def admit(self, record: Finished | Started) -> Verdict:
        """Decide whether a worker's report counts."""
        progress = self.tasks.get(record.t)
        if progress is None:
            return Verdict.UNKNOWN
        return admit(record, progress.status, progress.attempt, is_open=progress.open)

    def accepts(self, record: Finished | Started) -> bool:
        """Return whether a worker's report counts."""
        return self.admit(record) is Verdict.ACCEPTED

    def flight_of(self, task: str, index: int) -> Flight | None:
        """The job that an element is, or was last, in."""
        position = self.tasks[task].job[index]
        return self.flights[position] if position >= 0 else None

    # --- changing ------------------------------------------------------------

    def apply(self, event: Event, file: int = 0, offset: int = 0, length: int = 0) -> None:
        """Take in one event; the numbers say where its record lies."""
        kind = type(event)
        if kind is Finished:
            self._finished(event, file, offset, length)  # type: ignore[arg-type]
        elif kind is Hit:
            self._hit(event, file, offset, length)  # type: ignore[arg-type]
        else:
            getattr(self, "_" + kind.__name__.lower())(event)

    def _move(self, progress: Progress, index: int, to: Change) -> bool:
        """Let an event change the state of an element; say whether the table allows it."""
        before = progress.status[index]
        after = to.after[before]
        if after == FORBIDDEN and self.has_gaps:
            after = before if to.usual == FORBIDDEN else to.usual
        elif after == FORBIDDEN:
            self._forbid(progress, index, to)
            return False
        if self._stories is not None:
            self._stories.setdefault((progress.name, index), []).append(f"{to.event} -> {NAMES[after]}")
        if before != after:
            progress.counts[before] -= 1
            progress.counts[after] += 1
            progress.status[index] = after
        return True

    def _forbid(self, progress: Progress, index: int, to: Change) -> None:
        """Raise for an event that the table forbids; outside of tests, note it, and leave the element as it is."""
        element = f"{progress.name}[{index}]" if progress.array else progress.name
        story = () if self._stories is None else tuple(self._stories.get((progress.name, index), ()))
        error = InvalidTransition(element, to.event, NAMES[progress.status[index]], story)
        if self._stories is not None:
            raise error
        self.notes.append(f"skipped an event of the journal: {error}")

    def _land(self, progress: Progress, index: int) -> None:
        if self.gone:
            self.gone.pop((progress.name, index), None)
        progress.began.pop(index, None)
        position = progress.job[index]
        if position < 0 or progress.status[index] not in ACTIVE:
            return
        flight = self.flights[position]
        flight.left -= 1
        if not flight.left:
            self.open_flights.pop(flight.tag, None)
            self.kills.pop(flight.tag, None)

    def _fail(self, progress: Progress, index: int, failure: Failure) -> None:
        to = change.failing(failure.cls)
        if self.has_gaps or to.after[progress.status[index]] != FORBIDDEN:
            self._land(progress, index)
        if not self._move(progress, index, to):
            return
        progress.failures[index] = failure
        tries = progress.tries.setdefault(index, Tries())
        if failure.cls in INFRASTRUCTURE:
            tries.infrastructure += 1
        elif failure.cls is FailureClass.LAUNCH:
            tries.launch += 1
        elif failure.cls is FailureClass.REQUEUED:
            tries.requeued += 1
        else:
            tries.own += 1

    def _finished(self, event: Finished, file: int, offset: int, length: int) -> None:
        progress = self.tasks[event.t]
        index = event.i
        before = progress.status[index]
        if before not in ACTIVE:  # the common case is spelled out: a run may have a million
            to = change.failing(FailureClass(event.f)) if event.f else change.SUCCEED
            if to.after[before] == FORBIDDEN and not self.has_gaps:
                self._forbid(progress, index, to)
                return
        if event.e > progress.ended_at:
            progress.ended_at = event.e
        if event.e > self.heard:
            self.heard = event.e
        if not progress.started_at or event.b < progress.started_at:
            progress.started_at = event.b
        progress.worked.add(event.b, event.e)
        progress.ran = True
        progress.file[index] = file
        progress.offset[index] = offset
        progress.length[index] = length
        if event.f:
            self._fail(
                progress,
                index,
                Failure(
                    cls=FailureClass(event.f),
                    attempt=event.a,
                    reason=event.w,
                    exit_code=event.x,
                    signal=event.s,
                    details=event.d,
                    place=event.p,
                    at=event.e,
                ),
            )
            return
        self._land(progress, index)
        if self._stories is not None:
            self._move(progress, index, change.SUCCEED)
        else:
            progress.counts[before] -= 1
            progress.counts[SUCCESS] += 1
            progress.status[index] = SUCCESS
        if progress.due:
            progress.due.pop(index, None)
        if progress.failures:
            progress.failures.pop(index, None)

    def _hit(self, event: Hit, file: int, offset: int, length: int) -> None:
        progress = self.tasks[event.t]
        if event.at > progress.made.get(event.by, 0.0):
            progress.made[event.by] = event.at
        index = event.i
        known = len(progress.status)
        if index == known:
            progress.add_cached(file, offset, length)
            return
        if index > known:
            progress.resize(index + 1)
        if not self._move(progress, index, change.HIT):
            return
        progress.file[index] = file
        progress.offset[index] = offset
        progress.length[index] = length

    def _started(self, event: Started) -> None:
        """Only for readers, who overlay what workers have said since."""
        progress = self.tasks[event.t]
        if not self._move(progress, event.i, change.START):
            return
        progress.began[event.i] = event.b
        progress.ran = True
        if event.b > self.heard:
            self.heard = event.b
        if not progress.started_at or event.b < progress.started_at:
            progress.started_at = event.b

    def _epoch(self, event: Epoch) -> None:
        self.epoch = event.epoch
        self.has_gaps = self.has_gaps or event.gaps
        self.heard = max(self.heard, event.at)

    def _runchanged(self, event: RunChanged) -> None:
        self.run = event.state
        self.reason = event.reason
        if event.state.ended:
            self.ended = event.at
        else:
            self.ended = 0.0
            self.started = self.started or event.at
            self.told &= {"begin"}
            for progress in self.tasks.values():
                progress.forgiven = progress.counts[FAILED]
        self.heard = max(self.heard, event.at)

    def _expanded(self, event: Expanded) -> None:
        progress = self.tasks[event.task]
        progress.skipped = progress.cancelled = False
        progress.reason = ""
        progress.resize(event.size)
        progress.open = True
        progress.stopped = False
        progress.at = event.at
        progress.parts = max(progress.parts, event.part + 1)
        for index in from_ranges(event.pending):
            progress.attempt[index] += 1
            progress.part[index] = event.part
        for index in from_ranges(event.skipped):
            self._move(progress, index, change.SKIP)
        if event.misses:
            self.misses[event.task] = _newer(self.misses.get(event.task, {}), event.misses)
        self.notes.extend(event.notes)

    def _intent(self, event: Intent) -> None:
        self.heard = max(self.heard, event.at)
        progress = self.tasks[event.task]
        elements = from_ranges(event.elements)
        position = len(self.flights)
        self.flights.append(
            Flight(
                tag=event.tag,
                task=event.task,
                elements=elements,
                attempt=event.attempt,
                part=event.part,
                at=event.at,
                array=event.array,
                left=len(elements),
                generation=event.generation,
                throttle=event.throttle,
            )
        )
        self.open_flights[event.tag] = position
        for index in elements:
            if self._move(progress, index, change.INTEND):
                progress.job[index] = position
        if progress.due:
            for index in elements:
                progress.due.pop(index, None)

    def _submitted(self, event: Submitted) -> None:
        position = self.open_flights.get(event.tag)
        if position is not None:
            flight = self.flights[position]
            flight.id, flight.cluster, flight.slots = event.id, event.cluster, dict(event.slots)
        wake = self.wakes.get(event.tag)
        if wake is not None:
            wake.id, wake.cluster = event.id, event.cluster
        self.barred = ""
        self.refusals = self.obscure = 0
        self.heard = max(self.heard, event.at)

    def _wake(self, event: Wake) -> None:
        self.heard = max(self.heard, event.at)
        self.wakes[event.tag] = WakeUp(
            event.tag, event.waits, event.at, event.due, join=event.join, joined=event.joined
        )

    def _woke(self, event: Woke) -> None:
        wake = self._unwake(event.tag) or self.spares.pop(event.tag, None)
        if wake is not None and event.spare:
            self.spares[event.tag] = wake
        self.heard = max(self.heard, event.at)

    def _unwake(self, tag: str) -> WakeUp | None:
        wake = self.wakes.pop(tag, None)
        for one in (tag, *(wake.joined if wake is not None else ())):
            self.wakes.pop(one, None)
            self.kills.pop(one, None)
        return wake

    def _kill(self, event: Kill) -> None:
        if event.tag in self.open_flights or event.tag in self.wakes or event.tag in self.spares:
            self.kills.setdefault(event.tag, []).append(event)

    def _killed(self, event: Killed) -> None:
        self.kills.pop(event.tag, None)
        self.unanswered = 0
        self.heard = max(self.heard, event.at)

    def _bounded(self, event: Bounded) -> None:
        self.bounds = event.bounds
        self.cap = None

    def _capped(self, event: Capped) -> None:
        self.cap = event

    def _barred(self, event: Barred) -> None:
        if event.relay:
            self.relays = False
        else:
            self.barred = event.w

    def _gone(self, event: Gone) -> None:
        position = self.open_flights.get(event.tag)
        if position is not None:
            task = self.flights[position].task
            for index in from_ranges(event.elements):
                if event.back:
                    self.gone.pop((task, index), None)
                    continue
                before = self.gone.get((task, index))
                if before is None or event.killed:
                    self.gone[task, index] = event
                elif explains(event.f, before.f) or (
                    event.sure and not before.sure
                ):  # it is known now why it has gone, since when it is remains
                    self.gone[task, index] = msgspec.structs.replace(event, at=before.at)

    def _asked(self, event: Asked) -> None:
        self.asked = event
        if event.problem:
            self.unanswered += 1
        elif not self.kills:
            self.unanswered = 0
        self.heard = max(self.heard, event.at)

    def _voided(self, event: Voided) -> None:
        self.refusals += 1
        self.obscure += event.obscure
        kills = self.kills.pop(event.tag, [])
        self._unwake(event.tag)
        position = self.open_flights.get(event.tag)
        if position is None:
            return
        flight = self.flights[position]
        progress = self.tasks[flight.task]
        killed = {index: kill for kill in kills for index in from_ranges(kill.elements)}
        for index in flight.elements:
            if progress.job[index] != position or progress.status[index] not in ACTIVE:
                continue
            if index in killed:  # what was to be cancelled was never submitted: that is how it has ended
                kill = killed[index]
                cls = FailureClass(kill.f)
                self._fail(progress, index, Failure(cls=cls, attempt=flight.attempt, reason=kill.w, at=event.at))
            else:
                self._move(progress, index, change.RETURN)
                progress.job[index] = -1
        self.open_flights.pop(event.tag, None)

    def _poolopened(self, event: PoolOpened) -> None:
        self.pools = [event.tag]
        self.heard = max(self.heard, event.at)

    def _failed(self, event: Failed) -> None:
        progress = self.tasks[event.task]
        progress.ran = True
        progress.ended_at = max(progress.ended_at, event.at)
        if event.b:
            progress.worked.add(event.b, event.at)
            progress.started_at = min(progress.started_at or event.b, event.b)
        for index in from_ranges(event.elements):
            self._fail(
                progress,
                index,
                Failure(
                    cls=event.f,
                    attempt=event.attempt,
                    reason=event.w,
                    exit_code=event.x,
                    signal=event.s,
                    details=event.d,
                    place=event.p,
                    job=event.j,
                    at=event.at,
                    began=event.b,
                    final=event.final,
                ),
            )
        if event.final:
            self.obscure = 0

    def _requeued(self, event: Requeued) -> None:
        progress = self.tasks[event.task]
        for index in from_ranges(event.elements):
            self._land(progress, index)
            if self._move(progress, index, change.RETURN):
                progress.job[index] = -1

    def _again(self, event: Again) -> None:
        progress = self.tasks[event.task]
        for index in from_ranges(event.elements):
            if not self._move(progress, index, change.RETRY):
                continue
            progress.attempt[index] = event.attempt
            if event.due > event.at:
                progress.due[index] = event.due
            if event.resources is not None:
                progress.scaled[index] = event.resources

    def _settled(self, event: Settled) -> None:
        progress = self.tasks[event.task]
        for index in from_ranges(event.elements):
            self._move(progress, index, change.SETTLE)

    def _skipped(self, event: Skipped) -> None:
        progress = self.tasks[event.task]
        progress.skipped = True
        progress.reason = event.reason

    def _cancelled(self, event: Cancelled) -> None:
        progress = self.tasks[event.task]
        if event.elements is None:
            progress.reason = event.reason
            progress.stopped = True
            if not progress.open:
                progress.cancelled = True
        unsent = {index for code in (PENDING, REQUEUE_PENDING) for index in progress.indices(code)}
        wanted = sorted(unsent) if event.elements is None else from_ranges(event.elements)
        left: list[int] = []
        for index in wanted:
            if index >= len(progress.status):
                continue  # named before anybody knew which there are
            self._move(progress, index, change.DROP)
            if progress.status[index] == CANCELLED and index in unsent:
                progress.due.pop(index, None)
                left.append(index)
        if left:
            progress.cancels.append((event.reason, to_ranges(left)))

    def _reset(self, event: Reset) -> None:
        progress = self.tasks[event.task]
        progress.open = progress.skipped = progress.cancelled = progress.stopped = False
        progress.reason = ""
        for index in from_ranges(event.elements):
            self._land(progress, index)
            self._move(progress, index, change.RESET)
            progress.kept[index] = 0
            failure = progress.failures.pop(index, None)
            if failure is not None:
                progress.fell[index] = failure.cls.value
            progress.tries.pop(index, None)
            progress.due.pop(index, None)
            progress.scaled.pop(index, None)
        self.stopping = False

    def _codechanged(self, event: CodeChanged) -> None:
        self.generation = event.generation

    def _read(self, event: Read) -> None:
        self.boxes[event.box] = event.upto

    def _obeyed(self, event: Obeyed) -> None:
        self.obeyed[event.id] = event.said
        if event.verb == "stop":
            self.stopping = True

    def _told(self, event: Told) -> None:
        self.told.add(event.occasion)

    def _kept(self, event: Kept) -> None:
        kept = self.tasks[event.task].kept
        for index in from_ranges(event.elements):
            kept[index] = 1

    def _uncached(self, event: Uncached) -> None:
        kept = self.tasks[event.task].kept
        for index in from_ranges(event.elements):
            kept[index] = 1
        self.uncached.append(event)


def _newer(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Reasons, each with its elements; an element stands under its newest one only."""
    if not before:
        return dict(now)
    told = {index for elements in now.values() for index in from_ranges(elements)}
    merged = {reason: [i for i in from_ranges(elements) if i not in told] for reason, elements in before.items()}
    for reason, elements in now.items():
        merged.setdefault(reason, []).extend(from_ranges(elements))
    return {reason: to_ranges(elements) for reason, elements in merged.items() if elements}
