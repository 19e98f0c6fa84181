"""What schedulers, clocks and network file systems do to a run, each once: traps that real ones were found to set."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from crashlab import SCRIPT, Fault, World

from reflow.errors import ExecutorError
from reflow.model import layout
from reflow.model.job import Job, JobRef, JobState, JobStatus, Limits, Submission
from reflow.model.names import FailureClass
from reflow.run.views.status import look
from reflow.testing import Died, MemoryCluster, Start

WAKE_UPS = {"REFLOW_DISPATCH_FAST_ADVANCE": "false"}


def alone(world: World) -> None:
    """The run ends well by itself, without anybody's help."""
    assert world.submit() == ""
    world.settle()
    world.check()


def helped(world: World) -> None:
    """The run ends well, if need be by what a person does."""
    world.submit()
    world.recover()
    world.check()


def is_task(job: Job) -> bool:
    return job.spec is not None


# --- submitting ----------------------------------------------------------------


class Landing(MemoryCluster):
    """A submit command that is not heard of again, and whose job is queued all the same: some time later."""

    after = 0.0
    late: list[tuple[float, Job]]

    def submit(self, job: Job) -> Submission:
        if is_task(job) and not getattr(self, "late", None):
            self.late = [(self.now + self.after, job)]
            raise ExecutorError("submit: timed out", transient=True, maybe_done=True)
        return super().submit(job)

    def land(self) -> None:
        ((_, job),) = self.late
        super().submit(job)


@pytest.mark.parametrize("fast", [{}, WAKE_UPS])
@pytest.mark.parametrize("times", [1, 3])
def test_a_submit_that_timed_out_had_landed(times: int, fast: Mapping[str, str]) -> None:
    with World(settings=fast) as world:
        world.cluster.break_down("submit", done=True, times=times)
        helped(world)


@pytest.mark.parametrize("fast", [{}, WAKE_UPS])
@pytest.mark.parametrize("times", [1, 3])
def test_a_submit_that_timed_out_had_not_landed(times: int, fast: Mapping[str, str]) -> None:
    class Lost(MemoryCluster):
        left = times

        def submit(self, job: Job) -> Submission:
            if self.left:
                self.left -= 1
                raise ExecutorError("submit: timed out", transient=True, maybe_done=True)
            return super().submit(job)

    with World(settings=fast, cluster=Lost) as world:
        helped(world)


def test_a_submit_lands_after_its_tag_was_voided() -> None:
    with World(cluster=Landing) as world:
        world.submit()
        world.recover()
        world.check()
        before = len(world.past)
        world.cluster.land()
        world.settle()
        late = world.past[before]
        assert (late.role, late.end) == ("worker", "")
        world.check()


@pytest.mark.parametrize("step", range(8))
def test_a_late_worker_and_who_voids_its_tag_race(step: int) -> None:
    """The worker is held at each step of its claim while the tag is voided, and then let go."""
    with World(cluster=Landing, counting=True) as world:
        world.submit()
        number = len(world.past)
        world.faults[number, step] = "stop"
        world.cluster.now += 60
        land = world.cluster.land
        world.cluster.held = True
        land()
        world.cluster.find = lambda tags: {}  # type: ignore[method-assign]
        world.cluster.held = False
        world.recover()
        world.thaw()
        world.settle()
        world.recover()
        run = world.run()
        assert (run.state.value, run.result("total")) == ("SUCCESS", 63)
        lines = (world.path / "ledger").read_text().split("\n")
        # It had claimed: then it may have run before it was held to be lost, and its element again.
        assert lines.count("make 0") + lines.count("make 0 TWICE") <= 2
        (tag,) = {job.tag for _, job in world.cluster.late}
        said = Path(layout.tag(run.root, tag)).read_text()
        if said == "void":
            assert lines.count("make 0") == 1, "a void tag's worker has run"
        assert said in ("void", f"claimed {said.partition(' ')[2]}")


def test_a_refused_submit_has_burnt_an_id() -> None:
    class Burning(MemoryCluster):
        burnt = False

        def submit(self, job: Job) -> Submission:
            if is_task(job) and not self.burnt:
                self.burnt = True
                held, self.held = self.held, True
                ref = super().submit(job).ref
                assert ref is not None
                self.fail(ref, FailureClass.LAUNCH, "rejected")
                self.held = held
                raise ExecutorError("submit: Invalid account")
            return super().submit(job)

    with World(cluster=Burning) as world:
        helped(world)


def test_a_submit_that_was_refused_has_landed_all_the_same() -> None:
    class Lying(MemoryCluster):
        lied = 0

        def submit(self, job: Job) -> Submission:
            found = super().submit(job)
            if is_task(job) and self.lied < 2:
                self.lied += 1
                raise ExecutorError("submit: error", transient=self.lied == 1)
            return found

    with World(cluster=Lying) as world:
        helped(world)


