"""Each check of the conformance suite can fail: for each there is an executor with just that fault."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from reflow.plugin import (
    JSON,
    Context,
    Executor,
    ExecutorError,
    FailureClass,
    Job,
    JobRef,
    JobState,
    JobStatus,
    Limits,
    Submission,
)
from reflow.testing import Died, ExecutorConformance, MemoryCluster, Start, act

replace = msgspec.structs.replace


class _Suite(ExecutorConformance):
    interval: ClassVar[float] = 0.25
    timeout: ClassVar[float] = 90.0

    def advance(self, executor: Executor, seconds: float) -> None:
        assert isinstance(executor, MemoryCluster)
        executor.advance(seconds)

    def calls(self, executor: Executor) -> int | None:
        assert isinstance(executor, MemoryCluster)
        return executor.calls.total()


class _Answers(MemoryCluster):
    """Changes what `query` answers."""

    def change(self, ref: JobRef, status: JobStatus) -> JobStatus:
        return status

    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        return {ref: self.change(ref, status) for ref, status in super().query(jobs).items()}


class _Submits(MemoryCluster):
    """Changes what is submitted."""

    def change(self, job: Job) -> Job:
        return job

    def submit(self, job: Job) -> Submission:
        return super().submit(self.change(job))


# -- identity and settings --


class WithoutFind(MemoryCluster):
    find = None  # type: ignore[assignment]


class Nameless(MemoryCluster):
    name = ""


class Limitless(MemoryCluster):
    limits = Limits(visibility_lag=float("inf"))


class NothingFits(MemoryCluster):
    limits = Limits(max_array=0)


class OddLimits(MemoryCluster):
    @property
    def limits(self) -> Any:
        return {"array_base": 0}


class SettingsAreNoJson(MemoryCluster):
    @property
    def settings(self) -> Mapping[str, JSON]:
        return {**super().settings, "programs": ("qsub", "qstat")}


class RebuiltForgets(MemoryCluster):
    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> RebuiltForgets:
        made = cls()
        made._token = str(settings["cluster"])
        return made


class RebuiltDiffers(MemoryCluster):
    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> RebuiltDiffers:
        return cls(name="other")


# -- running --


class SuccessLooksFailed(_Answers):
    def change(self, ref: JobRef, status: JobStatus) -> JobStatus:
        return replace(status, state=JobState.FAILED) if status.state is JobState.SUCCESS else status


class NeverStarts(MemoryCluster):
    def advance(self, seconds: float) -> None:
        self.held = True
        super().advance(seconds)

    def submit(self, job: Job) -> Submission:
        self.held = True
        return super().submit(job)


class SlotsFromOne(MemoryCluster):
    def __init__(self) -> None:
        super().__init__(program=lambda start: act(_moved(start)))


def _moved(start: Start) -> Start:
    moved = {name: str(int(slot) + 1) for name, slot in start.environ.items()}
    return replace(start, environ=moved)


class OneSlotIsSingle(_Submits):
    def change(self, job: Job) -> Job:
        return replace(job, slots=None) if job.slots == 1 else job


class NoExitCodes(_Answers):
    def change(self, ref: JobRef, status: JobStatus) -> JobStatus:
        return replace(status, exit_code=None)


class FailureIsSuccess(_Answers):
    def change(self, ref: JobRef, status: JobStatus) -> JobStatus:
        return replace(status, state=JobState.SUCCESS) if status.state is JobState.FAILED else status


class SignalsAreLost(_Answers):
    def change(self, ref: JobRef, status: JobStatus) -> JobStatus:
        return replace(status, signal=None, exit_code=1) if status.signal else status


class OneFailsAllFail(_Answers):
    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        found = super().query(jobs)
        worst = next((status for status in found.values() if status.state is JobState.FAILED), None)
        return {ref: worst or status for ref, status in found.items()}


class EndsAreForgotten(MemoryCluster):
    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        found = super().query(jobs)
        if all(status.state.ended for status in found.values()):
            for ref in jobs:
                for slot in self._slots.get(ref.id, ()):
                    slot.died = Died(exit_code=0, reason=f"seen {self.calls['query']} times")
        return found


class ReferencesAreReused(MemoryCluster):
    def submit(self, job: Job) -> Submission:
        submission = super().submit(job)
        return submission if job.slots is not None else Submission(ref=JobRef("101"))


class RunsAtHome(_Submits):
    def change(self, job: Job) -> Job:
        return replace(job, cwd="/")


class OwnUmask(MemoryCluster):
    def __init__(self) -> None:
        super().__init__(program=lambda start: act(replace(start, umask=0o022)))


class DropsOutput(_Submits):
    def change(self, job: Job) -> Job:
        return replace(job, log=os.devnull)


class StuckWithoutLog(_Answers):
    def submit(self, job: Job) -> Submission:
        self.held = not os.path.isdir(os.path.dirname(job.log))
        return super().submit(job)

    def change(self, ref: JobRef, status: JobStatus) -> JobStatus:
        return replace(status, reason="")


class RefusesAndRuns(MemoryCluster):
    """Refuses a job whose log cannot be written, or that waits for an ended one, and runs it all the same."""

    def submit(self, job: Job) -> Submission:
        lost = not os.path.isdir(os.path.dirname(job.log))
        late = any(status.state.ended for status in super().query(job.after).values())
        submission = super().submit(replace(job, log=os.devnull if lost else job.log))
        if lost or late:
            raise ExecutorError("refused")
        return submission


# -- asking --


class MixesUp(MemoryCluster):
    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        found = super().query(jobs)
        return dict(zip(found, reversed(list(found.values())), strict=True))


class LeavesOut(MemoryCluster):
    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        return dict(list(super().query(jobs).items())[:1])


class AnswersForAllSlots(MemoryCluster):
    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        return super().query([JobRef(ref.id) for ref in jobs])


class UnknownIsSuccess(_Answers):
    def change(self, ref: JobRef, status: JobStatus) -> JobStatus:
        return replace(status, state=JobState.SUCCESS) if status.state is JobState.UNKNOWN else status


class UnknownIsAnError(MemoryCluster):
    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        if any(ref.id not in self._slots for ref in jobs):
            raise ExecutorError("slurm_load_jobs error: Invalid job id specified")
        return super().query(jobs)


class AnswersUnasked(MemoryCluster):
    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        return super().query(jobs) if jobs else {JobRef("1"): JobStatus(state=JobState.UNKNOWN)}


class AsksForEach(MemoryCluster):
    def query(self, jobs: Sequence[JobRef]) -> Mapping[JobRef, JobStatus]:
        return {ref: status for job in jobs for ref, status in super(AsksForEach, self).query([job]).items()}


class SubmitsEachSlot(MemoryCluster):
    def submit(self, job: Job) -> Submission:
        self.calls["submit"] += (job.slots or 1) - 1
        return super().submit(job)


class CancelsOneByOne(MemoryCluster):
    def cancel(self, jobs: Sequence[JobRef]) -> None:
        for ref in jobs:
            super().cancel([ref])


# -- finding --


class _Finds(MemoryCluster):
    ended: ClassVar[bool]

    def find(self, tags: Collection[str]) -> Mapping[str, JobRef]:
        found = super().find(tags)
        return {
            tag: ref
            for tag, ref in found.items()
            if all(slot.state.ended is self.ended for slot in self._slots[ref.id])
        }


class FindsOnlyEnded(_Finds):
    ended = True


class FindsOnlyLive(_Finds):
    ended = False


class FindsBeginnings(MemoryCluster):
    def find(self, tags: Collection[str]) -> Mapping[str, JobRef]:
        every = {slots[0].job.tag: JobRef(number) for number, slots in self._slots.items()}
        return {tag: ref for tag in tags for known, ref in every.items() if known.startswith(tag)}


class FindsAnother(MemoryCluster):
    def find(self, tags: Collection[str]) -> Mapping[str, JobRef]:
        return dict.fromkeys(super().find(tags), JobRef("7"))


class FindsAnotherSlot(FindsAnother):
    def __init__(self) -> None:
        super().__init__(separate=True)


class ShortNames(MemoryCluster):
    def submit(self, job: Job) -> Submission:
        if len(job.name) > 63:
            raise ExecutorError("illegal -N value")
        return super().submit(job)


# -- ending --


class CancelledLooksFailed(_Answers):
    def change(self, ref: JobRef, status: JobStatus) -> JobStatus:
        return replace(status, state=JobState.FAILED) if status.state is JobState.CANCELLED else status


class CancelIsDeaf(MemoryCluster):
    def cancel(self, jobs: Sequence[JobRef]) -> None:
        self.calls["cancel"] += 1


class CancelOnlySays(MemoryCluster):
    """Says that it was cancelled, while the script goes on."""

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        for ref in jobs:
            for slot in self._slots.get(ref.id, ()):
                play, slot.play = slot.play, None
                super().cancel([ref])
                for _ in play or ():
                    pass


class CancelStarts(MemoryCluster):
    """Starts what is pending when it is cancelled."""

    def cancel(self, jobs: Sequence[JobRef]) -> None:
        for ref in jobs:
            for slot in self._slots.get(ref.id, ()):
                if slot.state is JobState.PENDING:
                    self._start(slot)
        super().cancel(jobs)
        for ref in jobs:
            for slot in self._slots.get(ref.id, ()):
                self._end(slot, JobState.CANCELLED, Died(signal=15))


class CancelsAllSlots(MemoryCluster):
    def cancel(self, jobs: Sequence[JobRef]) -> None:
        super().cancel([JobRef(ref.id) for ref in jobs])


class CancelOfUnknownIsAnError(MemoryCluster):
    def cancel(self, jobs: Sequence[JobRef]) -> None:
        if any(ref.id not in self._slots for ref in jobs):
            raise ExecutorError("qdel: Unknown Job Id")
        super().cancel(jobs)


class CancelRewritesHistory(MemoryCluster):
    def cancel(self, jobs: Sequence[JobRef]) -> None:
        super().cancel(jobs)
        for ref in jobs:
            for slot in self._slots.get(ref.id, ()):
                slot.state = JobState.CANCELLED


class CancelStopsAtUnknown(MemoryCluster):
    def cancel(self, jobs: Sequence[JobRef]) -> None:
        if all(ref.id in self._slots for ref in jobs):
            super().cancel(jobs)


# -- order --


class CancelsTheFirstOnly(MemoryCluster):
    def cancel(self, jobs: Sequence[JobRef]) -> None:
        super().cancel(jobs[:1])


class RequeueIsUnknown(MemoryCluster):
    def submit(self, job: Job) -> Submission:
        if "requeue" in job.options:
            raise ExecutorError("no such option: requeue")
        return super().submit(job)


class NoThrottle(_Submits):
    def change(self, job: Job) -> Job:
        return replace(job, throttle=None)


class ThrottleDrops(_Submits):
    """Runs only as many slots as may run at once."""

    def change(self, job: Job) -> Job:
        return job

    def _start(self, slot: Any) -> None:
        if slot.job.throttle and slot.number >= slot.job.throttle:
            self._end(slot, JobState.SUCCESS, Died(exit_code=0))
        else:
            super()._start(slot)


class NoDependencies(_Submits):
    def change(self, job: Job) -> Job:
        return replace(job, after=())


class AfterSuccess(MemoryCluster):
    """A job that waits for a failed one is cancelled, as with afterok."""

    def _start(self, slot: Any) -> None:
        if any(other.state is JobState.FAILED for ref in slot.job.after for other in self._depended(ref)):
            self._end(slot, JobState.CANCELLED, Died(failure_class=FailureClass.CANCELLED))
        else:
            super()._start(slot)


class AfterEndedWaits(MemoryCluster):
    def submit(self, job: Job) -> Submission:
        self.held = any(status.state.ended for status in super().query(job.after).values())
        return super().submit(job)


class AfterTheLastOnly(_Submits):
    def change(self, job: Job) -> Job:
        return replace(job, after=job.after[-1:])


class AfterTheFirstOnly(_Submits):
    def change(self, job: Job) -> Job:
        return replace(job, after=job.after[:1])


class NoBegin(_Submits):
    def change(self, job: Job) -> Job:
        return replace(job, begin=None)


BROKEN: list[tuple[Callable[[], MemoryCluster], list[str]]] = [
    (WithoutFind, ["is_an_executor"]),
    (Nameless, ["is_an_executor"]),
    (Limitless, ["limits_are_sane"]),
    (NothingFits, ["limits_are_sane"]),
    (OddLimits, ["limits_are_sane"]),
    (SettingsAreNoJson, ["settings_round_trip"]),
    (RebuiltForgets, ["settings_round_trip"]),
    (RebuiltDiffers, ["settings_round_trip"]),
    (SuccessLooksFailed, ["single", "array_slots_are_dense_from_0", "array_of_one", "each_slot_ends_in_its_own_way"]),
    (NeverStarts, ["single", "log"]),
    (SlotsFromOne, ["array_slots_are_dense_from_0", "array_of_one"]),
    (OneSlotIsSingle, ["array_of_one"]),
    (NoExitCodes, ["exit_code", "each_slot_ends_in_its_own_way", "query_many", "query_one_slot"]),
    (FailureIsSuccess, ["exit_code", "signal", "each_slot_ends_in_its_own_way"]),
    (SignalsAreLost, ["signal"]),
    (OneFailsAllFail, ["each_slot_ends_in_its_own_way"]),
    (EndsAreForgotten, ["an_end_is_final"]),
    (ReferencesAreReused, ["each_job_has_a_reference_of_its_own"]),
    (RunsAtHome, ["working_directory"]),
    (OwnUmask, ["umask"]),
    (DropsOutput, ["log"]),
    (StuckWithoutLog, ["log_in_a_missing_directory"]),
    (RefusesAndRuns, ["log_in_a_missing_directory", "after_an_ended_job"]),
    (MixesUp, ["query_many", "query_unknown"]),
    (LeavesOut, ["query_many", "query_unknown", "array_slots_are_dense_from_0"]),
    (AnswersForAllSlots, ["query_one_slot"]),
    (UnknownIsSuccess, ["query_unknown"]),
    (UnknownIsAnError, ["query_unknown"]),
    (AnswersUnasked, ["query_of_nothing"]),
    (AsksForEach, ["query_calls_are_fixed"]),
    (SubmitsEachSlot, ["submit_calls_are_fixed"]),
    (CancelsOneByOne, ["cancel_calls_are_fixed"]),
    (FindsOnlyEnded, ["find_live"]),
    (FindsOnlyLive, ["find_finished"]),
    (FindsBeginnings, ["find_absent"]),
    (FindsAnother, ["find_live", "find_finished"]),
    (FindsAnotherSlot, ["find_finished"]),
    (ShortNames, ["long_names"]),
    (CancelledLooksFailed, ["cancel_running", "cancel_pending", "cancel_one_slot", "cancel_finished_and_unknown"]),
    (CancelIsDeaf, ["cancel_running", "cancel_pending", "cancel_one_slot", "cancel_pending_slot"]),
    (CancelOnlySays, ["cancel_running"]),
    (CancelStarts, ["cancel_pending"]),
    (CancelsAllSlots, ["cancel_one_slot", "cancel_some_slots"]),
    (CancelsTheFirstOnly, ["cancel_some_slots", "cancel_finished_and_unknown"]),
    (RequeueIsUnknown, ["may_be_run_again"]),
    (CancelOfUnknownIsAnError, ["cancel_finished_and_unknown"]),
    (CancelRewritesHistory, ["cancel_finished_and_unknown"]),
    (CancelStopsAtUnknown, ["cancel_finished_and_unknown"]),
    (NoThrottle, ["throttle"]),
    (ThrottleDrops, ["throttle"]),
    (NoDependencies, ["after", "after_a_failed_job", "after_several"]),
    (AfterSuccess, ["after_a_failed_job"]),
    (AfterEndedWaits, ["after_an_ended_job"]),
    (AfterTheLastOnly, ["after_several"]),
    (AfterTheFirstOnly, ["after_many"]),
    (NoBegin, ["begin"]),
]


@pytest.mark.parametrize(
    ("broken", "check"),
    [pytest.param(broken, check, id=f"{broken.__name__}-{check}") for broken, checks in BROKEN for check in checks],
)
def test_the_check_fails(broken: Callable[[], MemoryCluster], check: str, tmp_path: Path) -> None:
    def run(executor: MemoryCluster, directory: Path) -> None:
        directory.mkdir()
        method = getattr(_Suite(), f"test_{check}")
        given: dict[str, Any] = {"executor": executor, "directory": directory, "slots": None}
        method(**{name: given[name] for name in inspect.signature(method).parameters})

    run(MemoryCluster(), tmp_path / "whole")
    with pytest.raises((AssertionError, ExecutorError)):
        run(broken(), tmp_path / "broken")


def test_each_check_is_shown_to_fail() -> None:
    every = {name.removeprefix("test_") for name in dir(ExecutorConformance) if name.startswith("test_")}
    assert every == {check for _, checks in BROKEN for check in checks}
