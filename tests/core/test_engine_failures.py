"""What fails, what follows from it, and what `retry` and `cancel` make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reflow import Run, RunState, Workflow
from reflow.errors import NotReady, ReflowError, UsageError
from reflow.local.inline import InlineExecutor

CHAIN = """
@wf.job()
def make() -> list[int]:
    note("make")
    return [0, 1, 2, 3]

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    note("work", x)
    if x in (1, 2) and not flag("fixed"):
        raise ValueError(f"no {x}")
    return x * 10

@wf.array_job()
def chained(x: Annotated[int, Result(step="work")]) -> int:
    note("chained", x)
    return x + 1

@wf.job()
def gather(x: Annotated[list[int], Result(step="chained")]) -> int:
    note("gather")
    return sum(x)

@wf.job()
def last(x: Annotated[int, Result(step="gather")]) -> int:
    note("last")
    return x

@wf.job()
def tolerant(x: Annotated[list[int], Result(step="chained", allow_failed=True)]) -> list[int]:
    note("tolerant")
    return x

@wf.job()
def ordered(n: Annotated[int, Param()] = 1) -> int:
    note("ordered")
    return n

@wf.job(after=["work"])
def behind() -> int:
    note("behind")
    return 1

@wf.job()
def independent() -> str:
    note("independent")
    return "fine"
