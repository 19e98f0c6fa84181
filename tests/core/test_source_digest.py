"""What of a function's source counts: what it does, not how it is written."""

from __future__ import annotations

import ast
import functools
import linecache
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.authoring.code.reach import code_of

BASE = """
    @wf.job()
    def task(x, y=1):
        z = x + y
        return z * 2
"""

HEADER = """
from __future__ import annotations
import functools
from typing import Annotated
from reflow.authoring import Flow, Param, Result
wf = Flow("x")
class Other:
    def job(self):
        return lambda function: function
other = Other()
def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper
"""


@pytest.fixture
def digest(tmp_path: Path) -> Any:
    """Digest of the function `task` (or `name`) in a script made of some source."""
    count = iter(range(100))

    def take(source: str, name: str = "task") -> str:
        path = tmp_path / f"script{next(count)}.py"
        path.write_text(HEADER + textwrap.dedent(source), encoding="utf-8")
        scope: dict[str, Any] = {"__name__": path.stem}
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), scope)
        return code_of(scope[name]).digest

    return take


@pytest.mark.parametrize(
    "source",
    [
        BASE + "\n    # a comment\n",
        """
    @wf.job(time="1h", mem="2G")
    def task(x: Annotated[int, Result(step="a")], y: Annotated[int, Param()] = 5) -> int:
        '''A docstring.'''
        # a comment
        z = (x
             + y)

        return z*2
""",
        """
    @wf.array_job
    def task(x, y): z = x + y; return z * 2
""",
        """
    def task(x, *, y=None):
        z = x + y
        return (z * 2)
""",
    ],
)
def test_what_does_not_count(digest: Any, source: str) -> None:
    assert digest(source) == digest(BASE)


def test_the_name_does_not_count(digest: Any) -> None:
    assert digest(BASE.replace("def task", "def other_name"), "other_name") == digest(BASE)


@pytest.mark.parametrize(
    "source",
    [
        BASE.replace("* 2", "* 3"),
        BASE.replace("* 2", "* 2.0"),
        BASE.replace("x + y", "y + x"),
        BASE.replace("y", "w"),
        BASE.replace("return z * 2", "return z * 2 if z else None"),
        BASE.replace("z = x + y", "z: int = x + y"),
        BASE.replace("@wf.job()", "@wf.job()\n    @logged"),
        BASE.replace("@wf.job()", "@wf.job()\n    @functools.lru_cache"),
        BASE.replace("@wf.job()", "@other.job()"),
    ],
)
def test_what_counts(digest: Any, source: str) -> None:
    assert digest(source) != digest(BASE)


INNER = """
    def task():
        def helper(x=1):
            '''Doc.'''
            return {None: x, **{}}
        class Box:
            "doc"
            n = 1
            async def run(self): "doc"
        return helper(), f"{Box.n!r:>{3}}", u"text", lambda: None
"""


def test_functions_inside(digest: Any) -> None:
    base = digest(INNER)
    assert digest(INNER.replace("'''Doc.'''", "'''Other.'''").replace('"doc"', '"other"')) == base
    assert digest(INNER.replace('u"text"', '"text"')) == base
    assert digest(INNER.replace("x=1", "x=2")) != base
    assert digest(INNER.replace("n = 1", "n = 2")) != base
    assert digest(INNER.replace("None: x", "0: x")) != base
    assert digest(INNER.replace(">{3}", "<{3}")) != base


def test_strings_that_hang_out_of_the_function(digest: Any) -> None:
    source = '''
if True:
    def task():
        return """
not indented
"""
'''
    assert digest(source) != digest(source.replace("not", "Not")) != ""


def test_wrapped_functions_and_those_around_them(digest: Any) -> None:
    source = """
    @wf.job()
    @logged
    def task(x):
        return x
"""
    assert digest(source) == digest("\n\n" + source) != ""
    assert digest(source) != digest(source.replace("return x", "return -x"))


def test_the_first_line_tells_functions_of_one_name_apart(digest: Any) -> None:
    source = """
    @wf.job("a")
    def task():
        return 1
    first = task

    @wf.job("b")
    def task():
        return 2
"""
    assert digest(source, "first") != digest(source, "task")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    found = []
    for body in ("return 1", "return 2222"):
        path.write_text(f"def task():\n    {body}\n")
        scope: dict[str, Any] = {}
        exec(compile(path.read_text(), str(path), "exec"), scope)
        found.append(code_of(scope["task"]).digest)
    assert found[0] != found[1]


def test_no_source() -> None:
    scope: dict[str, Any] = {}
    exec("def task(): return 1", scope)
    assert code_of(scope["task"]).digest == ""
    assert code_of(len).digest == ""
    assert code_of(functools.partial(len)).digest == ""


@pytest.mark.parametrize("text", ["def (:\n", "x = 1\n", "def task(): return '\0'\n"])
def test_source_that_is_not_what_was_run(text: str) -> None:
    scope: dict[str, Any] = {}
    exec(compile("def task(): return 1", "<cell>", "exec"), scope)
    linecache.cache["<cell>"] = (len(text), None, [text], "<cell>")
    assert code_of(scope["task"]).digest == ""
    linecache.cache["<cell>"] = (1, None, ["def task(): return 1\n"], "<cell>")
    assert len(code_of(scope["task"]).digest) == 64


def test_surrogates_in_the_source() -> None:
    text = "def task(): return '\\ud800', 'ü'\n"
    scope: dict[str, Any] = {}
    exec(compile(text, "<surrogate>", "exec"), scope)
    linecache.cache["<surrogate>"] = (len(text), None, [text], "<surrogate>")
    assert len(code_of(scope["task"]).digest) == 64


expressions = st.recursive(
    st.sampled_from(["x", "1", "1.5", "'a'", "None", "y[0]", "f(x)"]),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "*", "and", "if x else", "=="]), inner).map(
        lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
    ),
    max_leaves=6,
)


@given(expressions, expressions)
def test_two_functions_agree_when_their_code_does(left: str, right: str) -> None:
    """Against Python's own dump of the parsed expression."""

    def take(expression: str) -> str:
        text = f"def task(x, y, f): return {expression}\n"
        scope: dict[str, Any] = {}
        exec(compile(text, "<given>", "exec"), scope)
        linecache.cache["<given>"] = (len(text), None, [text], "<given>")
        return code_of(scope["task"]).digest

    same = ast.dump(ast.parse(left)) == ast.dump(ast.parse(right))
    assert (take(left) == take(right)) == same
