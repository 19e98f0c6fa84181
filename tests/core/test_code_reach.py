# ruff: noqa: E501  (a case is a line)
"""Edits of a user's own code: each that can change a result changes the task's digest, no other does."""

from __future__ import annotations

import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.authoring.code.own import Own
from reflow.authoring.code.reach import Analysis, analyse
from reflow.authoring.code.sources import Sources
from reflow.model.definition import Entry
from reflow.worker.load import load_flow

HEAD = """
from __future__ import annotations
import datetime, decimal, enum, functools, logging, os, re, threading
from dataclasses import dataclass
from typing import Annotated, NamedTuple
from reflow import Param, Result, Workflow
wf = Workflow("edits")
"""
TASK = """
@wf.job()
def task() -> int:
    return {}
"""
Files = Mapping[str, str]
Digest = Callable[[Files], str]
Definition = tuple[int, int]


def analysed(top: Path, files: Files) -> Analysis:
    """Import a project as a run would, and look at its tasks' code."""
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((HEAD if name == "flow.py" else "") + textwrap.dedent(text))
    entry = Entry(file=str(top / "flow.py"), module="flow", variable="wf", path=(str(top),))
    before, path, silent = dict(sys.modules), list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        flow = load_flow(entry)
        return analyse({name: step.function for name, step in flow.tasks.items()}, Own(entry))
    finally:
        sys.dont_write_bytecode = silent
        sys.path[:] = path
        sys.path_importer_cache.pop(str(top), None)
        for name in sys.modules.keys() - before.keys():
            if str(top) in str(getattr(sys.modules[name], "__file__", "") or vars(sys.modules[name]).get("__path__")):
                del sys.modules[name]


@pytest.fixture
def look(tmp_path: Path) -> Callable[[Files], Analysis]:
    count = iter(range(1000))
    return lambda files: analysed(tmp_path / f"project{next(count)}", files)


@pytest.fixture
def digest(look: Callable[[Files], Analysis]) -> Digest:
    def take(files: Files) -> str:
        code = look(files).codes["task"]
        assert code.problem == ""
        return code.digest

    return take


def one(source: str, returns: str = "f(1)") -> Files:
    return {"flow.py": textwrap.dedent(source) + TASK.format(returns)}


def beside(module: str, imports: str, returns: str) -> Files:
    return {"flow.py": imports + "\n" + TASK.format(returns), "m.py": textwrap.dedent(module)}


PACKAGE = {
    "pkg/__init__.py": "from .a import f\nN = 1\n",
    "pkg/a.py": "from . import b\nfrom .b import g as h\nfrom .sub.c import K\ndef f(x): return b.g(x) + h(x) + K\n",
    "pkg/b.py": "def g(x): return x + 1\ndef unused(): return 5\n",
    "pkg/sub/__init__.py": "",
    "pkg/sub/c.py": "K = 10\n",
}
F = "def f(x): return x + 1\n"

