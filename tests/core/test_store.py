from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.errors import ConfigError, DataError, Untrusted
from reflow.model.cache import CacheBackend, CacheEntry
from reflow.model.frames import frame
from reflow.store import index as index_module
from reflow.store import segments as module
from reflow.store import sqlite as sqlite_module
from reflow.store.index import SCHEMA
from reflow.store.segments import SegmentCache, index_path
from reflow.store.sqlite import SqliteCache
from reflow.worker.trust import Trust


class Context(msgspec.Struct):
    """What create() gets."""

    store: str
    run_id: str = ""


def entry(key: object, value: object = 1, *, time: float = 1.0, workflow: str = "wf", task: str = "t") -> CacheEntry:
    return CacheEntry(
        key=f"{key:0>64}", workflow=workflow, task=task, result=msgspec.Raw(msgspec.json.encode(value)), time=time,
        parts={"code": "c"}, outputs={"/o": "stat:1:2"}, guards={"/g": "content:00"}, run_id="r",
    )  # fmt: skip


def many(count: int, value: object = 1, *, first: int = 0, time: float = 1.0) -> list[CacheEntry]:
    return [entry(i, value, time=time) for i in range(first, first + count)]


def keys(entries: Iterable[CacheEntry]) -> list[str]:
    return [one.key for one in entries]


def value(cache: CacheBackend, key: object) -> object:
    found = cache.lookup([f"{key:0>64}"])
    return msgspec.json.decode(found[f"{key:0>64}"].result) if found else None


Make = Callable[..., SegmentCache]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Open segment caches of one store, each run's with an index of its own unless told."""
    opened = []

    def create(run_id: str | None = None, index: str = "index") -> SegmentCache:
        opened.append(SegmentCache(tmp_path / "store", run_id, str(tmp_path / index)))
        return opened[-1]

    yield create
    for cache in opened:
        cache.close()


