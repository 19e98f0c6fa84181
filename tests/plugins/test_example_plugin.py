"""The example plugin as a user has it: built, installed, used by name, and passing the kit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example-plugin"
BIN = Path(sys.executable).parent

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(installed: Callable[[Path], Path]) -> Path:
    """A directory in which it is installed from its wheel."""
    return installed(EXAMPLE)


def test_it_is_listed(site: Path, run_with: Run, tmp_path: Path) -> None:
    done = run_with(site, str(BIN / "reflow"), "plugins", "--json", where=tmp_path)
    assert done.returncode == 0, done.stderr
    row = next(row for row in json.loads(done.stdout) if row["name"] == "example")
    assert (row["distribution"], row["version"], row["status"]) == ("reflow-example", "1.0", "ok")
    kinds = ("executors", "cache_backends", "notifiers", "commands")
    assert [row[kind][0]["name"] for kind in kinds] == ["background", "textfile", "journal", "where"]


def test_its_command_and_cache_are_used_by_name(site: Path, run_with: Run, tmp_path: Path) -> None:
    etl = str(ROOT / "examples" / "etl.py")
    store = tmp_path / "store"
    environ = {"REFLOW_CACHE_BACKEND": "textfile", "REFLOW_STORE_PATH": str(store)}
    for name in ("one", "two"):
        argv = (sys.executable, etl, "run", "--run-dir", name, "--executor", "local")
        done = run_with(site, *argv, where=tmp_path, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (store / "cache.jsonl").read_bytes().count(b"\n") >= 9
    for prog in ((str(BIN / "reflow"),), (sys.executable, etl)):
        assert run_with(site, *prog, "where", where=tmp_path, **environ).stdout == f"{tmp_path / 'two'}\n"
        assert "print the directory of a run" in run_with(site, *prog, "--help", where=tmp_path).stdout


_OBJECTS = """
import json, reflow
from pathlib import Path
from reflow.plugin import CacheEntry, Context, Notice, Occasion
from reflow.plugins import registry
import msgspec

context = Context(store=str(Path("store").absolute()))
cache = registry().create_cache_backend("textfile", {}, context)
found = [dict(cache.lookup(["a"]))]
cache.publish([CacheEntry(key=k, workflow="w", task="t", result=msgspec.Raw(r)) for k, r in (("a", b"1"), ("b", b"2"))])
cache.publish([CacheEntry(key="a", workflow="w", task="t", result=msgspec.Raw(b"3"))])
with open("store/cache.jsonl", "a") as stream:
    stream.write('{"key":"a","half')
again = registry().create_cache_backend("textfile", {"file": "store/cache.jsonl"}, context)
found += [{key: bytes(entry.result).decode() for key, entry in again.lookup(["a", "c"]).items()}]
found += [[bytes(entry.result).decode() for entry in again.history("w", "t")], list(again.history("w", "u"))]
cache.close()

journal = registry().create_notifier("journal", {}, context)
journal.notify(Notice(occasion=Occasion.SUCCESS, run_id="r-1", workflow="w", run_dir="/d"))
found += [Path("store/journal.txt").read_text()]
try:
    registry().create_notifier("journal", {"file": "/none/x"}, context).notify(
        Notice(occasion=Occasion.BEGIN, run_id="r-1", workflow="w", run_dir="/d"))
except reflow.errors.ReflowError as error:
    found += [str(error)]
found += [reflow.BackgroundExecutor("/x").settings]
print(json.dumps(found))
"""


def test_its_cache_and_notifier(site: Path, run_with: Run, tmp_path: Path) -> None:
    done = run_with(site, sys.executable, "-c", _OBJECTS, where=tmp_path)
    assert done.returncode == 0, done.stderr
    nothing, newest, history, none, text, error, settings = json.loads(done.stdout)
    assert nothing == {}
    assert newest == {"a": "3"}
    assert history == ["3", "2", "1"]
    assert none == []
    assert text.startswith("reflow: w succeeded (r-1).\n")
    assert "the journal cannot be written" in error
    assert settings == {"directory": "/x"}


@pytest.mark.slow
def test_its_executor_passes_the_kit(site: Path, run_with: Run, tmp_path: Path) -> None:
    """As outside of this project: the plugin's own tests, with nothing of ours around them."""
    (tmp_path / "tests").mkdir()
    for name in ("conftest.py", "tests/test_background.py"):
        (tmp_path / name).write_text((EXAMPLE / name).read_text())
    argv = (sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:cov", "tests")
    done = run_with(site, *argv, where=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
