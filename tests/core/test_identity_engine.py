"""Never a wrong hit: one test for each thing that makes a result another one, and for each that does not."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

FAN = """
@wf.job()
def make() -> list[int]:
    note("make")
    return [int(line) for line in (HERE / "values").read_text().split()]

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    note("work", x)
    return x * 2

@wf.array_job()
def more(x: Annotated[int, Result(step="work")]) -> int:
    note("more", x)
    return x + 1

@wf.job()
def total(x: Annotated[list[int], Result(step="more")]) -> int:
    note("total")
    return sum(x)
"""


def values(lab: Any, numbers: Any) -> None:
    (lab.path / "values").write_text(" ".join(map(str, numbers)))


def old(path: Path) -> None:
    """Make a file old enough for its time stamp to be trusted."""
    before = time.time() - 100
    os.utime(path, (before, before))


@pytest.mark.parametrize("backend", ["segments", "sqlite"])
def test_one_changed_input_of_1000_recomputes_one_element_and_what_depends_on_it(
    lab: Any, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("REFLOW_CACHE_BACKEND", backend)
    values(lab, range(1000))
    lab.write(FAN)
    assert lab.good().result("total") == sum(2 * x + 1 for x in range(1000))
    assert len(lab.ran()) == 2002
    numbers = list(range(1000))
    numbers[400] = 5000
    values(lab, numbers)
    run = lab.good(force_tasks=["make"])
    assert lab.ran() == ["make", "more 10000", "total", "work 5000"]
    assert run.result("total") == sum(2 * x + 1 for x in numbers)
    assert run.results("work")[400] == 10000
    why = lab.why(run, "work")
    assert why[400] == ("miss", "x: 400 → 5000")
    assert {decision for index, (decision, _) in why.items() if index != 400} == {"hit"}


def test_reordered_inputs_are_hits(lab: Any) -> None:
    values(lab, range(10))
    lab.write(FAN)
    lab.good()
    lab.ran()
    values(lab, reversed(range(10)))
    run = lab.good(force_tasks=["make"])
    assert lab.ran() == ["make", "total"]
    assert run.results("work") == [2 * x for x in reversed(range(10))]


def test_repeated_values_in_one_array_are_computed_and_found_like_others(lab: Any) -> None:
    values(lab, [7, 7, 7])
    lab.write(FAN)
    assert lab.good().results("work") == [14, 14, 14]
    lab.ran()
    values(lab, [7] * 9)
    assert lab.good(force_tasks=["make"]).results("work") == [14] * 9
    assert lab.ran() == ["make", "total"]


def test_an_equal_output_of_a_recomputed_task_stops_the_wave(lab: Any) -> None:
    values(lab, range(3))
    lab.write(FAN)
    lab.good()
    lab.ran()
    lab.edit("return x * 2", "return x + x")
    lab.good()
    assert lab.ran() == ["work 0", "work 1", "work 2"]


def test_root_tasks_are_cached(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def root() -> int:
        note("root")
        return 1
    """)
    first = lab.good()
    second = lab.good()
    assert lab.ran() == ["root"]
    assert lab.why(first, "root") == {None: ("miss", "no earlier result")}
    assert lab.why(second, "root") == {None: ("hit", f"computed by run {first.run_id}")}
    assert second.status()["summary"]["root"] == {"SUCCESS": 1, "total": 1, "cached": 1}


PARAMETERS = """
@wf.job()
def takes(year: Annotated[int, Param()] = 2000) -> int:
    note("takes", year)
    return year

@wf.job()
def other(name: Annotated[str, Param()] = "x", scale: float = 1.0) -> str:
    note("other", name, scale)
    return name
"""


def test_a_changed_parameter_recomputes_the_tasks_that_take_it(lab: Any) -> None:
    lab.write(PARAMETERS)
    lab.good()
    assert lab.ran() == ["other x 1.0", "takes 2000"]
    run = lab.good(year=2001)
    assert lab.ran() == ["takes 2001"]
    assert lab.why(run, "takes") == {None: ("miss", "year: 2000 → 2001")}
    lab.good(name="y")
    assert lab.ran() == ["other y 1.0"]


