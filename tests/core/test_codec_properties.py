"""Property tests of the codec: any type it takes, any value of it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import math
import re
import string
import typing
import uuid
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar, Union
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reflow.errors import CodecError
from reflow.model.codec import Codec, accepts, codec_of, convert, describe, files, join, split
from reflow.model.codec_wire import keyed
from reflow.model.schema import Schema

T = TypeVar("T")


class Colour(Enum):
    RED = 1
    GREEN = "green"
    CRIMSON = 1  # noqa: PIE796, an alias


class Mood(str, Enum):
    good = "RED"
    bad = "bad"


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass(frozen=True)
class Box(Generic[T]):
    item: T
    label: str = ""


class Pair(NamedTuple):
    left: int
    right: Optional[str] = None


class Options(TypedDict, total=False):
    level: int
    name: str


# What is generated: a type, and a strategy for its values


class Kind(NamedTuple):
    """A type with its values; ``key`` where they can be hashed."""

    type: Any
    values: st.SearchStrategy[Any]
    key: bool


ZONES = st.sampled_from(
    [None, dt.timezone.utc, dt.timezone(dt.timedelta(hours=-3, seconds=7)), ZoneInfo("Europe/Berlin")]
)
TEXT = st.one_of(
    st.text(),
    st.text(st.characters(), max_size=8),
    st.text(st.sampled_from("\0$/a\ud800\udcff\udfff"), max_size=6),
    st.sampled_from(["/etc", "$float", "$", "\0", "nan", "é", "NaN"]),
)
FLOATS = st.one_of(st.floats(), st.sampled_from([-0.0, 1e16, 2.0**70, math.inf, -math.inf, math.nan]))
INTS = st.one_of(st.integers(), st.integers(-(2**200), 2**200), st.sampled_from([2**63, 2**64, -(2**63) - 1]))
STAMPS = st.datetimes(timezones=st.none()).flatmap(
    lambda at: st.builds(lambda zone, fold: at.replace(tzinfo=zone, fold=fold), ZONES, st.integers(0, 1))
)
TIMES = st.times().flatmap(
    lambda at: st.builds(lambda zone, fold: at.replace(tzinfo=zone, fold=fold), ZONES, st.integers(0, 1))
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), INTS, FLOATS, TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
PATHS = st.one_of(TEXT.map(Path), st.sampled_from([Path("/"), Path("/etc/hosts"), Path("a/../b")]))
LEAVES = [
    Kind(type(None), st.none(), True),
    Kind(bool, st.booleans(), True),
    Kind(int, INTS, True),
    Kind(float, FLOATS, True),
    Kind(str, TEXT, True),
    Kind(bytes, st.binary(), True),
    Kind(Path, PATHS, True),
    Kind(PurePosixPath, TEXT.map(PurePosixPath), True),
    Kind(dt.datetime, STAMPS, True),
    Kind(dt.date, st.dates(), True),
    Kind(dt.time, TIMES, True),
    Kind(dt.timedelta, st.timedeltas(), True),
    Kind(uuid.UUID, st.uuids(), True),
    Kind(
        Decimal,
        st.decimals(allow_nan=False) | st.sampled_from([Decimal("1.00"), Decimal("-0"), Decimal("1E+9999")]),
        True,
    ),
    Kind(Colour, st.sampled_from(Colour), True),
    Kind(Mood, st.sampled_from(Mood), True),
    Kind(Literal["RED", 1, False], st.sampled_from(["RED", 1, False]), True),
    Kind(Literal["a", "/b", None], st.sampled_from(["a", "/b", None]), True),
    Kind(Literal[Mood.good, "x"], st.sampled_from([Mood.good, "x"]), True),
    Kind(Any, JSON, False),
    Kind(Point, st.builds(Point, FLOATS, FLOATS), False),
    Kind(Pair, st.builds(Pair, INTS, st.none() | TEXT), True),
    Kind(Options, st.fixed_dictionaries({}, optional={"level": INTS, "name": TEXT}), False),
]


def larger(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    keys = inner.filter(lambda kind: kind.key)
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        inner.map(lambda k: Kind(list[k.type], st.lists(k.values, max_size=3), False)),
        inner.map(lambda k: Kind(tuple[k.type, ...], st.lists(k.values, max_size=3).map(tuple), k.key)),
        several.map(
            lambda ks: Kind(
                tuple[tuple(k.type for k in ks)], st.tuples(*(k.values for k in ks)), all(k.key for k in ks)
            )
        ),
        keys.map(lambda k: Kind(set[k.type], st.sets(k.values, max_size=3), False)),
        keys.map(lambda k: Kind(frozenset[k.type], st.frozensets(k.values, max_size=3), True)),
        st.builds(
            lambda k, v: Kind(dict[k.type, v.type], st.dictionaries(k.values, v.values, max_size=3), False), keys, inner
        ),
        several.map(
            lambda ks: Kind(
                Union[tuple(k.type for k in ks)], st.one_of(*(k.values for k in ks)), all(k.key for k in ks)
            )
        ),
        inner.map(lambda k: Kind(Box[k.type], st.builds(Box, k.values, TEXT), k.key)),
    )


KINDS = st.recursive(st.sampled_from(LEAVES), larger, max_leaves=5)


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[Codec, Any]:
    """A codec and a value of its type."""
    kind = draw(KINDS)
    try:
        codec = codec_of(kind.type)
    except CodecError as error:
        if "alike" not in error.message:  # of all these types only such unions are refused
            raise
        assume(False)
    return codec, draw(kind.values)


def form(value: Any) -> Any:
    """A value with everything that must survive made to compare: types, NaN, -0.0, zones, folds, digits."""
    if isinstance(value, float):
        return float, repr(value)
    if isinstance(value, (dt.datetime, dt.time)):
        return type(value), value.replace(tzinfo=None), value.fold, value.tzinfo
    if isinstance(value, Decimal):
        return Decimal, value.as_tuple()
    if isinstance(value, dict):
        return dict, sorted(((form(k), form(v)) for k, v in value.items()), key=repr)
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(map(form, value), key=repr)
    if isinstance(value, (list, tuple)):
        return type(value), [form(item) for item in value]
    if dataclasses.is_dataclass(value):
        return type(value), form(vars(value))
    return type(value), value


def holds_nan_twice(value: Any) -> bool:
    """Whether two NaN stand in one set, or are keys of one dict: written, they are the same."""
    if isinstance(value, (dict, set, frozenset)) and len({repr(form(item)) for item in value}) < len(value):
        return True
    inside = [*value, *value.values()] if isinstance(value, dict) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = list(vars(value).values())
    return isinstance(inside, (list, tuple, set, frozenset)) and any(map(holds_nan_twice, inside))


def turned(value: Any) -> Any:
    """An equal value whose sets and dicts were filled the other way round."""
    if isinstance(value, dict):
        return {turned(key): turned(item) for key, item in reversed(list(value.items()))}
    if isinstance(value, (set, frozenset)):
        return type(value)([turned(item) for item in reversed(list(value))])
    if type(value) in (list, tuple):
        return type(value)([turned(item) for item in value])
    return value


ROUGH = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)


@settings(ROUGH, max_examples=200)
@given(typed_values())
def test_a_value_comes_back_as_it_was(case: tuple[Codec, Any]) -> None:
    codec, value = case
    assume(not holds_nan_twice(value))
    raw = codec.encode(value)
    assert form(codec.decode(raw)) == form(value)
    assert codec.encode(codec.decode(raw)) == raw
    # plain JSON for any reader, compact and without what other readers refuse
    assert msgspec.json.encode(msgspec.json.decode(raw)) == raw


@settings(ROUGH, max_examples=200)
@given(typed_values())
def test_equal_values_have_equal_bytes(case: tuple[Codec, Any]) -> None:
    codec, value = case
    assume(not holds_nan_twice(value))
    assert codec.encode(turned(value)) == codec.encode(value)


@settings(ROUGH, max_examples=200)
@given(typed_values())
def test_a_codec_compiled_anew_writes_the_same(case: tuple[Codec, Any]) -> None:
    codec, value = case
    assume(not holds_nan_twice(value))
    again = Codec(codec.type)
    assert again.schema == codec.schema
    assert again.encode(value) == codec.encode(value)
    assert msgspec.json.decode(msgspec.json.encode(codec.schema), type=Schema) == codec.schema


@settings(ROUGH, max_examples=200)
@given(KINDS, typed_values())
def test_what_is_taken_comes_back_equal_and_all_else_is_a_codec_error(kind: Kind, case: tuple[Codec, Any]) -> None:
    _, value = case
    assume(not holds_nan_twice(value))
    try:
        codec = codec_of(kind.type)
        raw = codec.encode(value)
    except CodecError:
        return
    back = codec.decode(raw)
    assert back == value or form(back) == form(value) or describe(codec.schema).count("float")


@settings(ROUGH, max_examples=200)
@given(KINDS, JSON)
def test_any_json_is_read_or_a_codec_error(kind: Kind, tree: Any) -> None:
    raw = codec_of(Any).encode(tree)
    try:
        codec = codec_of(kind.type)
        value = codec.decode(raw)
    except CodecError:
        return
    if not holds_nan_twice(value):
        assert form(codec.decode(codec.encode(value))) == form(value)


@given(KINDS, st.binary() | st.text(string.printable).map(str.encode))
@settings(ROUGH, max_examples=200)
def test_any_bytes_are_read_or_a_codec_error(kind: Kind, raw: bytes) -> None:
    with contextlib.suppress(CodecError):
        codec_of(kind.type).decode(raw)


# Receiving one type as another


def wider(tp: Any, *, hashed: bool = False) -> st.SearchStrategy[Any]:
    """Types that accept a type; ``hashed`` where it stands in a set or a key, and Any would make a list of it."""
    options: list[Any] = [tp, Optional[tp], Union[tp, int], Union[tp, str]]
    origin, args = typing.get_origin(tp), typing.get_args(tp)
    if not hashed:
        options += [Any, Union[Any, tp], Union[float, list[float], tp]]
    if tp is int:
        options += [float, Union[float, str], Optional[float]]
    found = st.sampled_from(options)
    if origin in (list, set, frozenset) or (origin is tuple and args[1:] == (...,)):
        items = wider(args[0], hashed=hashed or origin in (set, frozenset))
        return found | items.map(lambda item: origin[(item, *args[1:])])
    if origin is dict:
        keys, values = wider(args[0], hashed=True), wider(args[1], hashed=hashed)
        return found | st.builds(lambda key, value: dict[key, value], keys, values)
    if origin is tuple:
        if not hashed:
            found |= st.sampled_from([list[Any], list[Union[args]]])
        return found | st.tuples(*(wider(arg, hashed=hashed) for arg in args)).map(lambda items: tuple[items])
    return found


def tagged(schema: Schema) -> bool:
    """Whether there is a tagged union in a type."""
    return schema.tagged or any(map(tagged, (*schema.args, *(field.schema for field in schema.fields))))


def paired(schema: Schema) -> bool:
    """Whether there is a dict that is written as pairs in a type; as plain JSON it stays a list."""
    inside = (*schema.args, *(field.schema for field in schema.fields))
    return (schema.kind == "dict" and not keyed(schema.args[0])) or any(map(paired, inside))


def check_received(src: Codec, dst: Codec, value: Any) -> None:
    raw = src.encode(value)
    try:
        moved = convert(raw, src.schema, dst.schema)
    except CodecError as error:
        if not any(why in error.message for why in ("too large for a float", "same once they are")):
            raise
        return
    received = dst.decode(moved)
    if not tagged(dst.schema) and not tagged(src.schema) and not (paired(src.schema) and dst.schema != src.schema):
        assert dst.encode(received) == moved
        try:
            assert dst.encode(value) == moved
        except CodecError:  # a tuple as a list, a record as plain JSON
            # `Path` and `PurePosixPath` are one schema.
            assert re.search("tuple|Path", describe(src.schema)) or dst.schema != src.schema
    if src.schema == dst.schema:
        assert moved is raw


@settings(ROUGH, max_examples=250)
@given(st.data())
def test_a_wider_type_accepts_and_receives(data: st.DataObject) -> None:
    kind = data.draw(KINDS)
    try:
        src, dst = codec_of(kind.type), codec_of(data.draw(wider(kind.type)))
    except CodecError:
        assume(False)
    value = data.draw(kind.values)
    assume(not holds_nan_twice(value))
    assert accepts(dst.schema, src.schema)
    check_received(src, dst, value)


@settings(ROUGH, max_examples=250)
@given(typed_values(), KINDS)
def test_accepts_and_convert_agree(case: tuple[Codec, Any], kind: Kind) -> None:
    src, value = case
    try:
        dst = codec_of(kind.type)
    except CodecError:
        assume(False)
    assume(not holds_nan_twice(value))
    if accepts(dst.schema, src.schema):
        check_received(src, dst, value)
    else:
        with pytest.raises(CodecError, match="cannot be received as"):
            convert(src.encode(value), src.schema, dst.schema)


# Lists, and files


@given(st.lists(st.one_of(INTS, TEXT), max_size=5))
def test_split_and_join_are_the_list(values: list[Any]) -> None:
    item, whole = codec_of(Union[int, str]), codec_of(list[Union[int, str]])
    parts = [item.encode(value) for value in values]
    assert join(parts) == whole.encode(values)
    assert split(whole.encode(values)) == parts


def named(value: Any) -> set[tuple[str, bool]]:
    """Paths and absolute strings in a value."""
    if isinstance(value, PurePath):
        return {(str(value), True)}
    if isinstance(value, Enum):
        return set()
    if isinstance(value, str):
        return {(value, False)} if value.startswith("/") else set()
    if isinstance(value, dict):
        return named([*value, *value.values()])
    if isinstance(value, (list, tuple, set, frozenset)):
        return set().union(*map(named, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return named(vars(value))
    return set()


@settings(ROUGH, max_examples=200)
@given(typed_values())
def test_files_are_the_paths_of_a_value(case: tuple[Codec, Any]) -> None:
    codec, value = case
    assume(not holds_nan_twice(value))
    found = files(codec.encode(value), codec.schema)
    assert set(found) == {(name, declared) for name, declared in named(value) if "\0" not in name}
    assert len(found) == len(set(found))
