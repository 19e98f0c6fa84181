"""The last worker of a group goes on with the run; whatever happens to it, the wake-up does."""

from __future__ import annotations

import contextlib
import os
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow import Run
from reflow.batch.dialect import Dialect
from reflow.errors import ExecutorError
from reflow.model import layout
from reflow.model.frames import parse
from reflow.model.job import Job, Limits, Submission
from reflow.model.record import Awaited, JobSpec
from reflow.model.resources import Resources
from reflow.run.drive import advance, wakeup_main
from reflow.run.journal.lease import Lease, Watch, latest, owner
from reflow.testing import Died, MemoryCluster, Start
from reflow.worker import main as worker
from reflow.worker import relay
from reflow.worker.tags import VOID, create, read

FAN = """
@wf.job()
def make() -> list[int]:
    note("make")
    return [1, 2, 3, 4, 5]

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    note("work", x)
    return x * x

@wf.job()
def total(xs: Annotated[list[int], Result(step="work")]) -> int:
    note("total")
    return sum(xs)
"""
RAN = ["make", "total", *(f"work {x}" for x in range(1, 6))]


# --- who is the last -----------------------------------------------------------------------------------------------


@given(count=st.integers(1, 70), chance=st.randoms(use_true_random=False), again=st.lists(st.integers(0, 69)))
def test_the_last_one_knows(count: int, chance: random.Random, again: list[int]) -> None:
    """Whoever is started again, and whenever: nobody gets through before all have come, and the last one does."""
    order = list(range(count))
    chance.shuffle(order)
    arrivals = [*order, *(number % count for number in again)]
    first = arrivals[:count]
    rest = arrivals[count:]
    for number in rest:
        first.insert(chance.randrange(len(first) + 1), number)
    with tempfile.TemporaryDirectory() as place:
        seen: set[int] = set()
        through = []
        for number in first:
            seen.add(number)
            if relay.last(place, number, count):
                assert len(seen) == count, "too early"
                through.append(number)
        assert through, "nobody"
        if not rest:
            assert through == [order[-1]]


@given(st.integers(2, 70), st.randoms(use_true_random=False), st.data())
def test_a_worker_that_is_lost_leaves_it_to_the_wake_up(count: int, chance: random.Random, data: st.DataObject) -> None:
    order = list(range(count))
    chance.shuffle(order)
    lost = data.draw(st.sampled_from(order))
    with tempfile.TemporaryDirectory() as place:
        assert not any(relay.last(place, number, count) for number in order if number != lost)


