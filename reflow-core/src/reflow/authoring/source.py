"""What a task's code is, apart from how it is written."""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

from .flow import Flow

# Fields that say nothing of what the code does, or that differ between versions of Python.
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_params", "type_ignores"})
# In a notebook an earlier cell may have asked for this.
_FUTURE = annotations.compiler_flag
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def code_digest(function: Callable[..., Any]) -> str:
    """Digest of a task function's source.

    Comments, docstrings, layout, annotations of parameters and of the result, the
    decorator that makes it a task, the function's own name and its defaults don't count
    (a default's value is part of the task's inputs). Parameter names, other
    decorators and the body do, those of functions inside it too. Functions
    that it calls are not followed.

    Parameters
    ----------
    function : callable
        A task's function, as it was decorated.

    Returns
    -------
    str
        SHA-256, hexadecimal; ``""`` where the source cannot be had, or has been
        edited since the function was made of it. The same on every version of
        Python that can read the source.
    """
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    if code is None:
        return ""
    linecache.checkcache(code.co_filename)
    source = "".join(linecache.getlines(code.co_filename, inner.__globals__))
    node = _find(source, inner.__name__, code.co_firstlineno)
    if node is None or code not in _compiled(source, code.co_flags & _FUTURE):
        return ""
    return hashlib.sha256(_normal(node, inner.__globals__).encode("utf-8", "surrogatepass")).hexdigest()


def _find(source: str, name: str, line: int) -> ast.FunctionDef | None:
    """The definition that begins, with its decorators, in this line."""
    return _definitions(source).get((name, line))


@lru_cache(maxsize=8)
def _definitions(source: str) -> dict[tuple[str, int], ast.FunctionDef]:
    """Every function of a file by name and first line; parsed once for all tasks in it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}
    return {
        (node.name, min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])): node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }


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


def _normal(node: ast.FunctionDef, scope: dict[str, Any]) -> str:
    arguments = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
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
