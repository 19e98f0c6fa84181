"""What the scheduler's words mean for elements that have not reported. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from ..model import layout
from ..model.job import JobRef, JobState, JobStatus, Limits
from ..model.lifecycle.states import ACTIVE
from ..model.names import NEVER, FailureClass, explains
from ..model.ranges import from_ranges, to_ranges
from ..model.record import Asked, Failed, Gone, Kill
from ..model.state import Flight, State, WakeUp
from .waking import flying


class Verdict(msgspec.Struct, frozen=True):
    """What follows from one query."""

    events: tuple[Gone | Kill | Asked, ...]
    #: tags of wake-ups that the scheduler has done with
    woken: tuple[str, ...]
    #: tags of jobs of which it could say nothing yet
    unheard: frozenset[str] = frozenset()
    #: tags of jobs of which nothing runs any more, though the scheduler has not done with them
    ending: frozenset[str] = frozenset()


#: seconds until the scheduler is asked again about what it did not know, where that was not done in time
_ASK_AGAIN = 1.0

_FORGOTTEN = JobStatus(state=JobState.UNKNOWN, native="not known any more")

#: seconds between two questions whether something that was cancelled has ended, at most
_CONFIRM = 300.0

#: an array is known, and this slot of it is not: schedulers drop what is cancelled before it starts without a word
_VANISHED = JobStatus(
    state=JobState.UNKNOWN,
    failure_class=FailureClass.CANCELLED,
    native="gone from its array before it started: cancelled while it waited",
)


def missing(state: State) -> list[Flight]:
    """Jobs that were submitted and of which some elements have not ended."""
    flights = (state.flights[position] for position in state.open_flights.values())
    return [flight for flight in flights if flight.known]


def references(flight: Flight, elements: Collection[int] | None = None) -> list[JobRef]:
    """What the scheduler knows a job by: as a whole, or only these elements of it.

    All that have not ended are the whole: a job is never named in pieces without need.
    """
    cluster = flight.cluster or None
    if flight.slots:
        return [
            JobRef(id, None, cluster)
            for slot, id in flight.slots.items()
            if elements is None or flight.elements[slot] in elements
        ]
    if elements is None or len(elements) >= flight.left:
        return [JobRef(flight.id, None, cluster)]
    return [JobRef(flight.id, slot, cluster) for slot, index in enumerate(flight.elements) if index in elements]


def refs(state: State) -> list[JobRef]:
    """What to ask for: jobs in flight, and wake-ups."""
    jobs = [ref for flight in missing(state) for ref in references(flight)]
    return jobs + [JobRef(wake.id, None, wake.cluster or None) for wake in state.wakes.values() if wake.id]


def tags(state: State) -> dict[str, str]:
    """Return the tag at the head of each job's name, by its id: a number may be another job's by now."""
    flights = (state.flights[position] for position in state.open_flights.values())
    named = {ref.id: flight.tag for flight in flights if flight.known for ref in references(flight)}
    wakes = {**state.wakes, **state.spares}
    return named | {wake.id: tag for tag, wake in wakes.items() if wake.id}


def judge(state: State, answers: Mapping[JobRef, JobStatus], now: float, limits: Limits) -> Verdict:
    """Compare what the scheduler said with what is in flight.

    Parameters
    ----------
    state : State
        Where the run stands.
    answers : mapping of JobRef to JobStatus
        What the query gave. What it does not answer for could not be asked, and is no evidence.
    now : float
        Seconds since the epoch.
    limits : Limits
        The scheduler's: for how long a job may be unknown, and what it forgets.
    """
    lag = limits.visibility_lag
    by_id: dict[str, dict[int | None, JobStatus]] = {}
    for ref, status in answers.items():
        by_id.setdefault(ref.id, {})[ref.slot] = status
    events: list[Gone | Kill | Asked] = []
    waiting: dict[str, str] = {}
    unheard: set[str] = set()
    ending: set[str] = set()
    for flight in missing(state):
        told = _told(flight, by_id)
        if not told:
            unheard.add(flight.tag)
            continue
        if any(status.ending for status in told.values()) and all(
            status.ending or status.state.ended for status in told.values()
        ):
            ending.add(flight.tag)
        progress = state.tasks[flight.task]
        gone: dict[tuple[JobStatus, bool], list[int]] = {}
        stuck: dict[str, list[int]] = {}
        back: list[int] = []
        confirmed: dict[str, list[int]] = {}
        alive = any(status.state is not JobState.UNKNOWN for slot, status in told.items() if slot is not None)
        for slot, index in enumerate(flight.elements):
            if progress.status[index] not in ACTIVE or state.flight_of(flight.task, index) is not flight:
                continue
            if slot in flight.slots and slot not in told:
                unheard.add(flight.tag)
                continue
            began = has_started(state, flight.tag, slot)
            status = (
                told.get(slot)
                or told.get(None)
                or (_VANISHED if limits.vanishes and alive and not began and not flight.slots else _FORGOTTEN)
            )
            before = state.gone.get((flight.task, index))
            if before is not None and before.killed:
                if status.state.ended or (status.state is JobState.UNKNOWN and now - before.at >= lag):
                    confirmed.setdefault(before.w, []).append(index)
                continue
            if before is not None and status.state in (JobState.PENDING, JobState.RUNNING):
                back.append(index)  # it was run again, or the scheduler was confused
            elif (
                before is not None
                and not explains(_class(status), before.f)
                and not _confirms(status, before, now, lag)
            ):
                continue  # only why it has gone would be news, or that it is certain
            if status.reason and (
                status.state is JobState.PENDING
                or (status.state is JobState.RUNNING and flight.tag not in waiting)  # suspended, on a lost host
            ):
                waiting[flight.tag] = status.reason
            if status.state is JobState.PENDING and status.failure_class is not None:
                stuck.setdefault(status.reason or status.native, []).append(index)
            if status.state is JobState.UNKNOWN and now - flight.at <= lag:
                unheard.add(flight.tag)
            elif status.state.ended or status.state is JobState.UNKNOWN:
                if status.state is JobState.UNKNOWN and began:
                    status = msgspec.structs.replace(status, failure_class=None)
                sure = status.state.ended or before is not None
                gone.setdefault((status, sure), []).append(index)
        for (status, sure), indices in gone.items():
            events.append(
                Gone(
                    tag=flight.tag,
                    elements=to_ranges(indices),
                    at=now,
                    f=_class(status),
                    x=status.exit_code,
                    s=status.signal,
                    w=status.reason or status.native,
                    never=status.state is JobState.UNKNOWN and status.failure_class is FailureClass.CANCELLED,
                    sure=sure,
                )
            )
        if back:
            events.append(Gone(tag=flight.tag, elements=to_ranges(back), at=now, back=True))
        for why, indices in confirmed.items():
            cls = FailureClass.LOST.value
            events.append(Gone(tag=flight.tag, elements=to_ranges(indices), at=now, f=cls, w=why, sure=True))
        ordered = {index for kill in state.kills.get(flight.tag, ()) for index in from_ranges(kill.elements)}
        for why, indices in stuck.items():
            if left := [index for index in indices if index not in ordered]:
                # Nothing but an end will come of it: its scheduler is to let go of it, and its elements fail.
                cls = FailureClass.LAUNCH.value
                events.append(Kill(tag=flight.tag, at=now, elements=to_ranges(left), f=cls, w=why))
    woken = []
    alive_tags = flying(state)
    for wake in state.wakes.values():
        word = next(iter(by_id.get(wake.id, {}).values()), None) if wake.id else None
        if word is not None and (why := _held(wake, word, alive_tags, now - wake.at > lag)):
            waiting[wake.tag] = why
        if word is not None and (word.state.ended or (word.state is JobState.UNKNOWN and now - wake.at > lag)):
            woken.append(wake.tag)
    events.append(Asked(at=now, waiting=waiting))
    return Verdict(tuple(events), tuple(woken), frozenset(unheard), frozenset(ending))


def _confirms(status: JobStatus, before: Gone, now: float, lag: float) -> bool:
    """Whether an answer makes certain that an element has gone, of which one answer alone has said so."""
    return not before.sure and (status.state.ended or (status.state is JobState.UNKNOWN and now - before.at >= lag))


def _held(wake: WakeUp, word: JobStatus, flying: Collection[str], settled: bool) -> str:
    """Why a wake-up will not start by itself; "" where it may."""
    if word.state is not JobState.PENDING:
        return ""
    if word.failure_class is not None or word.reason.startswith("held"):
        return word.reason or word.native
    ended = settled and wake.waits and not set(wake.waits).intersection(flying)
    return "it waits for jobs that have ended" if ended and "waiting for other jobs" in word.reason else ""


def _told(flight: Flight, by_id: Mapping[str, Mapping[int | None, JobStatus]]) -> Mapping[int | None, JobStatus]:
    """What was said of a job, by slot; None: of the whole."""
    if not flight.slots:
        return by_id.get(flight.id, {})
    said = {slot: next(iter(by_id.get(id, {}).values()), None) for slot, id in flight.slots.items()}
    return {slot: status for slot, status in said.items() if status is not None}


def has_started(state: State, tag: str, slot: int) -> bool:
    """Whether a worker of that slot has reported anything."""
    return layout.box("", tag, slot).removeprefix("/mailbox/") in state.boxes


def _class(status: JobStatus) -> str:
    if status.state is JobState.UNKNOWN:
        return ""
    if status.failure_class is not None:
        return status.failure_class.value
    if status.state is JobState.CANCELLED:
        return FailureClass.CANCELLED.value
    if status.state is JobState.FAILED:
        return FailureClass.EXIT.value
    return ""


def _opened(state: State, task: str, index: int) -> bool:
    """Whether the worker of an element has reported anything."""
    flight = state.flight_of(task, index)
    return flight is None or has_started(state, flight.tag, flight.slot_of(index))


#: ends after which processes of the element may live on, or its record may still be on its way
_UNSETTLED = ("", FailureClass.NODE_FAIL.value)

_GONE = "the job is gone, and left no record"


def _left(gone: Gone, now: float, grace: float, lag: float, lost_after: float) -> float:
    """Seconds until something of an element that has gone is due: its failure, or another question."""
    since = now - gone.at
    if gone.killed:
        wait = lost_after - since
        return min(wait, max(lag, _ASK_AGAIN, min(since / 2, _CONFIRM)))
    if gone.f == FailureClass.LOST.value:
        return 0.0
    final = gone.sure and not gone.never and gone.f not in _UNSETTLED
    if final and gone.f == FailureClass.CANCELLED.value:
        return 0.0  # nothing can tell more of it: see `explains`
    left = (min(lag, grace) if final else grace) - since
    return left if gone.sure else max(left, lag - since, _ASK_AGAIN)


def overdue(
    state: State, now: float, *, grace: float, lag: float, lost_after: float
) -> tuple[list[Failed | Kill], float | None]:
    """What becomes of elements whose record did not arrive in time, and the seconds until the next one is due.

    They fail as the scheduler says, after a visibility lag where it names an end
    after which nothing of them runs; what has failed before its worker could report anything
    has failed to launch. Where it says nothing they are lost, and may run all
    the same: those are to be cancelled, and fail when the scheduler has confirmed
    their end, or after `lost_after` seconds. What one answer alone
    has left out is no loss yet: it is due when it can be asked for again.
    """
    events: list[Failed | Kill] = []
    soonest: float | None = None
    groups: dict[tuple[str, str, int, str, int | None, int | None, str, bool], list[int]] = {}
    for (task, index), gone in state.gone.items():
        if state.tasks[task].status[index] not in ACTIVE:
            continue
        left = _left(gone, now, grace, lag, lost_after)
        if left > 0:
            soonest = left if soonest is None else min(soonest, left)
            continue
        cls, why = gone.f or (FailureClass.CANCELLED if gone.never else FailureClass.LOST).value, gone.w
        if gone.killed:
            why = f"{why or _GONE}; it was cancelled, and nobody has confirmed its end"
        if cls == FailureClass.EXIT.value and not _opened(state, task, index):
            cls, why = FailureClass.LAUNCH.value, f"its worker never started: {why or 'it failed'}"
        cancelled = gone.killed or gone.f == FailureClass.LOST.value
        key = (gone.tag, task, state.tasks[task].attempt[index], cls, gone.x, gone.s, why, cancelled)
        groups.setdefault(key, []).append(index)
    for (tag, task, attempt, cls, code, signal, why, cancelled), indices in groups.items():
        why = why or _GONE
        if cls == FailureClass.LOST.value and not cancelled:
            ordered = {index for kill in state.kills.get(tag, ()) for index in from_ranges(kill.elements)}
            if left_over := [index for index in indices if index not in ordered]:
                events.append(Kill(tag=tag, at=now, elements=to_ranges(left_over), f=cls, w=why))
            continue
        events.append(
            Failed(
                task=task,
                elements=to_ranges(indices),
                attempt=attempt,
                f=FailureClass(cls),
                at=now,
                x=code,
                s=signal,
                w=why,
                j=tag,
                final=why.startswith(NEVER),
            )
        )
    return events, soonest
