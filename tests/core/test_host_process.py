"""The process that calls reflow, a notebook or a service, stays as it was: whatever is called, whatever scripts do."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reflow import Run
from reflow.worker import collector

SCRIPT = """
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from reflow import Param, Result, Workflow
import kind_{name}

wf = Workflow("{name}")

@dataclass
class Point:
    x: int

@wf.job()
def make(n: Annotated[int, Param()] = 1) -> Point:
    if not (Path(__file__).parent / "mended").exists():
        raise RuntimeError("not yet")
    return Point(n + kind_{name}.OFFSET)

@wf.array_job()
def spread(item: Annotated[int, Result(step="numbers")]) -> Point:
    return Point(item)

@wf.job()
def numbers() -> list[int]:
    return [1, 2]
"""

#: what some scripts do when they are imported
RUDE = """
import gc, logging, os, signal, sys, warnings
if "SEEN_BY_HOST" not in os.environ:
    os.environ["RUDE"] = "1"
    sys.path.append("/nowhere")
    sys.argv.append("--rude")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    logging.basicConfig(level="DEBUG")
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    gc.disable()
    os.chdir("/")
"""

Make = Callable[..., ModuleType]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Write a script with a module beside it, and import it as its user does."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = []

    def write(name: str, more: str = "") -> ModuleType:
        names.append(name)
        (tmp_path / f"kind_{name}.py").write_text("OFFSET = 0\n")
        (tmp_path / f"{name}.py").write_text(SCRIPT.format(name=name) + more)
        importlib.invalidate_caches()
        os.environ["SEEN_BY_HOST"] = "1"
        try:
            return importlib.import_module(name)
        finally:
            del os.environ["SEEN_BY_HOST"]

    yield write  # type: ignore[misc]
    for name in names:
        for one in (name, f"kind_{name}"):
            sys.modules.pop(one, None)


def state(tmp_path: Path) -> dict[str, Any]:
    """What reflow must leave alone; of modules those below the user's directory, and every one that was there."""
    numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    log = logging.getLogger()
    return {
        "own": {
            name: module
            for name, module in sys.modules.items()
            if str(getattr(module, "__file__", "")).startswith(str(tmp_path))
        },
        "path": list(sys.path),
        "meta_path": list(sys.meta_path),
        "argv": list(sys.argv),
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
        "signals": {number: signal.getsignal(number) for number in numbers},
        "gc": (gc.isenabled(), gc.get_threshold()),
        "log": (log.level, list(log.handlers), logging.root.manager.disable),
        "warnings": list(warnings.filters),
    }


