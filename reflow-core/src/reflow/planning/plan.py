"""From a run's state to what is to be done next. Pure: no clock, no files, no scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec

from ..model.definition import Definition
from ..model.job import Limits
from ..model.lifecycle.states import CANCELLED, FAILED, PENDING, SKIPPED, UNDECIDED
from ..model.names import Mode, RunState
from ..model.ranges import to_ranges
from ..model.record import Again, Settled
from ..model.resources import Resources
from ..model.state import Progress, State
from ..model.task import Task
from .retry import scale, wait_before
from .waking import room as places
from .waking import spare

#: seconds for which the size of arrays counts that a refusal has taught: bounds change, and others' jobs end
CAP_LASTS = 3600.0


class Expand(msgspec.Struct, frozen=True):
    """All that a task waits for has ended well: find out its elements."""

    task: str


class Skip(msgspec.Struct, frozen=True):
    """A task can't run any more."""

    task: str
    reason: str


class Submit(msgspec.Struct, frozen=True):
    """Elements of one task that go into one job."""

    task: str
    elements: Sequence[int]
    attempt: int
    part: int
    resources: Resources
    #: how many of them may run at once, where that is fewer
    throttle: int | None = None


class Record(msgspec.Struct, frozen=True):
    """A decision that is complete once it is written down."""

    event: Again | Settled


class GiveUp(msgspec.Struct, frozen=True):
    """Too much has failed: what is left of these tasks is cancelled."""

    tasks: tuple[str, ...]
    reason: str
    #: they are all that the run has left
    whole: bool


class Finish(msgspec.Struct, frozen=True):
    """Nothing is left to do."""

    state: RunState
    reason: str


Action = Expand | Skip | Submit | Record | GiveUp | Finish


def plan(definition: Definition, state: State, limits: Limits, now: float) -> list[Action]:
    """Decide what can be done at once.

    Parameters
    ----------
    definition : Definition
        The run's tasks, in topological order.
    state : State
        Where it stands.
    limits : Limits
        What the executor can take; what exceeds it is held for a later plan.
    now : float
        Seconds since the epoch.

    Returns
    -------
    list of actions
        Empty where all that can be done has been: then something in flight,
        or a time (`next_due`), brings the next change.
    """
    if state.run.ended:
        return []
    for task in definition.tasks:
        left = _give_up(definition, state, task)
        if left is not None:
            return [left]
    actions: list[Action] = []
    room = places(state, limits)
    if room is not None:
        room = max(0, room - spare(state, limits))
    ended = True
    for task in definition.tasks:
        progress = state.tasks[task.name]
        if progress.undecided:
            actions.extend(_judge(task, progress, now))
            ended = False
        elif progress.ended:
            continue
        else:
            ended = False
            if not progress.open:
                verdict = _ready(task, state)
                if verdict is not None:
                    actions.append(verdict)
            elif progress.counts[PENDING]:
                for submit in _submit(task, state, limits, room, now):
                    actions.append(submit)
                    if room is not None:
                        room -= len(submit.elements)
    if ended and not state.kills:  # what is still to be cancelled would outlive the run
        return [_finish(state)]
    return actions


def next_due(state: State, now: float) -> float | None:
    """Seconds until a held element may be tried again; None where none is held."""
    times = [due for progress in state.tasks.values() for due in progress.due.values() if due > now]
    return min(times) - now if times else None


def _give_up(definition: Definition, state: State, task: Task) -> GiveUp | None:
    """What is to be cancelled because too much of a task has failed for good."""
    progress = state.tasks[task.name]
    stop = task.on_error == "stop"
    if not (stop or task.max_failures is not None) or not progress.counts[FAILED]:
        return None
    failed = progress.counts[FAILED] - progress.forgiven
    most = task.max_failures or 0
    if isinstance(most, float):
        most *= progress.size or 0
    if failed <= most:
        return None
    names = tuple(
        name for name, one in state.tasks.items() if (stop or name == task.name) and not (one.ended or one.stopped)
    )
    if not names:
        return None
    told = f"{failed} of its {progress.size} elements have failed" if task.array else "it has failed"
    allowed = "" if task.max_failures is None else f" (max_failures={task.max_failures})"
    return GiveUp(names, f"{task.name} was given up: {told}{allowed}", stop)


def _ready(task: Task, state: State) -> Expand | Skip | None:
    partly = {step for wired in task.inputs if wired.mode is Mode.CHAIN for step in wired.steps}
    wholly = set(task.after)
    for wired in task.inputs:
        if wired.mode is not Mode.CHAIN and not wired.allow_failed:
            wholly.update(wired.steps)
    tolerant = {step for wired in task.inputs if wired.allow_failed for step in wired.steps}
    for name in task.upstream:
        upstream = state.tasks[name]
        if not upstream.ended:
            return None
    for name in task.upstream:
        upstream = state.tasks[name]
        if upstream.succeeded or (name in tolerant and name not in wholly and upstream.open):
            continue
        if name in partly and name not in wholly and upstream.open and _some_succeeded(upstream):
            continue
        return Skip(task.name, f"{name} {_fate(upstream)}")
    return Expand(task.name)


