"""The conformance suite: what reflow relies on in an executor, as tests."""

from __future__ import annotations

import itertools
import json
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from ..errors import ReflowError
from ..model.job import Executor, Job, JobRef, JobState, JobStatus, Limits, Submission
from ..model.names import FailureClass
from ..model.resources import Resources
from ..model.task import JSON
from ..plugin import Context
from .probe import Probe

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class ExecutorConformance:
    """Tests that every executor passes. Subclass it and define a fixture ``executor``.

    Class attributes and methods say what a test cannot know by itself:

    Attributes
    ----------
    timeout : float
        Seconds (as `advance` counts them) that a job may take to start and end.
    interval : float
        Seconds between two looks at a job.
    short, long : int
        Whole seconds that a job sleeps in order to overlap with others, and in order to be cancelled.
    options : mapping
        Options of each job, such as a queue.
    resources : Resources
        What each job asks for.
    shared : bool
        Whether an executor rebuilt by ``create(settings, context)`` knows the jobs of the first.
    concurrent : bool
        Whether jobs run beside the caller; False where they run inside of `query`, and are never seen running.
    """

    timeout: ClassVar[float] = 60.0
    interval: ClassVar[float] = 0.05
    short: ClassVar[int] = 1
    long: ClassVar[int] = 60
    options: ClassVar[Mapping[str, JSON]] = {}
    resources: ClassVar[Resources] = Resources()
    shared: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True

    # -- what a subclass may say otherwise --------------------------------------------------

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        """Where scripts, logs and evidence go: it must be the same directory where jobs run."""
        return tmp_path

    def advance(self, executor: Executor, seconds: float) -> None:
        """Let time pass. An executor with a clock of its own moves that one."""
        time.sleep(seconds)

    def calls(self, executor: Executor) -> int | None:
        """How often the scheduler has been called by this executor; None: not counted, such checks are skipped."""
        return None

    def context(self) -> Context:
        """What ``create(settings, context)`` is given."""
        return Context(environ=dict(os.environ), cwd=os.getcwd())

    def unknown(self) -> JobRef:
        """A well-formed reference to no job."""
        return JobRef("999999999")

    # -- helpers -----------------------------------------------------------------------------

    def probe(self, directory: Path, **what: Any) -> Probe:
        """A script that leaves evidence; for what it does see `Probe`."""
        return Probe(directory, f"probe-{secrets.token_hex(4)}", **what)

    def job(self, probe: Probe, *, tag: str | None = None, **changes: Any) -> Job:
        """A job that runs a probe."""
        tag = tag or "k" + "".join(secrets.choice(_ALPHABET) for _ in range(9))
        plain = Job(
            tag=tag,
            name=f"{tag}.probe",
            script=probe.script,
            options=self.options,
            resources=self.resources,
            log=f"{probe.out}.log",
            cwd=os.path.dirname(probe.out),
        )
        return msgspec.structs.replace(plain, **changes)

    def submit(self, executor: Executor, job: Job) -> Refs:
        """Submit, and check the answer's shape."""
        return Refs(job, executor.submit(job))

    def watch(
        self,
        executor: Executor,
        submitted: Sequence[Refs],
        until: Callable[[Mapping[JobRef, JobStatus]], bool],
        what: str,
    ) -> dict[JobRef, JobStatus]:
        """Query again and again until a condition holds, or fail after `timeout`."""
        refs = [ref for refs in submitted for ref in refs.asked]
        wanted = {ref for refs in submitted for ref in refs.each.values()}
        waited = 0.0
        while True:
            began = time.monotonic()
            answer = dict(executor.query(refs))
            # Some may be missing for a while: an array that is not known yet is answered as a whole, and a scheduler's
            # accounting may be away.
            known = {ref: answer[ref] for ref in wanted if ref in answer}
            if known.keys() == wanted and until(known):
                return known
            assert waited < self.timeout, f"{what}: not within {self.timeout} s; the last answer was {answer}"
            self.advance(executor, self.interval)
            waited += max(self.interval, time.monotonic() - began)

    def ends(self, executor: Executor, *submitted: Refs) -> dict[JobRef, JobStatus]:
        """Wait until all slots have ended."""
        return self.watch(
            executor, submitted, lambda known: all(status.state.ended for status in known.values()), "end"
        )

    def running(self, executor: Executor, submitted: Refs, probe: Probe) -> None:
        """Wait until all slots have left evidence of having started, and the scheduler says so."""
        self.watch(
            executor,
            [submitted],
            lambda known: (
                probe.started() >= submitted.each.keys()
                and all(status.state is JobState.RUNNING for status in known.values())
            ),
            "start",
        )

    def counted(self, executor: Executor, call: Callable[[], object]) -> int:
        """How many scheduler calls one call makes; skips the test where they are not counted."""
        before = self.calls(executor)
        if before is None:
            pytest.skip("scheduler calls are not counted: define calls()")
        call()
        after = self.calls(executor)
        assert after is not None
        return after - before

    # -- identity and settings ------------------------------------------------------------------

    def test_is_an_executor(self, executor: Executor) -> None:
        """It has every member of the protocol, and a name."""
        assert isinstance(executor, Executor), f"{type(executor).__name__} lacks a member of reflow.plugin.Executor"
        assert isinstance(executor.name, str), "its name is no string"
        assert executor.name, "its name is empty"

    def test_limits_are_sane(self, executor: Executor) -> None:
        """Limits are numbers that can be worked with."""
        limits = executor.limits
        assert isinstance(limits, Limits), "limits is no reflow.plugin.Limits"
        msgspec.convert(msgspec.to_builtins(limits), Limits)
        assert limits.array_base >= 0, "arrays begin below 0"
        for name in ("max_array", "max_submitted", "max_after"):
            value = getattr(limits, name)
            assert value is None or value >= 1, f"{name} is {value}: nothing could ever be submitted"
        assert math.isfinite(limits.visibility_lag), "visibility_lag is not finite"
        assert limits.visibility_lag >= 0, "visibility_lag is negative"

    def test_settings_round_trip(self, executor: Executor, directory: Path) -> None:
        """``create(settings, context)`` rebuilds it from what JSON keeps of its settings."""
        probe = self.probe(directory)
        refs = self.submit(executor, self.job(probe))
        self.ends(executor, refs)
        settings = json.loads(json.dumps(dict(executor.settings), allow_nan=False))
        assert settings == dict(executor.settings), "its settings are not the same after JSON"
        again = type(executor).create(settings, self.context())  # type: ignore[attr-defined]
        assert dict(again.settings) == dict(executor.settings), "the rebuilt executor has other settings"
        assert again.name == executor.name, "the rebuilt executor has another name"
        assert again.limits == executor.limits, "the rebuilt executor has other limits"
        if self.shared:
            assert self.ends(again, refs)[refs.first].state is JobState.SUCCESS, "the rebuilt executor knows no jobs"

    # -- running ------------------------------------------------------------------------------------

    def test_single(self, executor: Executor, directory: Path) -> None:
        """A single job runs once, as slot 0, and is SUCCESS with exit code 0 or none given."""
        probe = self.probe(directory)
        refs = self.submit(executor, self.job(probe))
        status = self.ends(executor, refs)[refs.first]
        assert status.state is JobState.SUCCESS, f"a script that exits with 0 is {status}"
        assert status.exit_code in (0, None), f"a script that exits with 0 is {status}"
        assert status.failure_class is None, f"a success has a failure class: {status}"
        assert probe.ended() == {0}, "the script did not come to its end, or had a slot other than 0"

    def test_array_slots_are_dense_from_0(self, executor: Executor, directory: Path) -> None:
        """An array of n has slots 0..n-1 in REFLOW_SLOT and in its statuses."""
        probe = self.probe(directory)
        refs = self.submit(executor, self.job(probe, slots=5))
        found = self.ends(executor, refs)
        assert probe.ended() == {0, 1, 2, 3, 4}, f"REFLOW_SLOT was in {sorted(probe.started())}, not in 0..4"
        assert all(status.state is JobState.SUCCESS for status in found.values()), f"not all succeeded: {found}"

    def test_array_of_one(self, executor: Executor, directory: Path) -> None:
        """An array of one slot is an array: it has slot 0."""
        probe = self.probe(directory)
        refs = self.submit(executor, self.job(probe, slots=1))
        status = self.ends(executor, refs)[refs.each[0]]
        assert status.state is JobState.SUCCESS, f"an array of one is {status}"
        assert probe.ended() == {0}, f"its slot was {sorted(probe.started())}, not 0"

    def test_exit_code(self, executor: Executor, directory: Path) -> None:
        """Exit code 3 is FAILED with exit code 3."""
        probe = self.probe(directory, exits={0: 3})
        refs = self.submit(executor, self.job(probe))
        status = self.ends(executor, refs)[refs.first]
        assert status.state is JobState.FAILED, f"a script that exits with 3 is {status}"
        assert status.exit_code == 3, f"a script that exits with 3 is {status}"
        assert status.failure_class in (FailureClass.EXIT, None), f"a script that exits with 3 is {status}"

    def test_signal(self, executor: Executor, directory: Path) -> None:
        """A script killed by SIGKILL is FAILED with signal 9, or exit code 137 as shells say it."""
        probe = self.probe(directory, signals={0: 9})
        refs = self.submit(executor, self.job(probe))
        status = self.ends(executor, refs)[refs.first]
        assert status.state is JobState.FAILED, f"a killed script is {status}"
        assert status.signal == 9 or status.exit_code == 137, f"a script killed by signal 9 is {status}"

    def test_each_slot_ends_in_its_own_way(self, executor: Executor, directory: Path) -> None:
        """One slot's failure is that slot's."""
        probe = self.probe(directory, exits={1: 4})
        refs = self.submit(executor, self.job(probe, slots=3))
        found = self.ends(executor, refs)
        states = [found[refs.each[slot]].state for slot in range(3)]
        assert states == [JobState.SUCCESS, JobState.FAILED, JobState.SUCCESS], f"slot 1 fails, but states are {states}"
        assert found[refs.each[1]].exit_code == 4, f"slot 1 exits with 4, but is {found[refs.each[1]]}"

    def test_an_end_is_final(self, executor: Executor, directory: Path) -> None:
        """An ended job's status stays as it is."""
        probe = self.probe(directory)
        refs = self.submit(executor, self.job(probe))
        first = self.ends(executor, refs)
        self.advance(executor, self.interval)
        assert self.ends(executor, refs) == first, "the status of an ended job has changed"

    def test_each_job_has_a_reference_of_its_own(self, executor: Executor, directory: Path) -> None:
        """No two submissions share a reference, and no slots either."""
        probes = [self.probe(directory) for _ in range(3)]
        shapes = zip(probes, (None, None, 2), strict=True)
        submitted = [self.submit(executor, self.job(probe, slots=slots)) for probe, slots in shapes]
        every = [ref for refs in submitted for ref in refs.each.values()]
        assert len(set(every)) == len(every), f"references are used twice: {every}"
        self.ends(executor, *submitted)

    def test_working_directory(self, executor: Executor, directory: Path) -> None:
        """A job starts in ``job.cwd``, whatever its name."""
        there = directory / "a dir, with 'odd' name"
        there.mkdir()
        probe = self.probe(directory)
        self.ends(executor, self.submit(executor, self.job(probe, cwd=str(there))))
        assert probe.evidence().cwd == os.path.realpath(there), f"it ran in {probe.evidence().cwd}"

    def test_umask(self, executor: Executor, directory: Path) -> None:
        """A job has the umask of the process that submitted it."""
        probe = self.probe(directory)
        before = os.umask(0o027)
        try:
            self.ends(executor, self.submit(executor, self.job(probe)))
        finally:
            os.umask(before)
        assert probe.evidence().umask == 0o027, f"its umask was {probe.evidence().umask:04o}, not 0027"

    def test_log(self, executor: Executor, directory: Path) -> None:
        """What a script prints is in ``job.log``."""
        probe = self.probe(directory, says="hello from the probe")
        job = self.job(probe)
        self.ends(executor, self.submit(executor, job))
        waited = 0.0
        while not self._said(job.log) and waited < self.timeout:
            self.advance(executor, self.interval)
            waited += self.interval
        assert self._said(job.log), f"{job.log} does not hold what the script printed"

    @staticmethod
    def _said(log: str) -> bool:
        try:
            with open(log) as stream:
                return "hello from the probe" in stream.read()
        except FileNotFoundError:
            return False

    def test_log_in_a_missing_directory(self, executor: Executor, directory: Path) -> None:
        """Where the log cannot be written, the job is refused, ends, or says what it waits for: never just stuck."""
        probe = self.probe(directory)
        job = self.job(probe, log=str(directory / "missing" / "job.log"))
        try:
            refs = self.submit(executor, job)
        except ReflowError:
            assert not probe.started(), "it was refused, and ran all the same"
            return
        self.watch(
            executor,
            [refs],
            lambda known: all(
                status.state.ended or (status.state is JobState.PENDING and bool(status.reason))
                for status in known.values()
            ),
            "end, or a reason for not starting",
        )
        executor.cancel(refs.asked)

    # -- asking -----------------------------------------------------------------------------------

    def test_query_many(self, executor: Executor, directory: Path) -> None:
        """One query answers for many jobs, each under its own reference."""
        probes = [self.probe(directory, exits={0: code}) for code in (0, 1, 2, 0, 5)]
        submitted = [self.submit(executor, self.job(probe)) for probe in probes]
        found = self.ends(executor, *submitted)
        codes = [found[refs.first].exit_code or 0 for refs in submitted]
        assert codes == [0, 1, 2, 0, 5], f"exit codes 0, 1, 2, 0, 5 were answered as {codes}"

    def test_query_one_slot(self, executor: Executor, directory: Path) -> None:
        """A slot can be asked for by itself."""
        probe = self.probe(directory, exits={1: 2})
        refs = self.submit(executor, self.job(probe, slots=2))
        self.ends(executor, refs)
        answer = executor.query([refs.each[1]])
        assert set(answer) == {refs.each[1]}, f"asked for slot 1, it answered for {sorted(answer)}"
        assert answer[refs.each[1]].exit_code == 2, f"slot 1 exits with 2, but is {answer[refs.each[1]]}"

    def test_query_unknown(self, executor: Executor, directory: Path) -> None:
        """A job that nobody knows is UNKNOWN, and does not keep the others from being answered."""
        probe = self.probe(directory)
        refs = self.submit(executor, self.job(probe))
        self.ends(executor, refs)
        ghost = self.unknown()
        answer = executor.query([ghost, refs.first])
        assert set(answer) == {ghost, refs.first}, f"asked for an unknown job and a known one, it answered {answer}"
        assert answer[ghost].state is JobState.UNKNOWN, f"an unknown job is {answer[ghost]}"
        assert answer[refs.first].state is JobState.SUCCESS, f"beside an unknown job it is {answer[refs.first]}"

    def test_query_of_nothing(self, executor: Executor) -> None:
        """No jobs, no answer."""
        assert dict(executor.query([])) == {}, "a query of nothing has an answer"

    def test_query_calls_are_fixed(self, executor: Executor, directory: Path) -> None:
        """A query takes the same number of scheduler calls for one job as for ten and an array; at most two."""
        submitted = [self.submit(executor, self.job(self.probe(directory))) for _ in range(10)]
        submitted.append(self.submit(executor, self.job(self.probe(directory), slots=3)))
        self.ends(executor, *submitted)
        refs = [ref for refs in submitted for ref in refs.asked]
        one = self.counted(executor, lambda: executor.query(refs[:1]))
        many = self.counted(executor, lambda: executor.query(refs))
        assert 1 <= one <= 2, f"a query of one job takes {one} calls"
        assert many <= max(one, 2), f"a query takes {one} calls for one job and {many} for {len(refs)}"

    def test_submit_calls_are_fixed(self, executor: Executor, directory: Path) -> None:
        """An array is submitted by as many scheduler calls as a single job, or by one more that tells its slots."""
        jobs = [self.job(self.probe(directory), slots=slots) for slots in (None, 2, 20)]
        submitted: list[Refs] = []
        one, few, many = (
            self.counted(executor, lambda job=job: submitted.append(self.submit(executor, job)))  # type: ignore[misc]
            for job in jobs
        )
        said = f"a single job takes {one} calls to submit, an array of 2 takes {few}, one of 20 {many}"
        assert many == few, said
        assert few <= one + 1, said
        self.ends(executor, *submitted)

    def test_cancel_calls_are_fixed(self, executor: Executor, directory: Path) -> None:
        """Many jobs are cancelled by as many scheduler calls as one."""
        probes = [self.probe(directory, seconds=self.long) for _ in range(6)]
        refs = [self.submit(executor, self.job(probe)) for probe in probes]
        self.watch(executor, refs, _all_known, "appear")
        one = self.counted(executor, lambda: executor.cancel([refs[0].first]))
        many = self.counted(executor, lambda: executor.cancel([ref.first for ref in refs[1:]]))
        assert many <= one, f"one job is cancelled by {one} calls, five are by {many}"
        self.ends(executor, *refs)

    # -- finding ----------------------------------------------------------------------------------

    def test_find_live(self, executor: Executor, directory: Path) -> None:
        """A pending or running job is found by its tag."""
        probe = self.probe(directory, seconds=self.long)
        refs = self.submit(executor, self.job(probe))
        self.watch(executor, [refs], _all_known, "appear")
        self._finds(executor, refs)
        executor.cancel(refs.asked)
        self.ends(executor, refs)

    def test_find_finished(self, executor: Executor, directory: Path) -> None:
        """An ended job is found by its tag, a failed one and an array as well."""
        probes = [self.probe(directory), self.probe(directory, exits={0: 3}), self.probe(directory)]
        shapes = zip(probes, (None, None, 2), strict=True)
        submitted = [self.submit(executor, self.job(probe, slots=slots)) for probe, slots in shapes]
        self.ends(executor, *submitted)
        self._finds(executor, *submitted)

    def test_find_absent(self, executor: Executor, directory: Path) -> None:
        """A tag of no job is not found, though another begins like it; it does not hide the others."""
        probe = self.probe(directory)
        refs = self.submit(executor, self.job(probe))
        self.ends(executor, refs)
        tag = refs.job.tag
        found = executor.find([tag[:-1], tag, f"{tag}x"])
        assert set(found) == {tag}, f"asked for {tag!r} and two others that are not there, it found {sorted(found)}"
        assert dict(executor.find([])) == {}, "a search for nothing has an answer"

    def _finds(self, executor: Executor, *submitted: Refs) -> None:
        found = executor.find([refs.job.tag for refs in submitted])
        for refs in submitted:
            assert refs.job.tag in found, f"the job with tag {refs.job.tag!r} was not found"
            ref = found[refs.job.tag]
            if refs.submission.ref is not None:
                assert ref == refs.submission.ref, f"{refs.job.tag!r} gave {ref}, not {refs.submission.ref}"
            else:
                assert isinstance(ref, Submission), f"{refs.job.tag!r} gave {ref}, and not all of its slots"
                assert ref.slots == refs.each, f"{refs.job.tag!r} gave {ref.slots}, not {refs.each}"

    def test_long_names(self, executor: Executor, directory: Path) -> None:
        """A long name, with every character that may be in one, is taken, and the tag at its head is found."""
        probe = self.probe(directory)
        job = self.job(probe)
        job = msgspec.structs.replace(job, name=f"{job.tag}.Pre_process-2.{'x' * 80}")
        refs = self.submit(executor, job)
        status = self.ends(executor, refs)[refs.first]
        assert status.state is JobState.SUCCESS, f"a job with a long name is {status}"
        self._finds(executor, refs)

    # -- ending -------------------------------------------------------------------------------------

    def test_cancel_running(self, executor: Executor, directory: Path) -> None:
        """A running job that is cancelled is CANCELLED, soon, and stops; again is no error."""
        if not self.concurrent:
            pytest.skip("jobs are never seen running here")
        probe = self.probe(directory, seconds=self.long)
        refs = self.submit(executor, self.job(probe))
        self.running(executor, refs, probe)
        executor.cancel(refs.asked)
        status = self.ends(executor, refs)[refs.first]
        assert status.state is JobState.CANCELLED, f"a cancelled job is {status}"
        executor.cancel(refs.asked)
        self.advance(executor, self.interval)
        assert not probe.ended(), "the script of a cancelled job went on to its end"

    def test_cancel_pending(self, executor: Executor, directory: Path) -> None:
        """A pending job that is cancelled is CANCELLED and never starts."""
        first, second = self.probe(directory, seconds=self.long), self.probe(directory)
        if not executor.limits.dependencies:
            pytest.skip("no dependency can keep a job pending here")
        ahead = self.submit(executor, self.job(first))
        refs = self.submit(executor, self.job(second, after=tuple(ahead.asked)))
        self.watch(executor, [ahead, refs], _all_known, "appear")
        executor.cancel(refs.asked)
        status = self.ends(executor, refs)[refs.first]
        assert status.state is JobState.CANCELLED, f"a job cancelled while pending is {status}"
        executor.cancel(ahead.asked)
        self.ends(executor, ahead)
        self.advance(executor, self.interval)
        assert not second.started(), "a job cancelled while pending has started"

    def test_cancel_one_slot(self, executor: Executor, directory: Path) -> None:
        """One slot can be cancelled; the others go on."""
        probe = self.probe(directory, seconds=math.ceil(executor.limits.visibility_lag) + 2 * self.short)
        refs = self.submit(executor, self.job(probe, slots=2))
        if self.concurrent:  # of a slot that is cancelled while it waits, several schedulers know nothing any more
            self.running(executor, refs, probe)
        executor.cancel([refs.each[1]])
        found = self.ends(executor, refs)
        assert found[refs.each[1]].state is JobState.CANCELLED, f"the cancelled slot is {found[refs.each[1]]}"
        assert found[refs.each[0]].state is JobState.SUCCESS, f"the slot beside it is {found[refs.each[0]]}"

    def test_cancel_some_slots(self, executor: Executor, directory: Path) -> None:
        """Some slots of an array, and another job, are cancelled by one call; the other slots go on."""
        probe = self.probe(directory, seconds=math.ceil(executor.limits.visibility_lag) + 2 * self.short)
        other = self.probe(directory, seconds=self.long)
        beside = self.submit(executor, self.job(other))
        if self.concurrent:
            self.running(executor, beside, other)
        refs = self.submit(executor, self.job(probe, slots=3))
        if self.concurrent:
            self.running(executor, refs, probe)
        executor.cancel([refs.each[0], *beside.asked, refs.each[2]])
        found = self.ends(executor, refs, beside)
        states = [found[refs.each[slot]].state for slot in range(3)]
        good, ended = JobState.SUCCESS, JobState.CANCELLED
        assert states == [ended, good, ended], f"slots 0 and 2 were cancelled, but the states are {states}"
        assert found[beside.first].state is ended, f"the job that was cancelled with them is {found[beside.first]}"

    def test_cancel_pending_slot(self, executor: Executor, directory: Path) -> None:
        """A slot that is cancelled while it waits never starts, and does not keep the others from ending."""
        if not executor.limits.throttle or not self.concurrent:
            pytest.skip("no throttle can keep a slot pending here")
        probe = self.probe(directory, seconds=math.ceil(executor.limits.visibility_lag) + 2 * self.short)
        refs = self.submit(executor, self.job(probe, slots=2, throttle=1))
        first = refs.each[0]
        self.watch(executor, [refs], lambda known: known[first].state is JobState.RUNNING, "start")
        executor.cancel([refs.each[1]])
        waited = 0.0
        while not probe.ended() and waited < self.timeout:
            self.advance(executor, self.interval)
            waited += self.interval
        self.advance(executor, 4 * self.interval)
        # Some schedulers do not tell any more of what was cancelled while it waited.
        status = executor.query(refs.asked).get(refs.each[1])
        assert status is None or status.state in (JobState.CANCELLED, JobState.UNKNOWN), (
            f"the cancelled slot is {status}"
        )
        assert probe.started() == {0}, f"slot 1 was cancelled while it waited, and slots {probe.started()} have started"

    def test_cancel_finished_and_unknown(self, executor: Executor, directory: Path) -> None:
        """What has ended, or is not known, is no error to cancel, and keeps its status; the others are cancelled."""
        probe, other = self.probe(directory), self.probe(directory, seconds=self.long)
        refs = self.submit(executor, self.job(probe))
        before = self.ends(executor, refs)
        live = self.submit(executor, self.job(other))
        if self.concurrent:
            self.running(executor, live, other)
        executor.cancel([*refs.asked, self.unknown(), *live.asked])
        executor.cancel([])
        status = self.ends(executor, live)[live.first]
        assert status.state is JobState.CANCELLED, f"a job cancelled beside an ended one is {status}"
        assert self.ends(executor, refs) == before, "cancelling an ended job has changed its status"

    # -- order ----------------------------------------------------------------------------------------

    def test_throttle(self, executor: Executor, directory: Path) -> None:
        """No more slots of an array run at once than its throttle says, and all come to run."""
        if not executor.limits.throttle:
            pytest.skip("this executor has no throttle: reflow splits the array")
        probe = self.probe(directory, seconds=self.short)
        refs = self.submit(executor, self.job(probe, slots=5, throttle=2))
        most = 0

        def look(known: Mapping[JobRef, JobStatus]) -> bool:
            nonlocal most
            started = probe.started()  # before ended(): a slot that ends in between is counted as running by neither
            most = max(most, len(started - probe.ended()))
            return _all_ended(known)

        self.watch(executor, [refs], look, "end")
        assert most <= 2, f"with throttle 2, {most} slots ran at once"
        assert probe.ended() == {0, 1, 2, 3, 4}, f"with throttle 2, only slots {sorted(probe.ended())} ran"

    @pytest.mark.parametrize("slots", [None, 3])
    def test_after(self, executor: Executor, directory: Path, slots: int | None) -> None:
        """A job starts after the end of the job, or of all slots of the array, that it waits for."""
        self._needs_dependencies(executor)
        first = self.probe(directory, seconds=self.short)
        second = self.probe(directory, requires=first.end_of((slots or 1) - 1))
        ahead = self.submit(executor, self.job(first, slots=slots, throttle=1 if executor.limits.throttle else None))
        refs = self.submit(executor, self.job(second, after=tuple(ahead.asked)))
        found = self.ends(executor, ahead, refs)
        assert found[refs.first].state is JobState.SUCCESS, f"the job that waited is {found[refs.first]}"
        assert second.evidence().required, "it started before the job that it waits for had ended"

    def test_after_a_failed_job(self, executor: Executor, directory: Path) -> None:
        """A job starts after the one that it waits for, however that one ends."""
        self._needs_dependencies(executor)
        first = self.probe(directory, seconds=self.short, exits={0: 3})
        second = self.probe(directory, requires=first.end_of())
        ahead = self.submit(executor, self.job(first))
        refs = self.submit(executor, self.job(second, after=tuple(ahead.asked)))
        found = self.ends(executor, ahead, refs)
        assert found[ahead.first].state is JobState.FAILED, f"the failing job is {found[ahead.first]}"
        assert found[refs.first].state is JobState.SUCCESS, f"the job that waited is {found[refs.first]}"
        assert second.evidence().required, "it started before the job that it waits for had ended"

    def test_after_an_ended_job(self, executor: Executor, directory: Path) -> None:
        """A job that waits for one that has ended starts, or is refused: it does not wait for ever."""
        self._needs_dependencies(executor)
        ahead = self.submit(executor, self.job(self.probe(directory)))
        self.ends(executor, ahead)
        probe = self.probe(directory)
        try:
            refs = self.submit(executor, self.job(probe, after=tuple(ahead.asked)))
        except ReflowError:
            assert not probe.started(), "it was refused, and ran all the same"
            return
        status = self.ends(executor, refs)[refs.first]
        assert status.state is JobState.SUCCESS, f"after an ended job, the job that waited is {status}"

    def test_after_several(self, executor: Executor, directory: Path) -> None:
        """A job waits for all that it names."""
        self._needs_dependencies(executor)
        if executor.limits.max_after == 1:
            pytest.skip("a job can wait for one other only")
        quick, slow = self.probe(directory), self.probe(directory, seconds=2 * self.short)
        last = self.probe(directory, requires=slow.end_of())
        ahead = [self.submit(executor, self.job(probe)) for probe in (slow, quick)]
        refs = self.submit(executor, self.job(last, after=tuple(itertools.chain(*(refs.asked for refs in ahead)))))
        self.ends(executor, *ahead, refs)
        assert last.evidence().required, "it started before all jobs that it waits for had ended"

    def test_after_many(self, executor: Executor, directory: Path) -> None:
        """A job waits for as many as the limits allow, arrays among them; a dozen of them is tried."""
        self._needs_dependencies(executor)
        count = min(executor.limits.max_after or 12, 12)
        slow = self.probe(directory, seconds=2 * self.short)
        last = self.probe(directory, requires=slow.end_of(1))
        ahead = [self.submit(executor, self.job(self.probe(directory))) for _ in range(count - 1)]
        ahead.append(self.submit(executor, self.job(slow, slots=2)))
        after = tuple(itertools.chain(*(refs.asked for refs in ahead)))
        if executor.limits.max_after is not None:
            after = after[-executor.limits.max_after :]
        refs = self.submit(executor, self.job(last, after=after))
        self.ends(executor, *ahead, refs)
        assert last.evidence().required, f"it started before all {len(after)} jobs that it waits for had ended"

    def test_may_be_run_again(self, executor: Executor, directory: Path) -> None:
        """A job that the scheduler may run again, as reflow's own small ones, is taken, and runs once."""
        probe = self.probe(directory)
        refs = self.submit(executor, self.job(probe, options={**self.options, "requeue": True}))
        status = self.ends(executor, refs)[refs.first]
        assert status.state is JobState.SUCCESS, f"a job that may be run again is {status}"
        assert probe.ended() == {0}, "it did not run"

    def test_begin(self, executor: Executor, directory: Path) -> None:
        """A job with a begin time does not start before."""
        if not executor.limits.begin:
            pytest.skip("this executor has no begin times")
        probe = self.probe(directory)
        refs = self.submit(executor, self.job(probe, begin=2.0 * self.short))
        self.advance(executor, self.short)
        executor.query(refs.asked)
        assert not probe.started(), "it started before its begin time"
        status = self.ends(executor, refs)[refs.first]
        assert status.state is JobState.SUCCESS, f"a job with a begin time is {status}"

    def _needs_dependencies(self, executor: Executor) -> None:
        if not executor.limits.dependencies:
            pytest.skip("this executor has no dependencies: reflow waits itself")


