"""Two branches that have nothing to do with each other until the end."""

from __future__ import annotations

import time
from typing import Annotated

from reflow import Param, Result, Workflow

wf = Workflow("branches")


@wf.job()
def slow(seconds: Annotated[float, Param(help="how long the slow branch takes")] = 30.0) -> float:
    time.sleep(seconds)
    return time.time()


@wf.job()
def quick() -> list[int]:
    return [1, 2, 3]


@wf.array_job()
def quicker(value: Annotated[int, Result(step="quick")]) -> float:
    return time.time() + value * 0


@wf.job()
def quickest(times: Annotated[list[float], Result(step="quicker")]) -> float:
    return time.time()


@wf.job()
def both(late: Annotated[float, Result(step="slow")], early: Annotated[float, Result(step="quickest")]) -> list[float]:
    return [late, early]


if __name__ == "__main__":
    wf.cli()
