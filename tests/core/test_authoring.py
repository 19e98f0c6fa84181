"""From signatures to tasks: annotations in every spelling, markers, order, parameters."""

from __future__ import annotations

import functools
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, List, NamedTuple, Optional, Union  # spelled so on purpose

import msgspec
import pytest
from typing_extensions import TypeAliasType

import reflow.authoring
from reflow.authoring import Compiled, Flow, Param, Parameter, Result, RunDir
from reflow.authoring.hints import resolve
from reflow.errors import WorkflowError
from reflow.model.codec import schema_of
from reflow.model.names import Fingerprint, Mode, Source
from reflow.model.task import Input

if typing.TYPE_CHECKING:
    from decimal import Decimal

Years = list[int]
Start = Annotated[int, Param(help="first year", short="s")]
Alias = TypeAliasType("Alias", Annotated[list[int], Result(step="years")])


@dataclass
class Chunk:
    name: str
    paths: list[Path]


class Point(NamedTuple):
    x: float
    y: float


def inputs(compiled: Compiled, task: str) -> dict[str, Input]:
    return {wired.name: wired for wired in compiled.task(task).inputs}


def problems(flow: Flow) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        flow.compile()
    assert caught.value.exit_code == 2
    return [problem.partition(": ")[2] for problem in caught.value.problems]


def pipeline() -> Flow:
    wf = Flow("climate")

    @wf.job(time="1h")
    def years(start: Start = 2000, stop: Annotated[int, Param(help="last year")] = 2010) -> Years:
        return list(range(start, stop))

    @wf.array_job(mem="2G", partition="short")
    def mean(year: Annotated[int, Result(step="years")], run_dir: RunDir, start: Start = 2000) -> float:
        return float(year)

    @wf.job
    def total(means: Annotated[List[float], Result(step="mean")], factor: float = 1) -> None:
        assert means

    return wf


def test_a_pipeline() -> None:
    compiled = pipeline().compile()
    assert compiled.workflow == "climate"
    assert [task.name for task in compiled.tasks] == ["years", "mean", "total"]
    year, run_dir, start = compiled.task("mean").inputs
    assert (year.source, year.mode, year.steps, year.schema) == (Source.RESULT, Mode.FANOUT, ("years",), schema_of(int))
    assert (run_dir.source, run_dir.schema) == (Source.RUN_DIR, schema_of(Path))
    assert (start.source, start.key, start.default, start.short, start.help) == (
        Source.PARAM,
        "start",
        "2000",
        "-s",
        "first year",
    )
    means, factor = compiled.task("total").inputs
    assert means.mode is Mode.GATHER
    assert (factor.source, factor.default) == (Source.PLAIN, "1.0")
    mean = compiled.task("mean")
    assert mean.config.array
    assert mean.config.resources.mem == 2 * 1024**3
    assert mean.config.options == {"queue": "short"}
    assert (mean.types, mean.return_type) == ({"year": int, "run_dir": Path, "start": int}, float)
    assert mean.returns == schema_of(float)
    assert mean.where.file == __file__
    with pytest.raises(KeyError):
        compiled.task("nothing")


def test_parameters() -> None:
    compiled = pipeline().compile()
    assert list(compiled.parameters) == ["start", "stop"]
    start = compiled.parameters["start"]
    assert isinstance(start, Parameter)
    assert (start.flag, start.short, start.type, start.default) == ("--start", "-s", int, "2000")
    assert (start.tasks, start.help, start.schema) == (("years", "mean"), "first year", schema_of(int))


def test_functions_stay_functions() -> None:
    wf = Flow("x")

    def double(x: int = 2) -> int:
        """Twice."""
        return 2 * x

    assert wf.job()(double) is double
    assert wf.array_job(double) is double
    assert wf.job(double) is double
    assert double(3) == 6
    assert [step.array for step in wf.items] == [False, True, False]  # type: ignore[union-attr]


def test_array_job_is_always_an_array() -> None:
    with pytest.raises(TypeError, match="takes no array="):
        Flow("x").array_job("name", array=False)


def test_names() -> None:
    wf = Flow("x")

    @wf.job("first-step")
    def a() -> int:
        return 1

    @wf.job(name="größe", after=["first-step"])
    def b(a: Annotated[int, Result(step="first-step")]) -> None: ...

    assert [task.name for task in wf.compile().tasks] == ["first-step", "größe"]
    assert list(wf.tasks) == ["first-step", "größe"]
    assert wf.tasks["größe"].function is b
    assert wf.validate() is None
    assert repr(wf) == "Flow('x')"


