"""Looking at a run: its status, as plain data, from its records alone."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any

from ...model import layout
from ...model.definition import Definition
from ...model.lifecycle.states import CACHED, CANCELLED, FAILED, RETRY_PENDING, SHOWN, SUCCESS
from ...model.names import TaskState
from ...model.ranges import to_ranges
from ...model.record import Finished
from ...model.state import Failure, State
from ...model.task import Task
from ...planning.plan import CAP_LASTS
from ...planning.waking import flying
from ...worker.trust import Trust
from ..definition.trust import believing
from ..journal.lease import BEAT, Owner, latest, owner
from ..journal.log import Results, replay
from ..journal.report_reader import frozen_trust, overlay
from .words import element_reason, run_times, task_reason, task_times, waiting_reasons

#: seconds that a process which waits in place may be late, clocks that differ included
_LATE = 30.0


def look(root: str, definition: Definition) -> State:
    """The state of a run now, workers' last words included."""
    return believing(root, lambda trusted: _look(root, definition, trusted), frozen_trust(State(definition)))


def _look(root: str, definition: Definition, trusted: Trust) -> State:
    state = State(definition)
    replay(root, state, trusted=trusted)
    if not state.run.ended:
        overlay(root, state, trusted)
    return state


def status(root: str, definition: Definition, state: State, *, elements: bool = False) -> dict[str, Any]:
    """What `Run.status` returns of a run that stands so."""
    waiting = waiting_reasons(state)
    now = time.time()
    tasks = []
    summary: dict[str, dict[str, int | None]] = {}
    for task in definition.tasks:
        progress = state.tasks[task.name]
        counts: dict[str, int | None] = {**progress.shown()}
        counts["total"] = progress.size if progress.size is not None or task.array else 1
        counts["cached"] = progress.counts[CACHED]
        summary[task.name] = counts
        worked, idle = task_times(progress, now)
        tasks.append(
            {
                "name": task.name,
                "array": task.array,
                "state": progress.state.value,
                "size": progress.size,
                "depends": list(task.upstream),
                "reason": task_reason(progress, waiting.get(task.name, "")),
                "started": progress.started_at or None,
                "ended": (progress.ended_at or None) if progress.ended else None,
                "duration": worked,
                "idle": idle,
            }
        )
    worked, idle = run_times(state, now)
    told: dict[str, Any] = {
        "run": {
            "run_id": definition.run_id,
            "workflow": definition.workflow,
            **standing(root, definition, state),
            "run_dir": layout.run_dir(root),
            "moved_from": _moved_from(root, definition),
            "root": root,
            "created": definition.created,
            "started": state.started or None,
            "ended": state.ended or None,
            "duration": worked,
            "idle": idle,
            "executor": definition.executor,
            "generation": state.generation,
            "uncached": [{"task": one.task, "elements": one.elements, "reason": one.reason} for one in state.uncached],
        },
        "summary": summary,
        "tasks": tasks,
        "failures": _failures(root, definition, state),
    }
    if elements:
        told["elements"] = _elements(root, definition, state)
    return told


def _moved_from(root: str, definition: Definition) -> str | None:
    """Where a run was made, if it lies elsewhere now."""
    now, then = layout.run_dir(root), definition.run_dir
    with suppress(OSError):
        if now == then or os.path.samefile(now, then):
            return None
    return then


def standing(root: str, definition: Definition, state: State) -> dict[str, str]:
    """The run's state and its reason; STALLED where nothing is queued, running or due, and nothing will wake it."""
    if state.run.ended:
        return {"status": state.run.value, "reason": state.reason}
    unconfirmed = _unconfirmed(definition.run_id, state)
    plain = {"status": state.run.value, "reason": state.asked.problem or state.barred or unconfirmed or _capped(state)}
    epoch = latest(root)
    if not epoch:
        if time.time() - definition.created <= _LATE:
            return plain
        told = f"the process that submitted it died before it began; `reflow drive {definition.run_id}` goes on"
        return {"status": "STALLED", "reason": told}
    holder = _holder(root, epoch, state)
    goes_on = f"`reflow drive {definition.run_id}` goes on"
    if not (holder.released or holder.dead()):
        silence = time.time() - os.stat(layout.lease(root, epoch)).st_mtime
        if -_LATE <= silence <= 2 * holder.expiry:
            return plain
        if silence < 0 and _beats(root, holder, state):
            return plain  # its clock is ahead, or ours behind
        # Clocks may differ, so this is for people to read: nobody takes over for it.
        told = f"process {holder.pid} on {holder.host}, which advanced it, does not respond; {goes_on}"
        if holder.counter < 0:
            told = f"{layout.lease(root, epoch)} is damaged; `reflow repair {definition.run_id}` puts it in order"
        return {"status": "STALLED", "reason": told}
    if holder.back > time.time() - _LATE and not holder.dead():
        return plain  # it waits for what is due soon
    if state.pools:
        return {"status": "STALLED", "reason": f"the process that drove it is gone; {goes_on}"}
    if awaits(state):
        held = next((state.asked.waiting[tag] for tag in state.wakes if tag in state.asked.waiting), "")
        if held and not flying(state):
            return {"status": "STALLED", "reason": f"its wake-up: {held}; {goes_on}"}
        return {**plain, "reason": plain["reason"] or (f"its wake-up: {held}; {goes_on}" if held else "")}
    why = state.barred or "nothing will wake it"
    if not state.barred and state.asked.problem:
        why = f"{why}: {state.asked.problem}"
    if flying(state):
        return {**plain, "reason": plain["reason"] or f"{why} when its jobs have ended: {goes_on}"}
    return {"status": "STALLED", "reason": f"{why}; {goes_on}"}


