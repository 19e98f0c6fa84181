"""What is done with encoded values and schemas alone."""

from __future__ import annotations

import dataclasses
import enum
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional, TypedDict, Union

import pytest
import typing_extensions

from reflow.errors import CodecError
from reflow.model.codec import accepts, codec_of, convert, files, join, schema_of, split


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Pair(NamedTuple):
    left: int
    right: str = "r"


@dataclasses.dataclass
class Point:
    y: float
    x: Union[Path, str]


class Wide(TypedDict):
    a: int


def namesake(name: str, **hints: Any) -> Any:
    return dataclasses.make_dataclass(name, list(hints.items()))


@pytest.mark.parametrize(
    ("dst", "src"),
    [
        (int, int),
        (float, int),
        (list[float], list[int]),
        (Any, Path),
        (Any, dict[int, Point]),
        (object, Union[int, Path]),
        (Optional[int], int),
        (Optional[float], Optional[int]),
        (Union[int, str], Literal["a", 1]),
        (Literal["a", "b", 1], Literal[1, "a"]),
        (Optional[Literal["a", "b"]], Literal["b", None]),
        (Union[Literal["a"], int], Literal["a"]),
        (str, Literal["a"]),
        (Level, Literal[Level.LOW]),
        (tuple[int, ...], list[int]),
        (list[int], tuple[int, ...]),
        (list[Union[int, str]], tuple[int, str]),
        (tuple[float, str], tuple[int, str]),
        (set[float], frozenset[int]),
        (dict[str, float], dict[str, int]),
        (dict[Union[int, str], Any], dict[str, list[int]]),
        (Union[list[int], list[str]], list[str]),
        (set[Any], set[str]),
        (namesake("Same", a=float), namesake("Same", a=int)),
        (TypedDict("Opt", {"a": typing_extensions.NotRequired[int]}), TypedDict("Opt", {"a": int})),
        (enum.Enum("E", ["A", "B"]), enum.Enum("E", ["A"])),
    ],
)  # fmt: skip
def test_accepted(dst: Any, src: Any) -> None:
    assert accepts(schema_of(dst), schema_of(src))


@pytest.mark.parametrize(
    ("dst", "src"),
    [
        (int, float),
        (int, bool),
        (float, bool),
        (int, Any),
        (list[int], list),
        (str, Path),
        (Path, str),
        (str, Level),
        (Level, Literal["LOW"]),
        (int, Optional[int]),
        (Optional[int], Optional[str]),
        (Literal["a"], str),
        (Literal["a"], Literal["a", "b"]),
        (int, Literal["a", 1]),
        (list[int], set[int]),
        (tuple[int, int], list[int]),
        (tuple[int], tuple[int, int]),
        (tuple[int, ...], tuple[int, str]),
        (dict[str, int], dict[int, int]),
        (dict[str, int], dict[str, str]),
        (list[str], str),
        (set[Any], set[tuple[int, int]]),
        (dict[Any, Any], dict[tuple[int, int], int]),
        (set[Optional[Any]], set[Pair]),
        (set[list[int]], set[tuple[int, int]]),
        (namesake("Same", a=int), namesake("Other", a=int)),
        (namesake("Same", a=int), namesake("Same", b=int)),
        (namesake("Same", a=int), namesake("Same", a=int, b=int)),
        (TypedDict("Opt", {"a": int}), TypedDict("Opt", {"a": typing_extensions.NotRequired[int]})),
        (enum.Enum("E", ["A"]), enum.Enum("E", ["A", "B"])),
    ],
)  # fmt: skip
def test_not_accepted(dst: Any, src: Any) -> None:
    assert not accepts(schema_of(dst), schema_of(src))
    with pytest.raises(CodecError, match="cannot be received as"):
        convert(b"null", schema_of(src), schema_of(dst))


