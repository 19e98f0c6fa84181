"""Which wake-ups a run needs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from ..model.definition import Definition
from ..model.state import State, WakeUp


def flying(state: State, unheard: Collection[str] = ()) -> set[str]:
    """Tags of jobs whose end is still to come: of some element, the scheduler has not said that it has gone.

    A wake-up that waited for any other job would start at once, to find nothing new.
    """
    gone = Counter(word.tag for word in state.gone.values())
    found = set()
    for position in state.open_flights.values():
        flight = state.flights[position]
        if flight.id and flight.tag not in unheard and flight.left > gone[flight.tag]:
            found.add(flight.tag)
    return found


def groups(definition: Definition, state: State) -> list[tuple[str, ...]]:
    """Jobs in flight that something waits for, as tags; each group once.

    A task that has not been expanded waits for all jobs of its upstream tasks;
    the end of the run waits for the jobs that no task waits for. Elements that
    failed and may be tried again are found out with their task's group.
    """
    flying: dict[str, list[str]] = {}
    for position in state.open_flights.values():
        flight = state.flights[position]
        flying.setdefault(flight.task, []).append(flight.tag)
    found: dict[tuple[str, ...], None] = {}
    awaited: set[str] = set()
    for task in definition.tasks:
        progress = state.tasks[task.name]
        if progress.ended or progress.open:
            continue
        tags = [tag for step in task.upstream for tag in flying.get(step, ())]
        awaited.update(step for step in task.upstream)
        if tags:
            found[tuple(sorted(tags))] = None
    last = [tag for name, tags in flying.items() if name not in awaited for tag in tags]
    if last:
        found[tuple(sorted(last))] = None
    return list(found)


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
