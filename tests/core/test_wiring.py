"""The table of how results reach parameters, against an independent statement of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Union

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reflow.authoring.validate import Mistake
from reflow.authoring.wiring import Shape, connect
from reflow.model.codec import schema_of
from reflow.model.names import Mode

LEAVES: dict[str, Any] = {"int": int, "float": float, "str": str, "Path": Path, "dict": dict[str, int], "set": set[int]}

# A type is the name of a leaf and how many lists are around it.
Type = tuple[str, int]
types = st.tuples(st.sampled_from(sorted(LEAVES)), st.integers(0, 3))


def python(tp: Type) -> Any:
    name, lists = tp
    made: Any = LEAVES[name]
    for _ in range(lists):
        made = list[made]
    return made


def fits(target: Type, value: Type) -> bool:
    return target == value or (target[0], value[0], target[1]) == ("float", "int", value[1])


def item(tp: Type) -> Type | None:
    return (tp[0], tp[1] - 1) if tp[1] else None


def table(up_array: bool, up: Type, down_array: bool, down: Type, broadcast: bool) -> str | None:
    """Return the mode that the table of wiring gives, row by row; None where no row matches."""
    piece, wanted = item(up), item(down)
    match up_array, down_array:
        case False, False:
            return "direct" if fits(down, up) else None
        case False, True:
            if broadcast:
                return "broadcast" if fits(down, up) else None
            if piece is not None and fits(down, piece):
                return "fan-out"
            return "broadcast" if fits(down, up) else None
        case True, False:
            if wanted is not None and fits(wanted, up):
                return "gather"
            return "gather-flatten" if piece is not None and wanted is not None and fits(wanted, piece) else None
        case _:
            if broadcast:
                return None
            if fits(down, up):
                return "chain"
            return "chain-flatten" if piece is not None and fits(down, piece) else None


def wired(up_array: bool, up: Any, down_array: bool, down: Any, broadcast: bool = False) -> str | None:
    try:
        mode = connect([Shape(up_array, schema_of(up))], Shape(down_array, schema_of(down)), broadcast=broadcast)
    except Mistake as mistake:
        assert "write" in str(mistake) or "let" in str(mistake) or "first" in str(mistake)
        return None
    return mode.value


@given(st.booleans(), types, st.booleans(), types, st.booleans())
@example(False, ("int", 1), True, ("float", 0), False)
@example(False, ("int", 1), True, ("float", 1), False)
@example(False, ("int", 2), True, ("int", 1), False)
@example(True, ("int", 1), False, ("float", 1), False)
@example(True, ("int", 1), False, ("int", 2), False)
@example(True, ("int", 1), True, ("int", 0), False)
def test_the_table(up_array: bool, up: Type, down_array: bool, down: Type, broadcast: bool) -> None:
    assert wired(up_array, python(up), down_array, python(down), broadcast) == table(
        up_array, up, down_array, down, broadcast
    )


@given(st.booleans(), types, st.booleans(), st.data())
def test_a_parameter_near_the_upstream_type(up_array: bool, up: Type, down_array: bool, data: st.DataObject) -> None:
    """As above, where most pairs match: the same leaf, about as many lists."""
    down = (up[0], max(0, up[1] + data.draw(st.integers(-1, 1))))
    assert wired(up_array, python(up), down_array, python(down)) == table(up_array, up, down_array, down, False)


@pytest.mark.parametrize(
    ("up_array", "up", "down_array", "down", "mode"),
    [
        (False, list[int], True, Optional[int], Mode.FANOUT),
        (False, list[int], True, Any, Mode.FANOUT),
        (False, tuple[int, ...], True, int, Mode.FANOUT),
        (False, dict[str, int], True, dict[str, int], Mode.BROADCAST),
        (False, set[int], True, set[int], Mode.BROADCAST),
        (False, Optional[list[int]], True, Optional[list[int]], Mode.BROADCAST),
        (True, int, False, list[Union[int, str]], Mode.GATHER),
        (True, int, False, tuple[int, ...], Mode.GATHER),
        (True, int, False, Optional[list[int]], Mode.GATHER),
        (True, int, False, Any, Mode.GATHER),
        (True, list[int], False, Any, Mode.GATHER),
        (True, list[int], True, Any, Mode.CHAIN),
        (True, int, False, Optional[int], None),
        (False, list[int], True, str, None),
        (False, dict[str, int], True, int, None),
        (False, set[int], True, int, None),
        (False, tuple[int, str], True, int, None),
        (False, Any, True, int, None),
        (False, Path, False, str, None),
        (True, int, False, int, None),
        (True, int, False, set[int], None),
    ],
)
def test_other_types(up_array: bool, up: Any, down_array: bool, down: Any, mode: Mode | None) -> None:
    assert wired(up_array, up, down_array, down) == (mode.value if mode else None)


def shapes(*pairs: tuple[bool, Any]) -> list[Shape]:
    return [Shape(array, schema_of(tp)) for array, tp in pairs]


@pytest.mark.parametrize(
    ("up", "down_array", "down", "mode"),
    [
        ([(True, int), (True, int)], False, list[int], Mode.GATHER),
        ([(True, int), (True, float)], False, list[float], Mode.GATHER),
        ([(True, list[int]), (True, list[int])], False, list[int], Mode.FLATTEN),
        ([(True, int), (True, int)], True, int, Mode.CHAIN),
        ([(True, list[int]), (True, list[int])], True, int, Mode.CHAIN_FLATTEN),
        ([(False, list[int]), (False, list[int])], False, list[int], Mode.DIRECT),
        ([(False, list[int]), (False, list[int])], True, int, Mode.FANOUT),
        ([(False, list[int]), (False, list[int])], True, list[int], Mode.BROADCAST),
        ([(False, int), (False, int)], False, list[int], Mode.DIRECT),
        ([(False, int), (False, list[int])], False, list[int], Mode.DIRECT),
        ([(True, int), (False, list[int])], False, list[int], Mode.DIRECT),
        ([(True, int), (False, int)], True, int, Mode.FANOUT),
        ([(True, int), (True, list[int])], False, list[Any], Mode.GATHER),
    ],
)
def test_several_steps_are_concatenated(up: Any, down_array: bool, down: Any, mode: Mode) -> None:
    assert connect(shapes(*up), Shape(down_array, schema_of(down))) is mode


@given(st.lists(st.tuples(st.booleans(), types), min_size=2, max_size=3), st.booleans(), types)
@example([(True, ("int", 1)), (False, ("int", 1))], True, ("int", 0))
@example([(False, ("int", 0)), (False, ("int", 1))], False, ("float", 1))
def test_concatenation(up: list[tuple[bool, Type]], down_array: bool, down: Type) -> None:
    """Arrays together are one array; with a single task among them, they are one single list of what each gives."""
    if all(array for array, _ in up):
        rows = {table(True, tp, down_array, down, False) for _, tp in up}
    else:
        pieces = [tp if array or not tp[1] else (tp[0], tp[1] - 1) for array, tp in up]
        rows = {table(False, (name, lists + 1), down_array, down, False) for name, lists in pieces}
    expected = rows.pop() if len(rows) == 1 else None
    try:
        found = connect(shapes(*[(array, python(tp)) for array, tp in up]), Shape(down_array, schema_of(python(down))))
    except Mistake:
        assert expected is None
    else:
        assert found.value == expected


@pytest.mark.parametrize(
    ("up", "down_array", "down"),
    [
        ([(True, int), (True, str)], False, list[int]),
        ([(True, int), (True, list[int])], False, list[int]),
        ([(True, list[int]), (False, list[int])], False, list[int]),
        ([(False, int), (False, int)], False, int),
    ],
)
def test_steps_of_different_kinds_are_refused(up: Any, down_array: bool, down: Any) -> None:
    with pytest.raises(Mistake):
        connect(shapes(*up), Shape(down_array, schema_of(down)))


def test_steps_that_fit_in_different_ways_are_refused() -> None:
    with pytest.raises(Mistake, match=r"array of list\[int\], array of int"):
        connect(shapes((True, list[int]), (True, int)), Shape(True, schema_of(int)))


@pytest.mark.parametrize(
    ("up_array", "up", "down_array", "down", "says"),
    [
        (True, int, False, int, r"write list\[int\]"),
        (False, list[int], True, str, r"write int to get one item for each element, or list\[int\] to get the whole"),
        (False, dict[str, int], True, int, r"let the upstream task return list\[int\]"),
        (False, int, True, str, r"let the upstream task return list\[str\]"),
        (False, int, False, str, "write int, or change what the upstream task returns"),
        (True, int, True, str, "write int, or change what the upstream task returns"),
    ],
)
def test_what_to_write_instead(up_array: bool, up: Any, down_array: bool, down: Any, says: str) -> None:
    with pytest.raises(Mistake, match=says):
        connect([Shape(up_array, schema_of(up))], Shape(down_array, schema_of(down)))


def test_a_gather_into_one_of_several_lists_is_refused() -> None:
    two = Union[list[int], list[str]]
    assert wired(True, str, False, two) is None
    assert wired(False, list[str], False, two) == "direct"
    assert wired(True, str, True, two) is None
    with pytest.raises(Mistake, match="write the one that is meant"):
        connect(shapes((False, list[str]), (False, str)), Shape(False, schema_of(two)))


def test_broadcast_keeps_lists_whole() -> None:
    assert wired(False, list[int], True, Any, broadcast=True) == "broadcast"
    assert wired(False, list[int], True, int, broadcast=True) is None
    assert wired(True, int, True, int, broadcast=True) is None
    assert wired(True, int, False, list[int], broadcast=True) == "gather"
