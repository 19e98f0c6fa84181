"""`reflow repair`: whatever single file of a run is lost or damaged, the run is put in order, and repeats nothing."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reflow import Run
from reflow.errors import DataError, LeaseLost, ReflowError, RunNotFound
from reflow.model import layout
from reflow.model.frames import HEAD, frame, parse, salvage
from reflow.model.record import Event
from reflow.run.drive.advance import advance
from reflow.run.journal.lease import Lease, latest
from reflow.run.recovery.repair import Repaired, rebuild, repair, roots
from reflow.run.views.status import look
from reflow.testing import MemoryCluster
from reflow.worker.inputs import Inputs

from .scheduled import cluster
from .scheduled import finish as finish_on

FLOW = """
@wf.job()
def make() -> list[int]:
    note("make")
    return [0, 1, 2, 3]

@wf.array_job()
def work(x: Annotated[int, Result(step="make")]) -> int:
    note("work", x)
    if x == 2 and not flag("fixed"):
        raise ValueError("no")
    return x

@wf.job()
def total(x: Annotated[list[int], Result(step="work")]) -> int:
    note("total")
    return sum(x)
"""


@pytest.fixture
def halfway(lab: Any) -> Run:
    """A run of which some elements have succeeded, and one has failed."""
    lab.write(FLOW)
    run = lab.run()
    assert lab.ran() == ["make", "work 0", "work 1", "work 2", "work 3"]
    lab.touch("fixed")
    return run


def put_right(lab: Any, run: Run) -> Repaired:
    """Repair; repairing again must find nothing; and the run must end well, computing only what was missing."""
    report = repair(run.root)
    assert report.done
    assert not report.problems
    again = repair(run.root)
    assert (again.done, again.problems) == ([], []), "repairing is idempotent"
    finish(lab, run)
    return report


def finish(lab: Any, run: Run) -> None:
    run = Run.open(run.root)
    run.retry()
    assert run.state.value == "SUCCESS", run.status()["failures"]
    assert run.result("total") == 6
    assert lab.ran() == ["total", "work 2"], "nothing that had succeeded is computed again"


def log_of(run: Run) -> Path:
    return max(Path(run.root).glob("events/*/*.log"))


def test_a_whole_run_has_nothing_to_repair(lab: Any, halfway: Run) -> None:
    before = {path: path.read_bytes() for path in Path(halfway.root).rglob("*") if path.is_file()}
    report = repair(halfway.root)
    assert (report.done, report.problems, report.backups) == ([], [], [])
    for path, data in before.items():
        assert path.read_bytes() == data
    finish(lab, halfway)


@pytest.mark.parametrize("seed", range(12))
def test_an_event_file_that_is_damaged_anywhere(lab: Any, halfway: Run, seed: int) -> None:
    path = log_of(halfway)
    whole = path.read_bytes()
    rng = random.Random(seed)
    begin = rng.randrange(len(whole))
    end = min(len(whole), begin + rng.choice([1, 1, 30, 500, 5000]))
    data = whole[:begin] + bytes(rng.randrange(256) for _ in range(end - begin)) + whole[end:]
    if data == whole:
        data = b"x" + whole[1:]
    path.write_bytes(data)
    with pytest.raises(DataError, match="reflow repair"):
        halfway.status()
    put_right(lab, halfway)
    assert path.read_bytes() == data, "the damaged file is left as it is"


def test_each_event_lost_in_turn(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that is gone as if it had never been: everything else tells what it said."""
    monkeypatch.setenv("REFLOW_CACHE_ENABLED", "false")
    lab.write(FLOW)
    halfway = lab.run()
    lab.ran()
    lab.touch("fixed")
    path = log_of(halfway)
    whole = path.read_bytes()
    payloads, _ = parse(whole)
    backup = lab.path / "whole"
    shutil.copytree(halfway.root, backup, symlinks=True)
    ledger = (lab.path / "ledger").read_bytes()
    for skip in range(len(payloads)):
        shutil.rmtree(halfway.root)
        shutil.copytree(backup, halfway.root, symlinks=True)
        (lab.path / "ledger").write_bytes(ledger)
        lab._read = len(ledger.splitlines())
        pieces = [frame(payload) for payload in payloads]
        pieces[skip] = b"#" * (len(pieces[skip]) - 1) + b"\n"
        path.write_bytes(b"".join(pieces))
        kind = msgspec.json.decode(payloads[skip], type=Event)
        report = repair(halfway.root)
        assert report.done, kind
        assert not report.problems, kind
        assert repair(halfway.root).done == [], kind
        finish(lab, halfway)


