from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import UsageError
from reflow.model.names import Fingerprint
from reflow.worker import files
from reflow.worker.files import SPOILED, Fingerprints, Print, Settler, fingerprint, settle, still, unchanged

HOUR_AGO = time.time_ns() - 3600 * 10**9


def make(path: Path, text: str = "x", mtime: int | None = HOUR_AGO) -> str:
    """Write a file, by default an old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if mtime is not None:
        os.utime(path, ns=(mtime, mtime))
    return str(path)


def taken(path: str, policy: str = "stat") -> Print:
    found = Fingerprints(policy).of(path)
    assert found is not None
    return bare(found)


def bare(found: Print | None) -> Print:
    """A fingerprint without its ctime, which no test can set."""
    assert found is not None
    return Print(found.digest, found.guard)


def test_an_old_file_is_its_size_and_time_stamp(tmp_path: Path) -> None:
    path = make(tmp_path / "a", "four")
    assert taken(path) == Print(f"stat:4:{HOUR_AGO}", None)
    assert fingerprint(path) == f"stat:4:{HOUR_AGO}"
    make(tmp_path / "a", "longer")
    assert not still(path, f"stat:4:{HOUR_AGO}")
    make(tmp_path / "a", "four", HOUR_AGO + 1)
    assert not still(path, f"stat:4:{HOUR_AGO}")


def test_content_does_not_mind_the_time_stamp(tmp_path: Path) -> None:
    path = make(tmp_path / "a", "four")
    digest = fingerprint(path, Fingerprint.CONTENT)
    assert digest.startswith("content:")
    assert bare(Fingerprints("content").of(make(tmp_path / "a", "four", None))) == Print(digest, None)
    make(tmp_path / "a", "five")
    assert unchanged({path: digest}) == [path]


def test_name_looks_at_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "stat", None)
    assert fingerprint("/no/such", "name") == "name"
    assert Fingerprints("name").of("/no/such", declared=False) is None
    assert still("/no/such", "name")


def test_a_string_counts_where_it_names_a_regular_file_only(tmp_path: Path) -> None:
    prints = Fingerprints()
    file = make(tmp_path / "a")
    listener = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(listener)
        bad = [str(tmp_path), str(tmp_path / "none"), listener, "/" + "x" * 100_000, "/nul\0byte", "/\udcff\ud800"]
        assert [prints.of(path, declared=False) for path in bad] == [None] * len(bad)
        assert prints.output(bad[0], declared=False) is None
        assert fingerprint(bad[1], declared=False) == ""
        # the same path as a Path does count, and does not make the string count afterwards
        assert [prints.of(path) is None for path in bad] == [False] * len(bad)
        assert [prints.of(path, declared=False) for path in bad] == [None] * len(bad)
        special = taken(listener)
        assert special.digest.startswith("special:14")
        assert still(listener, special.digest)
        assert not still(file, special.digest)
        assert not still(listener, "stat:0:0")
    assert bare(prints.of(file, declared=False)) == bare(prints.of(file, declared=True)) == Print(f"stat:1:{HOUR_AGO}")
    assert set(prints.many([(file, True), (bad[1], False), (bad[0], True)])) == {file, bad[0]}


def test_missing_and_out_of_reach(tmp_path: Path) -> None:
    file = make(tmp_path / "a")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert fingerprint(str(tmp_path / "none")) == fingerprint(file + "/below") == fingerprint("/nul\0") == "missing"
    assert fingerprint(str(loop)).startswith("unreadable:")
    assert still(str(tmp_path / "none"), "missing")
    assert still(str(loop), fingerprint(str(loop)))
    assert not still(file, "missing")
    os.unlink(file)
    assert unchanged({file: f"stat:1:{HOUR_AGO}"}) == [file]
    assert not still(file, "content:00")
    assert not still("/nul\0", "content:00")


def test_each_path_is_looked_at_once_in_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [make(tmp_path / str(i)) for i in range(50)]
    looked: list[str] = []
    real = os.stat

    def counting(path: str, **rest: bool) -> os.stat_result:
        looked.append(path)
        return real(path, **rest)

    monkeypatch.setattr(files.os, "stat", counting)
    prints = Fingerprints()
    for _ in range(3):
        assert len(prints.many((path, declared) for path in paths for declared in (True, False))) == 50
    assert sorted(looked) == sorted(paths)
    prints.of(str(tmp_path))
    before = len(looked)
    prints.of(str(tmp_path))
    assert len(looked) == before
    assert len(Fingerprints().many((path, True) for path in paths)) == 50  # another batch looks again
    assert len(looked) == before + 50


# --- directories -------------------------------------------------------------


def test_a_directory_is_its_names_sizes_and_times(tmp_path: Path) -> None:
    top = tmp_path / "top"
    make(top / "a", "one")
    make(top / "deep" / "b", "two")
    digest = fingerprint(str(top))
    assert digest.startswith("dir:3:")
    assert taken(str(top)).guard is None
    assert still(str(top), digest)
    assert not still(str(top), "stat:3:1")
    changes = [
        lambda: make(top / "deep" / "c"),
        lambda: make(top / "deep" / "b", "other"),
        lambda: make(top / "a", "one", HOUR_AGO + 1),
        lambda: os.rename(top / "a", top / "z"),
        lambda: os.unlink(top / "z"),
        lambda: os.mkdir(top / "empty"),
    ]
    for change in changes:
        change()
        assert not still(str(top), digest)
        digest = fingerprint(str(top))
        assert still(str(top), digest)
    os.rename(top, tmp_path / "moved")
    assert fingerprint(str(tmp_path / "moved")) == digest
    assert not still(str(top), digest)


def test_a_directory_by_content(tmp_path: Path) -> None:
    make(tmp_path / "top" / "a", "one")
    digest = fingerprint(str(tmp_path / "top"), "content")
    assert digest.startswith("tree:1:")
    make(tmp_path / "top" / "a", "one", HOUR_AGO + 5)
    assert still(str(tmp_path / "top"), digest)
    make(tmp_path / "top" / "a", "two", HOUR_AGO + 5)
    assert not still(str(tmp_path / "top"), digest)


def test_links_in_a_directory_are_followed_once(tmp_path: Path) -> None:
    top = tmp_path / "top"
    make(top / "a")
    make(tmp_path / "elsewhere" / "b", "one")
    (top / "link").symlink_to(tmp_path / "elsewhere")
    (top / "loop").symlink_to(top)
    (top / "dangling").symlink_to(tmp_path / "none")
    os.mkfifo(top / "pipe")
    digest = fingerprint(str(top))
    assert still(str(top), digest)
    make(tmp_path / "elsewhere" / "b", "other")
    assert not still(str(top), digest)
    assert still(str(top), fingerprint(str(top), "content"))


def test_a_directory_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "top" / "deep" / "a")
    whole = fingerprint(str(tmp_path / "top"))
    real = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(13, "no")
        return real(path)

    monkeypatch.setattr(files.os, "scandir", refusing)
    assert fingerprint(str(tmp_path / "top")) != whole


def test_a_directory_too_large_to_look_at_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ENTRIES", 3)
    top = str(tmp_path / "top")
    for i in range(3):
        make(tmp_path / "top" / str(i))
    digest = fingerprint(top)
    make(tmp_path / "top" / "3")
    with pytest.raises(UsageError, match=r"holds more than 3 entries[\s\S]*name a policy"):
        Fingerprints().of(top)
    found = Fingerprints("stat", named=True).of(top)
    assert found is not None
    assert found.digest.startswith("dir:4:")
    assert still(top, found.digest)
    assert not still(top, digest)


def test_a_recorded_text_that_makes_no_sense_is_a_change(tmp_path: Path) -> None:
    make(tmp_path / "a")
    for text in ("dir:x:y", "tree:", "young:x:y", "", "stat", "settle", "quantum:1"):
        assert not still(str(tmp_path), text)
        assert not still(str(tmp_path / "a"), text)


# --- young files -------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time, in ns, as files.py sees it: one element, to be changed; sleeping advances it."""
    now = [time.time_ns()]

    class Clock:
        @staticmethod
        def time_ns() -> int:
            return now[0]

        @staticmethod
        def sleep(seconds: float) -> None:
            assert 0 < seconds <= 2
            now[0] += int(seconds * 1e9) + 1

    monkeypatch.setattr(files, "time", Clock)
    return now


