"""Reading syntax trees: normalised text, and the names that it uses and changes.

A reference is text. ``name.attribute`` starts from a name of the module, ``@package.module:name.attribute`` from
another module, with the dots of a relative import in front.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...model.digest import sha256

_SILENT = frozenset({"ctx", "kind", "type_comment", "type_params", "type_ignores"})
Def = ast.FunctionDef | ast.AsyncFunctionDef
#: methods that make an object, and may change it
_MAKERS = frozenset({"__init__", "__post_init__", "__new__", "__setstate__"})
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

#: methods that change what they are called on
# fmt: off
MUTATORS = frozenset({
    "add", "append", "appendleft", "clear", "difference_update", "discard", "extend", "extendleft", "fill", "insert",
    "intersection_update", "pop", "popitem", "popleft", "put", "remove", "resize", "reverse", "rotate", "setdefault",
    "setflags", "sort", "subtract", "symmetric_difference_update", "update", "__setitem__", "__delitem__",
    "__setattr__",
})
#: functions that change their first argument
_CHANGERS = frozenset({
    "setattr", "delattr", "heappush", "heappop", "heapify", "heappushpop", "heapreplace", "insort", "insort_left",
    "insort_right", "shuffle",
})
#: functions that import the module that their first argument names
_IMPORTERS = frozenset({"importlib.import_module", "import_module", "__import__"})
#: built-in functions through which code finds any name of its module
FINDERS = frozenset({"globals", "eval", "exec"})
# fmt: on


def join(reference: str, rest: str) -> str:
    """Return the reference to an attribute of what a reference names."""
    if not rest:
        return reference
    return reference + rest if reference.endswith(":") else f"{reference}.{rest}"


def split(reference: str) -> tuple[str, str]:
    """Return the first name of a reference (with its module, if it has one), and the rest."""
    head, colon, tail = reference.rpartition(":")
    first, _, rest = tail.partition(".")
    return head + colon + first, rest


def hashed(text: str) -> str:
    """Return a digest of text."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Scope:
    """Names of one function, class or module while it is read."""

    __slots__ = (
        "binds",
        "comprehension",
        "function",
        "imports",
        "kind",
        "later",
        "nonlocals",
        "owner",
        "parent",
        "uses",
        "writes",
    )

    def __init__(self, kind: str, parent: Scope | None, owner: str = "", *, comprehension: bool = False) -> None:
        self.kind = kind
        self.parent = parent
        self.owner = owner
        #: the name of the function
        self.function = ""
        self.comprehension = comprehension
        self.binds: set[str] = set()
        self.nonlocals: set[str] = set()
        self.imports: dict[str, list[str]] = {}
        self.uses: set[str] = set()
        #: what is changed while the scope's own statements run, and what functions in it change when they are called
        self.writes: set[str] = set()
        self.later: set[str] = set()

    def bind(self, name: str) -> None:
        """Note that the scope binds a name."""
        self.binds.add(name)
        if name in self.nonlocals:
            self.writes.add(name)

    def close(self) -> None:
        """Hand what is not this scope's own to the one around it."""
        parent = self.parent
        assert parent is not None
        local = self.binds - self.nonlocals if self.kind == "function" else set()
        for reference in self.uses:
            parent.uses.update(self._outside(reference, local))
        now = parent.later if self.kind == "function" and not self.comprehension else parent.writes
        for reference in self.writes:
            now.update(self._outside(reference, local))
        for reference in self.later:
            parent.later.update(self._outside(reference, local))

    def _outside(self, reference: str, local: set[str]) -> Iterator[str]:
        first, rest = split(reference)
        if first in self.imports:
            for target in self.imports[first]:
                yield join(target, rest)
        elif first not in local:
            yield reference


