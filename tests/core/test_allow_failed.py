"""A gather that goes on without what failed: what it is told of that, and what the cache makes of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from reflow import Failed, LocalExecutor
from reflow.errors import RunNotFound, WorkflowError
from reflow.model.codec import codec_of
from reflow.model.definition import Definition, Entry
from reflow.model.failed import marker, takes_failed
from reflow.model.record import Command, Expanded, Finished, Intent, Reset
from reflow.model.schema import Schema, item_of
from reflow.model.state import State
from reflow.model.task import Task
from reflow.run.definition.load import load_definition
from reflow.run.journal.report_reader import post
from reflow.run.views.status import look

SOME = """
@dataclass
class Point:
    x: float
    name: str = ""

@wf.job()
def make() -> list[int]:
    return [0, 1, 2, 3]

@wf.array_job(version="{version}")
def work(n: Annotated[int, Result(step="make")]) -> {returns}:
    if n == 1:
        raise ValueError("one is odd")
    if n == 3:
        sys.exit(7)
    return {value}

@wf.job()
def total(found: Annotated[list[{item}], Result(step="work", allow_failed=True)]) -> list[str]:
    note("total")
    return [repr(one) for one in found]
"""

ODD = "Failed(task='work', index=1, failure='error', reason='ValueError: one is odd')"
SEVEN = "Failed(task='work', index=3, failure='exit', reason='the task called sys.exit(7) instead of returning')"


@pytest.mark.parametrize(
    ("returns", "value", "item", "zero", "two"),
    [
        ("int", "n", "int | reflow.Failed", "0", "2"),
        ("int", "n", "reflow.Failed | float", "0.0", "2.0"),
        ("Point", "Point(n)", "Point | reflow.Failed", "Point(x=0.0, name='')", "Point(x=2.0, name='')"),
        ("Optional[int]", "n or None", "Union[int, None, reflow.Failed]", "None", "2"),
        ("dict[str, int]", "{'n': n}", "dict[str, int] | reflow.Failed", "{'n': 0}", "{'n': 2}"),
        ("list[int]", "[n, n]", "list[int] | reflow.Failed", "[0, 0]", "[2, 2]"),
    ],
)
def test_markers_stand_in_the_place_of_what_failed(
    lab: Any, returns: str, value: str, item: str, zero: str, two: str
) -> None:
    lab.write(SOME.format(version=1, returns=returns, value=value, item=item))
    run = lab.run()
    assert run.result("total") == [zero, ODD, two, SEVEN]
    assert run.state.value == "FAILED"


def test_markers_from_other_processes_and_among_flattened_items(lab: Any) -> None:
    lab.write(SOME.format(version=1, returns="list[int]", value="[n, n + 10]", item="int | reflow.Failed"))
    assert lab.run("local").result("total") == ["0", "10", ODD, "2", "12", SEVEN]


def test_who_has_no_room_for_markers_gets_what_succeeded(lab: Any) -> None:
    lab.write(SOME.format(version=1, returns="int", value="n", item="int"))
    assert lab.run().result("total") == ["0", "2"]


def test_markers_tell_tasks_apart_and_what_never_ran(lab: Any) -> None:
    lab.write("""
    @wf.job()
    def make() -> list[int]:
        return [1, 0]

    @wf.array_job()
    def first(n: Annotated[int, Result(step="make")]) -> float:
        return 1 / n

    @wf.array_job()
    def second(x: Annotated[float, Result(step="first")]) -> float:
        return 2 * x

    @wf.job()
    def total(
        found: Annotated[list[float | reflow.Failed], Result(steps=["first", "second"], allow_failed=True)],
    ) -> list[str]:
        return [str(one) if isinstance(one, float) else f"{one.task}[{one.index}] {one.failure}" for one in found]
    """)
    assert lab.run().result("total") == ["1.0", "first[1] error", "2.0", "second[1] skipped"]


def test_markers_are_part_of_what_is_cached(lab: Any) -> None:
    lab.write(SOME.format(version=1, returns="int", value="n", item="int | reflow.Failed"))
    lab.run()
    assert lab.ran() == ["total"]
    lab.run()
    assert lab.ran() == [], "the same results, and the same failures"
    lab.edit("one is odd", "one is strange")
    assert "strange" in lab.run().result("total")[1]
    assert lab.ran() == ["total"], "another failure is another value"
    lab.edit("    if n == 1:", "    if n == 2:")
    assert [one.partition("(")[0] for one in lab.run().result("total")] == ["0", "1", "Failed", "Failed"]
    assert lab.ran() == ["total"]


def test_what_was_computed_with_markers_is_computed_anew_once_they_are_gone(lab: Any) -> None:
    lab.write(SOME.format(version=1, returns="int", value="n", item="int | reflow.Failed"))
    run = lab.run()
    lab.edit("    if n == 1:", "    if n == 9:")
    lab.edit("    if n == 3:", "    if n == 9:")
    run.retry()
    assert run.state.value == "SUCCESS"
    assert run.result("total") == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            ", allow_failed=True",
            "",
            r"room for reflow\.Failed, but gets none; write Result\(\.\.\., allow_failed=True\)",
        ),
        ("list[int | reflow.Failed]", "list[reflow.Failed]", r"it is list\[Failed\], but gets all elements"),
        ("list[int | reflow.Failed]", "list[str | reflow.Failed]", r"it is list\[Failed \| str\], but gets all"),
        ('step="work"', 'step="make"', "allow_failed=True is for a single task that gathers"),
    ],
)
def test_static_mistakes(lab: Any, old: str, new: str, says: str) -> None:
    lab.write(SOME.format(version=1, returns="int", value="n", item="int | reflow.Failed"))
    lab.edit(old, new)
    with pytest.raises(WorkflowError, match=says):
        lab.flow.validate()


def test_a_class_of_that_name_is_no_marker() -> None:
    @dataclass
    class Failed:  # a user's own
        why: str

    mine = codec_of(list[int | Failed]).schema  # type: ignore[valid-type]  # a class made here
    assert not takes_failed(item_of(mine))


def test_a_marker_is_plain_data() -> None:
    codec = codec_of(list[int | Failed])
    failed = Failed("a.b", 3, "oom", "killed")
    item = item_of(codec.schema)
    assert takes_failed(item)
    assert codec.decode(b"[" + marker(failed, item) + b"]") == [failed]
    assert codec.encode([1, failed]) == b"[1," + marker(failed, item) + b"]"
    assert not takes_failed(item_of(codec_of(list[int]).schema))
    assert not takes_failed(item_of(codec_of(int | None).schema))


TWICE = """
@wf.job()
def make() -> list[int]:
    return [0, 1]

