"""docs/compatibility.md lists what is public, and nothing else."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pytest

from reflow import Param, Result, Run, Workflow
from reflow.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text(encoding="utf-8")


def names(title: str) -> list[str]:
    """Return the names below a heading."""
    found = re.search(rf"^### `{re.escape(title)}`\n\n(.*?)\n\n", PAGE + "\n\n", re.M | re.S)
    assert found
    return re.findall(r"`(\w+)`", found[1])


def keys(command: str, what: str) -> set[str]:
    """Return the keys that the page lists of an object of a command's JSON."""
    found = re.search(rf"^\| [^|]*`{re.escape(command)}`[^|]*\| {re.escape(what)} \| (.*) \|$", PAGE, re.M)
    assert found
    return set(re.findall(r"`(\w+)`", found[1]))


@pytest.mark.parametrize("module", ["reflow", "reflow.plugin", "reflow.testing"])
def test_the_public_names_are_those_of_the_code(module: str) -> None:
    public = import_module(module).__all__
    assert names(module) == sorted(public)
    assert all(hasattr(import_module(module), name) for name in public)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of which one element has failed."""
    wf = Workflow("public")

    @wf.job()
    def numbers(count: Annotated[int, Param()] = 2) -> list[int]:
        return list(range(count))

    @wf.array_job()
    def inverse(n: Annotated[int, Result(step="numbers")]) -> float:
        return 1 / n

    return wf.run_local(tmp_path_factory.mktemp("public") / "run", executor="inline")


@pytest.fixture
def answer(run: Run, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what a command prints of the run as JSON."""

    def call(command: str, *words: str, about: bool = True) -> Any:
        assert main([command, *([str(run.run_dir)] if about else []), *words, "--json"]) == 0
        text = capsys.readouterr().out
        return [json.loads(line) for line in text.splitlines()] if command == "events" else json.loads(text)

    return call


def test_the_keys_of_a_status(answer: Any) -> None:
    found = answer("status", "--elements")
    assert set(found) == keys("status", "itself")
    assert set(found["run"]) == keys("status", "`run`")
    for part, command in (("tasks", "status"), ("failures", "status"), ("elements", "status --elements")):
        assert {frozenset(row) for row in found[part]} == {frozenset(keys(command, f"each of `{part}`"))}


@pytest.mark.parametrize(
    ("command", "words", "what"),
    [("events", [], "each line"), ("explain", [], "each item"), ("results", ["numbers"], "each item")],
)
def test_the_keys_of_lists(command: str, words: list[str], what: str, answer: Any) -> None:
    assert {frozenset(row) for row in answer(command, *words)} == {frozenset(keys(command, what))}


def test_the_keys_of_the_list_of_runs(run: Run, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", "--registry", str(run.run_dir)]) == 0
    capsys.readouterr()
    assert {frozenset(row) for row in answer("runs", about=False)} == {frozenset(keys("runs", "each item"))}