def test_what_it_costs_is_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two creates for each worker, all in all, and log2(N) for the unluckiest."""
    count, made = 1000, Counter[int]()
    symlink = os.symlink

    def counting(word: str, place: str) -> None:
        made[int(word)] += 1
        symlink(word, place)

    monkeypatch.setattr(os, "symlink", counting)
    order = list(range(count))
    random.Random(1).shuffle(order)
    assert [relay.last(str(tmp_path), number, count) for number in order].count(True) == 1
    directories = sum(len(names) for _, names, _ in os.walk(tmp_path))
    assert sum(made.values()) <= 2 * count + directories
    assert max(made.values()) <= 10 + 2
    assert max(len(files) for _, _, files in os.walk(tmp_path)) <= layout.FANOUT


def test_a_file_system_that_refuses_leaves_it_to_the_wake_up(tmp_path: Path) -> None:
    (tmp_path / "relay").write_text("no directory")
    assert relay.due(str(tmp_path), spec(), 0, 2, 0.0) == []


def spec(**asked: Any) -> JobSpec:
    return JobSpec(
        tag="tag",
        run_id="r",
        task="t",
        array=True,
        elements="0",
        attempt=1,
        inputs="",
        generation=1,
        resources=Resources(**asked),
        relay=True,
    )


@pytest.mark.parametrize("early", [0, 1, 2])
def test_jobs_that_end_before_their_list_is_written_count_for_the_last(tmp_path: Path, early: int) -> None:
    """Of three jobs, so many have ended before it is known which wake-up waits for them: the last one goes on."""
    root, tags = str(tmp_path), ["ta", "tb", "tc"]
    jobs = [msgspec.structs.replace(spec(), tag=tag) for tag in tags]

    def ends(number: int) -> list[str]:
        return relay.due(root, jobs[number], 0, 1, 0.0)

    assert [ends(number) for number in range(early)] == [[]] * early
    (tmp_path / "jobs").mkdir()
    for position, tag in enumerate(tags):
        told = [Awaited(wake="wake", position=position, count=3)]
        Path(layout.wakes(root, tag)).write_bytes(msgspec.json.encode(told))
        relay.count(root, tag, told)
    assert [ends(number) for number in range(early, 3)] == [*[[]] * (2 - early), ["wake"]]


@pytest.mark.parametrize(
    ("asked", "fit"),
    [({}, True), ({"time": 3600}, True), ({"time": 60}, False)],
)
def test_a_job_with_little_left_does_not_go_on(tmp_path: Path, asked: dict[str, int], fit: bool) -> None:
    import time

    (tmp_path / "jobs").mkdir()
    Path(layout.wakes(str(tmp_path), "tag")).write_bytes(b'[{"wake":"w","position":0,"count":1}]')
    assert relay.due(str(tmp_path), spec(**asked), 0, 1, time.time() - 45) == (["w"] if fit else [])


@pytest.mark.parametrize(("mem", "relays"), [("1G", 3), ("50M", 2)])
def test_a_job_with_little_memory_does_not_go_on(lab: Any, play: Play, mem: str, relays: int) -> None:
    lab.edit("@wf.array_job()", f"@wf.array_job(mem={mem!r})")
    run = submit(lab, play)
    finish(lab, play, run)
    assert play.seen["relay"] == relays
    assert play.seen["wake-up"] == 3 - relays


# --- whole runs ----------------------------------------------------------------------------------------------------


class Play:
    """Plays jobs: workers in forked processes; wake-ups, and what last workers become, in this one."""

    def __init__(self, **kwargs: Any) -> None:
        self.cluster = MemoryCluster(program=self.program, places=64, **kwargs)
        #: what happened: "worker TASK", "relay", "wake-up", "spare wake-up"
        self.seen: Counter[str] = Counter()
        #: what happens in place of a relay
        self.relay: Callable[[str, list[str]], None] = lambda root, wakes: advance.relay(root, wakes, self.cluster)

    def program(self, start: Start) -> Generator[float, None, int | Died | None]:
        job = start.job
        root = job.script.partition("/scripts/")[0]
        if job.spec is None:
            if read(layout.tag(root, job.tag)) == VOID:
                self.seen["spare wake-up"] += 1
            else:
                self.seen["wake-up"] += 1
                advance.wake(root, job.tag, self.cluster)
            return 0
        self.seen[f"worker {job.spec.task}"] += 1
        wakes = self.work(root, job.tag, start)
        if wakes:
            self.seen["relay"] += 1
            self.relay(root, wakes)
        yield 1.0
        return 0

    @staticmethod
    def work(root: str, tag: str, start: Start) -> list[str]:
        inner, outer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.environ["REFLOW_JOB_ID"] = start.ref.id
                os.write(outer, msgspec.json.encode(worker.slot(root, tag, start.slot)))
            finally:
                os._exit(0)
        os.close(outer)
        with open(inner, "rb") as stream:
            said = stream.read()
        os.waitpid(pid, 0)
        return msgspec.json.decode(said, type=list[str])


@pytest.fixture
def play(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Play:
    lab.write(FAN)
    monkeypatch.setattr(advance.time, "sleep", lambda seconds: None)
    return Play()


def submit(lab: Any, play: Play) -> Run:
    play.cluster.held = True
    run = lab.flow.submit(lab.run_dir, executor=play.cluster)
    assert isinstance(run, Run)
    play.cluster.held = False
    return run


def finish(lab: Any, play: Play, run: Run) -> None:
    play.cluster.drain()
    assert run.state.value == "SUCCESS", run.status()
    assert run.result("total") == 55
    assert lab.ran() == RAN
    assert not play.cluster.order(), "nothing is left in the queue"


def events(run: Run, kind: str) -> list[dict[str, Any]]:
    found = []
    for path in sorted(Path(run.root, "events").rglob("*.log")):
        payloads, _ = parse(path.read_bytes())
        found += [msgspec.json.decode(payload) for payload in payloads]
    return [event for event in found if event["k"] == kind]


def test_no_stage_waits_for_a_wake_up(lab: Any, play: Play) -> None:
    run = submit(lab, play)
    finish(lab, play, run)
    assert play.seen["relay"] == 3, "one for each stage"
    assert not play.seen["wake-up"], "each wake-up found that its work was done"
    assert play.cluster.calls == {"submit": 6, "cancel": 1}, "three jobs and their wake-ups; the last one taken back"


def test_wake_ups_alone(lab: Any, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be switched off."""
    monkeypatch.setenv("REFLOW_DISPATCH_FAST_ADVANCE", "false")
    run = submit(lab, play)
    finish(lab, play, run)
    assert play.seen["wake-up"] == 3
    assert not play.seen["relay"]
    assert play.cluster.calls == {"submit": 6}
    assert not Path(run.root, "relay").exists()