@pytest.mark.parametrize(
    ("src", "value", "dst", "raw"),
    [
        (int, 1, float, b"1.0"),
        (list[int], [1, 2], list[float], b"[1.0,2.0]"),
        (tuple[int, int], (1, 2), list[float], b"[1.0,2.0]"),
        (tuple[int, str], (1, "a"), tuple[float, str], b'[1.0,"a"]'),
        (int, 1, Union[float, str], b"1.0"),
        (int, 1, Union[int, float], b"1"),
        (Path, Path("x"), Union[Path, str], b'{"$Path":"x"}'),
        (Optional[int], None, Union[Path, str, int, None], b"null"),
        (Optional[Path], Path("x"), Union[Path, str, None], b'{"$Path":"x"}'),
        (Union[Path, str], Path("x"), Union[Path, str, None], b'{"$Path":"x"}'),
        (Union[Path, str, None], "x", Any, b'"x"'),
        (Union[Path, str, None], None, Any, b"null"),
        (Union[list[int], list[str]], [1], Union[list[float], list[str]], b'{"$list[float]":[1.0]}'),
        (Union[list[int], list[str], None], None, Union[list[float], list[str], None], b"null"),
        (Union[int, str], 1, Union[float, str], b"1.0"),
        (Union[int, str], "a", Union[float, str], b'"a"'),
        (list[int], [1], Union[list[float], list[Union[int, str]]], b'{"$list[int | str]":[1]}'),
        (Literal[1, "a"], 1, Union[float, str], b"1.0"),
        (Literal[1, "a"], "a", Union[float, str], b'"a"'),
        (Literal["a", 1], "a", Union[Path, str, int], b'{"$str":"a"}'),
        (Literal["a", 1], 1, Union[Path, str, int], b'{"$int":1}'),
        (set[int], {2**53, 2**53 + 1}, set[float], b"[9007199254740992.0]"),
        (set[int], {2, 1}, list[Any], None),
        (dict[int, int], {10: 1, 9: 2}, dict[float, float], b"[[9.0,2.0],[10.0,1.0]]"),
        (dict[int, int], {10: 1, 9: 2}, Any, b'{"10":1,"9":2}'),
        (dict[float, int], {1.5: 1}, Any, b"[[1.5,1]]"),
        (dict[float, Union[Path, str]], {1.5: "a"}, Any, b'[[1.5,"a"]]'),
        (dict[str, int], {"$a": 1}, dict[Union[str, int], float], b'[["$a",1.0]]'),
        (dict[str, int], {"$a": 1}, Any, b'{"$$a":1}'),
        (list[Point], [Point(1, "p")], Any, b'[{"x":"p","y":1.0}]'),
        (Wide, {"a": 1}, Any, b'{"a":1}'),
        (namesake("Same", a=int, b=int), None, namesake("Same", a=float, b=int), b'{"a":1.0,"b":2}'),
    ],
)  # fmt: skip
def test_received(src: Any, value: Any, dst: Any, raw: bytes | None) -> None:
    if raw is None:
        assert not accepts(schema_of(dst), schema_of(src))
        return
    given = b'{"a":1,"b":2}' if value is None and dataclasses.is_dataclass(src) else codec_of(src).encode(value)
    assert convert(given, schema_of(src), schema_of(dst)) == raw


@pytest.mark.parametrize(
    ("src", "dst"),
    [
        (list[int], list[int]),
        (list[int], tuple[int, ...]),
        (list[str], list[Any]),
        (int, Optional[int]),
        (Literal["a"], str),
        (Literal["a", 1], Union[int, str]),
        (Optional[int], Union[int, str, None]),
        (tuple[int, int], list[int]),
        (dict[str, int], dict[str, Optional[int]]),
        (dict[float, int], dict[Any, Any]),
        (frozenset[Path], set[Path]),
        (Wide, Any),
        (list[Level], list[Any]),
    ],
)  # fmt: skip
def test_what_is_written_alike_is_the_same_bytes(src: Any, dst: Any) -> None:
    raw = b"not even looked at"
    assert convert(raw, schema_of(src), schema_of(dst)) is raw


