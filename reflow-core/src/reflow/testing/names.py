"""The tables of docs/plugins.md that name all that a dialect may use, made of the code.

``python -m reflow.testing.names docs/plugins.md`` writes them anew.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from .. import plugin

#: values whose fields are listed here, and nowhere else on the page
VALUES = (plugin.Call, plugin.Completed, plugin.Row, plugin.Site, plugin.Resources, plugin.Cell, plugin.Preview)
#: what a dialect has no use for
_OTHERS = ("hookimpl", "occasions", "Occasion")


def written(page: str) -> str:
    """Return the page with its generated tables as they have to be.

    Raises
    ------
    ValueError
        It has no place for one of them.
    """
    for name, table in {"fields": fields(VALUES), "helpers": helpers()}.items():
        head, mark, rest = page.partition(f"<!-- generated: {name} -->\n\n")
        if not mark:
            raise ValueError(f"the page has no place for the table of {name}")
        page = head + mark + table + re.sub(r"\A(?:\|.*\n)*", "", rest)
    return page


def fields(kinds: Iterable[type[msgspec.Struct]]) -> str:
    """Return a table of the fields of values: name, type, default and meaning."""
    rows = []
    for kind in kinds:
        meanings = _meanings(kind)
        for field in msgspec.structs.fields(kind):
            type_ = f"{kind.__annotations__[field.name]}{_default(field)}"
            rows.append((f"`{kind.__name__}.{field.name}`", f"`{type_}`", meanings[field.name]))
    return _table(("field", "type", "meaning"), rows)


def helpers() -> str:
    """Return a table of the functions, constants and enumerations that a dialect may use."""
    rows = []
    for name in plugin.__all__:
        value = getattr(plugin, name)
        if name in _OTHERS:
            continue
        if inspect.isfunction(value):
            rows.append((f"`{name}{_arguments(value)}`", _summary(value)))
        elif isinstance(value, plugin.Cell):
            rows.append((f"`{name}`", f"Row of the vocabulary: {value}."))
        elif inspect.isclass(value) and issubclass(value, Enum):
            rows.append((f"`{name}`", f"{_summary(value)} {', '.join(f'`{member.name}`' for member in value)}."))
    return _table(("name", "what it is"), rows)


def _meanings(kind: type) -> dict[str, str]:
    """Return the text of each attribute in a docstring, on one line."""
    part = re.search(r"^Attributes\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", inspect.getdoc(kind) or "", re.M | re.S)
    found: dict[str, str] = {}
    for names, body in re.findall(r"^([\w, ]+) : .*\n((?:    .*\n?)+)", part[1] if part else "", re.M):
        found |= dict.fromkeys(names.split(", "), _plain(body))
    return found


def _default(field: Any) -> str:
    if field.required:
        return ""
    if field.default_factory is not msgspec.NODEFAULT:
        return f" = {field.default_factory()!r}"
    return " = UNKNOWN" if isinstance(field.default, plugin.JobStatus) else f" = {field.default!r}"


def _arguments(function: Callable[..., object]) -> str:
    """Return what a function takes and returns, as its source has it."""
    words: list[str] = []
    signature = inspect.signature(function)
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        default = "" if one.default is one.empty else f" = {one.default!r}"
        words.append(f"{one.name}: {one.annotation}{default}")
    return f"({', '.join(words)}) -> {signature.return_annotation}"


def _summary(value: object) -> str:
    return _plain((inspect.getdoc(value) or "").partition("\n\n")[0])


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