#: what the edit is, the project, what is replaced, by what
COUNTS: list[tuple[str, Files, str, str]] = [
    ("a helper", one(F), "x + 1", "x + 2"),
    ("a helper's helper", one(F.replace("x + 1", "g(x)") + "def g(x): return x * 2"), "x * 2", "x * 3"),
    ("a helper's default", one("def f(x, y=1): return y"), "y=1", "y=2"),
    ("a helper's default that is computed", one("N = 1\ndef f(x, y=N): return y"), "N = 1", "N = 2"),
    ("a lambda", one("f = lambda x: x + 1"), "x + 1", "x + 2"),
    ("a function inside a helper", one("def f(x):\n    def g(): return 1\n    return g()"), "return 1", "return 2"),
    ("a decorator's body", one("def deco(g):\n    def w(x): return g(x) + 1\n    return w\n@deco\n" + F), "g(x) + 1", "g(x) + 2"),
    ("a decorator's argument", one("def deco(n):\n    return lambda g: lambda x: g(x) + n\n@deco(1)\n" + F), "deco(1)", "deco(2)"),
    ("what a decorator wraps", one("def deco(g):\n    return lambda x: g(x)\n@deco\n" + F), "x + 1", "x + 2"),
    ("the decorated of a wrapper", one("def deco(g):\n    @functools.wraps(g)\n    def w(x): return g(x)\n    return w\n@deco\n" + F), "x + 1", "x + 2"),
    ("a closure's value", one("def make(n):\n    def g(x): return x + n\n    return g\nf = make(1)"), "make(1)", "make(2)"),
    ("a closure's code", one("def make(n):\n    def g(x): return x + n\n    return g\nf = make(1)"), "x + n", "x - n"),
    ("functools.partial's function", one("def g(x, y): return x + y\nf = functools.partial(g, 1)"), "x + y", "x - y"),
    ("functools.partial's argument", one("def g(x, y): return x + y\nf = functools.partial(g, 1)"), "g, 1", "g, 2"),
    ("a cached helper", one("@functools.lru_cache(maxsize=None)\n" + F), "x + 1", "x + 2"),
    ("a function in a dict", one(F + "T = {'a': f}", "T['a'](1)"), "x + 1", "x + 2"),
    ("a lambda in a dict", one("T = {'a': lambda x: x + 1, 'b': 2}", "T['a'](1)"), "x + 1", "x + 2"),
    ("a function in a list in a dict", one(F + "T = {'a': [f]}", "T['a'][0](1)"), "x + 1", "x + 2"),
    ("functions put in a dict later", one(F + "T = {}\nT['a'] = f", "T['a'](1)"), "x + 1", "x + 2"),
    ("functions put in a list by a loop", one("T = []\nfor n in (1, 2):\n    T.append(lambda x, n=n: x + n)", "T[0](1)"), "x + n", "x - n"),
    ("a registry by decorator", one("T = {}\ndef reg(g):\n    T[g.__name__] = g\n    return g\n@reg\ndef a(x): return x + 1\n", "T['a'](1)"), "x + 1", "x + 2"),
    ("a registry object", one("class R:\n    def __init__(self): self.items = {}\n    def add(self, g):\n        self.items[g.__name__] = g\n        return g\nR_ = R()\n@R_.add\ndef a(x): return x + 1\n", "R_.items['a'](1)"), "x + 1", "x + 2"),
    ("singledispatch", one("@functools.singledispatch\ndef f(x): return 0\n@f.register\ndef _(x: int): return x + 1\n"), "x + 1", "x + 2"),
    ("singledispatch with an argument", one("@functools.singledispatch\ndef f(x): return 0\n@f.register(int)\ndef _(x): return x + 1\n"), "x + 1", "x + 2"),
    ("a subclass registry", one("class B:\n    known = {}\n    def __init_subclass__(cls): B.known[cls.__name__] = cls\nclass C(B):\n    def m(self): return 1\n", "B.known['C']().m()"), "return 1", "return 2"),
    ("a method", one("class A:\n    def m(self): return 1", "A().m()"), "return 1", "return 2"),
    ("a property", one("class A:\n    @property\n    def m(self): return 1", "A().m"), "return 1", "return 2"),
    ("a class attribute", one("class A:\n    K = 1", "A.K"), "K = 1", "K = 2"),
    ("a base class", one("class B:\n    def m(self): return 1\nclass A(B): pass", "A().m()"), "return 1", "return 2"),
    ("a mixin of another module", beside("class B:\n    def m(self): return 1", "import m\nclass A(m.B): pass", "A().m()"), "return 1", "return 2"),
    ("__getattr__ of a class", one("class A:\n    def __getattr__(self, name): return 1", "A().x"), "return 1", "return 2"),
    ("a metaclass", one("class M(type):\n    def __call__(cls): return 1\nclass A(metaclass=M): pass", "A()"), "return 1", "return 2"),
    ("a class decorator", one("def deco(cls):\n    cls.k = 1\n    return cls\n@deco\nclass A: pass", "A.k"), "k = 1", "k = 2"),
    ("an instance's class", one("class A:\n    def m(self): return 1\na = A()", "a.m()"), "return 1", "return 2"),
    ("an instance's argument", one("class A:\n    def __init__(self, n): self.n = n\na = A(1)", "a.n"), "A(1)", "A(2)"),
    ("a bound method", one("class A:\n    def m(self, x): return 1\nf = A().m"), "return 1", "return 2"),
    ("a class from a factory", one("def make(n):\n    class A:\n        def m(self): return n + 1\n    return A\nA = make(1)", "A().m()"), "n + 1", "n + 2"),
    ("a class from type()", one("def m(self): return 1\nA = type('A', (), {'m': m})", "A().m()"), "return 1", "return 2"),
    ("an Enum member", one("class E(enum.Enum):\n    A = 1\n    B = 2", "E.A.value"), "A = 1", "A = 3"),
    ("an Enum's method", one("class E(enum.Enum):\n    A = 1\n    def m(self): return 1\nX = E.A", "X.m()"), "return 1", "return 2"),
    ("a constant", one("N = 1", "N"), "N = 1", "N = 2"),
    ("a constant of a helper", one("N = 1\ndef f(x): return N"), "N = 1", "N = 2"),
    ("a constant made of another", one("M = 1\nN = M + 1", "N"), "M = 1", "M = 2"),
    ("a constant in an if", one("if os.name == 'posix':\n    N = 1\nelse:\n    N = 2", "N"), "N = 1", "N = 3"),
    ("a constant in a dict beside a date", one("C = {'d': datetime.date(2020, 1, 1), 'n': 1}", "C['n']"), "'n': 1", "'n': 2"),
    ("a constant in a dict beside an object", one("C = dict(o=object(), n=len('a'))", "C['n']"), "'a'", "'ab'"),
    ("a date in a dict", one("C = {'d': datetime.date(2020, 1, 1), 'n': 1}", "C['n']"), "2020, 1, 1", "2020, 1, 2"),
    ("a datetime", one("D = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)", "D.year"), "2020", "2021"),
    ("a timedelta", one("D = datetime.timedelta(hours=1)", "D.seconds"), "hours=1", "hours=2"),
    ("a Decimal", one("D = decimal.Decimal('1.0')", "int(D)"), "1.0", "1.00"),
    ("a complex", one("C = 1 + 2j", "abs(C)"), "2j", "3j"),
    ("a range", one("R = range(3)", "len(R)"), "range(3)", "range(4)"),
    ("a compiled pattern", one("P = re.compile('a+')", "bool(P)"), "a+", "a*"),
    ("a pattern's flags", one("P = re.compile('a+')", "bool(P)"), "'a+'", "'a+', re.I"),
    ("a named tuple", one("class P(NamedTuple):\n    x: int\nO = P(1)", "O.x"), "P(1)", "P(2)"),
    ("a dataclass instance", one("@dataclass\nclass P:\n    x: int\nO = P(1)", "O.x"), "P(1)", "P(2)"),
    ("a method of a dataclass instance", one("@dataclass\nclass P:\n    x: int\n    def m(self): return 1\nO = P(1)", "O.m()"), "return 1", "return 2"),
    ("a variable that own code changes", one("N = 1\ndef f(x):\n    global N\n    N += 1\n    return N"), "N = 1", "N = 5"),
    ("a container that own code changes", one("T = [1]\ndef f(x):\n    T.append(x)\n    return T[0]"), "T = [1]", "T = [2]"),
    ("a logger's level", one("log = logging.getLogger('x')\ndef f(x):\n    log.info('x')\n    return x + 1"), "x + 1", "x + 2"),
    ("what is imported", beside("def f(): return 1\ndef g(): return 2", "from m import f as h", "h()"), "import f", "import g"),
    ("what is imported from elsewhere", one("from math import floor as f"), "floor", "ceil"),
    ("import m; m.f()", beside("def f(): return 1", "import m", "m.f()"), "return 1", "return 2"),
    ("import m as n", beside("def f(): return 1", "import m as n", "n.f()"), "return 1", "return 2"),
    ("from m import f", beside("def f(): return 1", "from m import f", "f()"), "return 1", "return 2"),
    ("from m import *", beside("def f(): return 1", "from m import *", "f()"), "return 1", "return 2"),
    ("a constant by from m import *", beside("N = 1", "from m import *", "N"), "N = 1", "N = 2"),
    ("a constant of another module", beside("N = 1", "import m", "m.N"), "N = 1", "N = 2"),
    ("an imported constant", beside("N = 1", "from m import N", "N"), "N = 1", "N = 2"),
    ("a module's __getattr__", beside("def __getattr__(name): return 1", "import m", "m.x"), "return 1", "return 2"),
    ("a name found by globals()", one("def f_a(): return 1", "globals()['f_' + 'a']()"), "return 1", "return 2"),
    ("a name found by eval", one("def f(): return 1", "eval('f' + '()')"), "return 1", "return 2"),
    ("a name found in the module's own entry", one("import sys\ndef f(): return 1", "getattr(sys.modules[__name__], 'f')()"), "return 1", "return 2"),
    ("a name found by another module's globals()", beside("def g(n): return globals()[n]()\ndef f(): return 1", "import m", "m.g('f')"), "return 1", "return 2"),
    ("import_module inside a function", beside("def f(): return 1", "import importlib\ndef g(): return importlib.import_module('m').f()", "g()"), "return 1", "return 2"),
    ("import_module at the top level", beside("def f(): return 1", "import importlib\nM = importlib.import_module('m')", "M.f()"), "return 1", "return 2"),
    ("__import__", beside("def f(): return 1", "def g(): return __import__('m').f()", "g()"), "return 1", "return 2"),
    ("a relative import_module", {**PACKAGE, "pkg/a.py": "from importlib import import_module\ndef f(x): return import_module('.b', __package__).g(x)", **one("from pkg import f")}, "x + 1", "x + 2"),
    ("a module in a container", beside("def f(): return 1", "import m\nT = {'m': m}", "T['m'].f()"), "return 1", "return 2"),
    ("a module as an argument", beside("def f(): return 1", "import m\ndef g(x): return x.f()", "g(m)"), "return 1", "return 2"),
    ("an import inside a function", beside("def f(): return 1", "def g():\n    import m\n    return m.f()", "g()"), "return 1", "return 2"),
    ("from inside a function", beside("def f(): return 1", "def g():\n    from m import f\n    return f()", "g()"), "return 1", "return 2"),
    ("a constant imported inside a function", beside("N = 1", "def g():\n    from m import N\n    return N", "g()"), "N = 1", "N = 2"),
    ("a conditional import", beside("def f(): return 1", "try:\n    from m import f\nexcept ImportError:\n    def f(): return 0", "f()"), "return 1", "return 2"),
    ("a package's function", {**PACKAGE, "flow.py": "import pkg" + TASK.format("pkg.f(1)")}, "x + 1", "x + 2"),
    ("a package's constant", {**PACKAGE, "flow.py": "from pkg import f" + TASK.format("f(1)")}, "K = 10", "K = 11"),
    ("import pkg.sub as s", {**PACKAGE, "flow.py": "import pkg.sub.c as s" + TASK.format("s.K")}, "K = 10", "K = 11"),
    ("import pkg.sub", {**PACKAGE, "flow.py": "import pkg.sub.c" + TASK.format("pkg.sub.c.K")}, "K = 10", "K = 11"),
    ("from pkg import sub", {**PACKAGE, "flow.py": "from pkg.sub import c" + TASK.format("c.K")}, "K = 10", "K = 11"),
    ("monkeypatching", beside("def f(): return 1", "import m\ndef g(): return 2\nm.f = g", "m.f()"), "return 2", "return 3"),
    ("monkeypatching with setattr", beside("def f(): return 1", "import m\nsetattr(m, 'f', lambda: 2)", "m.f()"), "lambda: 2", "lambda: 3"),
    ("monkeypatching a class", beside("class A:\n    def f(self): return 1", "import m\nm.A.f = lambda self: 2", "m.A().f()"), "self: 2", "self: 3"),
    ("monkeypatching in another module", {"flow.py": "import m, patch" + TASK.format("m.f()"), "m.py": "def f(): return 1", "patch.py": "import m\ndef g(): return 2\nm.f = g"}, "return 2", "return 3"),
    ("set_options at the top level", one("decimal.setcontext(decimal.Context(prec=5))" + "\n" + F), "prec=5", "prec=6"),
    ("set_options in a module", beside("import decimal\ndecimal.getcontext().prec = 5\ndef f(): return 1", "from m import f", "f()"), "prec = 5", "prec = 6"),
    ("a function that is called at the top level", one("def setup(): os.environ['EDIT'] = '1'\nsetup()\n" + F), "'1'", "'2'"),
    ("what a parameter's type does", {"flow.py": "@dataclass\nclass P:\n    x: int\n    def m(self): return 1\n@wf.job()\ndef task(p: Annotated[P, Param()] = P(1)) -> int:\n    return p.m()\n"}, "return 1", "return 2"),
    ("what a parameter's type in a list does", {"flow.py": "@dataclass\nclass P:\n    x: int\n    def m(self): return 1\nRows = list[P]\n@wf.job()\ndef task(p: Annotated[Rows, Param()]) -> int:\n    return p[0].m()\n"}, "return 1", "return 2"),
    ("what a nested type does", {"flow.py": "@dataclass\nclass Q:\n    x: int\n    def m(self): return 1\n@dataclass\nclass P:\n    q: Q\n@wf.job()\ndef task(p: Annotated[P, Param()]) -> int:\n    return p.q.m()\n"}, "return 1", "return 2"),
    ("what a result's type does", {"flow.py": "@dataclass\nclass P:\n    x: int\n    def __post_init__(self): self.x += 1\n@wf.job()\ndef task() -> P:\n    return make()\ndef make(): return globals()['P'](1)\n"}, "+= 1", "+= 2"),
    ("one of two definitions", one("if os.name == 'posix':\n    def f(x): return 1\nelse:\n    def f(x): return 2"), "return 1", "return 3"),
    ("which of two definitions", one("if os.name == 'posix':\n    def f(x): return 1\nelse:\n    def f(x): return 2"), "'posix'", "'nt'"),
    ("a later definition", one("def f(x): return 1\ndef f(x): return 2"), "return 2", "return 3"),
    ("an order of statements", one("L = object()\nclass A:\n    n = 0\nA.n = 1\nA.n = 2", "A.n"), "A.n = 1\nA.n = 2", "A.n = 2\nA.n = 1"),
    ("a generator", one("G = (n + 1 for n in range(3))", "next(G)"), "n + 1", "n + 2"),
    ("a task that calls a task", one("@wf.job()\ndef other() -> int:\n    return 1\n", "other()"), "return 1", "return 2"),
]  # fmt: skip


