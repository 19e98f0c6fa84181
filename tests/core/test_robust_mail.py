"""What is damaged, unreadable or nobody's stops no run; what is secret stands in no file that others may read."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow.errors import DataError
from reflow.model import layout
from reflow.model.cache import CacheEntry
from reflow.model.frames import frame
from reflow.plugin import JobRef, Limits
from reflow.run.drive import pool as driving
from reflow.run.drive.advance import advance
from reflow.run.journal.lease import Lease, latest, owner
from reflow.run.views.status import look
from reflow.store.sqlite import SqliteCache
from reflow.testing import MemoryCluster

from .scheduled import cluster

ONE = """
@wf.job()
def one() -> int:
    note("one")
    if not flag("fixed"):
        raise ValueError("no")
    return 1
"""


@pytest.mark.parametrize(
    "data", [b"", b'{"id":"x"', b"\xff\xfe", b"[]", b'{"id":"x","verb":7}', b'{"id":"other","verb":"retry"}', None]
)
def test_a_command_that_cannot_be_read_is_passed_over_once(lab: Any, data: bytes | None) -> None:
    lab.write(ONE)
    run = lab.run()
    poison = Path(layout.commands(run.root)) / "x.json"
    poison.parent.mkdir(exist_ok=True)
    if data is None:
        poison.mkdir()
    else:
        poison.write_bytes(data)
    lab.touch("fixed")
    told: list[str] = []
    run.retry(on_progress=lambda progress: told.append(progress.message))
    assert run.state.value == "SUCCESS"
    assert lab.ran() == ["one", "one"]
    assert look(run.root, run.definition).obeyed["x"] == f"{poison} holds no command, and is passed over"
    assert len([message for message in told if "holds no command" in message]) == 1
    run.retry(on_progress=lambda progress: told.append(progress.message))
    assert len([message for message in told if "holds no command" in message]) == 1


@pytest.mark.parametrize("data", [b"", b'{"epoch":1', b"\xff" * 512, b"\0" * 512, b"[1]"])
def test_a_damaged_lease_is_refused_or_by_a_wake_up_taken_over_after_its_expiry(lab: Any, data: bytes) -> None:
    lab.write(ONE)
    run = lab.run()
    epoch = latest(run.root)
    Path(layout.lease(run.root, epoch)).write_bytes(data)
    assert run.status()["run"]["status"] == "FAILED"
    with pytest.raises(DataError, match="is damaged, and no process has written it anew") as refused:
        Lease.acquire(run.root, expiry=60.0, beat=0.02)
    assert refused.value.hint == f"`reflow repair {run.root}` puts it in order"
    began = time.monotonic()
    lease = Lease.acquire(run.root, expiry=0.3, beat=0.02, woken=True)
    assert time.monotonic() - began > 0.3, "whoever holds it may be alive"
    assert lease is not None
    lease.release()
    assert owner(run.root, epoch + 1).released


def test_a_damaged_lease_of_a_live_holder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "lease").mkdir()
    lease = Lease.acquire(str(tmp_path), expiry=60.0, beat=0.1)
    assert lease is not None
    os.truncate(layout.lease(str(tmp_path), 1), 0)
    assert Lease.acquire(str(tmp_path), expiry=30.0, beat=0.1) is None
    lease.check()
    lease.release()


def test_a_name_that_is_looked_up_for_ever_does_not_hold_up_a_wake_up(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that advances the run goes on after the time-out, and can end: what waits is a daemon thread."""
    settings = lab.path / "config.toml"
    settings.write_text(
        '[notifications]\nmail_type = ["FAIL"]\n[notifications.webhook]\nurl = "http://x.invalid/"\ntimeout = 0.1\n'
    )
    settings.chmod(0o600)
    monkeypatch.setenv("REFLOW_CONFIG", str(settings))
    done = threading.Event()
    waiting: list[threading.Thread] = []

    def resolve(*_: object, **__: object) -> list[object]:
        waiting.append(threading.current_thread())
        done.wait()
        return []

    nodes = cluster()
    run = lab.write(ONE).submit(lab.run_dir, executor=nodes)
    monkeypatch.setattr("socket.getaddrinfo", resolve)
    told: list[str] = []
    try:
        while not run.state.ended:
            nodes.advance(60.0)
            advance(run.root, nodes, chain=False, on_progress=lambda progress: told.append(progress.message))
        assert [thread.daemon for thread in waiting] == [True]
    finally:
        done.set()
        for thread in waiting:
            thread.join()
    assert any("it took longer than 0.1 s" in message for message in told), told