def _holder(root: str, epoch: int, state: State) -> Owner:
    """Who holds an epoch, as somebody who is believed has written."""
    return believing(root, lambda trusted: owner(root, epoch, trusted), frozen_trust(state))


def _beats(root: str, holder: Owner, state: State) -> bool:
    """Whether a holder whose times make no sense is alive, as is seen by waiting for its next beat."""
    deadline = time.monotonic() + 2 * BEAT
    while time.monotonic() < deadline:
        time.sleep(BEAT / 10)
        now = _holder(root, latest(root), state)
        if (now.epoch, now.counter, now.released) != (holder.epoch, holder.counter, holder.released):
            return True
    return False


def _capped(state: State) -> str:
    """What a refusal has taught about the size of arrays, and still counts."""
    cap = state.cap
    if cap is None or time.time() - cap.at > CAP_LASTS:
        return ""
    return f"arrays of {cap.size} elements at most are submitted: {cap.w}"


def _unconfirmed(run_id: str, state: State) -> str:
    """Which elements were cancelled as lost and are waited for, since their end is not confirmed; "" where none are."""
    found: dict[str, list[int]] = {}
    for (task, index), gone in state.gone.items():
        if gone.killed:
            found.setdefault(task, []).append(index)
    if not found:
        return ""
    names = [
        f"{task}[{to_ranges(sorted(indices))}]" if state.tasks[task].array else task for task, indices in found.items()
    ]
    asked = " ".join(f"--task '{name}'" for name in names)
    return (
        f"{', '.join(names)}: cancelled as lost, and the scheduler has not confirmed the end, which is waited for up to"
        f" [run] lost_after; `reflow cancel {run_id} {asked}` and `reflow retry {run_id}` do not wait"
    )


def awaits(state: State) -> bool:
    """Whether a wake-up is under way."""
    return any(wake.id and not wake.join for wake in state.wakes.values())


def quiet(root: str, state: State, patience: float) -> bool:
    """Whether jobs are in flight, and nothing was heard of any for so many seconds."""
    waiting = any(wake.id for wake in state.wakes.values()) or any(
        state.flights[position].known for position in state.open_flights.values()
    )
    if not waiting or state.pools:
        return False
    now, heard = time.time(), state.heard
    if heard > now + _LATE and state.epoch:
        # Some clock was, or is, wrong: that of a worker's host, say. When something was written down last is known.
        heard = os.stat(layout.events(root, state.epoch)).st_mtime
    return now - heard > patience


def log_of(root: str, task: Task, index: int, failure: Failure | None) -> str:
    """Where the log of an element is: of its job, where it failed before it had one of its own."""
    path = layout.log(root, task.name, task.array, index)
    if failure is not None and failure.job and not os.path.exists(path):
        other = layout.job_log(root, failure.job)
        return other if os.path.exists(other) else path
    return path


def _failures(root: str, definition: Definition, state: State) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for task in definition.tasks:
        progress = state.tasks[task.name]
        for index, failure in sorted(progress.failures.items()):
            if SHOWN[progress.status[index]] is not TaskState.FAILED:
                continue
            found.append(
                {
                    "task": task.name,
                    "index": index if task.array else None,
                    "class": failure.cls.value,
                    "reason": failure.reason,
                    "exit_code": failure.exit_code,
                    "signal": failure.signal,
                    "attempt": failure.attempt,
                    "at": failure.at,
                    "log": log_of(root, task, index, failure),
                    "traceback": failure.details,
                    "place": failure.place,
                }
            )
    return found


