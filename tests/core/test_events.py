"""The journal as a story, and the engine's decisions on the logger ``reflow``."""

from __future__ import annotations

import json
import logging
import os
import types
import typing
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from reflow import Run
from reflow.cli.main import main
from reflow.errors import DataError, UsageError
from reflow.model import layout, record
from reflow.model.names import FailureClass, RunState
from reflow.model.story import kind_of, sentence, time_of
from reflow.model.trace import event_tracer
from reflow.run.views.events import Journal

FLOW = """
@wf.job()
def make() -> list[int]:
    return [0, 1, 2]

@wf.array_job(retries=1)
def work(x: Annotated[int, Result(step="make")]) -> int:
    if x == 1:
        raise ValueError("no\\x1b[31m\\nmore")
    return x
"""


@pytest.fixture
def run(lab: Any) -> Run:
    """A run in which one element has failed twice."""
    lab.write(FLOW)
    found: Run = lab.run()
    return found


def any_value(tp: Any) -> Any:
    """Return a value of the type of a record's field."""
    values = {str: "w", int: 1, float: 1.5, bool: True, msgspec.Raw: msgspec.Raw(b"1"), RunState: RunState.FAILED}
    values |= {FailureClass: FailureClass.OOM, record.Resources: record.Resources(cpus=2)}
    if typing.get_origin(tp) in (typing.Union, types.UnionType):
        tp = get_args(tp)[0]
    if tp in values:
        return values[tp]
    if typing.get_origin(tp) is tuple:
        return ("w",)
    first, second = get_args(tp)
    return {any_value(first): any_value(second)}


@pytest.mark.parametrize("kind", get_args(record.Event), ids=lambda kind: kind.__name__)
def test_each_event_is_a_sentence_of_one_line(kind: Any) -> None:
    fields = typing.get_type_hints(kind)
    whole = {
        name: "0-2" if name in ("elements", "pending", "skipped") else any_value(tp) for name, tp in fields.items()
    }
    if "misses" in whole:
        whole["misses"] = {"no earlier\nresult": "0"}
    needed = {name: whole[name] for name in kind.__struct_fields__ if name in msgspec_required(kind)}
    for event in (kind(**whole), kind(**needed)):
        assert sentence(event)
        assert sentence(event).isprintable()
        assert kind_of(event) == kind.__struct_config__.tag
        assert time_of(event) in (0.0, 1.5)


def msgspec_required(kind: Any) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind) if field.required}


def test_a_run_is_told_from_its_beginning_to_its_end(run: Run) -> None:
    story = list(run.events())
    assert story[0]["event"] == "epoch"
    assert (story[-1]["event"], story[-1]["text"]) == ("run", "The run is FAILED: work failed")
    times = [event["at"] for event in story]
    assert None not in times
    of_one = [event["text"] for event in story if event["task"] == "work" and event["elements"] == "1"]
    assert "Attempt 1 failed on" in of_one[0]
    assert "(error): ValueError: no\x1b[31m more" in of_one[0]
    assert [text.partition(":")[0] for text in of_one[1:]] == [
        "Attempt 2 is scheduled",
        *(text.partition(":")[0] for text in of_one[2:-1]),
        "Failed finally",
    ]
    assert {event["task"] for event in story} == {None, "make", "work"}


def test_a_single_task_has_no_index(run: Run) -> None:
    assert {event["elements"] for event in run.events("make", [0])} == {None}


def test_only_events_of_the_elements_that_were_asked_for(run: Run) -> None:
    kinds = [event["event"] for event in run.events("work", [0])]
    assert kinds.count("finished") == 1
    assert "again" not in kinds
    assert "intent" in kinds, "an array job is about each of its elements"
    assert "submitted" in kinds, "what its submission's tag leads to is about them, too"
    assert "make" not in {event["task"] for event in run.events("work")}


def test_an_element_or_task_that_there_is_not(run: Run) -> None:
    with pytest.raises(UsageError, match="work has 3 elements, so there is no element 3"):
        list(run.events("work", [3]))
    with pytest.raises(UsageError, match="make is a single task"):
        list(run.events("make", [1]))
    with pytest.raises(UsageError, match="did you mean 'work'"):
        run.events("wrk")


