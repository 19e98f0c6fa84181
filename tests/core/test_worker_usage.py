"""CPU seconds and peak memory of an element are its own, whatever ran before it in the same process."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from reflow import LocalExecutor
from reflow.worker import usage
from reflow.worker.usage import Meter

MIB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets the mark")

USES = """
def burn(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass

@wf.job()
def make() -> list[str]:
    return ["nothing", "memory", "nothing", "cpu", "nothing", "child", "nothing", "small child", "nothing"]

@wf.array_job()
def work(what: Annotated[str, Result(step="make")]) -> int:
    if what == "memory":
        held = bytearray(b"x") * (300 << 20)
    elif what == "cpu":
        burn(0.5)
    elif what == "child":
        subprocess.run([sys.executable, "-c", "held = bytearray(b'x') * (300 << 20)"], check=True)
    elif what == "small child":
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    return os.getpid()
"""


@linux
def test_figures_of_an_element_are_its_own(lab: Any) -> None:
    lab.write(USES)
    run = lab.good(LocalExecutor(max_workers=1))
    assert len(set(run.results("work"))) == 1
    rows = [row for row in run.status(elements=True)["elements"] if row["task"] == "work"]
    (quiet, memory, after, cpu, later, child, last, small, end) = rows
    assert 300 * MIB <= memory["max_rss"] < 400 * MIB
    assert 300 * MIB <= child["max_rss"] < 400 * MIB
    assert small["max_rss"] is None, "the system knows the largest of all children alone"
    for row in (quiet, after, cpu, later, last, end):
        assert 0 < row["max_rss"] < 150 * MIB
    assert cpu["cpu"] >= 0.5
    assert all(row["cpu"] < 0.25 for row in (quiet, after, later, last, end))
    for row in rows:
        assert row["cpu"] <= (row["ended"] - row["started"]) * (os.cpu_count() or 1) + 0.02


@linux
def test_the_mark_is_reset_for_each_element() -> None:
    meter = Meter(alone=True)
    held = bytearray(b"x") * (200 * MIB)
    first = meter.end()[1]
    del held
    meter.begin()
    assert meter.end()[1] < first - 150 * MIB


def test_nobody_knows_where_the_mark_cannot_be_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, and in a person's own process, whose mark is not ours to reset."""
    Meter(alone=True)
    held = bytearray(b"x") * (100 * MIB)
    del held
    monkeypatch.setattr(usage, "reset_mark", lambda: False)
    for alone in (False, True):
        assert Meter(alone=alone).end()[1] == 0


def test_a_mark_that_rises_is_known_without_a_reset() -> None:
    Meter(alone=True)
    meter = Meter(alone=False)
    held = bytearray(b"x") * (400 * MIB)
    assert meter.end()[1] in range(400 * MIB, 1000 * MIB)
    del held