def edited(files: Files, old: str, new: str) -> Files:
    found = [name for name, text in files.items() if old in text]
    assert found, "the edit is no edit"
    return {name: text.replace(old, new) if name == found[0] else text for name, text in files.items()}


@pytest.mark.parametrize(("files", "old", "new"), [case[1:] for case in COUNTS], ids=[case[0] for case in COUNTS])
def test_what_counts(digest: Digest, files: Files, old: str, new: str) -> None:
    assert digest(files) != digest(edited(files, old, new))


BASE = (
    """
import os
log = logging.getLogger("x")
lock = threading.Lock()
frame = object()
wf2 = wf
calls = 0
@functools.lru_cache
def memo(x): return x
cache = {}
def f(x):
    '''Doc.'''
    global calls
    calls += 1
    cache[x] = memo(x)
    log.info("x")
    with lock:  # comment
        return x + 1, frame is None
class A:
    "doc"
    def m(self): return 1
T = {"a": f}
def unused(): return 5
"""
    + TASK.format("f(A().m()), T")
    + """
@wf.job()
def other() -> int:
    return 1
if __name__ == "__main__":
    wf.cli()
"""
)
EDITS = [
    ("a comment", "# comment", "# another"),
    ("a docstring", "Doc.", "Docs."),
    ("a class's docstring", '"doc"', '"docs"'),
    ("layout", "x + 1, frame is None", "(x +\n            1), frame is None"),
    ("a blank line", "class A", "\n\n\nclass A"),
    ("an unused helper", "return 5", "return 6"),
    ("an unused helper that is new", "def unused", "def unused2(): return memo(1)\ndef unused"),
    ("an unused constant", "import os", "import os\nUNUSED = 1"),
    ("an unused import", "import os", "import os, json\nfrom math import sin"),
    ("the order of imports", "import os\n", "import sys\nimport os\n"),
    ("the order of definitions", "def unused(): return 5\n", ""),
    ("another task", "return 1\nif", "return 2\nif"),
    ("how a task runs", "@wf.job()\ndef task", '@wf.job(time="1h", mem="2G")\ndef task'),
    ("what runs the script", "wf.cli()", "print(1)\n    wf.cli()"),
    ("a print at the top level", "import os", "import os\nprint('here')"),
    ("logging", "import os", "import os\nlogging.getLogger('y').setLevel('INFO')"),
    ("a logger's level", "lock =", "log.setLevel('INFO')\nlog.propagate = True\nlock ="),
]


