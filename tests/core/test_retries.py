"""Failed elements run again: which, when, with what, and how often; on a cluster in memory and on this machine."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow import LocalExecutor, Run
from reflow.errors import WorkflowError
from reflow.model.job import Job, Limits, Submission
from reflow.model.names import FailureClass
from reflow.model.ranges import from_ranges
from reflow.model.resources import Resources
from reflow.model.retry import Retry, Scale
from reflow.model.state import INFRASTRUCTURE, Tries
from reflow.planning.retry import scale, wait_before
from reflow.run.drive import advance
from reflow.testing import Died, MemoryCluster, Start
from reflow.worker import main as worker

GIB = 1 << 30

OOM = Died(signal=9, failure_class=FailureClass.OOM, reason="out of memory")
TIMEOUT = Died(signal=15, failure_class=FailureClass.TIMEOUT, reason="walltime exceeded")
PREEMPTED = Died(failure_class=FailureClass.PREEMPTED, reason="preempted")
NODE = Died(failure_class=FailureClass.NODE_FAIL, reason="the node has died")

ARRAY = """
@wf.job()
def make() -> list[int]:
    return list(range(6))

@wf.array_job({options})
def work(n: Annotated[int, Result(step="make")]) -> int:
    note("work", n, reflow.context().attempt)
    if flag(f"requeue.{{n}}.{{reflow.context().attempt}}"):
        raise reflow.Requeue
    if flag(f"raise.{{n}}.{{reflow.context().attempt}}"):
        raise ValueError
    return n

@wf.job()
def total(found: Annotated[list[int], Result(step="work")]) -> int:
    return sum(found)
"""


def wait_until(holds: Callable[[], Any], pid: int) -> None:
    """Wait for something that a worker does; kill the worker where it does not come."""
    until, pause = time.monotonic() + 30, Event()
    while not holds():
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail("a worker hangs")
        pause.wait(0.001)  # `time.sleep` is the cluster's


def ended(pid: int) -> int:
    """Wait for a worker's end, and return its status."""
    found: list[tuple[int, int]] = []

    def look() -> bool:
        found[:] = [os.waitpid(pid, os.WNOHANG)]
        return found[0][0] != 0

    wait_until(look, pid)
    return found[0][1]


