"""What a task uses beside its parameters: captured values, its module's plain data, its variables."""

from __future__ import annotations

import linecache
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from reflow import load_config
from reflow.authoring.code.reach import code_of
from reflow.run.definition.freeze import analyse_tasks, entry_of, freeze_tasks

CLOSURE = """
import collections, decimal, enum, functools, logging, math

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

@dataclass(frozen=True)
class Point:
    x: int
    y: float

def double(x):
    return 2 * x

def factory(k):
    @wf.job()
    def task() -> str:
        note("task")
        return str(k(1) if callable(k) else k)

factory({value})
"""


def task_code(lab: Any, source: str) -> Any:
    return code_of(lab.write(source).tasks["task"].function)


def test_tasks_of_a_factory_are_others_for_other_values(lab: Any) -> None:
    lab.write(CLOSURE.format(value="1"))
    assert lab.good().result("task") == "1"
    lab.edit("factory(1)", "factory(2)")
    run = lab.good()
    assert run.result("task") == "2"
    assert lab.why(run, "task") == {None: ("miss", "code (k) changed")}
    lab.edit("factory(2)", "factory(1)")
    lab.good()
    assert lab.ran() == ["task", "task"]


VALUES = [
    ("1", "1.0"),
    ("1", "True"),
    ("None", "'None'"),
    ("'a'", "b'a'"),
    ("[1, 2]", "[2, 1]"),
    ("(1, 2)", "[1, 2]"),
    ("{'a': 1}", "{'a': 2}"),
    ("{1, 2}", "{1, 3}"),
    ("'\\ud800'", "'\\ud801'"),
    ("10 ** 5000", "10 ** 5000 + 1"),
    ("Path('a')", "Path('b')"),
    ("Path('a')", "'a'"),
    ("Colour.RED", "Colour.BLUE"),
    ("Point(1, 2)", "Point(1, 3)"),
    ("[Point(1, 2)]", "[Point(2, 2)]"),
    ("lambda x: x", "lambda x: -x"),
    ("double", "str"),
    ("math.sin", "math.cos"),
    ("functools.partial(double, 1)", "functools.partial(double, 2)"),
    ("Point", "Colour"),
    ("math", "logging"),
]


@pytest.mark.parametrize(("one", "other"), VALUES)
def test_captured_values_are_told_apart(lab: Any, one: str, other: str) -> None:
    codes = [task_code(lab, CLOSURE.format(value=value)) for value in (one, other, one)]
    assert [code.problem for code in codes] == ["", "", ""]
    assert codes[0] == codes[2] != codes[1]


NESTED = """
def factory(k):
    def by(x, extra={default}):
        return x * k + extra + K
    {decorator}
    def scale(x):
        return by(x)
    @wf.job()
    def task() -> int:
        return scale(1)
K = {constant}
factory({value})
"""


def test_captured_functions_bring_what_they_use(lab: Any) -> None:
    base = {"default": 0, "decorator": "@__import__('functools').lru_cache", "constant": 1, "value": 1}
    codes = [base, *({**base, name: 5} for name in ("default", "constant", "value")), {**base, "decorator": ""}]
    found = [task_code(lab, NESTED.format(**given)).digest for given in codes]
    assert len({*found, ""}) == 6


def test_what_a_decorator_was_given_counts(lab: Any) -> None:
    source = """
    import functools
    def times(n):
        state = object()
        def wrap(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return n * function(*args, **kwargs) + bool(state is None)
            return wrapper
        return wrap
    N = {n}
    @wf.job()
    @times(N)
    def task() -> int:
        return 1
    """
    one, other, again = (task_code(lab, source.format(n=n)) for n in (1, 2, 1))
    assert one == again != other
    assert one.digest


def test_functions_that_capture_themselves(lab: Any) -> None:
    source = """
    def factory(k):
        def down(x):
            return 0 if x == 0 else down(x - 1) + k
        @wf.job()
        def task() -> int:
            loop = [k]
            return down(3)
        loop = [k]
        loop.append(loop)
        later = lambda: unset, loop
        unset_yet = later
        @wf.job()
        def other() -> int:
            return len(loop) + bool(late)
        if k > 100:
            late = 1
    factory({k})
    """
    first = lab.write(source.format(k=1)).tasks
    second = lab.write(source.format(k=2)).tasks
    for name in ("task", "other"):
        one, two = (code_of(tasks[name].function) for tasks in (first, second))
        assert one.digest
        assert two.digest
        assert one != two


OPAQUE = [
    "object()",
    "[1, object()]",
    "{'log': logging.getLogger('x')}",
    "type('Made', (), {})",
    "eval('lambda: 1')",
    "[].append",
    "decimal.Context()",
]


