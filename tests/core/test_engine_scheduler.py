"""Runs on a cluster in memory: throttles, caps, dependencies, cancellations, outages; calls are counted."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import msgspec
import pytest

from reflow.errors import ExecutorError, UsageError
from reflow.model import layout
from reflow.model.job import Job, JobRef, JobState, JobStatus, Limits, Submission
from reflow.model.names import FailureClass, RunState
from reflow.model.record import Command
from reflow.run.drive import advance as chain
from reflow.run.jobs import submissions as scheduler
from reflow.run.journal.report_reader import post
from reflow.testing import Died, MemoryCluster

FAN = """
@wf.job()
def make() -> list[int]:
    return []

@wf.array_job({options})
def work(x: Annotated[int, Result(step="make")]) -> int:
    return x

@wf.job()
def total(xs: Annotated[list[int], Result(step="work")]) -> int:
    return sum(xs)
"""


def fan(sim: Any, size: int, options: str = "", **given: Any) -> Any:
    """A run of an array of `size` elements."""
    sim.values["make"] = list(range(size))
    return sim.submit(FAN.format(options=options), **given)


def elements(sim: Any, task: str = "work") -> list[int]:
    return sorted(index for name, index, _ in sim.ran if name == task)


# --- throttles and caps --------------------------------------------------------------------------------------------


def test_a_whole_run(sim: Any) -> None:
    """Three stages: a job and a wake-up each, and no question to the scheduler at all."""
    one = sim()
    fan(one, 200)
    one.end()
    assert elements(one) == list(range(200))
    assert one.cluster.calls == {"submit": 6}
    assert one.wakes == 3


def test_a_throttle_is_the_schedulers_where_one_array_holds_all(sim: Any) -> None:
    one = sim()
    fan(one, 100, "array_parallelism=7")
    one.end()
    (job,) = one.sent("work")
    assert (job.slots, job.throttle) == (100, 7)
    assert one.most["work"] == 7
    assert elements(one) == list(range(100))


def test_a_throttle_is_shared_out_where_the_array_is_split(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, max_array=40))
    fan(one, 100, "array_parallelism=10")
    one.end()
    assert [(job.slots, job.throttle) for job in one.sent("work")] == [(40, 4), (40, 4), (20, 2)]
    assert one.most["work"] == 10
    assert elements(one) == list(range(100))


def test_chunks_that_find_no_room_are_held_back_and_sent_later(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, max_array=10))
    fan(one, 100, "array_parallelism=2")
    one.end()
    assert one.most["work"] <= 2
    assert elements(one) == list(range(100))
    assert len(one.sent("work")) == 10


@pytest.mark.parametrize("separate", [False, True])
def test_a_scheduler_without_throttles_gets_waves(sim: Any, separate: bool) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, throttle=False, max_array=250), separate=separate)
    fan(one, 23, "array_parallelism=5")
    one.end()
    assert one.most["work"] == 5
    assert elements(one) == list(range(23))
    assert all(job.throttle is None for job in one.jobs)
    assert [job.slots for job in one.sent("work")] == [5, 5, 5, 5, 3]


@pytest.mark.parametrize("limits", [{"max_array": 1}, {"throttle": False}])
def test_what_is_held_back_waits_for_no_more_than_it_must(sim: Any, limits: dict[str, Any]) -> None:
    """A slow job beside quick ones: what it leaves free is used as soon as a quick one has ended."""
    one = sim(limits=Limits(visibility_lag=0.0, **limits))
    one.lasts["work", 0] = 5000.0
    fan(one, 8, "array_parallelism=2")
    one.cluster.advance(100.0)
    seen = len(elements(one))
    assert seen == (8 if "max_array" in limits else 2), "one job is waited for as a whole"
    one.end()
    assert one.most["work"] <= 2


def test_retries_stay_within_the_throttle(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, max_array=6))
    for index in (1, 7, 11):
        one.fate["work", index, 1] = "no"
    fan(one, 12, "array_parallelism=3, retries=1")
    one.end()
    assert one.most["work"] <= 3
    assert elements(one) == sorted([*range(12), 1, 7, 11])


@pytest.mark.parametrize("most", [2, 3, 7, 50])
def test_a_cap_on_submissions_is_respected(sim: Any, most: int) -> None:
    """The cluster refuses what exceeds it, so that passing it would show; the rest is sent later, wake-ups included."""
    one = sim(limits=Limits(visibility_lag=0.0, max_submitted=most))
    fan(one, 30)
    one.end()
    assert elements(one) == list(range(30))
    assert not one.events("voided"), "nothing was refused"


class Reticent(MemoryCluster):
    """It has a cap, and does not tell of it."""

    @property
    def limits(self) -> Limits:
        return msgspec.structs.replace(super().limits, max_submitted=None)


@pytest.mark.parametrize("most", [4, 7])
def test_a_cap_that_nobody_told_of_holds_the_rest(sim: Any, most: int) -> None:
    """What it refuses is no failure: there is room when others have ended, and a wake-up comes then."""
    one = sim(limits=Limits(visibility_lag=0.0, max_submitted=most, max_array=2))
    one.cluster.__class__ = Reticent
    fan(one, 30)
    one.end()
    assert elements(one) == list(range(30))
    assert one.events("voided"), "it did refuse"
    assert not one.events("failed")


def test_bounds_that_are_configured_today_count_for_a_retry(sim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sim()
    one.fate |= {("work", index, 1): "no" for index in range(5)}
    run = fan(one, 5)
    one.end("FAILED")
    monkeypatch.setenv("REFLOW_MAX_ARRAY", "2")
    run.retry()
    one.end()
    assert [job.slots for job in one.sent("work")] == [5, 2, 2, 1]


class Configured(MemoryCluster):
    """It has bounds of the configuration, as an executor that runs commands has."""

    most: int | None = 2

    @property
    def limits(self) -> Limits:
        return msgspec.structs.replace(super().limits, max_array=self.most)

    def rebound(self, bounds: Mapping[str, int]) -> None:
        self.most = bounds.get("max_array", self.most) or None


@pytest.mark.parametrize(("today", "sizes"), [("4", [4, 1]), ("", [5])])
def test_a_bound_that_is_raised_or_taken_back_counts_for_a_retry(
    sim: Any, monkeypatch: pytest.MonkeyPatch, today: str, sizes: list[int]
) -> None:
    monkeypatch.setenv("REFLOW_MAX_ARRAY", "2")
    one = sim()
    one.cluster.__class__ = Configured
    one.fate |= {("work", index, 1): "no" for index in range(5)}
    run = fan(one, 5)
    one.end("FAILED")
    monkeypatch.setenv("REFLOW_MAX_ARRAY", today) if today else monkeypatch.delenv("REFLOW_MAX_ARRAY")
    run.retry()
    one.end()
    assert [job.slots for job in one.sent("work")] == [2, 2, 1, *sizes]


class Silent(MemoryCluster):
    """It bounds its arrays, and does not tell by how much."""

    @property
    def limits(self) -> Limits:
        return msgspec.structs.replace(super().limits, max_array=None)


@pytest.mark.parametrize(("bound", "kind"), [("max_submitted", Reticent), ("max_array", Silent)])
def test_an_array_that_is_refused_is_halved_until_it_is_taken(sim: Any, bound: str, kind: type) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, **{bound: 4}))
    one.cluster.__class__ = kind
    run = fan(one, 30)
    one.cluster.advance(3.5)
    if bound == "max_submitted":
        assert "arrays of 3 elements at most are submitted: submit: " in run.status()["run"]["reason"]
    one.end()
    assert run.results("work") == [1] * 30
    assert elements(one) == list(range(30))
    assert [job.slots for job in one.sent("work")][:3] == [30, 15, 7]
    assert [event["size"] for event in one.events("capped")] == [15, 7, 3], "it is learned once"
    assert not one.events("failed")


def test_what_a_refusal_has_taught_counts_for_an_hour(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, max_array=4))
    one.cluster.__class__ = Silent
    one.lasts |= {"soon": 10.0, "late": 5000.0}
    arrays = "".join(
        f"@wf.array_job()\ndef {name}(x: Annotated[int, Result(step={step!r})]) -> int:\n    return x\n\n"
        for name, step in (("soon", "make"), ("late", "soon"), ("last", "late"))
    )
    one.values["make"] = list(range(6))
    one.submit("@wf.job()\ndef make() -> list[int]:\n    return []\n\n" + arrays)
    one.end()
    sizes = {name: [job.slots for job in one.sent(name)] for name in ("soon", "late", "last")}
    assert sizes == {"soon": [6, 3, 3], "late": [3, 3], "last": [6, 3, 3]}


@pytest.mark.parametrize(("refusals", "state"), [(2, "SUCCESS"), (100, "FAILED")])
def test_words_of_a_refusal_that_nobody_knows_are_tried_three_times(sim: Any, refusals: int, state: str) -> None:
    one = sim()
    submit, tried = one.cluster.submit, []

    def odd(job: Job) -> Any:
        tried.append(one.cluster.now)
        if job.spec is not None and len(tried) <= refusals:
            raise ExecutorError("submit: the moon is full", obscure=True)
        return submit(job)

    one.cluster.submit = odd
    run = one.submit("@wf.job()\ndef make() -> int:\n    return 1\n")
    one.end(state)
    assert state == "SUCCESS" or "the moon is full" in str(run.status())
    assert len(tried) == (4 if state == "SUCCESS" else 3), "three times, then its wake-up"
    assert tried[2] < 300.0


def test_each_of_several_jobs_that_are_refused_in_unknown_words_is_tried_three_times(sim: Any) -> None:
    """What became of the first decides nothing about the second, nor does an outage that has passed before."""
    one = sim()
    submit, tried = one.cluster.submit, []
    said = [ExecutorError("submit: the queue is closed", transient=True) for _ in range(3)]

    def odd(job: Job) -> Any:
        if job.spec is None or job.spec.task == "make":
            return submit(job)
        if said:
            raise said.pop()
        tried.append(job.spec.task)
        raise ExecutorError("submit: the moon is full", obscure=True)

    one.cluster.submit = odd
    use = "\n\n@wf.job()\ndef {}(x: Annotated[int, Result(step='make')]) -> int:\n    return x\n"
    one.submit("@wf.job()\ndef make() -> int:\n    return 1\n" + use.format("a") + use.format("b"))
    one.end("FAILED")
    assert tried == ["a"] * 3 + ["b"] * 3
    assert not one.events("barred")


def test_a_request_that_can_never_run_is_refused_at_once(sim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a node: that such a job is not taken does not mean that the node may not submit."""
    one = sim()
    submit = one.cluster.submit
    refused: list[Job] = []

    def strict(job: Job) -> Submission:
        if job.spec is not None and job.spec.task == "work":
            refused.append(job)
            raise ExecutorError("invalid partition specified: nosuch", definite=True)
        return submit(job)  # type: ignore[no-any-return]

    monkeypatch.setattr(one.cluster, "submit", strict)
    run = fan(one, 3)
    one.end("FAILED")
    (failure, *_) = run.status()["failures"]
    assert (failure["class"], failure["reason"]) == ("launch", "invalid partition specified: nosuch")
    assert not one.events("barred")
    assert len(refused) == 1, "it is not sent twice"


