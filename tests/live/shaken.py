"""Three stages whose elements misbehave as they are told: what the live tests run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Annotated

from reflow import Param, Result, RunDir, Workflow

wf = Workflow("shaken")


def _ledger(run_dir: Path, task: str, value: int) -> None:
    """Leave one file for each time that user code was run: what ran twice is seen."""
    folder = run_dir / "ledger"
    folder.mkdir(exist_ok=True)
    (folder / f"{task}.{value}.{os.environ.get('REFLOW_JOB_ID', '')}.{time.time_ns()}").touch()


def _misbehave(run_dir: Path, value: int, mishaps: str) -> None:
    for item in mishaps.split(","):
        which, _, what = item.partition("=")
        if which != str(value) or (run_dir / "mended").exists():
            continue
        if what == "exit":
            os._exit(3)
        elif what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "leave":  # something that no signal to this process's group or session reaches
            subprocess.Popen(["setsid", "sleep", "240"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            os._exit(4)
        elif what == "hold":
            while not (run_dir / "mended").exists():
                time.sleep(0.2)
        elif what == "raise":
            raise ValueError(f"{value} was told to fail")
        elif what == "eat":
            hoard = bytearray(1 << 29)
            for page in range(0, len(hoard), 4096):
                hoard[page] = 1
            time.sleep(30)
        else:
            time.sleep(float(what))


@wf.job()
def make(
    n: Annotated[int, Param(help="how many elements")] = 10,
    pause: Annotated[float, Param(help="seconds that the first stage takes")] = 0.0,
    run_dir: RunDir = RunDir(),
) -> list[int]:
    _ledger(run_dir, "make", n)
    time.sleep(pause)
    return list(range(n))


@wf.array_job(retries=int(os.environ.get("SHAKEN_RETRIES", "0")))
def square(
    value: Annotated[int, Result(step="make")],
    mishaps: Annotated[str, Param(help="element=exit|kill|leave|hold|raise|eat|SECONDS, separated by commas")] = "",
    run_dir: RunDir = RunDir(),
) -> int:
    _ledger(run_dir, "square", value)
    print(f"squaring {value}", flush=True)
    _misbehave(run_dir, value, mishaps)
    return value * value


@wf.job()
def total(squares: Annotated[list[int], Result(step="square")], run_dir: RunDir = RunDir()) -> int:
    _ledger(run_dir, "total", len(squares))
    return sum(squares)


if __name__ == "__main__":
    wf.cli()