def _elements(root: str, definition: Definition, state: State) -> list[dict[str, Any]]:
    results = Results(root)
    rows: list[dict[str, Any]] = []
    own: dict[str, dict[int, str]] = {}
    try:
        for task in definition.tasks:
            progress = state.tasks[task.name]
            cancelled = progress.cancel_reasons()
            for index, code in enumerate(progress.status):
                row: dict[str, Any] = {
                    "task": task.name,
                    "index": index if task.array else None,
                    "state": SHOWN[code].value,
                    "attempt": progress.attempt[index],
                    "cached": code == CACHED,
                    "class": None,
                    "reason": element_reason(progress, index, cancelled),
                    "host": "",
                    "started": None,
                    "ended": None,
                    "cpu": None,
                    "max_rss": None,
                    "job": None,
                    "log": log_of(root, task, index, progress.failures.get(index)),
                }
                flight = state.flight_of(task.name, index)
                if flight is not None:
                    if flight.tag not in own:
                        own[flight.tag] = flight.own_ids()
                    row["job"] = own[flight.tag].get(index, flight.id) or None
                failure = progress.failures.get(index)
                if failure is not None and code in (FAILED, RETRY_PENDING, CANCELLED):
                    row |= {"class": failure.cls.value, "started": failure.began or None, "ended": failure.at}
                if code in (SUCCESS, FAILED, RETRY_PENDING, CANCELLED) and progress.length[index]:
                    record = results.record(progress.file[index], progress.offset[index], progress.length[index])
                    if isinstance(record, Finished) and record.a == progress.attempt[index]:
                        row |= {
                            "host": record.h,
                            "started": record.b,
                            "ended": record.e,
                            "cpu": record.c,
                            "max_rss": record.m or None,
                        }
                rows.append(row)
    finally:
        results.close()
    return rows


#: of an element whose worker has reported its result, and whose run has not gone on since
REPORTED = "its worker has reported a result, and the run has not taken that in yet"


def plain_results(root: str, state: State, task: Task, only: int | None) -> list[dict[str, Any]]:
    """What the elements of a task returned, as plain data; nothing of the pipeline is imported for it."""
    progress = state.tasks[task.name]
    if progress.size is None:
        reason = task_reason(progress)
        return [{"task": task.name, "index": None, "state": progress.state.value, "reason": reason}]
    cancelled = progress.cancel_reasons()
    results = Results(root)
    rows: list[dict[str, Any]] = []
    try:
        for index in range(progress.size) if only is None else (only,):
            row: dict[str, Any] = {
                "task": task.name,
                "index": index if task.array else None,
                "state": SHOWN[progress.status[index]].value,
                "reason": element_reason(progress, index, cancelled),
            }
            try:
                row["result"] = results.plain(progress, index)
            except LookupError:
                row["reason"] = row["reason"] or (REPORTED if row["state"] == "SUCCESS" else "")
            rows.append(row)
    finally:
        results.close()
    return rows


def explain(root: str, definition: Definition, only: str | None) -> list[dict[str, Any]]:
    """Why each element was computed, or taken from the cache."""
    from ...model.ranges import from_ranges
    from ...model.record import Hit

    state = look(root, definition)
    results = Results(root)
    rows: list[dict[str, Any]] = []
    try:
        for task in definition.tasks:
            if only is not None and task.name != only:
                continue
            progress = state.tasks[task.name]
            if progress.size is None:
                reason = task_reason(progress) or "waiting for what it depends on"
                rows.append({"task": task.name, "index": None, "decision": "none", "reason": reason})
                continue
            reasons = {
                index: reason
                for reason, indices in state.misses.get(task.name, {}).items()
                for index in from_ranges(indices)
            }
            cancelled = progress.cancel_reasons()
            for index, code in enumerate(progress.status):
                decision, reason = "miss", reasons.get(index, "")
                if code == CACHED:
                    record = results.record(progress.file[index], progress.offset[index], progress.length[index])
                    decision = "hit"
                    if isinstance(record, Hit):
                        reason = f"computed by run {record.by}{record.w and ', ' + record.w}"
                elif not progress.attempt[index]:
                    decision = "none"
                    reason = element_reason(progress, index, cancelled) or "it was not looked up"
                rows.append(
                    {
                        "task": task.name,
                        "index": index if task.array else None,
                        "decision": decision,
                        "reason": reason,
                    }
                )
    finally:
        results.close()
    return rows