def test_a_young_file_is_guarded_by_its_content(tmp_path: Path, clock: list[int]) -> None:
    path = make(tmp_path / "a", "one", clock[0])
    found = taken(path)
    assert found.digest == f"stat:3:{clock[0]}"  # the identity is the same, young or old
    assert found.guard == fingerprint(path, "content")
    assert fingerprint(path) == found.digest
    # rewritten within the same tick: the time stamp cannot tell, the guard does
    make(tmp_path / "a", "two", clock[0])
    assert still(path, found.digest)
    assert unchanged({path: found.guard or ""}) == [path]
    clock[0] += 1_999_999_999
    assert taken(path).guard is not None
    clock[0] += 1
    assert taken(path).guard is None


def test_a_guard_is_kept_while_young_and_dropped_once_old(tmp_path: Path, clock: list[int]) -> None:
    path = make(tmp_path / "a", "one", clock[0])
    found = taken(path)
    assert found.guard is not None
    digests, guards = {path: found.digest}, {path: found.guard}
    assert settle(digests, guards) == guards
    clock[0] += 3 * 10**9
    assert settle(digests, guards) == {}
    make(tmp_path / "a", "two", clock[0] - 3 * 10**9)  # another content, the same time stamp
    assert settle(digests, guards) == SPOILED
    os.unlink(path)
    assert settle(digests, guards) == SPOILED


