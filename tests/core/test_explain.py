"""`explain` names what differs from the nearest earlier result, with values, and invents nothing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.model.cache import CacheEntry
from reflow.run.engine.nearest import NEW, Nearest, kept_part

if TYPE_CHECKING:
    from conftest import Lab

ARRAY = """
@wf.job()
def make(upto: Annotated[int, Param()] = 3) -> list[int]:
    return list(range(upto))

@wf.array_job()
def work(x: Annotated[int, Result(step="make")], k: Annotated[int, Param()] = 1, l: Annotated[int, Param()] = 1) -> int:
    if x == 1 and not flag("mended"):
        raise ValueError("odd")
    return x * k
"""


def entry(key: str, **parts: str) -> CacheEntry:
    return CacheEntry(key=key, workflow="w", task="t", result=msgspec.Raw(b"1"), parts=parts)


def of(text: str) -> str:
    return kept_part(text.encode().ljust(8, b"."), text.encode())


def test_values_are_shown(lab: Lab) -> None:
    lab.touch("mended")
    lab.write(ARRAY)
    lab.good()
    run = lab.good(k=2)
    assert lab.why(run, "work") == dict.fromkeys(range(3), ("miss", "k: 1 → 2"))
    run = lab.good(k=3, l=4)
    assert lab.why(run, "work") == dict.fromkeys(range(3), ("miss", "k: 2 → 3, l: 1 → 4"))


def test_an_element_that_is_new_is_no_changed_one(lab: Lab) -> None:
    lab.touch("mended")
    lab.write(ARRAY)
    lab.good()
    run = lab.good(upto=4)
    assert lab.why(run, "make") == {None: ("miss", "upto: 3 → 4")}
    assert lab.why(run, "work")[3] == ("miss", "no earlier result with x = 3")
    assert [decision for decision, _ in lab.why(run, "work").values()] == ["hit", "hit", "hit", "miss"]


def test_what_failed_before_is_said_to_have(lab: Lab) -> None:
    lab.write(ARRAY)
    lab.run()
    again = lab.run()
    assert lab.why(again, "work")[1] == ("miss", "failed before (error), no result")
    lab.touch("mended")
    again.retry()
    assert lab.why(again, "work")[1] == ("miss", "failed before (error), no result")
    assert again.state.value == "SUCCESS"
    assert lab.why(lab.good(), "work")[1][0] == "hit"


def test_the_nearest_result_is_that_which_shares_most() -> None:
    history = [
        entry("new", code="2", a=of("9"), b=of("9"), c=of("1"), version="2"),
        entry("old", code="1", a=of("1"), b=of("2"), c=of("1"), version="1"),
    ]
    nearest = Nearest(history, ())
    assert nearest.why({"code": "1", "a": of("5"), "b": of("2"), "c": of("1"), "version": "1"}) == "a: 1 → 5"
    assert nearest.why({"code": "1", "a": of("5"), "b": of("6"), "c": of("1"), "version": "1"}) == "a: 1 → 5, b: 2 → 6"
    assert nearest.why({"code": "3", "a": of("9"), "b": of("9"), "c": of("7"), "version": "3"}) == (
        "code changed, c: 1 → 7, version: 2 → 3"
    )
    assert nearest.why({"code": "1", "a": of("1"), "b": of("2"), "version": "1"}) == "c changed"


def test_code_that_changed_is_told_before_a_value_of_ones_own() -> None:
    history = [entry("a1", code="a", x=of("1")), entry("b2", code="b", x=of("2"))]
    nearest = Nearest(history, ["x"])
    nearest.take(["b2"])
    assert nearest.why({"code": "b", "x": of("1")}) == "code changed"


def test_one_of_several_is_named_by_what_it_is() -> None:
    history = [entry(str(x), code="a", x=of(str(x))) for x in range(500)]
    nearest = Nearest(history, ["x"])
    assert nearest.why({"code": "a", "x": of("700")}) == "no earlier result with x = 700"
    assert nearest.why({"code": "b", "x": of("701")}) == "code changed, no earlier result with x = 701"
    nearest.take(str(x) for x in range(500) if x != 7)
    assert nearest.why({"code": "a", "x": of("702")}) == "x: 7 → 702"


def test_a_large_array_has_few_reasons() -> None:
    nearest = Nearest([entry("1", code="a", x=of("1")), entry("2", code="a", x=of("2"))], ["x"])
    reasons = {nearest.why({"code": "a", "x": of(str(x))}) for x in range(10, 1000)}
    assert len(reasons) <= 101


def test_long_values_are_shortened() -> None:
    one, other = f'"{"a" * 100}b{"c" * 100}"', f'"{"a" * 100}d{"c" * 100}"'
    assert len(of(one)) < 80
    nearest = Nearest([entry("1", a=kept_part(b"11111111", one.encode()))], ())
    assert nearest.why({"a": kept_part(b"22222222", other.encode())}) == "a changed", "they look the same"
    assert nearest.why({"a": of("5")}) == f'a: "{"a" * 29}…{"c" * 28}" → 5'


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=6), st.tuples(*[st.integers(0, 2)] * 4))
def test_no_result_is_nearer_than_the_one_that_is_named(history: list[tuple[int, ...]], asked: tuple[int, ...]) -> None:
    def parts(values: tuple[int, ...]) -> dict[str, str]:
        return {name: of(str(value)) for name, value in zip("abcd", values, strict=True)}

    if asked in history:
        return
    nearest = Nearest([entry(str(at), **parts(values)) for at, values in enumerate(history)], ())
    fewest = min(sum(then != now for then, now in zip(values, asked, strict=True)) for values in history)
    said = nearest.why(parts(asked))
    assert said.count(" → ") == fewest
    shown = dict(zip("abcd", asked, strict=True))
    assert all(f"{name}: " not in said or f"→ {value}" in said for name, value in shown.items())


def test_nothing_to_compare_with() -> None:
    assert Nearest([], ["x"]).why({"x": of("1")}) == NEW


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", "é".encode() * 100, b"1" * 61])
def test_any_value_can_be_kept(raw: bytes) -> None:
    assert kept_part(b"12345678", raw).encode()


CODE = """
FACTOR = 2
OTHER = 5
LIMITS = {"low": 1}

