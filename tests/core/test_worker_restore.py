"""Each row of the table of what an element can change of its process: it is put back, or makes the worker retire."""

from __future__ import annotations

import builtins
import decimal
import gc
import io
import locale
import logging
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.worker.keeper import Keeper
from reflow.worker.restore import TABLE, Base, Row, merge_items, merge_order


def _limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    soft = 4096 if hard == resource.RLIM_INFINITY or hard > 4096 else 0
    resource.setrlimit(resource.RLIMIT_CORE, (soft if resource.getrlimit(resource.RLIMIT_CORE)[0] != soft else 1, hard))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 40, hard))


def _zone() -> None:
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()


def _locale() -> None:
    for name in ("C.UTF-8", "C", "POSIX"):
        before = locale.setlocale(locale.LC_ALL, None)
        if locale.setlocale(locale.LC_ALL, name) != before:
            return
    pytest.skip("this system has one locale")


def _log() -> None:
    logging.getLogger().setLevel(5)
    logging.getLogger("reflow.tests.old").addHandler(logging.StreamHandler())
    logging.getLogger("reflow.tests.new").propagate = False
    logging.disable(logging.INFO)


def _affinity() -> None:
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("one CPU alone cannot be changed")
    os.sched_setaffinity(0, {min(cpus)})


def _warn() -> None:
    warnings.simplefilter("error")
    warnings.showwarning = print


def _settings() -> None:
    sys.setrecursionlimit(sys.getrecursionlimit() + 7)
    sys.setswitchinterval(0.5)
    sys.dont_write_bytecode = not sys.dont_write_bytecode


def _streams() -> None:
    sys.stdin = io.StringIO()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=not sys.stdout.line_buffering, errors="replace")


def _numpy() -> None:
    numpy = pytest.importorskip("numpy")
    numpy.seterr(all="raise")
    numpy.set_printoptions(precision=2)


#: row -> what an element does to it
CHANGES: dict[str, Callable[[], object]] = {
    "resource limits": _limit,
    "signal handlers": lambda: signal.signal(signal.SIGWINCH, lambda number, frame: None),
    "signal mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}),
    "trace and profile functions": lambda: (threading.setprofile(print), sys.setprofile(lambda *event: None)),
    "niceness": lambda: os.nice(1),
    "affinity": _affinity,
    "umask": lambda: os.umask(0o007),
    "working directory": lambda: os.chdir("/"),
    "environment": lambda: (os.environ.pop("HOME"), os.environ.update(REFLOW_TESTS="1", PATH="/")),
    "time zone": _zone,
    "locale": _locale,
    "logging": _log,
    "warnings": _warn,
    "decimal context": lambda: setattr(decimal.getcontext(), "prec", 3),
    "socket time-out": lambda: socket.setdefaulttimeout(3.0),
    "interpreter settings": _settings,
    "sys.path": lambda: sys.path.insert(0, "/nowhere"),
    "sys.argv": lambda: setattr(sys, "argv", ["other"]),
    "sys.meta_path": lambda: sys.meta_path.append(type("Finder", (), {"find_spec": lambda *given: None})()),
    "sys.path_hooks": sys.path_hooks.clear,
    "standard streams": _streams,
    "hooks": lambda: setattr(sys, "excepthook", print),
    "classes of loggers and event loops": lambda: logging.setLogRecordFactory(lambda *given: None),
    "names of logging levels": lambda: logging.addLevelName(17, "SEVENTEEN"),
    "tempfile.tempdir": lambda: setattr(tempfile, "tempdir", "/nowhere"),
    "garbage collector": lambda: gc.set_threshold(123, 4, 5),
    "builtins": lambda: setattr(builtins, "reflow_tests", 1),
    "numpy": _numpy,
}