@pytest.mark.parametrize("step", ["begin", "_step", "relieve", "close"])
def test_what_kills_the_advance_is_mended_by_the_wake_up(
    lab: Any, play: Play, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A process that dies at any moment has left its wake-up, which goes on."""

    class Killed(BaseException):
        pass

    def dies(root: str, wakes: list[str]) -> None:
        def die(*args: Any, **kwargs: Any) -> Any:
            raise Killed

        with monkeypatch.context() as patch:
            if step == "begin":
                return
            if step == "_step":
                patch.setattr(advance, "_step", die)
            elif step == "relieve":
                patch.setattr("reflow.run.jobs.submissions.Scheduler.relieve", die)
            else:
                patch.setattr(advance, "void", die)
            with contextlib.suppress(Killed):
                advance.relay(root, wakes, play.cluster)

    play.relay = dies
    run = submit(lab, play)
    finish(lab, play, run)
    if step in ("begin", "_step"):  # nothing had been done
        assert play.seen["wake-up"] == 3


def test_a_node_that_cannot_submit_leaves_it_to_the_wake_up(lab: Any, play: Play) -> None:
    """What is refused to a worker has not failed; and no other worker tries."""
    real = play.cluster.submit

    def refuse(job: Job) -> Submission:
        raise ExecutorError("Access/permission denied")

    def refused(root: str, wakes: list[str]) -> None:
        play.cluster.submit = refuse  # type: ignore[method-assign]
        advance.relay(root, wakes, play.cluster)
        play.cluster.submit = real  # type: ignore[method-assign]

    play.relay = refused
    run = submit(lab, play)
    finish(lab, play, run)
    assert play.seen["relay"] == 1
    assert play.seen["wake-up"] == 3
    assert [event["relay"] for event in events(run, "barred")] == [True]
    assert not events(run, "failed")


@pytest.mark.parametrize("bound", [None, 5])
def test_a_scheduler_that_has_no_room_for_the_next_wake_up(
    lab: Any, monkeypatch: pytest.MonkeyPatch, bound: int | None
) -> None:
    """Then the one that was to wake the run by itself is left to do so; without it nobody would."""
    monkeypatch.setattr(advance.time, "sleep", lambda seconds: None)
    play = Play(limits=Limits(visibility_lag=0.0, max_array=2, max_submitted=bound))
    lab.write(FAN)
    real = play.cluster.submit

    def refuse(job: Job) -> Submission:
        if job.spec is None:
            raise ExecutorError("too many jobs are queued", full=True)
        return real(job)

    def refused(root: str, wakes: list[str]) -> None:
        play.cluster.submit = refuse  # type: ignore[method-assign]
        advance.relay(root, wakes, play.cluster)
        play.cluster.submit = real  # type: ignore[method-assign]
        play.relay = lambda root, wakes: None  # who comes later does not live to go on

    play.relay = refused
    run = submit(lab, play)
    finish(lab, play, run)
    assert play.seen["wake-up"] >= 2
    assert not events(run, "failed")


def test_a_scheduler_that_is_away_for_a_moment(lab: Any, play: Play) -> None:
    """Then the wake-up goes on, and later workers do again."""
    run = submit(lab, play)
    play.cluster.break_down("submit")
    finish(lab, play, run)
    assert play.seen["relay"] == 3
    assert play.seen["wake-up"] == 1
    assert not events(run, "barred")


def test_several_jobs_that_one_wake_up_waits_for(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last worker of the last of them goes on."""
    monkeypatch.setattr(advance.time, "sleep", lambda seconds: None)
    play = Play(limits=Limits(visibility_lag=0.0, max_array=2))
    lab.write(FAN)
    run = submit(lab, play)
    finish(lab, play, run)
    assert play.seen["relay"] == 3
    assert not play.seen["wake-up"]


def test_a_relay_that_finds_another_advance_leaves_it_to_the_wake_up(
    lab: Any, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advance, "BRIEF", 0.0)
    held: list[Lease] = []

    def meets(root: str, wakes: list[str]) -> None:
        lease = Lease.acquire(root)
        assert lease is not None
        advance.relay(root, wakes, play.cluster)
        lease.release()
        held.append(lease)

    play.relay = meets
    run = submit(lab, play)
    finish(lab, play, run)
    assert held
    assert play.seen["wake-up"] == 3


def test_a_failed_element_is_retried_by_the_last_worker(lab: Any, play: Play) -> None:
    lab.edit("@wf.array_job()", "@wf.array_job(retries=1)")
    lab.edit(
        '    note("work", x)', '    if x == 3 and reflow.context().attempt == 1: raise ValueError\n    note("work", x)'
    )
    run = submit(lab, play)
    finish(lab, play, run)
    assert play.seen["relay"] == 4
    assert not play.seen["wake-up"]


# --- the process ----------------------------------------------------------------------------------------------------


def test_a_spare_wake_up_ends_at_once(tmp_path: Path) -> None:
    """It looks at one file; there is not even a run."""
    (tmp_path / "tags").mkdir()
    create(layout.tag(str(tmp_path), "w"), VOID)
    assert wakeup_main.main([str(tmp_path), "w"]) == 0


def test_what_a_spare_wake_up_imports() -> None:
    import subprocess
    import sys

    # What measures coverage has imported some of them already.
    name = "reflow.run.drive.wakeup_main"
    code = f"import sys; before = set(sys.modules); import {name}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {
        "reflow.run.engine.engine",
        "reflow.plugins",
        "pluggy",
        "subprocess",
        "sqlite3",
        "reflow.config",
        "msgspec",
    }