def _some_succeeded(progress: Progress) -> bool:
    return progress.counts[FAILED] + progress.counts[CANCELLED] + progress.counts[SKIPPED] < (progress.size or 0)


def _fate(progress: Progress) -> str:
    if progress.counts[FAILED]:
        return "failed"
    if progress.cancelled or progress.counts[CANCELLED]:
        return "was cancelled"
    if progress.counts[SKIPPED] and progress.done:
        return f"succeeded in part only: {progress.counts[SKIPPED]} of its {progress.size} elements were skipped"
    return "was skipped"


def _judge(task: Task, progress: Progress, now: float) -> Iterator[Record]:
    again: dict[tuple[int, float, Resources], list[int]] = {}
    reasons: dict[tuple[int, float, Resources], str] = {}
    final: list[int] = []
    for index in chain.from_iterable(map(progress.indices, UNDECIDED)):
        failure = progress.failures[index]
        wait = (
            None if progress.stopped or failure.final else wait_before(task.retry, failure.cls, progress.tries[index])
        )
        if wait is None:
            final.append(index)
            continue
        asked = scale(task.retry, failure.cls, progress.scaled.get(index, task.resources))
        group = (failure.attempt + 1, wait, asked)
        again.setdefault(group, []).append(index)
        reasons[group] = failure.cls.value
    for group, indices in again.items():
        attempt, wait, asked = group
        yield Record(
            Again(
                task=task.name,
                elements=to_ranges(indices),
                attempt=attempt,
                due=now + wait,
                at=now,
                reason=reasons[group],
                resources=None if asked == task.resources else asked,
            )
        )
    if final:
        yield Record(Settled(task=task.name, elements=to_ranges(final), at=now))


def _submit(task: Task, state: State, limits: Limits, room: int | None, now: float) -> Iterator[Submit]:
    progress = state.tasks[task.name]
    groups: dict[tuple[int, int, Resources], list[int]] = {}
    for index in progress.indices(PENDING):
        if progress.due.get(index, now) > now:
            continue
        asked = progress.scaled.get(index, task.resources) if progress.scaled else task.resources
        groups.setdefault((progress.attempt[index], progress.part[index], asked), []).append(index)
    most = limits.max_array or len(progress.status)
    chunks: list[Submit] = []
    for (attempt, part, asked), indices in groups.items():
        for first in range(0, len(indices), most):
            chunk = indices[first : first + most]
            if room is not None:
                chunk = chunk[: max(0, room)]
                room -= len(chunk)
            if chunk:
                chunks.append(Submit(task.name, chunk, attempt, part, asked))
    if not task.array or task.array_parallelism is None:
        yield from chunks
        return
    lanes = max(0, task.array_parallelism - _lanes(task, state))
    lengths = [len(submit.elements) for submit in chunks]
    for submit, share in zip(chunks, share_out(lanes, lengths), strict=True):
        if not share:
            continue
        if not limits.throttle:
            yield msgspec.structs.replace(submit, elements=submit.elements[:share])
        else:
            yield msgspec.structs.replace(submit, throttle=share if share < len(submit.elements) else None)


def _lanes(task: Task, state: State) -> int:
    """How many elements of a task its jobs in flight may run at once."""
    flights = [state.flights[position] for position in state.open_flights.values()]
    return sum(min(flight.left, flight.throttle or flight.left) for flight in flights if flight.task == task.name)


def share_out(lanes: int, lengths: Sequence[int]) -> list[int]:
    """Give each chunk of an array its share of the lanes: none more than it has elements.

    Each has one at least, as far as there are any: what has none is held back.
    Longer chunks have more, so that all end at about the same time.
    """
    total = sum(lengths)
    lanes = min(lanes, total)
    shares = [min(1, max(0, lanes - place)) for place in range(len(lengths))]
    left = lanes - sum(shares)
    for place, length in enumerate(lengths):
        more = min(length - shares[place], left, max(0, lanes * length // total - shares[place]))
        shares[place] += more
        left -= more
    for place, length in enumerate(lengths):
        more = min(length - shares[place], left)
        shares[place] += more
        left -= more
    return shares


def _finish(state: State) -> Finish:
    failed = [name for name, progress in state.tasks.items() if progress.counts[FAILED]]
    cancelled = [name for name, progress in state.tasks.items() if progress.cancelled or progress.counts[CANCELLED]]
    skipped = [name for name, progress in state.tasks.items() if progress.skipped or progress.counts[SKIPPED]]
    if state.stopping and (cancelled or failed):
        return Finish(RunState.CANCELLED, "cancelled")
    if failed:
        return Finish(RunState.FAILED, f"{_names(failed)} failed")
    if cancelled:
        return Finish(RunState.CANCELLED, f"{_names(cancelled)} cancelled")
    if skipped:
        return Finish(RunState.FAILED, f"{_names(skipped)} skipped")
    return Finish(RunState.SUCCESS, "")


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
