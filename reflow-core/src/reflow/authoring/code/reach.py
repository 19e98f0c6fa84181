"""What a task's code is: all of the user's own code that it reaches by name.

The code is a graph. Its nodes are statements at the top level of own modules, names, and modules; what a node refers
to comes from the module's source (`facts`), and what a name stands for from the module as this process holds it, so
that functions in containers, behind decorators and in registries are found. A task's digest is that of all nodes
that its function leads to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import msgspec

from ...model.definition import Entry
from ...model.digest import sha256
from ...model.plain import Told, TooLarge, captured, cells
from ..flow import Flow, unwrap
from .facts import Mark, Unit
from .modules import CALLABLES, METHODS, Module, Modules, is_a
from .own import Own
from .sources import Sources
from .syntax import FINDERS, join, split

_UNREAD = "the task's source code could not be read, or was edited after it was imported"
#: objects that are looked at for the functions in one variable
_MOST = 20_000
_CONTAINERS = (list, tuple, set, frozenset)
#: kinds of nodes: a name of a module, a statement, a task's statement, all of a module, a module's import, its file
_NAME, _UNIT, _TASK, _ALL, _LOAD, _FILE = "name", "unit", "task", "all", "load", "file"
_Node = tuple[str, str, str | int]


class Code(msgspec.Struct, frozen=True):
    """What a task's code is.

    Attributes
    ----------
    digest : str
        SHA-256, hexadecimal; "" where there is a problem. The same in every
        process, and on every version of Python that can read the source.
    problem : str
        Why there is no digest, a sentence; "" where there is one.
    values : mapping
        Variables that count by value, ``module:name`` -> digest of the value.
    packages : tuple of str
        Top-level modules that are not own and that the code imports.
    """

    digest: str = ""
    problem: str = ""
    values: Mapping[str, str] = {}
    packages: tuple[str, ...] = ()


class Analysis(msgspec.Struct, frozen=True):
    """What the code of a run's tasks is.

    Attributes
    ----------
    codes : mapping
        Task -> Code.
    modules : mapping
        Every own module that a task reaches, packages around it included: name -> file, "" for a namespace package.
    digests : mapping
        File -> SHA-256 of its source as it was read.
    written : tuple of str
        Variables and class attributes that own functions rebind or change, as ``module:name`` or ``module:Class.name``.
    """

    codes: Mapping[str, Code]
    modules: Mapping[str, str]
    digests: Mapping[str, str] = {}
    written: tuple[str, ...] = ()


class _Edges(msgspec.Struct):
    """What a node leads to, and what it adds to a digest."""

    nodes: dict[_Node, None] = {}
    #: lines of the digest
    lines: set[str] = set()
    values: dict[str, str] = {}
    packages: set[str] = set()


def analyse(functions: Mapping[str, Callable[..., Any]], own: Own, memory: str = "") -> Analysis:
    """Find all own code that tasks reach.

    Parameters
    ----------
    functions : mapping
        Task -> its function, as it was decorated.
    own : Own
        Which modules are own.
    memory : str
        File that remembers facts of sources; "" for none.
    """
    sources = Sources(memory)
    modules = Modules(own, sources, _scopes(functions, own.entry))
    modules.import_(own.entry.module)
    for function in functions.values():
        modules.import_(modules.name_of(getattr(unwrap(function), "__globals__", {})))
    written: set[str] = set()
    while True:
        graph = _Graph(modules, written)
        codes = {name: graph.code(function) for name, function in functions.items()}
        now = {one for module in modules.found() for one in _written(module)}
        if now == written:
            break
        written = now
    sources.save()
    return Analysis(
        codes=codes,
        modules={module.name: module.file for module in sorted(modules.found(), key=lambda one: one.name)},
        digests=sources.digests,
        written=tuple(sorted(written)),
    )


def code_of(function: Callable[..., Any]) -> Code:
    """Return the code of one function, whose module is taken for the script."""
    inner = unwrap(function)
    code = getattr(inner, "__code__", None)
    if code is None:
        return Code(problem=_UNREAD)
    file = os.path.abspath(code.co_filename)
    entry = Entry(
        file=file if os.path.isfile(file) else "",
        module=inner.__globals__.get("__name__") or os.path.basename(file).removesuffix(".py"),
        path=(os.path.dirname(file),),
    )
    return analyse({"": function}, Own(entry)).codes[""]


def _scopes(functions: Mapping[str, Callable[..., Any]], entry: Entry) -> dict[str, Mapping[str, Any]]:
    """Return the names of modules that `sys.modules` does not have under the module's name."""
    found: dict[str, Mapping[str, Any]] = {}
    main = sys.modules.get("__main__")
    if entry.file and os.path.abspath(getattr(main, "__file__", None) or "") == entry.file:
        found[entry.module] = vars(main)
    for function in functions.values():
        inner = unwrap(function)
        scope = getattr(inner, "__globals__", None)
        if scope is None:
            continue
        is_entry = entry.file and os.path.abspath(inner.__code__.co_filename) == entry.file
        name = entry.module if is_entry else scope.get("__name__", entry.module)
        known = sys.modules.get(name) if isinstance(name, str) else None
        if name and (known is None or vars(known) is not scope):
            found[name] = scope
    return found