def test_a_scheduler_that_is_full_from_the_first_refuses_at_once(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, max_submitted=0))
    one.cluster.__class__ = Reticent
    run = one.submit("@wf.job()\ndef make() -> int:\n    return 1\n")
    assert run.status()["summary"]["make"]["FAILED"] == 1
    assert run.state is RunState.FAILED


@pytest.mark.parametrize("minutes", [1, 6])
def test_a_cap_that_others_fill_for_some_minutes_is_waited_for(sim: Any, minutes: int) -> None:
    one = sim()
    others_fill(one, minutes * 60.0)
    fan(one, 3)
    one.end()
    assert elements(one) == [0, 1, 2]


def test_a_cap_that_others_fill_for_hours_is_a_stall_and_no_failure(sim: Any) -> None:
    """With nothing of the run in flight, at whose end there would be room, it says which command goes on."""
    one = sim()
    others_fill(one, 10_000.0)
    run = fan(one, 3)
    one.cluster.advance(5000.0)
    for _ in range(2):
        told = run.status(refresh=True)["run"]
        assert told["status"] == "STALLED"
        assert "already in queue; no job of the run is left that would make room" in told["reason"]
        assert f"`reflow drive {run.run_id}` goes on" in told["reason"]
    one.cluster.advance(6000.0)
    one.advance()
    one.end()
    assert elements(one) == [0, 1, 2]


def others_fill(one: Any, until: float) -> None:
    """Let jobs of others fill the queue once the first stage is in it."""
    submit = one.cluster.submit

    def full(job: Job) -> Submission:
        if 0.5 < one.cluster.now < until:
            raise ExecutorError("Maximum number of jobs already in queue", full=True)
        return submit(job)  # type: ignore[no-any-return]

    one.cluster.submit = full


def test_independent_branches_under_a_cap_all_end(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, max_submitted=4))
    branches = "".join(f"@wf.job()\ndef b{number}() -> int:\n    return 1\n\n" for number in range(12))
    one.submit(branches)
    one.end()
    assert len(one.ran) == 12
    assert not one.events("voided")


@pytest.mark.parametrize(("interval", "least", "most"), [("2m", 5, 8), ("5m", 3, 5)])
def test_a_scheduler_without_dependencies_is_looked_at_again_and_again(
    sim: Any, monkeypatch: pytest.MonkeyPatch, interval: str, least: int, most: int
) -> None:
    monkeypatch.setenv("REFLOW_DISPATCH_INTERVAL", interval)
    one = sim(limits=Limits(visibility_lag=0.0, dependencies=False))
    one.lasts["work"] = 500.0
    fan(one, 20)
    one.end()
    assert elements(one) == list(range(20))
    assert all(not job.after for job in one.jobs)
    assert least <= one.wakes <= most, "one for the first job, some for the 500 s of the array, one for the last"


def test_a_scheduler_where_nothing_can_wait_is_driven_from_outside(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, dependencies=False, begin=False))
    run = fan(one, 20)
    for _ in range(3):
        one.cluster.drain()
        assert run.status()["run"]["status"] == "STALLED"
        assert "drive" in run.status()["run"]["reason"]
        one.advance()
    assert one.wakes == 0
    one.end()
    assert elements(one) == list(range(20))


# --- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separate", [False, True])
def test_2500_elements_where_an_array_holds_1001(sim: Any, separate: bool) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, max_array=1001), places=5000, separate=separate)
    fan(one, 2500)
    one.end()
    assert [job.slots for job in one.sent("work")] == [1001, 1001, 498]
    assert elements(one) == list(range(2500))
    assert one.cluster.calls["submit"] == 3 + 2 + 3, "one call for each chunk"
    assert not one.cluster.calls["query"]