class Cluster:
    """A run on a cluster in memory, whose clock is the run's too; workers are forked, wake-ups run in this process."""

    def __init__(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.cluster = MemoryCluster(program=self._play, places=64, limits=Limits(visibility_lag=0.0))
        #: (element, attempt) -> how a job dies before its worker says a word
        self.fate: Callable[[int, int], Died | None] = lambda index, attempt: None
        #: what the scheduler says of the first attempt, which it ends by SIGTERM
        self.ends: Died | None = None
        #: how often the scheduler starts a job again, under the same attempt, whose worker a signal has ended
        self.reruns = 0
        #: each job, and when it was submitted
        self.jobs: list[tuple[float, Job]] = []
        start, self._slept, submit = time.time(), 0.0, self.cluster.submit

        def note(job: Job) -> Submission:
            self.jobs.append((self.now, job))
            return submit(job)

        def sleep(seconds: float) -> None:
            self._slept += seconds

        monkeypatch.setattr(self.cluster, "submit", note)
        monkeypatch.setattr("reflow.run.service.api.executor_of", lambda *_: self.cluster)
        monkeypatch.setattr(time, "time", lambda: start + self.now)
        monkeypatch.setattr(time, "sleep", sleep)

    @property
    def now(self) -> float:
        return self.cluster.now + self._slept

    def run(self, source: str) -> Run:
        self.lab.write(source)
        run: Run = self.lab.flow.submit(self.lab.run_dir, executor=self.cluster)
        self.cluster.drain()
        assert run.state.ended, run.status()
        return run

    def sent(self, task: str = "work") -> list[tuple[float, Job, list[int]]]:
        """When each job of a task was submitted, the job, and its elements."""
        return [
            (at, job, list(from_ranges(job.spec.elements)))
            for at, job in self.jobs
            if job.spec is not None and job.spec.task == task
        ]

    def _play(self, start: Start) -> Generator[float, None, int | Died | None]:
        job = start.job
        root = job.script.partition("/scripts/")[0]
        if job.spec is None:
            advance.wake(root, job.tag, self.cluster)
            return 0
        yield 1.0
        if job.spec.task == "work":
            died = self.fate(from_ranges(job.spec.elements)[start.slot], job.spec.attempt)
            if died is not None:
                return died
        for _ in range(self.reruns):
            if os.WIFSIGNALED(ended(self._worker(root, start))):
                yield 1.0
        pid = self._worker(root, start)
        if self.ends is not None and job.spec.task == "work" and job.spec.attempt == 1:
            wait_until((self.lab.path / "up").exists, pid)
            os.kill(pid, signal.SIGTERM)
            ended(pid)
            return self.ends
        ended(pid)
        return 0

    def _worker(self, root: str, start: Start) -> int:
        pid = os.fork()
        if not pid:
            try:
                worker.slot(root, start.job.tag, start.slot)
            finally:
                os._exit(0)
        return pid


@pytest.fixture
def cluster(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(lab, monkeypatch)


def attempts(lab: Any) -> dict[int, int]:
    """How often each element was called."""
    return dict(Counter(int(line.split()[1]) for line in lab.ran()))


# --- on a cluster ------------------------------------------------------------------


def test_only_what_failed_is_sent_again_in_one_array_and_with_more(lab: Any, cluster: Cluster) -> None:
    cluster.fate = lambda index, attempt: OOM if index in (1, 4) and attempt < 3 else None
    run = cluster.run(
        ARRAY.format(options='mem="2G", time="1h", retries=Retry(max=3, on={"oom": Scale(mem=3.0)}, max_mem="8G")')
    )
    assert run.result("total") == 15
    sent = cluster.sent()
    assert [(job.slots, elements) for _, job, elements in sent] == [(6, list(range(6))), (2, [1, 4]), (2, [1, 4])]
    assert [job.resources.mem for _, job, _ in sent] == [2 * GIB, 6 * GIB, 8 * GIB]
    assert [job.resources.time for _, job, _ in sent] == [3600] * 3
    assert attempts(lab) == dict.fromkeys(range(6), 1)


def test_a_rerun_by_the_scheduler_is_counted(lab: Any, cluster: Cluster) -> None:
    """OpenPBS runs the elements of an array again when their node's daemon was started anew, and says nothing of it."""
    cluster.reruns = 2
    run = cluster.run("""
    @wf.job()
    def work() -> list[int]:
        told = reflow.context()
        note("starts", told.restarts, told.attempt)
        if told.restarts < 2:
            os.kill(os.getpid(), 9)
        return [told.restarts, told.attempt]
    """)
    assert run.result("work") == [2, 1]
    assert lab.ran() == ["starts 0 1", "starts 1 1", "starts 2 1"]


def test_each_class_is_answered_in_its_own_way(lab: Any, cluster: Cluster) -> None:
    fates = {1: OOM, 4: TIMEOUT, 5: NODE}
    cluster.fate = lambda index, attempt: fates.get(index) if attempt == 1 else None
    lab.touch("raise.0.1")
    options = 'mem="2G", time="1h", retries=Retry(max=1, on={"oom": Scale(mem=2), "timeout": Scale(time=1.5)})'
    run = cluster.run(ARRAY.format(options=options))
    assert run.result("total") == 15
    again = {tuple(elements): (job.resources.mem, job.resources.time) for _, job, elements in cluster.sent()[1:]}
    plain = 2 * GIB, 3600  # the worker's own word comes at once, the scheduler's is given time to be followed by one
    assert again == {(0,): plain, (1,): (4 * GIB, 3600), (4,): (2 * GIB, 5400), (5,): plain}


@pytest.mark.parametrize(
    ("delay", "timed", "walltime"), [(60, False, "30m"), (1000, True, "30m"), (55, True, "1m"), (10, False, "1m")]
)
def test_a_delay_is_kept_in_place_or_by_a_wake_up_that_begins_later(
    lab: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, delay: int, timed: bool, walltime: str
) -> None:
    """In place, no longer than the wake-up's own job lasts."""
    monkeypatch.setenv("REFLOW_DISPATCH_TIME", walltime)
    for attempt in (1, 2):
        lab.touch(f"raise.3.{attempt}")
    run = cluster.run(ARRAY.format(options=f"retries=Retry(max=2, delay={delay}, backoff=2)"))
    assert run.result("total") == 15
    (first, *_), (second, *_), (third, *_) = cluster.sent()
    assert second >= first + delay
    assert third >= second + 2 * delay
    later = [job.begin for _, job in cluster.jobs if job.begin is not None]
    if timed:
        assert [round(begin / delay) for begin in later] == [1, 2]
        assert all(job.after == () for _, job in cluster.jobs if job.begin is not None)
    else:
        assert later == []


@pytest.mark.parametrize(
    ("died", "options", "expected"),
    [
        (PREEMPTED, "", 4),
        (NODE, "retries=7", 4),
        (PREEMPTED, "retries=Retry(max=3, infrastructure=0)", 1),
        (PREEMPTED, "retries=Retry(infrastructure=1)", 2),
        (PREEMPTED, "retries=Retry(infrastructure=9)", 4),
        (Died(exit_code=1, failure_class=FailureClass.LAUNCH), "retries=5", 2),
        (Died(exit_code=1, failure_class=FailureClass.LAUNCH), "retries=Retry(max=1, infrastructure=0)", 1),
        (OOM, "", 1),
        (OOM, "retries=2", 3),
        (TIMEOUT, "retries=1", 2),
        (Died(exit_code=3), "retries=1", 2),
        (Died(signal=15, failure_class=FailureClass.CANCELLED), "retries=5", 1),
    ],
)
def test_budgets(lab: Any, cluster: Cluster, died: Died, options: str, expected: int) -> None:
    cluster.fate = lambda index, attempt: died if index == 2 else None
    run = cluster.run(ARRAY.format(options=options))
    sent = [elements for _, _, elements in cluster.sent()]
    assert sent == [list(range(6)), *[[2]] * (expected - 1)]
    assert run.state.value == ("CANCELLED" if died.failure_class is FailureClass.CANCELLED else "FAILED")


def test_failures_of_the_machine_use_up_nothing_of_the_task_s_own(lab: Any, cluster: Cluster) -> None:
    fates = [PREEMPTED, OOM, NODE, PREEMPTED, Died(exit_code=1, failure_class=FailureClass.LAUNCH), TIMEOUT]
    cluster.fate = lambda index, attempt: fates[attempt - 1] if index == 2 and attempt <= 6 else None
    assert cluster.run(ARRAY.format(options="retries=2")).result("total") == 15
    assert len(cluster.sent()) == 7


def test_elements_that_ask_for_a_new_attempt_go_into_one_array(lab: Any, cluster: Cluster) -> None:
    for index, attempt in ((0, 1), (3, 1), (5, 1), (3, 2)):
        lab.touch(f"requeue.{index}.{attempt}")
    run = cluster.run(ARRAY.format(options="retries=0"))
    assert run.result("total") == 15
    assert [elements for _, _, elements in cluster.sent()] == [list(range(6)), [0, 3, 5], [3]]
    assert attempts(lab) == {0: 2, 1: 1, 2: 1, 3: 3, 4: 1, 5: 2}
    assert not run.status()["failures"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (PREEMPTED, "SUCCESS"),
        (TIMEOUT, "SUCCESS"),
        (Died(exit_code=0), "SUCCESS"),
        (Died(signal=15, failure_class=FailureClass.CANCELLED), "CANCELLED"),
    ],
)
def test_a_task_that_is_ended_goes_on_unless_somebody_cancelled_it(
    lab: Any, cluster: Cluster, said: Died, expected: str
) -> None:
    cluster.ends = said
    run = cluster.run("""
    @wf.job(time="1h")
    def work() -> int:
        if reflow.context().attempt == 1:
            try:
                (HERE / "up").touch()
                while True:
                    pass
            except reflow.TaskInterrupted:
                raise reflow.Requeue("it is saved") from None
        return reflow.context().attempt
    """)
    assert run.state.value == expected
    if expected == "SUCCESS":
        assert run.result("work") == 2


SWALLOWED = {
    "a destructor": """
    class Swallows:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.getsignal(signal.SIGTERM)  # the handler has run

    def swallow():
        Swallows()
    """,
    "a callback of the garbage collector": """
    import gc

    def collected(phase, info):
        if phase == "stop":
            gc.callbacks.remove(collected)
            os.kill(os.getpid(), signal.SIGTERM)
            signal.getsignal(signal.SIGTERM)

    def swallow():
        gc.callbacks.append(collected)
        gc.collect()
    """,
    "a destructor, and again": """
    class Swallows:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            until = time.monotonic() + 0.2
            while time.monotonic() < until:
                pass

    def swallow():
        Swallows()
        Swallows()
    """,
}


@pytest.mark.parametrize("where", SWALLOWED)
def test_an_interruption_that_is_swallowed_comes_again(lab: Any, cluster: Cluster, where: str) -> None:
    """The interpreter prints exceptions of destructors and of the garbage collector's callbacks, and goes on."""
    run = cluster.run(
        SWALLOWED[where]
        + """
    @wf.job(time="1h")
    def work() -> int:
        if reflow.context().attempt == 1:
            try:
                swallow()
                while True:
                    pass
            except reflow.TaskInterrupted:
                raise reflow.Requeue("it is saved") from None
        return reflow.context().attempt
    """
    )
    assert run.result("work") == 2


def test_who_waits_for_a_new_attempt_has_not_failed(lab: Any, cluster: Cluster) -> None:
    lab.touch("requeue.3.1")
    seen: list[dict[str, Any]] = []
    real = advance.wake

    def wake(root: str, tag: str, executor: Any) -> None:
        seen.append(Run.open(root.partition("/.reflow/")[0]).status())
        real(root, tag, executor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advance, "wake", wake)
        run = cluster.run(ARRAY.format(options="cache=False"))
    assert run.result("total") == 15
    assert {"SUCCESS": 5, "PENDING": 1, "total": 6, "cached": 0} in [one["summary"]["work"] for one in seen]
    assert not any(one["failures"] for one in seen)


def test_retry_by_hand_starts_with_what_the_task_asks_for(lab: Any, cluster: Cluster) -> None:
    cluster.fate = lambda index, attempt: OOM if index == 2 and attempt <= 2 else None
    run = cluster.run(ARRAY.format(options='mem="2G", retries=Retry(max=1, on={"oom": Scale(mem=4)})'))
    assert run.state.value == "FAILED"
    run.retry()
    cluster.cluster.drain()
    assert run.result("total") == 15
    assert [job.resources.mem for _, job, _ in cluster.sent()] == [2 * GIB, 8 * GIB, 2 * GIB]


# --- on this machine ---------------------------------------------------------------


def test_on_this_machine(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[str]:
        return ["raises", "exits", "is killed", "is late", "is fine"]

    @wf.array_job(
        mem="100M",
        time="5s",
        retries=Retry(max=1, delay=0.3, on={"exit": Scale(mem=2), "timeout": Scale(time=10, mem=3)}, max_time="40s"),
    )
    def work(what: Annotated[str, Result(step="make")]) -> list[int]:
        context = reflow.context()
        note(what, context.attempt, time.time(), round(context.time_left()))
        if context.attempt == 1:
            if what == "raises":
                raise ValueError
            if what == "exits":
                sys.exit(4)
            if what == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "is late":
                time.sleep(60)
        return [context.attempt, context.mem >> 20, round(context.time_left())]
    """)
    run = lab.good(LocalExecutor(max_workers=5))
    assert run.results("work") == [[2, 100, 5], [2, 200, 5], [2, 200, 5], [2, 300, 40], [1, 100, 5]]
    times: dict[str, list[float]] = {}
    for line in lab.ran():
        *what, _, at, _ = line.split()
        times.setdefault(" ".join(what), []).append(float(at))
    assert all(max(both) - min(both) >= 0.3 for what, both in times.items() if what != "is fine")
    assert sorted(map(len, times.values())) == [1, 2, 2, 2, 2]


# --- decisions ---------------------------------------------------------------------

classes = st.sampled_from(sorted(FailureClass, key=lambda kind: kind.value))
policies = st.builds(
    Retry,
    max=st.integers(0, 5),
    delay=st.floats(0, 1e6),
    backoff=st.floats(1, 1e6),
    infrastructure=st.none() | st.integers(0, 9),
    requeues=st.integers(0, 5),
)


@given(policies, st.lists(classes, max_size=40))
def test_attempts_come_to_an_end_within_their_budgets(retry: Retry, failures: list[FailureClass]) -> None:
    """Whatever goes wrong, and in whatever order: no budget is exceeded, none is used by another's failures."""
    tries, used = Tries(), Counter[str]()
    for cls in failures:
        kind = (
            "infrastructure"
            if cls in INFRASTRUCTURE
            else {FailureClass.LAUNCH: "launch", FailureClass.REQUEUED: "requeued"}.get(cls, "own")
        )
        setattr(tries, kind, getattr(tries, kind) + 1)
        wait = wait_before(retry, cls, tries)
        if wait is None:
            break
        used[kind] += 1
        assert 0 <= wait < float("inf")
    lowered = 9 if retry.infrastructure is None else retry.infrastructure
    assert used["own"] <= retry.max
    assert used["infrastructure"] <= min(3, lowered)
    assert used["launch"] <= min(1, lowered)
    assert used["requeued"] <= retry.requeues


@given(
    classes,
    st.builds(Scale, mem=st.floats(1, 100), time=st.floats(1, 100)),
    st.none() | st.integers(1, 1 << 50),
    st.none() | st.integers(1, 1 << 50),
    st.none() | st.integers(1 << 20, 1 << 40),
    st.none() | st.integers(1, 1 << 30),
)
def test_nothing_is_scaled_down_nor_over_its_ceiling(
    cls: FailureClass,
    factor: Scale,
    max_mem: int | None,
    max_time: int | None,
    mem: int | None,
    walltime: int | None,
) -> None:
    asked = Resources(cpus=2, mem=mem, time=walltime)
    more = scale(Retry(on={cls: factor}, max_mem=max_mem, max_time=max_time), cls, asked)
    for before, after, most in ((mem, more.mem, max_mem), (walltime, more.time, max_time)):
        if before is None:
            assert after is None
        else:
            assert after is not None
            assert before <= after <= max(before, 1 << 62 if most is None else most)
    assert more.cpus == 2
    assert scale(Retry(), cls, asked) == asked


# --- too many failures -------------------------------------------------------------

MANY = """
@wf.job()
def make() -> list[int]:
    return list(range(10))

@wf.array_job({options})
def work(n: Annotated[int, Result(step="make")]) -> int:
    note("work", n)
    if n in BAD and not flag("mended"):
        raise ValueError
    return n

@wf.array_job(array_parallelism=1)
def other(n: Annotated[int, Result(step="make")]) -> int:
    note("other", n)
    return n

@wf.job()
def total(found: Annotated[list[int | reflow.Failed], Result(step="work", allow_failed=True)]) -> list[str]:
    return [one.failure if isinstance(one, reflow.Failed) else "fine" for one in found]

BAD = {bad}
"""


@pytest.mark.parametrize(
    ("options", "bad", "called"),
    [
        ("max_failures=1", [2, 4, 6], 5),
        ("max_failures=0", [2], 3),
        ("max_failures=0.2", [1, 2, 3], 4),
        ("max_failures=0.2", [1, 2], 10),
        ("max_failures=3", [1, 2, 3], 10),
        ("", [1, 2, 3], 10),
        ("max_failures=0, retries=1", [0], 11),
    ],
)
def test_a_task_of_which_too_much_fails_is_given_up(lab: Any, options: str, bad: list[int], called: int) -> None:
    lab.write(MANY.format(options=options, bad=bad))
    run = lab.run("inline")
    assert run.state.value == "FAILED"
    calls = lab.ran()
    assert sum(line.startswith("other") for line in calls) == 10, "what does not depend on it goes on"
    counts = lab.counts(run)["work"]
    ran = counts.get("SUCCESS", 0) + counts.get("FAILED", 0)
    if called >= 10:
        assert ran == 10
        return
    assert counts["FAILED"] == len([n for n in bad if n < called])
    assert (ran, counts["CANCELLED"]) == (called, 10 - called)
    assert run.result("total") == [
        "error" if n in bad and n < called else "fine" if n < called else "cancelled" for n in range(10)
    ]


@pytest.mark.parametrize(("options", "called"), [("", 3), ("max_failures=9", 10)])
def test_the_configuration_may_say_so_for_all_tasks(
    lab: Any, monkeypatch: pytest.MonkeyPatch, options: str, called: int
) -> None:
    monkeypatch.setenv("REFLOW_RUN_MAX_FAILURES", "0.1")
    monkeypatch.setenv("REFLOW_RUN_ON_ERROR", "stop")
    lab.write(MANY.format(options=options, bad=[1, 2]))
    run = lab.run("inline")
    counts = lab.counts(run)["work"]
    assert counts.get("SUCCESS", 0) + counts["FAILED"] == called
    assert run.state.value == "FAILED"


def test_a_task_may_stop_the_run(lab: Any) -> None:
    lab.write(MANY.format(options="on_error='stop', max_failures=1", bad=[0, 1, 2]))
    run = lab.run("inline")
    assert run.state.value == "FAILED"
    counts = lab.counts(run)
    assert counts["work"]["FAILED"] == 2
    assert counts["other"]["CANCELLED"] > 0
    assert set(counts["total"]) == {"CANCELLED"}
    told = {row["reason"] for row in run.status()["tasks"] if row["name"] in ("other", "total")}
    assert told == {"work was given up: 2 of its 10 elements have failed (max_failures=1)"}
    lab.touch("mended")
    run.retry()
    assert run.state.value == "SUCCESS"
    assert run.result("total") == ["fine"] * 10


def test_failures_that_stood_at_a_retry_give_nothing_up_again(lab: Any) -> None:
    lab.write(MANY.format(options="on_error='stop', max_failures=1", bad=[0, 1, 2]))
    run = lab.run("inline")
    run.retry(task="other")
    assert lab.counts(run)["other"] == {"SUCCESS": 10}


def test_what_runs_on_a_cluster_is_cancelled_and_so_is_the_chain(lab: Any, cluster: Cluster) -> None:
    cluster.cluster.places = 3
    run = cluster.run("""
    @wf.job(on_error="stop")
    def bad() -> int:
        raise ValueError

    @wf.job()
    def first() -> list[int]:
        return [1, 2, 3]

    @wf.array_job()
    def second(n: Annotated[int, Result(step="first")]) -> int:
        return n
    """)
    assert run.state.value == "FAILED"
    assert "bad" in run.status()["run"]["reason"]
    assert not cluster.cluster.order(), "nothing is left in the queue"


def test_local_workers_are_ended(lab: Any) -> None:
    lab.write("""
    @wf.job(on_error="stop")
    def bad() -> int:
        while not flag("up"):
            time.sleep(0.01)
        raise ValueError

    @wf.job()
    def long() -> int:
        (HERE / "up").touch()
        time.sleep(300)
        return 1
    """)
    run = lab.run(LocalExecutor(max_workers=2))
    assert run.state.value == "FAILED"
    assert lab.counts(run) == {"bad": {"FAILED": 1}, "long": {"CANCELLED": 1}}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ('on_error="halt"', "on_error='halt'; write 'continue' or 'stop'"),
        ("max_failures=-1, array=True", "max_failures=-1 is neither"),
        ("max_failures=1.5, array=True", "max_failures=1.5 is neither"),
        ("max_failures=True, array=True", "max_failures=True is neither"),
        ("max_failures=1", "max_failures= is for array tasks"),
    ],
)
def test_mistakes(lab: Any, options: str, says: str) -> None:
    lab.write(f"""
    @wf.job({options})
    def one() -> int:
        return 1
    """)
    with pytest.raises(WorkflowError, match=re.escape(says)):
        lab.flow.validate()
