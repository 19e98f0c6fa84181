"""Whether the values that count in a task's code are here what they were at submit.

A module's plain data may come from the environment, the host or the clock, so
that importing the same script gives other values elsewhere. They are part of
the task's identity as they were at submit: what was computed with others must
not be kept under it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..authoring.flow import unwrap
from ..model.definition import Definition
from ..model.plain import Told, captured


def strangers(definition: Definition, functions: Mapping[str, Callable[..., Any]]) -> frozenset[str]:
    """Return the tasks whose values are not here what they were when they were frozen."""
    scopes: dict[str, Mapping[str, Any]] = {}
    for function in functions.values():
        scope = unwrap(function).__globals__
        scopes[definition.entry.module if scope.get("__file__") == definition.entry.file else scope["__name__"]] = scope
    known: dict[str, str] = {}
    found = set()
    for task in definition.tasks:
        if task.name not in functions:
            continue
        own = {name: _digest(value) for name, value in captured(functions[task.name])}
        for name, digest in task.values.items():
            if name.startswith("~"):
                here = own.get(name, "")
            else:
                if name not in known:
                    known[name] = _digest_of(name, scopes)
                here = known[name]
            if here != digest:
                found.add(task.name)
                break
    return frozenset(found)


def _digest_of(name: str, scopes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the digest of the value of ``module:name``; "" where there is none."""
    module, _, variable = name.rpartition(":")
    scope = scopes.get(module)
    if scope is None:
        scope = vars(sys.modules[module]) if module in sys.modules else {}
    return _digest(scope[variable]) if variable in scope else ""


def _digest(value: Any) -> str:
    try:
        return Told(value).digest
    except Exception:  # the object is the user's
        return ""
