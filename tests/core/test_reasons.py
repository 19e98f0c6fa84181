"""What is said of a failure: what happened, where in the user's own code, and where the words are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reflow.errors import ExecutorError
from reflow.local.pool import LocalExecutor
from reflow.worker.reasons import dumped, is_own, place, reason_of

if TYPE_CHECKING:
    from conftest import Lab


def raised(call: Any) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("it raises nothing")


def test_what_is_a_users_own() -> None:
    assert is_own(__file__)
    assert is_own("<ipython-input-3-abc>")
    for file in (json.__file__, pytest.__file__, LocalExecutor.__init__.__code__.co_filename, "<frozen importlib>"):
        assert not is_own(file), file


def test_the_place_is_the_innermost_own_frame() -> None:
    mine, other = ("/home/u/p.py", 3, "f"), (json.__file__, 9, "loads")
    assert place([mine, other]) == "/home/u/p.py:3, in f"
    assert place([other, mine, other, other]) == "/home/u/p.py:3, in f"
    assert place([other]) == f"{json.__file__}:9, in loads"
    assert place([]) == ""


def test_causes_are_told_once() -> None:
    def chained() -> None:
        try:
            json.loads("{")
        except ValueError as error:
            raise RuntimeError("fit failed") from error

    first, second, third = reason_of(raised(chained)).splitlines()
    assert first == "RuntimeError: fit failed"
    assert second.startswith("caused by json.decoder.JSONDecodeError: Expecting property name")
    assert third.startswith(f"  at {__file__}:")
    circle = ValueError("round")
    circle.__cause__ = circle
    assert reason_of(circle) == "ValueError: round"


@pytest.mark.parametrize("text", [True, False])
def test_a_program_that_fails_is_shown_with_the_end_of_its_stderr(text: bool) -> None:
    program = "import sys; print(*range(9), sep='\\n', file=sys.stderr); sys.exit(3)"
    error = raised(lambda: subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=text))
    first, *rest = reason_of(error).splitlines()
    assert first.startswith("subprocess.CalledProcessError: `")
    assert first.endswith("` ended with exit code 3; its stderr ends:")
    assert rest == ["  4", "  5", "  6", "  7", "  8"]


def test_what_programs_are_called_and_how_they_end() -> None:
    said = reason_of(subprocess.CalledProcessError(-9, ["a b", "c"], stderr=""))
    assert said == "subprocess.CalledProcessError: `'a b' c` was killed by signal 9"
    said = reason_of(subprocess.CalledProcessError(1, "x | y" * 200, stderr=b"\xff"))
    assert len(said) < 400
    assert said.endswith("ended with exit code 1; its stderr ends:\n  \\xff")
    assert reason_of(subprocess.TimeoutExpired("x", 5)) == "subprocess.TimeoutExpired: `x` took longer than 5 s"


def test_the_last_stack_in_a_log() -> None:
    text = (
        'said before\nTimeout (0:00:01)!\nThread 0x1 (most recent call first):\n  File "/old.py", line 1 in f\n'
        'Timeout (0:00:02)!\nThread 0x2 (most recent call first):\n  File "/other.py", line 9 in g\n\n'
        f'Thread 0x1 (most recent call first):\n  File "{json.__file__}", line 2 in loads\n'
        '  File "/home/u/p.py", line 7 in fit\n  File "/home/u/p.py", line 3 in <module>\n'
    )
    stack, where = dumped(text)
    assert stack.startswith("Timeout (0:00:02)!")
    assert where == "/home/u/p.py:7, in fit"
    assert dumped("Timeout, said the task\n") == ("", "")


def test_failures_of_local_tasks(lab: Lab) -> None:
    lab.write("""
    import collections, itertools, json

    @wf.job()
    def library() -> int:
        return len(json.loads("{"))

    @wf.job()
    def program() -> int:
        subprocess.run(["sh", "-c", "echo to the log >&2; exit 3"], check=True)
        return 1

    @wf.job(time="1s")
    def slow() -> int:
        time.sleep(60)
        return 1

    @wf.job(time="1s")
    def stuck() -> int:
        collections.deque(itertools.repeat(0), maxlen=0)  # never returns to the interpreter
        return 1
    """)
    run = lab.run(LocalExecutor(max_workers=4))
    status = run.status(elements=True)
    found = {failure["task"]: failure for failure in status["failures"]}
    assert all(row["duration"] is not None for row in status["tasks"])
    assert all(row["started"] and row["ended"] for row in status["elements"])
    for name, failure in found.items():
        assert failure["place"].startswith(f"{lab.file}:"), failure
        assert failure["place"].endswith(f", in {name}")
        assert os.path.exists(failure["log"])
    assert found["program"]["reason"].splitlines()[1:] == ["  to the log"]
    assert found["slow"]["class"] == found["stuck"]["class"] == "timeout"
    assert "TaskInterrupted" in found["slow"]["traceback"]
    assert "most recent call first" in found["stuck"]["traceback"]


def test_a_launch_that_fails_has_a_log(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return [1, 2]

    @wf.array_job(setup="echo out of order >&2; exit 3")
    def work(n: Annotated[int, Result(step="make")]) -> int:
        return n
    """)
    run = lab.run(LocalExecutor(max_workers=2))
    failures = run.status()["failures"]
    assert [failure["class"] for failure in failures] == ["launch", "launch"]
    for failure in failures:
        said = Path(failure["log"]).read_text()
        assert "out of order" in said
        assert run.logs("work", failure["index"]) == said
        assert str(run.log_path("work", failure["index"])) == failure["log"]


def test_a_refused_submission_has_a_log(sim: Any) -> None:
    one = sim()

    def refuse(job: Any) -> None:
        raise ExecutorError("sbatch: error: invalid partition 'nope'")

    one.cluster.submit = refuse
    run = one.submit("""
    @wf.job()
    def make() -> int:
        return 1
    """)
    one.end("FAILED")
    (failure,) = run.status()["failures"]
    assert failure["class"] == "launch"
    assert "invalid partition 'nope'" in run.logs("make")
    assert Path(failure["log"]).is_file()