def test_each_row_has_its_test() -> None:
    assert [row.name for row in TABLE] == list(CHANGES)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_an_element_changes_is_put_back(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    if row.name == "niceness" and os.geteuid():
        pytest.skip("only root may take niceness back: the worker retires")
    if row.name == "numpy":
        pytest.importorskip("numpy")
    logging.getLogger("reflow.tests.old")
    base = Base()
    before = row.keep(row.read())
    try:
        CHANGES[row.name]()
        assert row.name in base.changed()
    finally:
        base.put_back(early=True)
        base.put_back(early=False)
    assert row.same(before, row.read())
    assert base.changed() == base.stuck == []


def test_what_cannot_be_put_back_is_named() -> None:
    """As a lowered hard limit, for whoever is not root."""
    value = [1]

    def refuse(base: object) -> None:
        raise PermissionError

    base = Base([Row("stubborn", lambda: value[0], refuse), Row("deaf", lambda: value[0], lambda base: None)])
    value[0] = 2
    base.put_back(early=False)
    assert base.stuck == ["stubborn", "deaf"]


def test_a_hard_limit_makes_a_worker_retire(lab: Any) -> None:
    lab.write("""
    import resource

    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.array_job()
    def work(n: Annotated[int, Result(step="make")]) -> list[int]:
        if n == 0:
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
            if os.geteuid() == 0:  # who may raise it again
                os.nice(1)
        return [os.getpid(), os.getpriority(os.PRIO_PROCESS, 0)]
    """)
    from reflow import LocalExecutor

    run = lab.good(LocalExecutor(max_workers=1))
    found = run.results("work")
    assert len({nice for _, nice in found}) == 1 + (os.geteuid() == 0)
    if os.geteuid():
        assert found[0][0] != found[1][0]
        assert found[1][0] == found[2][0]


def test_nothing_is_imported_for_the_table() -> None:
    code = """
import sys
from reflow.worker.keeper import Keeper
keeper = Keeper()
with keeper.loading():
    pass
before = set(sys.modules)
for _ in range(2):
    keeper.begin()
    keeper.quiet()
    keeper.settle()
print(*sorted(set(sys.modules) - before), keeper.spent)
print(*sorted({"decimal", "socket", "locale", "tempfile", "logging", "random", "numpy"} & set(sys.modules)))
"""
    bare = "import sys, msgspec; print(*sys.modules)"
    floor, *found = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True).stdout
        for text in (bare, code)
    )
    added, loaded = found[0].splitlines()
    assert added.strip() == ""
    assert set(loaded.split()) <= set(floor.split())


# --- imports within elements ------------------------------------------------------------------------------------------

_items = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3))


@given(_items, _items, _items)
def test_an_import_s_changes_are_applied_to_what_there_was(base: Any, before: Any, after: Any) -> None:
    merged = merge_items(base, before, after)
    for key in {*base, *before, *after}:
        touched = before.get(key) != after.get(key)
        assert merged.get(key) == (after if touched else base).get(key)


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(10, 19)), st.lists(st.integers(20, 29)))
def test_what_an_import_puts_around_a_list_is_kept(base: list[int], front: list[int], back: list[int]) -> None:
    element = [99, *base]
    assert merge_order(base, element, [*front, *element, *back]) == [*front, *base, *back]


ORDER = """
import locale, logging, warnings

def left():
    return [
        {name: value for name, value in os.environ.items() if name.startswith("LIB_")},
        locale.setlocale(locale.LC_CTYPE),
        [str(one[1]) for one in warnings.filters if "lib_" in str(one)],
        logging.getLogger("lib_a").level,
        sorted(name for name in sys.modules if name.startswith("lib_")),
    ]

@wf.job()
def make() -> list[str]:
    return {order!r}

@wf.array_job()
def work(what: Annotated[str, Result(step="make")]) -> list:
    before = [each for each in left()[:4]]
    if "change" in what:
        os.environ["LIB_A"] = "element"
        os.environ["LIB_OTHER"] = "1"
        logging.getLogger("lib_a").setLevel(3)
        sys.path.insert(0, str(HERE / "other"))
    if "a" in what.split():
        import lib_a
    if "b" in what.split():
        import lib_b
    after = left()
    if "late" in what:
        os.environ["LIB_A"] = "late"
        warnings.filterwarnings("ignore", message="lib_element")
    import lib_state
    lib_state.COUNT += 1
    lib_state.SEEN.append(what)
    return [what, after[0], after[2], after[3], lib_state.COUNT, list(lib_state.SEEN)]
"""

LIBRARIES = {
    "lib_a.py": """
import locale, logging, os, warnings
os.environ.setdefault("LIB_A", "set by lib_a")
logging.getLogger("lib_a").setLevel(30)
warnings.filterwarnings("ignore", message="lib_a")
""",
    "lib_b.py": """
import os
import lib_a
os.environ["LIB_B"] = os.environ["LIB_A"] + " and lib_b"
""",
    "other/lib_b.py": "import os; os.environ['LIB_B'] = 'other'",
    "lib_state.py": "COUNT = 0\nSEEN = []\n",
}

#: elements that import, change things, or do both, in either order
KINDS = ("none", "a", "b", "change", "change a", "a late", "b late", "late")


def _expected(what: str) -> dict[str, str]:
    """What an element finds in a process of its own, of what it has set or imported."""
    environ: dict[str, str] = {}
    words = what.split()
    if "change" in words:
        environ |= {"LIB_A": "element", "LIB_OTHER": "1"}
    if "a" in words or "b" in words:
        environ.setdefault("LIB_A", "set by lib_a")
    if "b" in words:
        environ["LIB_B"] = environ["LIB_A"] + " and lib_b"
    return environ


def _ordered(lab: Any, order: list[str]) -> list[Any]:
    from reflow import LocalExecutor

    for name, text in LIBRARIES.items():
        (lab.path / name).parent.mkdir(exist_ok=True)
        (lab.path / name).write_text(text)
    lab.write(ORDER.replace("{order!r}", repr(order)))
    rows: list[Any] = lab.good(LocalExecutor(max_workers=1)).results("work")
    return rows


