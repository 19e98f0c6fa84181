"""Scalars and other values that hold no others: how each is written, strictly, and read.

The modules of the standard library that they come from are not imported before
a value of theirs is at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from reprlib import Repr
from typing import Any

import msgspec

from ..errors import CodecError
from . import codec_wire as wire
from .codec_wire import Tree
from .digest import sha256
from .schema import Schema, describe, escape, unescape

#: the largest int, in bits: 4300 digits, which is what Python itself turns into text and back
_MAX_BITS = 14_284
ADVICE = "write it to a file and return the file's path (-> Path)"
shown = Repr()
shown.maxstring = shown.maxother = 60


class Mismatch(Exception):
    """A value does not fit; ``path`` is where, innermost first.

    ``message`` may be what makes it: a union tries its members, and says one thing at most.
    """

    def __init__(self, message: str | Callable[[], str], hint: str | None = None) -> None:
        self.message, self.hint, self.path = message, hint, list[str]()

    def error(self) -> CodecError:
        """Say it with its place."""
        message = self.message if isinstance(self.message, str) else self.message()
        where = "".join(reversed(self.path)).removeprefix(".")
        return CodecError(f"{where}: {message}" if where else message, hint=self.hint)


#: members of an Enum that a message lists
_MOST_NAMED = 50


def wrong(expected: str, value: object, hint: str | None = None) -> Mismatch:
    """What to raise for a value that is something else."""
    if hint is None and hasattr(type(value), "tolist"):
        hint = "return array.tolist() of a small array; " + ADVICE
    return Mismatch(lambda: f"expected {expected}, got {title_of(type(value))} {shown.repr(value)}", hint)


def title_of(cls: type) -> str:
    """A class as a person writes it."""
    where = "" if cls.__module__ in ("builtins", "__main__") else cls.__module__ + "."
    return where + cls.__qualname__.rpartition("<locals>.")[2]


Write = Callable[[Any], Tree]
Read = Callable[[Tree], Any]


class Node(msgspec.Struct, frozen=True):
    """A compiled type."""

    schema: Schema
    write: Write
    read: Read


def _expect(name: str, *allowed: type) -> Read:
    """Read a tree that must be of one of these JSON types."""

    def read(tree: Tree) -> Any:
        if type(tree) not in allowed:
            raise wrong(name, tree)
        return tree

    return read


def _none(value: Any) -> Tree:
    if value is not None:
        raise wrong("None", value)


NONE = Node(Schema("none"), _none, _expect("None", type(None)))


def plain_item(value: Any) -> Any:
    """The number inside a numpy scalar, or anything that looks like one; else the value."""
    if getattr(value, "shape", None) != () or not hasattr(value, "item"):
        return value
    # of a date, numpy's item is a number too
    return value if getattr(value.dtype, "kind", "") in ("M", "m") else value.item()


def plain_number(value: Any) -> Any:
    """A number of a subclass as a plain one."""
    return value if isinstance(value, (int, float)) else plain_item(value)


def _write_bool(value: Any) -> Tree:
    found = value if isinstance(value, bool) else plain_item(value)
    if not isinstance(found, bool):
        raise wrong("bool", value)
    return found


def write_int(value: Any) -> Tree:
    """Write an int, a bool as one too."""
    found = plain_number(value)
    if not isinstance(found, int):
        raise wrong("int", value)
    if found.bit_length() > _MAX_BITS:
        raise Mismatch(f"int of {found.bit_length()} bits is too large (at most {_MAX_BITS})", ADVICE)
    return int(found)


def _write_exact_int(value: Any) -> Tree:
    if isinstance(plain_item(value), bool):
        raise wrong("int", value)
    return write_int(value)


def write_exact_float(value: Any) -> Tree:
    """Write a float, and nothing for one."""
    found = plain_number(value)
    if not isinstance(found, float):
        raise wrong("float", value)
    return wire.float_tree(float(found))


def _write_float(value: Any) -> Tree:
    found = plain_number(value)
    if not isinstance(found, int):
        return write_exact_float(found)
    try:
        return float(found)
    except OverflowError:
        raise Mismatch(f"int of {found.bit_length()} bits is too large for a float") from None


def read_float(tree: Tree) -> float:
    """Read any number as a float."""
    if isinstance(tree, dict) and tree.get("$float") in ("nan", "inf", "-inf"):
        return float(tree["$float"])
    if type(tree) not in (int, float):
        raise wrong("float", tree)
    try:
        return float(tree)
    except OverflowError:
        raise Mismatch("int is too large for a float") from None


def _write_str(value: Any) -> Tree:
    if not isinstance(value, str):
        raise wrong("str", value)
    return escape(value if type(value) is str else str.__str__(value))


def _read_str(tree: Tree) -> str:
    if type(tree) is not str:
        raise wrong("str", tree)
    return unescape(tree)


def _write_bytes(value: Any) -> Tree:
    if not isinstance(value, bytes):
        raise wrong("bytes", value)
    from binascii import b2a_base64

    return b2a_base64(value, newline=False).decode()


def _parse_bytes(text: str) -> bytes:
    from binascii import a2b_base64

    value = a2b_base64(text)
    if _write_bytes(value) != text:
        raise ValueError("not base64")
    return value


def _parsed(name: str, parse: Callable[[str], Any]) -> Read:
    """Read what is written as a string."""

    def read(tree: Tree) -> Any:
        try:
            return parse(_read_str(tree))
        except (ValueError, ArithmeticError, LookupError, OSError) as error:
            raise Mismatch(f"expected {name}, got {shown.repr(tree)} ({error})") from None

    return read


def scalar(tp: type, exact: bool) -> Node:
    """The built-in scalars; ``exact`` takes no bool for an int and no int for a float."""
    if tp is bool:
        return Node(Schema("bool"), _write_bool, _expect("bool", bool))
    if tp is int:
        return Node(Schema("int"), _write_exact_int if exact else write_int, _expect("int", int))
    if tp is float:
        return Node(Schema("float"), write_exact_float if exact else _write_float, read_float)
    if tp is str:
        return Node(Schema("str"), _write_str, _read_str)
    return Node(Schema("bytes"), _write_bytes, _parsed("bytes", _parse_bytes))


def library(tp: type) -> Node | None:
    """Scalars of the standard library, found by name; None for any other type."""
    if _of_pathlib(tp):
        return _path(tp)
    make = _LIBRARY.get((tp.__module__, tp.__qualname__))
    return make(tp) if make else None


def _of_pathlib(tp: type) -> bool:
    """Whether a class is one of pathlib's own; others may mean something else by their text, such as a URL."""
    return tp.__module__.partition(".")[0] == "pathlib"