# --- dependencies --------------------------------------------------------------


class Hasty(MemoryCluster):
    """Jobs end, and are forgotten, while their wake-up is being submitted; what is forgotten is waited for by none."""

    def submit(self, job: Job) -> Submission:
        if job.after and not any(slot.play is not None and slot.play.gi_running for slot in self._running):
            self.advance(30.0)
        return super().submit(job)

    def _check(self, job: Job) -> None:
        super()._check(Job(tag=job.tag, name=job.name, script=job.script, slots=job.slots, begin=job.begin))


def test_a_dependency_on_a_forgotten_job_is_accepted_and_the_wake_up_runs_at_once() -> None:
    with World(cluster=Hasty, settings=WAKE_UPS, purge=1.0) as world:
        alone(world)


def test_a_dependency_on_a_forgotten_job_is_refused() -> None:
    class Refusing(Hasty):
        _check = MemoryCluster._check

    with World(cluster=Refusing, settings=WAKE_UPS, purge=1.0) as world:
        alone(world)


def test_a_job_with_an_unknown_dependency_is_removed_without_a_word() -> None:
    class Removing(MemoryCluster):
        def submit(self, job: Job) -> Submission:
            found = super().submit(job)
            if job.after:
                assert found.ref is not None
                self.forget(found.ref)
            return found

    with World(cluster=Removing, settings=WAKE_UPS) as world:
        helped(world)


def test_a_dependent_of_a_deleted_job_is_held_for_ever() -> None:
    class Holding(MemoryCluster):
        deleted = False

        def submit(self, job: Job) -> Submission:
            held, self.held = self.held, True
            found = super().submit(job)
            if is_task(job) and not self.deleted:
                self.deleted = True
                assert found.ref is not None
                self.fail(found.ref, FailureClass.PREEMPTED, "deleted before it ran")
            self.held = held
            self._schedule()
            return found

        def _obstacle(self, slot: Any) -> str:
            for ref in slot.job.after:
                if any(other.died.reason == "deleted before it ran" for other in self._depended(ref)):
                    return "waiting for other jobs"
            return super()._obstacle(slot)

    with World(cluster=Holding, settings=WAKE_UPS) as world:
        helped(world)


# --- what is said of jobs ----------------------------------------------------------


class Telling(MemoryCluster):
    """A cluster that says of jobs whatever `word` makes of it."""

    def word(self, ref: JobRef, status: JobStatus) -> JobStatus | None:
        return status

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        told = {ref: self.word(ref, status) for ref, status in super().query(jobs).items()}
        return {ref: status for ref, status in told.items() if status is not None}


def dies_once(world: World, task: str = "work", reason: FailureClass = FailureClass.EXIT) -> None:
    """The first worker of a task is killed without a word."""
    number = {"make": 1, "work": 2}[task]
    world.faults[number, 10 if task == "make" else 4] = "kill"
    world.harm = reason


def test_accounting_lags_behind() -> None:
    class Lagging(Telling):
        def word(self, ref: JobRef, status: JobStatus) -> JobStatus | None:
            ended = [slot.ended for slot in self._slots[ref.id] if slot.ref == ref]
            if status.state.ended and ended and ended[0] is not None and ended[0] + 14.0 > self.now:
                return JobStatus(state=JobState.RUNNING)
            return status

    with World(cluster=Lagging) as world:
        dies_once(world, "make", FailureClass.NODE_FAIL)
        helped(world)


def test_a_failed_job_is_said_to_have_succeeded() -> None:
    class Rosy(Telling):
        def word(self, ref: JobRef, status: JobStatus) -> JobStatus | None:
            return JobStatus(state=JobState.SUCCESS, exit_code=0) if status.state.ended else status

    with World(cluster=Rosy) as world:
        dies_once(world, "make")
        helped(world)
        assert look(world.run().root, world.run().definition).tasks["make"].attempt[0] == 2


def test_jobs_that_succeeded_are_said_to_have_failed() -> None:
    class Gloomy(Telling):
        def word(self, ref: JobRef, status: JobStatus) -> JobStatus | None:
            if status.state.ended:
                return JobStatus(state=JobState.FAILED, exit_code=1, failure_class=FailureClass.EXIT, reason="EXIT")
            return status

    with World(cluster=Gloomy, settings=WAKE_UPS) as world:
        alone(world)
        counts = world.run().status()["summary"]
        assert counts["work"]["SUCCESS"] == 3


def test_ended_jobs_are_forgotten_at_once() -> None:
    with World(purge=0.0, settings=WAKE_UPS) as world:
        dies_once(world, "make")
        world.cluster._check = lambda job: None  # type: ignore[method-assign]
        helped(world)


