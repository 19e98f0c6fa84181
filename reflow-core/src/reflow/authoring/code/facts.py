"""Static facts of a module: what each statement at its top level binds, uses and does."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import msgspec

from .syntax import (
    MUTATORS,
    Def,
    Reader,
    Scope,
    annotations_of,
    called,
    chain_of,
    hashed,
    imported,
    is_silent,
    join,
    split,
)

#: changes with the form of facts and of normalised text
SCHEME = 3


class Mark(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A decorator of a definition: the name that it starts with, a digest of its text, and what it uses."""

    name: str
    text: str
    uses: tuple[str, ...] = ()


class Unit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A statement at the top level of a module, or of an ``if``, ``try`` or ``with`` there.

    Attributes
    ----------
    kind : str
        ``def``, ``class`` or ``set`` (any other statement).
    first, last : int
        Its lines, decorators included.
    binds : tuple of str
        Names of the module that it binds or changes.
    text : str
        Digest of its normalised text; of a function, without its name, defaults, annotations and decorators.
    uses : tuple of str
        What it refers to.
    loads : tuple of str
        Modules that it imports when it runs.
    acts : bool
        Whether it does something beyond binding names.
    call : str
        What it calls, where it is one call.
    head : str
        Of a function, digest of its name, defaults and annotations.
    head_uses : tuple of str
        What those refer to.
    marks : tuple of Mark
        Decorators, and those of functions within it that may make tasks.
    """

    kind: str
    first: int
    last: int
    binds: tuple[str, ...]
    text: str
    uses: tuple[str, ...] = ()
    loads: tuple[str, ...] = ()
    acts: bool = False
    call: str = ""
    head: str = ""
    head_uses: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What a module's source says.

    Attributes
    ----------
    units : tuple of Unit
        Its statements, in order; imports are not among them.
    imports : dict
        Name -> references that imports at the top level bind it to.
    loads : tuple of str
        Modules that are imported when the module is; candidates among them may be names of a package.
    stars : tuple of str
        Modules of which all names are imported.
    written : tuple of str
        References to names and class attributes that code inside functions rebinds or changes.
    """

    units: tuple[Unit, ...] = ()
    imports: dict[str, tuple[str, ...]] = {}
    loads: tuple[str, ...] = ()
    stars: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


def facts_of(source: str | bytes) -> Facts:
    """Return the facts of a module's source.

    Raises
    ------
    SyntaxError, ValueError
        The source cannot be parsed.
    """
    return _Module(ast.parse(source)).facts()


