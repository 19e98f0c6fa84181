"""Whether a task's constants are here what they were at submit.

A module's plain data may come from the environment, the host or the clock, so
that importing the same script gives other values elsewhere. They are part of
the task's identity as they were at submit: what was computed with others must
not be kept under it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any

from ..model.definition import Definition
from ..model.digest import sha256

#: types whose text tells the value
_LEAVES = (str, bytes, int, float, bool, type(None), type(...))


def values_of(functions: Mapping[str, Callable[..., Any]]) -> dict[str, str]:
    """Digest of the plain data that each function finds in its module and around it; "" where there is none."""
    known: dict[int, str | None] = {}
    found: dict[str, str] = {}
    for task, function in functions.items():
        told = []
        for name, value in _used(function):
            if id(value) not in known:
                known[id(value)] = _text(value)
            text = known[id(value)]
            if text is not None:
                told.append(f"{name}={text}\n")
        found[task] = sha256("".join(told).encode("utf-8", "surrogatepass")).hexdigest() if told else ""
    return found


def strangers(definition: Definition, functions: Mapping[str, Callable[..., Any]]) -> frozenset[str]:
    """Tasks whose constants are not here what they were when they were frozen."""
    here = values_of(functions)
    return frozenset(task.name for task in definition.tasks if task.name in here and here[task.name] != task.values)


def _used(function: Any) -> Iterator[tuple[str, Any]]:
    """Names that a function, those inside it and those that it wraps may look up, with their values."""
    while function is not None:
        code = getattr(function, "__code__", None)
        for name, cell in zip(
            getattr(code, "co_freevars", ()), getattr(function, "__closure__", None) or (), strict=False
        ):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        scope = getattr(function, "__globals__", {})
        for name in sorted(_names(code)) if code is not None else ():
            if name in scope and (name == "__file__" or not name.startswith("__")):
                yield name, scope[name]
        function = getattr(function, "__wrapped__", None)


def _names(code: CodeType) -> set[str]:
    """More than are looked up in the module: attributes are among them, which does no harm."""
    found = set(code.co_names)
    for item in code.co_consts:
        if isinstance(item, CodeType):
            found |= _names(item)
    return found


def _text(value: Any) -> str | None:
    """Plain data as text; None for what is none."""
    kind = type(value)
    if kind in _LEAVES:
        return f"{kind.__name__}:{ascii(value) if kind is not int else hex(value)}"
    if kind in (tuple, list, set, frozenset, dict):
        try:
            parts = [_text(item) for item in (value.items() if kind is dict else value)]
        except RecursionError:  # it holds itself
            return None
        if None in parts:
            return None
        texts = [part for part in parts if part is not None]
        return f"{kind.__name__}({','.join(sorted(texts) if kind in (set, frozenset) else texts)})"
    if isinstance(value, os.PathLike):
        return f"path:{os.fspath(value)!a}"
    return None
