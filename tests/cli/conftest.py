"""The command line in this process, and runs that are made up."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reflow.authoring import Flow
from reflow.cli.main import main, workflow_app
from reflow.errors import RunNotFound


class Said:
    """What a command line printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@pytest.fixture
def reflow(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`reflow WORD...` here; with ``flow=`` that workflow's own command line."""

    def call(*words: str, flow: Flow | None = None) -> Said:
        capsys.readouterr()
        code = main(words) if flow is None else workflow_app(flow)(words)
        return Said(code, *capsys.readouterr())

    return call


class FakeRun:
    """A run that answers as `reflow.run.service.api.Run` does, and notes what it was asked."""

    def __init__(self, run_id: str, workflow: str, **answers: Any) -> None:
        self.run_id, self.workflow, self.run_dir = run_id, workflow, f"/runs/{run_id}"
        self.answers = answers
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def answer(*args: Any, **named: Any) -> Any:
            self.asked.append((name, args, named))
            found = self.answers.get(name)
            return found(*args, **named) if callable(found) else found

        return answer


class Shelf:
    """The registry's stand-in."""

    def __init__(self) -> None:
        self.runs: list[FakeRun] = []
        self.store_paths: list[object] = []

    def add(self, run_id: str = "demo-20250301-a1b2", workflow: str = "demo", **answers: Any) -> FakeRun:
        run = FakeRun(run_id, workflow, **answers)
        self.runs.insert(0, run)
        return run

    def open(self, ref: str, *, store_path: object = None) -> FakeRun:
        self.store_paths.append(store_path)
        found = [run for run in self.runs if run.run_id.startswith(ref) or ref == "latest"]
        if not found:
            raise RunNotFound(f"no run {ref!r}", hint="see `reflow runs`")
        return found[0]

    def listing(
        self, store_path: object = None, *, workflow: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        self.store_paths.append(store_path)
        return [
            {
                "run_id": run.run_id,
                "workflow": run.workflow,
                "status": "SUCCESS",
                "created": 1.7e9,
                "run_dir": run.run_dir,
            }
            for run in self.runs
            if workflow in (None, run.workflow)
        ][:limit]


class _Registry:
    """What a command line asks for the newest run."""

    unread = ()

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def find(self, ref: str, workflow: str | None = None) -> FakeRun:
        assert ref == "latest"
        for run in self.shelf.runs:
            if workflow in (None, run.workflow):
                return run
        raise RunNotFound(f"no run of {workflow!r}")

    def listing(self) -> list[FakeRun]:
        return self.shelf.runs


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Made-up runs in place of the registry's."""
    found = Shelf()
    fake = types.ModuleType("reflow.run.service.api")
    fake.Run = types.SimpleNamespace(open=found.open)  # type: ignore[attr-defined]
    fake.runs = found.listing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reflow.run.service.api", fake)
    monkeypatch.setattr("reflow.store.registry.Registry", lambda store, policy: _Registry(found))
    return found


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Write a script into a directory of its own; what its import left behind is undone."""
    before, path = set(sys.modules), list(sys.path)

    def write(text: str, name: str = "pipeline.py") -> Path:
        file = tmp_path / name
        file.write_text(text)
        return file

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
    sys.path[:] = path
