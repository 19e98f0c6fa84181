"""Which wake-ups a run needs, and what the scheduler's words mean for elements that have not reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from reflow.model import layout
from reflow.model.definition import Definition, Entry
from reflow.model.frames import frame
from reflow.model.job import JobRef, JobState, JobStatus, Limits
from reflow.model.names import FailureClass, Mode, Source
from reflow.model.record import Expanded, Finished, Intent, Read, Started, Submitted, Wake
from reflow.model.schema import Schema
from reflow.model.state import State
from reflow.model.task import Input, Task
from reflow.planning.reconcile import judge, overdue, refs
from reflow.planning.waking import flying, groups, uncovered
from reflow.run.journal.report_reader import frozen_trust, overlay, unread

INT = Schema("int")
RUNNING = JobStatus(state=JobState.RUNNING)
UNKNOWN = JobStatus(state=JobState.UNKNOWN, native="not known")
DONE = JobStatus(state=JobState.SUCCESS)


@pytest.fixture
def state() -> State:
    """An array of three elements in one job, ``tag`` with id 7, which a task waits for."""
    gather = Input(name="xs", source=Source.RESULT, schema=INT, steps=("work",), mode=Mode.GATHER)
    definition = Definition(
        version="1",
        run_id="r",
        workflow="w",
        created=0.0,
        run_dir="/r",
        cwd="/",
        entry=Entry(),
        tasks=(
            Task(name="work", array=True, inputs=(), returns=INT),
            Task(name="total", array=False, inputs=(gather,), returns=INT),
        ),
        executor="slurm",
    )
    state = State(definition)
    state.apply(Expanded(task="work", size=3, part=0, pending="0-2", at=0.0))
    state.apply(Intent(tag="tag", task="work", elements="0-2", attempt=1, part=0, at=0.0, array=True))
    state.apply(Submitted(tag="tag", id="7", at=0.0))
    state.definition = definition  # type: ignore[attr-defined]
    return state


LIMITS = Limits(visibility_lag=10.0, vanishes=True)


def wanted(state: State, unheard: frozenset[str] = frozenset()) -> list[tuple[str, ...]]:
    open_tags = flying(state, unheard)
    found = uncovered(groups(state.definition, state, 0.0), state.wakes.values(), open_tags)  # type: ignore[attr-defined]
    return [group for group in found if open_tags.intersection(group)]


def ask(state: State, now: float, answers: Mapping[int | None, JobStatus]) -> frozenset[str]:
    verdict = judge(state, {JobRef("7", slot): status for slot, status in answers.items()}, now, LIMITS)
    for event in verdict.events:
        state.apply(event)
    return verdict.unheard


def test_a_job_in_flight_wants_one_wake_up(state: State) -> None:
    assert wanted(state) == [("tag",)]
    state.apply(Wake(tag="wake", waits=("tag",), at=0.0))
    assert not wanted(state)


def test_no_wake_up_waits_for_a_job_that_has_gone(state: State) -> None:
    ask(state, 20.0, {0: RUNNING, 1: DONE, 2: DONE})
    assert wanted(state) == [("tag",)]
    ask(state, 21.0, {0: DONE, 1: DONE, 2: DONE})
    assert not wanted(state)
    assert overdue(state, 22.0, grace=5.0, lag=10.0, lost_after=3600.0) == ([], 3.0)


def test_no_wake_up_waits_for_a_job_that_nothing_is_known_of(state: State) -> None:
    """Soon after its submission, or where accounting is away: a wake-up would start at once, and ask again."""
    assert ask(state, 1.0, {None: UNKNOWN}) == {"tag"}
    assert ask(state, 100.0, {}) == {"tag"}
    assert not state.gone
    assert not wanted(state, frozenset({"tag"}))


def test_what_vanishes_from_its_array_was_cancelled_while_it_waited(state: State) -> None:
    state.apply(Read(box=layout.box("", "tag", 2).removeprefix("/mailbox/"), upto=100))
    ask(state, 20.0, {0: RUNNING})
    ask(state, 31.0, {0: RUNNING})
    failed, _ = overdue(state, 100.0, grace=5.0, lag=10.0, lost_after=3600.0)
    assert {one.elements: one.f for one in failed} == {"1": FailureClass.CANCELLED, "2": FailureClass.LOST}


def test_accounting_may_say_later_why(state: State) -> None:
    ask(state, 20.0, {None: UNKNOWN})
    late = JobStatus(state=JobState.FAILED, failure_class=FailureClass.TIMEOUT, reason="walltime exceeded")
    ask(state, 24.0, {0: late, 1: late})
    ask(state, 25.0, {0: UNKNOWN, 1: UNKNOWN})
    ask(state, 30.0, {None: UNKNOWN})
    failed, _ = overdue(state, 31.0, grace=5.0, lag=10.0, lost_after=3600.0)
    assert {one.elements: one.f for one in failed} == {"0-1": FailureClass.TIMEOUT, "2": FailureClass.LOST}


def test_what_one_answer_alone_leaves_out_is_not_lost(state: State) -> None:
    """Absence counts in two answers, a visibility lag apart; what is seen in between was never gone."""
    ask(state, 20.0, {0: UNKNOWN, 1: RUNNING, 2: RUNNING})
    ask(state, 25.0, {0: UNKNOWN, 1: UNKNOWN, 2: RUNNING})
    due, wait = overdue(state, 1000.0, grace=5.0, lag=10.0, lost_after=3600.0)
    assert not due, "nobody has asked since"
    assert wait is not None
    ask(state, 1000.0, {0: RUNNING, 1: UNKNOWN, 2: RUNNING})
    lost, _ = overdue(state, 1001.0, grace=5.0, lag=10.0, lost_after=3600.0)
    assert [(one.elements, one.f) for one in lost] == [("1", FailureClass.LOST)]


def test_an_end_that_the_scheduler_names_waits_for_no_grace(state: State) -> None:
    """Only where something of it may still run, or it has ended well, its record is waited for."""
    told = {}
    for slot, cls in enumerate((FailureClass.EXIT, FailureClass.NODE_FAIL)):
        told[slot] = JobStatus(state=JobState.FAILED, failure_class=cls)
    ask(state, 20.0, {**told, 2: DONE})
    failed, wait = overdue(state, 30.0, grace=90.0, lag=10.0, lost_after=3600.0)
    assert [one.elements for one in failed] == ["0"]
    assert wait == 80.0


def test_what_has_started_is_shown_after_its_mail_was_read(state: State, tmp_path: Path) -> None:
    """Starts are in no event: whoever looks reads them again."""
    box = Path(layout.box(str(tmp_path), "tag", 1, 1))
    box.parent.mkdir(parents=True)
    box.write_bytes(frame(msgspec.json.encode(Started(t="work", i=1, a=1, b=1.0))))
    state.apply(Read(box=layout.box("", "tag", 1, 1).removeprefix("/mailbox/"), upto=box.stat().st_size))
    assert unread(str(tmp_path), state, frozen_trust(state)) == []
    overlay(str(tmp_path), state, frozen_trust(state))
    assert state.tasks["work"].shown()["RUNNING"] == 1
    overlay(str(tmp_path), state, frozen_trust(state))
    assert state.tasks["work"].shown() == {"QUEUED": 2, "RUNNING": 1}


def test_what_has_reported_is_not_asked_for(state: State) -> None:
    assert refs(state) == [JobRef("7")]
    for index in range(3):
        state.apply(Finished(t="work", i=index, a=1, b=0.0, e=1.0))
    assert refs(state) == []
    assert not flying(state)
