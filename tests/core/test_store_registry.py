from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reflow.errors import DataError, RunNotFound, UsageError
from reflow.store import registry as module
from reflow.store.registry import Registry, RunRecord


def record(run_id: str, created: float = 1000.0, **rest: str) -> RunRecord:
    fields = {"workflow": "wf", "run_dir": "/data/run"} | rest
    return RunRecord(run_id=run_id, created=created, **fields)


def test_what_is_added_is_found(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "store")
    assert registry.listing() == []
    one = record("wf-1", user="me", host="here", script="/p.py")
    registry.add(one)
    registry.add(one)  # again: nothing happens
    assert registry.find("wf-1") == one
    assert os.listdir(registry.directory) == ["wf-1.json"]


def test_an_id_belongs_to_one_run(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(record("wf-1", run_dir="/one"))
    with pytest.raises(FileExistsError):
        registry.add(record("wf-1", run_dir="/two"))
    assert registry.find("wf-1").run_dir == "/one"
    registry.add(record("wf-1", run_dir="/two"), replace=True)
    assert registry.find("wf-1").run_dir == "/two"
    assert os.listdir(registry.directory) == ["wf-1.json"]


def test_of_many_that_want_one_id_one_gets_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path)

    def attempt(number: int) -> bool:
        try:
            registry.add(record("wf-1", run_dir=f"/{number}"))
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, got in enumerate(pool.map(attempt, range(24))) if got]
    assert len(won) == 1
    assert registry.find("wf-1").run_dir == f"/{won[0]}"


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(module.os, "link", refuse)
    registry = Registry(tmp_path)
    registry.add(record("wf-1"))
    registry.add(record("wf-1"))
    with pytest.raises(FileExistsError):
        registry.add(record("wf-1", run_dir="/other"))
    assert registry.find("wf-1").run_dir == "/data/run"


@pytest.mark.parametrize("bad", ["", "../x", "a/b", ".hidden", "nul\0"])
def test_an_id_is_a_plain_file_name(tmp_path: Path, bad: str) -> None:
    with pytest.raises(UsageError, match="no run id"):
        Registry(tmp_path).add(record(bad))


def test_listing_is_newest_first(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for number in (2, 3, 1):
        registry.add(record(f"wf-{number}", float(number), workflow="odd" if number % 2 else "even"))
    assert [one.run_id for one in registry.listing()] == ["wf-3", "wf-2", "wf-1"]
    assert [one.run_id for one in registry.listing("odd")] == ["wf-3", "wf-1"]
    assert registry.find("latest").run_id == "wf-3"
    assert registry.find("latest", "even").run_id == "wf-2"
    with pytest.raises(RunNotFound, match="no run of workflow 'none'"):
        registry.find("latest", "none")


def test_latest_reads_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(tmp_path)
    for number in range(30):
        registry.add(record(f"wf-{number:02}", 1e9 + number / 100))
    read: list[str] = []
    real = module._read
    monkeypatch.setattr(module, "_read", lambda path, trusted: (read.append(path), real(path, trusted))[1])
    assert registry.find("latest").run_id == "wf-29"
    assert len(read) == 1


def test_prefixes(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for run_id in ("climate-20250301-a1b2", "climate-20250301-ff00", "climate", "etl-1"):
        registry.add(record(run_id))
    assert registry.find("etl").run_id == "etl-1"
    assert registry.find("climate").run_id == "climate"  # whole ids win
    with pytest.raises(
        RunNotFound, match=r"2 runs begin with it\s+one of: climate-20250301-a1b2, climate-20250301-ff00"
    ):
        registry.find("climate-2")
    with pytest.raises(RunNotFound, match="did you mean 'climate-20250301-a1b2'"):
        registry.find("climat-20250301-a1b2")
    for nothing in ("", "../../zzz", "zzz"):
        with pytest.raises(RunNotFound, match="reflow runs"):
            registry.find(nothing)
    for number in range(20):
        registry.add(record(f"many-{number:02}"))
    with pytest.raises(RunNotFound, match=r"20 runs.*\s.*many-09, \.\.\.$"):
        registry.find("many")


def test_an_empty_or_unreadable_registry(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match="there is no run in the registry"):
        Registry(tmp_path / "none").find("latest")
    with pytest.raises(RunNotFound):
        Registry(tmp_path / "none").find("x")
    (tmp_path / "file").write_text("")
    broken = Registry(tmp_path / "file")
    assert broken.listing() == []
    with pytest.raises(OSError):
        broken.add(record("wf-1"))


def test_a_read_only_store_says_so_and_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(tmp_path)
    registry.add(record("wf-1"))
    real = os.open

    def read_only(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system")
        return real(path, flags, *rest)

    monkeypatch.setattr(module.os, "open", read_only)
    with pytest.raises(OSError, match="Read-only"):
        registry.add(record("wf-2"))
    assert [one.run_id for one in registry.listing()] == ["wf-1"]
    assert registry.find("latest").run_id == "wf-1"


def test_garbage_is_passed_over_and_named_when_asked_for(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(record("good", 1.0))
    directory = Path(registry.directory)
    (directory / "empty.json").write_bytes(b"")
    (directory / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (directory / "utf.json").write_bytes(b'{"run_id": "\xff"}')
    (directory / "other.json").write_text((directory / "good.json").read_text())
    (directory / "dir.json").mkdir()
    (directory / "dangling.json").symlink_to("/no/such")
    (directory / "README").write_text("hello")
    newer = json.loads((directory / "good.json").read_text()) | {"run_id": "newer", "format": 2, "run_dir": 5}
    (directory / "newer.json").write_text(json.dumps(newer))
    damaged = {"empty", "bytes", "utf", "other", "dir", "newer"}
    listed = {one.run_id: one for one in registry.listing()}
    assert set(listed) == {"good", *damaged}
    assert listed["empty"].run_dir == str(directory / "empty.json")
    assert not listed["empty"].gone
    assert registry.find("latest").run_id == "good"
    assert set(registry.unread) == damaged, "they are newer, and so one of them may be the latest"
    assert [one.run_id for one in registry.listing("wf")] == ["good"]
    assert [one.run_id for one in registry.listing("new")] == ["newer"]
    assert registry.find("latest", "wf").run_id == "good"
    assert registry.unread == {}
    with pytest.raises(RunNotFound) as caught:
        registry.find("latest", "new")
    assert "cannot be used: newer (damaged)" in (caught.value.hint or "")
    for name in ("empty", "bytes", "utf", "other"):
        with pytest.raises(DataError, match="corrupt"):
            registry.find(name)
    with pytest.raises(DataError, match=r"newer reflow \(format 2"):
        registry.find("newer")
    for name in ("dir", "dangling"):
        with pytest.raises(RunNotFound, match="cannot be read"):
            registry.find(name)
    with pytest.raises(FileExistsError):  # never overwritten
        registry.add(record("empty"))


def test_fields_of_later_versions_are_ignored(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(record("wf-1"))
    path = Path(registry.directory) / "wf-1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "blue"}))
    assert registry.find("wf-1") == record("wf-1")


def test_a_run_whose_data_vanished_is_gone(tmp_path: Path) -> None:
    one = record("wf-1", run_dir=str(tmp_path / "run"))
    assert one.gone
    (tmp_path / "run" / ".reflow" / "wf-1").mkdir(parents=True)
    assert not one.gone
