"""What goes wrong on a real cluster can be had on the one in memory."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from reflow.errors import ExecutorError, PluginError
from reflow.plugin import Context, FailureClass, Job, JobRef, JobState, Limits, Resources
from reflow.testing import Died, MemoryCluster, Start


def _sleep(seconds: float = 10.0) -> Generator[float, None, int]:
    yield seconds
    return 0


def _job(tag: str, **changes: object) -> Job:
    return Job(tag=tag, name=f"{tag}.x", script="/none", **changes)  # type: ignore[arg-type]


def _cluster(**changes: object) -> MemoryCluster:
    return MemoryCluster(program=lambda start: _sleep(), **changes)  # type: ignore[arg-type]


def _submit(cluster: MemoryCluster, tag: str, **changes: object) -> JobRef:
    ref = cluster.submit(_job(tag, **changes)).ref
    assert ref is not None
    return ref


def _state(cluster: MemoryCluster, ref: JobRef) -> JobState:
    return cluster.query([ref])[ref].state


def test_the_queue_is_served_in_order() -> None:
    cluster = _cluster(places=1)
    refs = [_submit(cluster, tag) for tag in "abc"]
    assert cluster.order() == ["b", "c"]
    assert [_state(cluster, ref) for ref in refs] == [JobState.RUNNING, JobState.PENDING, JobState.PENDING]
    assert cluster.query(refs)[refs[1]].reason == "waiting for resources"
    cluster.advance(9.9)
    assert _state(cluster, refs[0]) is JobState.RUNNING
    cluster.advance(0.1)
    assert [_state(cluster, ref) for ref in refs] == [JobState.SUCCESS, JobState.RUNNING, JobState.PENDING]
    cluster.drain()
    assert cluster.now == 30.0
    assert {status.state for statuses in cluster.jobs().values() for status in statuses} == {JobState.SUCCESS}


def test_reasons_for_waiting() -> None:
    cluster = _cluster()
    cluster.held = True
    ahead = _submit(cluster, "a")
    assert cluster.query([ahead])[ahead].reason == "the queue is held"
    cluster.held = False
    later = _submit(cluster, "b", begin=5.0)
    behind = _submit(cluster, "c", after=(ahead,))
    array = _submit(cluster, "d", slots=2, throttle=1)
    found = cluster.query([later, behind, array])
    assert found[later].reason == "waiting for its begin time"
    assert found[behind].reason == "waiting for other jobs"
    assert found[JobRef(array.id, 1)].reason == "waiting for other slots of its array"
    cluster.advance(5)
    assert _state(cluster, later) is JobState.RUNNING


def test_what_was_just_submitted_is_not_yet_seen() -> None:
    cluster = _cluster(limits=Limits(visibility_lag=3.0))
    ref = _submit(cluster, "a")
    assert _state(cluster, ref) is JobState.UNKNOWN
    assert cluster.find(["a"]) == {}
    cluster.advance(3)
    assert _state(cluster, ref) is JobState.RUNNING
    assert cluster.find(["a"]) == {"a": ref}


def test_what_ended_long_ago_is_forgotten() -> None:
    cluster = _cluster(purge=60.0)
    ref = _submit(cluster, "a")
    cluster.advance(10 + 59)
    assert _state(cluster, ref) is JobState.SUCCESS
    cluster.advance(1)
    assert _state(cluster, ref) is JobState.UNKNOWN
    assert cluster.find(["a"]) == {}
    with pytest.raises(ExecutorError, match="dependency problem"):
        _submit(cluster, "b", after=(ref,))


def test_forget() -> None:
    cluster = _cluster()
    ref = _submit(cluster, "a")
    behind = _submit(cluster, "b", after=(ref,))
    cluster.forget(ref)
    assert _state(cluster, ref) is JobState.UNKNOWN
    assert _state(cluster, behind) is JobState.RUNNING


@pytest.mark.parametrize(
    ("limits", "job"),
    [
        (Limits(max_array=2), {"slots": 3}),
        (Limits(max_submitted=2), {"slots": 3}),
        (Limits(max_after=1), {"after": (JobRef("101"), JobRef("101"))}),
        (Limits(dependencies=False), {"after": (JobRef("101"),)}),
        (Limits(begin=False), {"begin": 1.0}),
        (Limits(), {"after": (JobRef("7"),)}),
        (Limits(), {"slots": 0}),
    ],
)
def test_limits_are_enforced(limits: Limits, job: dict[str, object]) -> None:
    cluster = _cluster(limits=limits)
    _submit(cluster, "a")
    with pytest.raises(ExecutorError, match=r"^submit: "):
        _submit(cluster, "b", **job)
    assert list(cluster.jobs()) == ["a"]


@pytest.mark.parametrize("done", [False, True])
def test_calls_that_fail(done: bool) -> None:
    cluster = _cluster()
    cluster.break_down("submit", done=done, times=2)
    for tag in "ab":
        with pytest.raises(ExecutorError, match="submit: no answer") as caught:
            _submit(cluster, tag)
        assert caught.value.transient
        assert caught.value.maybe_done is done
    assert list(cluster.jobs()) == (["a", "b"] if done else [])
    ref = _submit(cluster, "c")
    for verb, argument in (("query", [ref]), ("find", ["c"]), ("cancel", [ref])):
        cluster.break_down(verb, done=done)
        with pytest.raises(ExecutorError, match=f"{verb}: no answer"):
            getattr(cluster, verb)(argument)
    assert _state(cluster, ref) is (JobState.CANCELLED if done else JobState.RUNNING)
    assert cluster.calls == {"submit": 3, "query": 2, "find": 1, "cancel": 1}


def test_fate() -> None:
    cluster = _cluster(places=9)
    refs = {tag: _submit(cluster, tag) for tag in "abcd"}
    cluster.finish(refs["a"])
    cluster.finish(refs["b"], 7)
    cluster.lose_node(refs["c"])
    cluster.fail(refs["d"], FailureClass.OOM, "killed for its memory")
    found = cluster.query(list(refs.values()))
    assert found[refs["a"]].state is JobState.SUCCESS
    assert (found[refs["b"]].exit_code, found[refs["b"]].failure_class) == (7, FailureClass.EXIT)
    assert (found[refs["c"]].signal, found[refs["c"]].failure_class) == (9, FailureClass.NODE_FAIL)
    assert found[refs["d"]].reason == "killed for its memory"
    cluster.finish(refs["b"], 0)
    assert _state(cluster, refs["b"]) is JobState.FAILED


def test_walltime() -> None:
    cluster = _cluster()
    ref = _submit(cluster, "a", resources=Resources(time=4))
    cluster.advance(4)
    assert cluster.query([ref])[ref].failure_class is FailureClass.TIMEOUT


def test_a_requeued_slot_starts_anew() -> None:
    reruns: list[int] = []
    closed: list[bool] = []

    def program(start: Start) -> Generator[float, None, None]:
        reruns.append(start.rerun)
        try:
            yield 10
        except GeneratorExit:
            closed.append(True)
            raise

    cluster = MemoryCluster(program=program)
    ref = _submit(cluster, "a", slots=1)
    cluster.advance(5)
    cluster.requeue(JobRef(ref.id, 0))
    cluster.advance(9)
    assert (reruns, closed) == ([0, 1], [True])
    assert _state(cluster, JobRef(ref.id, 0)) is JobState.RUNNING
    cluster.advance(1)
    assert _state(cluster, JobRef(ref.id, 0)) is JobState.SUCCESS


def test_programs_may_use_the_cluster() -> None:
    """As a wake-up does, which submits the next stage; as a job that cancels itself."""
    cluster = MemoryCluster()
    seen: list[str] = []

    def program(start: Start) -> Generator[float, None, int] | None:
        seen.append(start.job.tag)
        if start.job.tag == "wake":
            _submit(cluster, "next")
        if start.job.tag in ("self", "again"):
            return _itself(start)
        if start.job.tag == "at-once":
            cluster.cancel([start.ref])
        return None

    def _itself(start: Start) -> Generator[float, None, int]:
        yield 1
        if start.rerun == 0:
            (cluster.cancel([start.ref]) if start.job.tag == "self" else cluster.requeue(start.ref))
        return 0

    cluster.program = program
    _submit(cluster, "wake")
    refs = [_submit(cluster, tag) for tag in ("self", "again", "at-once")]
    cluster.drain()
    assert seen == ["wake", "next", "self", "again", "at-once", "again"]
    assert [_state(cluster, ref) for ref in refs] == [JobState.CANCELLED, JobState.SUCCESS, JobState.CANCELLED]


def test_programs_may_end_each_other() -> None:
    cluster = MemoryCluster()
    refs: list[JobRef] = []

    def program(start: Start) -> Generator[float, None, int]:
        yield 1
        cluster.cancel([ref for ref in refs if ref != start.ref])
        return 0

    cluster.program = program
    refs += [_submit(cluster, tag) for tag in "ab"]
    cluster.drain()
    assert [_state(cluster, ref) for ref in refs] == [JobState.SUCCESS, JobState.CANCELLED]


def test_programs_tell_how_they_ended() -> None:
    cluster = MemoryCluster(program=lambda start: Died(failure_class=FailureClass.PREEMPTED, reason="urgent job"))
    ref = _submit(cluster, "a")
    status = cluster.query([ref])[ref]
    assert (status.state, status.failure_class, status.reason) == (
        JobState.FAILED,
        FailureClass.PREEMPTED,
        "urgent job",
    )


def test_a_job_may_wait_for_one_slot() -> None:
    cluster = _cluster()
    array = _submit(cluster, "a", slots=2)
    behind = _submit(cluster, "b", after=(JobRef(array.id, 1),))
    cluster.finish(JobRef(array.id, 1))
    assert _state(cluster, behind) is JobState.RUNNING


def test_a_script_that_is_no_probe(tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(ValueError, match="no probe"):
        MemoryCluster().submit(Job(tag="a", name="a", script=str(script), log=os.devnull))


def test_a_cluster_lives_in_its_process(memory_cluster: MemoryCluster) -> None:
    assert MemoryCluster.create(memory_cluster.settings, Context()) is memory_cluster
    with pytest.raises(PluginError, match="not, or no longer"):
        MemoryCluster.create({"cluster": "1-0"}, Context())


def test_thousands_of_slots() -> None:
    cluster = _cluster(places=50)
    ref = _submit(cluster, "a", slots=5000)
    cluster.drain()
    assert cluster.now == 1000.0
    assert {status.state for status in cluster.query([ref]).values()} == {JobState.SUCCESS}