def test_only_some_jobs_are_told_of() -> None:
    class Short(Telling):
        def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
            return dict(list(super().query(jobs).items())[:1])

    with World(cluster=Short) as world:
        dies_once(world, "work", FailureClass.NODE_FAIL)
        helped(world)


def test_words_that_nobody_knows_are_no_evidence() -> None:
    class Babbling(Telling):
        until = 400.0

        def word(self, ref: JobRef, status: JobStatus) -> JobStatus | None:
            if self.now < self.until and not status.state.ended:
                return JobStatus(state=JobState.UNKNOWN, native="UNKWN")
            return status

    with World(cluster=Babbling) as world:
        helped(world)


def test_slots_of_an_array_are_jobs_in_any_order() -> None:
    class Shuffled(MemoryCluster):
        def submit(self, job: Job) -> Submission:
            found = super().submit(job)
            return Submission(ref=found.ref, slots=dict(reversed(list(found.slots.items()))))

    with World(cluster=Shuffled, separate=True) as world:
        dies_once(world, "work", FailureClass.NODE_FAIL)
        helped(world)


def test_cancelled_slots_vanish_without_a_word() -> None:
    class Vanishing(Telling):
        def word(self, ref: JobRef, status: JobStatus) -> JobStatus | None:
            return None if status.state is JobState.CANCELLED else status

    with World(cluster=Vanishing, places=1, limits=Limits(visibility_lag=2.0, vanishes=True)) as world:
        world.submit()
        world.cluster.advance(1.5)
        refs = [slot.ref for slot in world.cluster._pending if slot.job.slots == 3]
        assert len(refs) == 2
        world.cluster.cancel(refs)  # by an operator
        world.settle()
        world.drive()
        world.settle()
        run = world.run()
        assert run.status()["summary"]["work"]["CANCELLED"] == 2
        assert run.state.value == "CANCELLED"
        world.command("retry")
        world.recover()
        world.check()


# --- outages -----------------------------------------------------------------------


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("verb", ["submit", "query", "find", "cancel"])
def test_a_command_fails_for_a_while(verb: str, done: bool) -> None:
    with World(Fault(0, 90, "kill")) as world:
        world.cluster.break_down(verb, done=done, times=5)
        dies_once(world, "make")
        helped(world)


def test_the_scheduler_is_away_for_hours() -> None:
    class Away(MemoryCluster):
        def _called(self, verb: str) -> ExecutorError | None:
            if 0.5 < self.now < 9000.0:
                raise ExecutorError(f"{verb}: connection refused", transient=True)
            return super()._called(verb)

    with World(cluster=Away, settings=WAKE_UPS) as world:
        helped(world)
        assert world.cluster.now > 9000.0


# --- jobs that come back, or never do --------------------------------------------------


class Requeueing(MemoryCluster):
    """Each task's job is started again by the scheduler after it has ended."""

    def _finish(self, slot: Any, how: Any) -> None:
        super()._finish(slot, how)
        if slot.job.spec is not None and slot.starts == 1:
            self._stop(slot)
            self._queue(slot)


def test_the_scheduler_starts_ended_jobs_again() -> None:
    with World(cluster=Requeueing, settings=WAKE_UPS) as world:
        helped(world)
        assert sum(past.role == "worker" for past in world.past) >= 10


def test_the_scheduler_starts_jobs_again_that_were_given_up() -> None:
    """A node dies, its element gets another attempt; then the scheduler requeues the first job, too."""

    class Reviving(MemoryCluster):
        def _finish(self, slot: Any, how: Any) -> None:
            super()._finish(slot, how)
            if isinstance(how, Died) and how.failure_class is FailureClass.NODE_FAIL and slot.starts == 1:
                self.revived = slot

        def revive(self) -> None:
            self._queue(self.revived)

    with World(cluster=Reviving) as world:
        dies_once(world, "make", FailureClass.NODE_FAIL)
        helped(world)
        world.cluster.revive()
        before = (world.path / "ledger").read_text()
        world.settle()
        assert (world.path / "ledger").read_text() == before, "its element was on record, and ran again"
        world.check()


