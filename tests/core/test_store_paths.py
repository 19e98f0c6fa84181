from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import ConfigError
from reflow.store import paths
from reflow.store.paths import safe_name, store_path
from reflow.worker.durable import sync_directory


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_path({}, tmp_path / "a") == str(tmp_path / "a")
    assert store_path({"REFLOW_STORE_PATH": "/x"}, tmp_path / "a") == str(tmp_path / "a")
    assert store_path({"REFLOW_STORE_PATH": str(tmp_path / "b")}) == str(tmp_path / "b")
    monkeypatch.setenv("REFLOW_STORE_PATH", "~/c")
    assert store_path() == os.path.expanduser("~/c")
    monkeypatch.chdir(tmp_path)
    assert store_path({}, "relative") == str(tmp_path / "relative")
    default = store_path({"REFLOW_STORE_PATH": ""})
    assert default.endswith("reflow")
    assert os.path.isabs(default)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_store_that_everybody_may_write_in_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError, match=r"REFLOW_STORE_PATH: .* is world-writable[\s\S]*chmod o-w"):
        store_path({"REFLOW_STORE_PATH": str(tmp_path)})
    tmp_path.chmod(0o775)
    assert store_path({}, tmp_path) == str(tmp_path)


def test_a_store_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is not a directory"):
        store_path({}, tmp_path / "file")
    with pytest.raises(ConfigError, match="below a file"):
        store_path({}, tmp_path / "file" / "store")


@given(st.text())
def test_any_name_becomes_a_plain_file_name(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert safe[0] != "."
    assert len(safe) <= 80
    assert set(safe) <= paths._SAFE
    assert safe_name(safe) == safe


def test_different_names_stay_different() -> None:
    names = ["a b", "a_b", "a/b", ".a", "a", "", "..", "ä", "\ud800", "x" * 80, "x" * 81, "x" * 82]
    assert safe_name("a-b.c_D9") == "a-b.c_D9"
    assert len({safe_name(name) for name in names}) == len(names)


def test_a_directory_that_cannot_be_synced_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync_directory(str(tmp_path / "none"))
    synced = []

    def refuse(fd: int) -> None:
        synced.append(fd)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    sync_directory(str(tmp_path))
    assert len(synced) == 1


def test_the_store_is_imported_without_heavy_modules() -> None:
    code = (
        "import sys, reflow.store.registry, reflow.store.paths, reflow.store.segments, reflow.store.sqlite;"
        "print([m for m in ('sqlite3', 'platformdirs', 'hashlib', 'difflib', 'json', 'pathlib') if m in sys.modules])"
    )
    bare = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert bare.stdout.strip() == "[]"
