"""A local run whose driver was killed, and whose files are damaged: nothing wrong is computed, nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from reflow.errors import DataError
from reflow.model import layout
from reflow.model.names import RunState
from reflow.run.journal.lease import Lease, Owner, latest, owner
from reflow.run.recovery.repair import repair
from reflow.run.service.api import Run, runs
from reflow.run.views import status as view
from reflow.worker.mailbox import born

SCRIPT = """
import os, pathlib, signal, time
from typing import Annotated
import reflow
from reflow import Result

wf = reflow.Workflow("cut")

def note(word):
    with open({ledger!r}, "a") as stream:
        stream.write(word + chr(10))

@wf.job()
def make() -> list[int]:
    return list(range(6))

def durable():
    (lease,) = pathlib.Path({run!r}).glob(".reflow/*/lease/*/*")
    return '"length":0,' not in lease.read_text()

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    note(f"work {{x}}")
    if x == 3 and not os.path.exists({mark!r}):
        open({mark!r}, "w").close()
        while os.environ.get("LATE") and not durable():
            time.sleep(0.05)
        os.kill(os.getppid(), signal.SIGKILL)
    return x + 1

@wf.job(env={{"TOKEN": "canary"}})
def total(xs: Annotated[list[int], Result(step="work")]) -> str:
    return f"{{sum(xs)}} {{os.environ.get('TOKEN')}}"

if __name__ == "__main__":
    wf.run_local({run!r}, max_workers=1, store_path={store!r})
