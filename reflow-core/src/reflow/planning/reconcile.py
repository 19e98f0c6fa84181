"""What the scheduler's words mean for elements that have not reported. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..model import layout
from ..model.job import JobRef, JobState, JobStatus
from ..model.names import FailureClass
from ..model.ranges import to_ranges
from ..model.record import Asked, Failed, Gone
from ..model.state import QUEUED, RUNNING, Flight, State


class Verdict(msgspec.Struct, frozen=True):
    """What follows from one query."""

    events: tuple[Gone | Asked, ...]
    #: tags of wake-ups that the scheduler has done with
    woken: tuple[str, ...]
    #: tags of jobs of which it could say nothing yet
    unheard: frozenset[str] = frozenset()


_FORGOTTEN = JobStatus(state=JobState.UNKNOWN, native="not known any more")

#: an array is known, and this slot of it is not: schedulers drop what is cancelled before it starts without a word
_VANISHED = JobStatus(state=JobState.UNKNOWN, native="gone from its array before it started: cancelled while it waited")


def missing(state: State) -> list[Flight]:
    """Jobs that were submitted and of which some elements have not ended."""
    return [state.flights[position] for position in state.open_flights.values() if state.flights[position].id]


def refs(state: State) -> list[JobRef]:
    """What to ask for: jobs in flight, and wake-ups."""
    jobs = [JobRef(flight.id, None, flight.cluster or None) for flight in missing(state)]
    return jobs + [JobRef(wake.id, None, wake.cluster or None) for wake in state.wakes.values() if wake.id]


def judge(state: State, answers: Mapping[JobRef, JobStatus], now: float, lag: float) -> Verdict:
    """Compare what the scheduler said with what is in flight.

    Parameters
    ----------
    state : State
        Where the run stands.
    answers : mapping of JobRef to JobStatus
        What the query gave. What it does not answer for could not be asked, and is no evidence.
    now : float
        Seconds since the epoch.
    lag : float
        Seconds after a submit during which a job may be unknown.
    """
    by_id: dict[str, dict[int | None, JobStatus]] = {}
    for ref, status in answers.items():
        by_id.setdefault(ref.id, {})[ref.slot] = status
    events: list[Gone | Asked] = []
    waiting: dict[str, str] = {}
    unheard: set[str] = set()
    for flight in missing(state):
        told = by_id.get(flight.id)
        if told is None:
            unheard.add(flight.tag)
            continue
        progress = state.tasks[flight.task]
        gone: dict[JobStatus, list[int]] = {}
        alive = any(status.state is not JobState.UNKNOWN for slot, status in told.items() if slot is not None)
        for slot, index in enumerate(flight.elements):
            if progress.status[index] not in (QUEUED, RUNNING) or state.flight_of(flight.task, index) is not flight:
                continue
            status = (
                told.get(slot)
                or told.get(None)
                or (_VANISHED if alive and not _has_started(state, flight.tag, slot) else _FORGOTTEN)
            )
            before = state.gone.get((flight.task, index))
            if before is not None and (before.f or not _class(status)):
                continue  # accounting may have been slow to tell why: only that is news
            if status.state is JobState.PENDING and status.reason:
                waiting[flight.tag] = status.reason
            if status.state is JobState.UNKNOWN and now - flight.at <= lag:
                unheard.add(flight.tag)
            elif status.state.ended or status.state is JobState.UNKNOWN:
                gone.setdefault(status, []).append(index)
        for status, indices in gone.items():
            events.append(
                Gone(
                    tag=flight.tag,
                    elements=to_ranges(indices),
                    at=now,
                    f=_class(status),
                    x=status.exit_code,
                    s=status.signal,
                    w=status.reason or status.native,
                )
            )
    events.append(Asked(at=now, waiting=waiting))
    woken = []
    for wake in state.wakes.values():
        word = next(iter(by_id.get(wake.id, {}).values()), None)
        if word is not None and (word.state.ended or (word.state is JobState.UNKNOWN and now - wake.at > lag)):
            woken.append(wake.tag)
    return Verdict(tuple(events), tuple(woken), frozenset(unheard))


def _has_started(state: State, tag: str, slot: int) -> bool:
    """Whether a worker of that slot has reported anything."""
    return layout.box("", tag, slot).removeprefix("/mailbox/") in state.boxes


def _class(status: JobStatus) -> str:
    if status.failure_class is not None:
        return status.failure_class.value
    if status.state is JobState.CANCELLED:
        return FailureClass.CANCELLED.value
    if status.state is JobState.FAILED:
        return FailureClass.EXIT.value
    return ""


def overdue(state: State, now: float, grace: float) -> tuple[list[Failed], float | None]:
    """Elements whose record did not arrive in time, and the seconds until the next one is."""
    failed: list[Failed] = []
    soonest: float | None = None
    groups: dict[tuple[str, int, str, int | None, int | None, str], list[int]] = {}
    for (task, index), gone in state.gone.items():
        if state.tasks[task].status[index] not in (QUEUED, RUNNING):
            continue
        left = gone.at + grace - now
        if left > 0:
            soonest = left if soonest is None else min(soonest, left)
            continue
        key = (task, state.tasks[task].attempt[index], gone.f, gone.x, gone.s, gone.w)
        groups.setdefault(key, []).append(index)
    for (task, attempt, cls, code, signal, why), indices in groups.items():
        silent = FailureClass.CANCELLED if why == _VANISHED.native else FailureClass.LOST
        failed.append(
            Failed(
                task=task,
                elements=to_ranges(indices),
                attempt=attempt,
                f=FailureClass(cls) if cls else silent,
                at=now,
                x=code,
                s=signal,
                w=why or "the job is gone, and left no record",
            )
        )
    return failed, soonest
