"""The wiring table, row by row, with values that go through the engine and come out as the types they are declared."""

from __future__ import annotations

from typing import Any

import pytest

from reflow.errors import WorkflowError

TWO = """
@dataclass
class Point:
    x: int
    y: float = 0.5

@wf.job()
def start() -> list[int]:
    return {start}

@wf.{up_kind}()
def up({up_parameters}) -> {up_type}:
    return {up_value}

@wf.{down_kind}()
def down({extra}value: Annotated[{down_type}, Result({result})]) -> str:
    return f"{{type(value).__name__}}:{{value!r}}"
"""


def wire(
    lab: Any,
    up_type: str,
    up_value: str,
    down_type: str,
    *,
    up_array: bool = False,
    down_array: bool = False,
    result: str = 'step="up"',
    start: str = "[1, 2, 3]",
    extra: str = "",
) -> Any:
    """What a task downstream sees: the text of its value, or of each element's."""
    lab.write(
        TWO.format(
            start=start,
            up_kind="array_job" if up_array else "job",
            up_parameters='n: Annotated[int, Result(step="start")]' if up_array else "",
            up_type=up_type,
            up_value=up_value,
            down_kind="array_job" if down_array else "job",
            down_type=down_type,
            result=result,
            extra=extra,
        )
    )
    run = lab.good()
    return run.results("down") if down_array else run.result("down")


@pytest.mark.parametrize(
    ("up_type", "up_value", "down_type", "expected"),
    [
        ("int", "3", "int", "int:3"),
        ("int", "3", "float", "float:3.0"),
        ("list[int]", "[1, 2]", "list[float]", "list:[1.0, 2.0]"),
        ("dict[str, int]", "{'a': 1}", "dict[str, float]", "dict:{'a': 1.0}"),
        ("int", "3", "Optional[int]", "int:3"),
        ("int", "3", "Optional[float]", "float:3.0"),
        ("Optional[int]", "None", "Optional[int]", "NoneType:None"),
        ("int", "3", "Union[str, int]", "int:3"),
        ("float", "float('nan')", "float", "float:nan"),
        ("float", "-0.0", "float", "float:-0.0"),
        ("set[int]", "{3, 1}", "set[int]", "set:{1, 3}"),
        ("tuple[int, str]", "(1, 'a')", "tuple[int, str]", "tuple:(1, 'a')"),
        ("bytes", "b'\\xff\\x00'", "bytes", "bytes:b'\\xff\\x00'"),
        ("Path", "Path('/usr/bin')", "Path", "PosixPath:PosixPath('/usr/bin')"),
        ("Literal['a', 'b']", "'b'", "Literal['a', 'b']", "str:'b'"),
        ("Point", "Point(1, 2)", "Point", "Point:Point(x=1, y=2.0)"),
        ("list[Point]", "[Point(1)]", "list[Point]", "list:[Point(x=1, y=0.5)]"),
        ("str", "'\\ud800'", "str", "str:'\\ud800'"),
        ("None", "None", "None", "NoneType:None"),
    ],
)
def test_direct(lab: Any, up_type: str, up_value: str, down_type: str, expected: str) -> None:
    assert wire(lab, up_type, up_value, down_type) == expected


@pytest.mark.parametrize(
    ("up_type", "up_value", "down_type", "expected"),
    [
        ("list[int]", "[3, 1, 2]", "int", ["int:3", "int:1", "int:2"]),
        ("list[int]", "[3, 1]", "float", ["float:3.0", "float:1.0"]),
        ("list[int]", "[3, 1]", "Optional[int]", ["int:3", "int:1"]),
        ("list[list[int]]", "[[1], [], [2, 3]]", "list[int]", ["list:[1]", "list:[]", "list:[2, 3]"]),
        ("list[list[int]]", "[[1]]", "list[float]", ["list:[1.0]"]),
        ("list[Point]", "[Point(1), Point(2)]", "Point", ["Point:Point(x=1, y=0.5)", "Point:Point(x=2, y=0.5)"]),
        ("list[Optional[int]]", "[1, None]", "Optional[int]", ["int:1", "NoneType:None"]),
        ("list[int]", "[]", "int", []),
    ],
)
def test_fan_out(lab: Any, up_type: str, up_value: str, down_type: str, expected: list[str]) -> None:
    assert wire(lab, up_type, up_value, down_type, down_array=True) == expected