def test_order_never_matters(lab: Any) -> None:
    """What an element finds does not depend on those that ran before it in the same process, but for what is loaded."""
    order = random.Random(9).choices(KINDS, k=24)
    for what, environ, filters, level, count, seen in _ordered(lab, [*KINDS, *order]):
        assert (count, seen) == (1, [what])
        expected = _expected(what)
        assert expected.items() <= environ.items()
        assert environ.get("LIB_A", "set by lib_a") == expected.get("LIB_A", "set by lib_a")
        assert ("LIB_OTHER" in environ) == ("change" in what)
        assert "lib_element" not in str(filters)
        assert level in ({3, 30} if "change" in what else {0, 30})
        if "a" in what.split() or "b" in what.split():
            assert level == 30 or "change" in what
            assert "lib_a" in str(filters)


def test_what_was_imported_after_changes_is_not_for_the_next_element(lab: Any) -> None:
    """Of two modules of one name the second element gets that which is its own."""
    first, second = _ordered(lab, ["change b", "b"])
    assert first[1]["LIB_B"] == "other"
    assert second[1] == _expected("b")


def test_a_failing_import_shows_no_frame_of_the_watch() -> None:
    keeper = Keeper()
    with keeper.loading():
        pass
    keeper.begin()
    try:
        import reflow_tests_nowhere  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        trace = error.__traceback__
        assert trace is not None
        assert trace.tb_next is None
    finally:
        keeper.quiet()
        keeper.settle()


# --- what cannot be put back ------------------------------------------------------------------------------------------

LEFT = """
import concurrent.futures, threading

POOL = None
LEFT = []

def nothing():
    pass

def daemon():
    threading.Thread(target=time.sleep, args=(300,), daemon=True).start()

def thread():
    threading.Thread(target=time.sleep, args=(300,)).start()

def short():
    threading.Thread(target=time.sleep, args=(0.001,)).start()

def pool():
    global POOL
    POOL = POOL or concurrent.futures.ThreadPoolExecutor(2)
    assert list(POOL.map(abs, [-1, -2])) == [1, 2]

def busy():
    global POOL
    POOL = POOL or concurrent.futures.ThreadPoolExecutor(2)
    POOL.submit(time.sleep, 300)

def few():
    os.dup(1)

def many():
    for _ in range(100):
        os.dup(1)

@wf.job()
def make() -> list[str]:
    return {order}

@wf.array_job()
def work(what: Annotated[str, Result(step="make")]) -> int:
    globals()[what]()
    return os.getpid()
"""


def test_a_worker_retires_where_threads_or_descriptors_are_left(lab: Any) -> None:
    from reflow import LocalExecutor

    order = ["nothing", "daemon", "short", "pool", "pool", "few", "nothing", "thread", "busy", "many", "nothing"]
    lab.write(LEFT.replace("{order}", repr(order)))
    pids = lab.good(LocalExecutor(max_workers=1)).results("work")
    assert len(set(pids[: order.index("thread") + 1])) == 1, "what waits, or ends with the process, may stay"
    assert len(set(pids[order.index("thread") :])) == 4, "each of those is the last of its worker"


def test_a_limit_that_an_element_has_set_is_not_for_its_next_attempt(lab: Any) -> None:
    from reflow import LocalExecutor

    lab.write("""
    import resource

    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.array_job(retries=1)
    def work(n: Annotated[int, Result(step="make")]) -> int:
        if n == 0 and reflow.context().attempt == 1:
            resource.setrlimit(resource.RLIMIT_AS, (500 << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))
        return len(bytearray(600 << 20)) >> 20
    """)
    run = lab.good(LocalExecutor(max_workers=1))
    assert run.results("work") == [600] * 3
    rows = [row for row in run.status(elements=True)["elements"] if row["task"] == "work"]
    assert [row["attempt"] for row in rows] == [2, 1, 1]


COUNTED = """
import logging, sys, types
from reflow.worker.keeper import Keeper

names = int(sys.argv[1])
module = types.ModuleType("counted")
module.__file__ = sys.argv[2]
vars(module).update({f"name_{number}": [number] for number in range(names)})
sys.modules["counted"] = module
for number in range(names):
    logging.getLogger(f"counted.{number}")
keeper = Keeper()
with keeper.loading():
    pass
for _ in range(2):
    keeper.begin()
    keeper.quiet()
    keeper.settle()
calls = 0

def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")

sys.setprofile(count)
keeper.begin()
keeper.settle()
sys.setprofile(None)
assert not keeper.spent
print(calls)
"""


@pytest.mark.parametrize("names", [10, 1000])
def test_an_unchanged_process_costs_a_bounded_number_of_calls(names: int) -> None:
    """However much there is to be compared: each name or logger costs no call of its own."""
    # In a process of its own: what other tests have imported would be compared, too.
    words = [sys.executable, "-c", COUNTED, str(names), __file__]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 350