def test_a_default_that_is_given_is_the_same_value(lab: Any) -> None:
    lab.write(PARAMETERS)
    lab.good()
    lab.ran()
    lab.good(year=2000, name="x")
    assert lab.ran() == []


@pytest.mark.parametrize(("old", "new", "ran"), [("= 2000", "= 1999", "takes 1999"), ("= 1.0", "= 2.0", "other x 2.0")])
def test_defaults_count(lab: Any, old: str, new: str, ran: str) -> None:
    lab.write(PARAMETERS)
    lab.good()
    lab.ran()
    lab.edit(old, new)
    lab.good()
    assert lab.ran() == [ran]


def test_a_default_written_in_another_way_is_the_same_value(lab: Any) -> None:
    lab.write(PARAMETERS)
    lab.good()
    lab.ran()
    lab.edit("scale: float = 1.0", "scale: float = 1")
    lab.edit("= 2000", "= 1000 * 2")
    lab.good()
    assert lab.ran() == []


def test_the_version_counts(lab: Any) -> None:
    lab.write("""
    @wf.job(version="1")
    def one() -> int:
        note("one")
        return 1
    """)
    lab.good()
    lab.ran()
    lab.edit('version="1"', 'version="2"')
    run = lab.good()
    assert lab.ran() == ["one"]
    assert lab.why(run, "one") == {None: ("miss", "version: 1 → 2")}


CODE = '''
@wf.job()
def one(n: Annotated[int, Param()] = 3) -> int:
    """What it does."""
    note("one")  # says so
    return n + 1

@wf.job()
def two(one: Annotated[int, Result(step="one")]) -> int:
    note("two")
    return one
'''


def test_a_changed_body_recomputes(lab: Any) -> None:
    lab.write(CODE)
    assert lab.good().result("two") == 4
    lab.ran()
    lab.edit("return n + 1", "return n + 2")
    run = lab.good()
    assert run.result("two") == 5
    assert lab.ran() == ["one", "two"]
    assert lab.why(run, "one") == {None: ("miss", f"code (one in {lab.file.name}) changed")}
    assert lab.why(run, "two") == {None: ("miss", "one: 4 → 5")}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# says so", "# says something else"),
        ("What it does.", "What else it does."),
        ("return n + 1", "\n    return (n\n            + 1)"),
        ("@wf.job()\ndef one", "@wf.job(cpus=1, time='1h', retries=2)\ndef one"),
        ("def note", "HELPER = 1\n\ndef note"),
    ],
    ids=["comment", "docstring", "layout", "how it is run", "other code"],
)
def test_what_does_not_change_the_result_is_a_hit(lab: Any, old: str, new: str) -> None:
    lab.write(CODE)
    lab.good()
    lab.ran()
    lab.edit(old, new)
    lab.good()
    assert lab.ran() == []


def test_code_that_is_edited_but_not_loaded_again_is_not_taken_for_what_ran(lab: Any) -> None:
    flow = lab.write(CODE)
    lab.file.write_text(lab.file.read_text().replace("return n + 1", "return n + 2"))
    assert flow.run_local(lab.run_dir, executor="inline").result("two") == 4  # what this process knows
    lab.ran()
    lab.load()
    assert lab.good().result("two") == 5
    assert lab.ran() == ["one", "two"]


def test_a_task_of_the_same_name_in_another_workflow_is_no_hit(lab: Any) -> None:
    lab.write(CODE)
    lab.good()
    lab.ran()
    lab.edit("Workflow('lab')", "Workflow('laboratory')")
    run = lab.good()
    assert lab.ran() == ["one", "two"]
    assert lab.why(run, "one") == {None: ("miss", "no earlier result")}


def test_included_twice_under_two_prefixes_is_two_tasks(lab: Any) -> None:
    lab.write("""
    part = Flow("part")

    @part.job()
    def make() -> int:
        note("make")
        return 1

    wf.include(part, prefix="a")
    """)
    lab.good()
    lab.edit('wf.include(part, prefix="a")', 'wf.include(part, prefix="a")\nwf.include(part, prefix="b")')
    lab.good()
    assert lab.ran() == ["make", "make"]


AFTER = """
@wf.job(version="1")
def first() -> int:
    note("first")
    return 1

@wf.job(after=["first"])
def second() -> int:
    note("second")
    return 2
"""


