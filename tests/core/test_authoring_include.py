"""Flows inside flows: prefixes, what is left open, and what binds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

from reflow.authoring import Compiled, Flow, Param, Result
from reflow.errors import WorkflowError
from reflow.model.names import Mode, Source


def problems(flow: Flow) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        flow.compile()
    return [problem.partition(": ")[2] for problem in caught.value.problems]


def only(flow: Flow) -> str:
    (problem,) = problems(flow)
    return problem


def wiring(compiled: Compiled) -> dict[str, dict[str, tuple[str, ...] | str]]:
    """Task -> parameter -> the tasks it comes from, or the key of the run's parameter."""
    return {
        task.name: {wired.name: wired.steps if wired.source is Source.RESULT else wired.key for wired in task.inputs}
        for task in compiled.tasks
    }


def ingest() -> Flow:
    """`convert` takes an open step, `check` a task of its own, and both parameters."""
    flow = Flow("ingest")

    @flow.array_job()
    def convert(
        file: Annotated[Path, Result(step="files")],
        level: Annotated[int, Param()] = 1,
        chunk: Annotated[int, Param(namespace="local")] = 10,
    ) -> float:
        return 0.0

    @flow.job(after=["convert"])
    def check(values: Annotated[list[float], Result(step="convert")], level: Annotated[int, Param()] = 1) -> float:
        return sum(values)

    return flow


def workflow() -> Flow:
    wf = Flow("wf")

    @wf.job()
    def discover() -> list[Path]:
        return []

    @wf.job()
    def choose() -> int:
        return 3

    return wf


def test_a_flow_included_twice() -> None:
    wf = workflow()
    flow = ingest()
    wf.include(flow, prefix="a", inputs={"files": "discover"})
    wf.include(flow, prefix="b", inputs={"files": ["discover", "discover"]})

    @wf.job()
    def compare(both: Annotated[list[float], Result(steps=["a.check", "b.check"])]) -> None: ...

    compiled = wf.compile()
    assert wiring(compiled) == {
        "discover": {},
        "choose": {},
        "a.convert": {"file": ("discover",), "level": "level", "chunk": "a_convert_chunk"},
        "a.check": {"values": ("a.convert",), "level": "level"},
        "b.convert": {"file": ("discover", "discover"), "level": "level", "chunk": "b_convert_chunk"},
        "b.check": {"values": ("b.convert",), "level": "level"},
        "compare": {"both": ("a.check", "b.check")},
    }
    assert list(wf.tasks) == ["discover", "choose", "a.convert", "a.check", "b.convert", "b.check", "compare"]
    assert wf.tasks["a.check"] is wf.tasks["b.check"]
    assert compiled.task("a.check").after == ("a.convert",)
    assert compiled.parameters["level"].tasks == ("a.convert", "a.check", "b.convert", "b.check")
    assert compiled.parameters["a_convert_chunk"].flag == "--a-convert-chunk"


@pytest.mark.parametrize(
    ("inputs", "convert", "check"),
    [
        ({"file": "discover"}, {"level": "level", "chunk": "a_convert_chunk"}, {"level": "level"}),
        (
            {"convert.file": "discover", "level": "choose"},
            {"level": ("choose",), "chunk": "a_convert_chunk"},
            {"level": ("choose",)},
        ),
        (
            {"files": "discover", "check.level": "choose"},
            {"level": "level", "chunk": "a_convert_chunk"},
            {"level": ("choose",)},
        ),
        ({"files": "discover", "chunk": "choose"}, {"level": "level", "chunk": ("choose",)}, {"level": "level"}),
    ],
)
def test_what_inputs_can_name(inputs: dict[str, str], convert: dict[str, Any], check: dict[str, Any]) -> None:
    wf = workflow()
    wf.include(ingest(), prefix="a", inputs=inputs)
    compiled = wf.compile()
    assert wiring(compiled)["a.convert"] == {"file": ("discover",), **convert}
    assert wiring(compiled)["a.check"] == {"values": ("a.convert",), **check}
    bound = [wired for wired in compiled.task("a.check").inputs if wired.name == "level" and wired.steps]
    assert all(wired.mode is Mode.DIRECT and wired.default is None for wired in bound)
    assert ("level" in compiled.parameters) == ("level" not in inputs)