class _Module:
    """Reads a module's statements."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._units: list[Unit] = []
        self._imports: dict[str, list[str]] = {}
        self._loads: dict[str, None] = {}
        self._stars: dict[str, None] = {}
        self._written: set[str] = set()

    def facts(self) -> Facts:
        self._collect(self._tree.body, loads=True)
        self._block(self._tree.body, "", ())
        return Facts(
            units=tuple(self._units),
            imports={name: tuple(targets) for name, targets in self._imports.items()},
            loads=tuple(self._loads),
            stars=tuple(self._stars),
            written=tuple(sorted(self._written)),
        )

    def _collect(self, body: Sequence[ast.stmt], *, loads: bool) -> None:
        """Note the imports at the top level."""
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name, target, modules in imported(node):
                    if name == "*":
                        self._stars[target[1:-1]] = None
                    elif target not in self._imports.setdefault(name, []):
                        self._imports[name].append(target)
                    if loads:
                        self._loads.update(dict.fromkeys(modules))
            elif isinstance(node, ast.If):
                if not _is_main(node.test):
                    self._collect(node.body, loads=loads and not _is_typing(node.test))
                self._collect(node.orelse, loads=loads)
            elif not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for inner in _blocks(node):
                    self._collect(inner, loads=loads)

    def _block(self, body: Sequence[ast.stmt], prefix: str, uses: tuple[str, ...]) -> None:
        """Make units of statements; those within ``if``, ``try`` and ``with`` carry what stands around them."""
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom) or is_silent(node):
                continue
            if isinstance(node, ast.If):
                text, around = self._around([node.test], prefix, uses)
                if not _is_main(node.test):
                    self._block(node.body, f"{text}:if", around)
                self._block(node.orelse, f"{text}:else" if not _is_main(node.test) else prefix, around)
            elif isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
                self._try(cast("ast.Try", node), prefix, uses)
            elif isinstance(node, ast.With):
                text, around = self._around(node.items, prefix, uses)
                self._block(node.body, f"{text}:with", around)
            else:
                self._units.append(self._unit(node, prefix, uses))

    def _try(self, node: ast.Try, prefix: str, uses: tuple[str, ...]) -> None:
        self._block(node.body, f"{prefix}:try", uses)
        for handler in node.handlers:
            text, around = self._around([handler.type] if handler.type else [], prefix, uses)
            self._block(handler.body, f"{text}:except", around)
        self._block(node.orelse, f"{prefix}:tryelse", uses)
        self._block(node.finalbody, f"{prefix}:finally", uses)

    def _around(self, nodes: Sequence[ast.AST], prefix: str, uses: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        scope = Scope("module", None)
        text = hashed(prefix + Reader(scope).text(nodes))
        return text, (*uses, *sorted(scope.uses))

    def _unit(self, node: ast.stmt, prefix: str, around: tuple[str, ...]) -> Unit:
        scope = Scope("module", None)
        reader = Reader(scope)
        kind, head, call = "set", "", ""
        head_uses: tuple[str, ...] = ()
        marks: tuple[Mark, ...] = ()
        first = node.lineno
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "def"
            scope.binds.add(node.name)
            marks = tuple(_mark(one) for one in node.decorator_list)
            text = reader.function_text(node)
            head, head_uses = self._head(node)
        elif isinstance(node, ast.ClassDef):
            kind = "class"
            scope.binds.add(node.name)
            marks = tuple(_mark(one) for one in node.decorator_list)
            text = reader.class_text(node)
        else:
            text = reader.text([node])
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "value", None)
            call = called(target) if isinstance(target, ast.Attribute | ast.Call) else ""
        self._write(scope.later)
        acts = False
        changed: set[str] = set()
        if kind == "set":
            acts, changed = self._does(node)
        else:
            first = min([first, *(one.lineno for one in getattr(node, "decorator_list", []))])
        return Unit(
            kind=kind,
            first=first,
            last=node.end_lineno or node.lineno,
            binds=tuple(sorted(scope.binds | changed)),
            text=hashed(prefix + text) if prefix else text,
            uses=tuple(sorted({*around, *scope.uses})),
            loads=tuple(sorted(reader.loads)),
            acts=acts,
            call=call,
            head=head,
            head_uses=head_uses,
            marks=(*marks, *map(_mark, reader.jobs)),
        )

    def _head(self, node: Def) -> tuple[str, tuple[str, ...]]:
        scope = Scope("module", None)
        reader = Reader(scope)
        text = reader.head(node.args)
        notes = Reader(Scope("module", None) if not node.decorator_list else scope)
        digest = notes.text(annotations_of(node))
        if node.decorator_list:
            for annotation in annotations_of(node):
                notes.quoted(annotation)
        return hashed(f"{type(node).__name__} {node.name} {text} {digest}"), tuple(sorted(scope.uses))

    def _write(self, references: Iterable[str]) -> None:
        for reference in references:
            first, rest = split(reference)
            if first in self._imports:
                self._written.update(join(target, rest) for target in self._imports[first])
            else:
                self._written.add(reference)

    def _does(self, node: ast.stmt) -> tuple[bool, set[str]]:
        """Whether a statement acts on more than the module's own names, and which of those it changes."""
        acts, changed = False, set()
        for part in _outer(node):
            targets: list[ast.AST] = []
            if isinstance(part, ast.Expr):
                value = part.value
                inner = value.func if isinstance(value, ast.Call) else value
                if isinstance(inner, ast.Attribute) and inner.attr in MUTATORS:
                    targets = [inner.value]
                elif isinstance(value, ast.Constant) or called(value) == "print":
                    continue
                else:
                    acts = True
            elif isinstance(part, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete | ast.For):
                targets = list(getattr(part, "targets", None) or [getattr(part, "target", part)])
            for target in targets:
                plain, names = self._target(target)
                acts = acts or not plain
                changed |= names
        return acts, changed

    def _target(self, target: ast.AST) -> tuple[bool, set[str]]:
        """Whether assigning to a target touches the module's own names only, and which."""
        if isinstance(target, ast.Tuple | ast.List):
            found = [self._target(item) for item in target.elts]
            return all(plain for plain, _ in found), set().union(*(names for _, names in found))
        inner = target
        while isinstance(inner, ast.Subscript | ast.Starred):
            inner = inner.value
        if not isinstance(inner, ast.Name) or (inner is not target and inner.id in self._imports):
            return False, set()
        target = inner
        return bool(target.id.strip("_")), {target.id}


def _mark(decorator: ast.expr) -> Mark:
    scope = Scope("module", None)
    text = Reader(scope).text([decorator])
    return Mark(called(decorator), text, tuple(sorted(scope.uses)))


def _outer(node: ast.stmt) -> Iterator[ast.stmt]:
    """Yield a statement and those within it that run when it does."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for block in _blocks(node):
            for inner in block:
                yield from _outer(inner)


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield the blocks of statements within a statement."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block:
            yield block
    for name in ("handlers", "cases"):
        for inner in getattr(node, name, None) or ():
            yield inner.body


def _is_main(test: ast.expr) -> bool:
    """Whether this is ``__name__ == "__main__"``."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = (test.left, test.comparators[0])
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)


def _is_typing(test: ast.expr) -> bool:
    """Whether this is ``TYPE_CHECKING``."""
    return chain_of(test).rpartition(".")[2] == "TYPE_CHECKING"
