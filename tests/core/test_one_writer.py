"""One process at a time writes a run; commands are mail, and what was read is not read again."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow import Run
from reflow.errors import LeaseLost
from reflow.model import layout
from reflow.model.frames import parse
from reflow.model.record import Asked, Command, Event, Intent
from reflow.run.drive.advance import advance
from reflow.run.journal import lease, report_reader
from reflow.run.journal.lease import Lease, latest
from reflow.run.journal.log import spans
from reflow.run.journal.report_reader import post
from reflow.run.journal.writer import Writer
from reflow.run.views.status import look
from reflow.worker.trust import trust

from .scheduled import cluster, finish

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

#: takes the lease of a run and writes, again and again, with no regard to whether it still may
HOLDER = """
import sys, time
from reflow.model.record import Asked
from reflow.run.journal.lease import Lease
from reflow.run.journal.writer import Writer
from reflow.errors import LeaseLost

lease = Lease.acquire(sys.argv[1], expiry=1.0, beat=0.05)
writer = Writer(sys.argv[1], lease)
print("holds", flush=True)
for line in sys.stdin:
    careful = line.strip() == "careful"
    try:
        if careful:
            writer.check()
        writer.add(Asked(at=time.time(), problem="said by the frozen one"))
        writer.commit()
        print("wrote", flush=True)
    except LeaseLost as error:
        print("lost:", error.message, flush=True)
"""


def wait_for(condition: Callable[[], object], limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def intents(run: Run) -> list[Intent]:
    found = []
    for span in spans(run.root):
        data = Path(layout.events(run.root, span.epoch)).read_bytes()
        for payload in parse(data[: span.length])[0]:
            event = msgspec.json.decode(payload, type=Event)
            if isinstance(event, Intent):
                found.append(event)
    return found


def test_a_frozen_owner_that_thaws_changes_nothing(lab: Any) -> None:
    lab.write(FLOW)
    run = lab.good()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, run.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    stdin, stdout = holder.stdin, holder.stdout

    def tell(word: str) -> str:
        stdin.write(word + "\n")
        stdin.flush()
        return stdout.readline()

    try:
        assert stdout.readline() == "holds\n"
        assert tell("careful") == "wrote\n"
        assert Lease.acquire(run.root, expiry=1.0, beat=0.05) is None, "it beats, so it lives"
        os.kill(holder.pid, signal.SIGSTOP)
        lease = Lease.acquire(run.root, patience=60.0, expiry=1.0, beat=0.05)
        assert lease is not None
        writer = Writer(run.root, lease)
        before = look(run.root, run.definition)
        own = Path(layout.events(run.root, lease.epoch))
        size = own.stat().st_size
        os.kill(holder.pid, signal.SIGCONT)
        assert tell("careful").startswith("lost: ")
        assert tell("heedless") == "wrote\n", "nothing hinders it, to show that it does not matter"
        assert tell("heedless") == "wrote\n"
        after = look(run.root, run.definition)
        assert after.asked == before.asked
        assert own.stat().st_size == size
        lease.check()
        writer.commit()
        writer.close()
    finally:
        holder.kill()
        holder.wait()
        stdin.close()
        stdout.close()
    assert look(run.root, run.definition).asked == before.asked
    again = Lease.acquire(run.root)
    assert again is not None
    again.release()


def test_two_that_advance_at_once_never_both_write(lab: Any) -> None:
    """Many threads, each as a process of its own would: every element is submitted once, by whoever was first."""
    lab.write(FLOW)
    site = cluster()
    site.held = True
    run = lab.flow.submit(lab.run_dir, executor=site)
    writing: Counter[int] = Counter()
    clashes: list[int] = []
    add = Writer.add

    def watched(self: Writer, event: Any, payload: bytes | None = None) -> None:
        own = threading.get_ident()
        writing[own] += 1
        if len([one for one in writing if writing[one]]) > 1:
            clashes.append(own)
        add(self, event, payload)
        writing[own] -= 1

    Writer.add = watched  # type: ignore[method-assign]
    problems: list[BaseException] = []

    def go() -> None:
        try:
            for _ in range(4):
                advance(run.root, site, chain=False)
        except BaseException as error:
            problems.append(error)

    try:
        for _ in range(3):
            site.held = False
            site.advance(60.0)
            site.held = True
            threads = [threading.Thread(target=go) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        Writer.add = add  # type: ignore[method-assign]
    assert not problems
    assert not clashes
    finish(run, site)
    assert run.result("total") == 3
    assert lab.ran() == ["make", "total", "work 0", "work 1", "work 2"]
    assert sorted(one.task for one in intents(run)) == ["make", "total", "work"]
    epochs = [span.epoch for span in spans(run.root)]
    assert epochs == sorted(set(epochs))


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_a_command_works_while_an_advance_is_under_way(lab: Any, verb: str) -> None:
    lab.write(FLOW)
    if verb == "retry":
        lab.edit('note("total")', 'note("total"); assert flag("fixed")')
    site = cluster()
    site.held = True
    run = lab.flow.submit(lab.run_dir, executor=site)
    if verb == "retry":
        finish(run, site)
        lab.touch("fixed")
    lease = Lease.acquire(run.root, beat=0.05)  # somebody advances it, and takes long
    assert lease is not None
    post(run.root, Command(id="mine", verb=verb, at=time.time()))
    assert advance(run.root, site, chain=False) is None
    assert "mine" not in look(run.root, run.definition).obeyed
    lease.release()
    advance(run.root, site, chain=False)
    assert "mine" in look(run.root, run.definition).obeyed
    finish(run, site)
    assert run.state.value == ("CANCELLED" if verb == "cancel" else "SUCCESS")


def test_a_listing_that_is_older_than_what_it_lists(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On network file systems: new files are not listed yet, and are found by opening them."""
    lab.write(FLOW)
    run = lab.run()
    before = latest(run.root)
    stale = {path: os.listdir(path) for path, _, _ in os.walk(run.root)}
    lease = Lease.acquire(run.root, beat=0.05)
    assert lease is not None
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path=".": stale.get(os.fspath(path)) or listdir(path))
    assert latest(run.root) == before + 1
    assert Lease.acquire(run.root) is None
    lease.check()
    lease.release()
    following = Lease.acquire(run.root)
    assert following is not None
    assert following.epoch == before + 2
    with pytest.raises(LeaseLost, match="taken over"):
        lease.check()
    following.release()