def test_a_bound_parameter_of_an_array_is_broadcast_or_spread() -> None:
    flow = Flow("inner")

    @flow.array_job()
    def work(item: Annotated[int, Param()], same: Annotated[int, Param()]) -> int:
        return item + same

    wf = workflow()

    @wf.job()
    def items() -> list[int]:
        return [1]

    wf.include(flow, "in", {"item": "items", "same": "choose"})
    item, same = wf.compile().task("in.work").inputs
    assert (item.mode, same.mode) == (Mode.FANOUT, Mode.BROADCAST)
    assert wf.compile().parameters == {}


def test_an_open_result_named_like_its_parameter() -> None:
    flow = Flow("inner")

    @flow.array_job()
    def work(item: Annotated[Path, Result()]) -> None: ...

    wf = workflow()
    wf.include(flow, "in", {"item": "discover"})
    assert wiring(wf.compile())["in.work"] == {"item": ("discover",)}
    assert only(flow) == "task 'work': parameter 'item': Result() names no task; write Result(step=...)"
    bare = workflow()
    bare.include(flow, "in")
    assert "Result() names no task; bind it: include(..., inputs={'item': TASK}), or write Result(step=...)" in only(
        bare
    )


def nested(inner: dict[str, Any], outer: dict[str, Any], *, prefix: str | None = "in") -> Flow:
    middle = Flow("middle")

    @middle.job()
    def prepare() -> list[Path]:
        return []

    middle.include(ingest(), prefix=prefix, inputs=inner)
    wf = workflow()
    wf.include(middle, prefix="out", inputs=outer)
    return wf


@pytest.mark.parametrize(
    ("inner", "outer", "source"),
    [
        ({"files": "prepare"}, {}, "out.prepare"),
        ({"files": "found"}, {"found": "discover"}, "discover"),
        ({}, {"files": "discover"}, "discover"),
        ({}, {"in.convert.file": "discover"}, "discover"),
        ({}, {"file": "discover"}, "discover"),
    ],
)
def test_nested(inner: dict[str, str], outer: dict[str, str], source: str) -> None:
    compiled = nested(inner, outer).compile()
    assert wiring(compiled)["out.in.convert"]["file"] == (source,)
    assert wiring(compiled)["out.in.check"]["values"] == ("out.in.convert",)
    assert "out_in_convert_chunk" in compiled.parameters


def test_nested_parameters_are_bound_from_outside() -> None:
    compiled = nested({"files": "prepare"}, {"level": "choose", "in.convert.chunk": "choose"}).compile()
    assert wiring(compiled)["out.in.convert"] == {"file": ("out.prepare",), "level": ("choose",), "chunk": ("choose",)}
    assert compiled.parameters == {}


def test_without_a_prefix_tasks_stand_side_by_side() -> None:
    wf = workflow()
    flow = Flow("flat")

    @flow.array_job()
    def work(file: Annotated[Path, Result(step="discover")]) -> float:
        return 0.0

    wf.include(flow)

    @wf.job()
    def total(xs: Annotated[list[float], Result(step="work")]) -> None: ...

    assert wiring(wf.compile())["work"] == {"file": ("discover",)}
    compiled = nested({"files": "prepare"}, {}, prefix=None).compile()
    assert wiring(compiled)["out.convert"]["file"] == ("out.prepare",)


def test_tasks_added_after_include_count() -> None:
    wf, flow = workflow(), Flow("late")
    wf.include(flow, "late")

    @flow.job()
    def task() -> None: ...

    assert "late.task" in wf.tasks
    assert wf.compile().task("late.task").function is task


def test_an_empty_flow_may_be_included() -> None:
    wf = workflow()
    wf.include(Flow("empty"), "e")
    assert len(wf.compile().tasks) == 2


# Mistakes


def test_what_is_left_open_is_told() -> None:
    wf = workflow()
    wf.include(ingest(), prefix="a")
    assert only(wf) == (
        "task 'a.convert': parameter 'file': flow 'ingest' has no task 'files'; "
        "bind it where the flow is included: inputs={'files': TASK}"
    )
    assert only(ingest()).startswith("task 'convert': parameter 'file': there is no task 'files'; ")