def test_two_workers_of_one_slot_run_at_once() -> None:
    class Doubling(MemoryCluster):
        doubled = False

        def _start(self, slot: Any) -> None:
            super()._start(slot)
            if slot.job.spec is not None and slot.job.spec.task == "make" and not self.doubled:
                self.doubled = True
                start = Start(job=slot.job, ref=slot.ref, slot=0, environ={}, rerun=1, now=self.now, umask=slot.umask)
                self.orphan = self.program(start)
                next(self.orphan)  # it is in the midst of its element, as the other one is

    with World(cluster=Doubling) as world:
        world.submit()
        world.settle()
        for _ in world.cluster.orphan:
            pass
        world.recover()
        run = world.run()
        assert (run.state.value, run.result("total")) == ("SUCCESS", 63)
        lines = (world.path / "ledger").read_text().splitlines()
        assert lines.count("make 0") == 2, "nobody can tell them apart before one has reported"
        assert len([line for line in lines if line.startswith("work")]) == 4


def test_a_lost_node_keeps_its_jobs_running_for_ever() -> None:
    class Frozen(MemoryCluster):
        def _go_on(self, slot: Any, play: Any) -> None:
            if slot.job.spec is not None and slot.job.spec.task == "make" and slot.job.spec.attempt == 1:
                slot.wake = float("inf")
                return
            super()._go_on(slot, play)

        def _moments(self) -> Any:
            return [moment for moment in super()._moments() if moment != float("inf")]

    with World(cluster=Frozen) as world:
        world.submit()
        world.settle()
        assert world.run().status()["run"]["status"] in ("RUNNING", "STALLED")
        world.command("cancel")
        world.settle()
        assert world.run().state.value == "CANCELLED"
        assert not world.queued()
        world.command("retry")
        world.recover()
        world.check()


def test_exit_codes_of_tasks_are_kept_from_the_scheduler() -> None:
    """99 and 100 mean something of their own to some schedulers."""
    script = SCRIPT.replace('raise ValueError("the first time it fails")', "raise SystemExit(99)")
    with World(script=script) as world:
        alone(world)
        assert {past.end for past in world.past} == {""}


def test_a_job_never_starts_for_want_of_its_log_directory() -> None:
    class Missing(MemoryCluster):
        def _start(self, slot: Any) -> None:
            if slot.job.spec is not None and slot.starts == 0 and slot.job.spec.attempt == 1:
                slot.starts = 1
                self._stop(slot)
                self._finish(slot, Died(exit_code=53, failure_class=FailureClass.LAUNCH, reason="0:53"))
                return
            super()._start(slot)

    script = SCRIPT.replace("== 1 and x == 20", "== 0")
    with World(cluster=Missing, script=script) as world:
        world.submit()
        world.recover()
        world.check(failures={})


# --- clocks and file systems -----------------------------------------------------------


@pytest.mark.parametrize("step", [81, 82, 85, 100, 104])
def test_the_clock_is_set_back(step: int) -> None:
    with World(Fault(0, step, "kill")) as world:
        world.submit()
        world.ahead = -3600.0
        world.recover()
        world.check()
        assert world.cluster.now < 1800.0, "it has waited for the clock"


def test_clocks_of_hosts_differ() -> None:
    class Askew(MemoryCluster):
        world: World

        def _start(self, slot: Any) -> None:
            self.world.ahead = 7200.0 * (self.world.nodes % 3 - 1)
            super()._start(slot)

    with World(cluster=Askew) as world:
        world.cluster.world = world
        dies_once(world, "make", FailureClass.NODE_FAIL)
        helped(world)
        assert world.cluster.now < 1800.0


@pytest.mark.parametrize("fast", [{}, WAKE_UPS])
def test_listings_of_directories_are_stale(fast: Mapping[str, str]) -> None:
    with World(settings=fast) as world:
        world.stale, world.seen = 60.0, time.time_ns()
        helped(world)
    with World(Fault(3, 5, "kill"), settings=fast) as world:
        world.submit()
        world.stale, world.seen = 60.0, time.time_ns()
        world.recover()
        world.check()


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO"])
def test_a_wake_up_waits_for_room_on_the_disk(error: str) -> None:
    """One that is refused once tries again by itself: nobody has to drive the run on."""
    with World(settings=WAKE_UPS) as world:
        world.faults[2, 20] = error
        alone(world)
        assert world.cluster.now > 5.0


@pytest.mark.parametrize("tail", [b"0000", b"\0" * 4096, b"00000002 00000000 {}\n", os.urandom(200)])
def test_a_record_is_torn(tail: bytes) -> None:
    """What the last write of a dead worker has left behind is passed over."""
    with World() as world:
        world.faults[1, 11] = "kill"
        world.submit()
        world.settle()
        boxes = [path for path in (world.path / "run/.reflow").glob("*/mailbox/*/*/*/*") if path.suffix == ".1"]
        assert boxes
        with boxes[0].open("ab") as stream:
            stream.write(tail)
        world.recover()
        world.check()


def test_limits_hold_back_what_is_too_much() -> None:
    with World(limits=Limits(visibility_lag=2.0, max_submitted=2, max_array=2)) as world:
        helped(world)
