"""Types as plain data: what a value looks like on the wire, without the Python classes."""

from __future__ import annotations

import msgspec


class Schema(msgspec.Struct, frozen=True, omit_defaults=True):
    """The wire form of a type.

    ``kind`` is one of: none, bool, int, float, str, bytes, path, datetime,
    date, time, timedelta, uuid, decimal, enum, literal, list, tuple (fixed
    length), set, dict, record (dataclass, NamedTuple, TypedDict), union
    (``tagged`` where the members' wire forms cannot be told apart), any (JSON).
    """

    kind: str
    args: tuple[Schema, ...] = ()
    name: str = ""
    fields: tuple[Field, ...] = ()
    values: tuple[str, ...] = ()
    tagged: bool = False


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a record; ``required`` where it has no default."""

    name: str
    schema: Schema
    required: bool = True
