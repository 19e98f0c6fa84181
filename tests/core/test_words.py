"""What is said of a run is so: reasons, counts, times and results that nobody has to import anything for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reflow
from reflow import Run
from reflow.errors import NotReady, ReflowError, UsageError
from reflow.model.names import RunState
from reflow.model.record import Cancelled, Expanded, Finished, Intent, Reset, RunChanged, Skipped
from reflow.model.spans import GAP, Spans
from reflow.model.state import State
from reflow.run.views import status as view
from reflow.run.views.words import run_times, task_reason, task_times

if TYPE_CHECKING:
    from conftest import Lab

CHAIN = """
@wf.job()
def make() -> list[int]:
    return [0, 1, 2, 3]

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    if x % 2 and not flag("mended"):
        raise ValueError(f"odd: {x}")
    return x * x

@wf.array_job()
def more(x: Annotated[int, Result(step="work")]) -> int:
    return x + 1

@wf.job()
def total(xs: Annotated[list[int], Result(step="more")]) -> int:
    return sum(xs)
"""


def tasks(run: Run) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in run.status()["tasks"]}


def test_a_task_that_succeeded_in_part_has_failed_with_counts(lab: Lab) -> None:
    lab.write(CHAIN)
    run = lab.run()
    found = tasks(run)
    assert found["work"]["state"] == "FAILED"
    assert found["work"]["reason"] == "2 of 4 elements failed, 2 succeeded"
    assert found["more"]["state"] == "FAILED"
    assert (
        found["more"]["reason"] == "2 of 4 elements were skipped, 2 succeeded: their upstream elements did not succeed"
    )
    assert found["total"]["state"] == "SKIPPED"
    assert found["total"]["reason"] == "more succeeded in part only: 2 of its 4 elements were skipped"
    lab.touch("mended")
    run.retry()
    assert [row["reason"] for row in tasks(run).values()] == ["", "", "", ""]
    assert run.status()["run"]["reason"] == ""


def test_an_array_of_unknown_size_has_no_number(lab: Lab) -> None:
    lab.write(CHAIN.replace("return [0, 1, 2, 3]", "raise ValueError('none')"))
    run = lab.run()
    status = run.status()
    assert status["summary"]["make"] == {"FAILED": 1, "total": 1, "cached": 0}
    assert status["summary"]["work"] == {"total": None, "cached": 0}
    assert status["summary"]["total"] == {"SKIPPED": 1, "total": 1, "cached": 0}
    assert tasks(run)["make"]["reason"] == "error: ValueError: none"
    assert "<td>SKIPPED</td><td>?</td>" in run._repr_html_()


def test_all_failures_are_listed(lab: Lab) -> None:
    lab.write(CHAIN.replace("[0, 1, 2, 3]", "[1] * 130"))
    run = lab.run()
    assert len(run.status()["failures"]) == 130


def state_of(lab: Lab) -> State:
    lab.write(CHAIN)
    return State(lab.run().definition)


def test_a_reason_is_not_that_of_an_older_event(lab: Lab) -> None:
    state = state_of(lab)
    state.apply(RunChanged(state=RunState.RUNNING, at=1.0))
    state.apply(Expanded(task="work", size=2, part=0, pending="0-1", at=1.0))
    progress = state.tasks["work"]
    state.apply(Cancelled(task="work", at=2.0, elements="1", reason="not this one"))
    assert task_reason(progress) == "", "it has not ended"
    state.apply(Intent(tag="a", task="work", elements="0", attempt=1, part=0, at=2.0))
    assert task_reason(progress, "Resources") == "Resources"
    state.apply(Finished(t="work", i=0, a=1, b=3.0, e=4.0), 1, 1, 1)
    assert task_reason(progress, "Resources") == "1 of 2 elements were cancelled, 1 succeeded: not this one"
    state.apply(Reset(task="work", at=5.0, elements="1", reason="retry"))
    state.apply(Expanded(task="work", size=2, part=1, pending="1", at=6.0))
    state.apply(Intent(tag="b", task="work", elements="1", attempt=2, part=1, at=6.0))
    assert task_reason(progress) == ""
    state.apply(Finished(t="work", i=1, a=2, b=7.0, e=8.0), 1, 1, 1)
    assert progress.state.value == "SUCCESS"
    assert task_reason(progress) == ""
    state.apply(Skipped(task="total", reason="work failed", at=9.0))
    assert task_reason(state.tasks["total"]) == "work failed"


def test_time_worked_and_time_idle_are_two_figures(lab: Lab) -> None:
    state = state_of(lab)
    progress = state.tasks["make"]
    state.apply(RunChanged(state=RunState.RUNNING, at=0.0 + 100))
    state.apply(Expanded(task="make", size=1, part=0, pending="0", at=100.0))
    state.apply(Intent(tag="a", task="make", elements="0", attempt=1, part=0, at=100.0))
    state.apply(Finished(t="make", i=0, a=1, b=110.0, e=129.0, f="error", w="bad"), 1, 1, 1)
    state.apply(RunChanged(state=RunState.FAILED, at=130.0))
    state.apply(RunChanged(state=RunState.RUNNING, at=600.0, reason="retry"))
    state.apply(Reset(task="make", at=600.0, elements="0"))
    state.apply(Expanded(task="make", size=1, part=0, pending="0", at=600.0))
    state.apply(Intent(tag="b", task="make", elements="0", attempt=2, part=0, at=600.0))
    state.apply(Finished(t="make", i=0, a=2, b=610.0, e=629.0), 1, 1, 1)
    state.apply(RunChanged(state=RunState.SUCCESS, at=630.0))
    assert task_times(progress, now=1e6) == (38.0, 481.0)
    assert run_times(state, now=1e6) == (38.0, 492.0)


def test_a_retried_run_counts_what_it_worked(lab: Lab) -> None:
    lab.write(CHAIN)
    run = lab.run()
    lab.touch("mended")
    run.retry()
    status = run.status()
    worked = status["run"]["duration"]
    assert worked + status["run"]["idle"] == pytest.approx(status["run"]["ended"] - status["run"]["started"])
    assert 0 < worked <= sum(GAP + row["duration"] for row in status["tasks"])


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6)), max_size=30))
def test_spans_count_each_moment_once(pairs: list[tuple[int, int]]) -> None:
    spans = Spans((2.0 * begin, 2.0 * (begin + length)) for begin, length in pairs)
    moments = {begin + step for begin, length in pairs for step in range(length)}
    assert spans.total == 2.0 * len(moments)
    found = list(spans)
    assert found == sorted(found)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=20), st.randoms())
def test_spans_do_not_depend_on_the_order_of_reports(pairs: list[tuple[float, float]], order: Any) -> None:
    stretches = [(begin, begin + length) for begin, length in pairs]
    spans = Spans(stretches)
    order.shuffle(stretches)
    assert list(Spans(stretches)) == list(spans)


# Results


RECORDS = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated
import reflow
from reflow import Result
from {module} import Rec
wf = reflow.Workflow("records")

@wf.job()
def make() -> list[Rec]:
    return [Rec(1), Rec(2)]

@wf.array_job()
def work(rec: Annotated[Rec, Result(step="make")]) -> int:
    return 10 // (rec.a - 1)
"""


