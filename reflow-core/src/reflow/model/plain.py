"""Values as text: equal for equal values, in every process, on every version of Python.

Workers import this, so it imports next to nothing: types of modules that nobody has imported have no values.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

from .digest import sha256

#: characters of text that one value may come to
LARGEST = 1_000_000

_SEQUENCES = {"tuple", "list", "deque"}
_MAPPINGS = {"dict", "OrderedDict", "defaultdict", "Counter", "ChainMap", "mappingproxy", "SimpleNamespace"}
_STANDARD = {"builtins", "collections", "types"}
_BASES: tuple[Any, ...] = (str, bytes, int, float, complex, dict, list, tuple, set, frozenset)


class TooLarge(Exception):
    """A value's text is longer than `LARGEST`."""


class Told:
    """A value as text.

    Parameters
    ----------
    value : object
        Any value.

    Attributes
    ----------
    text : str
        Its text; what has none is replaced by the name of its type.
    whole : bool
        Whether all of it has a text.
    parts : list
        What has none, and the classes of the instances in it.

    Raises
    ------
    TooLarge
        The text would be too long.
    RecursionError
        The value is nested too deeply.
    """

    __slots__ = ("_inside", "_left", "parts", "text", "whole")

    def __init__(self, value: object) -> None:
        self.whole = True
        self.parts: list[Any] = []
        self._inside: list[int] = []
        self._left = LARGEST
        self.text = self._tell(value)

    @property
    def digest(self) -> str:
        """A digest of the text."""
        return sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _tell(self, value: Any) -> str:
        kind = type(value)
        if kind is str or kind is bytes:
            return self._leaf(ascii(value))
        if kind is int:
            return self._leaf(hex(value))  # of any size
        if kind is float or kind is bool or kind is complex or value is None or value is ...:
            return self._leaf(repr(value))
        if id(value) in self._inside:
            return f"<{self._inside.index(id(value))}>"  # it holds itself
        self._inside.append(id(value))
        try:
            return self._container(kind, value)
        finally:
            self._inside.pop()

    def _leaf(self, text: str) -> str:
        self._left -= len(text) + 1
        if self._left < 0:
            raise TooLarge
        return text

    def _container(self, kind: type, value: Any) -> str:
        if kind.__module__ in _STANDARD:
            name = kind.__name__
            if name in _SEQUENCES:
                return f"{name}({','.join(map(self._tell, value))})"
            if name in ("set", "frozenset"):
                return f"{name}({','.join(sorted(map(self._tell, value)))})"
            if name in _MAPPINGS:
                items = (vars(value) if kind is SimpleNamespace else value).items()
                return f"{name}({','.join([f'{self._tell(key)}:{self._tell(item)}' for key, item in items])})"
            if name in ("range", "slice"):
                return f"{name}({self._all((value.start, value.stop, value.step))})"
            if name == "bytearray":
                return f"bytearray({self._leaf(ascii(bytes(value)))})"
        return self._instance(kind, value)

    def _all(self, values: Iterable[Any]) -> str:
        return ",".join(map(self._tell, values))

    def _instance(self, kind: type, value: Any) -> str:
        teller = _TELLERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if teller is not None:
            return self._leaf(f"{kind.__name__}({teller(self, value)})")
        if isinstance(value, type | FunctionType | BuiltinFunctionType | ModuleType):
            return self._named(value)
        enum = sys.modules.get("enum")
        if enum is not None and isinstance(value, enum.Enum):
            return self._member(kind, value, is_flag=isinstance(value, enum.Flag))
        numpy: Any = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic):
            return self._array(kind, value)
        if numpy is not None and kind is numpy.ndarray:
            return self._array(kind, value)
        if numpy is not None and isinstance(value, numpy.dtype):
            return self._leaf(f"dtype({value.str},{value.names})")
        fields = _fields(kind, value)
        if fields is not None:
            self.parts.append(kind)
            told = [f"{name}={self._tell(getattr(value, name, ...))}" for name in fields]
            return f"{kind.__qualname__}({','.join(told)})"
        if isinstance(value, os.PathLike) and kind.__module__.partition(".")[0] == "pathlib":
            return f"Path({self._leaf(ascii(str(value)))})"
        for base in _BASES:
            if isinstance(value, base):
                self.parts.append(kind)
                return f"{kind.__qualname__}({self._tell(base(value))},{self._tell(getattr(value, '__dict__', None))})"
        return self._untold(value)

    def _named(self, value: Any) -> str:
        if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType | None):
            return self._leaf(f"{value.__module__}.{value.__qualname__}")
        if isinstance(value, type) and value.__module__ == "builtins":
            return self._leaf(value.__qualname__)
        return self._untold(value)

    def _member(self, kind: type, value: Any, *, is_flag: bool) -> str:
        self.parts.append(kind)
        if is_flag:  # a combination of flags may have no name
            return f"{kind.__qualname__}({self._tell(int(value._value_))})"
        whole = self.whole
        told = self._tell(value._value_)
        self.whole = whole  # its name tells it
        return f"{kind.__qualname__}.{value._name_}({told})"

    def _array(self, kind: type, value: Any) -> str:
        if value.dtype.hasobject:
            return self._untold(value)
        self._left -= int(value.nbytes)
        if self._left < 0:
            raise TooLarge
        digest = sha256(value.tobytes()).hexdigest()
        return self._leaf(f"{kind.__name__}({value.dtype.descr},{value.shape},{digest})")

    def _untold(self, value: Any) -> str:
        self.whole = False
        self.parts.append(value)
        return self._leaf(f"?{type(value).__qualname__}")

    def _zone(self, value: Any) -> str:
        """Of times and what has a time zone."""
        return f"{value.isoformat()},{value.fold},{self._tell(value.tzinfo)}"

    def _zone_name(self, value: Any) -> str:
        return ascii(getattr(value, "key", None) or str(value))

    def _pattern(self, value: Any) -> str:
        return f"{self._tell(value.pattern)},{value.flags}"