def _path(tp: type) -> Node:
    def write(value: Any) -> Tree:
        if not (isinstance(value, tp) and _of_pathlib(type(value))):
            raise wrong(tp.__name__, value, "wrap it in Path(...)" if isinstance(value, str) else None)
        return escape(str(value))

    return Node(Schema("path"), write, _parsed(tp.__name__, tp))


def _stamped(kind: str) -> Callable[[type], Node]:
    """Datetime and time: ISO format, then the zone's key and the fold, as in ``[Europe/Berlin][fold]``."""

    def make(tp: Any) -> Node:
        def write(value: Any) -> Tree:
            if type(value) is not tp:
                raise wrong(kind, value)
            zone = value.tzinfo
            text = str(value.isoformat())
            if zone is not None and type(zone).__module__ == "datetime":
                if zone.utcoffset(None).microseconds:  # Python reads +00:00:00.000001 as UTC
                    raise wrong(f"a {kind} whose offset is whole seconds", value)
            elif zone is not None:
                key = getattr(zone, "key", None) if type(zone).__module__.startswith("zoneinfo") else None
                if key is None:
                    raise wrong(f"a {kind} of a fixed or zoneinfo time zone", value, "use zoneinfo.ZoneInfo")
                text += f"[{key}]"
            return text + "[fold]" if value.fold else text

        def parse(text: str) -> Any:
            stamp, *marks = text.replace("]", "").split("[")
            value = tp.fromisoformat(stamp)
            if "fold" in marks:
                marks.remove("fold")
                value = value.replace(fold=1)
            if marks:
                from zoneinfo import ZoneInfo

                value = value.replace(tzinfo=ZoneInfo(marks[0]))
            return value

        return Node(Schema(kind), write, _parsed(kind, parse))

    return make