def test_a_file_of_the_future_is_as_old_as_its_inode(tmp_path: Path, clock: list[int]) -> None:
    path = make(tmp_path / "a", "one", clock[0] + 10**12)
    found = taken(path)
    assert found.guard is not None
    assert settle({path: found.digest}, {path: found.guard}) == {path: found.guard}
    clock[0] += 5 * 10**9
    assert settle({path: found.digest}, {path: found.guard}) == {}
    assert taken(path).guard is None
    clock[0] -= 100 * 10**9  # the file server's clock is ahead
    assert taken(path).guard is not None
    assert settle({path: found.digest}, {path: "settle"}) == files.AHEAD


def test_a_large_young_file_is_waited_for(tmp_path: Path, clock: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "GUARDED", 2)
    born = clock[0]
    path = make(tmp_path / "a", "large", born)
    found = taken(path)
    assert found.guard == "settle"
    digests, guards = {path: found.digest}, {path: "settle"}
    clock[0] += 5 * 10**8
    assert settle(digests, guards) == {}
    assert clock[0] > born + 2 * 10**9
    later = clock[0]
    assert settle(digests, guards) == {}
    assert clock[0] == later  # old by now: nothing to wait for
    make(tmp_path / "a", "large", born + 1)
    assert settle(digests, guards) == SPOILED
    future = make(tmp_path / "b", "large", clock[0] + 10**12)
    clock[0] += 100 * 10**9
    later = clock[0]
    assert settle({future: taken(future).digest}, {future: "settle"}) == {}
    assert clock[0] == later


def test_a_young_file_that_cannot_be_read_is_waited_for(
    tmp_path: Path, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "a", "one", clock[0])

    def refuse(*_: object) -> int:
        raise PermissionError(13, "no")

    monkeypatch.setattr(files.os, "open", refuse)
    assert taken(path).guard == "settle"
    assert fingerprint(path, "content") == f"stat:3:{clock[0]}"


