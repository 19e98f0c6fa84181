"""What a run would do is shown, and nothing is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reflow.errors import NotReady, UsageError
from reflow.model.definition import Entry
from reflow.run.service.dry_run import Rehearsal, show
from reflow.worker.load import load_flow
from reflow.workflow import Workflow

SCRIPT = """
from typing import Annotated
import reflow

wf = reflow.Workflow("rehearsed")

@wf.job(env={"TOKEN": "s3cret"})
def numbers(n: Annotated[int, reflow.Param()]) -> list[int]:
    return list(range(n))

@wf.array_job(mem="2G", array_parallelism=3)
def double(x: Annotated[int, reflow.Result(step="numbers")]) -> int:
    return 2 * x
"""


@pytest.fixture
def wf(tmp_path: Path) -> Workflow:
    script = tmp_path / "rehearsed.py"
    script.write_text(SCRIPT)
    flow = load_flow(Entry(file=str(script), module="rehearsed", variable="wf", path=(str(tmp_path),)))
    assert isinstance(flow, Workflow)
    return flow


def test_local(wf: Workflow, tmp_path: Path) -> None:
    steps = wf.dry_run(tmp_path / "run", executor="local", store_path=tmp_path / "store", n=3)
    assert [(step["task"], step["array"], step["after"]) for step in steps] == [
        ("numbers", False, []),
        ("double", True, ["numbers"]),
    ]
    assert all(step["note"] and "script" not in step for step in steps)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "store").exists()


def test_a_scheduler_that_is_not_here(wf: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("reflow_slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    numbers, double, wake = wf.dry_run(tmp_path / "run", executor="slurm", store_path=tmp_path / "store", n=3)
    assert numbers["command"].startswith("sbatch --parsable ")
    assert "import reflow.worker.__main__" in numbers["script"]
    assert "s3cret" not in numbers["script"]
    assert "#SBATCH --mem=2097152K" in double["script"]
    assert "--array=0-0%3" in double["script"]
    assert "from reflow.run.drive.wakeup_main import main" in wake["script"]
    assert len({step["command"] for step in (numbers, double, wake)}) == 3
    assert not (tmp_path / "run").exists()


def test_mistakes_are_told_as_by_submit(wf: Workflow, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a value is missing for n"):
        wf.dry_run(tmp_path / "run", executor="local", store_path=tmp_path / "store")
    with pytest.raises(UsageError, match="no task 'dobule'"):
        wf.dry_run(tmp_path / "run", executor="local", store_path=tmp_path / "store", force_tasks=["dobule"], n=1)


def test_the_mode_dry_run_prints_and_returns_a_run_that_is_none(
    wf: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("reflow_slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    created: list[object] = []
    run = wf.submit(
        tmp_path / "run",
        executor="dry-run",
        store_path=tmp_path / "store",
        wait=True,
        on_created=created.append,
        n=3,
    )
    out = capsys.readouterr().out
    assert out.index("# numbers") < out.index("$ sbatch") < out.index("# double, after numbers")
    assert run.state.value == run.wait().value == run.status()["run"]["status"] == "PENDING"
    assert run.run_id.startswith("rehearsed-")
    assert isinstance(run, Rehearsal)
    assert [step["task"] for step in run.steps] == ["numbers", "double", "wake-up"]
    for refused in (run.cancel, run.retry, run.drive):
        with pytest.raises(UsageError, match="only rehearsed"):
            refused()
    with pytest.raises(NotReady):
        run.result("numbers")
    assert created == []
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "store").exists()


def test_on_created(wf: Workflow, tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    run = wf.run_local(
        tmp_path / "run",
        executor="inline",
        store_path=tmp_path / "store",
        n=1,
        on_created=lambda made: seen.append((made.run_id, made.state.value)),
    )
    assert seen == [(run.run_id, "PENDING")]


def test_what_is_no_executor(wf: Workflow, tmp_path: Path) -> None:
    slurm = pytest.importorskip("reflow_slurm.dialect").SlurmExecutor
    for executor, message in (
        (slurm, "executor=SlurmExecutor is a class"),
        (3, "executor=3 is neither an executor nor the name of one"),
        (
            slurm(sbatch="/nowhere/sbatch", scontrol="/nowhere/scontrol"),
            "there is no program '/nowhere/sbatch' on this machine",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            wf.submit(tmp_path / "run", executor=executor, store_path=tmp_path / "store", n=1)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "store").exists()


def test_no_scheduler_is_to_run_a_task_again(wf: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("reflow_slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="task 'double': 'requeue' is not for tasks"):
        wf.dry_run(
            tmp_path / "run", executor="slurm", store_path=tmp_path / "store", overrides=["double.requeue=true"], n=1
        )
    *tasks, wake = wf.dry_run(tmp_path / "run", executor="slurm", store_path=tmp_path / "store", n=1)
    assert all("#SBATCH --no-requeue" in step["script"] for step in tasks)
    assert "#SBATCH --requeue" in wake["script"]


def test_no_control_sequence_of_a_script_reaches_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = {"task": "one", "after": [], "note": "\x1b[2J", "script": "a\n\x1b]0;owned\x07\tb\n", "command": "s \x9b1m"}
    show([step])
    assert "\x1b[2J" in capsys.readouterr().out, "a file has it as it is"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    show([step])
    assert capsys.readouterr().out == "# one (\\x1b[2J)\na\n\\x1b]0;owned\\x07\tb\n$ s \\x9b1m\n\n"