class Refs:
    """A submission: what to ask for, and what will be answered.

    Attributes
    ----------
    asked : list of JobRef
        References as a caller keeps them: one for a job, or one for each slot.
    each : dict of int to JobRef
        Slot -> the reference under which it is answered; slot 0 in a single job.
    """

    def __init__(self, job: Job, submission: Submission) -> None:
        self.job = job
        self.submission = submission
        ref, slots = submission.ref, submission.slots
        assert (ref is None) != (not slots), f"a submission has one reference, or one for each slot, not {submission}"
        if ref is None:
            assert job.slots is not None, "a single job has one reference"
            assert set(slots) == set(range(job.slots)), f"an array of {job.slots} has references for {sorted(slots)}"
            self.each = dict(slots)
            self.asked = list(slots.values())
        else:
            assert ref.slot is None, f"the reference of a whole job names a slot: {ref}"
            self.asked = [ref]
            numbers = range(0 if job.slots is None else job.slots)
            self.each = {slot: JobRef(ref.id, slot, ref.cluster) for slot in numbers} or {0: ref}

    @property
    def first(self) -> JobRef:
        """The reference of slot 0, or of the single job."""
        return self.each[0]


def _all_ended(known: Mapping[JobRef, JobStatus]) -> bool:
    return all(status.state.ended for status in known.values())


def _all_known(known: Mapping[JobRef, JobStatus]) -> bool:
    return all(status.state is not JobState.UNKNOWN for status in known.values())
