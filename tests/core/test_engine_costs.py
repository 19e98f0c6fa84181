"""What a run costs, counted rather than timed: it grows with the number of elements, slowly."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reflow import LocalExecutor, Run
from reflow.model.frames import parse
from reflow.run.views import status as view

FAN = """
@wf.job()
def make(n: Annotated[int, Param()]) -> list[int]:
    return list(range(n))

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    return x

@wf.job()
def total(x: Annotated[list[int], Result(step="work")]) -> int:
    return sum(x)
"""


class Counted:
    """Counts of what was asked of the system by this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = self.statements = self.opens = 0
        fsync, connect, opened = os.fsync, sqlite3.connect, os.open

        def counting_fsync(file: int) -> None:
            self.syncs += 1
            fsync(file)

        def counting_open(*args: Any, **kwargs: Any) -> int:
            self.opens += 1
            return opened(*args, **kwargs)

        def counting_connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection = connect(*args, **kwargs)
            connection.set_trace_callback(self.trace)
            return connection

        monkeypatch.setattr(os, "fsync", counting_fsync)
        monkeypatch.setattr(os, "open", counting_open)
        monkeypatch.setattr(sqlite3, "connect", counting_connect)

    def trace(self, statement: str) -> None:
        self.statements += 1


def records(run: Run) -> int:
    return sum(len(parse(path.read_bytes())[0]) for path in Path(run.root).glob("events/*/*.log"))


def files(run: Run) -> int:
    return sum(len(names) for _, _, names in os.walk(run.root))


def measure(lab: Any, monkeypatch: pytest.MonkeyPatch, size: int, backend: str, force: bool) -> dict[str, int]:
    with monkeypatch.context() as patch:
        patch.setenv("REFLOW_CACHE_BACKEND", backend)
        counted = Counted(patch)
        run = lab.good(LocalExecutor(max_workers=2), n=size, force=force)
    assert run.result("total") == size * (size - 1) // 2
    return {
        "syncs": counted.syncs,
        "opens": counted.opens,
        "statements": counted.statements,
        "records": records(run),
        "files": files(run),
    }


@pytest.mark.parametrize("backend", ["segments", "sqlite"])
def test_a_run_costs_little_more_than_its_elements(lab: Any, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    lab.write(FAN)
    small, large = (measure(lab, monkeypatch, size, backend, True) for size in (100, 1000))
    cached = measure(lab, monkeypatch, 1000, backend, False)
    # Records: one for each element, and of the mailbox's pieces; a file for each element's log.
    assert 1000 <= large["records"] <= 1000 + 700
    assert 1000 <= large["files"] <= 1000 + 40
    assert large["records"] - small["records"] <= 1.7 * 900
    # What is synced and opened by the driving process grows with time, not with elements.
    for name, most in (("syncs", 250), ("opens", 500)):
        assert small[name] <= most
        assert large[name] <= most + 100
    # Statements: a fixed number, or pages of a thousand.
    assert large["statements"] <= small["statements"] + 1000 * 1.1 + 40
    assert cached["statements"] <= 40 + small["statements"]
    assert cached["syncs"] <= 60
    assert cached["records"] <= 1000 + 60
    assert cached["files"] <= 40


def test_looking_at_a_run_reads_each_record_once(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(FAN)
    run = lab.good(n=300)
    applied = 0
    apply = view.State.apply

    def counting(self: Any, *args: Any) -> None:
        nonlocal applied
        applied += 1
        apply(self, *args)

    monkeypatch.setattr(view.State, "apply", counting)
    run.status()
    assert applied == records(run)


def test_no_directory_of_many_elements_grows_beyond_a_thousand_entries(lab: Any) -> None:
    lab.write(FAN)
    run = lab.good(LocalExecutor(max_workers=2), n=2100)
    found = {path: len(dirs) + len(names) for path, dirs, names in os.walk(run.root)}
    assert max(found.values()) == 1000
    assert run.log_path("work", 2099).parent.name == "2"


def test_results_of_several_workers_are_read_as_they_lie(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of two workers take turns in the file: it is read once, not forth and back with each of them."""
    lab.write(FAN)
    run = lab.good(LocalExecutor(max_workers=2), n=2000)
    reads = 0
    pread = os.pread

    def counting(*args: Any) -> bytes:
        nonlocal reads
        reads += 1
        return pread(*args)

    monkeypatch.setattr(os, "pread", counting)
    assert run.results("work") == list(range(2000))
    assert reads <= 2 + sum(path.stat().st_size for path in Path(run.root).glob("events/*/*.log")) // (1 << 16)


def test_a_worker_gets_ready_while_an_array_is_found_out(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, and none where there may be nothing to do, or no room."""
    lab.write(FAN)
    seen: list[tuple[int, int]] = []
    warm = LocalExecutor.warm

    def watched(pool: LocalExecutor) -> None:
        before = len(pool._lanes)
        warm(pool)
        seen.append((before, len(pool._lanes)))

    monkeypatch.setattr(LocalExecutor, "warm", watched)
    lab.good(LocalExecutor(max_workers=3), n=20)
    lab.good(LocalExecutor(max_workers=3), n=20)
    lab.good(LocalExecutor(max_workers=1), n=20, force=True)
    assert seen == [(1, 2), (0, 0), (1, 1)]


LEAN = (
    """
from __future__ import annotations
import sys
from typing import Annotated
import msgspec
before = set(sys.modules)  # of Python 3.10's, it loads some of them itself
from reflow import Param, Result, Workflow

wf = Workflow("lean")
"""
    + FAN
    + """
if __name__ == "__main__":
    wf.run_local("run", n=5, executor="local")
    unwanted = {"subprocess", "hashlib", "_hashlib", "reflow.batch.command", "reflow.worker.main", "typer", "rich"}
    print(sorted(unwanted & set(sys.modules) - before))
"""
)


def test_a_run_of_which_all_is_cached_loads_nothing_that_starts_processes(tmp_path: Path) -> None:
    (tmp_path / "lean.py").write_text(LEAN)
    argv = [sys.executable, "lean.py"]
    said = [subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert said[0] == "['subprocess']\n" or sys.version_info < (3, 11)
    assert said[1] == "[]\n"