def test_what_cannot_be_received_after_all_is_said() -> None:
    with pytest.raises(CodecError, match="int of 401 digits is too large for a float"):
        convert(codec_of(int).encode(10**400), schema_of(int), schema_of(float))
    raw = codec_of(dict[int, int]).encode({2**53: 1, 2**53 + 1: 2})
    with pytest.raises(CodecError, match="two keys of a dict are the same once they are float"):
        convert(raw, schema_of(dict[int, int]), schema_of(dict[float, int]))
    with pytest.raises(CodecError, match="not an encoded value"):
        convert(b"[", schema_of(int), schema_of(float))


def test_split_and_join() -> None:
    assert split(b'[1, {"a":[2,3]} ,"x,]"]') == [b"1", b'{"a":[2,3]}', b'"x,]"']
    assert split(b"[]") == []
    assert join([]) == b"[]"
    assert join(iter([b"1", b"[]"])) == b"[1,[]]"
    many = codec_of(list[Optional[str]]).encode([None, "\ud800", "a"] * 40_000)
    assert join(split(many)) == many
    for raw in (b"", b"{}", b"1", b"[1", b"[" * 100_000):
        with pytest.raises(CodecError, match="not an encoded list"):
            split(raw)


@pytest.mark.parametrize(
    ("tp", "value", "found"),
    [
        (Path, Path("a/b"), [("a/b", True)]),
        (Path, Path("/\udcff"), [("/\udcff", True)]),
        (str, "/etc", [("/etc", False)]),
        (str, "/\ud800", [("/\ud800", False)]),
        (str, "etc", []),
        (str, "a\"/b", []),
        (str, "/a\0", []),
        (int, 1, []),
        (list[int], [1], []),
        (list[Path], [Path("b"), Path("a"), Path("b")], [("b", True), ("a", True)]),
        (set[str], {"/a", "b"}, [("/a", False)]),
        (tuple[int, Path, str], (1, Path("x"), "/y"), [("x", True), ("/y", False)]),
        (dict[Path, str], {Path("k"): "/v"}, [("k", True), ("/v", False)]),
        (dict[int, str], {1: "/v"}, [("/v", False)]),
        (dict[float, list[str]], {math.inf: ["/v"]}, [("/v", False)]),
        (dict[str, int], {"/k": 1, "$/": 2}, [("/k", False)]),
        (Any, {"/k": ["/v", 1, None, {"x": "/w"}]}, [("/k", False), ("/v", False), ("/w", False)]),
        (Optional[Path], None, []),
        (Optional[Path], Path("x"), [("x", True)]),
        (Union[int, str], "/x", [("/x", False)]),
        (Union[int, str], 1, []),
        (Union[Path, str], "/x", [("/x", False)]),
        (Union[Path, str, None], Path("/x"), [("/x", True)]),
        (Union[Path, str, None], None, []),
        (Union[Path, bytes], b"\xfc", []),
        (Literal["/x", 1], "/x", [("/x", False)]),
        (Literal["/x", 1], 1, []),
        (Literal[1], 1, []),
        (Point, Point(1, Path("/x")), [("/x", True)]),
        (list[Pair], [Pair(1, "/x"), Pair(2, "y")], [("/x", False)]),
        (Level, Level.LOW, []),
    ],
)  # fmt: skip
def test_files(tp: Any, value: Any, found: list[tuple[str, bool]]) -> None:
    assert files(codec_of(tp).encode(value), schema_of(tp)) == found


def test_bytes_that_cannot_name_a_file_are_not_read() -> None:
    assert files(b"not even looked at", schema_of(dict[str, int])) == []
    assert files(b"not even looked at", schema_of(list[float])) == []
    with pytest.raises(CodecError):
        files(b"looked at", schema_of(Path))