def test_after_a_task_that_ran_is_recomputed(lab: Any) -> None:
    lab.write(AFTER)
    lab.good()
    assert lab.ran() == ["first", "second"]
    lab.good()
    assert lab.ran() == []
    lab.edit('version="1"', 'version="2"')
    run = lab.good()
    assert lab.ran() == ["first", "second"]
    assert lab.why(run, "second") == {None: ("miss", "ordered after first, which ran")}


def test_after_a_task_that_ran_since_is_recomputed(lab: Any) -> None:
    """The run in which the other one ran came no further: what is cached was computed before that."""
    lab.write(AFTER)
    lab.good()
    lab.edit("    return 2", "    if flag('fail'):\n        raise RuntimeError\n    return 2")
    lab.good()
    lab.edit('version="1"', 'version="2"')
    lab.touch("fail")
    assert lab.run().state.value == "FAILED"
    (lab.path / "fail").unlink()
    lab.ran()
    run = lab.good()
    assert lab.ran() == ["second"]
    assert lab.why(run, "first")[None][0] == "hit"
    assert lab.why(run, "second") == {None: ("miss", "ordered after first, which ran since")}
    lab.good()
    assert lab.ran() == []


FILES = """
@wf.array_job()
def produce(n: Annotated[int, Result(step="numbers")], run_dir: RunDir) -> Path:
    note("produce", n)
    path = Path(run_dir) / f"{n}.txt"
    path.write_text(str(n))
    return path

@wf.job()
def numbers() -> list[int]:
    note("numbers")
    return [1, 2, 3]

@wf.job()
def consume(paths: Annotated[list[Path], Result(step="produce")]) -> str:
    note("consume")
    return " ".join(path.read_text() for path in paths)
"""


@pytest.mark.parametrize("kind", ["Path", "str"])
def test_a_deleted_output_file_is_made_again(lab: Any, kind: str) -> None:
    lab.write(FILES)
    if kind == "str":
        lab.edit("-> Path", "-> str")
        lab.edit("return path", "return str(path)")
        lab.edit("list[Path]", "list[str]")
        lab.edit("path.read_text() for path", "Path(path).read_text() for path")
    lab.good()
    lab.ran()
    lab.good()
    assert lab.ran() == []
    gone = lab.run_dir / "2.txt"
    gone.unlink()
    run = lab.good()
    assert lab.ran() == ["consume", "produce 2"]
    assert lab.why(run, "produce")[1] == ("miss", f"output {gone} is gone")
    assert run.result("consume") == "1 2 3"


def test_a_changed_output_file_is_made_again_unless_it_is_trusted(lab: Any) -> None:
    lab.write(FILES)
    lab.good()
    lab.ran()
    spoilt = lab.run_dir / "3.txt"
    spoilt.write_text("spoilt")
    trusting = lab.good(verify=False)
    assert lab.ran() == ["consume"]  # the file that it reads is another one
    assert trusting.result("consume") == "1 2 spoilt"
    run = lab.good()
    assert "produce 3" in lab.ran()
    assert lab.why(run, "produce")[2] == ("miss", f"output {spoilt} has changed")
    assert run.result("consume") == "1 2 3"


def test_a_task_may_trust_its_outputs(lab: Any) -> None:
    lab.write(FILES)
    lab.edit("@wf.array_job()\ndef produce", "@wf.array_job(verify=False)\ndef produce")
    lab.good()
    (lab.run_dir / "1.txt").unlink()
    lab.ran()
    lab.run()
    assert "produce 1" not in lab.ran()


INPUTS = """
@wf.job()
def read(source: Annotated[{kind}, Param({policy})]) -> int:
    note("read")
    path = Path(source)
    return sum(p.stat().st_size for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
"""


