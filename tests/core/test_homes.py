"""A user's home that compute nodes cannot write, or do not have: the run goes on, and publishes later."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from reflow import Run
from reflow.errors import UsageError
from reflow.model import layout
from reflow.run.engine.publish import catch_up, catch_up_all, publish
from reflow.run.journal.lease import Lease, latest, owner
from reflow.store.registry import Registry

from .scheduled import cluster, finish

FLOW = """
@wf.job()
def make() -> list[int]:
    note("make")
    return [0, 1]

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    note("work", x)
    return x
"""


class Home:
    """The user's store, which can be away."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.aside = store.with_name("aside")

    def leave(self) -> None:
        self.store.rename(self.aside)
        self.store.write_text("not a directory: whatever is tried below fails")

    def come_back(self) -> None:
        self.store.unlink()
        self.aside.rename(self.store)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    store = tmp_path / "home" / "store"
    store.mkdir(parents=True)
    monkeypatch.setenv("REFLOW_STORE_PATH", str(store))
    return Home(store)


def test_a_home_that_is_gone_on_compute_nodes(lab: Any, home: Home) -> None:
    lab.write(FLOW)
    site = cluster()
    site.held = True
    run = lab.flow.submit(lab.run_dir, executor=site)
    home.leave()
    finish(run, site)
    assert run.state.value == "SUCCESS"
    assert lab.ran() == ["make", "work 0", "work 1"]
    assert os.path.exists(layout.unpublished(run.root))
    assert run.status()["run"]["status"] == "SUCCESS"
    home.come_back()
    # Who submits next, at home, publishes what is left before it looks anything up.
    again = lab.good(run_dir=lab.path / "other")
    assert lab.ran() == []
    assert {row["decision"] for row in again.explain()} == {"hit"}
    assert not os.path.exists(layout.unpublished(run.root))


def test_a_home_that_is_away_for_a_while(lab: Any, home: Home) -> None:
    """Once it is back, the run itself publishes all that it could not."""
    lab.write(FLOW)
    site = cluster()
    site.held = True
    run = lab.flow.submit(lab.run_dir, executor=site)
    home.leave()
    from reflow.run.drive.advance import advance

    site.held = False
    site.advance(60.0)
    advance(run.root, site, chain=False)
    home.come_back()
    finish(run, site)
    assert not os.path.exists(layout.unpublished(run.root))
    lab.ran()
    lab.good(run_dir=lab.path / "other")
    assert lab.ran() == []


def test_a_registry_that_cannot_be_written_at_submit(lab: Any, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is found by its directory, and entered as soon as somebody can."""
    lab.write(FLOW)
    site = cluster()
    site.held = True

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "add", refuse)
        run = lab.flow.submit(lab.run_dir, executor=site)
    assert Registry(home.store).listing() == []
    assert Run.open(lab.run_dir).run_id == run.run_id
    finish(run, site)
    assert Run.open(run.run_id).state.value == "SUCCESS"


def test_nobody_waits_for_a_run_that_somebody_holds(lab: Any, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has left is published another time, by whoever advances it or submits later."""
    lab.write(FLOW)
    first = lab.good()
    Path(layout.unpublished(first.root)).touch()
    lease = Lease.acquire(first.root, beat=1000.0)
    assert lease is not None
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits"))
    assert publish(first.root) is None
    catch_up_all(Registry(home.store), "lab")
    monkeypatch.undo()
    lease.release()
    assert os.path.exists(layout.unpublished(first.root))


def test_a_damaged_run_that_is_caught_up_with_is_left_to_who_mends_it(lab: Any) -> None:
    lab.write(
        """
        @wf.job()
        def one() -> int:
            return 1
        """
    )
    root = lab.good().root
    log = Path(layout.events(root, latest(root)))
    log.write_bytes(b"damage" + log.read_bytes()[6:])
    Path(layout.unpublished(root)).touch()
    catch_up(root)
    assert owner(root, latest(root)).released


def test_a_cache_that_takes_nothing_is_not_tried_for_each_element(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from reflow.run.engine import cache_publisher
    from reflow.store.segments import SegmentCache

    tried: list[int] = []

    def publish(self: SegmentCache, entries: list[Any]) -> None:
        tried.append(len(entries))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_publisher, "_PUBLISH", 2)
    monkeypatch.setattr(SegmentCache, "publish", publish)
    lab.write(FLOW)
    lab.edit("return [0, 1]", "return list(range(20))")
    run = lab.good()
    assert sum(tried) <= 3 * 21, "once when there are enough of them, and at the end"
    assert os.path.exists(layout.unpublished(run.root))


def test_a_full_disk_leaves_no_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reflow.run.definition.create import prepare

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        prepare(str(tmp_path / "run"), ())
    assert os.listdir(tmp_path / "run" / ".reflow") == []
