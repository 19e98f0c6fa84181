"""Fan-out and gather as a workflow; reflow and reflow-hpc both run it. Usage: ``flow.py ELEMENTS WORKERS RUN_DIR``."""

from __future__ import annotations

import sys
import time
from typing import Annotated

from reflow import Param, Result, Workflow

wf = Workflow("bench")


@wf.job()
def numbers(elements: Annotated[int, Param(help="how many")]) -> list[int]:
    """Count."""
    return list(range(elements))


@wf.array_job()
def noop(x: Annotated[int, Result(step="numbers")]) -> int:
    """Give the number back."""
    return x


@wf.job()
def total(xs: Annotated[list[int], Result(step="noop")]) -> int:
    """Add up."""
    return sum(xs)


if __name__ == "__main__":
    from report import report

    begin = time.perf_counter()
    run = wf.run_local(run_dir=sys.argv[3], max_workers=int(sys.argv[2]), elements=int(sys.argv[1]))
    seconds = time.perf_counter() - begin
    result = getattr(run, "result", None)  # reflow-hpc has none
    report(seconds, result("total") if result else None)