@pytest.mark.parametrize("kind", ["Path", "str", "list[Path]", "Optional[Path]", "dict[str, Path]"])
@pytest.mark.parametrize("age", ["old", "young"])
def test_a_changed_file_behind_an_input_recomputes(lab: Any, kind: str, age: str) -> None:
    source = lab.path / "input.dat"
    source.write_text("a")
    if age == "old":
        old(source)
    taken = {"list[Path]": "source[0]", "dict[str, Path]": "source['a']"}.get(kind, "Path(source)")
    lab.write(INPUTS.format(kind=kind, policy="").replace("Path(source)", taken))
    value: Any = {"list[Path]": [source], "dict[str, Path]": {"a": source}, "str": str(source)}.get(kind, source)
    lab.good(source=value)
    lab.good(source=value)
    assert lab.ran() == ["read"]
    status = source.stat()
    source.write_text("b")  # of equal size; a young file may even keep its time stamp
    if age == "young":
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    run = lab.good(source=value)
    assert lab.ran() == ["read"]
    (reason,) = lab.why(run, "read").values()
    assert reason == ("miss", f"input {source} has changed" if age == "young" else "files of source changed")


@pytest.mark.parametrize("age", ["old", "young"])
def test_a_change_inside_an_input_directory_recomputes(lab: Any, age: str) -> None:
    top = lab.path / "input"
    (top / "deep").mkdir(parents=True)
    file = top / "deep" / "a"
    file.write_text("a")
    if age == "old":
        for path in (file, top / "deep", top):
            old(path)
    lab.write(INPUTS.format(kind="Path", policy=""))
    lab.good(source=top)
    lab.good(source=top)
    assert lab.ran() == ["read"]
    status = file.stat()
    file.write_text("b")
    if age == "young":
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    lab.good(source=top)
    assert lab.ran() == ["read"]
    (top / "deep" / "new").touch()
    lab.good(source=top)
    assert lab.ran() == ["read"]


def test_a_directory_named_by_a_string_is_only_a_string(lab: Any) -> None:
    top = lab.path / "input"
    top.mkdir()
    lab.write(INPUTS.format(kind="str", policy=""))
    lab.good(source=str(top))
    (top / "new").touch()
    lab.good(source=str(top))
    assert lab.ran() == ["read"]


@pytest.mark.parametrize("where", ["parameter", "task"])
@pytest.mark.parametrize(
    ("policy", "ran"), [("stat", [1, 1]), ("content", [0, 1]), ("name", [0, 0])], ids=["stat", "content", "name"]
)
def test_fingerprint_policies(lab: Any, policy: str, ran: list[int], where: str) -> None:
    source = lab.path / "input.dat"
    source.write_text("a")
    old(source)
    lab.write(INPUTS.format(kind="Path", policy=f'fingerprint="{policy}"' if where == "parameter" else ""))
    if where == "task":
        lab.edit("@wf.job()", f'@wf.job(fingerprint="{policy}")')
    lab.good(source=source)
    lab.ran()
    os.utime(source)  # another time stamp, the same content
    lab.good(source=source)
    assert len(lab.ran()) == ran[0]
    source.write_text("bb")
    lab.good(source=source)
    assert len(lab.ran()) == ran[1]


def test_a_file_from_upstream_counts_as_a_parameters_file_does(lab: Any) -> None:
    shared = lab.path / "shared.dat"
    shared.write_text("a")
    old(shared)
    lab.write("""
    @wf.job(verify=False)
    def name() -> Path:
        note("name")
        return HERE / "shared.dat"

    @wf.job()
    def read(path: Annotated[Path, Result(step="name")]) -> str:
        note("read")
        return path.read_text()
    """)
    lab.good()
    lab.ran()
    shared.write_text("b")
    assert lab.good().result("read") == "b"
    assert lab.ran() == ["read"]


def test_an_input_file_that_changes_during_the_run_is_not_cached(lab: Any) -> None:
    source = lab.path / "input.dat"
    source.write_text("a")
    old(source)
    lab.write("""
    @wf.job()
    def read(source: Annotated[Path, Param()]) -> str:
        note("read")
        seen = source.read_text()
        if flag("meddle"):
            source.write_text(seen + "!")
        return seen
    """)
    lab.touch("meddle")
    run = lab.good(source=source)
    assert run.result("read") == "a"
    assert run.status()["run"]["uncached"] == [
        {"task": "read", "elements": "0", "reason": "an input file changed while the run used it"}
    ]
    (lab.path / "meddle").unlink()
    source.write_text("a")
    before = time.time() - 100
    os.utime(source, (before, before))
    lab.good(source=source)
    assert lab.ran() == ["read", "read"]