def test_a_sparse_retry_is_one_dense_array(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, max_array=1001), places=5000)
    for index in (1, 5, 9, 1200):
        one.fate["work", index, 1] = "no"
    run = fan(one, 1500)
    one.end("FAILED")
    assert sorted(failure["index"] for failure in run.status()["failures"]) == [1, 5, 9, 1200]
    run.retry()
    one.end()
    job = one.sent("work")[-1]
    assert (job.slots, job.spec.elements) == (4, "1,5,9,1200")
    assert run.results("work") == [1] * 1500


def test_a_retry_of_one_element(sim: Any) -> None:
    one = sim()
    one.fate["work", 3, 1] = "no"
    run = fan(one, 5)
    one.end("FAILED")
    run.retry("work", [3])
    one.end()
    assert one.sent("work")[-1].slots == 1
    assert one.ran[-2:] == [("work", 3, 2), ("total", 0, 1)]


# --- dependencies --------------------------------------------------------------------------------------------------


BRANCHES = "".join(f"@wf.job()\ndef b{number}() -> int:\n    return 1\n\n" for number in range(30))
JOINED = (
    BRANCHES
    + "@wf.job()\ndef all("
    + ", ".join(f"x{number}: Annotated[int, Result(step='b{number}')]" for number in range(30))
    + ") -> int:\n    return 1\n"
)


@pytest.mark.parametrize("most", [None, 2, 4, 30])
def test_dependencies_are_joined_in_steps(sim: Any, most: int | None) -> None:
    """The cluster refuses more than `most`; the run is woken once, when all have ended, however long the last takes."""
    one = sim(limits=Limits(visibility_lag=0.0, max_after=most))
    one.lasts = {f"b{number}": 10.0 + number for number in range(30)}
    one.submit(JOINED)
    one.end()
    assert len(one.ran) == 31
    assert one.wakes == 2, "for the thirty, and for the end"
    joins = [job for job in one.sent(None) if "/join." in job.script]
    assert bool(joins) == (most is not None and most < 30)
    assert all(len(job.after) <= (most or 30) for job in one.jobs)
    assert not one.cluster.calls["query"]