@pytest.mark.parametrize(("old", "new"), [edit[1:] for edit in EDITS], ids=[edit[0] for edit in EDITS])
def test_what_does_not_count(digest: Digest, old: str, new: str) -> None:
    files = {"flow.py": BASE}
    assert digest(files) == digest(edited(files, old, new))


def test_unused_code_of_other_modules_does_not_count(digest: Digest) -> None:
    files = {
        **PACKAGE,
        "flow.py": "import pkg, m" + TASK.format("pkg.f(m.N)"),
        "m.py": "N = 1\nM = 2\ndef g(): return M\n",
    }
    base = digest(files)
    for old, new in (("return 5", "return 6"), ("\nN = 1", "\nN = 2"), ("M = 2", "M = 3"), ("return M", "return -M")):
        assert digest(edited(files, old, new)) == base


def test_the_reached_modules_are_named(look: Callable[[Files], Analysis]) -> None:
    found = look(
        {
            **PACKAGE,
            "lazy.py": "def g(): return 1\n",
            "other.py": "",
            "flow.py": "import pkg"
            + TASK.format("late()")
            + "def late():\n    import lazy\n    return lazy.g() + pkg.f(1)\n",
        }
    )
    assert list(found.modules) == ["flow", "lazy", "pkg", "pkg.a", "pkg.b", "pkg.sub", "pkg.sub.c"]
    assert all(file.endswith(".py") for file in found.modules.values())