def test_another_run_directory_recomputes_the_tasks_that_take_it(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def takes(run_dir: RunDir) -> str:
        note("takes")
        return "x"

    @wf.job(cache="portable")
    def portable(run_dir: RunDir) -> str:
        note("portable")
        return "x"

    @wf.job()
    def other() -> str:
        note("other")
        return "x"
    """)
    lab.good()
    assert lab.ran() == ["other", "portable", "takes"]
    run = lab.good(run_dir=lab.path / "elsewhere")
    assert lab.ran() == ["takes"]
    assert lab.why(run, "takes")[None][1].startswith('run_dir: "')
    lab.good(run_dir=lab.path / "elsewhere")
    assert lab.ran() == []


def test_a_run_directory_counts_by_its_path_alone(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def takes(run_dir: RunDir) -> str:
        note("takes")
        (run_dir / "made").touch()
        return "x"
    """)
    lab.good()
    (lab.run_dir / "more").touch()
    lab.good()
    assert lab.ran() == ["takes"]


def test_force(lab: Any) -> None:
    lab.write(CODE)
    lab.good()
    lab.ran()
    run = lab.good(force=True)
    assert lab.ran() == ["one", "two"]
    assert lab.why(run, "one") == {None: ("miss", "forced")}
    lab.good(force_tasks=["one"])
    assert lab.ran() == ["one"]
    lab.good()
    assert lab.ran() == []


def test_a_forced_result_replaces_the_cached_one(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def now() -> float:
        return time.time()
    """)
    lab.good()
    forced = lab.good(force=True).result("now")
    assert lab.good().result("now") == forced


def test_a_task_that_is_not_cached_runs_every_time(lab: Any) -> None:
    lab.write(CODE)
    lab.edit("@wf.job()\ndef one", "@wf.job(cache=False)\ndef one")
    lab.good()
    lab.ran()
    run = lab.good()
    assert lab.ran() == ["one"]
    assert lab.why(run, "one") == {None: ("miss", "caching is off for this task")}


def test_caching_can_be_switched_off(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(CODE)
    monkeypatch.setenv("REFLOW_CACHE_ENABLED", "false")
    lab.good()
    run = lab.good()
    assert lab.ran() == ["one", "one", "two", "two"]
    assert lab.why(run, "one") == {None: ("miss", "caching is switched off")}


@pytest.mark.parametrize("policy", ["warn", "ignore"])
def test_policies_that_take_results_of_other_code(lab: Any, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    monkeypatch.setenv("REFLOW_CACHE_POLICY", policy)
    lab.write(CODE)
    lab.good()
    lab.ran()
    lab.edit("return n + 1", "return n + 2")
    said: list[str] = []
    run = lab.good(on_progress=lambda step: said.append(step.message))
    assert lab.ran() == []
    assert run.result("two") == 4
    warned = [line for line in said if "computed by other code" in line]
    assert bool(warned) == (policy == "warn")
    assert [reason.partition(", ")[2] for _, reason in lab.why(run, "one").values()] == ["by other code than today's"]
    lab.good(n=9)  # other values are no hit under any policy
    assert lab.ran() == ["one", "two"]
    monkeypatch.setenv("REFLOW_CACHE_POLICY", "track")
    assert lab.good().result("two") == 5


def test_a_failure_is_not_cached(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def one() -> int:
        note("one")
        if not flag("fixed"):
            raise ValueError("no")
        return 1
    """)
    assert lab.run().state.value == "FAILED"
    lab.touch("fixed")
    lab.good()
    lab.good()
    assert lab.ran() == ["one", "one"]


def test_results_of_a_failed_run_are_kept(lab: Any) -> None:
    values(lab, range(4))
    lab.write(FAN)
    lab.edit('note("more", x)', 'note("more", x)\n    assert x != 4')
    assert lab.run().state.value == "FAILED"
    lab.ran()
    lab.run()
    assert lab.ran() == ["more 4"]


def test_values_of_equal_form_and_different_type_are_told_apart(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def one(x: Annotated[Union[int, str], Param()]) -> str:
        note("one", repr(x))
        return repr(x)
    """)
    assert lab.good(x=1).result("one") == "1"
    assert lab.good(x="1").result("one") == "'1'"


def test_an_int_for_a_float_is_the_same_value(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def one(
        x: Annotated[float, Param()],
        s: Annotated[set[int], Param()],
        d: Annotated[dict[str, int], Param()],
    ) -> float:
        note("one")
        return x
    """)
    lab.good(x=1, s={3, 1, 2}, d={"b": 1, "a": 2})
    lab.good(x=1.0, s={2, 3, 1}, d={"a": 2, "b": 1})
    assert lab.ran() == ["one"]