def test_each_job_of_an_array_counts_in_a_dependency(sim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the scheduler makes a job of each slot, their ids are one reference."""
    whole = scheduler.references
    monkeypatch.setattr(scheduler, "references", lambda flight: [JobRef(",".join([whole(flight)[0].id] * 5))])
    one = sim(limits=Limits(visibility_lag=0.0, max_after=40))
    one.submit(JOINED)
    one.end()
    assert len(one.ran) == 31
    assert [len(job.after) for job in one.sent(None) if "/join." in job.script] == [40, 40, 40, 30]


def test_where_one_job_is_all_that_may_be_waited_for(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, max_after=1))
    one.lasts = {f"b{number}": 10.0 + number for number in range(30)}
    one.submit(JOINED)
    one.end()
    assert len(one.ran) == 31


def test_ended_jobs_are_never_named_in_a_dependency(sim: Any) -> None:
    """The cluster refuses to wait for what it has forgotten."""
    one = sim(purge=0.0, limits=Limits(visibility_lag=0.0, max_array=5))
    one.lasts = {"b0": 1.0, "b1": 50.0}
    source = """
@wf.job()
def b0() -> int:
    return 1

@wf.job()
def b1() -> int:
    return 1

@wf.job()
def c(x: Annotated[int, Result(step="b0")], y: Annotated[int, Result(step="b1")]) -> int:
    return 1

@wf.job()
def d(x: Annotated[int, Result(step="b0")]) -> int:
    return 1
"""
    one.submit(source)
    one.end()
    assert not one.events("barred", "voided")
    assert [reason for event in one.events("woke") if (reason := event.get("reason"))] == []


def test_a_group_that_ends_before_its_wake_up_is_submitted(sim: Any) -> None:
    """Nobody may wait for it any more: that counts as its end, and the advance goes on."""
    one = sim(purge=0.0)
    submit = one.cluster.submit

    def late(job: Job) -> Any:
        if job.spec is None:
            one.cluster.advance(5.0)
        return submit(job)

    one.cluster.submit = late
    fan(one, 3)
    one.end()
    assert elements(one) == [0, 1, 2]


def test_independent_branches_do_not_wait_for_each_other(sim: Any) -> None:
    one = sim()
    one.lasts = {"quick": 1.0, "slow": 1000.0}
    one.submit("""
@wf.job()
def quick() -> int:
    return 1

@wf.job()
def slow() -> int:
    return 1

@wf.job()
def after_quick(x: Annotated[int, Result(step="quick")]) -> int:
    return 1
""")
    one.cluster.advance(10.0)
    assert ("after_quick", 0, 1) in one.ran
    one.end()


def test_a_retry_that_is_due_does_not_wait_for_another_branch(sim: Any) -> None:
    one = sim()
    one.lasts = {"slow": 100_000.0}
    one.fate["flaky", 0, 1] = "no"
    one.submit("""
@wf.job(retries=Retry(max=1, delay=600))
def flaky() -> int:
    return 1

@wf.job()
def slow() -> int:
    return 1

@wf.job()
def then(x: Annotated[int, Result(step="flaky")]) -> int:
    return 1
""")
    one.cluster.advance(700.0)
    assert ("flaky", 0, 2) in one.ran
    one.end()


def test_wake_ups_may_be_run_again_by_the_scheduler_and_tasks_never(sim: Any) -> None:
    one = sim()
    fan(one, 3)
    one.end()
    assert all(job.options.get("requeue") is True for job in one.sent(None))
    assert all("requeue" not in job.options for job in one.jobs if job.spec is not None)


# --- ends ----------------------------------------------------------------------------------------------------------


def refs(one: Any, task: str) -> list[JobRef]:
    found = one.cluster.find([job.tag for job in one.sent(task)])
    return [ref for ref in found.values() if isinstance(ref, JobRef)]


def test_cancel_takes_one_call_and_leaves_nothing(sim: Any) -> None:
    one = sim(places=5, limits=Limits(visibility_lag=0.0, max_array=10))
    one.lasts["work"] = 1000.0
    run = fan(one, 35)
    one.cluster.advance(5.0)
    calls = one.cluster.calls["cancel"]
    assert "cancelled 35 queued or running" in run.cancel()["said"]
    assert one.cluster.calls["cancel"] == calls + 1
    one.end("CANCELLED")
    assert len(elements(one)) == 5


def test_cancel_of_one_task_and_of_some_elements(sim: Any) -> None:
    one = sim(places=5)
    one.lasts["work"] = 100.0
    run = fan(one, 10)
    one.cluster.advance(5.0)
    run.cancel("work", [0, 9])
    one.cluster.advance(1.0)
    run.cancel("total")
    one.end("CANCELLED")
    told = run.status(elements=True)
    states = {row["index"]: row["state"] for row in told["elements"] if row["task"] == "work"}
    assert states == {**dict.fromkeys(range(1, 9), "SUCCESS"), 0: "CANCELLED", 9: "CANCELLED"}


def test_cancel_of_elements_that_nobody_knows_yet(sim: Any) -> None:
    one = sim()
    one.lasts["make"] = 100.0
    run = fan(one, 3)
    with pytest.raises(UsageError, match="it is not known yet which elements work has"):
        run.cancel("work", [1])
    post(run.root, Command(id="c", verb="cancel", tasks={"work": "1"}, by="somebody", at=1.0))
    run.cancel("total", [0])
    one.end("CANCELLED")
    assert elements(one) == [0, 1, 2]
    assert one.lab.counts(run)["total"] == {"CANCELLED": 1}


def test_an_element_that_has_failed_as_it_is_cancelled_is_not_tried_again(sim: Any) -> None:
    one = sim()
    one.lasts |= {("work", 1): 1.0, ("work", 2): 1.0, "work": 1000.0}
    one.fate |= {("work", 1, 1): "it is odd", ("work", 2, 1): Died(failure_class=FailureClass.PREEMPTED)}
    run = fan(one, 3, "retries=3")
    one.cluster.advance(30.0)
    run.cancel("work", [1])
    one.end("FAILED")
    assert [attempt for task, index, attempt in one.ran if (task, index) == ("work", 1)] == [1]
    assert one.lab.counts(run)["work"] == {"SUCCESS": 2, "FAILED": 1}


def test_cancel_while_the_scheduler_does_not_answer_is_done_when_it_does(sim: Any) -> None:
    """Nothing is submitted any more, and the order is repeated until it is obeyed."""
    one = sim(places=5)
    one.lasts["work"] = 1000.0
    run = fan(one, 10)
    one.cluster.advance(5.0)
    one.cluster.break_down("cancel", times=6)
    assert "asked for again" in run.cancel()["said"]
    assert one.cluster.calls["cancel"] == 4, "at once, and after 15, 30 and 60 seconds"
    assert run.status()["run"]["status"] == "RUNNING"
    assert "does not cancel" in run.status()["run"]["reason"]
    assert one.advance() is not None, "somebody has to come again"
    assert one.advance() is not None
    one.advance()
    one.end("CANCELLED")
    assert one.cluster.calls["cancel"] == 7
    assert not {job.tag for job in one.jobs} & set(one.cluster.order())


def test_a_wake_up_that_cannot_be_cancelled_at_once_outlives_no_run(sim: Any) -> None:
    one = sim()
    one.fate["make", 0, 1] = "no"
    run = one.submit("""
@wf.job(retries=Retry(max=1, delay=600))
def make() -> int:
    return 1
""")
    one.cluster.advance(30.0)
    assert len(one.cluster.order()) == 1, "the wake-up that begins when the next attempt is due"
    one.cluster.break_down("cancel", times=2)
    post(run.root, Command(id="c", verb="cancel", at=1.0))
    assert one.advance() is not None, "somebody has to come again"
    assert run.state.value == "RUNNING"
    one.advance()
    one.advance()
    assert run.state.value == "CANCELLED"
    assert not one.cluster.order()


def test_a_run_that_has_ended_lets_its_scheduler_start_nothing_again(sim: Any) -> None:
    """Not what was cancelled while it ran, whose slot nobody has closed, nor what waited."""
    one = sim(places=3)
    one.lasts["work"] = 50.0
    run = fan(one, 6)
    one.cluster.advance(5.0)
    run.cancel()
    one.end("CANCELLED")
    ran = list(one.ran)
    (ref,) = refs(one, "work")
    for slot in one.cluster._slots[ref.id]:
        one.cluster._queue(slot)
    one.cluster.drain()
    assert one.ran == ran
    run.retry()
    one.end()
    assert elements(one) == sorted([*range(6), *(index for name, index, _ in ran if name == "work")])


def test_a_second_cancel_waits_for_what_the_first_is_doing(sim: Any) -> None:
    """While somebody else is asking the scheduler to cancel, that is not taken for a scheduler that does not obey."""
    one = sim(places=5)
    one.lasts["work"] = 1000.0
    run = fan(one, 10)
    one.cluster.advance(5.0)
    cancel, waits, said = one.cluster.cancel, Event(), []

    def nap(seconds: float) -> None:
        waits.set()
        time.sleep(0.01)

    def slow(refs: Any) -> None:
        one.time.sleep = nap
        second.start()
        while second.is_alive() and not waits.wait(0.01):
            pass
        one.cluster.cancel = cancel
        cancel(refs)

    second = Thread(target=lambda: said.append(run.cancel()["said"]))
    one.cluster.cancel = slow
    assert run.cancel()["said"].startswith("cancelled 10 queued or running")
    second.join(30)
    assert waits.is_set()
    assert said[0].startswith("cancelled 0 queued or running")
    del one.time.sleep
    one.end("CANCELLED")


def test_a_cancel_that_only_lost_its_answer(sim: Any) -> None:
    one = sim(places=5)
    one.lasts["work"] = 1000.0
    run = fan(one, 10)
    one.cluster.advance(5.0)
    one.cluster.break_down("cancel", done=True)
    run.cancel()
    one.advance()
    one.end("CANCELLED")


def test_what_is_lost_is_cancelled_before_it_is_tried_again(sim: Any) -> None:
    one = sim()
    one.lasts["work"] = 500.0
    fan(one, 4)
    one.cluster.advance(5.0)
    order: list[str] = []
    cancel, submit, query = one.cluster.cancel, one.cluster.submit, one.cluster.query
    one.cluster.cancel = lambda refs: (order.append(f"cancel {sorted(ref.slot for ref in refs)}"), cancel(refs))[1]
    one.cluster.submit = lambda job: (order.append(f"submit {job.name.partition('.')[2]}"), submit(job))[1]

    def forgets(jobs: Any) -> Any:
        """Slot 2 of the array is not known any more, though it runs."""
        unknown = JobStatus(state=JobState.UNKNOWN, native="no such job")
        return {ref: unknown if ref.slot == 2 else status for ref, status in query(jobs).items()}

    one.cluster.query = forgets
    one.advance()
    one.cluster.advance(100.0)
    assert [what for what in order if what != "submit wake-up"] == ["cancel [2]", "submit work"]
    one.cluster.query = query
    one.end()
    assert [attempt for name, index, attempt in one.ran if (name, index) == ("work", 2)] == [1, 2]


def stubborn(one: Any, word: list[JobStatus | None]) -> None:
    """Slot 2 of `work` is not known to the cluster, goes on when it is cancelled, and is told of by `word` then."""
    query, cancel = one.cluster.query, one.cluster.cancel
    unknown = JobStatus(state=JobState.UNKNOWN, native="no such job")
    told: list[JobStatus | None] = [unknown]

    def tells(jobs: Any) -> Any:
        answer = query(jobs)
        return {ref: (told[0] or status) if ref.slot == 2 else status for ref, status in answer.items()}

    def ends(refs: Any) -> None:
        cancel([ref for ref in refs if ref.slot != 2])
        told[:] = word

    one.cluster.query, one.cluster.cancel = tells, ends


def attempts(one: Any) -> list[int]:
    return [attempt for name, index, attempt in one.ran if (name, index) == ("work", 2)]


def test_an_attempt_follows_only_a_confirmed_end(sim: Any) -> None:
    """What was cancelled as lost, and runs on, is waited for until its scheduler says that it has ended."""
    one = sim()
    one.lasts["work"] = 500.0
    one.fate["work", 2, 1] = Died(signal=9)
    fan(one, 4)
    one.cluster.advance(5.0)
    stubborn(one, [None])
    one.advance()
    one.cluster.advance(300.0)
    assert attempts(one) == [1], "it is seen to run"
    told = one.run.status()["run"]
    assert told["status"] == "RUNNING"
    assert f"`reflow cancel {one.run.run_id} --task 'work[2]'`" in told["reason"]
    one.end()
    assert attempts(one) == [1, 2]
    assert one.most["work"] == 4, "no two attempts at once"


_ON_A_DEAD_NODE = JobStatus(state=JobState.RUNNING, reason="its host does not answer")


def test_an_end_that_nobody_confirms_is_waited_for_up_to_lost_after(sim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_RUN_LOST_AFTER", "30m")
    one = sim()
    one.lasts["work"] = 500.0
    one.fate["work", 2, 1] = Died(signal=9)
    fan(one, 4)
    one.cluster.advance(5.0)
    stubborn(one, [_ON_A_DEAD_NODE])
    one.advance()
    one.cluster.advance(1700.0)
    assert attempts(one) == [1]
    one.cluster.advance(800.0)
    assert attempts(one) == [1, 2]
    assert one.cluster.calls["query"] < 40, "asked less and less"
    one.end()


def test_who_cancels_and_retries_does_not_wait_for_a_dead_node(sim: Any) -> None:
    one = sim()
    one.lasts["work"] = 500.0
    one.fate["work", 2, 1] = Died(signal=9)
    run = fan(one, 4)
    one.cluster.advance(5.0)
    stubborn(one, [_ON_A_DEAD_NODE])
    one.advance()
    one.cluster.advance(600.0)
    assert attempts(one) == [1]
    run.cancel("work", [2])
    one.cluster.advance(10.0)
    run.retry()
    one.cluster.advance(10.0)
    assert attempts(one) == [1, 2]
    one.end()


def test_a_late_worker_changes_nothing(sim: Any) -> None:
    """The scheduler runs a slot again though its node is only cut off: the first success counts."""
    one = sim()
    one.lasts["work"] = 50.0
    one.values["work"] = lambda index: len(one.ran)
    run = fan(one, 2)
    one.cluster.advance(5.0)
    (ref,) = refs(one, "work")
    one.cluster.requeue(JobRef(ref.id, 1))
    one.end()
    assert len(run.results("work")) == 2


_HELD = "held: log directory missing"


class Held:
    """Makes the cluster say of a task's jobs that they will never run, or something else."""

    def __init__(self, one: Any, task: str, word: JobStatus | None = None) -> None:
        self.one, self.task = one, task
        never = JobStatus(state=JobState.PENDING, failure_class=FailureClass.LAUNCH, reason=_HELD, native="Eqw")
        self.word = word or never
        self.query = one.cluster.query
        one.cluster.query = self
        one.cluster.held = True

    def __call__(self, jobs: Any) -> Any:
        mine = {ref.id for ref in refs(self.one, self.task)}
        return {ref: self.word if ref.id in mine else status for ref, status in self.query(jobs).items()}


def test_what_can_never_run_fails_with_the_schedulers_reason(sim: Any) -> None:
    one = sim()
    Held(one, "make")
    run = fan(one, 2)
    one.advance()  # the first attempt fails to launch, the second is submitted
    one.advance()
    told = run.status()
    assert told["run"]["status"] == "FAILED"
    (failure,) = told["failures"]
    assert (failure["class"], failure["reason"]) == ("launch", "held: log directory missing")
    assert not one.cluster.order(), "it was cancelled"


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.FAILED])
def test_a_verdict_of_its_scheduler_ends_an_element_at_the_first_look(sim: Any, state: JobState) -> None:
    one = sim()
    reason = "can never run: its account is not valid"
    Held(one, "make", JobStatus(state=state, failure_class=FailureClass.LAUNCH, reason=reason))
    run = fan(one, 2)
    for _ in range(2):
        told = run.status(refresh=True)
        assert told["run"]["status"] == "FAILED"
        (failure,) = told["failures"]
        assert (failure["class"], failure["reason"]) == ("launch", reason)
    assert len(one.sent("make")) == 1, "it is not sent twice"
    assert one.cluster.calls["cancel"] >= (state is JobState.PENDING), "what waits is cancelled"


