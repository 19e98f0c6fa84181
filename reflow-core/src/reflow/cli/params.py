"""A workflow's parameters on the command line: an option for each, and from what was typed to Python values.

Text is read by the parameter's schema into the wire form, which the codec turns
into the annotated type, so a value means the same however it is given:

- a list or set takes the flag several times, or a JSON list at once;
- an Enum takes a member's name, or its value; a Literal one of its values;
- datetime, date and time are ISO 8601; a timedelta is ``90m``, ``02:00:00`` or seconds;
- a bool is ``--x`` and ``--no-x``; dict, dataclass, NamedTuple, TypedDict and tuple are JSON;
- a union takes the first member that the text fits: 1 is an int rather than a bool, and what any text fits comes last;
- ``none`` is None where that is allowed, and it is not a text or an item of a list as well.
"""

from __future__ import annotations

import json
import os
import reprlib
import typing
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..errors import CodecError, ReflowError, UsageError
from ..model import codec_wire as wire
from ..model.codec import codec_of
from ..model.names import did_you_mean
from ..model.schema import Schema, describe, escape, unescape

if TYPE_CHECKING:
    from ..authoring import Parameter

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NONE = ("none", "null")
_LISTS = ("list", "set")
#: how a value is written in JSON: what its text would be is no value by itself
_JSON_KINDS = ("dict", "record", "tuple", *_LISTS)
_METAVARS = {"str": "TEXT", "path": "PATH", "any": "JSON", "timedelta": "DURATION", "none": "none"}

#: what tells a dataclass, a NamedTuple, a TypedDict
_RECORDS = ("__dataclass_fields__", "_fields", "__required_keys__")

Enums = Mapping[tuple[str, ...], type[Enum]]