"""


@pytest.fixture
def failed(lab: Any) -> Run:
    lab.write(CHAIN)
    run: Run = lab.run()
    return run


def test_dependants_are_skipped_and_independent_branches_finish(lab: Any, failed: Run) -> None:
    assert failed.state is RunState.FAILED
    assert lab.counts(failed) == {
        "make": {"SUCCESS": 1},
        "work": {"SUCCESS": 2, "FAILED": 2},
        "chained": {"SUCCESS": 2, "SKIPPED": 2},
        "gather": {"SKIPPED": 1},
        "last": {"SKIPPED": 1},
        "tolerant": {"SUCCESS": 1},
        "ordered": {"SUCCESS": 1},
        "behind": {"SKIPPED": 1},
        "independent": {"SUCCESS": 1},
    }
    told = failed.status(elements=True)
    reasons = {task["name"]: task["reason"] for task in told["tasks"]}
    assert reasons["gather"] == "chained succeeded in part only: 2 of its 4 elements were skipped"
    assert reasons["last"] == "gather was skipped"
    assert reasons["behind"] == "work failed"
    assert told["run"]["reason"] == "work failed"
    assert [(one["task"], one["index"], one["class"], one["reason"]) for one in told["failures"]] == [
        ("work", 1, "error", "ValueError: no 1"),
        ("work", 2, "error", "ValueError: no 2"),
    ]
    assert 'raise ValueError(f"no {x}")' in told["failures"][0]["traceback"]
    assert "reflow/worker" not in told["failures"][0]["traceback"]
    assert "ValueError: no 1" in failed.logs("work", 1)
    assert failed.result("tolerant") == [1, 31]
    states = {row["index"]: row["state"] for row in told["elements"] if row["task"] == "chained"}
    assert states == {0: "SUCCESS", 1: "SKIPPED", 2: "SKIPPED", 3: "SUCCESS"}


def test_results_that_are_not_there_are_told_so(failed: Run) -> None:
    with pytest.raises(NotReady, match="there is no result: 2 of 4 elements of work succeeded"):
        failed.results("work")
    with pytest.raises(NotReady, match="gather SKIPPED"):
        failed.result("gather")
    with pytest.raises(UsageError, match="work is an array task"):
        failed.result("work")
    with pytest.raises(UsageError, match="make is a single task"):
        failed.results("make")
    with pytest.raises(UsageError, match="did you mean 'work'"):
        failed.results("wrok")


def test_retry_runs_what_is_needed_and_nothing_else(lab: Any, failed: Run) -> None:
    lab.ran()
    lab.touch("fixed")
    failed.retry()
    assert lab.ran() == ["behind", "chained 10", "chained 20", "gather", "last", "tolerant", "work 1", "work 2"]
    assert failed.result("tolerant") == [1, 11, 21, 31]
    assert failed.state is RunState.SUCCESS
    assert failed.results("work") == [0, 10, 20, 30]
    assert failed.result("last") == 64
    assert failed.status()["failures"] == []


def test_retry_that_fails_again(lab: Any, failed: Run) -> None:
    lab.ran()
    before = lab.counts(failed)
    failed.retry()
    assert lab.ran() == ["work 1", "work 2"]
    assert failed.state is RunState.FAILED
    assert lab.counts(failed) == before
    (attempts,) = {one["attempt"] for one in failed.status()["failures"]}
    assert attempts == 2
    assert failed.logs("work", 1).count("ValueError: no 1") == 2


def test_retry_of_one_element(lab: Any, failed: Run) -> None:
    lab.ran()
    lab.touch("fixed")
    failed.retry("work", [2])
    assert lab.ran() == ["chained 20", "tolerant", "work 2"]
    assert failed.state is RunState.FAILED
    assert lab.counts(failed)["chained"] == {"SUCCESS": 3, "SKIPPED": 1}
    failed.retry()
    assert lab.ran() == ["behind", "chained 10", "gather", "last", "tolerant", "work 1"]
    assert failed.state is RunState.SUCCESS


def test_retry_of_a_task_that_depends_on_what_failed_changes_nothing(lab: Any, failed: Run) -> None:
    lab.ran()
    lab.touch("fixed")
    failed.retry("gather")
    assert lab.ran() == []
    assert lab.counts(failed)["gather"] == {"SKIPPED": 1}
    assert failed.state is RunState.FAILED


def test_retry_of_what_succeeded_does_nothing(lab: Any) -> None:
    lab.write(CHAIN)
    lab.touch("fixed")
    run = lab.good()
    lab.ran()
    assert run.retry()["said"] == "nothing to retry"
    assert run.retry("work", [0])["said"] == "nothing to retry"
    assert lab.ran() == []
    assert run.state is RunState.SUCCESS


@pytest.mark.parametrize(
    ("task", "elements", "message"),
    [
        ("wrok", None, "did you mean 'work'"),
        ("work", [4], "4 elements"),
        ("work", [-1], "no element -1"),
        ("gather", [1], "no element 1"),
    ],
)
def test_retry_of_what_is_not_there(failed: Run, task: str, elements: list[int] | None, message: str) -> None:
    for command in (failed.retry, failed.cancel):
        with pytest.raises(UsageError, match=message):
            command(task, elements)


def test_retry_uses_todays_code(lab: Any, failed: Run) -> None:
    lab.ran()
    lab.edit('if x in (1, 2) and not flag("fixed"):', "if False:")
    failed.retry()
    assert failed.state is RunState.SUCCESS
    assert lab.ran() == ["behind", "chained 10", "chained 20", "gather", "last", "tolerant", "work 1", "work 2"]
    assert failed.result("tolerant") == [1, 11, 21, 31]
    assert failed.status()["run"]["generation"] == 2
    lab.good()  # what was computed by either code is cached under what computed it
    assert lab.ran() == ["behind", "work 0", "work 3"]


def test_retry_with_code_that_is_broken_changes_nothing(lab: Any, failed: Run) -> None:
    lab.file.write_text("this is no Python\n")
    with pytest.raises(Exception, match="invalid syntax"):
        failed.retry()
    assert failed.state is RunState.FAILED


def test_retry_where_the_script_is_gone_says_so_and_uses_the_last_one(lab: Any, failed: Run) -> None:
    lab.touch("fixed")
    lab.file.unlink()
    told = failed.retry()
    assert "is gone" in told["notes"][0]
    assert Run.open(failed.root).state is RunState.SUCCESS


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('-> int:\n    note("last")', '-> float:\n    note("last")', "task last: its result's type changed"),
        ("def last(", "def final(", "task last is gone"),
        ('@wf.job(after=["work"])', "@wf.job()", "task behind: its order changed"),
        ("n: Annotated[int, Param()] = 1", "n: Annotated[str, Param()] = 'a'", "task ordered: its inputs changed"),
        ("n: Annotated[int, Param()] = 1", "m: Annotated[int, Param()] = 1", "parameter n is gone"),
        ("n: Annotated[int, Param()] = 1", "n: Annotated[int, Param()] = 1, *, m: Annotated[int, Param()]", "m is new"),
    ],
)
def test_retry_with_another_shape_is_refused_and_says_how_it_differs(
    lab: Any, failed: Run, old: str, new: str, told: str
) -> None:
    before = lab.counts(failed)
    lab.edit(old, new)
    with pytest.raises(UsageError, match="changed too much") as caught:
        failed.retry()
    assert told in str(caught.value)
    assert lab.counts(failed) == before
    assert failed.state is RunState.FAILED


RETRIES = """
@wf.array_job(retries={retries})
def work(x: Annotated[int, Result(step="make")]) -> int:
    note(x, reflow.context().attempt)
    if reflow.context().attempt <= x:
        raise ValueError(str(x))
    return x