def test_a_wake_up_that_can_never_run_is_told_of(sim: Any) -> None:
    one = sim()
    run = fan(one, 2)
    query = one.cluster.query
    never = JobStatus(state=JobState.PENDING, failure_class=FailureClass.LAUNCH, reason="can never run: no such node")
    tags = [job.tag for job in one.sent(None)]
    ids = {ref.id for ref in one.cluster.find(tags).values()}
    one.cluster.query = lambda jobs: {ref: never if ref.id in ids else status for ref, status in query(jobs).items()}
    one.advance()
    reason = run.status()["run"]["reason"]
    assert "its wake-up: can never run: no such node" in reason
    assert f"reflow drive {run.run_id}" in reason


@pytest.mark.parametrize(
    ("reason", "said"),
    [("held by its user", "held by its user"), ("waiting for other jobs", "it waits for jobs that have ended")],
)
def test_a_wake_up_that_is_held_is_told_of_and_is_a_stall_where_nothing_runs(sim: Any, reason: str, said: str) -> None:
    one = sim(limits=Limits(visibility_lag=0.0, holds=True))
    run = fan(one, 2)
    query = one.cluster.query
    waits = JobStatus(state=JobState.PENDING, reason=reason)
    (wake,) = one.cluster.find([job.tag for job in one.sent(None)]).values()
    one.cluster.query = lambda jobs: {ref: waits if ref == wake else status for ref, status in query(jobs).items()}
    slot = one.cluster._slots[wake.id][0]
    slot.held = True
    one.cluster.advance(30.0)
    chain.ask(run.root, one.cluster)
    chain.ask(run.root, one.cluster)
    told = run.status()["run"]
    assert told["status"] == "STALLED"
    assert f"its wake-up: {said}; `reflow drive {run.run_id}` goes on" in told["reason"]
    slot.held = False
    one.advance()
    one.end()


@pytest.mark.parametrize(
    "word",
    [
        JobStatus(state=JobState.PENDING, reason=_HELD),
        JobStatus(state=JobState.RUNNING, reason="its host does not answer"),
    ],
)
def test_what_only_waits_is_left_alone_and_its_reason_is_shown(sim: Any, word: JobStatus) -> None:
    one = sim()
    Held(one, "make", word)
    run = fan(one, 2)
    one.advance()
    told = run.status()
    assert told["run"]["status"] == "RUNNING"
    assert told["tasks"][0]["reason"] == word.reason
    assert not one.cluster.calls["cancel"]


def test_a_cancel_that_is_refused_for_good_does_not_hold_the_run_for_ever(sim: Any) -> None:
    one = sim(places=5)
    one.lasts["work"] = 10_000.0
    run = fan(one, 10)
    one.cluster.advance(5.0)

    def denied(refs: Any) -> None:
        raise ExecutorError("you may not")

    cancel, one.cluster.cancel = one.cluster.cancel, denied
    run.cancel()
    for _ in range(3):
        one.advance()
    assert run.status()["run"]["status"] == "CANCELLED"
    one.cluster.cancel = cancel
    assert elements(one) == [0, 1, 2, 3, 4], "nothing else of it was submitted"


def test_what_was_gone_and_is_there_again_is_not_lost(sim: Any) -> None:
    """A scheduler that was confused for a moment, or ran a job again."""
    one = sim()
    one.lasts["work"] = 500.0
    run = fan(one, 4)
    one.cluster.advance(5.0)
    query = one.cluster.query
    unknown = JobStatus(state=JobState.UNKNOWN, native="no such job")
    one.cluster.query = lambda jobs: dict.fromkeys(query(jobs), unknown)
    one.advance(chain=False)
    one.cluster.query = query
    one.cluster.advance(60.0)
    one.advance(chain=False)
    one.cluster.advance(60.0)
    one.advance(chain=False)
    assert not one.events("failed", "kill")
    one.end()
    assert run.results("work") == [1, 1, 1, 1]
    assert elements(one) == [0, 1, 2, 3]