def test_results_of_those_that_succeeded(lab: Lab) -> None:
    lab.write(CHAIN)
    run = lab.run()
    with pytest.raises(NotReady, match="2 of 4 elements of work succeeded"):
        run.results("work")
    assert run.results("work", failed="skip") == [0, 4]
    assert run.results("work", failed="mark") == [
        0,
        reflow.Failed("work", 1, "error", "ValueError: odd: 1"),
        4,
        reflow.Failed("work", 3, "error", "ValueError: odd: 3"),
    ]
    assert run.results("more", failed="mark")[1].failure == "skipped"
    with pytest.raises(UsageError, match="neither 'skip' nor 'mark'"):
        run.results("work", failed="drop")
    assert [row.get("result") for row in run.plain_results("work")] == [0, None, 4, None]
    assert run.plain_results("work", 2) == [{"task": "work", "index": 2, "state": "SUCCESS", "reason": "", "result": 4}]
    with pytest.raises(UsageError, match="work has 4 elements, so there is no element 4"):
        run.plain_results("work", 4)


def test_results_whose_module_is_gone(tmp_path: Path) -> None:
    (tmp_path / "recs_of_old.py").write_text("from dataclasses import dataclass\n@dataclass\nclass Rec: a: int\n")
    script = tmp_path / "records.py"
    script.write_text(RECORDS.format(module="recs_of_old") + "\nif __name__ == '__main__':\n    wf.cli()\n")
    where = ["--executor", "local", "--run-dir", "r", "--store-path", "store"]
    made = subprocess.run([sys.executable, "records.py", "run", *where], cwd=tmp_path, check=False, capture_output=True)
    assert made.returncode == 1, made
    (tmp_path / "recs_of_old.py").rename(tmp_path / "renamed.py")
    run = Run.open(tmp_path / "r")
    shutil.rmtree(Path(run.root, "code"))  # nor is there a frozen copy
    Path(run.root, "code", "1").mkdir(parents=True)
    with pytest.raises(ReflowError) as said:
        run.result("make")
    assert f"reflow results {run.run_id} make" in str(said.value)
    assert run.plain_results("make")[0]["result"] == [{"a": 1}, {"a": 2}]


def test_a_module_that_is_gone_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(CHAIN)
    run = lab.run()

    def gone(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'recs'", name="recs")

    monkeypatch.setattr("reflow.run.service.api.loaded", lambda definition: None)
    monkeypatch.setattr("reflow.run.service.api.Isolated.__enter__", gone)
    run = Run.open(run.root)
    with pytest.raises(ReflowError, match="what make returns needs module 'recs', which cannot be imported") as said:
        run.result("make")
    assert said.value.hint == f"`reflow results {run.run_id} make` prints its results without"


def test_a_result_that_is_reported_and_not_taken_in_is_not_ready(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(CHAIN)
    run = lab.run()

    def overlaid(root: str, definition: Any) -> State:
        state = State(definition)
        state.apply(RunChanged(state=RunState.RUNNING, at=1.0))
        state.apply(Expanded(task="make", size=1, part=0, pending="0", at=1.0))
        state.apply(Intent(tag="a", task="make", elements="0", attempt=1, part=0, at=2.0))
        state.apply(Finished(t="make", i=0, a=1, b=3.0, e=4.0))
        return state

    monkeypatch.setattr("reflow.run.service.api.look", overlaid)
    with pytest.raises(NotReady, match="the run has not taken that in yet"):
        run.result("make")
    assert run.plain_results("make") == [{"task": "make", "index": None, "state": "SUCCESS", "reason": view.REPORTED}]
