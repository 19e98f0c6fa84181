"""What a worker has reported durably counts, also where it is given up or cancelled at that very moment."""

from __future__ import annotations

from typing import Any

import pytest

from reflow.model.job import JobState, JobStatus
from reflow.worker.mailbox import Mailbox

FAN = """
@wf.job()
def make() -> list[int]:
    return []

@wf.array_job(retries=0)
def work(x: Annotated[int, Result(step="make")]) -> int:
    return 1

@wf.job()
def total(xs: Annotated[list[int | reflow.Failed], Result(step="work", allow_failed=True)]) -> int:
    return len(xs)
"""


@pytest.fixture
def one(sim: Any) -> Any:
    """A run of which three elements are under way."""
    made = sim()
    made.lasts["work"] = 500.0
    made.values["make"] = [0, 1, 2]
    made.submit(FAN)
    made.cluster.advance(5.0)
    assert ran(made) == [(0, 1), (1, 1), (2, 1)]
    return made


def ran(one: Any, task: str = "work") -> list[tuple[int, int]]:
    """Elements that began, and their attempts."""
    return sorted((index, attempt) for name, index, attempt in one.ran if name == task)


def report(one: Any, *elements: int) -> None:
    """Say what the workers of these would, had they just ended."""
    (job,) = [job for job in one.sent("work") if job.spec.attempt == 1]
    for index in elements:
        box = Mailbox(one.run.root, job.tag, index)
        box.succeeded(b'"work"', index, 1, one.time.time(), 0.0, 0, b"1", b"{}")
        box.close()


def test_what_ends_while_it_is_being_cancelled_has_ended_well(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = one.cluster.cancel

    def slow(refs: Any) -> None:
        if not one.lab.counts(one.run)["work"].get("SUCCESS"):
            report(one, 0, 2)
        cancel(refs)

    monkeypatch.setattr(one.cluster, "cancel", slow)
    one.run.cancel()
    assert one.lab.counts(one.run)["work"] == {"SUCCESS": 2, "CANCELLED": 1}
    one.run.retry()
    one.end()
    assert ran(one) == [(0, 1), (1, 1), (1, 2), (2, 1)]


def test_what_ends_after_it_was_cancelled_is_not_run_again(one: Any) -> None:
    one.run.cancel()
    assert one.lab.counts(one.run)["work"] == {"CANCELLED": 3}
    report(one, 0, 1)
    one.run.retry()
    one.end()
    assert ran(one) == [(0, 1), (1, 1), (2, 1), (2, 2)]


def test_all_that_was_cancelled_had_ended_well(one: Any) -> None:
    """Nothing is left to be run again, and the run has succeeded."""
    report(one, 0, 1)
    one.run.cancel("work", [2])
    one.cluster.drain()
    assert one.run.state.value == "CANCELLED"
    report(one, 2)
    one.run.retry()
    one.end()
    assert ran(one) == [(0, 1), (1, 1), (2, 1)]
    assert ran(one, "total") == [(0, 1), (0, 2)], "it had counted without one"


@pytest.mark.parametrize(
    "status",
    [
        JobStatus(state=JobState.UNKNOWN, native="no such job"),
        JobStatus(state=JobState.FAILED, exit_code=1, native="FAILED"),
    ],
    ids=["lost", "failed"],
)
def test_a_report_that_comes_while_its_element_is_given_up(
    one: Any, monkeypatch: pytest.MonkeyPatch, status: JobStatus
) -> None:
    query = one.cluster.query
    asked = 0

    def says(jobs: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 2 or status.state is JobState.FAILED:
            report(one, 1)
        return {ref: status if ref.slot == 1 else told for ref, told in query(jobs).items()}

    monkeypatch.setattr(one.cluster, "query", says)
    one.advance(chain=False)
    assert one.events("gone")
    if status.state is JobState.UNKNOWN:
        one.cluster.advance(100.0)
        one.advance(chain=False)
    assert one.lab.counts(one.run)["work"] == {"SUCCESS": 1, "RUNNING": 2}
    assert not one.events("failed")
