"""Runs that a terminal drives, times that nobody has to sit through, and compute nodes that may not submit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from reflow import Run
from reflow.errors import ExecutorError
from reflow.model import layout
from reflow.model.job import Job, Limits, Submission
from reflow.model.names import RunState
from reflow.model.record import Command
from reflow.run.drive import advance as chain
from reflow.run.drive import foreground
from reflow.run.drive.pool import Progress
from reflow.run.journal.lease import latest, owner
from reflow.run.journal.report_reader import post
from reflow.run.service import api
from reflow.testing import Died, MemoryCluster, Start
from reflow.worker.tags import VOID, read

from .test_relay import FAN, RAN, Play, events


class Clock:
    """Stands for the module `time` where a run is driven: who sleeps lets the cluster go on."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.cluster.now

    @staticmethod
    def time() -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.cluster.advance(seconds)


class Slow(Play):
    """Each job takes a while."""

    seconds = 30.0
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        #: seconds that wake-ups waited
        self.rested: list[float] = []

    def program(self, start: Start) -> Generator[float, None, int | Died | None]:
        job = start.job
        root = job.script.partition("/scripts/")[0]
        if job.spec is not None:
            yield self.seconds
        elif read(layout.tag(root, job.tag)) != VOID:
            self.seen["wake-up"] += 1
            yield 0.1  # who submits it holds the lease
            for seconds in chain.waking(root, job.tag, self.cluster):
                self.rested.append(seconds)
                yield seconds
            return 0
        return (yield from super().program(start))


