"""What people have mailed to a run, carried out: `cancel` and `retry`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ...model import layout
from ...model.codec import names_files
from ...model.job import BOUNDS
from ...model.lifecycle.states import (
    ACTIVE,
    CANCELLED,
    FAILED,
    PENDING,
    RETRY_PENDING,
    SKIPPED,
    SUCCESS,
)
from ...model.names import FailureClass, RunState
from ...model.ranges import from_ranges, to_ranges
from ...model.record import Bounded, Cancelled, CodeChanged, Command, Kill, Obeyed, Reset, RunChanged
from ..jobs.submissions import Scheduler
from ..journal.report_reader import STRANGE, UNREADABLE, commands
from ..journal.writer import Writer

#: elements of each task
_Chosen = Mapping[str, Sequence[int]]


def obey(writer: Writer, scheduler: Scheduler, recall: Callable[[_Chosen], None]) -> Iterator[str]:
    """Carry out what was mailed; says, of each command, what was done.

    ``recall`` takes in what was reported of elements after they had been given up.
    """
    for command in commands(writer.root, writer.state, writer.trusted):
        verb = command.verb
        if verb == "cancel":
            answer = _cancel(writer, scheduler, command)
            verb = "cancel" if command.tasks else "stop"
        elif verb == STRANGE:
            answer = (
                f"{command.id} is passed over: {command.by}, who mailed it, is not the run's owner, nor one of"
                " [run] trusted_owners; or others may write it"
            )
            writer.warn(answer)
        elif verb == UNREADABLE:
            answer = f"{layout.commands(writer.root)}/{command.id}.json holds no command, and is passed over"
        else:
            answer = _retry(writer, scheduler, command, recall)
            if not answer:
                return  # what is to be computed anew still runs: it is obeyed once that has been cancelled
        writer.add(Obeyed(id=command.id, verb=verb, at=writer.now(), said=answer))
        writer.commit()
        yield answer


def _cancel(writer: Writer, scheduler: Scheduler, command: Command) -> str:
    """What was asked for, of some tasks or the whole run; says what was done."""
    wanted: dict[str, str | None] = dict(command.tasks) or dict.fromkeys(writer.state.tasks)
    active, waiting = give_up(writer, scheduler, wanted, command.reason or "cancelled", whole=not command.tasks)
    left = f"{active} queued or running and {waiting} waiting elements"
    if writer.state.kills:
        return f"cancelling {left}: not all of it is confirmed yet, and is asked for again"
    return f"cancelled {left}"


def give_up(
    writer: Writer, scheduler: Scheduler, wanted: Mapping[str, str | None], reason: str, *, whole: bool
) -> tuple[int, int]:
    """What waits never runs; what is queued or runs is to be cancelled, the chain first.

    Parameters
    ----------
    wanted : mapping
        Task -> elements, None for all.
    whole : bool
        Whether it is the whole run, which then needs no wake-up any more.

    Returns
    -------
    tuple of int and int
        How many elements were queued or running, and how many were waiting.
    """
    state, now = writer.state, writer.now()
    if whole:
        for tag in [*state.wakes, *state.spares]:
            writer.add(Kill(tag=tag, at=now, w=reason))
    waiting = active = 0
    for name, elements in wanted.items():
        progress = state.tasks.get(name)
        if progress is None or progress.ended:
            continue
        before = progress.counts[PENDING]
        writer.add(Cancelled(task=name, elements=elements, at=now, reason=reason))
        waiting += before - progress.counts[PENDING]
    for position in list(state.open_flights.values()):
        flight = state.flights[position]
        if flight.task not in wanted:
            continue
        elements = wanted[flight.task]
        chosen = None if elements is None else set(from_ranges(elements))
        progress = state.tasks[flight.task]
        ended = [
            index
            for index in flight.elements
            if (chosen is None or index in chosen)
            and progress.job[index] == position
            and progress.status[index] in ACTIVE
        ]
        active += len(ended)
        if ended:
            cls = FailureClass.CANCELLED.value
            writer.add(Kill(tag=flight.tag, at=now, elements=to_ranges(ended), f=cls, w=reason))
    scheduler.enforce()
    return active, waiting


def _retry(writer: Writer, scheduler: Scheduler, command: Command, recall: Callable[[_Chosen], None]) -> str:
    """Let what failed, was cancelled or was skipped start over; "" where that has to wait.

    What has succeeded after all, and could only not say so in time, does not.
    """
    changed = command.generation > writer.state.generation
    again: dict[str, list[int]] = {}
    stale: dict[str, list[int]] = {}
    whole: set[str] = set()
    for task in writer.definition.tasks:
        progress = writer.state.tasks[task.name]
        if not (progress.open or progress.ended):
            continue
        if changed and progress.open and progress.counts[PENDING]:
            stale[task.name] = progress.indices(PENDING)  # who they are depends on the code
        chosen = command.tasks.get(task.name, "") if command.tasks else None
        if chosen == "":
            if any(step in again for step in task.upstream) and (progress.skipped or progress.counts[SKIPPED]):
                chosen = None
            else:
                continue
        among = None if chosen is None else set(from_ranges(chosen))
        indices = [
            index
            for status in (FAILED, RETRY_PENDING, CANCELLED, SKIPPED)
            for index in progress.indices(status)
            if among is None or index in among
        ]
        if indices or progress.skipped or progress.cancelled:
            again[task.name] = indices
    for task in writer.definition.tasks:
        # Files that something else has written since are made anew, unless the cache still has them.
        failures = writer.state.tasks[task.name].failures
        if any(failures[i].cls is FailureClass.CHANGED for i in again.get(task.name, ()) if i in failures):
            for step in {step for wired in task.inputs for step in wired.steps}:
                if names_files(writer.definition.task(step).returns):
                    whole.add(step)
                    again[step] = list(range(len(writer.state.tasks[step].status)))
    for task in writer.definition.tasks:
        # What was computed from a part of its input, since some of it had failed, is computed anew with the whole.
        progress = writer.state.tasks[task.name]
        partly = any(wired.allow_failed and again.keys() & set(wired.steps) for wired in task.inputs)
        if progress.open and (partly or whole.intersection(task.upstream)):
            whole.add(task.name)
            if progress.active and not progress.stopped:
                give_up(writer, scheduler, {task.name: None}, "its input is computed anew", whole=False)
            again[task.name] = list(range(len(progress.status)))
    open_flights, flights = writer.state.open_flights, writer.state.flights
    if any(tag in open_flights and flights[open_flights[tag]].task in whole for tag in writer.state.kills):
        return ""
    given_up = {name: indices for name, indices in again.items() if indices and name not in whole}
    recall(given_up)
    mended = []
    for name, indices in given_up.items():
        progress = writer.state.tasks[name]
        left = [index for index in indices if progress.status[index] != SUCCESS]
        if len(left) < len(indices):
            mended.append(name)
            again[name] = left
            if not (left or progress.skipped or progress.cancelled):
                del again[name]
    if changed:
        writer.add(CodeChanged(generation=command.generation, at=writer.now()))
        scheduler.use(writer.definition)
    for name in dict.fromkeys([*again, *stale]):
        indices = [*again.get(name, ()), *stale.get(name, ())]
        writer.add(Reset(task=name, elements=to_ranges(indices), at=writer.now(), reason="retry"))
    if not (again or mended):
        return "nothing to retry"
    bounds = {name: bound for name, bound in command.bounds.items() if name in BOUNDS}
    if bounds != writer.state.bounds or writer.state.cap is not None:
        writer.add(Bounded(at=writer.now(), bounds=bounds))
    writer.add(RunChanged(state=RunState.RUNNING, at=writer.now(), reason="retry"))
    if not again:
        return f"nothing to retry: {', '.join(mended)} had succeeded"
    count = sum(len(indices) or 1 for indices in again.values())
    return f"retrying {count} element{'s' if count != 1 else ''} of {', '.join(again)}"
