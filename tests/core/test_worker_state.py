"""Plain data of own modules is put back after each element; what is built lazily and is no plain data stays."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow import LocalExecutor
from reflow.worker.state import State, is_own, is_plain

SHAPES = """
import argparse, functools, collections, decimal, enum, itertools, queue, threading
from dataclasses import dataclass, field
from types import SimpleNamespace

COUNT = 0
LIST = []
NESTED = {"a": [1, {"b": 2}], "kept": (3, [4])}
SET = {1}
QUEUE = collections.deque([1])
DEFAULTS = collections.defaultdict(list)
TOTAL = collections.Counter(a=1)
BYTES = bytearray(b"ab")
NOTHING = None
DISPATCH = {"plus": max}
AMOUNT = decimal.Decimal(1)

IDS = itertools.count(5, 2)
adder = functools.partial(lambda found, value: (found.append(value), len(found))[1], [])

class Slotted:
    __slots__ = ("n", "parts", "late")

    def __init__(self):
        self.n, self.parts = 0, []

SLOTTED = Slotted()

class Config:
    level = 1
    names = []
    _private = {"x": 1}

    def __init__(self):
        self.n = 0
        self.parts = [1]

    @classmethod
    def grow(cls, more=[]):
        more.append(1)
        cls.level += 1
        return len(more)

@dataclass
class Point:
    x: int = 0
    tags: list = field(default_factory=list)

CONFIG = Config()
POINT = Point()
SPACE = SimpleNamespace(n=0)
OPTIONS = argparse.Namespace(n=0)
USER = collections.UserDict(n=0)
ROWS = collections.UserList()
CHAIN = collections.ChainMap({"n": 0})
WAITING = queue.Queue()
LOCAL = threading.local()

def counter():
    n = 0
    seen = []
    def count():
        nonlocal n
        n += 1
        seen.append(n)
        return n, len(seen)
    return count

count = counter()

def default(value, found=[], *, by={}):
    found.append(value)
    by[value] = len(found)
    return len(found), len(by)

def calls():
    calls.n = getattr(calls, "n", 0) + 1
    return calls.n

def everything():
    global COUNT, NOTHING, AMOUNT
    COUNT += 1
    LIST.append(COUNT)
    NESTED["a"][1]["b"] += 1
    NESTED["kept"][1].append(1)
    SET.add(len(SET) + 1)
    QUEUE.append(1)
    DEFAULTS["x"].append(1)
    TOTAL["a"] += 1
    BYTES.append(1)
    NOTHING = 1 if NOTHING is None else NOTHING + 1
    DISPATCH["minus"] = len(DISPATCH)
    AMOUNT += 1
    Config.names.append("x")
    Config._private["x"] += 1
    CONFIG.n += 1
    CONFIG.parts.append(2)
    POINT.x += 1
    POINT.tags.append("t")
    SPACE.n += 1
    OPTIONS.n += 1
    USER["n"] += 1
    ROWS.append(1)
    CHAIN["n"] += 1
    WAITING.put(1)
    LOCAL.n = getattr(LOCAL, "n", 0) + 1
    SLOTTED.n += 1
    SLOTTED.parts.append(1)
    SLOTTED.late = getattr(SLOTTED, "late", 0) + 1
    globals()["NEW"] = globals().get("NEW", 0) + 1
    globals().pop("GONE", None)
    return [
        COUNT, len(LIST), NESTED["a"][1]["b"], len(NESTED["kept"][1]), len(SET), len(QUEUE), len(DEFAULTS["x"]),
        TOTAL["a"], len(BYTES), NOTHING, DISPATCH["minus"], int(AMOUNT), len(Config.names), Config._private["x"],
        CONFIG.n, len(CONFIG.parts), POINT.x, len(POINT.tags), SPACE.n, NEW,
        OPTIONS.n, USER["n"], len(ROWS), CHAIN["n"], WAITING.qsize(), LOCAL.n, Config.grow(), Config.level, *count(),
        *default("x"), calls(), next(IDS), adder(1), SLOTTED.n, len(SLOTTED.parts), SLOTTED.late,
    ]

GONE = 1
"""


def module_of(source: str, name: str = "shapes") -> Any:
    """Run source as an own module."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(source, vars(module))
    return module


@pytest.fixture
def shapes() -> Any:
    yield module_of(SHAPES)
    del sys.modules["shapes"]


def state_of(*modules: Any) -> State:
    state = State(lambda module: True)
    state.add(modules)
    return state