def test_how_a_task_of_a_factory_runs_does_not_count(digest: Digest) -> None:
    made = "def make(n):\n    @{}.job(time='1h')\n    def task() -> int:\n        return n\n{}\nmake(1)\n"
    files = {"flow.py": made.format("wf", "")}
    assert digest(files) == digest(edited(files, "1h", "2h")) != digest(edited(files, "return n", "return -n"))
    other = "class Other:\n    def job(self, time): return lambda f: wf.job()(f)\nother = Other()"
    files = {"flow.py": made.format("other", other)}
    assert digest(files) != digest(edited(files, "1h", "2h")), "another decorator of that name"


ODD = """
class Odd:
    def __getattr__(self, name): raise ValueError(name)
    def __eq__(self, other): raise ValueError
    __hash__ = None
    @property
    def __class__(self): raise ValueError
    @property
    def __dict__(self): raise ValueError
@dataclass
class Late:
    x: int
    def __getattribute__(self, name): raise ValueError(name)
odd, late, both = Odd(), Late(1), [Odd(), {"late": Late(1)}]
round_ = []
round_.append(round_)
deep = functools.reduce(lambda inner, _: [inner], range(5000), [])
def f(x): return odd, late, both, round_, deep
"""


def test_objects_that_refuse_to_be_looked_at_count_by_their_statements(digest: Digest) -> None:
    files = one(ODD)
    assert (
        digest(files)
        == digest(files)
        != digest(edited(files, "late, both = Odd(), Late(1)", "late, both = Odd(), Late(2)"))
    )