@pytest.mark.parametrize(
    ("up_type", "up_value", "down_type", "result", "expected"),
    [
        ("list[int]", "[7, 8]", "list[int]", 'step="up"', "list:[7, 8]"),
        ("list[int]", "[7, 8]", "list[float]", 'step="up"', "list:[7.0, 8.0]"),
        ("int", "7", "int", 'step="up"', "int:7"),
        ("int", "7", "float", 'step="up"', "float:7.0"),
        ("set[int]", "{7}", "set[int]", 'step="up"', "set:{7}"),
        ("dict[str, int]", "{'a': 7}", "dict[str, int]", 'step="up"', "dict:{'a': 7}"),
        ("list[list[int]]", "[[7]]", "list[list[int]]", 'step="up", broadcast=True', "list:[[7]]"),
        ("Point", "Point(7)", "Point", 'step="up"', "Point:Point(x=7, y=0.5)"),
    ],
)
def test_broadcast(lab: Any, up_type: str, up_value: str, down_type: str, result: str, expected: str) -> None:
    extra = 'n: Annotated[int, Result(step="start")], '
    assert wire(lab, up_type, up_value, down_type, result=result, down_array=True, extra=extra) == [expected] * 3


@pytest.mark.parametrize(
    ("up_type", "up_value", "down_type", "expected"),
    [
        ("int", "n * 2", "list[int]", "list:[2, 4, 6]"),
        ("int", "n * 2", "list[float]", "list:[2.0, 4.0, 6.0]"),
        ("int", "n * 2", "Optional[list[int]]", "list:[2, 4, 6]"),
        ("list[int]", "[n] * n", "list[list[int]]", "list:[[1], [2, 2], [3, 3, 3]]"),
        ("list[int]", "[n] * (n - 1)", "list[int]", "list:[2, 3, 3]"),
        ("list[int]", "[n] * (n - 1)", "list[float]", "list:[2.0, 3.0, 3.0]"),
        ("Point", "Point(n)", "list[Point]", "list:[Point(x=1, y=0.5), Point(x=2, y=0.5), Point(x=3, y=0.5)]"),
    ],
)
def test_gather(lab: Any, up_type: str, up_value: str, down_type: str, expected: str) -> None:
    assert wire(lab, up_type, up_value, down_type, up_array=True) == expected


@pytest.mark.parametrize(
    ("up_type", "up_value", "down_type", "expected"),
    [
        ("int", "n * 2", "int", ["int:2", "int:4", "int:6"]),
        ("int", "n * 2", "float", ["float:2.0", "float:4.0", "float:6.0"]),
        ("list[int]", "[n]", "list[int]", ["list:[1]", "list:[2]", "list:[3]"]),
        ("list[int]", "[n]", "list[float]", ["list:[1.0]", "list:[2.0]", "list:[3.0]"]),
        ("list[int]", "[n] * (n - 1)", "int", ["int:2", "int:3", "int:3"]),
        ("list[int]", "[n] * (n - 1)", "float", ["float:2.0", "float:3.0", "float:3.0"]),
        ("list[int]", "[]", "int", []),
    ],
)
def test_chain(lab: Any, up_type: str, up_value: str, down_type: str, expected: list[str]) -> None:
    assert wire(lab, up_type, up_value, down_type, up_array=True, down_array=True) == expected


