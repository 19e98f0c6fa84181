"""What a task's code is, apart from how it is written."""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import msgspec

from ..model.codec import codec_of
from ..model.digest import sha256
from .flow import Flow

# Fields that say nothing of what the code does, or that differ between versions of Python.
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_params", "type_ignores"})
# In a notebook an earlier cell may have asked for this.
_FUTURE = annotations.compiler_flag
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTIONS = (FunctionType, type(lru_cache(len)))
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

#: characters of text that the value of one captured or global name may come to
_LARGE = 1_000_000
_UNREAD = "the task's source code could not be read, or was edited after it was imported"


class Code(msgspec.Struct, frozen=True):
    """What a task's code is.

    Attributes
    ----------
    digest : str
        SHA-256, hexadecimal; "" where there is a problem. The same in every
        process, and on every version of Python that can read the source.
    problem : str
        Why there is no digest, a sentence; "" where there is one.
    """

    digest: str = ""
    problem: str = ""


class _Opaque(Exception):
    """A value that cannot be told; its text ends the sentence "... whose value"."""


class _Foreign(Exception):
    """A value that is not plain data."""


def code_of(function: Callable[..., Any]) -> Code:
    """Digest of a task function's source, and of the values that it uses beside its parameters.

    Of the source, comments, docstrings, layout, annotations of parameters and of the
    result, the decorator that makes it a task, the function's own name and its defaults
    don't count (a default's value is part of the task's inputs). Parameter names, other
    decorators and the body do, those of functions inside it too.

    Of values, those count that the function captures from a function around it, and
    those of its module's variables that hold plain data: text, bytes, numbers, paths,
    True, False, None, and tuples, lists, sets and dicts of such. Functions and classes of
    the module, and other modules, are not followed.

    Parameters
    ----------
    function : callable
        A task's function, as it was decorated.

    Returns
    -------
    Code
        Without a digest where the source cannot be had, or has been edited since the
        function was made of it, and where a captured value cannot be compared, or
        one of either kind is larger than about 1 MB.
    """
    inner = inspect.unwrap(function)
    source = _source(inner)
    if source is None:
        return Code(problem=_UNREAD)
    try:
        state = _Values(inner.__module__).state(function)
    except _Opaque as error:
        return Code(problem=f"the task {error}")
    return Code(sha256((source + state).encode("utf-8", "surrogatepass")).hexdigest())


class _Values:
    """Tells values as text: equal for equal values, in every process."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._inside: list[int] = []
        self._left = 0

    def state(self, function: Callable[..., Any]) -> str:
        """What a function uses beside its parameters, a line for each name.

        Raises
        ------
        _Opaque
            Something cannot be told.
        """
        told = []
        while (wrapped := getattr(function, "__wrapped__", None)) is not None:
            for name, value in _captured(function):  # what a decorator was given, as far as it is plain
                told += self._named("decorator", name, value, plain=True)
            function = wrapped
        for name, value in _captured(function):
            told += self._named("captures", name, value, plain=False)
        for name, value in _globals(function):
            told += self._named("uses", name, value, plain=True)
        return "".join(f"\n{line}" for line in told)

    def _named(self, verb: str, name: str, value: Any, *, plain: bool) -> list[str]:
        if not self._inside:
            self._left = _LARGE
        try:
            return [f"{verb} {name}={self._tell(value, plain)}"]
        except _Foreign:
            return []
        except _Opaque as error:
            if self._inside:
                raise
            raise _Opaque(f"{verb} {name}, whose value {error}") from None
        except RecursionError:
            raise _Opaque(f"{verb} {name}, whose value is nested too deeply to be compared") from None

    def _tell(self, value: Any, plain: bool) -> str:
        if id(value) in self._inside:
            return f"<{self._inside.index(id(value))}>"  # it holds itself
        self._inside.append(id(value))
        try:
            return self._kind(value, plain)
        finally:
            self._inside.pop()

    def _kind(self, value: Any, plain: bool) -> str:
        kind = type(value)
        if kind in (str, bytes):
            self._spend(len(value))
            return ascii(value)
        if kind in (bool, type(None), type(...), float):
            return self._leaf(repr(value))
        if kind is int:
            return self._leaf(hex(value))  # of any size
        if isinstance(value, PurePath):
            return f"Path({self._leaf(ascii(str(value)))})"
        if kind in (tuple, list):
            return f"{kind.__name__}({','.join(self._tell(item, plain) for item in value)})"
        if kind in (set, frozenset):
            return f"{kind.__name__}({','.join(sorted(self._tell(item, plain) for item in value))})"
        if kind is dict:
            items = (f"{self._tell(key, plain)}:{self._tell(item, plain)}" for key, item in value.items())
            return f"dict({','.join(items)})"
        if plain:
            raise _Foreign
        return self._leaf(self._code(value))

    def _code(self, value: Any) -> str:
        """Of functions, classes, modules and values that have a type of the codec."""
        if isinstance(value, ModuleType):
            return value.__name__
        if isinstance(value, partial):
            return f"partial{self._tell((value.func, value.args, value.keywords), False)}"
        if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType | None):
            return f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, _FUNCTIONS):
            inner = inspect.unwrap(value)
            source = _source(inner)
            if source is not None:
                defaults = self._tell((inner.__defaults__, inner.__kwdefaults__), False)
                return f"function({source!a}{self.state(value)!a}{defaults})"
        elif isinstance(value, type):
            source = _class_source(value)
        else:
            try:
                raw = codec_of(type(value)).encode(value)
            except Exception:
                raise _Opaque("cannot be compared") from None
            return f"{type(value).__qualname__}({raw!r})"
        if source and "<" not in value.__qualname__:
            return f"{value.__qualname__}({source!a})"
        # What another module holds without a source is known by its name, as that module would be.
        found: Any = None if value.__module__ == self._module else sys.modules.get(value.__module__)
        for name in value.__qualname__.split("."):
            found = getattr(found, name, None)
        if found is not value:
            raise _Opaque("cannot be compared")
        return f"{value.__module__}.{value.__qualname__}"

    def _leaf(self, text: str) -> str:
        self._spend(len(text))
        return text

    def _spend(self, size: int) -> None:
        self._left -= size + 1
        if self._left < 0:
            raise _Opaque("is too large to be compared (more than 1 MB)")


def _captured(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Variables of functions around this one that it uses, by name."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    for name, cell in sorted(zip(code.co_freevars, cells, strict=True)) if code is not None and cells else ():
        try:
            yield name, cell.cell_contents
        except ValueError:
            yield name, ...  # not assigned yet


def _globals(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Variables of its module that a function's code names, functions inside it too."""
    todo, names = [function.__code__], set()
    while todo:
        code = todo.pop()
        names |= {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        todo.extend(item for item in code.co_consts if isinstance(item, CodeType))
    scope = function.__globals__
    for name in sorted(names):
        if name in scope and (name == "__file__" or not name.startswith("__")):
            yield name, scope[name]


def _class_source(cls: type) -> str:
    """Normalised source of a class; "" where it cannot be had."""
    try:
        return _text(ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0])
    except (OSError, TypeError, SyntaxError, ValueError):
        return ""