class Watch:
    """Calls things, and compares the process before and after each."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path

    def __call__(self, what: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        modules, before = dict(sys.modules), state(self.tmp_path)
        try:
            return what(*args, **kwargs)
        finally:
            after = state(self.tmp_path)
            for part, value in before.items():
                assert after[part] == value, f"{what} changed {part}"
            assert [name for name in modules if sys.modules.get(name) is not modules[name]] == []


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_no_call_changes_the_process_that_makes_it(tmp_path: Path, make: Make, executor: str) -> None:
    module, call = make(f"polite_{executor}", RUDE), Watch(tmp_path)
    run = call(module.wf.run_local, tmp_path / "run", executor=executor)
    assert call(run.status)["run"]["status"] == "FAILED"
    for look in (run.explain, run.describe, run.dag, run.wait, module.wf.dag, module.wf.describe):
        call(look)
    assert call(run.logs, "make") is not None
    assert [type(one) for one in call(run.results, "spread")] == [module.Point] * 2
    (tmp_path / "mended").touch()
    file = Path(module.__file__ or "")
    file.write_text(file.read_text().replace("Point(n + ", "Point(n + 41 + "))
    call(run.retry)
    assert call(run.result, "make") == module.Point(42), "it has the form of the class that is imported here"
    assert call(run.drive).value == "SUCCESS"
    assert call(run.cancel)["said"].startswith("nothing to cancel")
    assert call(module.wf.submit, tmp_path / "again", executor="inline").state.value == "SUCCESS"


def test_results_are_read_where_the_script_is_not_imported(tmp_path: Path, make: Make) -> None:
    module, call = make("elsewhere", RUDE), Watch(tmp_path)
    (tmp_path / "mended").touch()
    root = module.wf.run_local(tmp_path / "run", executor="inline").root
    for name in ("elsewhere", "kind_elsewhere"):
        del sys.modules[name]
    run = Run.open(root)
    assert call(run.result, "make").x == 1
    assert type(call(run.result, "make")) is type(call(run.results, "spread")[0]), "it is imported once"


def test_results_of_another_form_are_of_the_frozen_class(tmp_path: Path, make: Make) -> None:
    module, call = make("reshaped"), Watch(tmp_path)
    (tmp_path / "mended").touch()
    run = module.wf.run_local(tmp_path / "run", executor="inline")
    file = Path(module.__file__ or "")
    file.write_text(file.read_text().replace("x: int", "x: int; y: int = 0"))
    del sys.modules["reshaped"]
    again = importlib.import_module("reshaped")
    assert type(call(run.result, "make")) is module.Point, "the run's own workflow is in memory"
    found = call(Run.open(run.root).result, "make")
    assert type(found) is not again.Point
    assert vars(found) == {"x": 1}


def test_a_service_with_ten_workflows_retries_some_and_submits_all(tmp_path: Path, make: Make) -> None:
    modules, call = [make(f"service_{number}") for number in range(10)], Watch(tmp_path)
    failed = [one.wf.run_local(tmp_path / one.__name__, executor="inline") for one in modules[:2]]
    (tmp_path / "mended").touch()
    for run in failed:
        call(run.retry)
        assert run.state.value == "SUCCESS"
    for one in modules:
        run = call(one.wf.submit, tmp_path / "all", executor="inline")
        assert run.result("make") == one.Point(1)


def test_threads_retry_at_the_same_time(tmp_path: Path, make: Make) -> None:
    modules, call = [make(f"thread_{number}") for number in range(3)], Watch(tmp_path)
    runs = [one.wf.run_local(tmp_path / one.__name__, executor="inline") for one in modules]
    (tmp_path / "mended").touch()
    for number, one in enumerate(modules):
        file = Path(one.__file__ or "")
        file.write_text(file.read_text().replace("Point(n + ", f"Point(n + {number} + "))

    def retry(run: Run) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        run.retry()
        return run.result("make").x

    def all_of_them() -> list[Any]:
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(retry, runs))

    assert call(all_of_them) == [1, 2, 3]


def test_a_script_that_cannot_be_imported_leaves_the_process_alone(
    tmp_path: Path, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    module, call = make("broken"), Watch(tmp_path)
    run = module.wf.run_local(tmp_path / "run", executor="inline")
    file = Path(module.__file__ or "")
    source = file.read_text()
    for added, told in (
        ("\nprint('a word')\nraise ValueError('oh')\n", r"broken.py:\d+ cannot be imported: ValueError: oh"),
        ("\nimport os; os._exit(3)\n", "ended the process when it was imported .exit code 3."),
        ("\nwf.run_local('elsewhere')\n", "starts a run when it is imported"),
        ("\nwf = None\n", "holds no workflow named 'wf'"),
    ):
        file.write_text(source + added)
        with pytest.raises(Exception, match=told):
            call(run.retry)
    assert "a word" in capsys.readouterr().err


def test_pauses_of_threads_that_overlap_leave_the_collector_as_it_was() -> None:
    enabled = gc.isenabled()
    first, second = collector.paused(), collector.paused()
    first.__enter__()
    before = collector.is_wanted()  # another thread imports a script now
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled(), "the second one still pauses it"
    collector.want(before)
    second.__exit__(None, None, None)
    assert gc.isenabled() is enabled