@pytest.mark.parametrize("value", OPAQUE)
def test_what_cannot_be_compared_is_not_cached(lab: Any, value: str) -> None:
    lab.write(CLOSURE.format(value=value).replace("str(k(1) if callable(k) else k)", "str(k is None)"))
    told: list[str] = []
    lab.good(on_progress=lambda progress: told.append(progress.message))
    why = "the task captures k, whose value cannot be compared"
    run = lab.good()
    assert lab.ran() == ["task", "task"]
    assert lab.why(run, "task") == {None: ("miss", why)}
    assert f"task: results are not kept for later runs: {why}" in told


def test_code_that_is_not_of_the_command_line_has_no_source(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ["print(__name__)\n"]  # as Python 3.13 keeps that of `python -c`
    monkeypatch.setitem(linecache.cache, "<string>", (len("".join(source)), None, source, "<string>"))
    lab.write(CLOSURE.format(value="eval('lambda: 1')").replace("str(k(1) if callable(k) else k)", "str(k is None)"))
    assert lab.why(lab.good(), "task") == {None: ("miss", "the task captures k, whose value cannot be compared")}


def test_a_captured_value_that_is_too_large_is_not_cached(lab: Any) -> None:
    code = task_code(lab, CLOSURE.format(value="list(range(300_000))"))
    assert code.problem == "the task captures k, whose value is too large to be compared (more than 1 MB)"


def test_a_variable_that_is_too_large_counts_by_its_statement(lab: Any) -> None:
    source = "K = list(range({n}))\n@wf.job()\ndef task() -> int: return len(K)"
    one, other, again = (task_code(lab, source.format(n=n)) for n in ("300_000", "300_001", "300_000"))
    assert one == again != other
    assert one.digest


def test_what_is_nested_too_deeply_is_not_cached(lab: Any) -> None:
    deep = "__import__('functools').reduce(lambda inner, _: [inner], range(5000), [])"
    code = task_code(lab, CLOSURE.format(value=deep))
    assert code.problem == "the task captures k, whose value is nested too deeply to be compared"


CONSTANTS = """
K = 1
OTHER = 1
def helper():
    return OTHER
@wf.job()
def task() -> str:
    note("task")
    def inner():
        return [K for _ in range(1)]
    helper()
    return str(inner()[0])
"""


@pytest.mark.parametrize("value", ["2", "'1'", "1.5", "True", "None", "(1, 2)", "{'a': [1, {2, 3}]}", "Path('x')"])
def test_plain_data_of_the_module_counts(lab: Any, value: str) -> None:
    lab.write(CONSTANTS)
    lab.good()
    lab.edit("K = 1", f"K = {value}")
    lab.good()
    lab.good()
    assert lab.ran() == ["task", "task"]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [("OTHER = 1", "OTHER = 2", "OTHER: 1 → 2"), ("return OTHER", "return [OTHER]", "helper")],
)
def test_helpers_are_followed(lab: Any, old: str, new: str, what: str) -> None:
    lab.write(CONSTANTS)
    lab.good()
    lab.edit(old, new)
    run = lab.good()
    assert lab.why(run, "task") == {None: ("miss", f"code ({what} in {lab.file.name}) changed")}
    assert lab.ran() == ["task", "task"]


def test_what_is_no_plain_data_of_the_module_counts_by_its_statement(lab: Any) -> None:
    source = "class Box: n = 1\n" + CONSTANTS.replace("helper()\n    return", "Box, sys, mixed, one\n    return")
    values = ("object()", "sys", "Path", "Param", "object()")
    found = [task_code(lab, f"mixed = [1, {value}]\none = {value}\n{source}").digest for value in values]
    assert len(set(found)) == 4
    assert found[0] == found[-1] != ""


def test_digests_are_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(
        textwrap.dedent("""
        import enum
        from dataclasses import dataclass
        from reflow import Workflow
        wf = Workflow("same")
        NAMES = {"a", "b", "c", "d"}
        @dataclass
        class Bag:
            names: frozenset[str]
        def factory(names, bag, function, kind):
            @wf.job()
            def task() -> int:
                return len(names) + len(NAMES) + len(bag.names) + function(kind)
        factory(frozenset({"x", "y", "z"}), Bag(frozenset("abc")), lambda x: 1, Bag)
        if __name__ == "__main__":
            from reflow.authoring.code.reach import code_of
            print(code_of(wf.tasks["task"].function).digest)
        """)
    )
    asked = "from flow import wf; from reflow.authoring.code.reach import code_of as of; "
    asked += "print(of(wf.tasks['task'].function).digest)"
    found = set()
    for seed, words in enumerate([["flow.py"], ["-c", asked], ["flow.py"]]):
        command = [sys.executable, *words]
        said = subprocess.check_output(command, cwd=tmp_path, env={"PYTHONHASHSEED": str(seed)}, text=True)
        found.add(said.strip())
    assert len(found) == 1
    assert len(found.pop()) == 64