def helper(x):
    return x * FACTOR

def unused(x):
    return x

@wf.job()
def work() -> int:
    note(LIMITS)
    return helper(1)

@wf.job()
def apart() -> int:
    return 3
"""


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"FACTOR = 2": "FACTOR = 3"}, "FACTOR: 2 → 3 in FILE"),
        ({'{"low": 1}': '{"low": 2}', "OTHER = 5": "OTHER = 6"}, "LIMITS: {'low': 1} → {'low': 2} in FILE"),
        ({"return x * FACTOR": "return FACTOR * x"}, "helper in FILE"),
        ({"    note(LIMITS)\n": "    note(LIMITS, 1)\n", "return 3": "return 4"}, "work in FILE"),
        (
            {"return x * FACTOR": "return FACTOR * x", "    return x\n": "    return -x\n"},
            "among helper, unused in FILE",
        ),
    ],
)
def test_what_of_the_code_has_changed_is_named(lab: Lab, edits: dict[str, str], said: str) -> None:
    lab.write(CODE)
    lab.good()
    for old, new in edits.items():
        lab.edit(old, new)
    run = lab.good()
    assert lab.why(run, "work") == {None: ("miss", f"code ({said.replace('FILE', lab.file.name)}) changed")}
    if "return 3" not in edits:
        assert lab.why(run, "apart")[None][0] == "hit"


def test_what_has_changed_is_not_guessed_without_the_earlier_run(lab: Lab) -> None:
    lab.write(CODE)
    run = lab.good()
    lab.edit("FACTOR = 2", "FACTOR = 3")
    shutil.rmtree(run.root)
    assert lab.why(lab.good(), "work") == {None: ("miss", "code changed")}