class Reader:
    """Turns nodes into normalised text, and notes what names they use."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.loads: set[str] = set()
        #: decorators within functions that may make tasks: how those run does not count
        self.jobs: list[ast.expr] = []
        self._out: list[str] = []

    def text(self, nodes: Iterable[ast.AST]) -> str:
        """Return the digest of the text of some nodes."""
        kept, self._out = self._out, []
        for node in nodes:
            self._node(node)
        text, self._out = "".join(self._out), kept
        return hashed(text)

    def function_text(self, node: Def) -> str:
        """Return the digest of a function's parameters' names and its body."""
        kept, self._out = self._out, []
        self._inside(node)
        text, self._out = "".join(self._out), kept
        return hashed(text)

    def class_text(self, node: ast.ClassDef) -> str:
        """Return the digest of a class without its decorators."""
        around = self.text([*node.bases, *node.keywords])
        kept, self._out = self._out, []
        self._class_body(node)
        text, self._out = "".join(self._out), kept
        return hashed(f"class {node.name} {around} {text}")

    def _node(self, node: ast.AST) -> None:
        kind = type(node)
        special = _SPECIAL.get(kind)
        if special is not None:
            special(self, node)
            return
        self._out.append(kind.__name__ + "(")
        self._fields(node)
        self._out.append(")")

    def _fields(self, node: ast.AST, but: frozenset[str] = _SILENT) -> None:
        for name in node._fields:
            if name in but:
                continue
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            self._out.append(name + "=")
            self._value(value)

    def _value(self, value: Any) -> None:
        if isinstance(value, ast.AST):
            self._node(value)
        elif isinstance(value, list):
            self._out.append("[")
            for item in value:
                self._value(item)
            self._out.append("]")
        else:
            self._out.append(repr(value) + ",")

    # --- names ---

    def _name(self, node: ast.Name) -> None:
        self._out.append(f"Name({node.id})")
        if isinstance(node.ctx, ast.Load):
            self.scope.uses.add(node.id)
        else:
            self.scope.bind(node.id)

    def _attribute(self, node: ast.Attribute) -> None:
        chain = chain_of(node)
        self._out.append(f"Attribute({node.attr},")
        if isinstance(node.ctx, ast.Load):
            if chain:
                self.scope.uses.add(chain)
                self._out.append(chain)
            else:
                self._node(node.value)
        else:
            self._write(node)
            if chain:
                self.scope.uses.add(chain)
                self._out.append(chain)
            else:
                self._node(node.value)
        self._out.append(")")

    def _subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._write(node.value)
        if chain_of(node.value) == "sys.modules" and chain_of(node.slice) == "__name__":
            self.scope.uses.add("globals")
        self._out.append("Subscript(")
        self._fields(node)
        self._out.append(")")

    def _call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in MUTATORS:
            self._write(function.value)
        if node.args and getattr(function, "attr", getattr(function, "id", "")) in _CHANGERS:
            self._write(node.args[0])
        if chain_of(function) in _IMPORTERS:
            self._imports_by_name(node.args)
        self._out.append("Call(")
        self._fields(node)
        self._out.append(")")

    def _write(self, target: ast.AST) -> None:
        """Note that what a node stands for is changed."""
        chain = chain_of(target)
        while not chain and isinstance(target, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
            if isinstance(target, ast.Call):
                target = target.func
                if isinstance(target, ast.Attribute):  # what is changed is something that the object holds
                    target = target.value
            else:
                target = target.value
            chain = chain_of(target)
        if chain == "type" or chain.startswith("cls.") or ".__class__" in chain:
            self._write_class()
            return
        if chain.startswith("self.") and self._method() not in _MAKERS:
            self._write_class()
        if chain:
            self.scope.writes.add(chain)

    def _write_class(self) -> None:
        """Note that methods of the class around change it, or its instances."""
        owner = self._owner()
        if owner:
            self.scope.writes.add(owner)

    def _method(self) -> str:
        """Return the name of the function around."""
        scope: Scope | None = self.scope
        while scope is not None and not scope.function:
            scope = scope.parent
        return scope.function if scope is not None else ""

    def _owner(self) -> str:
        scope: Scope | None = self.scope
        while scope is not None and not scope.owner:
            scope = scope.parent
        return scope.owner if scope is not None else ""

    def _named(self, node: ast.NamedExpr) -> None:
        scope = self.scope
        while scope.comprehension and scope.parent is not None:
            scope = scope.parent
        scope.bind(node.target.id)
        self._out.append(f"NamedExpr({node.target.id},")
        self._node(node.value)
        self._out.append(")")

    def _outer(self, node: ast.Global | ast.Nonlocal) -> None:
        self.scope.nonlocals.update(node.names)
        self.scope.writes.update(set(node.names) & self.scope.binds)
        self._out.append(f"{type(node).__name__}({sorted(node.names)})")

    def _catches(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.scope.bind(node.name)
        self._plain(node)

    def _pattern(self, node: ast.AST) -> None:
        name = getattr(node, "name", None) or getattr(node, "rest", None)
        if name:
            self.scope.bind(name)
        self._plain(node)

    def _plain(self, node: ast.AST) -> None:
        self._out.append(type(node).__name__ + "(")
        self._fields(node)
        self._out.append(")")

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        text = hex(value) if type(value) is int and value.bit_length() > 64 else repr(value)
        self._out.append(f"Constant({text})")

    def _joined(self, node: ast.JoinedStr) -> None:
        """Read a formatted string; versions of Python differ in how they cut the text between its fields."""
        self._out.append("JoinedStr(")
        text = ""
        for value in node.values:
            if isinstance(value, ast.Constant):
                text += str(value.value)
                continue
            self._out.append(f"{text!r},")
            text = ""
            self._node(value)
        self._out.append(f"{text!r})")

    def _imports(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, target, loads in imported(node):
            self.loads.update(loads)
            if name:
                self.scope.bind(name)
                self.scope.imports.setdefault(name, []).append(target)
        self._plain(node)

    def _imports_by_name(self, arguments: list[ast.expr]) -> None:
        """Note a module that a call imports, where the call spells its name: all of the module counts."""
        first = arguments[0] if arguments else None
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            return
        name = first.value
        if name.startswith(".") and (len(arguments) < 2 or chain_of(arguments[1]) not in ("__package__", "__name__")):
            return
        self.loads.add(name)
        self.scope.uses.add(f"@{name}:")

    # --- scopes ---

    def _function(self, node: Def) -> None:
        self._out.append(f"{type(node).__name__}({node.name},")
        for decorator in node.decorator_list:
            if called(decorator).endswith((".job", ".array_job")):
                self.jobs.append(decorator)
            else:
                self._node(decorator)
        self.scope.bind(node.name)
        self._out.append(self.head(node.args))
        for annotation in annotations_of(node):
            self._node(annotation)
        self._inside(node)
        self._out.append(")")

    def head(self, arguments: ast.arguments) -> str:
        """Return the text of defaults."""
        kept, self._out = self._out, []
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is None:
                self._out.append("-")
            else:
                self._node(default)
            self._out.append(",")
        text, self._out = "".join(self._out), kept
        return text

    def _inside(self, node: Def | ast.Lambda) -> None:
        """Read parameters' names and the body, in a scope of their own."""
        arguments = node.args
        self.scope = Scope("function", self.scope)
        self.scope.function = getattr(node, "name", "")
        groups = (arguments.posonlyargs, arguments.args, arguments.kwonlyargs)
        names = [arg.arg for group in groups for arg in group]
        self._out.append(f"{names!r}")
        for star in (arguments.vararg, arguments.kwarg):
            if star is not None:
                self._out.append(f"*{star.arg}")
                names.append(star.arg)
        self.scope.binds.update(names)
        for item in node.body if isinstance(node.body, list) else [node.body]:
            if not is_silent(item):
                self._node(item)
        self._leave()

    def _anonymous(self, node: ast.Lambda) -> None:
        self._out.append("Lambda(")
        self._out.append(self.head(node.args))
        self._inside(node)
        self._out.append(")")

    def _class_(self, node: ast.ClassDef) -> None:
        self._out.append(f"ClassDef({node.name},")
        self.scope.bind(node.name)
        for one in (*node.decorator_list, *node.bases, *node.keywords):
            self._node(one)
        self._class_body(node)
        self._out.append(")")

    def _class_body(self, node: ast.ClassDef) -> None:
        self.scope = Scope("class", self.scope, node.name)
        for item in node.body:
            if not is_silent(item):
                self._node(item)
        self._leave()

    def _annotated(self, node: ast.AnnAssign) -> None:
        self._plain(node)
        self.quoted(node.annotation)

    def quoted(self, annotation: ast.AST) -> None:
        """Note the names in annotations that are written as text."""
        for part in ast.walk(annotation):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                try:
                    tree = ast.parse(part.value.strip(), mode="eval")
                except (SyntaxError, ValueError):
                    continue
                self.text([tree.body])

    def _comprehension(self, node: Any) -> None:
        self._out.append(type(node).__name__ + "(")
        self._node(node.generators[0].iter)  # evaluated outside
        self.scope = Scope("function", self.scope, comprehension=True)
        self._fields(node)
        self._leave()
        self._out.append(")")

    def _leave(self) -> None:
        scope = self.scope
        scope.close()
        assert scope.parent is not None
        self.scope = scope.parent