_MODULES, _FUNCTIONS = 3, 3
definitions = st.tuples(st.integers(0, _MODULES - 1), st.integers(0, _FUNCTIONS - 1))
graphs = st.dictionaries(
    definitions,
    st.lists(
        st.tuples(definitions, st.sampled_from(["attribute", "name", "inside", "container", "default"])), max_size=2
    ),
    max_size=_MODULES * _FUNCTIONS,
)


def _written(graph: Mapping[Definition, list[tuple[Definition, str]]], edited: Definition | None) -> Files:
    """Write modules whose functions refer to each other; one of them is edited."""
    files = {}
    for module in range(_MODULES):
        imports, body = [], []
        for number in range(_FUNCTIONS):
            default, calls = "", []
            for position, ((other, target), how) in enumerate(graph.get((module, number), [])):
                name, alias = f"f{target}", f"g{number}_{position}"
                if other != module:
                    # Modules may import each other: only what is used when a module is imported needs an order.
                    how = "inside" if other < module else how
                    name = f"m{other}.f{target}"
                    imports.append(f"import m{other}" if how != "inside" else "")
                if how == "name" and other != module:
                    imports.append(f"from m{other} import f{target} as {alias}")
                    name = alias
                elif how == "inside" and other != module:
                    calls.append(f"    from m{other} import f{target} as local")
                    name = "local"
                elif how == "container":
                    body.append(f"{alias} = {{'x': [lambda: {name}()]}}")
                    name = f"{alias}['x'][0]"
                elif how == "default":
                    default, name = f"x=lambda: {name}", "x()"
                calls.append(f"    {name}()")
            body.append(
                f"def f{number}({default}):\n" + "\n".join([*calls, f"    return {(module, number) == edited}"])
            )
        files[f"m{module}.py"] = "\n".join([*imports, *body])
    return {**files, "flow.py": "import m0, m1, m2" + TASK.format("m0.f0()")}