def test_where_a_flow_was_made() -> None:
    class Mine(Flow):
        def __init__(self) -> None:
            super().__init__("mine")

    mine = Mine()
    assert (mine.module, mine.file) == (__name__, __file__)
    scope: dict[str, Any] = {"Flow": Flow}
    exec("wf = Flow('notebook')", scope)
    assert (scope["wf"].module, scope["wf"].file) == ("__main__", None)


def test_a_notebook_cell_run_again_replaces_its_task() -> None:
    scope: dict[str, Any] = {}
    exec("from reflow.authoring import Flow\nwf, inner, flat = Flow('notebook'), Flow('inner'), Flow('flat')", scope)
    exec("@inner.job()\ndef t() -> None: ...", scope)
    for value in (1, 2):
        exec(
            "wf.include(inner, 'in')\nwf.include(flat)\nwf.include(inner)\n"
            f"@wf.job()\ndef a() -> int: return {value}\n",
            scope,
        )
        exec("@wf.job()\ndef b() -> None: ...", scope)
    compiled = scope["wf"].compile()
    assert [task.name for task in compiled.tasks] == ["in.t", "t", "a", "b"]
    assert compiled.task("a").function() == 2


def test_order_is_that_of_definition_among_the_ready() -> None:
    wf = Flow("x")

    @wf.job(after=["d"])
    def a() -> None: ...

    @wf.job()
    def b() -> None: ...

    @wf.job(after=["b"])
    def c() -> None: ...

    @wf.job()
    def d() -> None: ...

    assert [task.name for task in wf.compile().tasks] == ["b", "c", "d", "a"]
    assert wf.compile().task("a").after == ("d",)


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[Optional[int], Param()],
        Annotated[Union[int, None], Param()],
        "Annotated[int | None, Param()]",
        Annotated["Optional[int]", Param()],
        "Annotated[Annotated[int, 'unit'] | None, Param(), 'other metadata']",
        Annotated[int | None, Param],
    ],
)
def test_an_optional_parameter(annotation: Any) -> None:
    def task(x=None) -> None: ...

    task.__annotations__["x"] = annotation
    wf = Flow("x")
    wf.job()(task)
    parameter = wf.compile().parameters["x"]
    assert parameter.schema == schema_of(Optional[int])
    assert parameter.default == "null"


def test_types_of_the_script() -> None:
    wf = Flow("x")

    @wf.job()
    def make() -> list[Chunk]:
        return []

    @wf.array_job()
    def use(chunk: Annotated[Chunk, Result(step="make")], at: Annotated[Point, Param()]) -> dict[str, list[Point]]:
        return {}

    use_spec = wf.compile().task("use")
    assert use_spec.types == {"chunk": Chunk, "at": Point}
    assert use_spec.return_type == dict[str, list[Point]]


def test_classes_of_a_function() -> None:
    @dataclass
    class Local:
        value: int

    class Outer:
        @dataclass
        class Inner:
            value: int

    wf = Flow("x")

    @wf.job()
    def make(outer: Annotated[Outer.Inner, Param()]) -> list[Local]:
        return []

    @wf.array_job()
    def use(local: Annotated[Local, Result(step="make")]) -> Local:
        return local

    compiled = wf.compile()
    assert compiled.task("use").types == {"local": Local}
    assert compiled.task("make").types == {"outer": Outer.Inner}


def test_only_what_annotations_mention_is_kept_of_a_function() -> None:
    wf = Flow("x")
    big = bytearray(1000)
    Number = int

    @wf.job()
    def use(x: Annotated[Number, Param()]) -> int:
        return x + len(big)

    (step,) = wf.items
    assert set(step.names) == {"Number"}  # type: ignore[union-attr]


def test_names_from_a_closure() -> None:
    def build(kind: type) -> Flow:
        wf = Flow("x")

        def define() -> None:
            @wf.job()
            def make() -> kind:  # type: ignore[valid-type]
                return kind()

            @wf.job()
            def later() -> None:
                unset()

        define()
        compiled = wf.compile()
        assert compiled.task("make").return_type is kind

        def unset() -> None: ...

        return wf

    build(int)