def _source(function: Any) -> str | None:
    """Normalised source of a function; None where it cannot be had, or has been edited since."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    linecache.checkcache(code.co_filename)
    source = "".join(linecache.getlines(code.co_filename, function.__globals__))
    nodes = _definitions(source).get((code.co_name, code.co_firstlineno))
    if not nodes or code not in _compiled(source, code.co_flags & _FUTURE):
        return None
    return "\n".join(_normal(node, function.__globals__) for node in nodes)


@lru_cache(maxsize=8)
def _definitions(source: str) -> dict[tuple[str, int], list[_Function]]:
    """Every function of a file by name and first line; parsed once for all tasks in it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}
    found: dict[tuple[str, int], list[_Function]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):  # of several in one line all are told
            found.setdefault(("<lambda>", node.lineno), []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found[node.name, first] = [node]
    return found


@lru_cache(maxsize=8)
def _compiled(source: str, flags: int) -> frozenset[CodeType]:
    """Every code object that a file compiles to: a function that is not among them was made of other source."""
    found: set[CodeType] = set()
    with warnings.catch_warnings():  # they were given when it was imported
        warnings.simplefilter("ignore")
        todo = [compile(source, "", "exec", flags, dont_inherit=True)]
    while todo:
        code = todo.pop()
        found.add(code)
        todo.extend(item for item in code.co_consts if isinstance(item, CodeType))
    return frozenset(found)


def _normal(node: _Function, scope: dict[str, Any]) -> str:
    arguments = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    if isinstance(node, ast.Lambda):
        return f"{arguments!r}\n{_text(node.body)}"
    decorators = [item for item in node.decorator_list if not _registers(item, scope)]
    return "\n".join([repr(arguments), *map(_text, decorators), *map(_text, _body(node.body))])


def _registers(decorator: ast.expr, scope: dict[str, Any]) -> bool:
    """Whether this is ``@wf.job(...)``: it says how the task is run, not what it does."""
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if not isinstance(target, ast.Attribute) or target.attr not in ("job", "array_job"):
        return False
    owner = scope.get(target.value.id) if isinstance(target.value, ast.Name) else None
    return owner is None or isinstance(owner, Flow)


def _body(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements without a docstring, nor anything else that is a bare constant."""
    return [item for item in body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))] or [
        ast.Pass()
    ]


def _text(node: ast.AST) -> str:
    """A node as text, independent of the version of Python that parsed it."""
    return f"{type(node).__name__}({', '.join(_fields(node))})"


def _fields(node: ast.AST) -> Iterator[str]:
    for name, value in ast.iter_fields(node):
        if name in _SILENT or (value is None and not isinstance(node, ast.Constant)) or value == []:
            continue
        if name == "body" and isinstance(node, _DEFINITIONS):
            value = _body(value)
        yield f"{name}={_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, ast.AST):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