@settings(max_examples=60, deadline=None)
@given(graphs, definitions)
def test_the_digest_changes_where_the_edited_function_is_reached(
    graph: dict[Definition, list[tuple[Definition, str]]], edited: Definition
) -> None:
    reached, todo = {(0, 0)}, [(0, 0)]
    while todo:
        for other, _ in graph.get(todo.pop(), []):
            if other not in reached:
                reached.add(other)
                todo.append(other)
    with tempfile.TemporaryDirectory() as directory:
        found = [
            analysed(Path(directory) / name, _written(graph, one)).codes["task"]
            for name, one in (("before", None), ("after", edited))
        ]
    assert [code.problem for code in found] == ["", ""]
    assert (found[0] != found[1]) == (edited in reached)


def test_own_code_that_was_edited_after_its_import_is_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this process runs is not what the file says."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    helper = tmp_path / "edited_helper.py"
    helper.write_text("def f(): return 1\ndef g(): return 1\n")
    (tmp_path / "flow.py").write_text(HEAD + "import edited_helper" + TASK.format("edited_helper.f()"))
    entry = Entry(file=str(tmp_path / "flow.py"), module="flow", variable="wf", path=(str(tmp_path),))
    try:
        function = load_flow(entry).tasks["task"].function
        helper.write_text("def f(): return 1\ndef g(): return 2\n")
        assert analyse({"task": function}, Own(entry)).codes["task"].problem == ""
        helper.write_text("def f(): return 2\ndef g(): return 2\n")
        problem = analyse({"task": function}, Own(entry)).codes["task"].problem
        assert problem == "the source code of edited_helper could not be read, or was edited after it was imported"
    finally:
        sys.modules.pop("flow", None)
        sys.modules.pop("edited_helper", None)


