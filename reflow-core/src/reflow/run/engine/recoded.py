"""What of the user's code has changed since an earlier run, for `explain`: its frozen sources are compared."""

from __future__ import annotations

import ast
import os
import textwrap
from collections.abc import Iterator, Mapping

from ...authoring.code.facts import Facts, Unit
from ...authoring.code.sources import parse
from ...errors import ReflowError
from ...model import layout
from ...model.cache import CacheEntry
from ...model.definition import Definition
from ...store.registry import Registry
from ...worker.opener import read_regular
from ...worker.trust import trust
from ..definition.load import load_definition

#: characters of the code's digest in an entry, of a value that is shown, and bytes of the sources that are compared
_SHORT, _SHOWN, _MOST = 16, 30, 500_000
#: definitions that are named; of more, only their files
_NAMED = 3


class Recoded:
    """Compares the code of a run with that of earlier ones.

    Parameters
    ----------
    root : str
        The run's root directory.
    definition : Definition
        Of its current code generation.
    """

    def __init__(self, root: str, definition: Definition) -> None:
        self._root = root
        self._definition = definition
        self._said: dict[tuple[str, str], str] = {}

    def since(self, entry: CacheEntry) -> str:
        """Name the definitions that have changed since a result was computed; "" where that is not known.

        Where several have, and which of them the task reaches is not known, all are named, "among" them.
        """
        key = (entry.run_id, entry.task)
        if key not in self._said:
            try:
                self._said[key] = self._compare(entry)
            except (ReflowError, OSError, LookupError, ValueError):
                self._said[key] = ""
        return self._said[key]

    def _compare(self, entry: CacheEntry) -> str:
        now = self._definition
        record = Registry(now.store, trust).find(entry.run_id)
        root = layout.root(record.run_dir, record.run_id)
        then = load_definition(root, trusted=trust())
        known = then.task(entry.task).code[:_SHORT] == entry.parts.get("code")
        scope = (now.entry.module, now.entry.own, now.entry.foreign)
        if not known or (then.entry.module, then.entry.own, then.entry.foreign) != scope:
            return ""
        before, after = _files(then, root), _files(now, self._root)
        if before.keys() != after.keys():
            return ""
        changed = [name for name in after if before[name][0] != after[name][0]]
        if sum(os.stat(path).st_size for name in changed for _, path in (before[name], after[name])) > _MOST:
            return ""
        values = _differing(then.task(entry.task).values, now.task(entry.task).values)
        found: list[tuple[str, str]] = []
        for name in changed:
            lines = [one.task(entry.task).where.line if name == one.entry.module else 0 for one in (then, now)]
            file = os.path.basename(now.entry.file if name == now.entry.module else now.modules[name].file)
            texts = [read_regular(path) for _, path in (before[name], after[name])]
            found += [(what, file) for what in _changes(texts[0], texts[1], (lines[0], lines[1]))]
        sure = [one for one in found if one[0].partition(":")[0] in values]
        if values and not sure:
            return ", ".join(sorted(values)[:_NAMED])
        return _told(sure or found, sure=bool(sure) or len(found) == 1)


def _files(definition: Definition, root: str) -> dict[str, tuple[str, str]]:
    """Return the digest and the frozen copy of each own module, by name."""
    entry, generation = definition.entry, definition.generation
    if not entry.importable:
        return {}
    found = {
        name: (module.digest, layout.frozen_module(root, generation, name))
        for name, module in definition.modules.items()
        if module.file.endswith(".py")
    }
    return found | {entry.module: (entry.digest, layout.frozen(root, generation, entry.file))}


def _differing(then: Mapping[str, str], now: Mapping[str, str]) -> set[str]:
    """Return the names of variables, without their modules, whose values differ."""
    return {name.rpartition(":")[2] for name in then.keys() & now.keys() if then[name] != now[name]}


def _told(found: list[tuple[str, str]], *, sure: bool) -> str:
    files = list(dict.fromkeys(file for _, file in found))
    if len(found) > _NAMED:
        return f"in {' or '.join(files)}" if len(files) <= _NAMED else ""
    if not found:
        return ""
    texts = [", ".join(what for what, where in found if where == file) + f" in {file}" for file in files]
    return f"{'' if sure else 'among '}{', '.join(texts)}"


def _changes(before: bytes, after: bytes, lines: tuple[int, int]) -> Iterator[str]:
    """Yield what differs between two sources that may count for the task whose function stands at those lines."""
    old, new = parse(before), parse(after)
    if old is None or new is None:
        return
    if (old.imports, old.loads, old.stars) != (new.imports, new.loads, new.stars):
        yield "imports"
    then, now = _units(old, lines[0]), _units(new, lines[1])
    for label in dict.fromkeys([*then, *now]):
        one, other = then.get(label, []), now.get(label, [])
        if [_text(unit, lines[0]) for unit in one] == [_text(unit, lines[1]) for unit in other]:
            continue
        values = [_value(source, units) for source, units in ((before, one), (after, other))]
        yield f"{label}: {values[0]} → {values[1]}" if all(values) and values[0] != values[1] else label


def _units(facts: Facts, line: int) -> dict[str, list[Unit]]:
    """Return statements by what they bind, without functions of other tasks."""
    found: dict[str, list[Unit]] = {}
    for unit in facts.units:
        if not _is_task(unit) or unit.first <= line <= unit.last:
            found.setdefault(", ".join(unit.binds) or "a statement", []).append(unit)
    return found


def _is_task(unit: Unit) -> bool:
    return any(mark.name.rpartition(".")[2] in ("job", "array_job") for mark in unit.marks)


def _text(unit: Unit, line: int) -> tuple[object, ...]:
    """Return what counts of a statement; of the task's own function neither head nor decorators do."""
    own = _is_task(unit) and unit.first <= line <= unit.last
    return (unit.text,) if own else (unit.text, unit.head, unit.call, unit.marks)


def _value(source: bytes, units: list[Unit]) -> str:
    """Return the text of the value to which one assignment sets one name; "" where that is none, or is long."""
    if len(units) != 1 or units[0].kind != "set" or len(units[0].binds) != 1:
        return ""
    lines = source.decode("utf-8", "replace").splitlines()[units[0].first - 1 : units[0].last]
    try:
        (statement,) = ast.parse(textwrap.dedent("\n".join(lines))).body
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
            return ""
        ast.literal_eval(statement.value)
        text = ast.unparse(statement.value)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return ""
    return text if len(text) <= _SHOWN else ""