def _written(module: Module) -> Iterator[str]:
    for reference in module.facts.written:
        if reference.startswith("@"):
            name, _, chain = reference[1:].partition(":")
            yield f"{module.absolute(name)}:{chain}"
        else:
            yield f"{module.name}:{reference}"


class _Graph:
    """The code that is reached, with what each part of it leads to."""

    def __init__(self, modules: Modules, written: set[str]) -> None:
        self._modules = modules
        self._own = modules.own
        #: changed by own functions: names, without attributes
        self._written = {
            ":".join((one.rpartition(":")[0], one.rpartition(":")[2].partition(".")[0])) for one in written
        }
        self._known: dict[_Node, _Edges] = {}

    def code(self, function: Callable[..., Any]) -> Code:
        """Return the code of a task."""
        inner = unwrap(function)
        module = self._modules.cell(inner) if isinstance(inner, FunctionType) else None
        index = module.unit_at(inner.__code__.co_firstlineno) if module is not None else None
        if module is None or index is None:
            return Code(problem=_UNREAD)
        module.check(inner.__code__, module.facts.units[index])
        if module.is_unread:
            return Code(problem=_UNREAD)
        start = _Edges()
        unit = module.facts.units[index]
        is_whole = unit.kind == "def" and unit.binds == (inner.__name__,)
        self._add(start, _TASK if is_whole else _UNIT, module.name, index)
        self._add(start, _LOAD, self._own.entry.module, "")
        try:
            self._captured(start, function)
        except _Problem as error:
            return Code(problem=str(error))
        self._types(start, inner)
        return self._gather(start)

    def _gather(self, start: _Edges) -> Code:
        """Follow everything from a task."""
        seen: set[_Node] = set()
        todo = [start]
        lines: set[str] = set()
        values: dict[str, str] = {}
        packages: set[str] = set()
        while todo:
            edges = todo.pop()
            lines |= edges.lines
            values.update(edges.values)
            packages |= edges.packages
            for node in edges.nodes:
                if node not in seen:
                    seen.add(node)
                    todo.append(self._edges(node))
        for name in sorted({name for _, name, _ in seen}):
            module = self._modules.get(name)
            if module is not None and module.is_unread:
                return Code(problem=f"the source code of {name} could not be read, or was edited after it was imported")
        lines.update(f"value {self._shown(name)}={digest}" for name, digest in values.items())
        lines.update(self._statements(seen))
        text = "\n".join(sorted(lines))
        return Code(
            digest=sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
            values=dict(sorted(values.items())),
            packages=tuple(sorted(packages)),
        )

    def _shown(self, reference: str) -> str:
        """Return a reference in which the script goes by no name: it is `__main__`, or what it is imported as."""
        module, colon, name = reference.rpartition(":")
        return colon + name if self._modules.is_script(module) else reference

    def _statements(self, nodes: set[_Node]) -> Iterator[str]:
        """Yield a line for each definition, and one for all other statements of a module, in their order."""
        ordered: dict[str, set[int]] = {}
        for kind, name, index in nodes:
            if kind not in (_UNIT, _TASK):
                continue
            assert isinstance(index, int)
            module = self._modules.get(name)
            assert module is not None
            unit = module.facts.units[index]
            if unit.kind == "set" or any(len(module.binders[bound]) > 1 for bound in unit.binds):
                ordered.setdefault(name, set()).add(index)
            else:
                yield f"{self._shown(name + ':')}{self._text(module, unit, is_task=kind == _TASK)}"
        for name, indices in ordered.items():
            module = self._modules.get(name)
            assert module is not None
            texts = []
            for index in sorted(indices):
                is_task = (_TASK, name, index) in nodes and (_UNIT, name, index) not in nodes
                texts.append(self._text(module, module.facts.units[index], is_task=is_task))
            yield f"{self._shown(name + ':')}{','.join(texts)}"

    def _text(self, module: Module, unit: Unit, *, is_task: bool) -> str:
        marks = [mark.text for mark in self._marks(module, unit)]
        return "+".join([unit.text, "" if is_task else unit.head, *marks])

    def _marks(self, module: Module, unit: Unit) -> Iterator[Mark]:
        """Yield a definition's decorators, without those by which a workflow knows it."""
        for mark in unit.marks:
            owner, _, last = mark.name.rpartition(".")
            if last not in ("job", "array_job") or not is_a(self._value(module, owner), Flow):
                yield mark

    def _value(self, module: Module, chain: str) -> Any:
        """Return what a dotted name stands for in a module, as far as it goes through modules."""
        first, *rest = chain.split(".")
        value = (module.names or {}).get(first)
        for name in rest:
            value = vars(value).get(name) if is_a(value, ModuleType) else None
        return value

    # --- edges ---

    def _add(self, edges: _Edges, kind: str, module: str, what: str | int) -> None:
        edges.nodes[kind, module, what] = None

    def _edges(self, node: _Node) -> _Edges:
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = _Edges()
            self._fill(node, found)
        return found

    def _fill(self, node: _Node, edges: _Edges) -> None:
        kind, name, what = node
        module = self._modules.get(name)
        if module is None:
            return
        if kind == _NAME:
            self._name(edges, module, str(what))
        elif kind == _LOAD:
            self._load(edges, module)
        elif kind == _FILE:
            edges.values[f"{name}:__file__"] = Told((module.names or {}).get("__file__", module.file)).digest
        elif kind == _ALL:
            for index in range(len(module.facts.units)):
                self._add(edges, _UNIT, name, index)
            for first in module.facts.imports:
                self._refer(edges, module, first)
        else:
            assert isinstance(what, int)
            self._unit(edges, module, module.facts.units[what], is_task=kind == _TASK)

    def _unit(self, edges: _Edges, module: Module, unit: Unit, *, is_task: bool) -> None:
        self._add(edges, _LOAD, module.name, "")
        module.check_unit(unit)
        for name in unit.loads:
            self._module(edges, module.absolute(name))
        uses = {*unit.uses, *(() if is_task else unit.head_uses)}
        for mark in self._marks(module, unit):
            uses.update(mark.uses)
        for use in sorted(uses):
            self._refer(edges, module, use)

    def _load(self, edges: _Edges, module: Module) -> None:
        """Note what importing a module does."""
        for name in module.facts.loads:
            self._module(edges, module.absolute(name))
        package = module.name.rpartition(".")[0]
        if package and module.file:
            self._module(edges, package)
        for index, unit in enumerate(module.facts.units):
            if (unit.acts and not self._is_harmless(module, unit)) or any(
                self._registers(module, mark) for mark in unit.marks
            ):
                self._add(edges, _UNIT, module.name, index)

    def _module(self, edges: _Edges, name: str) -> None:
        """Note that a module is imported, as are the packages around it."""
        if self._own.file(name) is None:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "reflow" and self._own.file(top) is None:
                edges.packages.add(top)
            return
        self._add(edges, _LOAD, name, "")

    def _is_harmless(self, module: Module, unit: Unit) -> bool:
        """Whether a statement only sets up logging, or a workflow."""
        first, _ = split(unit.call)
        value = module.names.get(first) if module.names is not None else None
        if is_a(value, Flow) or type(value).__module__.partition(".")[0] == "logging":
            return True
        targets = module.facts.imports.get(first, ())
        return any(target[1:].partition(":")[0].partition(".")[0] in ("logging", "reflow") for target in targets)

    def _registers(self, module: Module, mark: Mark) -> bool:
        """Whether a decorator hands what it decorates to a package that is not own: nothing else leads to it."""
        first, _ = split(mark.name)
        words = mark.name.lower()
        if not any(word in words for word in ("regist", "accessor", "hook", "implements")):
            return False
        targets = module.facts.imports.get(first, ())
        return any(self._own.file(module.absolute(target[1:].partition(":")[0])) is None for target in targets)

    # --- references ---

    def _refer(self, edges: _Edges, module: Module, reference: str) -> None:
        """Note what a reference of a module leads to."""
        if reference.startswith("@"):
            name, _, chain = reference[1:].partition(":")
            self._attribute(edges, module.absolute(name), chain)
            return
        first, rest = split(reference)
        for target in module.facts.imports.get(first, ()):
            name, _, chain = target[1:].partition(":")
            name = module.absolute(name)
            edges.lines.add(f"{self._shown(module.name + ':')}{first}->{self._shown(f'{name}:{chain}')}")
            self._attribute(edges, name, join(chain, rest) if chain else rest)
        if first in module.binders:
            self._add(edges, _NAME, module.name, first)
        elif first not in module.facts.imports:
            self._elsewhere(edges, module, reference, first, rest)

    def _elsewhere(self, edges: _Edges, module: Module, reference: str, first: str, rest: str) -> None:
        """Note what a name leads to that the source does not bind."""
        if first == "__file__":
            self._add(edges, _FILE, module.name, "")
            return
        if reference in FINDERS:
            self._add(edges, _ALL, module.name, "")
            return
        is_found = False
        for star in module.facts.stars:
            name = module.absolute(star)
            source = self._modules.get(name)
            if source is None:
                edges.lines.add(f"{self._shown(module.name + ':')}*->{name}")
                continue
            if source.binds(first) or source.facts.stars:
                is_found = is_found or source.binds(first)
                edges.lines.add(f"{self._shown(module.name + ':')}*->{self._shown(name + ':')}")
                self._refer(edges, source, reference)
        if not is_found and module.names is not None and first in module.names and not first.startswith("__"):
            value = module.names[first]
            if is_a(value, ModuleType):
                self._attribute(edges, value.__name__, rest)
            else:
                self._add(edges, _NAME, module.name, first)

    def _attribute(self, edges: _Edges, name: str, chain: str) -> None:
        """Note what an attribute of a module leads to; the whole module, where there is none."""
        self._module(edges, name)
        module = self._modules.get(name) if self._own.file(name) is not None else None
        if module is None:
            return
        first, _, rest = chain.partition(".")
        if not first:
            self._add(edges, _ALL, name, "")
        elif first == "__file__":
            self._add(edges, _FILE, name, "")
        elif module.binds(first):
            self._refer(edges, module, chain)
        elif self._own.file(f"{name}.{first}") is not None:
            self._attribute(edges, f"{name}.{first}", rest)
        else:
            if "__getattr__" in module.binders:
                self._add(edges, _NAME, name, "__getattr__")
            self._elsewhere(edges, module, chain, first, rest)

    # --- names ---

    def _name(self, edges: _Edges, module: Module, name: str) -> None:
        """Note what a variable, a function or a class of a module is."""
        units = module.binders.get(name, [])
        is_here = module.names is not None and name in module.names
        value = module.names[name] if module.names is not None and is_here else None
        if is_a(value, Flow):
            return
        reference = f"{module.name}:{name}"
        is_defined = any(module.facts.units[index].kind != "set" for index in units)
        if is_here and reference not in self._written and not is_a(value, type, FunctionType):
            told = _told(value)
            if told is not None and any(self._changes(part) for part in told.parts):
                told = None
            if told is not None and (told.whole or not told.text.startswith("?")):
                edges.values[reference] = told.digest
                for part in told.parts:
                    self._follow(edges, part)
                if told.whole and not is_defined:
                    return
        for index in units:
            self._add(edges, _UNIT, module.name, index)
        if is_here and not (len(units) == 1 and self._is_made_by(value, module, units[0])):
            self._follow(edges, value)

    def _changes(self, part: Any) -> bool:
        """Whether this is a class of which methods change instances: how they are now says nothing."""
        if not isinstance(part, type):
            return False
        return f"{self._own_name(part.__module__)}:{part.__qualname__.partition('.')[0]}" in self._written

    def _is_made_by(self, value: Any, module: Module, index: int) -> bool:
        """Whether a value is the bare function of a definition: it leads nowhere else."""
        unit = module.facts.units[index]
        return (
            is_a(value, FunctionType)
            and not unit.marks
            and not value.__closure__
            and unit.first <= value.__code__.co_firstlineno <= unit.last
        )

    def _follow(self, edges: _Edges, value: Any) -> None:
        """Note the functions and classes in a value."""
        todo: list[Any] = [value]
        seen: set[int] = set()
        while todo and len(seen) < _MOST:
            item = todo.pop()
            if id(item) in seen or is_a(item, str, bytes, int, float, type(None), Flow, ModuleType):
                continue
            seen.add(id(item))
            with suppress(Exception):  # the object is the user's
                todo.extend(self._inside(edges, item))

    def _inside(self, edges: _Edges, item: Any) -> Iterator[Any]:
        """Note what an object is made of, as far as that is own code, and yield what it holds."""
        if isinstance(item, CALLABLES):
            yield from self._function(edges, item)
        elif isinstance(item, partial):
            yield from (item.func, *item.args, *item.keywords.values())
        elif isinstance(item, MethodType):
            yield from (item.__func__, item.__self__)
        elif isinstance(item, METHODS):
            yield item.__func__
        elif isinstance(item, property):
            yield from (item.fget, item.fset, item.fdel)
        elif isinstance(item, type):
            yield from self._class(edges, item)
        elif isinstance(item, dict | MappingProxyType):
            for key, one in list(islice(item.items(), _MOST)):
                yield from (key, one)
        elif isinstance(item, _CONTAINERS) or type(item).__name__ == "deque":
            yield from list(islice(item, _MOST))
        if not isinstance(item, type | FunctionType):
            kind = type(item)
            yield kind
            if self._own_name(kind.__module__):
                yield from list(getattr(item, "__dict__", {}).values())
            else:  # a registry of another package
                for one in list(getattr(item, "__dict__", {}).values()):
                    if isinstance(one, FunctionType | MethodType | partial):
                        yield one
                    elif isinstance(one, dict):
                        yield from (inner for inner in list(one.values()) if isinstance(inner, type | FunctionType))

    def _function(self, edges: _Edges, function: Any) -> Iterator[Any]:
        if isinstance(function, FunctionType):
            self._place(edges, function)
            yield from (value for _, value in cells(function))
        yield from list(vars(function).values())

    def _place(self, edges: _Edges, function: FunctionType) -> bool:
        """Note the statement in which a function was written; False where that is in no own source."""
        module = self._modules.cell(function)
        index = module.unit_at(function.__code__.co_firstlineno) if module is not None else None
        if module is None or index is None:
            return False
        self._add(edges, _UNIT, module.name, index)
        unit = module.facts.units[index]
        module.check(function.__code__, unit)
        if unit.kind == "def" and len(module.binders[unit.binds[0]]) > 1:
            edges.lines.add(f"is {self._shown(module.name + ':')}{unit.text}")  # which of several it is
        return True

    def _class(self, edges: _Edges, cls: type) -> Iterator[Any]:
        name = self._own_name(cls.__module__)
        module = self._modules.get(name) if name else None
        if module is None:
            return
        first = cls.__qualname__.partition(".")[0]
        if first in module.binders:
            self._add(edges, _NAME, module.name, first)
        yield from cls.__bases__
        for value in list(vars(cls).values()):
            if isinstance(value, dict | list | FunctionType | partial | type):
                yield value

    def _own_name(self, name: str | None) -> str:
        """Return the name under which an own module is known here; "" for any other."""
        if not isinstance(name, str):
            return ""
        if name == "__main__":
            return self._own.entry.module
        return name if self._own.file(name) is not None else ""

    # --- tasks ---

    def _types(self, edges: _Edges, function: FunctionType) -> None:
        """Note the classes of a task's parameters and its result."""
        from ..hints import resolve

        try:
            hints = resolve(function, {})
        except Exception:
            return
        todo = [hint.type for hint in hints.values()]
        seen: set[int] = set()
        while todo:
            one = todo.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            if isinstance(one, type):
                self._follow(edges, one)
            todo.extend(getattr(one, "__args__", ()))
            todo.extend([one.__value__] if hasattr(one, "__value__") else [])

    def _captured(self, edges: _Edges, function: Any) -> None:
        """Note what a task's function captures from a function around it, and what its decorators do.

        Raises
        ------
        _Problem
            Something has neither a value that can be compared nor a source.
        """
        for key, value in captured(function):
            told = _told(value)
            if told is not None and told.whole:
                edges.values[key] = told.digest
        while (wrapped := getattr(function, "__wrapped__", None)) is not None:
            if isinstance(function, FunctionType):
                self._place(edges, function)
            for _, value in cells(function):
                if value is not wrapped:
                    self._follow(edges, value)
            function = wrapped
        for name, value in cells(function):
            self._capture(edges, function.__globals__, name, value, set())

    def _capture(self, edges: _Edges, scope: Mapping[str, Any], name: str, value: Any, seen: set[int]) -> None:
        why = f"the task captures {name}, whose value "
        try:
            told = Told(value)
        except TooLarge:
            raise _Problem(why + "is too large to be compared (more than 1 MB)") from None
        except RecursionError:
            raise _Problem(why + "is nested too deeply to be compared") from None
        except Exception:  # the object is the user's
            raise _Problem(why + "cannot be compared") from None
        edges.lines.add(f"captures {name}={told.digest}")
        for part in told.parts:
            if id(part) in seen:
                continue
            seen.add(id(part))
            if isinstance(part, partial):
                self._capture(edges, scope, name, (part.func, part.args, part.keywords), seen)
                continue
            identity = self._identity(edges, scope, part)
            if not identity:
                raise _Problem(why + "cannot be compared")
            edges.lines.add(f"captures {name}: {identity}")
            self._follow(edges, part)
            inner = unwrap(part) if isinstance(part, CALLABLES) else part
            for inside, held in cells(inner):
                self._capture(edges, scope, f"{name}.{inside}", held, seen)

    def _identity(self, edges: _Edges, scope: Mapping[str, Any], part: Any) -> str:
        """Return what tells a captured function, class, module or variable from others; "" where nothing does."""
        if isinstance(part, Flow):
            return "workflow"
        if isinstance(part, ModuleType):
            return part.__name__
        inner = unwrap(part) if isinstance(part, CALLABLES) else part
        if isinstance(inner, FunctionType) and self._place(edges, inner):
            return inner.__qualname__
        qualname = getattr(part, "__qualname__", None)
        if isinstance(part, type | FunctionType) and isinstance(qualname, str):
            name = self._own_name(part.__module__)
            module = self._modules.get(name) if name else None
            names = module.names if module is not None else vars(sys.modules.get(part.__module__, sys))
            found: Any = (names or {}).get(qualname.partition(".")[0])
            for attribute in qualname.split(".")[1:]:
                found = getattr(found, attribute, None)
            is_inner = module is not None and "<locals>" in qualname and qualname.partition(".")[0] in module.binders
            return self._shown(f"{name or part.__module__}:{qualname}") if found is part or is_inner else ""
        variable = next((name for name, value in list(scope.items()) if value is part), None)
        if variable is None:
            return ""
        module = self._modules.get(self._modules.name_of(scope))
        if module is not None:
            self._add(edges, _NAME, module.name, variable)
        return variable


def _told(value: Any) -> Told | None:
    """Return a value's text; None for one that has none, or too large a one."""
    try:
        return Told(value)
    except Exception:  # the object is the user's
        return None


class _Problem(Exception):
    """What a function captures has no value that can be compared."""