@pytest.mark.parametrize("content", [b"", b"x", None])
def test_facts_are_remembered_and_a_damaged_memory_is_no_error(tmp_path: Path, content: bytes | None) -> None:
    file, memory = tmp_path / "m.py", tmp_path / "cache" / "facts"
    file.write_text("N = 1\n")

    def read() -> tuple[int, object]:
        sources = Sources(str(memory))
        facts = sources.facts(str(file))
        sources.save()
        return sources.parsed, facts

    first = read()
    assert first[0] == 1
    assert read() == (0, first[1])
    file.write_text("N = 2\n")
    assert read()[0] == 1, "of the same size, at nearly the same time"
    if content is not None:
        memory.write_bytes(content)
        assert read()[0] == 1
    assert read()[0] == 0
    assert not [path for path in memory.parent.iterdir() if path.suffix == ".tmp"]


#: row of the guide's table -> cases that execute it
ROWS = {
    "the body of a helper, or of a helper's helper": ["a helper", "a helper's helper"],
    "a default of a helper": ["a helper's default", "a helper's default that is computed"],
    "a method, a property, a base class, a class attribute": ["a method", "a property", "a base class", "a class attribute"],
    "a decorator's body or its arguments": ["a decorator's body", "a decorator's argument"],
    "a lambda or a function in a dict, or in a `functools.partial`": ["a lambda in a dict", "a function in a dict", "functools.partial's function"],
    "a function in a registry, `singledispatch` too": ["a registry by decorator", "a registry object", "singledispatch"],
    "a value or a function that a closure holds": ["a closure's value", "a closure's code", "what a decorator wraps"],
    "a constant, in whatever module it is": ["a constant", "a constant of another module", "a constant of a helper"],
    "one entry of a dict, whatever stands beside it": ["a constant in a dict beside a date", "a constant in a dict beside an object"],
    "a date, a `Decimal`, a pattern, a record": ["a datetime", "a Decimal", "a compiled pattern", "a dataclass instance"],
    "an `Enum` member": ["an Enum member"],
    "a method of a parameter's or a result's type": ["what a parameter's type does", "what a result's type does"],
    "code of another own module, however it is imported": ["import m; m.f()", "from m import f", "from m import *", "an import inside a function", "a package's function"],
    "options that are set, or code that is patched, at the top level": ["set_options at the top level", "monkeypatching"],
    "a comment, a docstring, layout": ["a comment", "a docstring", "layout"],
    "a helper, a constant or an import that the task does not use": ["an unused helper", "an unused constant", "an unused import"],
    "another task": ["another task"],
    "a logger, and how logging is set up": ["logging", "a logger's level"],
    "time, memory and other resources of the task": ["how a task runs"],
}  # fmt: skip


def test_the_guide_shows_what_is_executed_here() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
    lines = text.partition("| change | what happens |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    shown = dict(line.strip("| ").split(" | ") for line in lines)
    counts, silent = {case[0] for case in COUNTS}, {edit[0] for edit in EDITS}
    assert list(shown) == list(ROWS)
    for row, verdict in shown.items():
        assert set(ROWS[row]) <= {"computed again": counts, "hit": silent}[verdict], row