"""


class Cut:
    """A run that was cut down in its fourth element of six."""

    def __init__(self, path: Path) -> None:
        names = {name: str(path / name) for name in ("mark", "run", "store", "ledger")}
        self.script, self.ledger, self.store = path / "cut.py", path / "ledger", names["store"]
        self.script.write_text(SCRIPT.format(**names))
        self.script.chmod(0o600)
        done = subprocess.run([sys.executable, str(self.script)], capture_output=True, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        self.run = Run.open(names["run"])
        self.root = Path(self.run.root)

    def ends_well(self) -> None:
        """Drive it to its end, with the right result, and each element run once."""
        assert self.run.drive() is RunState.SUCCESS, self.run.status()["failures"]
        assert self.run.result("total") == "21 canary"
        assert sorted(self.ledger.read_text().split("\n")) == ["", *(f"work {number}" for number in range(6))]


@pytest.fixture
def cut(tmp_path: Path) -> Cut:
    return Cut(tmp_path)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"canary")] ^= 1
    path.write_bytes(data)


HARM: dict[str, Callable[[Path], None]] = {
    "lost": Path.unlink,
    "truncated": lambda path: os.truncate(path, 10),
    "flipped": flip,
}


@pytest.mark.parametrize("how", HARM)
def test_no_task_runs_without_its_variables(cut: Cut, how: str) -> None:
    secrets = cut.root / "secrets.json"
    HARM[how](secrets)
    with pytest.raises(DataError, match=r"secrets\.json is (lost|damaged)"):
        cut.run.drive()
    assert cut.run.status()["summary"]["work"]["total"] == 6, "it may still be looked at"
    report = repair(str(cut.root))
    assert "the variables of total are lost" in report.problems[0]
    assert repair(str(cut.root)).problems == []
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert cut.run.drive() is RunState.FAILED
    assert "variables of total were lost with secrets.json" in cut.run.status()["failures"][0]["reason"]
    cut.run.retry()
    cut.ends_well()


def test_no_job_runs_without_what_it_inherits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_EXECUTOR_INHERIT_ENV", "SITE_KEY")
    monkeypatch.setenv("SITE_KEY", "secret")
    cut = Cut(tmp_path)
    (cut.root / "secrets.json").unlink()
    assert "what jobs inherit of the submission are lost" in repair(str(cut.root)).problems[0]
    assert cut.run.drive() is RunState.FAILED
    assert "what jobs inherit of the submission were lost" in cut.run.status()["failures"][0]["reason"]
    cut.run.retry()
    assert b"secret" in max(cut.root.glob("**/secrets*.json"), key=lambda path: path.stat().st_mtime).read_bytes()
    cut.ends_well()


@pytest.mark.parametrize("first", ["repair", "drive"])
def test_no_element_runs_code_that_was_not_submitted(cut: Cut, first: str) -> None:
    (frozen,) = cut.root.glob("code/1/*.py")
    frozen.write_text(frozen.read_text().replace("return x + 1", "return x + 3"))
    if first == "drive":
        assert cut.run.drive() is RunState.FAILED
        assert f"{frozen} is damaged" in cut.run.status()["failures"][0]["reason"]
    report = repair(str(cut.root))
    assert (report.problems, len(report.backups)) == ([], 1)
    assert "says the same to all tasks" in report.done[-1]
    assert frozen.stat().st_mode & 0o777 == 0o600
    if first == "drive":
        cut.run.retry()
    cut.ends_well()


@pytest.mark.parametrize("how", ["lost", "flipped"])
def test_what_was_reported_of_elements_whose_inputs_are_damaged_counts(cut: Cut, how: str) -> None:
    (inputs,) = (path for path in cut.root.glob("inputs/work.*") if path.suffix != ".idx")
    if how == "lost":
        inputs.unlink()
    else:
        data = bytearray(inputs.read_bytes())
        data[len(data) // 2] ^= 1
        inputs.write_bytes(data)
    assert repair(str(cut.root)).problems == []
    cut.ends_well()


def test_events_that_are_cut_short_soon_after_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder's first beat says how many bytes are durable, long before the second."""
    monkeypatch.setenv("LATE", "1")
    cut = Cut(tmp_path)
    (events,) = cut.root.glob("events/*/*.log")
    os.truncate(events, owner(str(cut.root), 1).length // 2)
    with pytest.raises(DataError, match="damaged"):
        cut.run.drive()
    assert repair(str(cut.root)).done
    cut.ends_well()


def test_results_of_code_that_was_mended_are_read(cut: Cut) -> None:
    cut.script.write_text(cut.script.read_text().replace("{sum(xs)}", "{sum(xs) + 1}"))
    cut.run.retry()
    assert cut.run.drive() is RunState.SUCCESS
    assert Run.open(cut.root).result("total") == "22 canary"


def test_a_definition_that_was_changed_is_not_gone_on_with(cut: Cut) -> None:
    path = Path(layout.definition(str(cut.root)))
    path.write_text(path.read_text().replace('"workflow":"cut"', '"workflow":"cot"'))
    with pytest.raises(DataError, match="differ"):
        Run.open(cut.root)


def test_all_that_show_it_say_that_it_stands_still(cut: Cut) -> None:
    assert cut.run.status()["run"]["status"] == "STALLED"
    (row,) = runs(cut.store)
    assert row["status"] == "STALLED"
    cut.ends_well()


def test_a_copy_is_as_private_as_its_script(cut: Cut) -> None:
    (frozen,) = cut.root.glob("code/1/*.py")
    assert frozen.stat().st_mode & 0o777 == 0o600


def test_a_holder_on_a_host_whose_clock_is_ahead(cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = latest(str(cut.root))
    lease = Path(layout.lease(str(cut.root), epoch))
    elsewhere = msgspec.structs.replace(owner(str(cut.root), epoch), host="elsewhere")
    lease.write_bytes(msgspec.json.encode(elsewhere).ljust(511) + b"\n")
    os.utime(lease, (time.time() + 86400,) * 2)
    monkeypatch.setattr(view, "BEAT", 0.05)
    assert cut.run.status()["run"]["status"] == "STALLED"
    beats = iter(range(1, 1000))
    monkeypatch.setattr(view, "owner", lambda *_: msgspec.structs.replace(elsewhere, counter=next(beats)))
    assert cut.run.status()["run"]["status"] == "RUNNING"


@pytest.mark.parametrize("verb", ["drive", "cancel", "retry"])
def test_who_waits_for_a_holder_that_may_live_says_so(cut: Cut, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = latest(str(cut.root))
    lease = Path(layout.lease(str(cut.root), epoch))
    elsewhere = msgspec.structs.replace(owner(str(cut.root), epoch), host="elsewhere", expiry=1.0)
    lease.write_bytes(msgspec.json.encode(elsewhere).ljust(511) + b"\n")
    monkeypatch.setitem(Lease.acquire.__func__.__kwdefaults__, "beat", 0.1)  # type: ignore[attr-defined]
    said: list[str] = []
    getattr(cut.run, verb)(on_progress=lambda event: said.append(event.message))
    assert sum("elsewhere, which holds the run's lease, is not heard of" in one for one in said) == 1


def test_a_process_that_only_waits_to_be_reaped_is_dead() -> None:
    child = subprocess.Popen(["sleep", "60"])
    mine = Owner(epoch=1, host=os.uname().nodename, pid=child.pid, born=born(child.pid))
    assert mine.born
    assert not mine.dead()
    child.kill()
    while born(child.pid):
        time.sleep(0.01)
    assert Path(f"/proc/{child.pid}").exists()
    assert mine.dead()
    child.wait()
