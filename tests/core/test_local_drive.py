"""A run that is driven by a process of its own: interrupted, killed, cancelled from elsewhere, and gone on with."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from reflow import Run, RunState

WORK = """
@wf.job()
def make() -> list[int]:
    return list(range({size}))

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    note("begin", x)
    time.sleep({seconds})
    note("end", x)
    return x

@wf.job()
def total(x: Annotated[list[int], Result(step="work")]) -> int:
    note("total")
    return sum(x)
"""


def start(lab: Any) -> subprocess.Popen[str]:
    """Run the script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(lab.file), "run", "--run-dir", str(lab.run_dir), "--executor", "local"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def lines(lab: Any) -> list[str]:
    try:
        return list((lab.path / "ledger").read_text().splitlines())
    except FileNotFoundError:
        return []


def succeeded(run: Run) -> set[int]:
    rows = run.status(elements=True)["elements"]
    return {row["index"] for row in rows if row["task"] == "work" and row["state"] == "SUCCESS"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_cleanly_and_goes_on(lab: Any, number: signal.Signals) -> None:
    lab.write(WORK.format(size=30, seconds=0.05))
    process = start(lab)
    until(lambda: len(lines(lab)) > 6)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130, output
    run = Run.open(lab.run_dir)
    assert run.state is RunState.CANCELLED
    assert run.status()["run"]["reason"] in ("cancelled", f"interrupted by {number.name}")
    assert set(lab.counts(run)["work"]) == {"SUCCESS", "CANCELLED"}
    done = succeeded(run)
    run.retry()
    assert run.state is RunState.SUCCESS
    began = collections.Counter(lines(lab))
    assert {x for x in range(30) if began[f"begin {x}"] > 1} & done == set()
    assert all(began[f"end {x}"] >= 1 for x in range(30))
    assert run.result("total") == sum(range(30))


def test_a_killed_driver_loses_nothing_and_nothing_that_succeeded_runs_twice(lab: Any) -> None:
    lab.write(WORK.format(size=30, seconds=0.05))
    process = start(lab)
    until(lambda: len(lines(lab)) > 20)
    process.kill()
    process.communicate()
    run = Run.open(lab.run_dir)
    told = run.status()["run"]
    assert told["status"] == "STALLED"
    assert "the process that drove it is gone" in told["reason"]
    done = until(lambda: succeeded(run))  # read from what workers wrote: nobody has ingested it
    assert len(done) >= 5
    run.retry()
    assert run.state is RunState.SUCCESS
    counted = collections.Counter(lines(lab))
    assert {x for x in range(30) if counted[f"begin {x}"] > 1} & done == set()
    assert sum(counted[f"begin {x}"] for x in range(30)) <= 32
    assert run.result("total") == sum(range(30))


def test_workers_whose_driver_was_killed_before_they_began_run_nothing(lab: Any) -> None:
    lab.write(WORK.format(size=10, seconds=0.1))
    process = start(lab)
    mailbox = until(lambda: list(lab.run_dir.glob(".reflow/*/mailbox/*")))[0]
    process.kill()
    process.communicate()
    run = Run.open(lab.run_dir)
    run.retry()
    assert mailbox.exists()
    time.sleep(0.2)
    counted = collections.Counter(lines(lab))
    assert {x: counted[f"begin {x}"] for x in range(10)} == dict.fromkeys(range(10), 1)
    assert run.result("total") == 45


def test_what_failed_before_the_driver_was_killed_is_tried_again_too(lab: Any) -> None:
    lab.write(WORK.format(size=12, seconds=0.05))
    lab.edit('note("end", x)', 'note("end", x)\n    if x == 0 and not flag("fixed"):\n        raise ValueError')
    process = start(lab)
    until(lambda: len(lines(lab)) > 10)
    process.kill()
    process.communicate()
    lab.touch("fixed")
    run = Run.open(lab.run_dir)
    run.retry()
    assert run.state is RunState.SUCCESS
    assert run.result("total") == sum(range(12))


def test_cancelling_from_another_process(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2, 3]

    @wf.array_job()
    def slow(x: Annotated[int, Result(step="make")]) -> int:
        note("slow", x)
        if not flag("fixed"):
            time.sleep(60)
        return x

    @wf.array_job(cpus=1)
    def paced(x: Annotated[int, Result(step="make")]) -> int:
        note("paced", x)
        if not flag("fixed"):
            time.sleep(60)
        return x

    @wf.job()
    def behind(x: Annotated[list[int], Result(step="slow")]) -> int:
        return sum(x)
    """)
    process = start(lab)
    until(lambda: len(lines(lab)) == 2)
    run = Run.open(lab.run_dir)
    first = lines(lab)
    task, _, index = first[0].partition(" ")
    told = run.cancel(task, [int(index)])
    assert told["said"] == "cancelled 1 queued or running and 0 waiting elements"
    until(lambda: len(lines(lab)) == 3)  # another one has its place
    assert lab.counts(run)[task]["CANCELLED"] == 1
    run.cancel("slow")
    run.cancel("paced")
    output, _ = process.communicate(timeout=20)
    assert run.state is RunState.CANCELLED, output
    assert lab.counts(run) == {
        "make": {"SUCCESS": 1},
        "slow": {"CANCELLED": 4},
        "paced": {"CANCELLED": 4},
        "behind": {"SKIPPED": 1},
    }
    lab.touch("fixed")
    run.retry()
    assert run.state is RunState.SUCCESS
    assert run.result("behind") == 6


def test_cancelling_the_run_ends_it_at_once(lab: Any) -> None:
    lab.write(WORK.format(size=4, seconds=60))
    process = start(lab)
    until(lambda: len(lines(lab)) == min(2, os.cpu_count() or 1))
    began = time.monotonic()
    Run.open(lab.run_dir).cancel()
    process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert lab.counts(Run.open(lab.run_dir)) == {
        "make": {"SUCCESS": 1},
        "work": {"CANCELLED": 4},
        "total": {"CANCELLED": 1},
    }


def test_two_processes_run_in_one_directory_with_one_cache(lab: Any) -> None:
    lab.write(WORK.format(size=20, seconds=0.01))
    processes = [start(lab), start(lab)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    found = [Run.open(path) for path in lab.run_dir.glob(".reflow/*") if path.is_dir()]
    assert [run.result("total") for run in found] == [190, 190]
    lab.ran()
    assert lab.good().result("total") == 190
    assert lab.ran() == []


def test_workers_that_never_get_ready_do_not_hold_up_the_end(lab: Any) -> None:
    lab.write("""
    @wf.job(setup=f"touch {HERE}/preparing; sleep 300")
    def one() -> int:
        return 1
    """)
    process = start(lab)
    until((lab.path / "preparing").exists)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 130
    assert lab.counts(Run.open(lab.run_dir)) == {"one": {"CANCELLED": 1}}


def test_nobody_watching_any_more_stops_no_run(lab: Any) -> None:
    """As with ``run 2>&1 | head -1``: a submission that stops half-way leaves jobs that nothing wakes up for."""
    lab.write(WORK.format(size=3, seconds=0))
    told: list[object] = []

    def gone(progress: object) -> None:
        told.append(progress)
        raise BrokenPipeError

    assert lab.good("inline", on_progress=gone).result("total") == 3
    assert len(told) == 1