def test_concurrent_runs_share_a_cache(lab: Any) -> None:
    values(lab, range(30))
    lab.write(FAN)
    problems: list[BaseException] = []

    def go(number: int) -> None:
        try:
            lab.good(run_dir=lab.path / f"run{number}")
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    lab.ran()
    run = lab.good(run_dir=lab.path / "last")
    assert lab.ran() == []
    assert run.result("total") == sum(2 * x + 1 for x in range(30))


def test_two_runs_in_one_directory_do_not_disturb_each_other(lab: Any) -> None:
    lab.write(PARAMETERS)
    runs: dict[int, Any] = {}

    def go(number: int) -> None:
        runs[number] = lab.run(year=number)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: run.result("takes") for number, run in runs.items()} == {n: n for n in range(4)}
    assert len({run.run_id for run in runs.values()}) == 4


def test_a_cache_that_cannot_be_written_does_not_stop_a_run(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from reflow.store.segments import SegmentCache

    def refuse(self: Any, entries: Any) -> None:
        raise OSError(30, "Read-only file system")

    lab.write(CODE)
    with monkeypatch.context() as patch:
        patch.setattr(SegmentCache, "publish", refuse)
        said: list[str] = []
        lab.good(on_progress=lambda step: said.append(step.message))
    assert any("Read-only file system" in line for line in said)
    lab.good()  # it looks for what earlier runs could not publish
    assert lab.ran() == ["one", "two"]


def test_explain_names_what_changed(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def one(a: Annotated[int, Param()], b: Annotated[int, Param()]) -> int:
        return a + b
    """)
    lab.good(a=1, b=1)
    assert lab.why(lab.good(a=1, b=2), "one") == {None: ("miss", "b: 1 → 2")}
    assert lab.why(lab.good(a=3, b=2), "one") == {None: ("miss", "a: 1 → 3")}
    assert lab.why(lab.good(a=9, b=9), "one") == {None: ("miss", "a: 3 → 9, b: 2 → 9")}


def test_explain_keeps_the_reasons_of_what_a_retry_leaves_alone(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return [0, 1, 2]

    @wf.array_job()
    def work(x: Annotated[int, Param()], i: Annotated[int, Result(step="make")]) -> int:
        if i == 1 and not flag("fixed"):
            raise ValueError
        return x
    """)
    lab.touch("fixed")
    lab.good(x=1)
    (lab.path / "fixed").unlink()
    run = lab.run(x=2)
    assert lab.why(run, "work") == dict.fromkeys(range(3), ("miss", "x: 1 → 2"))
    lab.touch("fixed")
    lab.edit("raise ValueError", "raise TypeError")
    run.retry()
    told = lab.why(run, "work")
    assert told[0] == told[2] == ("miss", "x: 1 → 2")
    assert told[1] == ("miss", "failed before (error), no result")


def test_explain_tells_apart_components_that_have_swapped_their_values() -> None:
    from reflow.run.engine.nearest import _leave_one_out

    for number in range(100):
        one, other = f"{number:016x}", f"{number + 7919:016x}"
        here = set(_leave_one_out({"code": "", "x": one, "i": other}))
        there = set(_leave_one_out({"code": "", "x": other, "i": one}))
        assert not here & there


def test_explain_of_inputs_that_cannot_be_made_up(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def one() -> list[int]:
        return [1]

    @wf.job()
    def two() -> list[int]:
        return [1, 2]

    @wf.array_job()
    def both(a: Annotated[int, Result(step="one")], b: Annotated[int, Result(step="two")]) -> int:
        return a + b
    """)
    assert lab.why(lab.run(), "both") == {0: ("miss", "its inputs could not be made up")}


def test_explain_of_what_never_came_to_be(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def one() -> int:
        raise ValueError

    @wf.job()
    def two(one: Annotated[int, Result(step="one")]) -> int:
        return one
    """)
    assert lab.why(lab.run(), "two") == {None: ("none", "one failed")}
