"""Three stages that keep a ledger, and whose processes kill themselves at random: before, in and after their work."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Annotated

from reflow import Param, Result, RunDir, Workflow, context

wf = Workflow("hunted")

#: of those attempts that may be, the part that kills its own process
_DOOMED = 0.05


def _enter(run_dir: Path, what: str) -> None:
    """Leave a file: ``TASK.INDEX.ATTEMPT.WHAT.PID.TIME``."""
    here = context()
    folder = run_dir / "ledger" / f"{here.task}.{here.index // 500}"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{here.task}.{here.index}.{here.attempt}.{what}.{os.getpid()}.{time.time_ns()}"
    (folder / name).touch(exist_ok=False)


def _work(run_dir: Path, seed: int) -> None:
    """Work for a moment, or be killed at it, or soon after: while its end is being written down."""
    here = context()
    dice = random.Random(f"{seed} {here.task} {here.index} {here.attempt}")
    _enter(run_dir, "begin")
    fate = dice.random() if seed and here.attempt < 3 else 1.0
    time.sleep(dice.uniform(0.0, 0.2))
    if fate < _DOOMED / 2:
        os.kill(os.getpid(), signal.SIGKILL)
    _enter(run_dir, "doomed" if fate < _DOOMED else "end")
    if fate < _DOOMED:
        threading.Timer(dice.uniform(0.0, 0.05), os.kill, (os.getpid(), signal.SIGKILL)).start()


@wf.job(retries=6)
def make(
    n: Annotated[int, Param(help="how many elements")] = 200,
    seed: Annotated[int, Param(help="what the dice begin with; 0: no process kills itself")] = 0,
    run_dir: RunDir = RunDir(),
) -> list[int]:
    _work(run_dir, seed)
    return list(range(n))


@wf.array_job(retries=6)
def square(
    value: Annotated[int, Result(step="make")],
    seed: Annotated[int, Param(help="what the dice begin with; 0: no process kills itself")] = 0,
    run_dir: RunDir = RunDir(),
) -> int:
    _work(run_dir, seed)
    return value * value


@wf.job(retries=6)
def total(
    squares: Annotated[list[int], Result(step="square")],
    seed: Annotated[int, Param(help="what the dice begin with; 0: no process kills itself")] = 0,
    run_dir: RunDir = RunDir(),
) -> int:
    _work(run_dir, seed)
    return sum(squares)


if __name__ == "__main__":
    wf.cli()
