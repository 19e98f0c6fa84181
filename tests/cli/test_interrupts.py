"""Ctrl-C, cancellation from elsewhere, and what continues a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reflow.cli import summary
from reflow.cli.session import Session
from reflow.errors import UsageError
from reflow.local.inline import InlineExecutor
from reflow.model.definition import Definition, Entry
from reflow.model.names import RunState

DEMO = Definition(
    run_id="demo-1", workflow="demo", created=0.0, run_dir="/", cwd="/", entry=Entry(), tasks=(), executor="local"
)

PIPELINE = """
from __future__ import annotations
import time
from pathlib import Path
from typing import Annotated
from reflow import Result, RunDir, Workflow

wf = Workflow("slow")

@wf.job()
def make() -> list[int]:
    return [0, 1, 2, 3]

@wf.array_job()
def work(item: Annotated[int, Result(step="make")], run_dir: RunDir) -> int:
    print("begun", flush=True)
    Path(run_dir, f"begun{item}").touch()
    while not Path(run_dir, "go").exists():
        time.sleep(0.05)
    return item

if __name__ == "__main__":
    wf.cli()
"""


class Slow:
    """A pipeline that waits for a file, and its command line."""

    def __init__(self, path: Path) -> None:
        self.path, self.run_dir = path, path / "run"
        self.begun: list[subprocess.Popen[str]] = []
        (path / "pipeline.py").write_text(PIPELINE)

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "pipeline.py", *words],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self) -> tuple[subprocess.Popen[str], str]:
        """A run whose array task has begun: its process and its id."""
        process = subprocess.Popen(
            [sys.executable, "pipeline.py", "run", "--executor", "local", "--run-dir", "run", "--max-workers", "1"],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.begun.append(process)
        assert process.stdout is not None
        created, run_id, *_ = process.stdout.readline().split()[1:]
        assert created == "run"
        for _ in range(600):
            if list(self.run_dir.glob("begun*")):
                return process, run_id
            time.sleep(0.05)
        process.kill()
        raise AssertionError(process.communicate())

    def close(self) -> None:
        """End what a test that failed has left, so that none fails for another one's sake."""
        if self.run_dir.exists():
            self.go()
        for process in self.begun:
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=30)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("status", "--json").stdout)
        return found

    def go(self) -> None:
        (self.run_dir / "go").touch()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    found = Slow(tmp_path)
    yield found
    found.close()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, err


def test_sigterm_ends_a_driver_whatever_lies_among_its_commands(slow: Slow) -> None:
    """A FIFO that nobody writes into was waited for, and the signal with it."""
    process, run_id = slow.start()
    commands = slow.run_dir / ".reflow" / run_id / "mailbox" / "commands"
    commands.mkdir(exist_ok=True)
    os.mkfifo(commands / "evil.json")
    process.send_signal(signal.SIGTERM)
    code, err = ended(process)
    assert code != 0
    assert f"run {run_id} CANCELLED" in err
    assert "evil.json holds no command" in err