def test_empty_lists_all_the_way_down(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def start() -> list[int]:
        return []

    @wf.array_job()
    def up(n: Annotated[int, Result(step="start")]) -> list[int]:
        return [n]

    @wf.array_job()
    def chained(n: Annotated[list[int], Result(step="up")]) -> int:
        return 1

    @wf.array_job()
    def flat(n: Annotated[int, Result(step="up")]) -> int:
        return 1

    @wf.job()
    def gather(n: Annotated[list[int], Result(step="chained")]) -> list[int]:
        return n

    @wf.job()
    def flatten(n: Annotated[list[int], Result(step="up")]) -> list[int]:
        return n
    """)
    for _ in range(2):
        run = lab.good()
        assert [run.results(name) for name in ("up", "chained", "flat")] == [[], [], []]
        assert run.result("gather") == run.result("flatten") == []
        assert lab.counts(run)["up"] == {}


STEPS = """
@wf.job()
def numbers() -> list[int]:
    return [1, 2]

@wf.job()
def one() -> int:
    return 3

@wf.array_job()
def squares(n: Annotated[int, Result(step="numbers")]) -> int:
    return n * n

@wf.job()
def none() -> list[int]:
    return []

@wf.job()
def gather(x: Annotated[list[float], Result(steps=["one", "squares", "none", "numbers"])]) -> list[float]:
    return x

@wf.array_job()
def spread(x: Annotated[int, Result(steps=["squares", "numbers"])]) -> int:
    return x * 10
"""


def test_several_steps_are_concatenated_in_the_order_given(lab: Any) -> None:
    lab.write(STEPS)
    run = lab.good()
    assert run.result("gather") == [3.0, 1.0, 4.0, 1.0, 2.0]
    assert run.results("spread") == [10, 40, 10, 20]
    lab.edit('["one", "squares", "none", "numbers"]', '["numbers", "none", "squares", "one"]')
    assert lab.good().result("gather") == [1.0, 2.0, 1.0, 4.0, 3.0]


def test_zipped_sources_of_every_kind(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def names() -> list[str]:
        return ["a", "b", "c"]

    @wf.job()
    def numbers() -> list[int]:
        return [1, 2, 3]

    @wf.array_job()
    def squares(n: Annotated[int, Result(step="numbers")]) -> int:
        return n * n

    @wf.array_job()
    def zipped(
        name: Annotated[str, Result(step="names")],
        square: Annotated[float, Result(step="squares")],
        all_names: Annotated[list[str], Result(step="names", broadcast=True)],
        factor: Annotated[int, Param()] = 2,
        plain: str = "!",
    ) -> str:
        return f"{name}{square * factor}{''.join(all_names)}{plain}"

    @wf.job()
    def total(x: Annotated[list[str], Result(step="zipped")]) -> str:
        return " ".join(x)
    """)
    for executor in ("inline", "local"):
        run = lab.good(executor, force=True)
        assert run.result("total") == "a2.0abc! b8.0abc! c18.0abc!"


def test_a_broadcast_value_belongs_to_one_element_alone(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def numbers() -> list[int]:
        return [1, 2, 3]

    @wf.array_job()
    def grow(
        n: Annotated[int, Result(step="numbers")],
        whole: Annotated[list[int], Result(step="numbers", broadcast=True)],
    ) -> int:
        whole.append(n)
        return len(whole)
    """)
    assert lab.good().results("grow") == [4, 4, 4]


@pytest.mark.parametrize(
    ("up", "down", "array"),
    [("set[int]", "int", True), ("dict[str, int]", "str", True), ("str", "int", False), ("list[str]", "int", True)],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(lab: Any, up: str, down: str, array: bool) -> None:
    with pytest.raises(WorkflowError, match="down"):
        wire(lab, up, "None", down, down_array=array)
    assert not lab.run_dir.exists()


def test_an_array_into_a_scalar_is_refused(lab: Any) -> None:
    with pytest.raises(WorkflowError, match="down"):
        wire(lab, "int", "1", "int", up_array=True)


def test_a_flow_included_twice_with_bound_inputs(lab: Any) -> None:
    lab.write("""
    part = Flow("part")

    @part.array_job()
    def scale(x: Annotated[int, Result()], factor: Annotated[int, Param(namespace="local")] = 2) -> int:
        return x * factor

    @part.job()
    def total(x: Annotated[list[int], Result(step="scale")]) -> int:
        return sum(x)

    @wf.job()
    def a() -> list[int]:
        return [1, 2]

    @wf.job()
    def b() -> list[int]:
        return [10, 20]

    wf.include(part, prefix="left", inputs={"x": "a"})
    wf.include(part, prefix="right", inputs={"x": "b"})

    @wf.job()
    def both(x: Annotated[list[int], Result(steps=["left.total", "right.total"])]) -> list[int]:
        return x
    """)
    assert lab.good(right_scale_factor=3).result("both") == [6, 90]
