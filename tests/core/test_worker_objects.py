"""Objects of own modules that change in place are put back after each element, or the worker retires."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from reflow import LocalExecutor
from reflow.worker.state import State

#: what a module has, and what an element makes of it; a second element must find the same
OBJECTS = {
    "a list's iterator": ("IT = iter([1, 2, 3])", "next(IT)"),
    "an iterator of a range": ("IT = iter(range(9))", "next(IT)"),
    "enumerate": ("IT = enumerate('abc')", "next(IT)"),
    "zip": ("IT = zip([1, 2], (3, 4))", "next(IT)"),
    "map": ("IT = map(str, range(9))", "next(IT)"),
    "cycle": ("import itertools\nIT = itertools.cycle('abc')", "next(IT)"),
    "chain": ("import itertools\nIT = itertools.chain([1], [2], [3])", "next(IT)"),
    "islice in a dictionary": ("import itertools\nIT = {'a': itertools.islice(range(9), 2, 8)}", "next(IT['a'])"),
    "count": ("import itertools\nIT = itertools.count(3, 2)", "next(IT)"),
    "a text in memory": ("import io\nIO = io.StringIO('ab')", "(IO.read(1), IO.write('xyz'), IO.getvalue())"),
    "bytes in memory": ("import io\nIO = io.BytesIO()", "(IO.write(b'x'), IO.getvalue())"),
    "a file's position": ("FILE = open(__file__)", "FILE.readline()"),
    "SimpleQueue": ("import queue\nQ = queue.SimpleQueue()\nQ.put('a')", "(Q.get(), Q.put('b'), Q.qsize())"),
    "PriorityQueue": ("import queue\nQ = queue.PriorityQueue()", "(Q.put(1), Q.qsize(), Q.unfinished_tasks)"),
    "a lock": ("import threading\nLOCK = threading.Lock()", "LOCK.acquire(blocking=False)"),
    "a lock that is held": (
        "import threading\nLOCK = threading.Lock()\nLOCK.acquire()",
        "(LOCK.locked(), LOCK.release())",
    ),
    "RLock": ("import threading\nLOCK = threading.RLock()", "(LOCK._is_owned(), LOCK.acquire(), LOCK.acquire())"),
    "Event": ("import threading\nEVENT = threading.Event()", "(EVENT.is_set(), EVENT.set())"),
    "Semaphore": ("import threading\nS = threading.Semaphore(2)", "(S._value, S.acquire(blocking=False))"),
    "a decimal context": (
        "import decimal\nC = decimal.Context(prec=5)",
        "(C.prec, setattr(C, 'prec', 7), C.flags[decimal.Inexact], C.divide(1, 3))",
    ),
    "a generic function": (
        "import functools\n@functools.singledispatch\ndef f(x): return 'any'",
        "(f(1), f.register(int, lambda x: 'int') and f(1))",
    ),
    "defaults": ("def f(a=1, *, b=2): return a, b", "(f(), setattr(f, '__defaults__', (3,)), f())"),
    "defaults by name": ("def f(*, b=2): return b", "(f(), setattr(f, '__kwdefaults__', {'b': 5}), f())"),
    "a value of defaults by name": ("def f(*, b=2): return b", "(f(), f.__kwdefaults__.update(b=5), f())"),
    "code": ("def f(): return 1\ndef g(): return 2", "(f(), setattr(f, '__code__', g.__code__), f())"),
    "attributes of a list": (
        "class L(list): pass\nONE = L()",
        "(getattr(ONE, 'n', 0), setattr(ONE, 'n', 1), ONE.append(1), len(ONE))",
    ),
    "attributes of a dictionary": (
        "class D(dict): hits = 0\nONE = D(a=1)",
        "(ONE.hits, setattr(ONE, 'hits', ONE.hits + 1), ONE.update(b=1), len(ONE))",
    ),
    "attributes of a member": (
        "import enum\nclass E(enum.Enum):\n    A = 1",
        "(getattr(E.A, 'note', 0), setattr(E.A, 'note', 1))",
    ),
    "attributes of a partial": (
        "import functools\nP = functools.partial(max, [1])",
        "(getattr(P, 'n', 0), setattr(P, 'n', 1), P.args[0].append(2), P())",
    ),
    "a large array": ("import array\nA = array.array('d', bytes(800_000))", "(A[0], A.__setitem__(0, 3.0))"),
    "large bytes": ("A = bytearray(200_000)", "(A[7], A.__setitem__(7, 3), A.append(1), len(A))"),
    "a large array of numpy": ("import numpy\nA = numpy.zeros((300, 300))", "(float(A[2, 3]), A.__iadd__(1) is A)"),
    "columns of a large array": ("import numpy\nA = numpy.zeros((300, 300)).T", "(float(A[2, 3]), A.__iadd__(1) is A)"),
    "an array of objects": ("import numpy\nA = numpy.array([None, 1], dtype=object)", "(A[0], A.__setitem__(0, 1))"),
}


def _module(source: str, step: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    if "numpy" in source:
        pytest.importorskip("numpy")
    module = types.ModuleType("reflow_objects")
    module.__file__ = __file__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(f"{source}\ndef step(): return {step}", vars(module))
    return module


def _state(module: Any) -> State:
    state = State(lambda one: one is module)
    state.add([module])
    return state


@pytest.mark.parametrize("what", OBJECTS)
def test_an_object_that_changes_in_place_is_put_back(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, step = OBJECTS[what]
    module = _module(source, step, monkeypatch)
    state = _state(module)
    assert state.unchanged()
    first = module.step()
    for _ in range(2):
        assert not state.unchanged()
        assert state.put_back()
        assert state.unchanged()
        assert module.step() == first
    state.rewind()
    assert module.step() == first
    if "FILE" in vars(module):
        module.FILE.close()


@pytest.mark.parametrize(
    ("source", "step"),
    [
        ("IT = (n for n in range(9))", "next(IT)"),
        ("IT = ((n for n in range(9)), 1)", "next(IT[0])"),
        ("import itertools\ndef f(ids=itertools.count()): return next(ids)", "f()"),
        ("import io\nIO = io.StringIO()", "IO.close()"),
        ("import numpy\nA = numpy.zeros(1_200_000)", "A.__imul__(0) is A.__iadd__(1)"),
    ],
)
def test_who_has_changed_what_cannot_be_put_back_is_the_last(
    source: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _module(source, step, monkeypatch)
    state = _state(module)
    module.step()
    assert not state.put_back()


def test_a_worker_whose_generator_has_moved_retires(lab: Any) -> None:
    lab.write("""
    NUMBERS = (n for n in range(100))

    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.array_job()
    def work(n: Annotated[int, Result(step="make")]) -> list[int]:
        return [next(NUMBERS), os.getpid()]
    """)
    found = lab.good(LocalExecutor(max_workers=1)).results("work")
    assert [number for number, _ in found] == [0, 0, 0]
    assert len({pid for _, pid in found}) == 3


def test_one_item_of_a_very_large_array_that_own_code_writes_is_noticed(lab: Any) -> None:
    lab.write("""
    LARGE = bytearray(10_000_000)

    @wf.job()
    def make() -> list[int]:
        return [0, 1]

    @wf.array_job()
    def work(n: Annotated[int, Result(step="make")]) -> int:
        LARGE[4_321_987] += 1
        return LARGE[4_321_987]
    """)
    assert lab.good(LocalExecutor(max_workers=1)).results("work") == [1, 1]


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_functions_of_other_modules_that_own_code_replaces_are_put_back(lab: Any, executor: str) -> None:
    lab.write("""
    import collections
    import string

    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.array_job()
    def work(n: Annotated[int, Result(step="make")]) -> list[str]:
        found = [string.capwords("a b"), str(collections.UserList([1]).count(1)), str(hasattr(string, "reflow_lab"))]
        string.capwords = lambda text: "replaced"
        collections.UserList.count = lambda self, item: 7
        string.reflow_lab = 1
        return found
    """)
    import collections
    import string

    before = string.capwords, collections.UserList.count
    found = lab.good(LocalExecutor(max_workers=1) if executor == "local" else "inline").results("work")
    assert found == [["A B", "1", "False"]] * 3
    assert (string.capwords, collections.UserList.count) == before
    assert not hasattr(string, "reflow_lab")


@pytest.mark.parametrize("executor", ["inline", "local"])
@pytest.mark.parametrize(("setting", "found"), [("", [1, 1, 1]), ("foreign", [1, 2, 3])])
def test_the_configuration_says_whose_state_is_put_back(
    lab: Any, executor: str, setting: str, found: list[int]
) -> None:
    name = f"{lab.module}_counts"
    (lab.path / f"{name}.py").write_text("SEEN = []\ndef bump(): SEEN.append(1); return len(SEEN)\n")
    (lab.path / "reflow.toml").write_text(f'[cache]\n{setting} = ["{name}"]\n' if setting else "")
    lab.write(f"""
    import {name}

    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.array_job()
    def work(n: Annotated[int, Result(step="make")]) -> int:
        return {name}.bump()
    """)
    assert lab.good(LocalExecutor(max_workers=1) if executor == "local" else "inline").results("work") == found
