"""Constants that are not where a task runs what they were at submit: its result is right, and is never reused."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize("where", ["captured", "helper"])
def test_what_functions_capture_and_what_helpers_use(lab: Any, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """What another module takes from the environment counts as much as what the script does."""
    module = lab.path / f"constants_of_{lab.module}.py"
    module.write_text("import os\nFACTOR = int(os.environ.get('FACTOR', '1'))\n")
    factory = "def make(k):\n    @wf.job()\n    def task() -> int:\n        return k\nmake(c.FACTOR)"
    helper = "def helper(): return c.FACTOR\n@wf.job()\ndef task() -> int: return helper()"
    lab.write(f"import {module.stem} as c\n{factory if where == 'captured' else helper}")
    monkeypatch.setenv("REFLOW_EXECUTOR_ENV", "FACTOR=7")
    run = lab.good("local")
    assert run.result("task") == 7
    (told,) = run.status()["run"]["uncached"]
    assert "constants of its script" in told["reason"]
    monkeypatch.delenv("REFLOW_EXECUTOR_ENV")
    lab.good("local")
    assert lab.why(lab.good("local"), "task")[None][0] == "hit"