def _exactly(kind: str, to_text: Callable[[Any], str], parse: Callable[[Any, str], Any]) -> Callable[[type], Node]:
    """A type, and not its subclasses, that writes itself as text."""

    def make(tp: type) -> Node:
        def write(value: Any) -> Tree:
            if type(value) is not tp:
                raise wrong(tp.__name__, value)
            return to_text(value)

        return Node(Schema(kind), write, _parsed(tp.__name__, lambda text: parse(tp, text)))

    return make


def _duration(value: Any) -> str:
    """A timedelta as days and seconds, exactly: ``P-1DT86399.000001S``."""
    return f"P{value.days}DT{value.seconds}.{value.microseconds:06d}S"


def _parse_duration(tp: Any, text: str) -> Any:
    days, _, seconds = text[1:-1].partition("DT")
    whole, _, part = seconds.partition(".")
    return tp(int(days), int(whole), int(part))


_LIBRARY: dict[tuple[str, str], Callable[[type], Node]] = {
    ("datetime", "datetime"): _stamped("datetime"),
    ("datetime", "time"): _stamped("time"),
    ("datetime", "date"): _exactly("date", str, lambda tp, text: tp.fromisoformat(text)),
    ("datetime", "timedelta"): _exactly("timedelta", _duration, _parse_duration),
    ("uuid", "UUID"): _exactly("uuid", str, lambda tp, text: tp(text)),
    ("decimal", "Decimal"): _exactly("decimal", str, lambda tp, text: tp(text)),
}


def choice(schema: Schema, pairs: list[tuple[Any, Tree]]) -> Node:
    """One of a fixed set of values, each with its tree; told apart by type too, as True and 1 are equal."""
    trees = {_identity(value): tree for value, tree in pairs}
    values = {(type(tree), tree): value for value, tree in pairs}
    name = describe(schema)
    known = (
        f"one of {', '.join(schema.values)}" if schema.kind == "enum" and len(schema.values) <= _MOST_NAMED else None
    )

    def write(value: Any) -> Tree:
        found = plain_item(value)
        try:
            return trees[_identity(found)]
        except (KeyError, TypeError):
            raise wrong(name, value, known) from None

    def read(tree: Tree) -> Any:
        try:
            return values[type(tree), tree]
        except (KeyError, TypeError):
            raise wrong(name, tree, known) from None

    return Node(schema, write, read)


def _identity(value: Any) -> tuple[type, Any]:
    """What tells a choice; a member's name, as it may compare and hash like its value, or not hash at all."""
    return type(value), value.name if isinstance(value, Enum) else value


def class_name(cls: type) -> str:
    """Name of a class as schemas hold it: without its module, which is another where a script is imported."""
    return escape(cls.__qualname__.rpartition("<locals>.")[2])


def enum(cls: type[Enum]) -> Node:
    """By name."""
    pairs = [(member, escape(member.name)) for member in cls]
    meaning = sha256("\n".join(_meaning(member.value) for member in cls).encode()).hexdigest()[:16]
    schema = Schema("enum", name=class_name(cls), values=tuple(text for _, text in pairs), meaning=meaning)
    return choice(schema, pairs)


def _meaning(value: Any) -> str:
    """An enum member's value as text, the same in every process; of what is not plain data its type."""
    kind = type(value)
    if kind in (tuple, list, frozenset):
        items = [_meaning(item) for item in value]
        return f"{kind.__name__}({','.join(sorted(items) if kind is frozenset else items)})"
    if kind in (str, bytes, bool, float, type(None)):
        return ascii(value)
    return hex(value) if kind is int else kind.__name__