@wf.job()
def make() -> list[int]:
    return [0, 1, 2, 3]
"""


def test_attempts_are_counted_element_by_element(lab: Any) -> None:
    lab.write(RETRIES.format(retries=2))
    run = lab.run()
    assert lab.ran() == ["0 1", "1 1", "1 2", "2 1", "2 2", "2 3", "3 1", "3 2", "3 3"]
    assert lab.counts(run)["work"] == {"SUCCESS": 3, "FAILED": 1}
    assert "--- attempt" not in run.logs("work", 0)
    run.retry()
    assert lab.ran() == ["3 4"]
    assert run.state is RunState.SUCCESS


def test_a_delay_passes_before_the_next_attempt(lab: Any) -> None:
    lab.write(RETRIES.format(retries="Retry(2, delay=0.2, backoff=2.0)"))
    lab.edit("note(x, reflow.context().attempt)", "note(x, reflow.context().attempt, time.time())")
    lab.run()
    times = {tuple(line.split()[:2]): float(line.split()[2]) for line in lab.ran()}
    assert times["3", "2"] - times["3", "1"] >= 0.2
    assert times["3", "3"] - times["3", "2"] >= 0.4
    assert times["1", "1"] - times["0", "1"] < 0.2


def test_sources_of_unequal_length_fail_the_task_and_name_both(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def a() -> list[int]:
        return [1, 2, 3]

    @wf.job()
    def b() -> list[str]:
        return ["x"]

    @wf.array_job()
    def zipped(x: Annotated[int, Result(step="a")], y: Annotated[str, Result(step="b")]) -> str:
        return y * x
    """)
    run = lab.run()
    (failure,) = run.status()["failures"]
    assert failure["task"] == "zipped"
    assert "x (from a) has 3" in failure["reason"]
    assert "y (from b) has 1" in failure["reason"]
    assert "differ in length" in run.logs("zipped", 0)