def test_reading_that_fails_or_meets_a_pipe_is_no_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not still(str(tmp_path / "pipe"), "content:00")
    path = make(tmp_path / "a")
    digest = fingerprint(path, "content")

    def broken(*_: object) -> bytes:
        raise OSError(5, "I/O error")

    monkeypatch.setattr(files.os, "read", broken)
    assert not still(path, digest)


def test_young_files_in_a_directory(tmp_path: Path, clock: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    top = str(tmp_path / "top")
    make(tmp_path / "top" / "old", "old")
    make(tmp_path / "top" / "young", "one", clock[0])
    make(tmp_path / "top" / "younger", "one", clock[0] + 1)
    found = taken(top)
    assert found.guard is not None
    assert found.guard.startswith(f"young:{clock[0]}:")
    assert still(top, found.guard)
    digests, guards = {top: found.digest}, {top: found.guard}
    assert settle(digests, guards) == guards
    clock[0] += 3 * 10**9
    assert settle(digests, guards) == {}
    make(tmp_path / "top" / "young", "two", clock[0] - 3 * 10**9)
    assert still(top, found.digest)
    assert not still(top, found.guard)
    assert settle(digests, guards) == SPOILED
    clock[0] -= 3 * 10**9
    monkeypatch.setattr(files, "GUARDED", 4)
    assert taken(top).guard == "settle"
    assert fingerprint(top) == found.digest


def test_inputs_without_a_guard_must_be_as_they_were(tmp_path: Path) -> None:
    one, two = make(tmp_path / "1"), make(tmp_path / "2")
    digests = {one: fingerprint(one), two: fingerprint(two)}
    assert settle(digests, {}) == {}
    make(tmp_path / "2", "changed")
    assert settle(digests, {}) == SPOILED


def test_a_settler_looks_at_each_path_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "shared", "one", None)
    found = taken(path)
    assert found.guard is not None
    read: list[str] = []
    real = files.content_of
    monkeypatch.setattr(files, "content_of", lambda path: (read.append(path), real(path))[1])
    settler = Settler()
    for _ in range(10):
        assert settler.settle({path: found.digest}, {path: found.guard}) != SPOILED
    assert read == [path]
    # what another task saw of the same path is judged by itself
    assert settler.settle({path: "stat:9:9"}, {}) == SPOILED


def test_ten_thousand_files_cost_one_look_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a")
    status = os.stat(path)
    calls = []
    monkeypatch.setattr(files.os, "stat", lambda path: (calls.append(path), status)[1])
    monkeypatch.setattr(files.os, "open", None)  # nothing is read
    prints = Fingerprints().many((f"/{i}", True) for i in range(10_000))
    assert unchanged({path: found.digest for path, found in prints.items()}) == []
    assert len(calls) == 20_000


def test_a_directory_is_the_same_in_whatever_order_its_files_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b", "a", "deep/d", "deep/c"):
        make(tmp_path / name, name)
    digest = fingerprint(str(tmp_path))
    real = os.scandir

    class Turned:
        def __init__(self, path: str) -> None:
            self.path = path

        def __enter__(self) -> list[os.DirEntry[str]]:
            with real(self.path) as entries:
                return sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Turned)
    assert fingerprint(str(tmp_path)) == digest
    make(tmp_path / "deep" / "c", "deep/e")
    make(tmp_path / "deep" / "d", "deep/c", HOUR_AGO + 1)
    assert fingerprint(str(tmp_path)) != digest


def test_a_large_directory_tells_how_it_gets_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_TELL", 2)
    for i in range(5):
        make(tmp_path / str(i))
    told: list[str] = []
    assert Fingerprints(named=True, tell=told.append).of(str(tmp_path)) is not None
    assert told == [f"{tmp_path}: {count} entries looked at" for count in (2, 4)]