@wf.array_job()
def work(n: Annotated[int, Result(step="make")]) -> int:
    if n == 1 and not flag("mended"):
        raise ValueError("one is odd")
    return n

@wf.job()
def total(found: Annotated[list[int], Result(step="work", allow_failed=True)]) -> int:
    note("total", found)
    if flag("mended") and flag("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    return len(found)

@wf.job()
def long() -> int:
    while not flag("over"):
        time.sleep(0.02)
    return 1
"""


def test_a_result_of_a_part_is_never_kept_as_that_of_the_whole(lab: Any) -> None:
    """A gather is computed anew in the same process, and dies: what it gave before was of other inputs."""
    lab.write(TWICE)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(lab.run, LocalExecutor(max_workers=2))
        try:
            # A directory: the file there was first asks whether the place can be written.
            run = _once(lambda: next((path for path in (lab.run_dir / ".reflow").iterdir() if path.is_dir()), None))
            _once(lambda: look(str(run), load_definition(str(run))).tasks["total"].succeeded)
            lab.touch("mended")
            lab.touch("dies")
            post(str(run), Command(id="again", verb="retry", generation=1, by="somebody", at=time.time()))
            _once(lambda: "total [0, 1]\n" in (lab.path / "ledger").read_text())
        finally:
            lab.touch("over")
        assert ended.result().state.value == "FAILED"
    (lab.path / "dies").unlink()
    assert lab.good(LocalExecutor(max_workers=2)).result("total") == 2


def test_a_result_of_what_has_started_over_does_not_count() -> None:
    """It comes between the order to start over and the expansion with other inputs."""
    definition = Definition(
        run_id="r",
        workflow="w",
        created=1.0,
        run_dir="/",
        cwd="/",
        entry=Entry(),
        tasks=(Task(name="total", array=False, inputs=(), returns=Schema("int")),),
        executor="x",
    )
    state = State(definition)
    done = Finished(t="total", i=0, a=1, b=1.0, e=2.0, r=msgspec.Raw(b"1"))
    for event in (
        Expanded(task="total", size=1, part=0, pending="0", at=1.0),
        Intent(tag="a", task="total", elements="0", attempt=1, part=0, at=1.0, generation=1),
    ):
        state.apply(event)
    assert state.accepts(done)
    state.apply(Reset(task="total", elements="0", at=1.0, reason="retry"))
    assert not state.accepts(done)
    state.apply(Expanded(task="total", size=1, part=1, pending="0", at=1.0))
    assert not state.accepts(done), "it is another attempt now"


def _once(found: Any) -> Any:
    """Wait until there is something."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        with suppress(OSError, RunNotFound):
            if result := found():
                return result
        time.sleep(0.05)
    raise AssertionError("nothing came")