def test_plain_data_of_every_shape_is_put_back(shapes: Any) -> None:
    state = state_of(shapes)
    held, nested = shapes.LIST, shapes.NESTED["a"]
    first = shapes.everything()
    assert state.put_back()
    assert state.unchanged()
    assert (shapes.LIST, shapes.NESTED["a"]) == ([], [1, {"b": 2}])
    assert shapes.LIST is held
    assert shapes.NESTED["a"] is nested, "other names of the same list see what it was, too"
    assert shapes.GONE == 1
    assert shapes.everything() == first


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_elements_answer_the_same_everywhere(lab: Any, executor: str) -> None:
    (lab.path / f"{lab.module}_shapes.py").write_text(SHAPES)
    lab.write(f"""
    from contextvars import ContextVar
    import {lab.module}_shapes as shapes

    COUNT = 0
    LEVEL = ContextVar("LEVEL", default=0)

    @wf.job()
    def make() -> list[int]:
        return [1, 2, 3]

    @wf.array_job()
    def work(n: Annotated[int, Result(step="make")], found: list[int] = []) -> list[int]:
        global COUNT
        COUNT += 1
        found.append(COUNT)
        LEVEL.set(LEVEL.get() + 1)
        return [LEVEL.get(), *found, *shapes.everything()]

    @wf.array_job()
    def late(n: Annotated[int, Result(step="make")]) -> list[int]:
        import {lab.module}_late as late
        late.COUNT += 1
        late.LIST.append(1)
        return [late.COUNT, len(late.LIST)]
    """)
    (lab.path / f"{lab.module}_late.py").write_text("COUNT = 0\nLIST = []\n")
    run = lab.good(LocalExecutor(max_workers=1) if executor == "local" else "inline")
    (first, *others) = run.results("work")
    assert first == [1, 1, *module_of(SHAPES, "fresh").everything()]
    assert others == [first, first]
    assert run.results("late") == [[1, 1]] * 3


def test_an_inline_run_leaves_own_modules_as_they_were(lab: Any) -> None:
    lab.write("""
    SEEN = []
    _MODEL = None

    @wf.job()
    def work() -> int:
        global _MODEL
        _MODEL = object()
        SEEN.append(1)
        return len(SEEN)
    """)
    module = sys.modules[lab.module]
    vars(module)["SEEN"].append("the host's")
    assert lab.good().result("work") == 2
    assert (module.SEEN, module._MODEL) == (["the host's"], None)


LAZY = """
import functools

_MODEL = None
_UNSET = object()
_OTHER = _UNSET
_MEMO = {}
_KEPT = []

class Model:
    pass

def model():
    global _MODEL
    if _MODEL is None:
        _MODEL = object()
    return _MODEL

def other():
    global _OTHER
    if _OTHER is _UNSET:
        _OTHER = Model()
    return _OTHER

@functools.lru_cache
def squared(n):
    return n * n

def memo(key):
    if key not in _MEMO:
        _MEMO[key] = object()
    return _MEMO[key]

def kept():
    _KEPT.append(object())
    return len(_KEPT)
"""


def test_what_is_built_lazily_stays() -> None:
    lazy = module_of(LAZY, "lazy")
    state = state_of(lazy)
    model, other, one = lazy.model(), lazy.other(), lazy.memo("a")
    lazy.squared(3)
    lazy.kept()
    assert state.put_back()
    assert lazy.model() is model
    assert lazy.other() is other
    assert lazy.memo("a") is one
    assert lazy.kept() == 2
    assert lazy.squared.cache_info().currsize == 1
    state.rewind()
    assert (lazy._MODEL, lazy._OTHER, lazy._MEMO, lazy._KEPT) == (None, lazy._UNSET, {}, [])
    assert lazy.squared.cache_info().currsize == 0


def test_what_was_built_before_is_not_built_again() -> None:
    """Plain data that a later element changes has nothing to do with it."""
    lazy = module_of("import itertools\nMEMO = {}\nCOUNT = 0\nIDS = {'a': itertools.count()}", "lazy")
    state = state_of(lazy)
    lazy.MEMO["model"] = object()
    assert state.put_back()
    lazy.COUNT += 1
    next(lazy.IDS["a"])
    assert state.put_back()
    assert (lazy.COUNT, len(lazy.MEMO), next(lazy.IDS["a"])) == (0, 1, 0)


def test_a_long_list_that_nothing_changes_is_not_built_again() -> None:
    lazy = module_of("KEPT = [object() for _ in range(1000)]\nCOUNT = 0", "lazy")
    state = state_of(lazy)
    lazy.KEPT.append(object())
    assert state.put_back()
    lazy.COUNT += 1
    assert state.put_back()
    assert (lazy.COUNT, len(lazy.KEPT)) == (0, 1001)


def test_what_belongs_to_something_that_stays_is_not_taken_from_it() -> None:
    """A model and its scale are set together: with the one and without the other no process ever is."""
    lazy = module_of("_MODEL, SCALE = None, 1.0", "lazy")
    state = state_of(lazy)
    lazy._MODEL, lazy.SCALE = object(), 0.5
    assert not state.put_back()


def test_a_worker_stays_warm_or_retires(lab: Any) -> None:
    lab.write("""
    _MODEL = None
    COUNT = 0

    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2, 3]

    @wf.array_job(array_parallelism=1)
    def lazy(n: Annotated[int, Result(step="make")]) -> list[int]:
        global _MODEL
        found = int(_MODEL is not None)
        _MODEL = _MODEL or object()
        return [os.getpid(), found]

    @wf.array_job(after=["lazy"])
    def both(n: Annotated[int, Result(step="make")]) -> list[int]:
        global _MODEL, COUNT
        _MODEL, COUNT = object(), COUNT + 1
        return [os.getpid(), COUNT]
    """)
    run = lab.good(LocalExecutor(max_workers=1))
    lazy, both = run.results("lazy"), run.results("both")
    assert len({pid for pid, _ in lazy}) == 1
    assert [found for _, found in lazy] == [0, 1, 1, 1]
    assert len({pid for pid, _ in both}) == 4
    assert {count for _, count in both} == {1}


