"""The event log: torn at any byte it tells a former state, and a run goes on from there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow import LocalExecutor, Run, RunState
from reflow.errors import DataError, UsageError
from reflow.model import layout
from reflow.model.frames import HEAD, frame, parse
from reflow.model.record import SCHEMA, Epoch, Event, Finished, Intent
from reflow.model.state import State
from reflow.run.journal.lease import Owner, latest
from reflow.run.journal.log import Results, replay

decode = msgspec.json.Decoder(Event).decode

FLOW = """
@wf.job()
def make() -> list[int]:
    note("make")
    return [0, 1, 2]

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    note("work", x)
    return x

@wf.job()
def total(x: Annotated[list[int], Result(step="work")]) -> int:
    note("total")
    return sum(x)
"""


def log_of(run: Run) -> Path:
    (path,) = Path(run.root).glob("events/*/*.log")
    return path


def unsynced(run: Run) -> None:
    """Let the lease say what it says before its first beat: nothing is known to be durable."""
    path = Path(layout.lease(run.root, latest(run.root)))
    held = msgspec.json.decode(path.read_bytes(), type=Owner)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(held, length=0)))


def facts(state: State) -> dict[str, tuple[bytes, list[int], str]]:
    return {name: (bytes(one.status), list(one.attempt), one.state.value) for name, one in state.tasks.items()}


def test_a_log_torn_anywhere_is_the_state_of_what_is_whole(lab: Any) -> None:
    lab.write(FLOW)
    run = lab.good()
    unsynced(run)
    path = log_of(run)
    whole = path.read_bytes()
    state = State(run.definition)
    ends, position = [0], 0
    stories = [facts(state)]
    for payload in parse(whole)[0]:
        state.apply(decode(payload), 1, position + HEAD, len(payload))
        position += HEAD + len(payload) + 1
        ends.append(position)
        stories.append(facts(state))
    assert position == len(whole)
    for cut in range(ends[1], len(whole), 5):
        path.write_bytes(whole[:cut])
        torn = State(run.definition)
        span = replay(run.root, torn)
        count = sum(end <= cut for end in ends) - 1
        assert span.length == ends[count]
        assert facts(torn) == stories[count]


def test_a_run_whose_last_words_were_lost_goes_on_and_repeats_nothing(lab: Any) -> None:
    """What is cut off had not been synced: all that follows the last submission may be lost."""
    lab.write(FLOW)
    run = lab.good()
    lab.ran()
    unsynced(run)
    path = log_of(run)
    whole = path.read_bytes()
    position = start = 0
    for payload in parse(whole)[0]:
        position += HEAD + len(payload) + 1
        if isinstance(decode(payload), Intent):
            start = position
    for cut in range(start, len(whole), 41):
        path.write_bytes(whole[:cut])
        assert run.state is RunState.RUNNING
        run.retry()
        assert run.state is RunState.SUCCESS
        assert run.result("total") == 3
        assert lab.ran() == []
        for later in Path(run.root).glob("events/*/*.log"):
            if later != path:
                later.unlink()
        for later in Path(run.root).glob("lease/*/*"):
            if later.name != path.stem:
                later.unlink()


def test_damage_that_is_no_torn_tail_is_told_and_nothing_is_overwritten(lab: Any) -> None:
    lab.write(FLOW)
    lab.edit('note("total")', 'assert flag("fixed")')
    run = lab.run()
    lab.touch("fixed")
    run.retry()
    first, second = sorted(Path(run.root).glob("events/*/*.log"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    for look in (run.status, run.retry, lambda: run.state):
        with pytest.raises(DataError, match="damaged at byte"):
            look()
    assert first.read_bytes() == data
    first.unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        run.status()
    assert second.exists()


def test_a_newer_schema_is_told(lab: Any) -> None:
    lab.write(FLOW)
    run = lab.good()
    file = Path(run.root) / "run.json"
    file.write_bytes(file.read_bytes().replace(b'"schema":1', b'"schema":99'))
    with pytest.raises(DataError, match=r"written by reflow \S+ in schema 99; this is reflow"):
        Run.open(run.root)
    file.write_bytes(b"{")
    with pytest.raises(DataError, match="damaged"):
        Run.open(run.root)


def test_a_run_is_read_from_its_directory_alone(lab: Any) -> None:
    lab.write(FLOW)
    run = lab.good()
    moved = lab.path / "moved"
    lab.run_dir.rename(moved)
    found = Run.open(moved)
    assert found.run_id == run.run_id
    assert found.result("total") == 3
    assert lab.counts(found)["work"] == {"SUCCESS": 3}


def test_a_python_that_is_not_there_is_a_failure_and_no_hang(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(FLOW)
    monkeypatch.setenv("REFLOW_PYTHON", "/nowhere/python")
    run = lab.run(LocalExecutor(max_workers=1))
    assert run.state is RunState.FAILED
    (failure,) = run.status()["failures"]
    assert (failure["task"], failure["class"]) == ("make", "launch")
    assert "/nowhere/python" in failure["reason"]
    monkeypatch.delenv("REFLOW_PYTHON")


def test_code_that_is_made_anew_in_memory_is_what_retry_runs(tmp_path: Path) -> None:
    """As in a notebook, whose cell is corrected and run again: the new code's results have the new code's key."""
    import linecache

    session: dict[str, Any] = {"__name__": "session"}

    def cell(source: str) -> None:
        name = f"<cell {len(source)} {source}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), session)

    task = "@wf.job()\ndef one() -> int:\n    {}\n"
    cell("import reflow\nwf = reflow.Workflow('session')\n")
    cell(task.format("raise ValueError('old')"))
    wf = session["wf"]
    run = wf.run_local(tmp_path / "run", executor="inline")
    assert run.state is RunState.FAILED
    cell(task.format("return 5"))
    run.retry()
    assert run.result("one") == 5
    assert run.status()["run"]["generation"] == 2
    assert wf.run_local(tmp_path / "run", executor="inline").explain()[0]["decision"] == "hit"
    cell(task.format("return 6"))
    assert wf.run_local(tmp_path / "run", executor="inline").result("one") == 6


def test_a_path_that_is_not_utf8_is_refused_before_anything_is_written(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.write(FLOW)
    odd = lab.path / os.fsdecode(b"odd\xff")
    with pytest.raises(UsageError, match=r"not .*UTF-8"):
        lab.run(run_dir=odd)
    assert not odd.exists()
    odd.mkdir()
    monkeypatch.chdir(odd)
    with pytest.raises(UsageError, match=r"not .*UTF-8"):
        lab.run()
    assert list(lab.run_dir.glob(".reflow/*")) == []


def test_a_path_of_odd_characters(lab: Any) -> None:
    lab.write(FLOW)
    lab.edit("def make() -> list[int]:", "def make(run_dir: RunDir) -> list[int]:\n    (run_dir / 'made').touch()")
    odd = lab.path / "sp ace 'quo\"te\nnew ünï % $HOME #"
    for executor in ("inline", "local"):
        assert lab.good(executor, run_dir=odd, force=True).result("total") == 3
    assert (odd / "made").exists()


def test_a_file_that_is_seen_late_is_not_damaged(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host has said how much it wrote; this one sees the rest of it a moment later."""
    lab.write(FLOW)
    run = lab.good()
    path = log_of(run)
    whole = path.read_bytes()
    for early in (whole[:200], whole[: len(whole) // 2], b"", None):
        if early is None:
            path.unlink()
        else:
            path.write_bytes(early)
        looks: list[float] = []

        def wait(seconds: float, looks: list[float] = looks) -> None:
            looks.append(seconds)
            path.write_bytes(whole)

        with monkeypatch.context() as patch:
            patch.setattr("reflow.run.journal.log.PATIENCE", (0.1, 0.1))
            patch.setattr("time.sleep", wait)
            assert run.state is RunState.SUCCESS
        assert looks == [0.1]


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
def test_results_of_a_run_that_took_many_epochs_are_read(tmp_path: Path) -> None:
    """One that cron drives by steps, for weeks, has more event files than a process may open."""
    root, epochs = str(tmp_path), 200
    lengths = []
    for epoch in range(1, epochs + 1):
        path = Path(layout.events(root, epoch))
        path.parent.mkdir(parents=True, exist_ok=True)
        record = msgspec.json.encode(Finished(t="t", i=epoch, a=1, b=0.0, e=1.0, r=msgspec.Raw(b"%d" % epoch)))
        path.write_bytes(
            frame(
                msgspec.json.encode(
                    Epoch(schema=SCHEMA, epoch=epoch, former=0, length=0, host="", pid=0, at=0.0, version="")
                )
            )
            + frame(record)
        )
        lengths.append((path.stat().st_size - len(record) - 1, len(record)))
    before = len(os.listdir("/proc/self/fd"))
    results = Results(root)
    for _ in range(2):
        found = [bytes(results.record(epoch, *where).r) for epoch, where in enumerate(lengths, 1)]
        assert found == [b"%d" % epoch for epoch in range(1, epochs + 1)]
        assert len(os.listdir("/proc/self/fd")) < before + epochs // 2
    results.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_run_is_named_by_text_or_path() -> None:
    with pytest.raises(UsageError, match="3 is neither a run id nor a path"):
        Run.open(3)  # type: ignore[arg-type]