def test_a_misspelt_step_of_a_flow() -> None:
    flow = Flow("inner")

    @flow.job()
    def download() -> int:
        return 1

    @flow.job(after=["downlod"])
    def unpack() -> None: ...

    wf = workflow()
    wf.include(flow, "in")
    assert only(wf) == "task 'in.unpack': after: flow 'inner' has no task 'downlod'; did you mean 'download'?"


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"files": "discovr"}, "inputs names 'discovr', which is no task here; did you mean 'discover'?"),
        (
            {"files": "discover", "levl": "choose"},
            "inputs binds 'levl', which the flow does not leave open; did you mean 'level'?",
        ),
        (
            {"files": "discover", "zzz": "choose"},
            "inputs binds 'zzz', which the flow does not leave open; open are: 'files', 'level', 'chunk'",
        ),
        ({"files": "discover", "values": "choose"}, "inputs binds 'values', which the flow does not leave open"),
        ({"files": 3}, "inputs['files']=3 names no task; write the name of one, or a list of names"),
        ({"files": []}, "inputs['files']=[] names no task"),
        ({3: "discover"}, "inputs[3]='discover' names no task"),
        (["files"], "inputs=['files'] is not a mapping; write inputs={'name': 'task'}"),
        ({"files": "choose"}, "task 'a.convert': parameter 'file': result of 'choose': it is Path, but gets int"),
        (
            {"files": "discover", "level": "discover"},
            "parameter 'level': result of 'discover': it is int, but gets list[Path]",
        ),
        ({"files": "discover", "convert.level": "a.convert"}, "is bound to the task itself"),
    ],
)
def test_bad_inputs(inputs: Any, says: str) -> None:
    wf = workflow()
    wf.include(ingest(), prefix="a", inputs=inputs)
    assert any(says in problem for problem in problems(wf)), problems(wf)


def test_nothing_is_open() -> None:
    flow = Flow("closed")

    @flow.job()
    def task() -> None: ...

    wf = workflow()
    wf.include(flow, "c", {"x": "choose"})
    assert only(wf).endswith("inputs binds 'x', which the flow does not leave open; open are: nothing")


@pytest.mark.parametrize("prefix", ["", "a.b", "a b", "-a", 3])
def test_bad_prefixes(prefix: Any) -> None:
    wf = workflow()
    wf.include(ingest(), prefix=prefix)
    assert only(wf) == f"include('ingest', prefix={prefix!r}): a prefix is letters, digits, _ and -, a letter first"


def test_a_prefix_used_twice() -> None:
    wf = workflow()
    wf.include(ingest(), "a", {"files": "discover"})
    wf.include(ingest(), "a", {"files": "discover"})
    assert f"include('ingest', prefix='a'): this prefix is taken at {__file__}:" in only(wf)


def test_names_that_collide() -> None:
    wf = workflow()
    flow = Flow("flat")

    @flow.job()
    def choose() -> None: ...

    wf.include(flow)
    assert f"task 'choose': there is a task of this name at {__file__}:" in only(wf)
    assert list(wf.tasks) == ["discover", "choose"]


def test_a_flow_in_itself() -> None:
    wf = workflow()
    inner = Flow("inner")
    wf.include(inner, "in")
    inner.include(wf, "out")
    assert only(wf) == "include('wf', prefix='out'): a flow cannot include itself"
    assert list(wf.tasks) == ["discover", "choose"]
    alone = workflow()
    alone.include(alone, "again")
    assert "a flow cannot include itself" in only(alone)
    assert list(alone.tasks) == ["discover", "choose"]


def test_something_else_than_a_flow() -> None:
    wf = workflow()
    wf.include("ingest")  # type: ignore[arg-type]
    assert only(wf) == "include(): takes a Flow, not str"


def test_local_names_that_collide_across_prefixes() -> None:
    flow = Flow("inner")

    @flow.job()
    def b(c: Annotated[int, Param(namespace="local")]) -> None: ...

    wf = Flow("wf")
    wf.include(flow, "a")

    @wf.job()
    def a_b(c: Annotated[int, Param(namespace="local")]) -> None: ...

    assert "parameter 'c': 'a_b_c' is the key of another parameter too, in 'a.b' " in only(wf)