def test_accounting_may_say_later_why_a_job_was_killed(sim: Any) -> None:
    """Slurm's controller says at once that it was killed, its accounting a second later that it ate too much."""
    one = sim(limits=Limits(visibility_lag=10.0))
    one.fate["work", 1, 1] = Died(failure_class=FailureClass.OOM)
    run = fan(one, 3)
    query = one.cluster.query
    killed = JobStatus(state=JobState.FAILED, failure_class=FailureClass.EXIT, reason="killed by signal 9", signal=9)
    asked = []

    def slow(jobs: Any) -> Any:
        asked.append(one.cluster.now)
        told = query(jobs)
        return {ref: killed if status.failure_class and len(asked) == 1 else status for ref, status in told.items()}

    one.cluster.query = slow
    one.end("FAILED")
    ((failure,),) = [run.status(elements=True)["failures"]]
    assert (failure["index"], failure["class"]) == (1, "oom")


@pytest.mark.parametrize("cls", [FailureClass.PREEMPTED, FailureClass.NODE_FAIL])
@pytest.mark.parametrize("others", [100.0, 1.0])
def test_an_interruption_is_judged_by_the_scheduler_whoever_advances(
    sim: Any, cls: FailureClass, others: float
) -> None:
    """The last worker of another group asks nobody by itself; that the scheduler was not asked is no word of its."""
    one = sim(limits=Limits(visibility_lag=10.0))
    one.fate["work", 1, 1] = [Died(failure_class=cls, reason="taken away")]
    one.lasts["work"] = others
    one.lasts["work", 1] = 1.0
    run = fan(one, 3)
    one.cluster.advance(60.0)
    one.advance(ask=False, chain=False)
    assert run.status()["summary"]["work"].get("CANCELLED", 0) == 0
    one.end()
    assert [event["f"] for event in one.events("finished") if event.get("f")] == [cls.value]
    assert elements(one) == [0, 1, 1, 2]


def test_a_scheduler_that_does_not_answer_judges_no_interruption(sim: Any) -> None:
    one = sim(limits=Limits(visibility_lag=10.0))
    one.fate["work", 1, 1] = [Died(failure_class=FailureClass.PREEMPTED)]
    one.lasts["work"], one.lasts["work", 1] = 100.0, 1.0
    fan(one, 3)
    one.cluster.break_down("query", times=3)
    one.cluster.advance(60.0)
    one.advance(ask=False, chain=False)
    assert not [event for event in one.events("finished") if event.get("f")], "silence is no answer"
    one.end()
    assert elements(one) == [0, 1, 1, 2]


def test_what_a_worker_has_written_counts_more_than_what_its_scheduler_says(sim: Any) -> None:
    """After a restart of LSF's daemons whatever ran has failed, though it ended well."""
    one = sim()
    one.lasts |= {("work", 1): 500.0, "work": 10.0}
    run = fan(one, 3)
    query = one.cluster.query
    lost = JobStatus(
        state=JobState.FAILED, failure_class=FailureClass.EXIT, native="EXIT", reason="ended, not known how"
    )
    told: list[JobRef] = []

    def restarted(jobs: Any) -> Any:
        answer = {ref: lost if status.state.ended else status for ref, status in query(jobs).items()}
        told.extend(ref for ref, status in answer.items() if status is lost)
        return answer

    one.cluster.query = restarted
    one.cluster.advance(100.0)
    one.advance(chain=False)
    assert len(told) == 2
    one.cluster.advance(500.0)
    one.end()
    assert run.results("work") == [1, 1, 1]
    assert not one.events("failed")
    assert elements(one) == [0, 1, 2]


def test_what_fails_before_its_worker_has_started_is_launched_once_more(sim: Any) -> None:
    """A script that a node could not start has an exit code like any other."""
    one = sim()
    one.fate["work", 1, 1] = Died(exit_code=127, failure_class=FailureClass.LAUNCH)
    run = fan(one, 3)
    query = one.cluster.query
    said = JobStatus(state=JobState.FAILED, failure_class=FailureClass.EXIT, exit_code=127, reason="exit code 127")
    one.cluster.query = lambda jobs: {
        ref: said if status.failure_class is FailureClass.LAUNCH else status for ref, status in query(jobs).items()
    }
    one.end("SUCCESS")
    ((failed,),) = [one.events("failed")]
    assert (failed["f"], failed["w"]) == ("launch", "its worker never started: exit code 127")
    assert ("work", 1, 2) in one.ran
    assert run.result("total") == 1


def test_what_runs_on_half_an_input_is_cancelled_when_it_is_computed_anew(sim: Any) -> None:
    one = sim()
    one.fate["work", 1, 1] = "no"
    one.lasts["total"] = 1000.0
    one.values["make"] = [0, 1, 2]
    run = one.submit(FAN.format(options="").replace('Result(step="work")', 'Result(step="work", allow_failed=True)'))
    one.cluster.advance(10.0)
    assert ("total", 0, 1) in one.ran
    run.retry("work")
    one.end()
    assert [attempt for name, _, attempt in one.ran if name == "total"] == [1, 2]
    assert one.running == {"total": 0, "work": 0, "make": 0}


def test_what_runs_on_half_an_input_is_gone_before_it_is_computed_anew(sim: Any) -> None:
    """The scheduler does not cancel it at once: nothing of it starts over until it does."""
    one = sim()
    one.fate["work", 1, 1] = "no"
    one.lasts["total"] = 1000.0
    one.values["make"] = [0, 1, 2]
    run = one.submit(FAN.format(options="").replace('Result(step="work")', 'Result(step="work", allow_failed=True)'))
    one.cluster.advance(10.0)
    one.cluster.break_down("cancel", times=3)
    run.retry("work")
    for _ in range(5):
        one.cluster.advance(10.0)
        one.advance()
    one.end()
    assert [attempt for name, _, attempt in one.ran if name == "total"] == [1, 2]
    assert one.most["total"] == 1


def test_separate_jobs_of_an_array_are_all_found_after_a_crash(sim: Any) -> None:
    """They are looked for by their tag, and one that never came is sent again."""
    one = sim(separate=True)
    submit = one.cluster.submit
    lost: list[str] = []

    def loses(job: Job) -> Any:
        made = submit(job)
        if job.slots == 4 and not lost:
            lost.append(job.tag)
            one.cluster.forget(made.slots[2])
            raise ExecutorError("no answer", transient=True, maybe_done=True)
        return made

    one.cluster.submit = loses
    run = fan(one, 4)
    one.end()
    assert run.results("work") == [1, 1, 1, 1]
    assert elements(one) in ([0, 1, 2, 3], [0, 1, 2, 2, 3])


@pytest.mark.parametrize("took", [0, 33])
def test_a_submission_that_is_cut_in_half(sim: Any, took: int) -> None:
    """What was taken runs, what was not is submitted: nothing is cancelled that nobody cancels."""
    one = sim(separate=True, limits=Limits(visibility_lag=5.0))
    one.lasts["work"] = 60.0
    submit = one.cluster.submit
    cut: list[str] = []

    def partly(job: Job) -> Any:
        made = submit(job)
        if job.slots == 50 and not cut:
            cut.append(job.tag)
            for slot in range(took, 50):
                one.ran[:] = [ran for ran in one.ran if ran[:2] != ("work", slot)]
                one.cluster.forget(made.slots[slot])
            raise ExecutorError("No service matching job-ingest.submit", transient=True, maybe_done=True)
        return made

    one.cluster.submit = partly
    run = fan(one, 50)
    one.end()
    assert run.results("work") == [1] * 50
    assert elements(one) == list(range(50))
    assert cut


def slow_to_submit(one: Any, seconds: Any) -> None:
    """Let time pass while a wake-up is being submitted, so that what it waits for may end before it is there."""
    submit = one.cluster.submit

    def late(job: Job) -> Any:
        if job.spec is None:
            one.cluster.advance(seconds())
        return submit(job)

    one.cluster.submit = late