def test_a_module_s_state_after_its_import_within_an_element_counts() -> None:
    first = module_of("REGISTRY = {}\nCOUNT = 0", "first")
    state = state_of(first)
    first.COUNT = 5
    before = state.before_import()
    second = module_of("import first; first.REGISTRY['second'] = 1; COUNT = 0", "second")
    assert state.after_import(before, [second])
    first.REGISTRY["element"] = second.COUNT = 1
    assert state.put_back()
    assert (first.REGISTRY, first.COUNT, second.COUNT) == ({"second": 1}, 0, 0)


class Rebound:
    pass


@pytest.mark.parametrize(
    ("source", "change", "fresh"),
    [
        ("def f(): return 1", lambda m: setattr(m, "f", lambda: 2), lambda m: m.f() == 1),
        ("class C: x = object()", lambda m: setattr(m.C, "x", Rebound()), lambda m: not isinstance(m.C.x, Rebound)),
        ("LEFT = [1]", lambda m: setattr(m, "LEFT", [2]), lambda m: m.LEFT == [1]),
        ("ONE = 1", lambda m: setattr(m, "ONE", True), lambda m: type(m.ONE) is int),
        ("D = {'a': 1, 'b': 2}", lambda m: m.D.update(a=m.D.pop("a")), lambda m: list(m.D) == ["a", "b"]),
    ],
)
def test_names_are_bound_as_after_import(
    source: str, change: Callable[[Any], object], fresh: Callable[[Any], bool]
) -> None:
    module = module_of(source, "rebound")
    state = state_of(module)
    change(module)
    assert state.put_back()
    assert fresh(module)


def test_what_was_disposed_of_cannot_be_put_back() -> None:
    module = module_of("POOL = object()", "disposing")
    state = state_of(module)
    module.POOL = None
    assert not state.put_back()


def test_arrays_are_put_back() -> None:
    numpy = pytest.importorskip("numpy")
    module = module_of("import array, numpy\nA = numpy.zeros(3)\nB = array.array('i', [1])\nC = {'a': A[:2]}", "arrays")
    state = state_of(module)
    module.A += 1
    module.B.append(2)
    assert state.put_back()
    assert module.A.tolist() == [0, 0, 0]
    assert module.B.tolist() == [1]
    module.A = numpy.ones(3)
    assert state.put_back()
    assert module.A.tolist() == [0, 0, 0]


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)


@given(_plain, _plain)
def test_any_plain_value_is_put_back(first: Any, second: Any) -> None:
    module = types.ModuleType("any")
    vars(module).update(NAME=first, HOLDER=[first], TABLE={"x": first})
    state = state_of(module)
    text = repr([module.NAME, module.HOLDER, module.TABLE])
    vars(module).update(NAME=second)
    module.HOLDER.append(second)
    module.TABLE.update(x=second, y=second)
    assert is_plain(second)
    assert state.put_back()
    assert repr([module.NAME, module.HOLDER, module.TABLE]) == text


def test_own_modules_are_told_from_installed_ones() -> None:
    assert is_own(sys.modules[__name__])
    for name in ("pytest", "json", "reflow.worker.state", "sys"):
        __import__(name)
        assert not is_own(sys.modules[name])


FRESH = """
SEEN = {}

@wf.job()
def make() -> list[int]:
    return [0, 1, 2]

@wf.array_job(fresh=True)
def alone(n: Annotated[int, Result(step="make")]) -> list[int]:
    SEEN[n] = object()  # no plain data: a warm worker would keep it
    if n == 1 and not flag("fixed"):
        os._exit(3) if flag("ends") else sys.exit("no")
    return [os.getpid(), len(SEEN)]

@wf.array_job()
def shared(n: Annotated[int, Result(step="make")]) -> int:
    return os.getpid()
"""


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_a_fresh_task_has_a_process_for_each_element(lab: Any, executor: str) -> None:
    lab.write(FRESH)
    lab.touch("fixed")
    run = lab.good(LocalExecutor(max_workers=2) if executor == "local" else "inline")
    alone = run.results("alone")
    assert [seen for _, seen in alone] == [1, 1, 1]
    assert len({pid for pid, _ in alone} - set(run.results("shared"))) == 3


@pytest.mark.parametrize("end", ["ends", "raises"])
def test_a_fresh_element_that_fails_inline_fails_alone(lab: Any, end: str) -> None:
    lab.write(FRESH)
    lab.touch(end)
    run = lab.run("inline")
    (failure,) = run.status()["failures"]
    assert (failure["task"], failure["index"], failure["class"]) == ("alone", 1, "exit")
    assert lab.counts(run)["alone"] == {"SUCCESS": 2, "FAILED": 1}