@pytest.fixture(params=["segments", "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, make: Make) -> Iterator[Callable[[str], CacheBackend]]:
    """Open one store for a run, whatever the backend."""
    opened = []

    def create(run_id: str) -> CacheBackend:
        opened.append(make(run_id) if request.param == "segments" else SqliteCache(tmp_path / "a b" / "c?#.sqlite"))
        return opened[-1]

    yield create
    for cache in opened:
        cache.close()


def segment(tmp_path: Path, run: str = "one", workflow: str = "wf") -> Path:
    return tmp_path / "store" / "cache" / "segments" / workflow / f"{run}.log"


def index_file(tmp_path: Path) -> Path:
    return Path(index_path(str(tmp_path / "store" / "cache" / "segments"), str(tmp_path / "index")))


# --- both backends -----------------------------------------------------------


def test_what_is_published_is_found(backend: Callable[[str], CacheBackend]) -> None:
    writer, reader = backend("one"), backend("two")
    assert reader.lookup(["00"]) == {}
    assert reader.lookup([]) == {}
    assert list(reader.history("wf", "t")) == []
    entries = [entry(1, {"a": [1, None, "ü"]}), entry(2, "x" * 100_000, task="u"), entry(3, workflow="other wf/é")]
    writer.publish(entries)
    writer.publish([])
    wanted = {one.key: one for one in entries}
    for cache in (reader, writer, backend("three")):
        assert cache.lookup([*wanted, "no such key", entries[0].key]) == wanted
        assert list(cache.history("wf", "t")) == entries[:1]
        assert list(cache.history("other wf/é", "t")) == entries[2:]
        assert list(cache.history("wf", "none")) == []
    writer.publish([entry(4)])
    assert value(reader, 4) == 1


def test_the_newest_wins_whoever_publishes_last(backend: Callable[[str], CacheBackend]) -> None:
    one, two, reader = backend("one"), backend("two"), backend("three")
    one.publish([entry(1, "first", time=1), entry(1, "second", time=2)])
    assert value(reader, 1) == "second"
    two.publish([entry(1, "late news of old", time=1.5)])
    assert value(reader, 1) == "second"
    two.publish([entry(1, "new", time=3)])
    assert value(reader, 1) == "new"
    two.publish([entry(1, "as new, but later", time=3)])
    assert value(reader, 1) == "as new, but later"


def test_history_is_newest_first(backend: Callable[[str], CacheBackend]) -> None:
    one, two = backend("one"), backend("two")
    count = 1300  # more than a page
    one.publish([entry(f"a{i}", time=2.0 * i) for i in range(count)])
    two.publish([entry(f"b{i}", time=2.0 * i + 1) for i in range(count)])
    times = [found.time for found in backend("three").history("wf", "t")]
    assert times == [float(i) for i in reversed(range(2 * count))]


def test_closed_and_used_again(backend: Callable[[str], CacheBackend]) -> None:
    cache = backend("one")
    cache.publish([entry(1)])
    cache.close()
    cache.close()
    cache.publish([entry(2)])
    assert value(cache, 1) == value(cache, 2) == 1


def _publish_and_look(kind: str, store: str, run: int, barrier: object) -> None:
    """One of several processes: publishes in portions and checks what it finds of the others meanwhile."""
    cache: CacheBackend = (
        SegmentCache(store, f"run-{run}", f"{store}/index") if kind == "segments" else SqliteCache(f"{store}/c.sqlite")
    )
    barrier.wait(30)  # type: ignore[attr-defined]
    wanted = [f"{k:0>64}" for k in range(400)]
    for part in range(10):
        cache.publish([entry(f"{i}", i, time=run) for i in range(run * 100 + part * 10, run * 100 + part * 10 + 10)])
        cache.publish([entry("shared", run, time=part)])
        found = cache.lookup(wanted)
        assert all(msgspec.json.decode(one.result) == int(key) for key, one in found.items())
        assert {f"{i:0>64}" for i in range(run * 100, run * 100 + part * 10 + 10)} <= set(found)
    problems = cache.problems  # type: ignore[attr-defined]
    cache.close()
    os._exit(0 if not problems else 3)


def _publish_until_killed(kind: str, store: str, first: int, acknowledged: int) -> None:
    cache: CacheBackend = (
        SegmentCache(store, "run", f"{store}/index") if kind == "segments" else SqliteCache(f"{store}/c.sqlite")
    )
    for i in range(first, first + 10_000, 5):
        cache.publish([entry(k, k) for k in range(i, i + 5)])
        os.write(acknowledged, b"%d\n" % i)


@pytest.mark.parametrize("kind", ["segments", "sqlite"])
def test_what_was_published_outlives_a_killed_publisher(tmp_path: Path, kind: str) -> None:
    context = multiprocessing.get_context("fork")
    read, write = os.pipe()
    first = 0
    for round_number in range(8):
        worker = context.Process(target=_publish_until_killed, args=(kind, str(tmp_path), first, write))
        worker.start()
        seen = os.read(read, 1)
        time.sleep(0.003 * round_number)
        worker.kill()
        worker.join()
        worker.close()
        os.write(write, b"end\n")
        while not seen.endswith(b"end\n"):
            seen += os.read(read, 65536)
        acknowledged = [k + i for k in map(int, seen.split()[:-1]) for i in range(5)]
        reader = (
            SegmentCache(tmp_path, None, f"{tmp_path}/index")
            if kind == "segments"
            else SqliteCache(tmp_path / "c.sqlite")
        )
        found = reader.lookup([entry(k).key for k in range(first + 10_000)])
        reader.close()
        assert all(msgspec.json.decode(one.result) == int(key) for key, one in found.items())
        assert {entry(k).key for k in range(acknowledged[-1] + 1)} <= set(found)
        first = acknowledged[-1] + 1
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("kind", ["segments", "sqlite"])
def test_processes_publish_and_look_at_once(tmp_path: Path, kind: str) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    barrier = context.Barrier(4)
    workers = [context.Process(target=_publish_and_look, args=(kind, str(tmp_path), run, barrier)) for run in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    cache = (
        SegmentCache(tmp_path, None, f"{tmp_path}/index") if kind == "segments" else SqliteCache(tmp_path / "c.sqlite")
    )
    assert len(cache.lookup([f"{k:0>64}" for k in range(400)])) == 400
    assert value(cache, "shared") in range(4)
    cache.close()


@pytest.mark.parametrize("moment", ["PRAGMA application_id", "SELECT count(*) FROM sqlite_master"])
def test_another_process_creates_the_tables_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "c.sqlite"
    path.touch()
    plain, tried = sqlite3.connect, []

    def create(statement: str) -> None:
        if statement == moment and not tried:
            tried.append(moment)
            other = plain(path, timeout=0, isolation_level=None)
            with suppress(sqlite3.OperationalError):  # it waits, as it should: what is being read holds still
                other.executescript(sqlite_module._TABLES)
            other.close()

    def connect(*args: object, **named: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = plain(*args, **named)  # type: ignore[call-overload]
        connection.set_trace_callback(create)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    cache = SqliteCache(path)
    assert cache.lookup([entry(1).key]) == {}
    cache.publish([entry(1)])
    assert value(cache, 1) == 1
    cache.close()
    assert tried == [moment]


# --- segments: what a file may look like -------------------------------------


def test_one_plain_file_a_run(make: Make, tmp_path: Path) -> None:
    cache = make("one")
    cache.publish([entry(1), entry(1, workflow="odd name/..")])
    files = sorted(str(p.relative_to(tmp_path / "store")) for p in (tmp_path / "store").rglob("*") if p.is_file())
    assert files[0].startswith("cache/segments/odd_name_..-")
    assert files[1:] == ["cache/segments/wf/one.log"]  # no database in the store
    head, first, end = segment(tmp_path).read_bytes().split(b"\n")
    assert msgspec.json.decode(head[18:]) == {"reflow": "cache-segment", "format": 1, "workflow": "wf", "run_id": "one"}
    assert msgspec.json.decode(first[18:], type=CacheEntry) == entry(1)
    assert end == b""


def test_publishing_takes_a_run(make: Make) -> None:
    with pytest.raises(ConfigError, match="takes a run id"):
        make().publish([entry(1)])


@given(data=st.data())
@settings(max_examples=60)
def test_a_torn_end_is_not_believed_and_is_cut_off(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = tmp_path_factory.mktemp("torn")
    fresh = data.draw(st.booleans(), label="index survives")
    cache = SegmentCache(store, "one", str(store / "index"))
    cache.publish(many(5))
    path = store / "cache" / "segments" / "wf" / "one.log"
    whole = path.read_bytes()
    if data.draw(st.booleans(), label="looked before"):
        assert len(cache.lookup(keys(many(5)))) == 5
    cache.close()
    cut = data.draw(st.integers(0, len(whole)), label="cut")
    path.write_bytes(whole[:cut] + data.draw(st.binary(max_size=60), label="junk"))
    survivors = max(0, whole[:cut].count(b"\n") - 1)
    again = SegmentCache(store, "one", str(store / ("index" if fresh else "other")))
    assert sorted(again.lookup(keys(many(5)))) == keys(many(survivors))
    again.publish([entry("after")])
    assert value(again, "after") == 1
    assert sorted(again.lookup(keys(many(5)))) == keys(many(survivors))
    last = SegmentCache(store, None, str(store / "third"))
    assert sorted(last.lookup(keys([*many(5), entry("after")]))) == sorted(keys([*many(survivors), entry("after")]))
    again.close()
    last.close()


def test_a_segment_growing_between_lookups(make: Make, tmp_path: Path) -> None:
    writer, reader = make("one", "theirs"), make(None, "ours")
    for part in range(5):
        writer.publish(many(10, first=10 * part))
        assert len(reader.lookup(keys(many(100)))) == 10 * part + 10
    whole = segment(tmp_path).read_bytes()
    piece = frame(msgspec.json.encode(entry("late")))
    for cut in (1, 20, len(piece) - 1):  # half of an append is seen, then all of it
        segment(tmp_path).write_bytes(whole + piece[:cut])
        assert value(reader, "late") is None
    segment(tmp_path).write_bytes(whole + piece)
    assert value(reader, "late") == 1


def test_frames_that_are_no_entries_are_passed_over(make: Make, tmp_path: Path) -> None:
    segment(tmp_path).parent.mkdir(parents=True)
    pieces = [b"{}", b"not json", b'{"key": "\xff"}', b'{"key":1,"workflow":"wf","task":"t"}']
    good = frame(msgspec.json.encode(entry(1)))
    half = b'{"key":"2","workflow":"wf","task":"t"}'  # no result
    odd = b'{"key":"3","workflow":"wf","task":"t","result":1,"parts":3}'
    segment(tmp_path).write_bytes(b"".join(map(frame, pieces)) + good + frame(half) + frame(odd))
    cache = make()
    assert list(cache.lookup([entry(1).key, "2", "3"])) == [entry(1).key]
    assert [one.key for one in cache.history("wf", "t")] == [entry(1).key]
    (segment(tmp_path).parent / "README").write_text("no segment")
    (tmp_path / "store" / "cache" / "segments" / "file").write_text("no workflow")
    assert value(cache, 1) == 1


def test_a_segment_of_a_newer_format_is_said_and_left(make: Make, tmp_path: Path) -> None:
    make("two").publish([entry(2)])
    newer = frame(b'{"reflow":"cache-segment","format":2}') + frame(msgspec.json.encode(entry(1)))
    segment(tmp_path).write_bytes(newer)
    cache = make("one")
    assert value(cache, 1) is None
    assert value(cache, 2) == 1
    assert len(cache.problems) == 1
    assert "newer reflow (format 2, this one reads 1)" in cache.problems[0]
    with pytest.raises(DataError, match="newer reflow"):
        cache.publish([entry(3)])
    assert segment(tmp_path).read_bytes() == newer


def test_large_results_and_chunks(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_CHUNK", 600)
    monkeypatch.setattr(module, "_GAP", 10)
    writer = make("one")
    writer.publish([entry(i, "x" * (i * 97 % 2000)) for i in range(60)])
    writer.publish([entry("large", "y" * 5000)])
    for index in ("a", "b"):
        reader = make(None, index)
        assert [len(str(value(reader, i))) for i in range(60)] == [i * 97 % 2000 for i in range(60)]
        assert len(reader.lookup(keys(many(60)))) == 60
        assert len(str(value(reader, "large"))) == 5000
    with segment(tmp_path).open("ab") as file:  # a torn frame that claims to be larger than the file, and junk
        file.write(b"00ffffff 00000000 {" + b"x" * 2000)
    assert len(make(None, "c").lookup(keys(many(60)))) == 60
    segment(tmp_path, "two").write_bytes(b"z" * 5000)
    assert len(make(None, "d").lookup(keys(many(60)))) == 60


# --- segments that are replaced, truncated, removed, unreadable -----------------


def test_a_replaced_segment_is_read_anew(make: Make, tmp_path: Path) -> None:
    cache = make("one")
    cache.publish(many(10, "old"))
    reader = make()
    assert value(reader, 3) == "old"
    other = tmp_path / "other"
    other.write_bytes(b"".join(frame(msgspec.json.encode(one)) for one in many(20, "new")[5:]))
    os.replace(other, segment(tmp_path))
    assert value(reader, 3) is None
    assert value(reader, 7) == value(reader, 15) == "new"
    cache.publish([entry("more")])  # the writer notices too
    assert value(reader, "more") == 1
    assert value(reader, 7) == "new"


def test_a_truncated_segment_is_read_anew(make: Make, tmp_path: Path) -> None:
    cache = make("one")
    cache.publish(many(10))
    reader = make()
    assert len(reader.lookup(keys(many(10)))) == 10
    size = segment(tmp_path).stat().st_size
    os.truncate(segment(tmp_path), size - 1)
    assert len(reader.lookup(keys(many(10)))) == 9
    os.truncate(segment(tmp_path), 0)
    assert reader.lookup(keys(many(10))) == {}
    cache.publish(many(3))
    assert len(reader.lookup(keys(many(10)))) == 3


def test_a_segment_rewritten_unnoticed_makes_no_wrong_hit(make: Make, tmp_path: Path) -> None:
    cache = make("one")
    cache.publish([entry("a1", "A"), entry("b2", "B")])
    reader = make()
    assert value(reader, "a1") == "A"
    path = segment(tmp_path)
    status = path.stat()
    head = path.read_bytes().split(b"\n")[0] + b"\n"
    # the same inode, size and time stamp, but the entries have changed places
    swapped = [frame(msgspec.json.encode(one)) for one in (entry("b2", "B"), entry("a1", "A"))]
    path.write_bytes(head + b"".join(swapped))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_size) == (status.st_ino, status.st_size)
    assert value(reader, "a1") == "A"
    assert value(reader, "b2") == "B"
    # bytes rot: a checksum does not hold
    rotten = path.read_bytes().replace(b'"result":"A"', b'"result":"Z"')
    path.write_bytes(rotten)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert value(reader, "a1") is None
    assert value(reader, "b2") == "B"


def test_a_removed_segment_uncovers_what_is_older(make: Make, tmp_path: Path) -> None:
    one, two, reader = make("one"), make("two"), make()
    one.publish([entry(1, "older", time=1)])
    two.publish([entry(1, "newer", time=2)])
    assert value(reader, 1) == "newer"
    segment(tmp_path, "two").unlink()
    assert value(reader, 1) == "older"
    two.publish([entry(1, "again", time=3)])  # its file went away below it: a new one is made
    assert value(reader, 1) == "again"
    for path in (segment(tmp_path, "one"), segment(tmp_path, "two")):
        path.unlink()
    segment(tmp_path).parent.rmdir()
    assert value(reader, 1) is None


def test_a_stale_listing_forgets_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make("one")
    cache.publish([entry(1)])
    assert value(cache, 1) == 1
    monkeypatch.setattr(module, "_segments", lambda folder: iter(()))
    assert value(cache, 1) == 1


def test_a_store_that_cannot_be_listed_now(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make("one")
    cache.publish([entry(1)])

    def refuse(path: str) -> object:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(module.os, "scandir", refuse)
    assert value(cache, 1) == 1  # the index knows, and the segment agrees
    assert value(cache, 2) is None
    assert len(cache.problems) == 1
    assert "Stale file handle" in cache.problems[0]


def test_a_segment_that_cannot_be_read(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("one").publish([entry(1)])
    make("two").publish([entry(2)])
    segment(tmp_path, "dir").mkdir()
    reader = make(None, "fresh")
    assert value(reader, 1) == value(reader, 2) == 1
    assert ["Is a directory" in problem for problem in reader.problems] == [True]
    real = os.open

    def refuse(path: str, flags: int, *rest: int) -> int:
        if str(path).endswith("one.log"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest)

    monkeypatch.setattr(module.os, "open", refuse)
    assert value(reader, 1) is None
    assert value(reader, 2) == 1


# --- writing that fails -------------------------------------------------------


def test_a_read_only_store_can_be_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make("one").publish([entry(1)])
    real = os.open

    def read_only(path: str, flags: int, *rest: int) -> int:
        if flags & (os.O_CREAT | os.O_RDWR | os.O_WRONLY):
            raise OSError(30, "Read-only file system", path)
        return real(path, flags, *rest)

    monkeypatch.setattr(module.os, "open", read_only)
    cache = make("two")
    with pytest.raises(OSError, match="Read-only"):
        cache.publish([entry(2)])
    assert value(cache, 1) == 1
    assert value(cache, 2) is None
    monkeypatch.undo()
    cache.publish([entry(2)])  # writable again: the same object goes on
    assert value(cache, 2) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become nobody")
def test_permissions_for_real(tmp_path: Path, make: Make) -> None:
    make("one").publish([entry(1)])
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and not path.stat().st_mode & 0o005:
            path.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            cache = SegmentCache(tmp_path / "store", "two", str(tmp_path / "not-mine"))
            found = value(cache, 1)
            try:
                cache.publish([entry(2)])
            except PermissionError:
                code = 0 if found == 1 and "rebuilt in memory" in cache.problems[0] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("what", ["", "one.log"])
def test_what_everybody_may_write_is_not_believed(make: Make, tmp_path: Path, what: str) -> None:
    """Neither when it is met first, nor where the index has it already."""
    make("one").publish([entry(1)])
    make("two").publish([entry(2, workflow="other")])
    reader = make(None, "theirs")
    path = segment(tmp_path).parent / what
    path.chmod(path.stat().st_mode | 0o002)
    fresh = make(None, "fresh")
    for cache in (reader, fresh):
        assert sorted(cache.lookup(keys([entry(1), entry(2)]))) == keys([entry(2)])
        assert list(cache.history("wf", "t")) == []
    for cache in (reader, fresh):
        (problem,) = cache.problems
        assert f"{path} is world-writable" in problem.replace("/.", "")
    path.chmod(path.stat().st_mode & ~0o002)
    assert value(reader, 1) == 1, "once it has been put right, it counts again"


def test_where_others_cannot_enter_all_modes_will_do(make: Make, tmp_path: Path) -> None:
    make("one").publish([entry(1)])
    segment(tmp_path).chmod(0o666)
    (tmp_path / "store").chmod(0o770)
    assert value(make(None, "fresh"), 1) == 1


@pytest.mark.parametrize("torn", [False, True])
def test_damage_is_said_and_a_torn_end_is_not(make: Make, tmp_path: Path, torn: bool) -> None:
    make("one").publish(many(4))
    path = segment(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"ju", *([] if torn else [b"nk\n", *lines[3:]])]))
    reader = make(None, "theirs")
    for cache in (reader, reader, make(None, "theirs")):
        assert sorted(cache.lookup(keys(many(4)))) == keys(many(1))
        assert value(cache, 3) is None
        said = [f"{path} is damaged, and 2 results" in problem for problem in cache.problems]
        assert said == ([] if torn else [True])
    if not torn:
        module.mend(str(tmp_path / "store"))
        assert sorted(reader.lookup(keys(many(4)))) == keys([entry(0), entry(2), entry(3)])


def test_nothing_is_published_where_everybody_may_write(make: Make, tmp_path: Path) -> None:
    make("one").publish([entry(1)])
    segment(tmp_path).parent.chmod(0o777)
    with pytest.raises(Untrusted, match="world-writable"):
        make("two").publish([entry(2)])


def test_whatever_the_umask_what_is_published_is_believed(make: Make) -> None:
    os.makedirs(make().directory)
    before = os.umask(0)
    try:
        make("one").publish([entry(1)])
    finally:
        os.umask(before)
    assert value(make(), 1) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["", "one.log"])
def test_a_strangers_segment_is_not_believed(make: Make, tmp_path: Path, what: str) -> None:
    make("one").publish([entry(1)])
    make("two").publish([entry(1)])
    make("two").publish([entry(2, workflow="other")])
    path = segment(tmp_path).parent / what
    reader = make(None, "theirs")
    assert value(reader, 1) == 1
    for one in path.parent.iterdir() if what else [path]:
        os.chown(one, 1234, -1)
    for cache in (reader, make(None, "fresh")):
        assert sorted(cache.lookup(keys([entry(1), entry(2)]))) == keys([entry(2)])
        (problem,) = cache.problems
        assert "belongs to 1234" in problem
        assert "trusted_owners" in problem
    shared = SegmentCache(tmp_path / "store", None, str(tmp_path / "theirs"), trusted=Trust(frozenset({0, 1234, 1235})))
    os.chown(segment(tmp_path).with_name("two.log"), 1235, -1)
    assert sorted(shared.lookup(keys([entry(1), entry(2)]))) == keys([entry(1), entry(2)])
    assert shared.problems == []
    shared.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_strangers_segment_is_not_mended(make: Make, tmp_path: Path) -> None:
    make("one").publish(many(3))
    path = segment(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"junk\n", *lines[2:]]))
    os.chown(path, 1234, -1)
    assert module.mend(str(tmp_path / "store")) == []
    os.chown(path, 0, -1)
    assert len(module.mend(str(tmp_path / "store"))) == 1


def test_a_full_disk_leaves_nothing_half_written(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make("one")
    cache.publish([entry(1)])
    before = segment(tmp_path).read_bytes()
    real = os.write

    def fills(fd: int, data: bytes) -> int:
        if len(data) > 100:
            return real(fd, data[:100])  # a short write, then the rest does not fit
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "write", fills)
    with pytest.raises(OSError, match="No space"):
        cache.publish([entry(2)])
    assert segment(tmp_path).read_bytes() == before

    def neither(fd: int, length: int) -> None:
        raise OSError(5, "I/O error")

    monkeypatch.setattr(module.os, "ftruncate", neither)
    with pytest.raises(OSError, match="No space"):
        cache.publish([entry(2)])
    assert segment(tmp_path).read_bytes() != before
    monkeypatch.undo()
    assert value(cache, 2) is None
    cache.publish([entry(3)])
    assert [value(make(None, "fresh"), i) for i in (1, 2, 3)] == [1, None, 1]


def test_an_unsynced_write_is_taken_back(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make("one")
    monkeypatch.setattr(module.os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(OSError, match="I/O"):
        cache.publish([entry(1)])
    assert segment(tmp_path).read_bytes() == b""
    monkeypatch.undo()
    cache.publish([entry(1)])
    assert value(cache, 1) == 1


def test_what_somebody_else_appended_is_looked_at_first(make: Make, tmp_path: Path) -> None:
    cache = make("one")
    cache.publish([entry(1)])
    with segment(tmp_path).open("ab") as file:  # a writer that lost its lease and thawed
        file.write(frame(msgspec.json.encode(entry(2))) + b"torn")
    cache.publish([entry(3)])
    assert [value(cache, i) for i in (1, 2, 3)] == [1, 1, 1]


def test_a_segment_that_cannot_be_looked_at_while_opened(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = make("one")
    cache.publish([entry(1)])
    cache.close()
    monkeypatch.setattr(module.os, "pread", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(OSError, match="I/O"):
        cache.publish([entry(2)])
    monkeypatch.undo()
    cache.publish([entry(2)])
    assert value(cache, 2) == 1


# --- the index -----------------------------------------------------------------


@pytest.mark.parametrize("damage", ["garbage", "tables", "columns", "torn"])
def test_a_damaged_index_is_built_anew(make: Make, tmp_path: Path, damage: str) -> None:
    make("one").publish(many(2000))
    path = index_file(tmp_path)
    assert path.exists()
    if damage == "garbage":
        path.write_bytes(b"no database " * 1000)
    elif damage == "torn":
        data = path.read_bytes()
        path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    else:
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE entry" if damage == "tables" else "ALTER TABLE entry RENAME COLUMN start TO x")
        db.close()
    cache = make()
    assert len(cache.lookup(keys(many(2000)))) == 2000
    assert cache.problems == []
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(start) FROM entry").fetchone() == (2000,)
    db.close()


def test_an_index_that_lies_makes_no_wrong_hit(make: Make, tmp_path: Path) -> None:
    make("one").publish([entry(i, i) for i in range(50)])
    with sqlite3.connect(index_file(tmp_path)) as db:
        db.execute("UPDATE entry SET start = (SELECT max(start) FROM entry) - start, length = length + rowid % 3")
    db.close()
    cache = make()
    assert [value(cache, i) for i in range(50)] == list(range(50))


def test_keys_that_share_their_end_are_never_taken_for_each_other(make: Make) -> None:
    one, two = "a" * 49 + "0" * 15, "b" * 49 + "0" * 15
    cache = make("one")
    cache.publish([entry(one, 1, time=1), entry(two, 2, time=2)])
    assert [value(cache, one), value(cache, two)] == [None, 2]  # a miss, and no more than that
    assert {key: one.key for key, one in cache.lookup([one, two]).items()} == {two: two}


def test_an_index_of_a_newer_schema_is_left_alone(make: Make, tmp_path: Path) -> None:
    make("one").publish([entry(1)])
    path = index_file(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()
    before = path.read_bytes()
    cache = make()
    assert value(cache, 1) == 1
    assert path.read_bytes() == before
    assert len(cache.problems) == 1
    assert "newer reflow" in cache.problems[0]


def test_an_index_that_cannot_be_written_is_kept_in_memory(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = make("one", "file")
    cache.publish([entry(1)])
    cache.publish([entry(2)])
    assert [value(cache, 1), value(cache, 2)] == [1, 1]
    assert len(cache.problems) == 1
    assert "rebuilt in memory" in cache.problems[0]
    cache.close()
    assert value(cache, 1) == 1


def test_an_index_that_stays_damaged_is_kept_in_memory(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("one").publish([entry(1)])
    index_file(tmp_path).write_bytes(b"no database " * 1000)
    monkeypatch.setattr(index_module.os, "unlink", lambda path: (_ for _ in ()).throw(PermissionError(13, "no")))
    cache = make()
    assert value(cache, 1) == 1
    assert "rebuilt in memory" in cache.problems[0]


def test_an_index_that_is_locked_for_long_is_done_without(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_BUSY_SECONDS", 0.05)
    make("one").publish([entry(1)])
    other = sqlite3.connect(index_file(tmp_path), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    cache = make("two")
    assert value(cache, 1) == 1
    assert "locked" in cache.problems[0]
    other.close()


def test_an_index_in_memory_that_fails_is_an_error(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    cache = make("one", "file")
    monkeypatch.setattr(index_module, "_TABLES", ("NO SUCH STATEMENT",))
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            cache.lookup(["1"])


def test_an_index_that_another_process_makes_meanwhile_is_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, quick = make(None, "shared"), make("one", "shared")
    plain, tried = sqlite3.connect, []

    def overtaken(statement: str) -> None:
        if statement == "PRAGMA synchronous = OFF" and not tried:
            tried.append(statement)  # the file was empty when it was looked at
            quick.publish([entry(1)])

    def connect(*args: object, **named: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = plain(*args, **named)  # type: ignore[call-overload]
        connection.set_trace_callback(overtaken)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    slow._index.known()
    assert tried
    (place,) = quick._index.find([entry(1).key])
    assert place.key == entry(1).key


def test_growth_that_another_process_took_in_is_not_taken_twice(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make("one").publish(many(10))
    slow, quick = make(None, "shared"), make(None, "shared")
    real = slow._grown

    def overtaken(name: str, begin: int) -> Iterator[object]:
        yield from real(name, begin)
        quick.lookup(["1"])

    monkeypatch.setattr(slow, "_grown", overtaken)
    assert len(slow.lookup(keys(many(10)))) == 10
    assert len(list(quick.history("wf", "t"))) == 10


def test_a_transaction_that_fails_changes_nothing(make: Make) -> None:
    cache = make("one")
    cache.publish([entry(1)])
    db = cache._index._connected()

    def interrupted() -> None:
        db.execute("DELETE FROM entry")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_module._transaction(db, interrupted)
    assert not db.in_transaction
    assert value(cache, 1) == 1


def _trace(cache: SegmentCache, calls: list[str]) -> None:
    cache._index._connected().set_trace_callback(calls.append)


def test_a_lookup_takes_a_fixed_number_of_statements_and_reads_no_old_run(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for run in range(40):
        cache = make(f"run-{run}")
        cache.publish(many(50, first=50 * run))
        cache.close()
    reader = make()
    reader.lookup(["1"])
    calls: list[str] = []
    _trace(reader, calls)
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(module.os, "open", lambda path, *rest: (opened.append(path), real(path, *rest))[1])
    for wanted in (1, 100, 2000):
        del calls[:], opened[:]
        assert len(reader.lookup(keys(many(wanted)))) == wanted
        assert len(calls) == 2
        assert len(opened) == -(-wanted // 50)  # only segments that hold something wanted, each once
    del calls[:], opened[:]
    assert reader.lookup(["nothing"]) == {}
    assert (len(calls), opened) == (2, [])
    fresh = make()  # another process: the index is there
    monkeypatch.setattr(fresh, "_grown", None)
    assert len(fresh.lookup(keys(many(2000)))) == 2000


def test_the_index_is_this_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = index_path("/store")
    assert "xdg-cache" in here
    assert os.uname().nodename in here
    assert index_path("/other", "/i") != index_path("/store", "/i")
    monkeypatch.setattr(module.os, "uname", lambda: type("U", (), {"nodename": "elsewhere"}))
    assert index_path("/store") != here


def test_created_from_configuration(tmp_path: Path) -> None:
    cache = SegmentCache.create({"index": str(tmp_path / "i")}, Context(str(tmp_path), "run"))
    cache.publish([entry(1)])
    assert len(list((tmp_path / "i").iterdir())) == 1
    cache.close()
    reader = SegmentCache.create({}, Context(str(tmp_path)))
    assert reader.run_id is None
    assert value(reader, 1) == 1
    reader.close()


# --- the SQLite backend -----------------------------------------------------------


def test_sqlite_created_from_configuration(tmp_path: Path) -> None:
    assert SqliteCache.create({}, Context("/s")).path == "/s/cache/cache.sqlite"
    assert SqliteCache.create({"path": "~/x"}, Context("/s")).path == os.path.expanduser("~/x")


def test_sqlite_takes_one_statement(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "c")
    cache.publish(many(100))
    calls: list[str] = []
    connection = cache._connection
    assert connection is not None
    connection.set_trace_callback(calls.append)
    assert len(cache.lookup(keys(many(100)))) == 100
    assert len(calls) == 1
    cache.close()


def test_sqlite_of_a_newer_schema_is_said_and_left(tmp_path: Path) -> None:
    path = tmp_path / "c"
    cache = SqliteCache(path)
    cache.publish([entry(1)])
    cache.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    before = path.read_bytes()
    for use in (lambda: cache.lookup(["1"]), lambda: cache.publish([entry(2)]), lambda: list(cache.history("a", "b"))):
        with pytest.raises(DataError, match=r"newer reflow \(schema 2"):
            use()
    assert path.read_bytes() == before


def test_sqlite_damaged_or_foreign_is_said_and_left(tmp_path: Path) -> None:
    garbage, foreign = tmp_path / "garbage", tmp_path / "foreign"
    garbage.write_bytes(b"no database " * 1000)
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    for path, message in ((garbage, "is damaged"), (foreign, "no cache of reflow")):
        before = path.read_bytes()
        cache = SqliteCache(path)
        for use in (lambda c: c.lookup(["1"]), lambda c: c.publish([entry(2)])):
            with pytest.raises(DataError, match=message):
                use(cache)
        assert path.read_bytes() == before


def test_sqlite_empty_file_is_an_empty_cache(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(b"")
    cache = SqliteCache(path)
    assert cache.lookup(["1"]) == {}
    cache.publish([entry(1)])
    assert value(cache, 1) == 1
    cache.close()


@pytest.mark.parametrize(
    ("how", "why"), [("directory", "world-writable"), ("file", "world-writable"), ("owner", "belongs to 1234")]
)
def test_a_strangers_sqlite_is_not_believed(tmp_path: Path, how: str, why: str) -> None:
    if how == "owner" and os.getuid() != 0:
        pytest.skip("only root can give files away")
    path = tmp_path / "place" / "c"
    before = os.umask(0)
    with closing(SqliteCache(path)) as mine:
        try:
            mine.publish([entry(1)])
        finally:
            os.umask(before)
    with closing(SqliteCache(path)) as mine:
        assert value(mine, 1) == 1, "whatever the umask, what is published is believed"
    if how == "owner":
        os.chown(path, 1234, -1)
    else:
        path.parent.chmod(0o777 if how == "directory" else 0o755)
        path.chmod(0o666)
    cache = SqliteCache(path)
    with pytest.raises(Untrusted, match=why):
        cache.lookup(["1"])
    with pytest.raises(Untrusted, match=why):
        cache.publish([entry(2)])
    assert cache.damaged() == ""
    if how == "owner":
        with closing(SqliteCache(path, trusted=Trust(frozenset({0, 1234})))) as shared:
            assert value(shared, 1) == 1


def test_sqlite_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        SqliteCache(tmp_path / "file" / "c").publish([entry(1)])
    (tmp_path / "dir").mkdir()
    directory = SqliteCache(tmp_path / "dir")
    with pytest.raises(OSError, match="cannot be written"):
        directory.publish([entry(1)])
    assert directory.lookup(["1"]) == directory.lookup(["1"]) == {}
    assert len(directory.problems) == 1
    monkeypatch.setattr("reflow.store.sqlite._BUSY_SECONDS", 0.05)
    cache = SqliteCache(tmp_path / "c")
    cache.publish([entry(1)])
    other = sqlite3.connect(tmp_path / "c", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match="locked"):
        cache.publish([entry(2)])
    assert value(cache, 1) is None  # a miss, with the reason noted
    assert "locked" in cache.problems[0]
    other.close()
    assert value(cache, 1) == 1
    cache.close()


def test_sqlite_publishes_all_or_none(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "c")
    cache.publish([entry(1)])
    connection = cache._connection
    assert connection is not None
    connection.execute(
        "CREATE TRIGGER t BEFORE INSERT ON result WHEN new.task = 'bad' BEGIN SELECT RAISE(FAIL, 'no'); END"
    )
    with pytest.raises(DataError, match="no"):
        cache.publish([entry(2), entry(3, task="bad")])
    assert value(cache, 2) is None
    assert value(cache, 1) == 1
    cache.close()


def test_sqlite_rows_that_rot_are_misses(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "c")
    cache.publish([entry(i, i) for i in range(4)])
    connection = cache._connection
    assert connection is not None
    update = "UPDATE result SET frame = ? WHERE key = ?"
    connection.execute(update, (frame(msgspec.json.encode(entry(1, 1))), entry(0).key))  # another key's
    connection.execute(update, (frame(b"{}"), entry(1).key))
    connection.execute(update, (frame(msgspec.json.encode(entry(2)))[:-2] + b"x\n", entry(2).key))
    assert list(cache.lookup(keys(many(4)))) == [entry(3).key]
    assert [one.key for one in cache.history("wf", "t")] == [entry(3).key]
    cache.close()