@pytest.fixture
def play(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Slow:
    lab.write(FAN)
    play = Slow()
    clock = play.clock = Clock(play.cluster)
    monkeypatch.setattr(chain, "time", clock)
    monkeypatch.setattr(foreground, "time", clock)
    monkeypatch.setattr(api, "executor_of", lambda *_: play.cluster)
    return play


# --- driven ---------------------------------------------------------------------------------------------------------


def test_a_run_without_wake_ups(lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """``[dispatch] chain = false``: the foreground does it all, by one submission a stage and few questions."""
    monkeypatch.setenv("REFLOW_DISPATCH_CHAIN", "false")
    told: list[Progress] = []
    run = lab.flow.submit(lab.run_dir, executor=play.cluster, wait=True, on_progress=told.append)
    assert run.state.value == "SUCCESS"
    assert run.result("total") == 55
    assert lab.ran() == RAN
    assert play.cluster.calls["submit"] == 3
    assert set(play.cluster.calls) <= {"submit", "query"}
    assert not play.seen["wake-up"] + play.seen["relay"]
    assert not Path(run.root, "relay").exists()
    assert play.cluster.calls["query"] <= 5, "asked every ten seconds, growing"
    assert latest(run.root) <= 4 + play.cluster.calls["query"], "nothing is written where nothing is to be done"
    shown = {(one.task, one.counts.get("SUCCESS", 0)) for one in told if one.task}
    assert {("make", 1), ("work", 5), ("total", 1)} <= shown


def test_it_asks_less_and_less(lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_DISPATCH_CHAIN", "false")
    play.seconds = 3600.0
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    assert f"`reflow drive {run.run_id}` goes on" in run.status()["run"]["reason"]
    assert run.drive() is RunState.SUCCESS
    assert play.cluster.calls["query"] < 3 * 3600 / 100
    assert max(play.clock.slept) <= 5.0


def test_slow_commands_are_no_reason_to_look_less_often(lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of 30 s each: the run's end is noticed as soon as if they took none."""
    monkeypatch.setenv("REFLOW_DISPATCH_CHAIN", "false")
    play.seconds = 1.0
    for verb in ("submit", "query"):
        command = getattr(play.cluster, verb)

        def slow(what: Any, command: Any = command) -> Any:
            play.cluster.advance(30.0)
            return command(what)

        monkeypatch.setattr(play.cluster, verb, slow)
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    play.clock.slept.clear()
    assert run.drive() is RunState.SUCCESS
    assert max(play.clock.slept) <= 5.0
    assert sum(play.clock.slept) < 30.0


def test_a_message_is_said_once_however_often_the_run_is_advanced(
    lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFLOW_DISPATCH_CHAIN", "false")
    play.seconds = 300.0
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    play.cluster.break_down("query", times=4, message="down")
    told: list[Progress] = []
    assert run.drive(on_progress=told.append) is RunState.SUCCESS
    assert len([one for one in told if "down" in one.message]) == 1


def test_once_as_from_cron(lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call does what can be done, asks once, and leaves nothing waiting."""
    monkeypatch.setenv("REFLOW_DISPATCH_CHAIN", "false")
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    for _ in range(20):
        if run.state.ended:
            break
        before = play.cluster.calls["query"]
        run.drive(once=True)
        assert play.cluster.calls["query"] <= before + 1
        play.cluster.advance(20.0)
    assert run.state.value == "SUCCESS"
    assert play.cluster.calls["submit"] == 3


def test_a_chained_run_that_is_driven(lab: Any, play: Slow) -> None:
    """Driving does not get in the way of the chain, nor the chain in its way."""
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    assert run.drive() is RunState.SUCCESS
    play.cluster.drain()
    assert lab.ran() == RAN
    assert not play.cluster.order()


def test_what_is_mailed_is_obeyed(lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose own process could not advance the run is not left lying."""
    monkeypatch.setenv("REFLOW_DISPATCH_CHAIN", "false")
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    post(run.root, Command(id="x", verb="cancel", at=time.time()))
    play.seconds = 3600.0
    assert run.drive() is RunState.CANCELLED
    assert play.cluster.now < 60.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_the_end_of_a_step(
    lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """What is being submitted is, and is written down; then the run stands still, ready to be continued."""
    monkeypatch.setenv("REFLOW_DISPATCH_CHAIN", "false")
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    submit = play.cluster.submit
    before = signal.getsignal(number)

    def interrupted(job: Job) -> Submission:
        os.kill(os.getpid(), number)
        return submit(job)

    monkeypatch.setattr(play.cluster, "submit", interrupted)
    told: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        foreground.foreground(run.root, play.cluster, chain=False, on_progress=told.append)
    monkeypatch.setattr(play.cluster, "submit", submit)
    assert "stopping after this step; once more to stop at once" in {one.message for one in told}
    assert signal.getsignal(number) is before
    assert owner(run.root, latest(run.root)).released
    assert [event["task"] for event in events(run, "intent")] == ["make", "work"]
    assert len(events(run, "submitted")) == 2
    assert not run.chained
    assert f"`reflow drive {run.run_id}` goes on" in run.status()["run"]["reason"]
    assert run.drive() is RunState.SUCCESS
    assert lab.ran() == RAN
    assert play.cluster.calls["find"] == 0


def test_a_second_signal_does_not_wait(lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_DISPATCH_CHAIN", "false")
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    submit = play.cluster.submit

    def hangs(job: Job) -> Submission:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it was not stopped")

    monkeypatch.setattr(play.cluster, "submit", hangs)
    with pytest.raises(KeyboardInterrupt):
        foreground.foreground(run.root, play.cluster, chain=False)
    monkeypatch.setattr(play.cluster, "submit", submit)
    assert run.drive() is RunState.SUCCESS
    assert lab.ran() == RAN


# --- times ----------------------------------------------------------------------------------------------------------

LATER = """
@wf.job(retries=reflow.Retry(max=1, delay={delay}))
def later() -> int:
    note("later")
    if reflow.context().attempt == 1:
        raise ValueError("not yet")
    return 1
"""


@pytest.fixture
def retrying(lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Run]:
    """A run whose only task fails at first, in its wake-up's eyes: submitted, and run to its end."""

    def run(delay: float) -> Run:
        lab.write(LATER.format(delay=delay))
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + play.cluster.now)
        monkeypatch.setenv("REFLOW_DISPATCH_FAST_ADVANCE", "false")
        started = lab.flow.submit(lab.run_dir, executor=play.cluster)
        play.cluster.drain()
        assert lab.ran() == ["later", "later"]
        assert started.state.value == "SUCCESS"
        assert play.cluster.now >= delay
        return started  # type: ignore[no-any-return]

    return run


def test_a_short_wait_is_waited_in_place(play: Slow, retrying: Callable[[float], Run]) -> None:
    """By the wake-up that runs already."""
    run = retrying(90.0)
    assert not [event for event in events(run, "wake") if event.get("due")]
    assert sum(play.rested) == pytest.approx(90.0, abs=2.0)


def test_a_long_wait_has_a_wake_up_that_begins_later(play: Slow, retrying: Callable[[float], Run]) -> None:
    run = retrying(600.0)
    (timed,) = [event for event in events(run, "wake") if event.get("due")]
    assert timed["due"] - timed["at"] == pytest.approx(600.0, abs=60.0)
    assert sum(play.rested) < chain.IN_PLACE


@pytest.mark.parametrize(("delay", "wakes"), [(600.0, 0), (5000.0, 4)])
def test_where_there_is_no_begin_time_it_sleeps(
    lab: Any, play: Slow, retrying: Callable[[float], Run], delay: float, wakes: int
) -> None:
    """In a wake-up, for as long as its walltime lets it; then in another."""
    play.cluster._limits = Limits(visibility_lag=0.0, begin=False)
    run = retrying(delay)
    timed = [event for event in events(run, "wake") if event.get("due")]
    assert bool(wakes) <= len(timed) <= wakes


# --- compute nodes that may not submit --------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["denied: host n1 is no submit host", "what this site says nobody knows"])
def test_compute_nodes_that_may_not_submit(lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """The wake-up notices, whatever the words; nothing has failed, `status` says so, and `drive` continues."""
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    submit = play.cluster.submit
    tried: list[str] = []

    def refused(job: Job) -> Submission:
        tried.append(job.name)
        raise ExecutorError(words, elsewhere="submit host" in words)

    monkeypatch.setattr(play.cluster, "submit", refused)
    play.cluster.drain()
    told = run.status()
    assert told["run"]["status"] == "STALLED"
    who = "compute nodes cannot submit" if "submit host" in words else "jobs from a compute node are refused"
    assert f"{who}: {words}; `reflow drive {run.run_id}` goes on" in told["run"]["reason"]
    assert not events(run, "failed")
    assert play.seen["relay"] == 1
    assert len(tried) <= 4, "a worker's try, the wake-up's, and one more where the words are not known"
    monkeypatch.setattr(play.cluster, "submit", submit)
    assert run.drive() is RunState.SUCCESS
    assert lab.ran() == RAN
    assert not run.status()["run"]["reason"]


def test_a_job_that_is_refused_for_what_it_is(lab: Any, play: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up that can submit others tells a bad request from a node that may not submit."""
    monkeypatch.setenv("REFLOW_DISPATCH_FAST_ADVANCE", "false")
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    submit = play.cluster.submit

    def picky(job: Job) -> Submission:
        if job.spec is not None:
            raise ExecutorError("no such queue")
        return submit(job)

    monkeypatch.setattr(play.cluster, "submit", picky)
    play.cluster.drain()
    assert run.state.value == "FAILED"
    assert {(one["task"], one["class"]) for one in run.status()["failures"]} == {("work", "launch")}
    assert not events(run, "barred")
    assert not play.cluster.order()