def test_aliases() -> None:
    wf = Flow("x")

    @wf.job()
    def years() -> Years:
        return []

    @wf.job()
    def use(xs: Alias) -> None: ...

    wired = inputs(wf.compile(), "use")["xs"]
    assert (wired.mode, wired.schema) == (Mode.DIRECT, schema_of(list[int]))


A, B = typing.TypeVar("A"), typing.TypeVar("B")
Pair = TypeAliasType("Pair", dict[B, A], type_params=(A, B))  # type: ignore[valid-type]
Same = TypeAliasType("Same", A, type_params=(A,))  # type: ignore[misc]
Steps = TypeAliasType("Steps", Annotated[list[A], Result(step="make")], type_params=(A,))  # type: ignore[valid-type]


def test_generic_aliases() -> None:
    wf = Flow("x")

    @wf.job()
    def make() -> list[int]:
        return []

    @wf.job()
    def use(xs: Steps[int], a: Annotated[Pair[int, str], Param()], b: Annotated[Same[float], Param()]) -> None: ...

    assert wf.compile().task("use").types == {"xs": list[int], "a": dict[str, int], "b": float}
    assert inputs(wf.compile(), "use")["xs"].steps == ("make",)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement")
def test_type_statements() -> None:
    scope: dict[str, Any] = {"__name__": __name__, "wf": Flow("x")}
    exec(
        """
from typing import Annotated
from reflow.authoring import Param, Result
type Pair[A, B] = dict[B, A]
type Same[T] = T
type Steps[T] = Annotated[list[T], Result(step="make")]
type Deep = Pair[int, str]

@wf.job()
def make() -> list[int]: return []

@wf.job()
def use(
    xs: Steps[int],
    a: Annotated[Pair[int, str], Param()],
    b: Annotated[Same[float], Param()],
    c: Annotated[Deep, Param()]
) -> None: ...
""",
        scope,
    )
    compiled = scope["wf"].compile()
    assert compiled.task("use").types == {"xs": list[int], "a": dict[str, int], "b": float, "c": dict[str, int]}
    assert inputs(compiled, "use")["xs"].steps == ("make",)


def test_eager_annotations() -> None:
    scope: dict[str, Any] = {"__name__": "script", "__file__": "script.py"}
    code = compile(
        """
from typing import Annotated
from pathlib import Path
from reflow.authoring import Flow, Param, Result, RunDir
wf = Flow("eager")

@wf.job()
def make(run_dir: Path, n: Annotated[int, Param()] = 3) -> list["Item"]: return []

class Item(dict): pass

@wf.job()
def more(out: Path = RunDir(), other: RunDir = None, n: Annotated[int, Param()] = 3) -> None: ...
""",
        "script.py",
        "exec",
        dont_inherit=True,
    )
    exec(code, scope)
    flow = scope["wf"]
    assert (flow.module, flow.file) == ("script", "script.py")
    (problem,) = problems(flow)
    assert "task 'make': return: " in problem  # Item is no plain data
    flow.items.pop(0)
    compiled = flow.compile()
    assert [wired.source for wired in compiled.task("more").inputs] == [Source.RUN_DIR, Source.RUN_DIR, Source.PARAM]


@pytest.mark.parametrize(
    "annotation", ["", ": Path", ": RunDir", ": Path | None", ": Any", ": Annotated[Path, RunDir()]"]
)
def test_run_dir_by_name(annotation: str) -> None:
    scope: dict[str, Any] = {"Path": Path, "RunDir": RunDir, "Any": Any, "Annotated": Annotated}
    exec(f"def task(run_dir{annotation}) -> None: ...", scope)
    wf = Flow("x")
    wf.job()(scope["task"])
    (wired,) = wf.compile().tasks[0].inputs
    assert (wired.source, wired.schema) == (Source.RUN_DIR, schema_of(Path))
    assert wf.compile().parameters == {}
    assert wf.compile().tasks[0].types == {"run_dir": Path}


def test_plain_parameters() -> None:
    wf = Flow("x")

    @wf.job()
    def task(
        a: int = 3, b: float = 1, c=2.5, d: Path | None = None, e: tuple[str, ...] = ("x",), f="text", g=None
    ) -> None: ...

    wired = inputs(wf.compile(), "task")
    assert {name: each.default for name, each in wired.items()} == {
        "a": "3",
        "b": "1.0",
        "c": "2.5",
        "d": "null",
        "e": '["x"]',
        "f": '"text"',
        "g": "null",
    }
    assert {each.source for each in wired.values()} == {Source.PLAIN}