def test_nothing_of_the_run_is_changed(run: Run) -> None:
    def files() -> dict[Path, tuple[bytes, int]]:
        found = [path for path in Path(run.root).rglob("*") if path.is_file()]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}

    before = files()
    assert list(run.events(follow=True)) == list(run.events())
    assert files() == before


def test_what_can_be_read_of_a_damaged_journal_is_told_before_the_damage(run: Run) -> None:
    path = Path(layout.events(run.root, 1))
    whole = list(run.events())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    told = []
    with pytest.raises(DataError, match=r"is damaged at byte \d+") as caught:
        told.extend(event for event in run.events())
    assert "reflow repair" in str(caught.value.hint)
    assert told == whole[: len(told)]


def test_a_journal_of_a_newer_schema_is_refused(run: Run) -> None:
    path = Path(layout.events(run.root, 1))
    first, rest = path.read_bytes().split(b"\n", 1)
    from reflow.model.frames import frame

    payload = json.loads(first[18:])
    path.write_bytes(frame(json.dumps({**payload, "schema": record.SCHEMA + 1}).encode()) + rest)
    with pytest.raises(DataError, match="; this is reflow"):
        list(run.events())


def test_a_journal_that_grows_is_read_on_from_where_it_was(run: Run) -> None:
    path = Path(layout.events(run.root, 1))
    data = path.read_bytes()
    lease = Path(layout.lease(run.root, 1))
    lease.write_text(json.dumps({**json.loads(lease.read_text()), "length": 0}))  # none of it is known to be durable
    whole = [event for event, *_ in Journal(run.root).new()]
    cut = data.index(b"\n", len(data) // 2) + 1
    path.write_bytes(data[: cut + 5])
    journal = Journal(run.root)
    first = [event for event, *_ in journal.new()]
    assert 0 < len(first) < len(whole)
    assert journal.offset == cut
    assert list(journal.new()) == []
    path.write_bytes(data)
    assert first + [event for event, *_ in journal.new()] == whole


def test_the_first_events_come_before_the_rest_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflow.worker.opener._AHEAD", 512)
    read: list[int] = []
    pread = os.pread

    def counted(file: int, size: int, offset: int) -> bytes:
        read.append(size)
        return pread(file, size, offset)

    story = run.events()
    monkeypatch.setattr(os, "pread", counted)
    next(story)
    assert sum(read) <= 1024
    assert len(list(story)) > 10
    assert max(read) <= 4096


def test_decisions_are_logged_where_somebody_listens(lab: Any, caplog: pytest.LogCaptureFixture) -> None:
    lab.write(FLOW)
    assert event_tracer() is None
    with caplog.at_level(logging.DEBUG, "reflow"):
        run = lab.run()
    told = [event["text"] for event in run.events()]
    logged = [entry.getMessage() for entry in caplog.records if entry.name == "reflow"]
    assert [message.rpartition(told[at])[1] for at, message in enumerate(logged[: len(told)])] == told
    assert any(message.startswith("work[1]: Attempt 2 is scheduled") for message in logged)


def test_debug_prints_decisions_for_one_command(lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lab.write(FLOW)
    words = ["run", str(lab.file), "--executor", "inline", "--run-dir", str(lab.run_dir)]
    assert main([*words, "--debug"]) == 1
    said = capsys.readouterr().err
    assert "make: The task has 1 element: 1 to run. Cache misses: no earlier result (1)" in said
    assert "no\\x1b[31m more" in said
    logger = logging.getLogger("reflow")
    assert (logger.handlers, logger.level) == ([], logging.NOTSET)
    assert main(words) == 1
    assert "debug:" not in capsys.readouterr().err


def test_commands_of_a_scheduler_and_advances_are_logged(sim: Any, caplog: pytest.LogCaptureFixture) -> None:
    there = sim()
    with caplog.at_level(logging.DEBUG, "reflow"):
        there.submit("@wf.job()\ndef one() -> int:\n    return 1\n")
        there.end()
    logged = [entry.getMessage() for entry in caplog.records]
    assert any(message.startswith("The advance is done; ") for message in logged)
    assert any("is about to be submitted; it waits for" in message for message in logged)


def test_a_command_that_was_run_is_logged_with_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    from reflow.process.runner import Runner

    with caplog.at_level(logging.DEBUG, "reflow"):
        Runner().run(["sh", "-c", "exit 3"])
    assert [entry.getMessage().partition(" after")[0] for entry in caplog.records] == ["sh -c exit 3 ended with 3"]