def test_a_directory_too_large_to_be_looked_at_fails_the_task_and_can_be_retried(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = lab.path / "many"
    top.mkdir()
    lab.write("""
    @wf.job()
    def make(top: Annotated[Path, Param()]) -> list[int]:
        for number in range(5):
            (top / str(number)).touch()
        return []

    @wf.array_job()
    def read(top: Annotated[Path, Param()], x: Annotated[int, Result(step="make")]) -> int:
        return x
    """)
    monkeypatch.setattr("reflow.worker.files.ENTRIES", 4)
    run = lab.run(top=top)
    (failure,) = run.status()["failures"]
    assert "holds more than" in failure["reason"]
    (top / "1").unlink()
    run.retry()
    assert run.state is RunState.SUCCESS
    assert run.results("read") == []


@pytest.mark.parametrize(
    ("body", "cls", "reason"),
    [
        ("return 'text'", "error", "CodecError: work[0] returned what its annotation, int, does not allow"),
        ("raise MemoryError", "oom", "MemoryError"),
        ("raise SystemExit(3)", "exit", "the task called sys.exit(3) instead of returning"),
        ("sys.exit()", "exit", "the task called sys.exit(None)"),
        ("raise KeyError('k')", "error", "KeyError: 'k'"),
        ("raise ExceptionGroup('both', [ValueError(1)])", "error", "ExceptionGroup: both"),
        ("raise type('Odd', (BaseException,), {})('x')", "error", "Odd: x"),
        ("raise ValueError('a\\nb')", "error", "a"),
        ("raise ValueError('\\ud800')", "error", "ValueError: \\ud800"),
        ("raise ValueError('x' * 100_000)", "error", "[...]"),
        ("return undefined", "error", "NameError"),
        ("return work(x)", "error", "RecursionError"),
    ],
)
def test_what_a_task_may_raise(lab: Any, body: str, cls: str, reason: str) -> None:
    if "ExceptionGroup" in body:
        pytest.importorskip("asyncio.taskgroups")
    lab.write(f"""
    @wf.job()
    def make() -> list[int]:
        return [0]

    @wf.array_job()
    def work(x: Annotated[int, Result(step="make")]) -> int:
        {body}
    """)
    run = lab.run()
    (failure,) = run.status()["failures"]
    assert (failure["task"], failure["index"], failure["class"]) == ("work", 0, cls)
    assert reason in failure["reason"]
    assert len(failure["reason"]) < 2000


class Meddler(InlineExecutor):
    """Sends the run a command while it waits for the given time."""

    def __init__(self, at: int, command: Any) -> None:
        super().__init__()
        self.at, self.command, self.waits = at, command, 0
        self.said: dict[str, Any] = {}

    def wait(self, timeout: float) -> Any:
        self.waits += 1
        if self.waits == self.at:
            from reflow.run.service.api import Run

            run = Run.open(self._root)
            self.command(run)
        return super().wait(timeout)


def meddle(lab: Any, monkeypatch: pytest.MonkeyPatch, at: int, verb: str, tasks: dict[str, str | None]) -> Run:
    """Run with a command that arrives before the given element."""
    from reflow.model.record import Command
    from reflow.run.journal.report_reader import post

    monkeypatch.setattr("reflow.run.engine.engine._LISTEN", 0.0)
    monkeypatch.setattr("reflow.local.inline.WITHIN", 0.0)
    executor = Meddler(at, lambda run: post(run.root, Command(id="c1", verb=verb, tasks=tasks, at=1.0)))
    executor.flow = lab.flow
    run: Run = lab.run(executor)
    return run


def test_cancel_of_the_run(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(CHAIN)
    lab.touch("fixed")
    run = meddle(lab, monkeypatch, 5, "cancel", {})
    assert run.state is RunState.CANCELLED
    assert run.status()["run"]["reason"] == "cancelled"
    ran = lab.ran()
    assert len(ran) == 5  # the element at hand is finished
    counts = lab.counts(run)
    assert {state for row in counts.values() for state in row} <= {"SUCCESS", "CANCELLED", "SKIPPED"}
    run.retry()
    assert run.state is RunState.SUCCESS
    again = lab.ran()
    assert not set(again) & set(ran)
    assert len(again) + len(ran) == 15


def test_cancel_of_a_task(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(CHAIN)
    lab.touch("fixed")
    run = meddle(lab, monkeypatch, 1, "cancel", {"work": None})
    assert run.state is RunState.CANCELLED
    assert lab.ran() == ["independent", "make", "ordered"]
    told = {task["name"]: task for task in run.status()["tasks"]}
    assert (told["work"]["state"], told["chained"]["state"]) == ("CANCELLED", "SKIPPED")
    assert run.status()["summary"]["work"] == {"total": None, "cached": 0}, "nobody knows how many there are"
    assert told["chained"]["reason"] == "work was cancelled"
    run.retry()
    assert run.state is RunState.SUCCESS


def test_cancel_of_elements(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(CHAIN)
    lab.touch("fixed")
    run = meddle(lab, monkeypatch, 4, "cancel", {"work": "2-3"})
    assert run.state is RunState.CANCELLED
    assert lab.counts(run)["work"] == {"SUCCESS": 2, "CANCELLED": 2}
    assert lab.counts(run)["chained"] == {"SUCCESS": 2, "SKIPPED": 2}
    lab.ran()
    run.retry("work", [3])
    assert lab.ran() == ["chained 30", "tolerant", "work 3"]


def test_cancel_while_an_attempt_is_held_back(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write("""
    @wf.job(retries=Retry(1, delay=60.0))
    def work() -> int:
        note("work")
        raise ValueError

    @wf.job()
    def other() -> int:
        return 1
    """)
    run = meddle(lab, monkeypatch, 2, "cancel", {"work": None})
    assert lab.ran() == ["work"]
    assert lab.counts(run)["work"] == {"CANCELLED": 1}
    assert run.state is RunState.CANCELLED


def test_cancel_of_what_has_ended(failed: Run) -> None:
    assert failed.cancel()["said"] == "nothing to cancel: the run is FAILED"


def test_retry_of_what_failed_while_the_rest_still_runs(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2, 3]

    @wf.array_job()
    def work(x: Annotated[int, Result(step="make")]) -> int:
        note(x, reflow.context().attempt)
        if x == 1 and reflow.context().attempt == 1:
            raise ValueError
        return x
    """)
    run = meddle(lab, monkeypatch, 4, "retry", {})
    assert lab.ran() == ["0 1", "1 1", "1 2", "2 1", "3 1"]
    assert run.state is RunState.SUCCESS


def test_an_interrupt_in_a_task_ends_the_run_and_retry_goes_on(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.array_job()
    def work(x: Annotated[int, Result(step="make")]) -> int:
        note(x)
        if x == 1 and not flag("fixed"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        return x
    """)
    run = lab.run()
    assert run.state is RunState.CANCELLED
    assert lab.counts(run)["work"] == {"SUCCESS": 1, "CANCELLED": 2}
    assert lab.ran() == ["0", "1"]
    lab.touch("fixed")
    run.retry()
    assert run.state is RunState.SUCCESS
    assert lab.ran() == ["1", "2"]


def test_a_workflow_inside_a_function_runs_inline_with_results_and_retry(tmp_path: Path) -> None:
    wf = Workflow("inner")
    broken = [True]

    @wf.job()
    def one() -> int:
        if broken:
            raise ValueError("broken")
        return 1

    run = wf.run_local(tmp_path / "run", executor="inline")
    assert run.state is RunState.FAILED
    broken.clear()
    run.retry()
    assert run.state is RunState.SUCCESS
    assert run.result("one") == 1


def test_retry_with_other_code_keys_waiting_elements_by_the_code_that_runs_them(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elements that were expanded, and have not run when the code changes, are not kept under the old code's key."""
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.array_job()
    def work(x: Annotated[int, Result(step="make")]) -> str:
        note("work", x)
        if x == 1 and flag("die"):
            raise MemoryError
        return f"old {x}"
    """)
    lab.touch("die")

    def die(*_: Any, **__: Any) -> Any:
        raise OSError("the machine is gone")

    with monkeypatch.context() as patch:
        patch.setattr("reflow.local.inline.ElementRunner.run", die)
        with pytest.raises(OSError, match="gone"):
            lab.run()
    run = Run.open(lab.run_dir)
    assert lab.ran() == []
    (lab.path / "die").unlink()
    lab.edit("old {x}", "new {x}")
    run.retry()
    assert run.state is RunState.SUCCESS
    before = {index: run.results("work")[index] for index in range(3)}
    lab.edit("new {x}", "old {x}")
    assert lab.good().results("work") == ["old 0", "old 1", "old 2"], before


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_retry_of_a_script_that_takes_a_constant_from_the_environment(
    lab: Any, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    """The text is the same, the code is not: nothing computed with one value is ever taken for the other's."""
    monkeypatch.setenv("FACTOR", "2")
    lab.write("""
    FACTOR = int(os.environ["FACTOR"])

    @wf.job()
    def scaled() -> int:
        if not flag("fixed"):
            raise ValueError("not yet")
        note("scaled", FACTOR)
        return 10 * FACTOR
    """)
    run = lab.run(executor)
    assert run.state is RunState.FAILED
    lab.touch("fixed")
    monkeypatch.setenv("FACTOR", "3")
    run.retry()
    assert (run.result("scaled"), run.status()["run"]["generation"]) == (30, 2)
    lab.load()
    assert lab.good(executor).result("scaled") == 30
    monkeypatch.setenv("FACTOR", "2")
    lab.load()
    assert lab.good(executor).result("scaled") == 20
    assert lab.ran() == ["scaled 2", "scaled 3"]


def test_retry_says_that_a_changed_default_does_not_count(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def task(n: Annotated[int, Param()] = 3, m: Annotated[int, Param()] = 1) -> int:
        if not flag("fixed"):
            raise ValueError("not yet")
        return n + m
    """)
    run = lab.run(m=2)
    lab.touch("fixed")
    lab.edit("= 3, m: Annotated[int, Param()] = 1", "= 4, m: Annotated[int, Param()] = 1")
    assert run.retry()["notes"] == ["n stays 3, as submitted; its default is 4 now"]
    assert run.result("task") == 5


def test_retry_of_an_unchanged_script_that_cannot_be_imported_here(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READY", "yes")
    lab.write("""
    if "READY" not in os.environ:
        raise ImportError("no such library on this host")

    @wf.job()
    def task() -> int:
        raise ValueError("not yet")
    """)
    run = lab.run()
    monkeypatch.delenv("READY")
    told = run.retry()
    assert "cannot be imported: ImportError: no such library on this host; it has not changed" in told["notes"][0]
    assert run.status()["failures"][0]["attempt"] == 2
    lab.file.write_text(lab.file.read_text() + "# changed\n")
    with pytest.raises(ReflowError, match="no such library"):
        run.retry()