_SPECIAL: dict[type, Callable[[Reader, Any], None]] = {
    ast.Name: Reader._name,
    ast.Attribute: Reader._attribute,
    ast.Subscript: Reader._subscript,
    ast.Call: Reader._call,
    ast.NamedExpr: Reader._named,
    ast.Global: Reader._outer,
    ast.Nonlocal: Reader._outer,
    ast.ExceptHandler: Reader._catches,
    ast.MatchAs: Reader._pattern,
    ast.MatchStar: Reader._pattern,
    ast.MatchMapping: Reader._pattern,
    ast.Constant: Reader._constant,
    ast.JoinedStr: Reader._joined,
    ast.Import: Reader._imports,
    ast.ImportFrom: Reader._imports,
    ast.FunctionDef: Reader._function,
    ast.AsyncFunctionDef: Reader._function,
    ast.Lambda: Reader._anonymous,
    ast.ClassDef: Reader._class_,
    ast.AnnAssign: Reader._annotated,
    **dict.fromkeys(_COMPREHENSIONS, Reader._comprehension),
}


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each name that an import binds ("*" for all), its reference, and the modules that it loads."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, f"@{alias.name}:", (alias.name,)
            else:
                top = alias.name.partition(".")[0]
                yield top, f"@{top}:", (alias.name,)
        return
    module = "." * node.level + (node.module or "")
    for alias in node.names:
        if alias.name == "*":
            yield "*", f"@{module}:", (module,)
        else:
            inner = module + alias.name if module.endswith(".") or not module else f"{module}.{alias.name}"
            yield alias.asname or alias.name, f"@{module}:{alias.name}", (module, inner)


def annotations_of(node: Def) -> Iterator[ast.expr]:
    """Yield the annotations of a function."""
    arguments = node.args
    for arg in (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg):
        if arg is not None and arg.annotation is not None:
            yield arg.annotation
    if node.returns is not None:
        yield node.returns


def chain_of(node: ast.AST) -> str:
    """Return a dotted name as text; "" for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(names)]) if names else node.id


def called(node: ast.AST) -> str:
    """Return the name at the start of a call or of a decorator."""
    while isinstance(node, ast.Call):
        node = node.func
    chain = chain_of(node)
    while not chain and isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
        chain = chain_of(node)
    return chain


def is_silent(node: ast.AST) -> bool:
    """Whether a statement is a docstring, or another bare constant, or nothing."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