def test_the_job_of_a_worker_does_not_fail_for_the_advance(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text("damaged")
    assert wakeup_main.main(["--last", str(tmp_path), "w"]) == 0
    assert "run.json is damaged" in capfd.readouterr().err
    assert wakeup_main.main([str(tmp_path), "w"]) == 1


def test_a_worker_becomes_the_advance(tmp_path: Path) -> None:
    """For real: another program in the same process; what it says goes to the wake-up's log."""
    root = str(tmp_path)
    (tmp_path / "run.json").write_text("damaged")
    os.makedirs(os.path.dirname(layout.job_log(root, "wake")))
    pid = os.fork()
    if not pid:
        try:
            relay.become(root, ["wake"])
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "run.json is damaged" in Path(layout.job_log(root, "wake")).read_text()


def test_a_lease_whose_holder_has_ended_says_the_scheduler(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wake-up of a last worker need not wait for the whole expiry; nobody else may be as quick."""
    lab.write(FAN)
    run = lab.run()
    lease = Lease.acquire(run.root, wakes=("w",), beat=0.1)
    assert lease is not None
    monkeypatch.setattr("reflow.run.journal.lease.os.kill", lambda *_: None)  # as if it had run on another host
    lease._stop.set()
    lease._thread.join()
    assert Lease.acquire(run.root, wakes=("w",), watch=Watch(), patience=1.0, beat=0.1) is None
    assert Lease.acquire(run.root, wakes=("other",), woken=True, watch=Watch(), patience=1.0, beat=0.1) is None
    taken = Lease.acquire(run.root, wakes=("w",), woken=True, patience=30.0, beat=0.1)
    assert taken is not None
    assert owner(run.root, latest(run.root)).wakes == ("w",)
    taken.release()


def test_sigterm_gives_the_lease_back(lab: Any, play: Play) -> None:
    """A job that is cancelled in the midst of its advance leaves nobody waiting for its lease."""
    import signal

    codes: list[int] = []

    def killed(root: str, wakes: list[str]) -> None:
        pid = os.fork()
        if not pid:
            try:
                signal.signal(signal.SIGTERM, wakeup_main._leave)
                signal.setitimer(signal.ITIMER_REAL, 60)
                play.cluster.submit = lambda job: os.kill(os.getpid(), signal.SIGTERM)  # type: ignore
                advance.relay(root, wakes, play.cluster)
                os._exit(0)
            except SystemExit as error:
                os._exit(int(str(error.code)))
            finally:
                os._exit(1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert owner(root, latest(root)).released

    play.relay = killed
    run = submit(lab, play)
    finish(lab, play, run)
    assert codes == [128 + signal.SIGTERM] * 2 + [0], "the last one has nothing to submit"


@pytest.mark.parametrize(
    ("words", "elsewhere"),
    [
        ("sbatch: error: Submission is not possible from compute nodes", True),
        ("sbatch: error: invalid partition specified: nowhere", False),
        ("qsub: Unknown queue", False),
    ],
)
def test_what_schedulers_say_to_who_may_not_submit(words: str, elsewhere: bool) -> None:
    assert (re.search(Dialect.elsewhere, words) is not None) is elsewhere
