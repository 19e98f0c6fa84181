"""The table of transitions: what it forbids is refused, and what it allows ends well."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.model.definition import Definition, Entry, Task
from reflow.model.lifecycle.admission import Verdict
from reflow.model.lifecycle.states import (
    ACTIVE,
    CACHED,
    CANCELLED,
    FAILED,
    NAMES,
    PENDING,
    QUEUED,
    REQUEUE_PENDING,
    RETRY_PENDING,
    RUNNING,
    SHOWN,
    SKIPPED,
    SUCCEEDED,
    SUCCESS,
    UNDECIDED,
)
from reflow.model.lifecycle.transitions import (
    CHANGES,
    CONFLICT,
    DROP,
    FORBIDDEN,
    RESET,
    STRICT,
    SUCCEED,
    InvalidTransition,
    failing,
)
from reflow.model.names import FailureClass
from reflow.model.record import (
    Again,
    Cancelled,
    Event,
    Expanded,
    Failed,
    Finished,
    Hit,
    Intent,
    Requeued,
    Reset,
    Settled,
    Started,
)
from reflow.model.schema import Schema
from reflow.model.state import State

INT = Schema("int")
EVENTS: dict[str, Event] = {
    "Expanded, skipped": Expanded(task="t", size=1, part=0, pending="", skipped="0", at=1.0),
    "Hit": Hit(t="t", i=0, r=b"1"),  # type: ignore[arg-type]
    "Intent": Intent(tag="again", task="t", elements="0", attempt=1, part=0, at=1.0),
    "Started": Started(t="t", i=0, a=1, b=1.0),
    "Finished, success": Finished(t="t", i=0, a=1, b=1.0, e=2.0),
    "Finished or Failed": Finished(t="t", i=0, a=1, b=1.0, e=2.0, f="error"),
    "Failed, conflict": Failed(task="t", elements="0", attempt=1, f=FailureClass.CONFLICT, at=1.0),
    "Finished or Failed, requeued": Finished(t="t", i=0, a=1, b=1.0, e=2.0, f="requeued"),
    "Finished or Failed, cancelled": Failed(task="t", elements="0", attempt=1, f=FailureClass.CANCELLED, at=1.0),
    "Requeued or Voided": Requeued(task="t", elements="0", reason="", at=1.0),
    "Again": Again(task="t", elements="0", attempt=2, due=0.0, at=1.0),
    "Settled": Settled(task="t", elements="0", at=1.0),
    "Cancelled": Cancelled(task="t", elements="0", at=1.0),
    "Reset": Reset(task="t", elements="0", at=1.0),
}
#: events that bring a new element into each state
WAYS: dict[int, list[str]] = {
    PENDING: [],
    QUEUED: ["Intent"],
    RUNNING: ["Intent", "Started"],
    SUCCESS: ["Intent", "Finished, success"],
    FAILED: ["Intent", "Finished or Failed", "Settled"],
    CANCELLED: ["Cancelled"],
    SKIPPED: ["Expanded, skipped"],
    CACHED: ["Hit"],
    RETRY_PENDING: ["Intent", "Finished or Failed"],
    REQUEUE_PENDING: ["Intent", "Finished or Failed, requeued"],
}


def element(code: int) -> State:
    """A run of one task with one element, in a state."""
    task = Task(name="t", array=False, inputs=(), returns=INT)
    run = {"run_id": "r", "workflow": "w", "created": 1.0, "run_dir": "/", "cwd": "/", "executor": "x"}
    state = State(Definition(**run, entry=Entry(), tasks=(task,)))  # type: ignore[arg-type]
    state.apply(Expanded(task="t", size=1, part=0, pending="0", at=1.0))
    for name in WAYS[code]:
        state.apply(EVENTS[name])
    assert state.tasks["t"].status[0] == code
    return state


def counted(state: State) -> bool:
    progress = state.tasks["t"]
    return progress.counts == [progress.status.count(code) for code in range(len(NAMES))]


PAIRS = [(code, change) for code in range(len(NAMES)) for change in CHANGES]


@pytest.mark.parametrize(("code", "change"), PAIRS, ids=[f"{NAMES[code]}-{change.event}" for code, change in PAIRS])
def test_every_event_does_what_the_table_says_and_nothing_else(
    code: int, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = change.after[code]
    state = element(code)
    if after != FORBIDDEN:
        state.apply(EVENTS[change.event])
        assert state.tasks["t"].status[0] == after
        assert counted(state)
        return
    with pytest.raises(InvalidTransition) as caught:
        state.apply(EVENTS[change.event])
    assert (caught.value.element, caught.value.event, caught.value.before) == ("t", change.event, NAMES[code])
    assert len(caught.value.story) == len(WAYS[code])
    monkeypatch.delenv(STRICT)  # as outside of tests
    state = element(code)
    state.apply(EVENTS[change.event])
    assert state.tasks["t"].status[0] == code
    assert counted(state)
    assert state.notes == [f"skipped an event of the journal: t is {NAMES[code]}, and '{change.event}' cannot follow"]


def test_every_state_is_shown_and_reached() -> None:
    assert len(SHOWN) == len(NAMES) == len(WAYS)
    assert {change.event for change in CHANGES} == EVENTS.keys()


def test_a_success_is_final() -> None:
    for code in SUCCEEDED:
        leaving = {change for change in CHANGES if change.after[code] not in (FORBIDDEN, code)}
        assert leaving == {CONFLICT, RESET}


def test_each_failure_class_has_a_way_from_a_running_element() -> None:
    for cls in FailureClass:
        after = failing(cls).after[RUNNING]
        assert after in (*UNDECIDED, CANCELLED)


@given(st.randoms(use_true_random=False), st.integers(0, len(NAMES) - 1))
def test_every_walk_can_end(random: Random, code: int) -> None:
    ended = {SUCCESS, CACHED, FAILED, CANCELLED, SKIPPED}
    for _ in range(50):
        ways = [change.after[code] for change in CHANGES if change.after[code] != FORBIDDEN]
        assert ways
        code = random.choice(ways)
    if code in (*ACTIVE, PENDING):
        code = SUCCEED.after[code]
    elif code in UNDECIDED:
        code = DROP.after[code]
    assert code in ended


REPORTS = [
    (PENDING, Finished(t="other", i=0, a=1, b=1.0, e=2.0), Verdict.UNKNOWN),
    (PENDING, Finished(t="t", i=1, a=1, b=1.0, e=2.0), Verdict.UNKNOWN),
    (QUEUED, Finished(t="t", i=0, a=2, b=1.0, e=2.0), Verdict.STALE),
    (QUEUED, Started(t="t", i=0, a=1, b=1.0), Verdict.ACCEPTED),
    (RUNNING, Started(t="t", i=0, a=1, b=1.0), Verdict.DUPLICATE),
    (SUCCESS, Finished(t="t", i=0, a=1, b=1.0, e=2.0, f="error"), Verdict.DUPLICATE),
    (RUNNING, Finished(t="t", i=0, a=1, b=1.0, e=2.0, f="error"), Verdict.ACCEPTED),
    (FAILED, Finished(t="t", i=0, a=1, b=1.0, e=2.0, f="error"), Verdict.ENDED),
    (FAILED, Finished(t="t", i=0, a=1, b=1.0, e=2.0), Verdict.ACCEPTED),
    (CANCELLED, Finished(t="t", i=0, a=1, b=1.0, e=2.0), Verdict.ACCEPTED),
]


@pytest.mark.parametrize(("code", "report", "verdict"), REPORTS)
def test_reports_are_admitted_or_rejected_with_a_reason(code: int, report: Any, verdict: Verdict) -> None:
    assert element(code).admit(report) is verdict


def test_a_report_of_an_element_that_has_started_over_is_rejected() -> None:
    state = element(FAILED)
    state.apply(EVENTS["Reset"])
    assert state.admit(Finished(t="t", i=0, a=1, b=1.0, e=2.0)) is Verdict.RESTARTED