def cells(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the variables of functions around this one that it uses, by name."""
    code, closure = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    for name, cell in sorted(zip(code.co_freevars, closure, strict=True)) if code is not None and closure else ():
        try:
            yield name, cell.cell_contents
        except ValueError:
            yield name, ...  # not assigned yet


def captured(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a function and its wrappers capture, each under a name of its own."""
    depth = 0
    while function is not None:
        for name, value in cells(function):
            yield f"~{depth}:{name}", value
        function, depth = getattr(function, "__wrapped__", None), depth + 1


def _fields(kind: type, value: Any) -> Iterable[str] | None:
    """Names of the attributes that make up a record; None for what is none."""
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return tuple(kind._fields)
    for attribute in ("__dataclass_fields__", "__struct_fields__", "__pydantic_fields__"):
        names = getattr(kind, attribute, None)
        if names is not None:
            return tuple(names)
    attrs = getattr(kind, "__attrs_attrs__", None)
    return None if attrs is None else tuple(one.name for one in attrs)


def _text(_: Told, value: Any) -> str:
    return ascii(str(value))


def _repr(_: Told, value: Any) -> str:
    return repr(value)


_TELLERS: dict[tuple[str, str], Callable[[Told, Any], str]] = {
    ("decimal", "Decimal"): _text,
    ("fractions", "Fraction"): _text,
    ("uuid", "UUID"): _text,
    ("datetime", "date"): _text,
    ("datetime", "timedelta"): _repr,
    ("datetime", "timezone"): _repr,
    ("datetime", "time"): Told._zone,
    ("datetime", "datetime"): Told._zone,
    ("zoneinfo", "ZoneInfo"): Told._zone_name,
    ("re", "Pattern"): Told._pattern,
    ("pandas", "Timestamp"): _repr,
    ("pandas", "Timedelta"): _repr,
}
