"""The kit on what HTCondor 23.9 and 25.14 were recorded to say, and what is HTCondor's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from reflow.plugin import ExecutorError, FailureClass, JobRef, JobState, Resources, UsageError
from reflow.testing.dialects import DialectConformance, a_job, a_site
from reflow.testing.replay import Replay
from reflow_htcondor.dialect import HTCondorExecutor

RECORDED = Path(__file__).parent / "recorded"
QUEUE, HISTORY, NO_QUEUE, NO_HISTORY = (
    (RECORDED / f"{name}.txt").read_text(encoding="utf-8")
    for name in ("23-queue.live", "23-history.follow-up", "nothing-queue", "nothing-history")
)
DOWN = {"returncode": 1, "stderr": "Error: Can't find address for schedd node1\n"}


class TestHTCondor(DialectConformance):
    """All that holds for every dialect."""

    executor = HTCondorExecutor
    live = (QUEUE,)
    follow_up = (HISTORY,)
    recorded = RECORDED

    def seconds(self, words: Sequence[str]) -> int:
        """Return the walltime."""
        return number(words, "allowed_job_duration")

    def memory(self, words: Sequence[str], resources: Resources) -> int:
        """Return the memory."""
        return number(words, "request_memory") * 2**20


def number(words: Sequence[str], name: str) -> int:
    """Return the value of a line of the submit description."""
    (value,) = (word.partition("=")[2] for word in words if word.startswith(f"{name}="))
    return int(value)


def executor(**answers: object) -> tuple[HTCondorExecutor, Replay]:
    """Return an executor to which commands answer so; its own questions at the start are not counted."""
    site = {"condor_config_val": "100000\n20000\n", "-totals": "\n-- Schedd: node1 : <10.77.0.1>\n"}
    replay = Replay({**site, **answers})  # type: ignore[dict-item]
    made = HTCondorExecutor(runner=replay)
    assert (made.limits.max_submitted, made.limits.max_array, made.instance) == (100_000, 20_000, "node1")
    replay.calls.clear()
    return made, replay


def test_an_array_is_one_submission_whose_jobs_have_two_numbers(tmp_path: Path) -> None:
    """The first number is the reference, the second tells the elements."""
    made, replay = executor(condor_submit="8.0 - 8.2\n", condor_q=NO_QUEUE, condor_rm="")
    script = tmp_path / "a $(b).sh"
    script.write_text("#!/bin/bash\ntrue\n")
    ref = made.submit(a_job(script=str(script), slots=3, options={"account": "physics"})).ref
    assert ref == JobRef("8")
    program, *words = replay.calls[0]
    assert (program, words[0], words[-2:]) == ("condor_submit", "-terse", ["-queue", "3"])
    assert f"executable={tmp_path}/a $(DOLLAR)(b).sh" in words
    assert {"accounting_group=physics", "My.ReflowArray=true", "JobBatchName=k3f9x2abqd.compute"} <= set(words)
    assert 'environment="REFLOW_CLUSTER=$(ClusterId) REFLOW_PROC=$(ProcId)"' in words
    assert "export REFLOW_SLOT=$((REFLOW_PROC - 0))" in script.read_text()
    made.cancel([JobRef("8", 0), JobRef("8", 2), JobRef("9")])
    assert replay.calls[-1] == ("condor_rm", "8.0", "8.2", "9")


def test_one_job_of_an_array_is_no_single_job() -> None:
    """Each has the second number 0, and only the array has its mark."""
    record = '<c>\n<a n="ClusterId"><i>{}</i></a><a n="ProcId"><i>0</i></a><a n="JobStatus"><i>2</i></a>{}\n</c>\n'
    jobs = record.format(1, "") + record.format(2, '<a n="ReflowArray"><b v="t"/></a>')
    made, _ = executor(condor_q=f"<classads>\n{jobs}</classads>\n", condor_history=NO_HISTORY)
    assert set(made.query([JobRef("1"), JobRef("2")])) == {JobRef("1"), JobRef("2", 0)}


def test_what_has_left_the_queue_is_asked_of_the_history() -> None:
    """Two commands for any number of jobs; each end has its class."""
    made, replay = executor(condor_q=NO_QUEUE, condor_history=HISTORY)
    found = made.query([JobRef(str(number)) for number in range(1, 9)])
    assert [call[0] for call in replay.calls] == ["condor_q", "condor_history"]
    classes = {ref.id: status.failure_class for ref, status in found.items() if ref.slot is None}
    assert classes["1"] is None
    assert found[JobRef("2")].exit_code == 3
    assert found[JobRef("3")].signal == 9
    assert [found[JobRef("4", slot)].exit_code for slot in range(3)] == [0, 1, 2]
    assert classes["5"] is FailureClass.TIMEOUT
    assert classes["6"] is classes["8"] is FailureClass.CANCELLED
    assert found[JobRef("7")].state is JobState.UNKNOWN


def test_silence_is_no_answer() -> None:
    """Of no jobs `condor_q -json` prints nothing; the list that is asked for is there, with nothing in it."""
    made, _ = executor(condor_q=NO_QUEUE, condor_history=NO_HISTORY)
    assert made.query([JobRef("99999")])[JobRef("99999")].state is JobState.UNKNOWN
    assert made.find(["k3f9x2abqd"]) == {}
    made, _ = executor(condor_q="", condor_history=NO_HISTORY)
    with pytest.raises(ExecutorError, match="not whole"):
        made.query([JobRef("99999")])


def test_a_schedd_that_is_away_is_an_outage() -> None:
    """It is asked again, and no job is lost by it."""
    made, replay = executor(condor_q=DOWN, condor_submit=DOWN)
    with pytest.raises(ExecutorError, match="Can't find address") as caught:
        made.query([JobRef("7")])
    assert caught.value.transient
    assert len(replay.slept) == 3


@pytest.mark.parametrize(
    ("code", "state", "cls"),
    [
        (1, JobState.PENDING, None),
        (15, JobState.PENDING, None),
        (7, JobState.PENDING, FailureClass.LAUNCH),
        (34, JobState.RUNNING, None),
        (47, JobState.RUNNING, None),
    ],
)
def test_a_held_job_waits_for_a_person_or_for_ever_or_is_being_removed(
    code: int, state: JobState, cls: FailureClass | None
) -> None:
    """Nothing leaves the queue by itself because it is held: what can never run is ended by reflow."""
    record = f'{{\n"ClusterId": 7, "ProcId": 0, "JobStatus": 5, "HoldReasonCode": {code}, "HoldReason": "why"\n}}\n'
    (row,) = TestHTCondor().rows(record)
    assert (row.status.state, row.status.failure_class) == (state, cls)
    assert "why" in row.status.reason
    assert row.status.ending == (code in (34, 47))


def test_a_job_starts_once_unless_it_may_be_run_again() -> None:
    """A job that returns to the queue fits no machine, and the schedd removes it."""
    suite = TestHTCondor()
    once = " ".join(suite.words(options={"constraint": ["fast", "big"]}))
    assert "requirements=(fast) && (big) && (NumShadowStarts ?: 0) == 0 && time() >= " in once
    assert "|| JobStatus == 1 && NumShadowStarts > 0" in once
    again = " ".join(suite.words(options={"requeue": True}))
    assert "NumShadowStarts" not in again
    (row,) = suite.rows(
        '[\n{\n"ClusterId": 7, "ProcId": 0, "JobStatus": 3, "NumShadowStarts": 1,'
        ' "RemoveReason": "The job attribute PeriodicRemove expression \'x\' evaluated to TRUE"\n}\n]\n',
        follow_up=True,
    )
    assert row.status.failure_class is FailureClass.PREEMPTED


@pytest.mark.parametrize("value", ["$(HOME)", "a$$(b)", "$ENV(PATH)", "$$[1]"])
def test_text_that_condor_submit_would_replace_is_refused(value: str) -> None:
    """It has no way to quote a dollar sign in a value that it also shows as it is."""
    with pytest.raises(UsageError, match="condor_submit would replace"):
        TestHTCondor().words(options={"account": value})


def test_a_begin_time_is_a_condition_that_takes_no_machine() -> None:
    """It is rounded up to seconds."""
    site = a_site()
    groups = HTCondorExecutor().speaks.flags(a_job(begin=60.0), site)
    begin = next(int(word.partition("=")[2]) for group in groups for word in group if "ReflowBegin=" in word[:15])
    assert 60 <= begin - site.now <= 61


def test_several_machines_are_refused() -> None:
    """MPI tasks share one."""
    suite = TestHTCondor()
    assert number(suite.words(resources=Resources(tasks=4, cpus=2)), "request_cpus") == 8
    with pytest.raises(UsageError, match="nodes=2"):
        suite.words(resources=Resources(nodes=2))


def test_expected_files_are_complete() -> None:
    """Each recorded output has its reading beside it."""
    names = {re.sub(r"\.(live|follow-up|expected)\.txt$", "", path.name) for path in RECORDED.glob("[0-9]*.txt")}
    assert names == {"23-queue", "23-history", "25-queue", "25-history", "25-history-all"}