def test_who_submits_does_not_stay_for_stages_that_end_at_once(sim: Any) -> None:
    one = sim()
    slow_to_submit(one, lambda: 2.0 if len(one.jobs) == 1 else 0.0)
    fan(one, 3)
    assert len(one.jobs) == 2, "the first stage and its wake-up"
    one.end()
    assert elements(one) == [0, 1, 2]


BURST = "".join(f"@wf.job()\ndef s{number}() -> int:\n    return 1\n\n" for number in range(10)) + (
    "@wf.job()\ndef last("
    + ", ".join(f"x{number}: Annotated[int, Result(step='s{number}')]" for number in range(10))
    + ") -> int:\n    return 1\n"
)


#: what sets schedulers apart for what waits on short jobs, as their dialects have it
TRAITS: dict[str, dict[str, Any]] = {
    "slurm": {"vanishes": True, "visibility_lag": 10.0},
    "sge": {"vanishes": True, "visibility_lag": 20.0},
    "pbs": {"holds": True, "visibility_lag": 5.0},
    "torque": {"visibility_lag": 20.0},
    "lsf": {"visibility_lag": 5.0},
    "flux": {"throttle": False, "visibility_lag": 2.0},
}


def short_jobs(sim: Any, kind: str, seed: int) -> None:
    """Ten short jobs into one, on a scheduler that is slow to submit: it does not stick."""
    chance = Random(f"{kind} {seed}")
    one = sim(limits=Limits(**TRAITS[kind]), places=chance.choice([3, 100]), separate=kind == "flux")
    one.lasts |= {f"s{number}": chance.choice([0.0, 0.5, 1.0, 2.0, 8.0]) for number in range(10)}
    slow_to_submit(one, lambda: chance.choice([0.0, 0.0, 0.6, 1.0, 3.0]))
    one.submit(BURST, force=True)
    one.end()
    assert len(one.ran) == 11


@pytest.mark.parametrize("kind", TRAITS)
@pytest.mark.parametrize("seed", [0, 7])
def test_short_jobs_never_stick(sim: Any, kind: str, seed: int) -> None:
    short_jobs(sim, kind, seed)


