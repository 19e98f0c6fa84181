"""Every mistake is told, with its place and what to write instead, all at once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest

from reflow.authoring import Flow, Param, Result, RunDir
from reflow.authoring.reserved import RESERVED
from reflow.errors import WorkflowError
from reflow.workflow import Workflow

if TYPE_CHECKING:
    import numpy as np


def problems(flow: Flow) -> list[str]:
    """Each mistake without its place."""
    with pytest.raises(WorkflowError) as caught:
        flow.compile()
    for problem in caught.value.problems:
        place = problem.partition(": ")[0]
        name, _, line = place.rpartition(":")
        assert name
        assert line.isdecimal()
    return [problem.partition(": ")[2] for problem in caught.value.problems]


def only(flow: Flow) -> str:
    (problem,) = problems(flow)
    return problem


def one(function: Callable[..., Any], **options: Any) -> str:
    """The one mistake of a workflow whose only other task returns list[int]."""
    wf = Flow("x")

    @wf.job()
    def numbers() -> list[int]:
        return [1]

    wf.job("it", **options)(function)
    return only(wf)


def test_all_at_once_in_the_order_of_the_source() -> None:
    wf = Flow("many")

    @wf.job(time="02:00", mem="16")
    def a(x: Annotated[int, Param()], y: int) -> Unknown:  # type: ignore[name-defined]  # noqa: F821
        ...

    @wf.array_job(after=["aa"])
    def b(x: Annotated[int, Result(step="c")]) -> None: ...

    @wf.job()
    def c(x: Annotated[str, Param()]) -> None: ...

    with pytest.raises(WorkflowError) as caught:
        wf.compile()
    lines = [int(problem.split(": ")[0].rpartition(":")[2]) for problem in caught.value.problems]
    assert lines == sorted(lines)
    assert len(lines) == 7
    text = str(caught.value)
    assert text.startswith("workflow 'many' has 7 mistakes:\n")
    for said in (
        f"{__file__}:{lines[0]}: task 'a': ",
        "parameter 'y': nothing gives it a value; write Annotated[int, Param()], ",
        "Annotated[int, Result(step=...)], or a default",
        "return: annotation names 'Unknown', which is not defined",
        "time: '02:00' could be hours and minutes",
        "mem: '16' has no unit",
        "task 'b': after: there is no task 'aa'; did you mean 'a'?",
        "task 'b': parameter 'x': result of 'c': it is int, but gets None",
        f"'x' is str here and int in 'a' ({__file__}:{lines[0]}); give both one type, rename one, "
        "or write Param(namespace='local')",
    ):
        assert said in text


def star(*args: int) -> None: ...


def stars(**kwargs: int) -> None: ...


def positional(x: Annotated[int, Param()], /) -> None: ...


def bare(x) -> None: ...


def bare_with_marker_default(x=Param()) -> None: ...


def marker_default(x: int = Param(help="h")) -> None: ...  # type: ignore[assignment]


def marker_class_default(x: int = Result) -> None: ...  # type: ignore[assignment]


def marker_as_type(x: Param) -> None: ...


def marker_inside(x: Optional[Annotated[int, Param()]] = None) -> None: ...


def marker_deep(x: list[dict[str, Annotated[int, Result(step="numbers")]]]) -> None: ...


def two_markers(x: Annotated[int, Param(), Result(step="numbers")]) -> None: ...


def two_params(x: Annotated[int, Param(), Param()]) -> None: ...


def run_dir_and_param(x: Annotated[Path, Param(), RunDir()]) -> None: ...


def run_dir_as_text(run_dir: str) -> None: ...


def run_dir_as_param(run_dir: Annotated[Path, Param()]) -> None: ...


def wrong_default(x: Annotated[int, Param()] = "three") -> None: ...  # type: ignore[assignment]


def none_default(x: Annotated[int, Param()] = None) -> None: ...  # type: ignore[assignment]


def plain_function(x: Any = print) -> None: ...


def uncarried(x: Annotated[complex, Param()]) -> None: ...


def uncarried_return() -> complex: ...


def unresolved(x: Annotated[Pth, Param()]) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def for_checkers(x: Annotated[np.ndarray, Result(step="numbers")]) -> None: ...


def broken(x: "list[") -> None: ...  # type: ignore[syntax]  # noqa: F722


def raising(x: Annotated[int, Param(hepl="x")]) -> None: ...  # type: ignore[call-arg]


def namespace(x: Annotated[int, Param(namespace="here")]) -> None: ...  # type: ignore[arg-type]


def fingerprint(x: Annotated[Path, Param(fingerprint="md5")]) -> None: ...  # type: ignore[arg-type]


def result_fingerprint(x: Annotated[list[int], Result(step="numbers", fingerprint="md5")]) -> None: ...  # type: ignore[arg-type]


def short(x: Annotated[int, Param(short="xy")]) -> None: ...


def short_number(x: Annotated[int, Param(short="1")]) -> None: ...


def short_taken(x: Annotated[int, Param(short="-h")]) -> None: ...


def reserved(executor: Annotated[str, Param()]) -> None: ...


def reserved_force(force_tasks: Annotated[str, Param()]) -> None: ...


def no_step(x: Annotated[int, Result()]) -> None: ...


def result_class(x: Annotated[int, Result]) -> None: ...


def step_and_steps(x: Annotated[list[int], Result(step="numbers", steps=["numbers"])]) -> None: ...


def steps_text(x: Annotated[list[int], Result(steps="numbers")]) -> None: ...


def steps_number(x: Annotated[list[int], Result(steps=3)]) -> None: ...  # type: ignore[arg-type]


def step_list(x: Annotated[list[int], Result(step=["numbers"])]) -> None: ...  # type: ignore[arg-type]


def step_function(x: Annotated[list[int], Result(step=star)]) -> None: ...  # type: ignore[arg-type]


def step_number(x: Annotated[list[int], Result(steps=["numbers", 3])]) -> None: ...  # type: ignore[list-item]


def misspelt(x: Annotated[list[int], Result(step="number")]) -> None: ...


def far_off(x: Annotated[list[int], Result(step="zzz")]) -> None: ...


def itself(x: Annotated[list[int], Result(step="it")]) -> None: ...


def misfit(x: Annotated[str, Result(step="numbers")]) -> None: ...


def allow_failed(x: Annotated[list[int], Result(step="numbers", allow_failed=True)]) -> None: ...


async def coroutine() -> None: ...


async def async_generator() -> Any:
    yield 1


def generator() -> Any:
    yield 1


class Holder:
    def method(self) -> None: ...

    @staticmethod
    def static() -> None: ...

    @classmethod
    def cls(cls) -> None: ...

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (star, "parameter 'args': a task takes no *args; name each parameter"),
        (stars, "parameter 'kwargs': a task takes no **kwargs; name each parameter"),
        (positional, "parameter 'x': is positional-only, but tasks are called by keyword; remove the `/`"),
        (bare, "parameter 'x': has neither annotation nor default; write Annotated[TYPE, Param()]"),
        (bare_with_marker_default, "a marker is no default; write x: Annotated[TYPE, Param(...)]"),
        (marker_default, "a marker is no default; write x: Annotated[TYPE, Param(...)]"),
        (marker_class_default, "a marker is no default; write x: Annotated[TYPE, Result(...)]"),
        (marker_as_type, "a marker is no type; write Annotated[TYPE, Param(...)]"),
        (marker_inside, "its marker is inside the type; put Annotated outermost"),
        (marker_deep, "its marker is inside the type; put Annotated outermost"),
        (two_markers, "has more than one of Param, Result and RunDir"),
        (two_params, "has more than one of Param, Result and RunDir"),
        (run_dir_and_param, "has more than one of Param, Result and RunDir"),
        (run_dir_as_text, "is the run directory, a pathlib.Path; write run_dir: RunDir"),
        (run_dir_as_param, "the name 'run_dir' is taken by reflow's own option --run-dir; rename it"),
        (wrong_default, "default 'three' is no int: "),
        (none_default, "default None is no int: "),
        (none_default, "; write int | None"),
        (plain_function, "default <built-in function print> is no Any: "),
        (uncarried, "parameter 'x': complex cannot be carried between tasks"),
        (uncarried_return, "return: complex cannot be carried between tasks"),
        (unresolved, "annotation names 'Pth', which is not defined; did you mean 'Path'?"),
        (for_checkers, "annotation names 'np', which is imported for type checkers alone; import it outside"),
        (broken, "cannot be resolved: SyntaxError: Forward reference must be an expression"),
        (raising, "cannot be resolved: TypeError"),
        (namespace, "namespace='here'; write 'global' or 'local'"),
        (fingerprint, "fingerprint='md5'; write 'stat', 'content' or 'name'"),
        (result_fingerprint, "fingerprint='md5'; write 'stat', 'content' or 'name'"),
        (short, "short='xy'; write one letter, such as short='n'"),
        (short_number, "short='1'; write one letter"),
        (short_taken, "short='-h' is taken by reflow's own option"),
        (reserved, "the name 'executor' is taken by reflow's own option --executor"),
        (reserved_force, "the name 'force_tasks' is taken by reflow's own option --force-tasks"),
        (no_step, "Result() names no task; write Result(step=...)"),
        (result_class, "Result() names no task; write Result(step=...)"),
        (step_and_steps, "Result has both step and steps; write steps=[...]"),
        (steps_text, "Result(steps='numbers') is no list; write steps=['numbers']"),
        (steps_number, "Result(steps=3) is no list; write steps=['NAME']"),
        (step_list, "Result(step=['numbers']) is no text; write steps=['numbers']"),
        (step_function, "which is no text; write Result(step='star')"),
        (step_number, "Result names 3, which is no text"),
        (misspelt, "parameter 'x': there is no task 'number'; did you mean 'numbers'?"),
        (far_off, "parameter 'x': there is no task 'zzz'; there are: numbers, it"),
        (itself, "parameter 'x': 'it' is the task itself; name the task whose result is meant"),
        (misfit, "parameter 'x': result of 'numbers': it is str, but gets list[int]; write list[int]"),
        (allow_failed, "allow_failed=True is for a single task that gathers"),
        (lambda: None, "is a lambda, which has no annotations; write it with def"),
        (coroutine, "is async; write it with a plain def"),
        (async_generator, "is async; write it with a plain def"),
        (generator, "is a generator; return a list instead of using yield"),
        (Holder.method, "is a method; a task is a function at the top level"),
        (Holder().method, "is a method; a task is a function at the top level"),
        (Holder.__dict__["static"], "is a method; a task is a function at the top level"),
        (Holder.__dict__["cls"], "is a method; a task is a function at the top level"),
        (Holder(), "is a Holder; a task is a function written with def"),
        (functools.partial(star, 1), "is a partial; a task is a function written with def"),
        (len, "is a builtin_function_or_method; a task is a function written with def"),
        (int, "is a type; a task is a function written with def"),
    ],
)
def test_one_mistake(function: Callable[..., Any], says: str) -> None:
    problem = one(function)
    assert problem.startswith("task 'it': ")
    assert says in problem


def test_callables_are_named_by_their_class() -> None:
    wf = Flow("x")
    wf.job()(functools.partial(star, 1))
    assert only(wf).startswith("task 'partial': is a partial")


@pytest.mark.parametrize("name", ["", "my task", "a.b", "-a", "1a", "a\nb", "a'b", "x" * 101, 5])
def test_names_of_tasks(name: Any) -> None:
    wf = Flow("x")

    def task() -> None: ...

    wf.job(name)(task)
    assert only(wf).startswith(f"task {name!r}: is no name for a task")


@pytest.mark.parametrize("name", ["", " ", "two\nlines", 3])
def test_names_of_workflows(name: Any) -> None:
    wf = Flow(name)

    @wf.job()
    def task() -> None: ...

    assert only(wf) == f"workflow: {name!r} is no name; write one line of text"


def test_names_that_grow_too_long() -> None:
    inner = Flow("inner")

    @inner.job("t" * 100)
    def task() -> None: ...

    middle, wf = Flow("middle"), Flow("wf")
    middle.include(inner, "m" * 90)
    wf.include(middle, "o" * 90)
    assert only(wf).endswith("which is too long; shorten the prefixes")


def test_no_tasks() -> None:
    empty = Flow("empty")
    assert only(empty) == "workflow 'empty': has no tasks; write @wf.job() above one"
    empty.include(Flow("also"), "a")
    assert only(empty) == "workflow 'empty': has no tasks; write @wf.job() above one"
    empty.include(empty, "b")
    assert "cannot include itself" in only(empty)


def test_two_tasks_of_one_name() -> None:
    wf = Flow("x")

    @wf.job("a")
    def first() -> None: ...

    @wf.job("a")
    def second() -> None: ...

    assert f"task 'a': there is a task of this name at {__file__}:" in only(wf)


def test_array_without_elements() -> None:
    wf = Flow("x")

    @wf.job()
    def scalar() -> int:
        return 1

    @wf.array_job()
    def a(x: Annotated[int, Result(step="scalar")], n: Annotated[int, Param()]) -> None: ...

    assert only(wf).startswith("task 'a': is an array, but no Result gives it elements; write Annotated[TYPE, Result(")


def test_missing_return_annotation_is_told_where_it_is_missing() -> None:
    wf = Flow("x")

    @wf.job()
    def a():
        return [1]

    @wf.array_job()
    def b(x: Annotated[list[int], Result(step="a")]): ...

    @wf.job()
    def c(x: Annotated[int, Result(steps=["a", "b"])]) -> None: ...

    told = problems(wf)
    assert "task 'a': has no return annotation, but 'b' takes its result" in told[0]
    assert "write what it returns: def a(...) -> list[int]:" in told[0]
    assert any(problem.startswith("task 'b': has no return annotation, but 'c' takes its result") for problem in told)


def test_a_mistake_upstream_is_told_once() -> None:
    wf = Flow("x")

    @wf.job()
    def a() -> complex:
        return 1j

    @wf.array_job()
    def b(x: Annotated[str, Result(step="a")]) -> None: ...

    assert only(wf).startswith("task 'a': return: complex cannot be carried")


def test_circles() -> None:
    wf = Flow("x")

    @wf.job()
    def start() -> int:
        return 1

    @wf.job()
    def a(x: Annotated[int, Result(step="c")], y: Annotated[int, Result(step="start")]) -> int:
        return x

    @wf.job()
    def b(x: Annotated[int, Result(step="a")]) -> int:
        return x

    @wf.job(after=["b"])
    def c() -> int:
        return 1

    @wf.job(after=["a"])
    def behind() -> None: ...

    @wf.job(after=["q"])
    def p() -> None: ...

    @wf.job(after=["p"])
    def q() -> None: ...

    told = problems(wf)
    assert told == [
        "task 'a': waits for itself: a -> c -> b -> a; break the circle",
        "task 'p': waits for itself: p -> q -> p; break the circle",
    ]


def test_after_itself() -> None:
    assert one(lambda_free, after=["it"]).endswith(
        "after: 'it' is the task itself; name the task whose result is meant"
    )


def lambda_free() -> None: ...


def test_parameters_that_two_tasks_share() -> None:
    wf = Flow("x")

    @wf.job()
    def a(
        n: Annotated[int, Param(help="first", short="n")] = 1,
        m: Annotated[int, Param()] = 1,
        k: Annotated[int, Param(short="k")] = 1,
    ) -> None: ...

    @wf.job()
    def b(
        n: Annotated[int, Param(help="second")] = 1,
        m: Annotated[int, Param()] = 2,
        k: Annotated[int, Param(short="j")] = 1,
    ) -> None: ...

    @wf.job()
    def c(m: Annotated[int, Param()]) -> None: ...

    told = problems(wf)
    assert len(told) == 3
    assert "parameter 'm': 'm' is default 2 here and default 1 in 'a'" in told[0]
    assert "parameter 'k': 'k' is -j here and -k in 'a'" in told[1]
    assert "parameter 'm': 'm' is required here and default 1 in 'a'" in told[2]
    wf.items[1:] = []
    shared = wf.compile().parameters["n"]
    assert (shared.help, shared.short) == ("first", "-n")


def test_options_that_two_parameters_would_share() -> None:
    wf = Flow("x")

    @wf.job()
    def a(
        cache: Annotated[bool, Param()],
        no_cache: Annotated[int, Param()],
        n: Annotated[int, Param(short="n")],
        m: Annotated[int, Param(short="n")],
        b_c: Annotated[int, Param(namespace="local")],
        a_b_c: Annotated[int, Param()],
    ) -> None: ...

    told = problems(wf)
    assert told == [
        "task 'a': parameter 'a_b_c': 'a_b_c' is the key of another parameter too, in 'a' "
        f"({__file__}:{a.__code__.co_firstlineno}), and one is local; rename one",
        "task 'a': parameter 'no_cache': its option --no-cache is also that of 'cache'; rename one",
        "task 'a': parameter 'm': its option -n is also that of 'n'; rename one",
    ]


@pytest.mark.parametrize("method", [Workflow.submit, Workflow.run_local])
def test_every_keyword_of_submit_is_reserved(method: Callable[..., Any]) -> None:
    parameters = inspect.signature(method).parameters.values()
    assert {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD} <= RESERVED


def test_local_names_may_not_be_reserved() -> None:
    wf = Flow("x")

    @wf.job()
    def dry(run: Annotated[int, Param(namespace="local")]) -> None: ...

    assert "the name 'dry_run' is taken by reflow's own option --dry-run" in only(wf)