ENV = """
@wf.job(env={"MODE": "fast", "SECRET": os.environ.get("S", "s3cr3t-one")})
def task() -> str:
    note("task")
    return os.environ["MODE"]
"""


def test_variables_that_the_decorator_sets_count(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(ENV)
    lab.good("local", max_workers=1)
    lab.edit("fast", "slow")
    run = lab.good("local", max_workers=1)
    assert run.result("task") == "slow"
    assert lab.why(run, "task") == {None: ("miss", "env changed")}
    monkeypatch.setenv("S", "s3cr3t-two")
    lab.load()
    run = lab.good("local", max_workers=1)
    assert lab.ran() == ["task"] * 3
    for file in Path(run.root).rglob("*"):
        if file.is_file() and file.stat().st_mode & 0o077:
            assert b"s3cr3t-two" not in file.read_bytes(), file


def test_variables_that_configuration_sets_do_not_count(lab: Any) -> None:
    lab.write(ENV)
    lab.good("local", max_workers=1)
    lab.good("local", max_workers=1, overrides=["task.env.SITE=there"])
    assert lab.ran() == ["task"]


def test_values_of_an_enum_count(lab: Any) -> None:
    """Members are written by name; what a task makes of one may be its value."""
    lab.write("""
    import enum

    class Mode(enum.Enum):
        FAST = (1, "a")
        SLOW = object()

    @wf.job()
    def task(mode: Annotated[Mode, Param()] = Mode.FAST) -> int:
        note("task")
        return mode.value[0]
    """)
    assert lab.good().result("task") == 1
    lab.load()
    lab.good()
    lab.edit('(1, "a")', '(2, "a")')
    run = lab.good()
    assert run.result("task") == 2
    assert lab.why(run, "task") == {None: ("miss", f"code (Mode in {lab.file.name}), types changed")}
    assert lab.ran() == ["task"] * 2


def test_where_the_script_lies_counts_for_who_asks(tmp_path: Path) -> None:
    """Two copies of a project, each with data of its own beside the script."""
    text = """
from pathlib import Path

from reflow import Workflow

wf = Workflow("copies")


@wf.job()
def beside() -> str:
    return (Path(__file__).parent / "data").read_text()


@wf.job()
def elsewhere() -> int:
    return 1


if __name__ == "__main__":
    run = wf.run_local("run")
    print(run.result("beside"), *(task["cached"] for task in run.status()["summary"].values()))
"""
    said = []
    for copy in ("one", "two", "one"):
        here = tmp_path / copy
        here.mkdir(exist_ok=True)
        (here / "data").write_text(copy)
        (here / "flow.py").write_text(text)
        said.append(subprocess.check_output([sys.executable, "flow.py"], cwd=here, text=True).strip())
    assert said == ["one 0 0", "two 0 1", "one 1 1"]


def test_a_task_may_return_its_run_directory(lab: Any) -> None:
    """What reflow itself writes there is no change of the result, nor of who takes it."""
    lab.write("""
    @wf.job()
    def task(run_dir: RunDir) -> Path:
        note("task")
        (run_dir / "data").write_text("here")
        return run_dir

    @wf.job()
    def reader(where: Annotated[Path, Result(step="task")]) -> str:
        note("reader")
        return (where / "data").read_text()
    """)
    lab.good()
    lab.good()
    assert lab.ran() == ["reader", "task"]
    (lab.run_dir / "data").write_text("another")
    assert lab.good().result("reader") == "here"
    assert lab.ran() == ["reader", "task"]


def test_setup_of_the_decorator_counts(lab: Any) -> None:
    lab.write("""
    @wf.job(setup="export MODE=fast")
    def task() -> str:
        note("task")
        return os.environ["MODE"]
    """)
    assert lab.good("local", max_workers=1).result("task") == "fast"
    lab.good("local", max_workers=1)
    assert lab.ran() == ["task"]
    lab.edit("MODE=fast", "MODE=slow")
    run = lab.good("local", max_workers=1)
    assert run.result("task") == "slow"
    assert lab.why(run, "task") == {None: ("miss", "env changed")}


def test_modules_of_the_decorator_count(lab: Any) -> None:
    def frozen(given: str) -> str:
        wf = lab.write(f"@wf.job({given})\ndef task() -> None: ...")
        compiled, config = wf.compile(), load_config(lab.path)
        (task,) = freeze_tasks(compiled, config, (), analyse_tasks(compiled, entry_of(wf, config, importable=False)))
        return task.env_digest

    assert frozen("modules=['cdo/1']") == frozen("modules=['cdo/1']") != frozen("modules=['cdo/2']")
    assert frozen("") == ""