#: schedules that are tried of each scheduler, 240 in all; another number of them by hand
SCHEDULES = int(os.environ.get("REFLOW_SCHEDULES", "40"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", TRAITS)
def test_many_schedules_of_short_jobs_never_stick(sim: Any, kind: str) -> None:
    for seed in range(SCHEDULES):
        short_jobs(sim, kind, seed)


def test_a_job_that_is_ending_is_waited_for_by_nobody(sim: Any) -> None:
    """What its scheduler clears up behind counts as ended: no wake-up is left waiting for it."""
    one = sim(limits=Limits(visibility_lag=0.0, holds=True))
    query, ends = one.cluster.query, [3]

    def clearing_up(jobs: Any) -> Any:
        told = query(jobs)
        if ends[0]:
            ends[0] -= 1
            word = JobStatus(state=JobState.RUNNING, native="E", ending=True)
            told = {ref: word if status.state.ended else status for ref, status in told.items()}
        return told

    one.cluster.query = clearing_up
    slow_to_submit(one, lambda: 2.0)
    fan(one, 3)
    one.end()
    assert elements(one) == [0, 1, 2]


# --- outages, and wake-ups that are gone ------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["submit", "query", "find", "cancel"])
@pytest.mark.parametrize("done", [False, True])
def test_an_outage_of_any_call_at_any_moment_is_survived(sim: Any, verb: str, done: bool) -> None:
    for nth in range(1, 9):
        one = sim()
        one.lab.run_dir = one.lab.path / f"run-{verb}-{done}-{nth}"
        call, count = getattr(one.cluster, verb), 0

        def failing(*given: Any, call: Any = call, nth: int = nth) -> Any:
            nonlocal count
            count += 1
            if count != nth:
                return call(*given)
            if done:
                call(*given)
            raise ExecutorError("no answer", transient=True, maybe_done=verb == "submit")

        setattr(one.cluster, verb, failing)
        one.fate["work", 1, 1] = Died(exit_code=1)
        fan(one, 3, "retries=1", force=True)
        one.end()
        assert elements(one) == [0, 1, 1, 2]


def test_submit_does_not_wait_long_for_a_scheduler_that_answers_no_question(sim: Any) -> None:
    """What was submitted has its wake-up, where one question more would have made sure of that."""
    one = sim(limits=Limits(visibility_lag=0.0, holds=True))
    one.lasts["make"] = 500.0
    one.cluster.break_down("query", times=100)
    fan(one, 3)
    assert one.cluster.now <= 15.0
    assert len(one.jobs) == 2, "a job and its wake-up"
    one.end()


def test_a_scheduler_that_stays_away_is_asked_less_and_less(sim: Any) -> None:
    one = sim()
    fan(one, 3)
    one.cluster.held = True
    pauses = []
    for _ in range(8):
        one.cluster.break_down("query")
        pauses.append(one.advance(waits=1e6))
    assert pauses == [15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0, 300.0]
    assert one.advance() is None
    one.cluster.held = False
    one.end()


def test_a_wake_up_that_died_is_seen_by_status_after_a_while_and_drive_goes_on(sim: Any) -> None:
    one = sim()
    one.dead_wakes = 1
    run = fan(one, 3)
    one.cluster.drain()
    assert run.status()["run"]["status"] == "RUNNING", "by its records, a wake-up is to come"
    asked = one.cluster.calls["query"]
    one.cluster.advance(1000.0)
    told = run.status()["run"]
    assert one.cluster.calls["query"] == asked + 1, "asked once"
    assert told["status"] == "STALLED"
    assert f"reflow drive {run.run_id}" in told["reason"]
    run.status()
    assert one.cluster.calls["query"] == asked + 1, "and not again"
    one.advance()
    one.end()
    assert elements(one) == [0, 1, 2]


@pytest.mark.parametrize("refresh", [True, False])
def test_jobs_and_wake_up_that_were_cancelled_together_end_the_run_at_the_next_look(sim: Any, refresh: bool) -> None:
    one = sim()
    run = fan(one, 3)
    one.cluster.held = True
    one.cluster.cancel(list(one.cluster.find([job.tag for job in one.jobs]).values()))
    one.cluster.advance(0.0 if refresh else 150.0)
    told = run.status(refresh=refresh)["run"]
    assert (told["status"], told["reason"]) == ("CANCELLED", "make cancelled")
    assert not one.cluster.order()


def test_looking_at_a_run_submits_nothing(sim: Any) -> None:
    """Not even where an element may be tried again, and nothing else will see to that."""
    one = sim()
    one.fate["work", 1, 1] = Died(signal=9, failure_class=FailureClass.NODE_FAIL)
    one.dead_wakes = 2
    run = fan(one, 3)
    one.cluster.drain()
    one.advance()
    one.cluster.drain()
    sent = len(one.jobs)
    one.cluster.advance(1000.0)
    assert run.status()["run"]["status"] == "STALLED"
    one.cluster.advance(1000.0)
    assert run.status()["run"]["status"] == "STALLED"
    assert len(one.jobs) == sent
    one.advance()
    one.end()


def test_jobs_that_run_for_long_in_silence_are_asked_for_and_are_no_stall(sim: Any) -> None:
    one = sim()
    one.lasts["make"] = 100_000.0
    run = fan(one, 3)
    one.cluster.advance(2000.0)
    assert run.status()["run"]["status"] == "RUNNING"
    assert one.cluster.calls["query"] == 1
    one.end()


def test_a_timed_wake_up_that_is_lost_does_not_keep_the_run_from_going_on(sim: Any) -> None:
    one = sim()
    one.fate["make", 0, 1] = "no"
    run = one.submit("""
@wf.job(retries=Retry(max=1, delay=600))
def make() -> int:
    return 1
""")
    one.cluster.advance(30.0)
    (timed,) = [job for job in one.sent(None) if job.begin]
    one.cluster.cancel(list(one.cluster.find([timed.tag]).values()))
    one.cluster.advance(10_000.0)
    assert run.status()["run"]["status"] == "STALLED"
    one.advance()
    one.end()


def test_between_two_failed_submissions_a_run_is_not_stalled(sim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as somebody comes back, which `run` does and a single step does not."""
    one = sim()

    def fails(job: Job) -> Submission:
        raise ExecutorError("no answer", transient=True)

    submit = one.cluster.submit
    monkeypatch.setattr(one.cluster, "submit", fails)
    monkeypatch.setattr("reflow.run.service.submit.IN_PLACE", 0.0)
    run = one.submit("""
@wf.job()
def make() -> int:
    return 1
""")
    assert one.advance(chain=False, waits=0.0) is not None
    assert run.status()["run"]["status"] != "STALLED"
    assert one.advance(chain=False) is not None
    assert run.status()["run"]["status"] == "STALLED"
    monkeypatch.setattr(one.cluster, "submit", submit)
    one.advance()
    one.end()


def test_a_job_that_is_gone_before_anything_of_it_began_is_cancelled_where_that_is_known(sim: Any) -> None:
    """An executor whose scheduler remembers whatever has run says so of what it does not know."""
    one = sim()
    one.cluster.held = True
    fan(one, 2)
    (ref,) = refs(one, "make")
    one.cluster.cancel([ref])
    query = one.cluster.query
    word = JobStatus(state=JobState.UNKNOWN, failure_class=FailureClass.CANCELLED, native="no such job")
    one.cluster.query = lambda jobs: {key: word if key.id == ref.id else status for key, status in query(jobs).items()}
    one.advance()
    one.cluster.advance(100.0)
    one.advance()
    one.cluster.held = False
    one.end("CANCELLED")
    assert not one.ran


def test_what_a_shell_has_kept_of_an_end_counts_where_the_scheduler_forgets_it(sim: Any) -> None:
    """A task that kills itself has run once; one that is gone without a trace is lost, and tried again."""
    one = sim(purge=0.0)
    one.fate["work", 1, 1] = one.fate["work", 2, 1] = Died(signal=9)
    run = fan(one, 4)
    one.cluster.advance(1.5)
    (job,) = one.sent("work")
    folder = Path(layout.exits(run.root, job.tag))
    folder.mkdir(parents=True)
    (folder / "1").write_text("137")
    (folder / "2").write_text("no number")
    one.end("FAILED")
    assert Counter(index for name, index, _ in one.ran if name == "work") == {0: 1, 1: 1, 2: 2, 3: 1}
    (failure,) = (one for one in run.status()["failures"] if one["task"] == "work")
    assert (failure["index"], failure["class"], failure["signal"]) == (1, "exit", 9)


def test_elements_of_an_array_that_are_cancelled_while_they_wait(sim: Any) -> None:
    one = sim(places=1, limits=Limits(visibility_lag=0.0, vanishes=True))
    one.lasts["work"] = 200.0
    run = fan(one, 3)
    one.cluster.advance(3.0)
    (ref,) = refs(one, "work")
    query = one.cluster.query
    one.cluster.query = lambda jobs: {key: status for key, status in query(jobs).items() if key.slot != 2}
    one.cluster.cancel([JobRef(ref.id, 2)])
    one.end("CANCELLED")
    states = [row["state"] for row in run.status(elements=True)["elements"] if row["task"] == "work"]
    assert states == ["SUCCESS", "SUCCESS", "CANCELLED"]


# --- a table of limits for each action -------------------------------------------------------------------------------


def test_a_question_is_one_call_for_any_number_of_jobs(sim: Any) -> None:
    one = sim(places=0)
    one.submit(BRANCHES)
    assert not one.cluster.calls["query"]
    one.advance()
    assert one.cluster.calls["query"] == 1


def test_what_a_task_asks_for_reaches_its_retry(sim: Any) -> None:
    one = sim()
    one.fate["make", 0, 1] = Died(signal=9, failure_class=FailureClass.OOM)
    one.submit("""
@wf.job(mem="1G", retries=Retry(max=1, on={"oom": Scale(mem=2.0)}))
def make() -> int:
    return 1
""")
    one.end()
    assert [job.resources.mem for job in one.sent("make")] == [1 << 30, 2 << 30]


# --- all of it at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_whatever_goes_wrong_nothing_is_lost_twice_or_stuck(sim: Any, seed: int) -> None:
    """Calls that fail, with and without effect; wake-ups that die; attempts that fail; limits of every kind."""
    chance = Random(seed)
    limits = Limits(
        visibility_lag=chance.choice([0.0, 0.0, 3.0]),
        max_array=chance.choice([None, 3, 7]),
        max_submitted=chance.choice([None, 4, 9]),
        max_after=chance.choice([None, 2, 3]),
        throttle=chance.random() < 0.6,
    )
    one = sim(limits=limits, separate=chance.random() < 0.3, places=chance.choice([2, 6, 100]))
    lanes, size = chance.choice([None, 2, 5]), chance.randint(0, 14)
    one.lasts = {"make": 5.0, "work": 30.0, "total": 5.0}
    for index in range(size):
        if chance.random() < 0.3:
            one.fate["work", index, 1] = chance.choice(
                ["no", Died(exit_code=1), Died(signal=9, failure_class=FailureClass.NODE_FAIL, reason="died")]
            )
    options = "retries=1" + (f", array_parallelism={lanes}" if lanes else "")
    run = fan(one, size, options)
    for _ in range(12):
        fate = chance.random()
        if fate < 0.5:
            verb = chance.choice(["submit", "query", "find", "cancel"])
            one.cluster.break_down(verb, done=chance.random() < 0.5, times=chance.randint(1, 3))
        elif fate < 0.65:
            one.dead_wakes += 1
        elif fate < 0.8:
            one.advance()
        one.cluster.advance(chance.choice([1.0, 10.0, 40.0, 200.0]))
    one.dead_wakes = 0
    for _ in range(60):
        if run.state.ended:
            break
        one.advance()
        one.cluster.advance(400.0)
    one.end()
    assert max(Counter(one.ran).values()) == 1, "no attempt runs twice"
    for index in range(size):
        attempts = [attempt for name, element, attempt in one.ran if (name, element) == ("work", index)]
        assert [one.fate.get(("work", index, attempt)) is None for attempt in attempts].count(True) == 1
    assert lanes is None or one.most["work"] <= lanes
    assert run.results("work") == [1] * size


def test_a_worker_whose_clock_is_ahead_hides_no_silence(sim: Any) -> None:
    one = sim()
    one.dead_wakes = 1
    run = fan(one, 3)
    began = one.time.began
    one.time.began += 86400.0
    one.cluster.drain()
    one.time.began = began
    asked = one.cluster.calls["query"]
    assert run.status()["run"]["status"] == "RUNNING", "it was written down just now"
    one.cluster.advance(1000.0)
    assert run.status()["run"]["status"] == "STALLED"
    for path in Path(run.root, "events").rglob("*.log"):
        os.utime(path, (one.time.time(), one.time.time()))
    run.status()
    assert one.cluster.calls["query"] == asked + 1, "asked once"
    one.advance()
    one.end()
