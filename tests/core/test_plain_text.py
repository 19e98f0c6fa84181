"""Values as text: equal for equal values, other for others, and what has no text is named."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import re
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.model.plain import Told, TooLarge


class Point(NamedTuple):
    x: int


@dataclass
class Record:
    x: object


class Level(enum.IntFlag):
    LOW = 1
    HIGH = 2


class Text(str):
    __slots__ = ()


VALUES: list[Any] = [
    1, 1.0, True, "1", b"1", bytearray(b"1"), None, ..., 1j, (1,), [1], {1}, frozenset({1}), {1: 1}, range(1), slice(1),
    Point(1), Record(1), Record([1]), Level.LOW, Level.HIGH, Level.LOW | Level.HIGH, Text("1"), Path("1"),
    decimal.Decimal(1), decimal.Decimal("1.0"), datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), datetime.datetime(2020, 1, 1, fold=1),
    datetime.time(1), datetime.timedelta(1), re.compile("1"), re.compile(b"1"), re.compile("1", re.I),
    collections.deque([1]), collections.OrderedDict({1: 1}), collections.defaultdict(int, {1: 1}),
    types.SimpleNamespace(x=1), len, int, 10**5000, float("nan"), -0.0, "\ud800",
]  # fmt: skip


def test_values_of_different_kinds_have_different_texts() -> None:
    texts = [Told(value).text for value in VALUES]
    assert len(set(texts)) == len(VALUES)
    assert all(Told(value).whole for value in VALUES)


@pytest.mark.parametrize(
    "value", [object(), [1, object()], {"a": (object(),)}, lambda: 1, Record(object()), Point, datetime]
)
def test_what_has_no_text_is_named(value: object) -> None:
    told = Told(value)
    assert not told.whole
    assert "?" in told.text
    assert Told(value).text == told.text


def test_arrays_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    values = [
        numpy.float32(1), numpy.float64(1), numpy.int64(1), numpy.array([1]), numpy.array([1.0]), numpy.array([[1]]),
        numpy.array(["1"]), numpy.dtype("f4"), numpy.datetime64("2020-01-01"), numpy.bool_(True),
    ]  # fmt: skip
    assert len({Told(value).text for value in values}) == len(values)
    assert all(Told(value).whole for value in values)
    assert Told(numpy.arange(6).reshape(2, 3).T).text == Told(numpy.arange(6).reshape(2, 3).T.copy()).text
    assert not Told(numpy.array([object()])).whole
    with pytest.raises(TooLarge):
        Told(numpy.zeros(10**6))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(plain, plain)
def test_texts_are_equal_where_values_and_their_types_are(one: object, other: object) -> None:
    assert (Told(one).text == Told(other).text) == (repr(one) == repr(other))
