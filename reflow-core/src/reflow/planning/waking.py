"""Which wake-ups a run needs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from ..model.definition import Definition
from ..model.job import Limits
from ..model.lifecycle.states import PENDING
from ..model.state import State, WakeUp

#: jobs of which each wakes the run where some of its elements are held back: those that were submitted first
_MOST = 4


def flying(state: State, unheard: Collection[str] = ()) -> set[str]:
    """Tags of jobs whose end is still to come: of some element, the scheduler has not said that it has gone.

    A wake-up that waited for any other job would start at once, to find nothing new.
    """
    gone = Counter(word.tag for word in state.gone.values())
    found = set()
    for position in state.open_flights.values():
        flight = state.flights[position]
        if flight.known and flight.tag not in unheard and flight.left > gone[flight.tag]:
            found.add(flight.tag)
    return found


def groups(definition: Definition, state: State, now: float) -> list[tuple[str, ...]]:
    """Jobs in flight that something waits for, as tags; each group once.

    A task that has not been expanded waits for all jobs of its upstream tasks;
    elements that are held back, for a throttle or a cap, for any job that may
    make room; the end of the run waits for the jobs that no task waits for.
    Elements that failed and may be tried again are found out with their task's
    group.
    """
    flying: dict[str, list[str]] = {}
    for position in state.open_flights.values():
        flight = state.flights[position]
        flying.setdefault(flight.task, []).append(flight.tag)
    found: dict[tuple[str, ...], None] = {}
    awaited: set[str] = set()
    for task in definition.tasks:
        progress = state.tasks[task.name]
        if progress.ended:
            continue
        if progress.open:
            if progress.counts[PENDING] > sum(due > now for due in progress.due.values()):
                room = flying.get(task.name) or [tag for tags in flying.values() for tag in tags]
                found.update(((tag,), None) for tag in room[:_MOST])
            continue
        tags = [tag for step in task.upstream for tag in flying.get(step, ())]
        awaited.update(step for step in task.upstream)
        if tags:
            found[tuple(sorted(tags))] = None
    last = [tag for name, tags in flying.items() if name not in awaited for tag in tags]
    if last:
        found[tuple(sorted(last))] = None
    return list(found)


def room(state: State, limits: Limits) -> int | None:
    """How many jobs more the scheduler takes; None where it has no bound."""
    if limits.max_submitted is None:
        return None
    return max(0, limits.max_submitted - sum(progress.active for progress in state.tasks.values()) - len(state.wakes))


def spare(state: State, limits: Limits) -> int:
    """Places that elements leave free, so that the run can be woken at all."""
    return max(0, min(4, (limits.max_submitted or 0) // 2) - len(state.wakes))


def joins(count: int, most: int | None) -> list[list[tuple[int, int]]]:
    """How more jobs than go into one dependency become few enough, step by step.

    Returns
    -------
    list of list of (int, int)
        Of each step, the ranges (first, last + 1) that one job joins each; the
        next step counts those jobs.
    """
    steps: list[list[tuple[int, int]]] = []
    while most is not None and most > 1 and count > most:
        steps.append([(first, min(first + most, count)) for first in range(0, count, most)])
        count = len(steps[-1])
    return steps


def uncovered(
    wanted: Iterable[tuple[str, ...]], wakes: Iterable[WakeUp], open_tags: Iterable[str]
) -> list[tuple[str, ...]]:
    """Groups for which no wake-up is under way.

    A wake-up that waits for some of a group, and for nothing that may outlast
    it, serves: it comes in time to arrange the next one.
    """
    flying = set(open_tags)
    waiting = [flying.intersection(wake.waits) for wake in wakes if wake.waits]
    return [group for group in wanted if not any(waits and waits.issubset(group) for waits in waiting)]