def test_a_lost_event_file(lab: Any, halfway: Run) -> None:
    log_of(halfway).unlink()
    with pytest.raises(DataError, match="reflow repair"):
        halfway.status()
    put_right(lab, halfway)


def test_all_events_lost(lab: Any, halfway: Run) -> None:
    shutil.rmtree(f"{halfway.root}/events")
    put_right(lab, halfway)


def test_events_and_leases_lost(lab: Any, halfway: Run) -> None:
    shutil.rmtree(f"{halfway.root}/events")
    shutil.rmtree(f"{halfway.root}/lease")
    put_right(lab, halfway)


def test_a_middle_epoch_lost(lab: Any) -> None:
    lab.write(FLOW)
    run = lab.run()
    run.retry()
    run.retry()
    files = sorted(Path(run.root).glob("events/*/*.log"))
    assert len(files) == 3
    files[1].unlink()
    lab.ran()
    lab.touch("fixed")
    with pytest.raises(DataError, match="reflow repair"):
        run.status()
    put_right(lab, run)


@pytest.mark.parametrize("how", ["lost", "damaged", "empty"])
@pytest.mark.parametrize("which", ["run.json", "code/1/copy.json", "both"])
def test_a_definition_mends_its_copy_and_the_other_way_round(lab: Any, halfway: Run, how: str, which: str) -> None:
    names = ["run.json", "code/1/copy.json"] if which == "both" else [which]
    for name in names:
        path = Path(halfway.root) / name
        if how == "lost":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:100] if how == "damaged" else b"")
    if which == "both":
        with pytest.raises(DataError, match="submit the workflow again"):
            repair(halfway.root)
        return
    report = put_right(lab, halfway)
    assert len(report.backups) == (how != "lost")
    for backup in report.backups:
        assert Path(backup).exists()


def test_a_later_generation_is_mended_too(lab: Any, halfway: Run) -> None:
    lab.edit('"no"', '"never"')
    lab.edit('not flag("fixed")', 'not flag("twice")')
    halfway.retry()
    assert lab.ran() == ["work 2"]
    lab.touch("twice")
    (Path(halfway.root) / "code/2/run.json").write_bytes(b"{")
    with pytest.raises(DataError, match="reflow repair"):
        halfway.retry()
    put_right(lab, halfway)


def test_an_index_of_inputs(lab: Any, halfway: Run) -> None:
    for path in Path(halfway.root).glob("inputs/*.idx"):
        data = path.read_bytes()
        path.unlink() if path.name.startswith("make") else path.write_bytes(data[:-1] + b"\xff")
    report = put_right(lab, halfway)
    assert len([line for line in report.done if ".idx" in line]) == 2


