"""Types as plain data: what a value looks like on the wire, without the Python classes."""

from __future__ import annotations

import re

import msgspec


class Shared(msgspec.Struct, frozen=True):
    """Let several elements return one file: ``-> Annotated[Path, Shared()]``.

    Without it, elements that return the same file fail, unless it is among their inputs: one has overwritten
    what another one wrote. It counts for all paths in the type that it annotates.
    """


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
        ``shared`` for a path that several elements may return (`Shared`).
    fields : tuple of Field
        Of a record, in order.
    values : tuple of str
        Member names of an enum; the literals, each as JSON text.
    meaning : str
        Of an enum, what its members' values are: not on the wire, but what a
        task makes of a member may depend on it.
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
    meaning: str = ""
    tagged: bool = False


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a record; ``required`` where it has no default. ``name`` is the key on the wire."""

    name: str
    schema: Schema
    required: bool = True


def item_of(schema: Schema) -> Schema:
    """Of a list its items' schema; an optional list counts as a list."""
    if schema.kind == "union":
        for member in schema.args:
            if member.kind == "list":
                return member.args[0]
    return schema.args[0] if schema.args else Schema("any")


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
    if schema.kind == "enum":
        return f"{schema.name}.{value}"
    return repr(unescape(value) if schema.kind == "str" else value)


_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile("\0(\0|[0-9a-f]{4})")


def escape(text: str) -> str:
    """Return a string as it is written; almost always itself.

    JSON readers, ours included, refuse lone surrogates. A string that has some,
    or begins with NUL, is written with a NUL before it, each surrogate as NUL
    and its four hex digits, each NUL doubled.
    """
    if text.isascii():
        return text if text[:1] != "\0" else "\0" + text.replace("\0", "\0\0")
    if text[0] != "\0" and not _SURROGATE.search(text):
        return text
    return "\0" + _SURROGATE.sub(lambda m: f"\0{ord(m[0]):04x}", text.replace("\0", "\0\0"))


def unescape(text: str) -> str:
    """Undo `escape`."""
    if text[:1] != "\0":
        return text
    return _ESCAPED.sub(lambda m: "\0" if m[1] == "\0" else chr(int(m[1], 16)), text[1:])
