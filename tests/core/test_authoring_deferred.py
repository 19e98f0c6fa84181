"""A pipeline for Python 3.14 and later, which evaluates annotations late, without the line from ``__future__``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reflow import Run, Workflow
from reflow.errors import WorkflowError

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="older Pythons evaluate annotations at once")

SCRIPT = """\
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, TypedDict

import reflow

wf = reflow.Workflow("deferred")

@wf.job()
def make(count: Annotated[Count, reflow.Param(help="how many")] = 2) -> list[Point]:
    return [Point(number) for number in range(count)]

@wf.array_job()
def move(
    point: Annotated[Point, reflow.Result(step="make")], by: Annotated[Step | None, reflow.Param()] = None
) -> Point:
    return Point(point.x + (by.x if by else 1), note=Note("moved"))

@wf.job()
def total(points: Annotated[list[Point], reflow.Result(step="move")]) -> Report:
    return Report(points=points, total=sum(point.x for point in points))

type Count = int

@dataclass
class Point:
    x: int
    note: Note | None = None

class Note(NamedTuple):
    text: str
    tags: list[Tag] = []

class Tag(TypedDict):
    name: str

class Step(NamedTuple):
    x: int

@dataclass
class Report:
    points: list[Point]
    total: int

if __name__ == "__main__":
    wf.cli()
"""


def load(lab: Any, script: str = SCRIPT) -> Workflow:
    """Write the script as it is, without the prelude, and load it."""
    lab.file.write_text(script)
    flow: Workflow = lab.load()
    return flow


def test_types_that_are_defined_later_are_resolved(lab: Any) -> None:
    load(lab)
    run = lab.good(count=3)
    report = run.result("total")
    assert type(report).__name__ == "Report"
    assert report.total == 6
    assert [(point.x, point.note) for point in report.points] == [
        (1, ("moved", [])),
        (2, ("moved", [])),
        (3, ("moved", [])),
    ]


def test_the_code_of_a_class_that_is_defined_later_counts(lab: Any) -> None:
    load(lab)
    first = lab.good()
    again = lab.good()
    assert {row["decision"] for task in ("make", "move", "total") for row in again.explain(task)} == {"hit"}
    lab.edit("    x: int\n    note: Note", "    x: int\n    y: int = 0\n    note: Note")
    other = lab.good()
    assert {row["decision"] for row in other.explain("make")} == {"miss"}
    assert first.result("total").total == other.result("total").total == 3


def test_an_annotation_of_the_task_alone_changes_no_digest_of_its_code(lab: Any) -> None:
    load(lab)
    lab.good()
    lab.edit('reflow.Param(help="how many")', 'reflow.Param(help="the number")')
    assert {row["decision"] for row in lab.good().explain("make")} == {"hit"}


def test_each_annotation_is_resolved_by_itself(lab: Any) -> None:
    flow = load(lab, SCRIPT.replace("list[Point]:", "list[Pint]:"))
    with pytest.raises(WorkflowError) as caught:
        flow.validate()
    said = str(caught.value)
    assert "'Pint', which is not defined" in said
    assert "parameter 'count'" not in said


INSIDE = """\
from dataclasses import dataclass
from typing import Annotated

import reflow

def build():
    wf = reflow.Workflow("inside")

    @wf.job()
    def make() -> list[Point]:
        return [Point(1)]

    @wf.job()
    def take(points: Annotated[list[Point], reflow.Result(step="make")]) -> Report:
        return Report(points)

    @dataclass
    class Point:
        x: int

    @dataclass
    class Report:
        points: list[Point]

    return wf

wf = build()
"""


def test_types_that_are_defined_later_in_the_function_around_are_resolved(lab: Any) -> None:
    lab.name = "inside"
    load(lab, INSIDE)
    assert lab.good().result("take").points[0].x == 1


def test_the_command_line_of_such_a_script(tmp_path: Path) -> None:
    script = tmp_path / "pipeline.py"
    script.write_text(SCRIPT)

    def call(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, str(script), *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONWARNINGS": "error"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "--count" in call("submit", "--help")
    assert json.loads(call("describe"))
    call("run", "--executor", "local", "--max-workers", "1", "--run-dir", "run", "--count", "1", "--by", '{"x": 4}')
    assert Run.open(tmp_path / "run").result("total").total == 4
