"""What a module's source says: what its statements bind, use, import and change."""

from __future__ import annotations

import textwrap

import pytest

from reflow.authoring.code.facts import Facts, facts_of


def read(source: str) -> Facts:
    return facts_of(textwrap.dedent(source))


def uses(source: str, name: str = "f") -> set[str]:
    return {use for unit in read(source).units if name in unit.binds for use in unit.uses}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return G.a.b + x", {"G.a.b"}),
        ("y = 1; return y", set()),
        ("return [G for G in N]", {"N"}),
        ("return [G for G in range(3) if N]", {"range", "N"}),
        ("return (lambda y: y + N)", {"N"}),
        ("global y; y = N", {"N"}),
        ("import m.sub as s; return s.g(N)", {"@m.sub:g", "N"}),
        ("from . import s; return s.g", {"@.:s.g"}),
        ("from m import g as h; return h", {"@m:g"}),
        ("def inner(): return x, N\n    return inner", {"N"}),
        ("class Inner:\n        a = N\n        def m(self): return a\n    return Inner", {"N", "a"}),
        ("try: pass\n    except E as error: return error", {"E"}),
        ("if (y := N): return y", {"N"}),
    ],
)
def test_what_a_function_uses(body: str, expected: set[str]) -> None:
    assert uses(f"def f(x):\n    {body}\n") == expected


def test_names_in_class_bodies_and_in_quoted_annotations_are_uses() -> None:
    assert uses("class f(Base):\n    a: 'list[Item]' = N\n    def m(self): return self.a + g()") == {
        "Base",
        "Item",
        "N",
        "g",
        "list",
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("X = []\ndef f(): X.append(1)", {"X"}),
        ("X = {}\ndef f(): X['a']['b'] = 1", {"X"}),
        ("X = 0\ndef f():\n    global X\n    X += 1", {"X"}),
        ("X = 0\ndef f(): X = 1", set()),
        ("X = []\nX.append(1)", set()),
        ("X = []\n[X.append(i) for i in range(3)]", set()),
        ("X = []\nf = lambda: X.append(1)", {"X"}),
        ("class A:\n    items = []\n    def add(self): A.items.append(1)", {"A.items"}),
        ("class A:\n    n = 0\n    @classmethod\n    def add(cls): cls.n += 1", {"A"}),
        ("class A:\n    def add(self): self.n += 1", {"A"}),
        ("class A:\n    def __init__(self): self.n = 1", set()),
        ("import m.a as s\ndef f(): s.N = 1", {"@m.a:N"}),
        ("from . import s\ndef f(): s.N.pop()", {"@.:s.N"}),
        ("def f():\n    import m\n    m.N = 1", {"@m:N"}),
        ("def f():\n    x = 0\n    def g():\n        nonlocal x\n        x = 1", set()),
        ("import heapq\nX = []\ndef f(): heapq.heappush(X, 1)", {"X"}),
        ("X = {}\ndef f(): X.setdefault('a', []).append(1)", {"X"}),
    ],
)
def test_what_functions_change(source: str, expected: set[str]) -> None:
    assert set(read(source).written) == expected


@pytest.mark.parametrize(
    ("source", "acts"),
    [
        ("X = 1", False),
        ("X['a'] = 1", False),
        ("X.append(1)", False),
        ("for i in range(3): X.append(i)", False),
        ("print('here')", False),
        ("'text'", False),
        ("import m\nm.N = 1", True),
        ("import m\nm.N['a'] = 1", True),
        ("X.attribute = 1", True),
        ("patch()", True),
        ("_ = patch()", True),
        ("for i in range(3): patch(i)", True),
        ("if x:\n    patch()", True),
        ("try: patch()\nexcept E: pass", True),
        ("with x: patch()", True),
        ("if __name__ == '__main__':\n    patch()", False),
        ("if '__main__' == __name__: patch()", False),
        ("try:\n    import m\nexcept ImportError:\n    m = None", False),
    ],
)
def test_which_statements_act(source: str, *, acts: bool) -> None:
    assert any(unit.acts for unit in read(source).units) == acts


def test_imports_and_what_they_load() -> None:
    facts = read("""
    import a.b
    import c.d as e
    from .f import g, h as i
    from j import *
    if TYPE_CHECKING:
        from k import l
    try:
        import m
    except ImportError:
        import n as m
    """)
    assert facts.imports == {
        "a": ("@a:",),
        "e": ("@c.d:",),
        "g": ("@.f:g",),
        "i": ("@.f:h",),
        "l": ("@k:l",),
        "m": ("@m:", "@n:"),
    }
    assert facts.loads == ("a.b", "c.d", ".f", ".f.g", ".f.h", "j", "m", "n")
    assert facts.stars == ("j",)


def text(source: str) -> tuple[str, str, str]:
    (unit,) = read(source).units
    return unit.text, unit.head, "".join(mark.text for mark in unit.marks)


BASE = """
@deco(1)
def f(x, y=2):
    '''Doc.'''
    return [x, (y)]  # comment
"""


def test_comments_docstrings_and_layout_do_not_count() -> None:
    assert text(BASE) == text("@deco( 1 )\ndef f(\n  x, y=2,\n):\n    return [\n        x, y]\n")


@pytest.mark.parametrize(("part", "old", "new"), [(0, "[x", "[-x"), (1, "y=2", "y=3"), (2, "deco(1)", "deco(2)")])
def test_body_defaults_and_decorators_count_apart(part: int, old: str, new: str) -> None:
    before, after = text(BASE), text(BASE.replace(old, new))
    assert [index for index in range(3) if before[index] != after[index]] == [part]


def test_what_stands_around_a_statement_counts() -> None:
    texts = {text(source)[0] for source in ("X = 1", "if a:\n X = 1", "if b:\n X = 1", "if a: pass\nelse: X = 1")}
    assert len(texts) == 4
