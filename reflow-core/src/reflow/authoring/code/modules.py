"""Own modules as the analysis sees them: what their source says, and what they hold in this process."""

from __future__ import annotations

import os
import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from .facts import Facts, Unit
from .own import Own
from .sources import Compiled, Sources, is_older_than_process, parse, text_of

#: what may wrap a function
CALLABLES = (FunctionType, type(lru_cache(len)))
METHODS = (classmethod, staticmethod)

#: the file name of `python -c`, whose source Python keeps since 3.13, and of everything that `eval` and `exec` make
_COMMAND = "<string>"


def is_a(value: Any, *kinds: type) -> bool:
    """Return whether a value is of a type; unlike `isinstance`, without asking the value, which may raise anything."""
    return issubclass(type(value), kinds)


class Module:
    """A module of the user's own, or a cell of a notebook.

    Attributes
    ----------
    name : str
        Its name; of a cell, its file's.
    file : str
        Its source file; "" for a namespace package.
    facts : Facts
        What its source says.
    names : mapping, optional
        What it holds; None where it is imported by no module of the script when that is.
    is_unread : bool
        Whether the source cannot be read, or has turned out not to be what was imported.
    """

    def __init__(self, name: str, file: str, facts: Facts | None, names: Mapping[str, Any] | None) -> None:
        self.name = name
        self.file = file
        self.is_unread = facts is None
        self.facts = facts = facts or Facts()
        self.names = names
        self._compiled: Compiled | None = None
        self._is_older: bool | None = None
        self.binders: dict[str, list[int]] = {}
        for index, unit in enumerate(facts.units):
            for bound in unit.binds:
                self.binders.setdefault(bound, []).append(index)
        self._first = [unit.first for unit in facts.units]

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if os.path.basename(self.file) in ("__init__.py", "") else self.name.rpartition(".")[0]

    def absolute(self, name: str) -> str:
        """Return a module's absolute name from one that may begin with dots."""
        bare = name.lstrip(".")
        level = len(name) - len(bare)
        if not level:
            return name
        package = self.package
        for _ in range(level - 1):
            package = package.rpartition(".")[0]
        return f"{package}.{bare}" if package and bare else package or bare

    def unit_at(self, line: int) -> int | None:
        """Return the statement in which a line is."""
        index = bisect_right(self._first, line) - 1
        return index if index >= 0 and line <= self.facts.units[index].last else None

    def holds(self, code: CodeType) -> bool:
        """Return whether a code object was made of this source."""
        text = text_of(self.file or self.name, self.names or {})
        return Compiled(text, self.facts.imports).has(code, 1, text.count("\n") + 1)

    def check(self, code: CodeType, unit: Unit) -> None:
        """Note whether a code object was made of another source than the file has now."""
        if self._is_older is None:
            self._is_older = bool(self.file) and is_older_than_process(self.file)
        if self._is_older:
            return
        if self._compiled is None:
            self._compiled = Compiled(text_of(self.file or self.name, self.names or {}), self.facts.imports)
        self.is_unread = self.is_unread or not self._compiled.has(code, unit.first, unit.last)

    def check_unit(self, unit: Unit) -> None:
        """Note whether the functions of a definition, as this process has them, were made of another source."""
        if unit.kind == "set" or self.names is None:
            return
        value = self.names.get(unit.binds[0])
        members: list[Any] = list(vars(value).values()) if is_a(value, type) else [value]
        for member in members:
            function = member.__func__ if is_a(member, *METHODS) else member
            while is_a(function, *CALLABLES) and "__wrapped__" in vars(function):
                function = vars(function)["__wrapped__"]
            if not is_a(function, FunctionType) or function.__code__.co_filename != (self.file or self.name):
                continue
            if function.__qualname__.partition(".")[0] == unit.binds[0] and len(self.binders[unit.binds[0]]) == 1:
                self.check(function.__code__, unit)

    def binds(self, name: str) -> bool:
        """Whether the source binds a name."""
        return name in self.binders or name in self.facts.imports


class Modules:
    """Finds own modules.

    Parameters
    ----------
    own : Own
        Which are own.
    sources : Sources
        Their facts.
    scopes : mapping of str to mapping
        Names of modules that `sys.modules` has under another name, or not at all.
    """

    def __init__(self, own: Own, sources: Sources, scopes: Mapping[str, Mapping[str, Any]]) -> None:
        self.own = own
        self._sources = sources
        self._scopes = scopes
        self._modules: dict[str, Module | None] = {}
        self._cells: dict[str, Module] = {}
        #: modules that are there as soon as the script is imported
        self.eager: set[str] = set()

    def import_(self, name: str) -> None:
        """Note that the script imports a module when it is imported, and so what that imports."""
        todo = [name]
        while todo:
            name = todo.pop()
            if name in self.eager or self.own.file(name) is None:
                continue
            self.eager.add(name)
            module = self.get(name)
            if module is not None:
                todo += [module.absolute(one) for one in module.facts.loads]
            parent = name.rpartition(".")[0]
            if parent:
                todo.append(parent)

    def get(self, name: str) -> Module | None:
        """Return an own module, or a cell; None for any other."""
        if name in self._cells:
            return self._cells[name]
        if name not in self._modules:
            file = self.own.file(name)
            self._modules[name] = None if file is None else self._make(name, file)
        return self._modules[name]

    def found(self) -> Iterator[Module]:
        """Yield the modules that were asked for."""
        for module in list(self._modules.values()):
            if module is not None:
                yield module

    def cell(self, function: FunctionType) -> Module | None:
        """Return the module, or the notebook's cell, in which a function was written; None for a foreign one."""
        code, scope = function.__code__, function.__globals__
        name = self.name_of(scope)
        file = os.path.abspath(code.co_filename)
        if (name and self.own.file(name) == file) or file == self.own.entry.file:
            return self.get(name if self.own.file(name) == file else self.own.entry.module)
        if os.path.isfile(code.co_filename) or name != self.own.entry.module:
            return None
        cell = self._cells.get(code.co_filename)
        if cell is None:
            text = text_of(code.co_filename, scope)
            cell = Module(code.co_filename, "", parse(text) if text else None, scope)
        if code.co_filename == _COMMAND and not cell.holds(code):
            return None
        self._cells[code.co_filename] = cell
        return cell

    def is_script(self, name: str) -> bool:
        """Whether a module is the script, or a cell of the notebook."""
        return name == self.own.entry.module or name in self._cells

    def name_of(self, scope: Mapping[str, Any]) -> str:
        """Return the name of the module that holds these names."""
        name = scope.get("__name__")
        for known, names in self._scopes.items():
            if names is scope:
                return known
        return name if isinstance(name, str) else ""

    def _make(self, name: str, file: str) -> Module:
        names: Mapping[str, Any] | None = None
        if name in self._scopes:
            names = self._scopes[name]
        elif name in self.eager and name in sys.modules:
            names = getattr(sys.modules[name], "__dict__", None)
        return Module(name, file, self._sources.facts(file) if file else Facts(), names)
