"""Constants that are not where a task runs what they were at submit: its result is right, and is never reused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reflow.worker.values import values_of

SCRIPT = """
FACTOR = int(os.environ.get("FACTOR", "1"))

@wf.job({options})
def scaled() -> int:
    note("scaled", FACTOR)
    return 10 * FACTOR

@wf.job()
def other(x: Annotated[int, Result(step="scaled")]) -> int:
    return x + 1
"""


@pytest.mark.parametrize("how", ["decorator", "configuration"])
def test_what_a_job_finds_in_its_environment(lab: Any, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Jobs are given variables that the submitting process has not, so that the script is another one there."""
    lab.write(SCRIPT.format(options="env={'FACTOR': '7'}" if how == "decorator" else ""))
    if how == "configuration":
        monkeypatch.setenv("REFLOW_EXECUTOR_ENV", "FACTOR=7")
    run = lab.good("local")
    assert run.result("scaled") == 70
    (told,) = [one for one in run.status()["run"]["uncached"] if one["task"] == "scaled"]
    assert "constants of its script" in told["reason"]
    monkeypatch.delenv("REFLOW_EXECUTOR_ENV", raising=False)
    run = lab.good("inline")
    assert run.result("scaled") == 10
    assert lab.why(run, "scaled")[None][0] == "miss"
    assert lab.ran() == ["scaled 1", "scaled 7"]


def test_what_is_the_same_is_kept(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTOR", "3")
    lab.write(SCRIPT.format(options=""))
    run = lab.good("local")
    assert run.result("other") == 31
    assert not run.status()["run"]["uncached"]
    assert lab.why(lab.good("local"), "scaled")[None][0] == "hit"


def test_what_tasks_change_in_their_module_is_no_matter(lab: Any) -> None:
    """A memo of the module's: what it was when the script was imported counts, in every worker."""
    lab.write("""
    MEMO = {}

    @wf.job()
    def first() -> int:
        MEMO["first"] = 1
        return 1

    @wf.job()
    def second(x: Annotated[int, Result(step="first")]) -> int:
        MEMO["second"] = x
        return 2
    """)
    run = lab.good("local", max_workers=1)
    assert not run.status()["run"]["uncached"]
    assert lab.why(lab.good("local"), "second")[None][0] == "hit"


LIMIT = 3
NAMES = ["a", {"b": (1.5, None)}, {1, 2}]
HERE = Path("/somewhere")
CLIENT = object()


def used() -> object:
    def inner() -> object:
        return NAMES, HERE

    return LIMIT, inner, CLIENT


def unused() -> int:
    return 1


def test_plain_data_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        return values_of({"t": used})["t"]

    assert values_of({"t": unused}) == {"t": ""}
    first = digest()
    assert first == digest() != ""
    for name, value in (("LIMIT", 3.0), ("LIMIT", True), ("NAMES", ["a"]), ("HERE", Path("/elsewhere"))):
        with monkeypatch.context() as other:
            other.setitem(used.__globals__, name, value)
            assert digest() != first, name
    monkeypatch.setitem(used.__globals__, "CLIENT", open)
    assert digest() == first, "what is no plain data says nothing"
    circle: list[object] = []
    circle.append(circle)
    monkeypatch.setitem(used.__globals__, "LIMIT", circle)
    assert digest() != first


def test_closures() -> None:
    def make(number: int) -> Any:
        def task() -> int:
            return number

        return task

    one, two = values_of({"a": make(1), "b": make(2)}).values()
    assert one != two