class _Bad(ValueError):
    """A text or a JSON value does not fit; the message says what does, `where` the place inside the value."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.where = where


# What a value is


def plain(schema: Schema) -> Schema:
    """The schema without its None."""
    if schema.kind != "union":
        return schema
    rest = tuple(arg for arg in schema.args if arg.kind != "none")
    return rest[0] if len(rest) == 1 else msgspec.structs.replace(schema, args=rest)


def enums_in(tp: object) -> dict[tuple[str, ...], type[Enum]]:
    """The Enum classes in an annotation, by the names of their members."""
    found: dict[tuple[str, ...], type[Enum]] = {}
    if isinstance(tp, type) and issubclass(tp, Enum):
        found[tuple(tp.__members__)] = tp
    parts = typing.get_args(tp)
    if isinstance(tp, type) and any(hasattr(tp, mark) for mark in _RECORDS):
        parts += tuple(typing.get_type_hints(tp).values())
    for part in parts:
        found |= enums_in(part)
    return found


def choices(schema: Schema) -> list[str]:
    """What a Literal or an Enum takes, as it is typed; empty for any other type."""
    if schema.kind == "enum":
        return list(schema.values)
    if schema.kind == "literal":
        return [_typed(msgspec.json.decode(text)) for text in schema.values]
    return []


def _typed(tree: Any) -> str:
    """A wire value as a person types it."""
    if isinstance(tree, str):
        return unescape(tree)
    if isinstance(tree, dict) and "$float" in tree:
        return str(tree["$float"])
    return json.dumps(tree)


# Text to the wire form


def _from_text(text: str, schema: Schema, enums: Enums) -> wire.Tree:
    """Read what was typed for a value of this type."""
    kind = schema.kind
    if kind in _READERS:
        try:
            return _READERS[kind](text)
        except (ValueError, ArithmeticError, ReflowError) as error:
            said = f" ({error.message})" if isinstance(error, ReflowError) else ""
            raise _Bad(f"{_short.repr(text)} is not {_article(schema)}{said}") from None
    if kind == "enum":
        return _member(text, schema, enums)
    if kind == "literal":
        for value in schema.values:
            tree = msgspec.json.decode(value)
            if text == _typed(tree):
                return tree
        raise _none_of(text, choices(schema))
    if kind == "union":
        return _first(schema, lambda member: _from_text(text, member, enums), _short.repr(text))
    try:
        value = json.loads(text)
    except ValueError as error:
        if kind == "any":
            return escape(text)
        raise _Bad(f"{_short.repr(text)} is not JSON ({error}); a {describe(schema)} is written as JSON") from None
    return _from_json(value, schema, enums)


def _member(text: str, schema: Schema, enums: Enums) -> str:
    if text in schema.values:
        return text
    cls = enums.get(schema.values)
    for name, member in cls.__members__.items() if cls else ():
        if text == str(member.value):
            return name
    raise _none_of(text, choices(schema))


def _none_of(text: str, known: Sequence[str]) -> _Bad:
    return _Bad(f"{_short.repr(text)} is none of {', '.join(map(repr, known))}{did_you_mean(text[:100], known)}")


def _article(schema: Schema) -> str:
    word = describe(schema)
    return f"{'an' if word[0] in 'aeiouAEIOU' else 'a'} {word}"


def _first(schema: Schema, read: Callable[[Schema], wire.Tree], what: str) -> wire.Tree:
    """The value as the first member of a union that it fits; str takes anything, so it comes last but for None."""
    rank = {"bool": 1, "path": 2, "bytes": 2, "any": 2, "str": 3, "none": 4}
    errors = {}
    for member in sorted(schema.args, key=lambda member: rank.get(member.kind, 0)):
        try:
            tree = read(member)
        except _Bad as error:
            errors[member.kind] = error
            continue
        return {wire.tag(member): tree} if schema.tagged and member.kind != "none" else tree
    errors.pop("none", None)
    raise next(iter(errors.values())) if len(errors) == 1 else _Bad(f"{what} is not {_article(schema)}")


def _written(tp: Any, value: object) -> wire.Tree:
    return msgspec.json.decode(codec_of(tp).encode(value))


def _path(text: str) -> wire.Tree:
    if not text:
        raise UsageError("it is empty; `.` is the working directory")
    return escape(text)


def _bool(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError
    return text.lower() in _TRUE


def _none(text: str) -> None:
    if text.lower() not in _NONE:
        raise ValueError


def _stamp(kind: str) -> Callable[[str], wire.Tree]:
    def read(text: str) -> wire.Tree:
        import datetime

        cls = getattr(datetime, kind)
        # Python 3.10 does not know the Z that most programs write.
        ready = text[:-1] + "+00:00" if kind != "date" and text[-1:] in "Zz" and text[-2:-1].isdigit() else text
        return _written(cls, cls.fromisoformat(ready))

    return read


def _duration(text: str) -> wire.Tree:
    from datetime import timedelta

    from ..model.units import parse_time

    try:
        seconds = float(text)
    except ValueError:
        seconds = parse_time(text)
    return _written(timedelta, timedelta(seconds=seconds))


def _uuid(text: str) -> wire.Tree:
    from uuid import UUID

    return _written(UUID, UUID(text))


def _decimal(text: str) -> wire.Tree:
    from decimal import Decimal

    return _written(Decimal, Decimal(text))


_READERS: Mapping[str, Callable[[str], wire.Tree]] = {
    "none": _none,
    "bool": _bool,
    "int": int,
    "float": lambda text: wire.float_tree(float(text)),
    "str": escape,
    "path": _path,
    "bytes": lambda text: _written(bytes, os.fsencode(text)),
    "datetime": _stamp("datetime"),
    "date": _stamp("date"),
    "time": _stamp("time"),
    "timedelta": _duration,
    "uuid": _uuid,
    "decimal": _decimal,
}


# JSON as a person writes it to the wire form


def _from_json(value: Any, schema: Schema, enums: Enums) -> wire.Tree:
    """Read a JSON value; text inside it is read as if it were typed."""
    kind = schema.kind
    if kind == "any":
        return _any(value)
    if kind == "union":
        fits = [member for member in schema.args if member.kind == type(value).__name__]
        if fits and not isinstance(value, str):
            return _first(msgspec.structs.replace(schema, args=tuple(fits)), lambda m: _from_json(value, m, enums), "")
        return _first(schema, lambda member: _from_json(value, member, enums), _short.repr(value))
    if isinstance(value, str) and kind not in _JSON_KINDS:
        return _from_text(value, schema, enums)
    if kind in _LISTS and isinstance(value, list):
        return [_inside(f"[{at}]", item, schema.args[0], enums) for at, item in enumerate(value)]
    if kind == "tuple" and isinstance(value, list) and len(value) == len(schema.args):
        return [
            _inside(f"[{at}]", item, arg, enums) for at, (item, arg) in enumerate(zip(value, schema.args, strict=True))
        ]
    if kind == "dict":
        return _dict(value, schema, enums)
    if kind == "record" and isinstance(value, dict):
        return _record(value, schema, enums)
    if kind == "literal":
        for text in schema.values:
            tree = msgspec.json.decode(text)
            if type(tree) is type(value) and tree == value:
                return tree
    elif kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return wire.float_tree(float(value))
        except OverflowError:
            raise _Bad(f"{_short.repr(value)} is too large for a float") from None
    elif kind == {bool: "bool", int: "int", type(None): "none"}.get(type(value)):
        return value
    raise _Bad(f"{_short.repr(value)} is not {_article(schema)}")


def _inside(where: str, value: Any, schema: Schema, enums: Enums) -> wire.Tree:
    try:
        return _from_json(value, schema, enums)
    except _Bad as error:
        raise _Bad(error.message, where + error.where) from None


def _dict(value: Any, schema: Schema, enums: Enums) -> wire.Tree:
    key, item = schema.args
    if wire.keyed(key) and isinstance(value, dict):
        pairs = [
            (_inside(where, name, key, enums), _inside(where, inner, item, enums))
            for name, inner in value.items()
            for where in [f"[{_short.repr(name)}]"]
        ]
        return wire.mapping(pairs, key)
    if not wire.keyed(key) and isinstance(value, list) and all(isinstance(p, list) and len(p) == 2 for p in value):
        return [
            [_inside(f"[{at}]", name, key, enums), _inside(f"[{at}]", inner, item, enums)]
            for at, (name, inner) in enumerate(value)
        ]
    form = "an object" if wire.keyed(key) else "a list of [key, value] pairs"
    raise _Bad(f"{_short.repr(value)} is not {form}: {describe(schema)}")


def _record(value: dict[str, Any], schema: Schema, enums: Enums) -> wire.Tree:
    fields = {field.name: field for field in schema.fields}
    given = {wire.dollar(escape(name)): inner for name, inner in value.items()}
    unknown = [name for name in given if name not in fields]
    if unknown:
        meant = did_you_mean(unknown[0], fields) or f"; it has {', '.join(map(repr, fields))}"
        raise _Bad(f"{schema.name} has no field {unknown[0]!r}{meant}")
    missing = [name for name, field in fields.items() if field.required and name not in given]
    if missing:
        raise _Bad(f"{schema.name} needs {', '.join(map(repr, missing))}, too")
    return {
        name: _inside(f".{name}", given[name], field.schema, enums) for name, field in fields.items() if name in given
    }


def _any(value: Any) -> wire.Tree:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, float):
        return wire.float_tree(value)
    if isinstance(value, list):
        return [_any(item) for item in value]
    if isinstance(value, dict):
        return {wire.dollar(escape(name)): _any(inner) for name, inner in value.items()}
    return value


# The parameter as a whole


def read_texts(parameter: Parameter, texts: Sequence[str]) -> object:
    """The Python value of what was typed.

    Parameters
    ----------
    parameter : Parameter
        Which one.
    texts : sequence of str
        Each time the flag was given; lists and sets take them all, others the last.

    Raises
    ------
    UsageError
        If they do not fit the parameter's type; the message does not name the parameter.
    """
    schema = plain(parameter.schema)

    def read(enums: Enums) -> wire.Tree:
        if schema.kind not in _LISTS:
            return _from_text(texts[-1], parameter.schema, enums)
        try:
            return [item for text in texts for item in _items(text, schema, enums)]
        except _Bad:
            if parameter.schema.kind == "union" and len(texts) == 1 and texts[0].lower() in _NONE:
                return None
            raise

    return _value(parameter, read)


def read_json(parameter: Parameter, value: object) -> object:
    """The Python value of a JSON value, from a file of parameters.

    Raises
    ------
    UsageError
        If it does not fit the parameter's type; the message does not name the parameter.
    """
    return _value(parameter, lambda enums: _from_json(value, parameter.schema, enums))


def _value(parameter: Parameter, read: Callable[[Enums], wire.Tree]) -> object:
    try:
        tree = read(enums_in(parameter.type))
        return codec_of(parameter.type).decode(msgspec.json.encode(tree))
    except _Bad as error:
        raise UsageError(str(error)) from None
    except CodecError as error:
        raise UsageError(error.message, hint=error.hint) from None
    except RecursionError:
        raise UsageError("nested too deeply") from None


def _items(text: str, schema: Schema, enums: Enums) -> list[wire.Tree]:
    """Items that one text stands for: itself, or those of a JSON list."""
    item = schema.args[0]
    if text.lstrip().startswith("["):
        try:
            whole: list[wire.Tree] = _from_text(text, schema, enums)
        except _Bad:
            # For a list of JSON values, what is wrong with the whole list is told; it may still be one item of it.
            if item.kind not in ("str", "path", "any", *_JSON_KINDS):
                raise
        else:
            return whole
    return [_from_text(text, item, enums)]


def metavar(schema: Schema) -> str:
    """What the help puts behind the flag."""
    schema = plain(schema)
    if schema.kind in _LISTS:
        return metavar(schema.args[0])
    if choices(schema):
        return f"[{'|'.join(choices(schema))}]"
    if schema.kind == "union":
        return "|".join(metavar(arg) for arg in schema.args)
    if schema.kind in _JSON_KINDS:
        return "JSON"
    return _METAVARS.get(schema.kind, schema.kind.upper())


def default_text(parameter: Parameter) -> str | None:
    """The default as the help shows it; None where there is none to show."""
    if parameter.default is None or parameter.default in ("null", "[]"):
        return None
    tree = msgspec.json.decode(parameter.default)
    if isinstance(tree, bool):
        return f"{'' if tree else 'no-'}{parameter.flag.removeprefix('--')}"
    kind = plain(parameter.schema).kind
    if kind in _LISTS:
        return ", ".join(_typed(item) for item in tree)
    return _duration_text(parameter.default) if kind == "timedelta" else _typed(tree)


def _duration_text(encoded: str) -> str:
    """A timedelta as it would be typed."""
    from datetime import timedelta

    from ..model.codec import codec_of
    from ..model.units import format_time

    seconds = codec_of(timedelta).decode(encoded.encode()).total_seconds()
    return format_time(int(seconds)) if seconds >= 0 and seconds == int(seconds) else str(seconds)


def option(parameter: Parameter, sink: MutableMapping[str, object]) -> click.Option:
    """The option of a parameter, which puts the value it is given into `sink` under the parameter's key."""
    schema = plain(parameter.schema)
    flag = schema.kind == "bool"
    declared = f"{parameter.flag}/--no-{parameter.flag.removeprefix('--')}" if flag else parameter.flag

    def take(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        if value is None or value == ():
            return
        if flag:
            sink[parameter.key] = value
            return
        try:
            sink[parameter.key] = read_texts(parameter, value if isinstance(value, tuple) else (value,))
        except UsageError as error:
            raise UsageError(f"{parameter.flag}: {error.message}", hint=error.hint) from None

    notes = []
    if schema.kind in _LISTS:
        notes.append("repeatable")
    shown = default_text(parameter)
    if parameter.default is None:
        notes.append("required")
    elif shown is not None:
        notes.append(f"default: {shown}")
    text = parameter.help + (f"  [{'; '.join(notes)}]" if notes else "")
    return click.Option(
        [*([parameter.short] if parameter.short else []), declared, f"param_{parameter.key}"],
        help=text.strip() or None,
        default=None,
        multiple=schema.kind in _LISTS,
        metavar=None if flag else metavar(schema),
        is_flag=flag,
        expose_value=False,
        callback=take,
        type=None if flag else str,
    )


def read_pairs(parameters: Mapping[str, Parameter], pairs: Sequence[str]) -> dict[str, object]:
    """Read ``--param KEY=VALUE`` and ``--param @FILE``.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        Those of the workflow, by key.
    pairs : sequence of str
        Each ``KEY=VALUE``, the value written as for the flag, or ``@FILE``: a
        JSON object of keys and values, ``@-`` for stdin.

    Raises
    ------
    UsageError
        If a key is unknown, a value does not fit, or the file cannot be read.
    """
    texts: dict[str, list[str]] = {}
    values: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if pair.startswith("@"):
            for name, value in _read_file(pair[1:]).items():
                known = _known(parameters, name)
                values[known.key] = _named(known, read_json, value)
        elif not equals:
            raise UsageError(f"--param {_short.repr(pair)} has no value", hint="write it as --param KEY=VALUE")
        else:
            texts.setdefault(_known(parameters, key).key, []).append(text)
    for key, given in texts.items():
        values[key] = _named(parameters[key], read_texts, given)
    return values


def _named(found: Parameter, read: Callable[[Parameter, Any], object], given: object) -> object:
    try:
        return read(found, given)
    except UsageError as error:
        raise UsageError(f"parameter {found.key}: {error.message}", hint=error.hint) from None


def _known(parameters: Mapping[str, Parameter], key: str) -> Parameter:
    found = parameters.get(key) or parameters.get(key.replace("-", "_"))
    if found is None:
        raise UsageError(
            f"there is no parameter {_short.repr(key)}{did_you_mean(key[:100], parameters)}",
            hint=f"there are: {', '.join(parameters) or 'none'}",
        )
    return found


def _read_file(name: str) -> dict[str, Any]:
    import sys

    try:
        if name == "-":
            text = sys.stdin.read()
        else:
            with open(name, encoding="utf-8") as file:
                text = file.read()
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read parameters from {name!r}: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"parameters in {name!r} are not a JSON object")
    return found


def check_given(parameters: Mapping[str, Parameter], values: Mapping[str, object]) -> None:
    """Raise UsageError that names every required parameter without a value."""
    missing = [parameter for key, parameter in parameters.items() if parameter.default is None and key not in values]
    if missing:
        raise UsageError(
            "missing " + ", ".join(f"{parameter.flag} ({describe(parameter.schema)})" for parameter in missing),
            hint="; ".join(f"{p.flag}: {p.help}" for p in missing if p.help) or None,
        )
