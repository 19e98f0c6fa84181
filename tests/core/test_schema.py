"""Schemas: how a type is said, and that it stays plain data."""

from __future__ import annotations

import datetime
import decimal
import enum
import typing
import uuid
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional, Union

import msgspec
import pytest

from reflow.model.codec import describe, schema_of
from reflow.model.schema import Field, Schema


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Span(NamedTuple):
    start: int
    end: Optional[int] = None


@pytest.mark.parametrize(
    ("tp", "said"),
    [
        (None, "None"),
        (int, "int"),
        (Any, "Any"),
        (object, "Any"),
        (Path, "Path"),
        (uuid.UUID, "UUID"),
        (decimal.Decimal, "Decimal"),
        (datetime.datetime, "datetime"),
        (datetime.timedelta, "timedelta"),
        (list, "list[Any]"),
        (list[int], "list[int]"),
        (dict, "dict[str, Any]"),
        (dict[str, list[Path]], "dict[str, list[Path]]"),
        (set[int], "set[int]"),
        (frozenset[int], "frozenset[int]"),
        (tuple, "tuple[Any, ...]"),
        (typing.Tuple, "tuple[Any, ...]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[int, str], "tuple[int, str]"),
        (tuple[()], "tuple[()]"),
        (Optional[int], "int | None"),
        (Union[None, str, int, float], "int | str | float | None"),
        (Literal["a", 1, True], "Literal['a', 1, True]"),
        (Literal["a", None], "Literal['a'] | None"),
        (Literal[Level.LOW, "x"], "Literal[Level.LOW, 'x']"),
        (Level, "Level"),
        (Span, "Span"),
        (Union[Path, str, None], "Path | str | None"),
    ],
)
def test_a_type_is_said_as_a_person_writes_it(tp: Any, said: str) -> None:
    assert describe(schema_of(tp)) == said


def test_a_literal_is_said_as_python_spells_it() -> None:
    odd = "\ud800\0'"
    assert describe(schema_of(Literal[odd])) == f"Literal[{odd!r}]"  # type: ignore[valid-type]


def test_a_schema_is_plain_data_and_hashable() -> None:
    schema = schema_of(dict[str, Union[Span, list[Level]]])
    assert msgspec.json.decode(msgspec.json.encode(schema), type=Schema) == schema
    assert hash(schema) == hash(schema_of(dict[str, Union[list[Level], Span]]))


def test_a_record_lists_its_fields() -> None:
    assert schema_of(Span).fields == (
        Field("start", Schema("int")),
        Field("end", schema_of(Optional[int]), required=False),
    )