def test_a_claim_without_a_job_id_ends_by_its_record_or_by_the_grace_period(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFLOW_RUN_GRACE", "1s")
    lab.touch("fixed")
    cluster = MemoryCluster(limits=Limits(visibility_lag=0.0))
    cluster.held = True
    cluster.break_down("submit", done=True)

    def claimed(tags: Collection[str]) -> Mapping[str, JobRef]:
        for tag in tags:
            claim = Path(layout.tag(root(), tag))
            claim.parent.mkdir(exist_ok=True)
            claim.write_text("claimed ")
        return {}

    def root() -> str:
        (found,) = (lab.run_dir / ".reflow").iterdir()
        return str(found)

    monkeypatch.setattr(cluster, "find", claimed)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.1)))
    run = lab.write(ONE).submit(lab.run_dir, executor=cluster)
    advance(run.root, cluster, chain=False)
    sleep(1.1)
    advance(run.root, cluster, chain=False)
    events = b"".join(path.read_bytes() for path in sorted(Path(run.root, "events").rglob("*.log")))
    assert events.count(b'"k":"gone"') == 1, "it is said once"
    (failed,) = (line for line in events.split(b"\n") if b'"k":"failed"' in line)
    assert b'"f":"lost"' in failed
    assert b"it has started, and the scheduler does not know it" in failed
    assert b'"id":""' not in events
    state = look(run.root, run.definition)
    assert state.tasks["one"].attempt[0] == 2, "lost elements are tried again"


def test_a_failure_that_is_reported_is_not_run_again_by_its_scheduler(lab: Any) -> None:
    """The next attempt may run already, or the failure may be final."""
    where = cluster()
    lab.write(ONE).submit(lab.run_dir, executor=where)
    assert lab.ran() == ["one"]
    (job,) = [slots[0].job for slots in where._slots.values() if slots[0].job.spec is not None]
    lab.touch("fixed")
    again = subprocess.run(
        ["bash", job.script], env=dict(os.environ), stdin=subprocess.DEVNULL, check=False, timeout=60
    )
    assert again.returncode == 0
    assert lab.ran() == []


class Broken:
    """A cache whose every call fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def lookup(self, keys: object) -> Any:
        raise self.error

    def history(self, workflow: str, task: str) -> Iterable[CacheEntry]:
        raise self.error

    def publish(self, entries: object) -> None:
        raise self.error

    def close(self) -> None:
        raise self.error


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), DataError("damaged"), OSError(5, "no")])
def test_a_cache_that_fails_stops_no_run(lab: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(driving, "cache_of", lambda *_: Broken(error))
    lab.touch("fixed")
    lab.write(ONE)
    told: list[str] = []
    run = lab.good(on_progress=lambda progress: told.append(progress.message))
    assert run.result("one") == 1
    assert f"the cache cannot be used now, and nothing is taken from it: {error}" in told
    assert f"results cannot be kept in the cache now: {error}" in told


def test_what_the_cache_passes_over_is_said_once(lab: Any) -> None:
    lab.touch("fixed")
    lab.write(ONE)
    newer = Path(os.environ["REFLOW_STORE_PATH"]) / "cache" / "segments" / "lab" / "newer.log"
    newer.parent.mkdir(parents=True)
    newer.write_bytes(frame(b'{"reflow":"cache-segment","format":2}'))
    told: list[str] = []
    lab.good(on_progress=lambda progress: told.append(progress.message))
    assert len([message for message in told if f"{newer} was written by a newer reflow" in message]) == 1


def test_a_damaged_sqlite_cache_stops_no_run(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_CACHE_BACKEND", "sqlite")
    lab.touch("fixed")
    lab.write(ONE)
    lab.good()
    file = Path(os.environ["REFLOW_STORE_PATH"]) / "cache" / "cache.sqlite"
    file.write_bytes(b"no database " * 1000)
    assert lab.good().result("one") == 1
    assert lab.ran() == ["one", "one"]


@pytest.mark.parametrize("kind", [sqlite3.InterfaceError, sqlite3.Error, sqlite3.ProgrammingError])
def test_every_error_of_sqlite_is_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind("odd")

    cache = SqliteCache(tmp_path / "cache.sqlite")
    monkeypatch.setattr(SqliteCache, "_open", fail)
    with pytest.raises(DataError, match="odd"):
        cache.lookup(["a"])
    with pytest.raises(DataError, match="odd"):
        cache.publish([CacheEntry(key="a", workflow="w", task="t", result=msgspec.Raw(b"1"))])


def test_further_inherited_variables_stand_in_no_file_that_others_may_read(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "t0k'en\nxyzzy")
    monkeypatch.setenv("LANG", "C.UTF-8")
    (lab.path / "reflow.toml").write_text('[executor]\ninherit_env = ["MY_TOKEN"]\n')
    cluster = MemoryCluster()
    cluster.held = True
    run = lab.write(ONE).submit(lab.run_dir, executor=cluster)
    files = [path for path in Path(run.root).rglob("*") if path.is_file()]
    private = {path.name for path in files if not path.stat().st_mode & 0o077}
    assert {"secrets.json", "inherited.env"} <= private
    for path in files:
        if path.name not in private:
            assert b"xyzzy" not in path.read_bytes(), path
    assert run.definition.environment["LANG"] == "C.UTF-8"
    scripts = [path for path in files if path.suffix == ".sh"]
    assert len(scripts) == 2, "the task's and the wake-up's"
    for script in scripts:
        text = script.read_text()
        shown = text[: text.index("${REFLOW_EXEC-}")] + 'printf %s "$MY_TOKEN" >' + str(lab.path / "shown")
        environ = {"PATH": os.environ["PATH"]}
        subprocess.run(["bash", "-c", shown], env=environ, check=True, timeout=30)
        assert (lab.path / "shown").read_text() == "t0k'en\nxyzzy"
