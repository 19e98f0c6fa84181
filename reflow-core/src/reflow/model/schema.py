"""Types as plain data: what a value looks like on the wire, without the Python classes."""

from __future__ import annotations

import msgspec


class Schema(msgspec.Struct, frozen=True, omit_defaults=True):
    """The wire form of a type.

    Attributes
    ----------
    kind : str
        One of: none, bool, int, float, str, bytes, path, datetime, date, time,
        timedelta, uuid, decimal, enum, literal, list, tuple (fixed length),
        set, dict, record (dataclass, NamedTuple, TypedDict), union, any (JSON).
    args : tuple of Schema
        The item of a list or set; the items of a tuple; key and value of a
        dict; the members of a union, None last; the type of each literal.
    name : str
        The class of a record or enum. ``tuple`` for a list that Python holds
        as ``tuple[T, ...]``, ``frozenset`` for such a set: the wire is the same.
    fields : tuple of Field
        Of a record, in order.
    values : tuple of str
        Member names of an enum; the literals, each as JSON text.
    tagged : bool
        Of a union: its members' wire forms cannot be told apart, so each value
        but None is written as ``{"$MEMBER": value}``, where MEMBER is the
        member as `describe` says it.
    """

    kind: str
    args: tuple[Schema, ...] = ()
    name: str = ""
    fields: tuple[Field, ...] = ()
    values: tuple[str, ...] = ()
    tagged: bool = False


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a record; ``required`` where it has no default. ``name`` is the key on the wire."""

    name: str
    schema: Schema
    required: bool = True


_WORDS = {"none": "None", "any": "Any", "path": "Path", "uuid": "UUID", "decimal": "Decimal"}


def describe(schema: Schema) -> str:
    """Say a type as a person writes it, such as ``list[int]`` or ``Path | None``."""
    kind, args = schema.kind, [describe(arg) for arg in schema.args]
    if kind == "literal":
        return f"Literal[{', '.join(map(_literal, schema.args, schema.values))}]"
    if kind in ("enum", "record"):
        return schema.name
    if kind == "union":
        return " | ".join(args)
    if kind == "tuple":
        return f"tuple[{', '.join(args) or '()'}]"
    if schema.name == "tuple":
        return f"tuple[{args[0]}, ...]"
    if kind in ("list", "set", "dict"):
        return f"{schema.name or kind}[{', '.join(args)}]"
    return _WORDS.get(kind, kind)


def _literal(schema: Schema, text: str) -> str:
    """One literal as Python spells it."""
    value = msgspec.json.decode(text)
    return f"{schema.name}.{value}" if schema.kind == "enum" else repr(value)
