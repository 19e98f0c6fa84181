"""A run of an older schema is read as it is, goes on, and keeps what was there; one that nobody reads is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow import Run
from reflow.errors import DataError
from reflow.model import layout, migration
from reflow.model.frames import frame, parse
from reflow.model.migration import Fields, Step, upgrade
from reflow.model.record import SCHEMA
from reflow.run.recovery.repair import repair

FLOW = """
@wf.job()
def make() -> list[float]:
    note("make")
    return [0.0, 1.5, 1e300]

@wf.array_job()
def work(x: Annotated[float, Result(step="make")]) -> float:
    note("work", x)
    if x == 1.5 and not flag("fixed"):
        raise ValueError("no")
    return x

@wf.job()
def total(x: Annotated[list[float], Result(step="work")]) -> float:
    note("total")
    return sum(x)
"""

OLD = SCHEMA - 1


def rename(fields: Fields, old: str, new: str) -> None:
    if old in fields:
        fields[new] = fields.pop(old)


def definition(fields: Fields) -> None:
    rename(fields, "flow", "workflow")


def record(fields: Fields) -> None:
    """In this made-up former schema an element's index was `n`, and its result `value`."""
    rename(fields, "n", "i")
    rename(fields, "value", "r")


STEP = Step(definition=definition, event=record, mail=record)


def older(raw: bytes, *renamed: tuple[str, str]) -> bytes:
    """Write a record as that schema had it."""
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    for new, old in renamed:
        rename(fields, new, old)
    if "schema" in fields:
        fields["schema"] = msgspec.Raw(b"%d" % OLD)
    return msgspec.json.encode(fields)


def age(run: Run) -> None:
    """Turn a run's files into those of the older schema."""
    root = Path(run.root)
    for path in [root / "run.json", *root.glob("code/*/*.json")]:
        path.write_bytes(older(path.read_bytes(), ("workflow", "flow")))
    files = [*root.glob("events/*/*.log"), *root.glob("mailbox/*/*/*/*.*")]
    for path in files:
        payloads, _ = parse(path.read_bytes())
        path.write_bytes(b"".join(frame(older(one, ("i", "n"), ("r", "value"))) for one in payloads))
    for lease in root.glob("lease/*/*"):
        text = msgspec.json.decode(lease.read_bytes(), type=dict[str, Any])
        length = Path(layout.events(run.root, int(lease.name))).stat().st_size
        lease.write_bytes(msgspec.json.encode({**text, "length": length}))


@pytest.fixture
def old(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of which one element has failed, of the older schema."""
    lab.write(FLOW)
    run: Run = lab.run()
    lab.ran()
    age(run)
    lab.touch("fixed")
    monkeypatch.setitem(migration.STEPS, OLD, STEP)
    return run


def test_it_is_read_as_it_is_and_left_so(lab: Any, old: Run) -> None:
    before = {path: path.read_bytes() for path in Path(old.root).rglob("*") if path.is_file()}
    run = Run.open(old.run_dir)
    assert run.workflow == "lab"
    assert lab.counts(run)["work"] == {"SUCCESS": 2, "FAILED": 1}
    assert run.result("make") == [0.0, 1.5, 1e300]
    assert run.status(elements=True)["elements"]
    assert run.explain()
    assert {path: path.read_bytes() for path in Path(old.root).rglob("*") if path.is_file()} == before


def test_it_goes_on_and_what_was_there_is_kept(lab: Any, old: Run) -> None:
    root = Path(old.root)
    former = (root / "run.json").read_bytes()
    (log,) = root.glob("events/*/*.log")
    events = log.read_bytes()
    run = Run.open(old.run_dir)
    run.retry()
    assert run.state.value == "SUCCESS"
    assert run.result("total") == 1e300
    assert lab.ran() == ["total", "work 1.5"]
    assert msgspec.json.decode((root / "run.json").read_bytes())["schema"] == SCHEMA
    assert (root / f"run.json.schema-{OLD}").read_bytes() == former
    assert log.read_bytes() == events
    assert Run.open(old.run_dir).result("total") == 1e300


def test_it_is_repaired_like_any_other(lab: Any, old: Run) -> None:
    (log,) = Path(old.root).glob("events/*/*.log")
    data = bytearray(log.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    log.write_bytes(data)
    with pytest.raises(DataError, match="reflow repair"):
        old.status()
    report = repair(old.root)
    assert report.done
    assert not report.problems
    assert repair(old.root).done == []
    run = Run.open(old.run_dir)
    run.retry()
    assert run.result("total") == 1e300
    assert lab.ran() == ["total", "work 1.5"]


def test_one_that_nobody_reads_any_more_is_refused_and_left_alone(lab: Any, old: Run) -> None:
    del migration.STEPS[OLD]
    before = {path: path.read_bytes() for path in Path(old.root).rglob("*") if path.is_file()}
    for act in (lambda: Run.open(old.run_dir), lambda: repair(old.root), old.status, old.retry):
        with pytest.raises(DataError, match="older version of reflow"):
            act()
    after = {path: path.read_bytes() for path in Path(old.root).rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if "/lease/" not in str(path) and path in before} == {
        path: data for path, data in before.items() if "/lease/" not in str(path)
    }


def test_steps_follow_each_other_and_leave_the_rest_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(fields: Fields) -> None:
        rename(fields, "a", "b")

    def second(fields: Fields) -> None:
        rename(fields, "b", "c")

    monkeypatch.setitem(migration.STEPS, SCHEMA - 2, Step(event=first))
    monkeypatch.setitem(migration.STEPS, SCHEMA - 1, Step(event=second))
    raw = b'{"k":"x","a":1,"r":[1.0,-0.0, 1E5,123456789012345678901234567890]}'
    assert upgrade("event", raw, SCHEMA - 2) == raw.replace(b'"a":1,', b"").replace(b"}", b',"c":1}')
    assert upgrade("mail", raw, SCHEMA - 2) == raw
    assert upgrade("event", raw, SCHEMA) is raw
    assert migration.known(SCHEMA - 2)
    assert not migration.known(SCHEMA - 3)
    assert not migration.known(SCHEMA + 1)


def test_every_schema_since_the_first_is_read() -> None:
    assert sorted(migration.STEPS) == list(range(1, SCHEMA))