@pytest.mark.parametrize("name", ["jobs", "lease", "scripts", "tags", "logs", "inputs"])
def test_a_lost_directory(lab: Any, halfway: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflow.run.recovery.repair._BEATS", 0)  # it is this very process that held it
    if name == "lease":
        shutil.rmtree(f"{halfway.root}/{name}")
        with pytest.raises(DataError, match="reflow repair"):
            halfway.retry()
    else:
        shutil.rmtree(f"{halfway.root}/{name}")
    put_right(lab, halfway)


def test_a_mailbox_that_is_damaged_in_between(lab: Any, halfway: Run) -> None:
    """The driving process dies, its events with it; of what its workers reported one frame is bad."""
    shutil.rmtree(f"{halfway.root}/events")
    for box in Path(halfway.root).glob("mailbox/*/*/*/*.*"):
        data = box.read_bytes()
        frames, _ = salvage(data)
        finished = [(at, len(text)) for at, text in frames if b'"finished"' in text]
        if len(finished) > 1:
            at, length = finished[0]
            box.write_bytes(data[: at + HEAD] + b"?" * length + data[at + HEAD + length :])
    report = repair(halfway.root)
    assert report.done
    assert not report.problems
    run = Run.open(halfway.root)
    run.retry()
    assert run.result("total") == 6


@pytest.mark.parametrize("how", ["empty", "other bytes", "FIFO", "directory", "link"])
def test_a_damaged_lease_is_written_anew(lab: Any, halfway: Run, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflow.run.recovery.repair._BEATS", 0)  # it is this very process that held it
    path = Path(layout.lease(halfway.root, latest(halfway.root)))
    path.unlink()
    make = {"FIFO": os.mkfifo, "directory": os.mkdir, "link": lambda path: os.symlink("/dev/zero", path)}
    make.get(how, lambda path: path.write_bytes(b"" if how == "empty" else b"\xff" * 512))(path)
    report = put_right(lab, halfway)
    assert f"{path} is damaged; nobody holds it, and it was written anew" in report.done
    assert f"{path}.damaged-1" in report.backups


def test_another_process_holds_the_lease(halfway: Run) -> None:
    lease = Lease.acquire(halfway.root)
    assert lease is not None
    with pytest.raises(LeaseLost, match=f"process {os.getpid()} on .* advances run"):
        repair(halfway.root)
    lease.release()


def test_a_living_holder_writes_its_lost_lease_again(halfway: Run) -> None:
    lease = Lease.acquire(halfway.root, beat=0.05)
    assert lease is not None
    epoch = latest(halfway.root)
    shutil.rmtree(f"{halfway.root}/lease")
    while not os.path.exists(layout.lease(halfway.root, epoch)):
        pass
    assert Lease.acquire(halfway.root) is None
    lease.check()
    lease.release()


def test_a_newer_run_is_refused_and_left_alone(halfway: Run) -> None:
    path = log_of(halfway)
    payloads, _ = parse(path.read_bytes())
    payloads[0] = payloads[0].replace(b'"schema":1', b'"schema":99')
    path.write_bytes(b"".join(map(frame, payloads)))
    before = {file: file.read_bytes() for file in Path(halfway.root).rglob("*") if file.is_file()}
    for act in (repair, lambda root: Run.open(root).drive()):
        with pytest.raises(DataError, match="in schema 99; this is reflow"):
            act(halfway.root)
    assert {file: file.read_bytes() for file in Path(halfway.root).rglob("*") if file.is_file()} == before


def test_jobs_in_flight_get_back_what_they_need(lab: Any) -> None:
    lab.touch("fixed")
    lab.write(FLOW)
    lab.edit("@wf.job()\ndef make", "@wf.job(env={'TOKEN': 'a b'})\ndef make")
    cluster = MemoryCluster()
    cluster.held = True
    run = lab.flow.submit(lab.run_dir, executor=cluster)
    root = Path(run.root)
    (job,) = root.glob("jobs/*.json")
    (env,) = (path for path in root.glob("scripts/*.env") if path.stem == job.stem)
    kept = {path: path.read_bytes() for path in (job, env)}
    job.write_bytes(b"{")
    env.unlink()
    report = repair(run.root)
    assert len(report.done) == 2
    for path, data in kept.items():
        assert path.read_bytes().replace(b'"relay":false', b'"relay":true') == data, "its wake-up goes on with the run"
        assert path.stat().st_mode & 0o777 == 0o600
    (root / "secrets.json").unlink()
    assert "secrets.json" in repair(run.root).done[0]
    assert b"a b" in (root / "secrets.json").read_bytes()


def test_code_is_taken_from_where_it_was_only_if_it_says_the_same(lab: Any, halfway: Run) -> None:
    frozen = next(Path(halfway.root).glob("code/1/*.py"))
    frozen.unlink()
    put_right(lab, halfway)
    assert frozen.exists()
    frozen.unlink()
    lab.edit("sum(x)", "sum(x) + 1")
    report = repair(halfway.root)
    assert "has changed since" in report.problems[0]
    assert not frozen.exists()
    halfway.retry()
    assert halfway.result("total") == 6, "it is over: nothing was left to compute"


def test_registry_and_cache_are_rebuilt_from_run_directories(lab: Any, halfway: Run) -> None:
    halfway.retry()
    lab.ran()
    store = Path(os.environ["REFLOW_STORE_PATH"])
    shutil.rmtree(store)
    report = rebuild([str(lab.path)])
    assert report.runs == [halfway.run_id]
    assert not report.problems
    assert Run.open(halfway.run_id).run_id == halfway.run_id
    again = lab.good(run_dir=lab.path / "other")
    assert lab.ran() == [], "all of it is in the cache again"
    assert again.result("total") == 6
    assert rebuild([str(lab.path)]).done == []
    entry = store / "runs" / f"{halfway.run_id}.json"
    entry.write_bytes(b"{")
    with pytest.raises(DataError, match="reflow repair --registry"):
        Run.open(halfway.run_id)
    report = rebuild([str(lab.run_dir)])
    assert Path(report.backups[0]).read_bytes() == b"{"
    assert Run.open(halfway.run_id).run_id == halfway.run_id


def test_a_damaged_segment_of_the_cache(lab: Any, halfway: Run) -> None:
    halfway.retry()
    lab.ran()
    (segment,) = (Path(os.environ["REFLOW_STORE_PATH"]) / "cache" / "segments").glob("*/*.log")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    report = rebuild([str(lab.run_dir)])
    assert not report.problems
    assert Path(report.backups[0]).read_bytes() == data
    lab.good(run_dir=lab.path / "other")
    assert lab.ran() == []
    assert rebuild([str(lab.run_dir)]).done == []


def test_what_is_named_is_found(lab: Any, halfway: Run, tmp_path: Path) -> None:
    for ref in (halfway.run_id, str(lab.run_dir), halfway.root, "latest"):
        assert roots(ref) == [halfway.root]
    with pytest.raises(RunNotFound):
        roots(str(tmp_path / "nowhere"))


def test_the_state_is_what_it_was(lab: Any, halfway: Run) -> None:
    before = look(halfway.root, halfway.definition)
    path = log_of(halfway)
    payloads, _ = parse(path.read_bytes())
    pieces = [frame(payload) for payload in payloads]
    pieces[-1] = b"?" * len(pieces[-1])
    path.write_bytes(b"".join(pieces))
    repair(halfway.root)
    after = look(halfway.root, halfway.definition)
    for name, progress in before.tasks.items():
        assert bytes(after.tasks[name].status) == bytes(progress.status)


def damage(path: Path, payloads: list[bytes], skip: int) -> None:
    """Make one frame of an event file unreadable."""
    pieces = [frame(payload) for payload in payloads]
    pieces[skip] = b"#" * (len(pieces[skip]) - 1) + b"\n"
    path.write_bytes(b"".join(pieces))


def test_each_event_lost_in_turn_of_a_run_with_hits(lab: Any) -> None:
    """What was taken from the cache, and is told by no other file, is looked up again."""
    lab.touch("fixed")
    lab.write(FLOW)
    lab.good()
    lab.edit("sum(x)", "0 + sum(x)")
    lab.edit('note("total")', 'note("total"); assert flag("now")')
    run = lab.run(run_dir=lab.path / "second")
    assert lab.counts(run)["work"] == {"SUCCESS": 4}
    lab.ran()
    path = log_of(run)
    payloads, _ = parse(path.read_bytes())
    assert sum(b'"k":"hit"' in payload for payload in payloads) == 5
    backup = lab.path / "whole"
    shutil.copytree(run.root, backup, symlinks=True)
    lab.touch("now")
    store = Path(os.environ["REFLOW_STORE_PATH"])
    shutil.copytree(store, lab.path / "store-as-it-was", dirs_exist_ok=True)
    for skip in range(len(payloads)):
        for place, former in ((Path(run.root), backup), (store, lab.path / "store-as-it-was")):
            shutil.rmtree(place)
            shutil.copytree(former, place, symlinks=True)
        damage(path, payloads, skip)
        kind = msgspec.json.decode(payloads[skip], type=Event)
        report = repair(run.root)
        assert report.done, kind
        assert not report.problems, kind
        again = Run.open(run.root)
        again.retry()
        assert again.state.value == "SUCCESS", kind
        assert again.result("total") == 6, kind
        assert lab.ran() == ["total"], kind


@pytest.mark.slow
def test_each_event_lost_in_turn_of_a_run_on_a_scheduler(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With jobs in the queue: none is lost, none is submitted twice, and no element is computed twice."""
    monkeypatch.setenv("REFLOW_CACHE_ENABLED", "false")
    lab.touch("fixed")
    lab.write(FLOW)
    count = 0
    skip = 0
    while skip <= count:
        site = cluster()
        site.held = True
        run = lab.flow.submit(lab.path / f"run-{skip}", executor=site)
        site.held = False
        site.advance(60.0)
        site.held = True
        advance(run.root, site, chain=False)
        newest = log_of(run)
        payloads, _ = parse(newest.read_bytes())
        count = len(payloads) - 1
        damage(newest, payloads, min(skip, count))
        kind = msgspec.json.decode(payloads[min(skip, count)], type=Event)
        report = repair(run.root)
        assert report.done, kind
        assert not report.problems, kind
        assert repair(run.root).done == [], kind
        finish_on(run, site)
        assert run.result("total") == 6, kind
        assert lab.ran() == ["make", "total", "work 0", "work 1", "work 2", "work 3"], kind
        assert len(list(Path(run.root).glob("jobs/*.json"))) == 3, kind
        skip += 1
    assert count >= 5


def test_what_is_wrong_elsewhere_names_repair(lab: Any, halfway: Run) -> None:
    root = Path(halfway.root)
    inputs = next(root.glob("inputs/work.*[0-9]"))
    whole = inputs.read_bytes()
    inputs.write_bytes(whole[: len(whole) // 2] + b"?" * (len(whole) - len(whole) // 2))
    with pytest.raises(DataError, match="is damaged") as caught:
        Inputs(str(inputs)).element(3)
    assert caught.value.hint == f"`reflow repair {root}` rebuilds what can be rebuilt"
    inputs.unlink()
    with pytest.raises(DataError, match="is missing") as caught:
        Inputs(str(inputs))
    assert "reflow repair" in (caught.value.hint or "")
    (root / "run.json").unlink()
    for ref in (lab.run_dir, root):
        with pytest.raises(RunNotFound) as missing:
            Run.open(ref)
        assert missing.value.hint == f"`reflow repair {root}` writes it again"
    repair(halfway.root)
    Run.open(lab.run_dir)


@pytest.mark.parametrize("how", ["head", "middle"])
def test_a_damaged_sqlite_cache_is_filled_again(lab: Any, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("REFLOW_CACHE_BACKEND", "sqlite")
    lab.touch("fixed")
    lab.write(FLOW)
    lab.good()
    lab.ran()
    file = Path(os.environ["REFLOW_STORE_PATH"]) / "cache" / "cache.sqlite"
    data = file.read_bytes()
    bad = b"no database " * 1000 if how == "head" else data[:4096] + b"?" * (len(data) - 4096)
    file.write_bytes(bad)
    report = rebuild([str(lab.run_dir)])
    assert not report.problems
    assert Path(report.backups[0]).read_bytes() == bad
    lab.good(run_dir=lab.path / "other")
    assert lab.ran() == []
    assert rebuild([str(lab.run_dir)]).done == []


def spoil(root: Path, rng: random.Random) -> str:
    """Damage or delete a file, or a directory, of a run; says which. Leases have their own test."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not {"logs", "lease"} & set(path.parts))
    victim = rng.choice(files)
    how = rng.choice(["delete", "truncate", "flip", "zero", "directory"])
    if how == "directory" and victim.parent != root:
        shutil.rmtree(victim.parent)
    elif how in ("delete", "directory"):
        victim.unlink()
    else:
        data = bytearray(victim.read_bytes()) or bytearray(b"x")
        at = rng.randrange(len(data))
        if how == "truncate":
            del data[at:]
        elif how == "zero":
            data[at : at + 4096] = bytes(len(data[at : at + 4096]))
        else:
            data[at] ^= 1 << rng.randrange(8)
        victim.write_bytes(data)
    return f"{how} {victim.relative_to(root)}"


def mended(lab: Any, root: Path, story: list[str]) -> None:
    """Repair, go on, and end well; or say in words that it cannot be."""
    try:
        report = repair(str(root))
        if report.problems:
            return
        assert repair(str(root)).done == [], story
        run = Run.open(root)
        run.retry()
        assert run.state.value == "SUCCESS", (story, run.status()["failures"])
        assert run.result("total") == 6, story
        assert all(count == 1 for count in Counter(lab.ran()).values()), story
    except ReflowError as error:
        assert len([one for one in story if "json" in one]) > 1, (story, error)  # a definition and its copy


@pytest.mark.parametrize("seed", range(int(os.environ.get("REFLOW_REPAIR_SEEDS", "12"))))
def test_anything_lost_or_damaged(lab: Any, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setenv("REFLOW_CACHE_ENABLED", "false")
    monkeypatch.setattr("reflow.run.recovery.repair._BEATS", 0)
    lab.write(FLOW)
    run = lab.run()
    lab.ran()
    lab.touch("fixed")
    rng = random.Random(seed)
    root = Path(run.root)
    story = [spoil(root, rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    mended(lab, root, story)


def test_a_definition_that_differs_from_its_copy(lab: Any, halfway: Run) -> None:
    path = Path(halfway.root) / "run.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"verify":true', b'"verify":false', 1))
    assert path.read_bytes() != whole
    report = repair(halfway.root)
    assert "differ, and each could be right" in report.problems[0]
    path.unlink()
    put_right(lab, halfway)
    assert path.read_bytes() == whole


def test_inputs_lost_of_jobs_in_the_queue(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not started is taken back, and expanded anew; a result whose inputs are lost is not kept."""
    lab.touch("fixed")
    lab.write(FLOW)
    site = cluster()
    site.held = True
    run = lab.flow.submit(lab.run_dir, executor=site)
    (inputs,) = Path(run.root).glob("inputs/make.*[0-9]")
    inputs.unlink()
    report = repair(run.root)
    assert any("make are looked up again: their inputs are lost" in line for line in report.done)
    finish_on(run, site)
    assert run.result("total") == 6
    assert lab.ran() == ["make", "total", "work 0", "work 1", "work 2", "work 3"]


def test_the_first_definition_is_made_from_a_later_one(lab: Any, halfway: Run) -> None:
    lab.edit('not flag("fixed")', 'not flag("twice")')
    halfway.retry()
    lab.ran()
    lab.touch("twice")
    for name in ("run.json", "code/1/copy.json"):
        (Path(halfway.root) / name).unlink()
    put_right(lab, halfway)


def test_secret_configuration_that_is_lost_is_named(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_NOTIFICATIONS_WEBHOOK_URL", "http://127.0.0.1:9/canary")
    lab.write(FLOW)
    run = lab.run()
    path = Path(run.root) / "secrets.json"
    path.write_bytes(b"{")
    report = repair(run.root)
    assert "notifications.webhook.url" in report.problems[0]
    assert "canary" not in str(report)
    assert path.stat().st_mode & 0o777 == 0o600
    assert repair(run.root).problems == []