def test_a_result_may_have_a_default_for_plain_calls() -> None:
    wf = Flow("x")

    @wf.job()
    def a() -> int:
        return 1

    @wf.job()
    def b(x: Annotated[int, Result(step="a")] = 5) -> int:
        return x

    assert inputs(wf.compile(), "b")["x"].default is None
    assert b() == 5


def test_result_options() -> None:
    wf = Flow("x")

    @wf.job()
    def files() -> list[Path]:
        return []

    @wf.array_job()
    def each(file: Annotated[Path, Result(step="files", fingerprint="content")]) -> float:
        return 0.0

    @wf.array_job()
    def whole(
        file: Annotated[Path, Result(step="files")], everything: Annotated[Any, Result(step="files", broadcast=True)]
    ) -> float:
        return 0.0

    @wf.job()
    def both(
        xs: Annotated[list[float], Result(steps=["each", "whole"], allow_failed=True)],
        log: Annotated[Path, Param(fingerprint=Fingerprint.NAME)],
    ) -> None: ...

    compiled = wf.compile()
    assert inputs(compiled, "each")["file"].fingerprint is Fingerprint.CONTENT
    assert inputs(compiled, "whole")["everything"].mode is Mode.BROADCAST
    both_in = inputs(compiled, "both")
    assert (both_in["xs"].steps, both_in["xs"].mode, both_in["xs"].allow_failed) == (
        ("each", "whole"),
        Mode.GATHER,
        True,
    )
    assert both_in["log"].fingerprint is Fingerprint.NAME
    assert compiled.parameters["log"].fingerprint is Fingerprint.NAME
    assert compiled.parameters["log"].default is None


def test_local_parameters() -> None:
    wf = Flow("x")
    Chunks = Annotated[int, Param(namespace="local")]

    @wf.job("pre-ingest")
    def ingest(chunk: Chunks = 1, max_size: Chunks = 9) -> None: ...

    @wf.job()
    def other(chunk: Chunks = 2) -> None: ...

    parameters = wf.compile().parameters
    assert {key: (p.flag, p.default, p.tasks) for key, p in parameters.items()} == {
        "pre_ingest_chunk": ("--pre-ingest-chunk", "1", ("pre-ingest",)),
        "pre_ingest_max_size": ("--pre-ingest-max-size", "9", ("pre-ingest",)),
        "other_chunk": ("--other-chunk", "2", ("other",)),
    }
    assert inputs(wf.compile(), "other")["chunk"].key == "other_chunk"


def test_wrapped_functions() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    wf = Flow("x")

    @wf.job()
    @logged
    def task(n: Annotated[int, Param()] = 3) -> list[int]:
        return [n]

    compiled = wf.compile()
    assert compiled.tasks[0].where.line == task.__wrapped__.__code__.co_firstlineno  # type: ignore[attr-defined]
    assert compiled.tasks[0].return_type == list[int]
    assert compiled.tasks[0].function(4) == [4]
    assert list(compiled.parameters) == ["n"]


def test_one_task_of_a_worker_is_read_alone() -> None:
    wf = Flow("x")

    @wf.job()
    def good(n: Annotated[int, Param()]) -> timedelta:
        return timedelta(n)

    @wf.job()
    def bad(n) -> Decimal: ...

    step = wf.tasks["good"]
    assert {name: hint.type for name, hint in resolve(step.function, step.names).items()} == {
        "n": int,
        "return": timedelta,
    }
    with pytest.raises(WorkflowError, match="imported for type checkers alone"):
        wf.compile()


def test_a_task_that_returns_nothing() -> None:
    wf = Flow("x")

    @wf.job()
    def quiet(): ...

    spec = wf.compile().tasks[0]
    assert (spec.return_type, spec.returns.kind) == (type(None), "none")


def test_compiling_twice_gives_the_same() -> None:
    wf = pipeline()
    assert msgspec.to_builtins([task.inputs for task in wf.compile().tasks]) == msgspec.to_builtins(
        [task.inputs for task in wf.compile().tasks]
    )


def test_the_compiler_is_loaded_when_it_is_asked_for() -> None:
    assert reflow.authoring.Compiled is Compiled
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = reflow.authoring.Nothing  # type: ignore[attr-defined]