def test_ctrl_c_cancels_and_retry_continues(slow: Slow) -> None:
    process, run_id = slow.start()
    process.send_signal(signal.SIGINT)
    code, err = ended(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert f"run {run_id} CANCELLED" in err
    assert f"retry {run_id}" in err
    assert slow.status()["run"]["status"] == "CANCELLED"
    slow.go()
    found = slow("retry", "latest")
    assert found.returncode == 0, found.stderr
    assert slow.status()["summary"]["work"]["SUCCESS"] == 4


def test_cancel_from_elsewhere(slow: Slow) -> None:
    process, run_id = slow.start()
    found = slow("cancel", run_id)
    assert found.returncode == 0, found.stderr
    assert "cancelled" in found.stdout
    code, err = ended(process)
    assert code == 130, err
    assert slow.status()["run"]["status"] == "CANCELLED"
    assert "nothing to cancel" in slow("cancel", run_id).stdout


def test_a_run_whose_process_was_killed(slow: Slow) -> None:
    process, run_id = slow.start()
    process.kill()
    process.communicate(timeout=30)
    slow.go()
    found = slow("drive", run_id, "--once")
    assert found.returncode == 2
    assert "cannot be driven by steps" in found.stderr
    found = slow("drive", run_id, "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["status"] == "SUCCESS"


def test_a_log_is_followed_to_its_end(slow: Slow) -> None:
    process, _ = slow.start()
    index = int(next(slow.run_dir.glob("begun*")).name.removeprefix("begun"))
    follower = subprocess.Popen(
        [sys.executable, "pipeline.py", "logs", f"work[{index}]", "--follow"],
        cwd=slow.path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begun\n"
    assert follower.poll() is None
    slow.go()
    assert ended(process)[0] == 0
    assert follower.communicate(timeout=30)[0] == ""
    assert follower.returncode == 0


# Where wake-up jobs drive the run

RUNNING = {"run": {"run_id": "demo-1", "status": "RUNNING", "ended": None, "reason": ""}, "failures": [], "summary": {}}


def test_ctrl_c_leaves_a_chained_run(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session("reflow")
    with pytest.raises(KeyboardInterrupt), summary.interruptible(session, lambda: "demo-1"):
        raise KeyboardInterrupt
    err = capsys.readouterr().err
    assert "run demo-1 goes on without this terminal; `reflow status demo-1`" in err
    assert "`reflow drive demo-1`" in err
    with pytest.raises(KeyboardInterrupt), summary.interruptible(session, lambda: ""):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "", "there was no run yet"


def test_ctrl_c_names_what_continues_a_driven_run(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session("python pipeline.py")
    with pytest.raises(KeyboardInterrupt), summary.interruptible(session, lambda: "demo-1", lambda: False):
        raise KeyboardInterrupt
    err = capsys.readouterr().err
    assert "run demo-1 stands as it was left, and nothing drives it now" in err
    assert "`python pipeline.py drive demo-1` continues it" in err


@pytest.mark.parametrize(("words", "once"), [([], False), (["--once"], True)])
def test_drive_is_what_python_does(words: list[str], once: bool, reflow: Callable[..., Any], shelf: Any) -> None:
    run = shelf.add(status=RUNNING)
    assert reflow("drive", "latest", *words).code == 0
    name, _, given = run.asked[0]
    assert (name, given["once"], callable(given["on_progress"])) == ("drive", once, True)


@pytest.mark.parametrize(("once", "steps"), [(False, ["foreground"]), (True, ["advance"])])
def test_driving_submits_no_wake_ups(once: bool, steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from reflow.run.service import api

    called: list[tuple[str, bool]] = []
    for name in ("foreground", "advance"):
        monkeypatch.setattr(api, name, lambda root, executor, *, chain, name=name, **_: called.append((name, chain)))
    monkeypatch.setattr(api.Run, "_executor", lambda self: object())
    monkeypatch.setattr(api.Run, "_require_python", lambda self: None)
    monkeypatch.setattr(api.Run, "state", RunState.RUNNING)
    assert api.Run("/root", DEMO).drive(once=once) is RunState.RUNNING
    assert called == [(step, False) for step in steps]


def test_a_run_that_another_process_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    from reflow.run.service import api

    said: list[str] = []
    monkeypatch.setattr(api.Run, "_executor", lambda self: InlineExecutor())
    monkeypatch.setattr(api.Run, "_require_python", lambda self: None)
    monkeypatch.setattr(api.Run, "state", RunState.RUNNING)
    monkeypatch.setattr(api, "drive", lambda root, executor, progress: None)
    run = api.Run("/root", DEMO)
    run.drive(on_progress=lambda event: said.append(event.message))
    assert said == ["run demo-1 is driven by another process"]
    with pytest.raises(UsageError, match="cannot be driven by steps"):
        run.drive(once=True)