def test_mail_is_read_once_and_what_has_ended_is_not_looked_at(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes read in all are bytes written: an advance that finds nothing new reads nothing."""
    lab.write(FLOW)
    lab.edit("return [0, 1, 2]", "return list(range(6))")
    site = cluster(places=2)
    site.held = True
    run = lab.flow.submit(lab.run_dir, executor=site)
    read: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    pread, open_, close = os.pread, os.open, os.close
    names: dict[int, str] = {}
    inside = threading.local()

    def note_open(path: Any, *args: Any, **named: Any) -> int:
        file = open_(path, *args, **named)
        if getattr(inside, "mail", False):
            names[file] = os.fspath(path)
            opened[os.fspath(path)] += 1
        return file

    def note_close(file: int) -> None:
        names.pop(file, None)
        close(file)

    def note_pread(file: int, count: int, offset: int) -> bytes:
        data = pread(file, count, offset)
        if file in names:
            read[names[file]] += len(data)
        return data

    read_box = report_reader.read_box

    def watched(*args: Any) -> Any:
        inside.mail = True
        try:
            return read_box(*args)
        finally:
            inside.mail = False

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "close", note_close)
    monkeypatch.setattr(os, "pread", note_pread)
    monkeypatch.setattr(report_reader, "read_box", watched)
    site.held = False
    for _ in range(60):
        site.advance(1.0)
        advance(run.root, site, chain=False)
        if Path(run.root, "mailbox").exists() and look(run.root, run.definition).run.ended:
            break
    monkeypatch.undo()
    assert run.result("total") == 15
    boxes = {str(path): path.stat().st_size for path in Path(run.root, "mailbox").glob("*/*/*/*.*")}
    assert boxes
    for box, size in boxes.items():
        # Started and finished may be read apart, and `look` reads what no event tells; no byte is read without end.
        assert read[box] <= 3 * size, (box, read[box], size)


def test_ingesting_the_same_mail_again_changes_nothing(lab: Any) -> None:
    lab.write(FLOW)
    run = lab.good("local")
    lease = Lease.acquire(run.root)
    assert lease is not None
    writer = Writer(run.root, lease)
    before = {name: bytes(progress.status) for name, progress in writer.state.tasks.items()}
    for path in Path(run.root, "mailbox").glob("*/*/*/*.*"):
        box = str(path)[len(f"{run.root}/mailbox/") :]
        letter = report_reader.read_box(run.root, box, 0, report_reader.frozen_trust(writer.state))
        assert letter is not None
        for record, _ in letter.records:
            if hasattr(record, "t"):
                assert not writer.state.accepts(record)
    writer.close()
    after = look(run.root, run.definition)
    assert {name: bytes(progress.status) for name, progress in after.tasks.items()} == before


def test_a_mailbox_torn_anywhere_is_read_up_to_there_and_on_from_there(lab: Any, tmp_path: Path) -> None:
    lab.write(FLOW)
    run = lab.good("local")
    path = max(Path(run.root, "mailbox").glob("*/*/*/*.*"), key=lambda one: one.stat().st_size)
    whole = path.read_bytes()
    root = tmp_path / "other"
    (root / "mailbox").mkdir(parents=True)
    box = root / "mailbox" / "0.1"
    shutil.copy(path, box)
    trusted = trust()
    everything = report_reader.read_box(str(root), "0.1", 0, trusted)
    assert everything is not None
    for cut in range(0, len(whole), 7):
        box.write_bytes(whole[:cut])
        first = report_reader.read_box(str(root), "0.1", 0, trusted)
        assert first is not None
        assert first.upto <= cut
        box.write_bytes(whole)
        rest = report_reader.read_box(str(root), "0.1", first.upto, trusted)
        assert rest is not None
        assert [*first.records, *rest.records] == everything.records
        # Who only looks reads the last record again: what runs now is in no event.
        again = report_reader.read_box(str(root), "0.1", first.upto, trusted, last=True)
        assert again is not None
        assert again.records == everything.records[max(0, len(first.records) - 1) :]
    assert report_reader.read_box(str(root), "none", 0, trusted) is None


@pytest.mark.parametrize("while_", ["beating", "claiming"])
def test_a_beat_counts_from_when_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, while_: str) -> None:
    """Others may have seen it at once, however long the file server, or a stopped process, took to go on."""
    seconds = [0.0]
    monkeypatch.setattr("reflow.run.journal.lease.clock", lambda: seconds[0])
    real = os.fsync
    stalls = threading.Event()

    def stalled(file: int) -> None:
        real(file)
        if stalls.is_set():
            stalls.clear()
            seconds[0] += 1000.0

    (tmp_path / "lease").mkdir()
    monkeypatch.setattr(os, "fsync", stalled)
    if while_ == "claiming":
        stalls.set()
    held = Lease.acquire(str(tmp_path), expiry=100.0, beat=0.01)
    assert held is not None
    try:
        if while_ == "beating":
            held.check()
            stalls.set()
        wait_for(lambda: not stalls.is_set())
        time.sleep(0.1)
        with pytest.raises(LeaseLost):
            held.check()
    finally:
        held.release()


def test_who_was_stopped_while_it_watched_knows_nothing_of_that_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that beats all the while is not taken for dead by one that could not look."""
    seconds = [0.0]
    (tmp_path / "lease").mkdir()
    holder = Lease.acquire(str(tmp_path), expiry=100.0, beat=1000.0)
    assert holder is not None
    monkeypatch.setattr("reflow.run.journal.lease.clock", lambda: seconds[0])
    looks = [0]
    owner = lease.owner

    def stopped(*args: Any) -> lease.Owner:
        found = owner(*args)
        looks[0] += 1
        if looks[0] == 2:
            seconds[0] += 1000.0
        return found

    monkeypatch.setattr(lease, "owner", stopped)
    try:
        watch = lease.Watch()
        assert Lease.acquire(str(tmp_path), watch=watch) is None
        assert Lease.acquire(str(tmp_path), watch=watch) is None
        seconds[0] += 101.0
        taken = Lease.acquire(str(tmp_path), watch=watch)
        assert taken is not None, "it has looked again since, and found it still"
        taken.release()
    finally:
        holder.release()


def test_a_number_of_another_process_id_space_is_nobody_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may share its host's name, and has processes of its own."""
    (tmp_path / "lease").mkdir()
    with monkeypatch.context() as inside:
        inside.setattr(os, "getpid", lambda: 2**22 + 1)  # there is none of that number
        inside.setattr(lease, "space", lambda: "pid:[1]")
        held = Lease.acquire(str(tmp_path), beat=0.05)
    assert held is not None
    try:
        assert Lease.acquire(str(tmp_path)) is None
        monkeypatch.setattr(lease, "space", lambda: "pid:[1]")
        taken = Lease.acquire(str(tmp_path))
        assert taken is not None, "seen from inside, it is gone"
        taken.release()
    finally:
        held.release()


def test_a_full_disk_after_a_long_stop_leaves_no_lease_behind(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(FLOW)
    site = cluster()
    run = lab.flow.submit(lab.run_dir, executor=site)
    finish(run, site)
    held = Lease.acquire(run.root)
    assert held is not None
    writer = Writer(run.root, held)
    monkeypatch.setattr(held, "_lapsed", True)
    writer.add(Asked(at=1.0))
    pwrite = os.pwrite

    def full(file: int, data: bytes, at: int) -> int:
        if at:  # an event file, not the lease
            raise OSError(errno.ENOSPC, "no space left on device")
        return pwrite(file, data, at)

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="no space") as told:
            writer.check()
        assert told.value.filename == writer._log.path, "who has no room left is told where"
        with pytest.raises(OSError, match="no space"):
            writer.close()
    again = Lease.acquire(run.root, watch=lease.Watch())
    assert again is not None
    again.release()
    assert look(run.root, run.definition).run.ended, "and what is there is read"
