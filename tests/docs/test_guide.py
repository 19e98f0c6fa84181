"""docs/guide.md leaves out no keyword, failure class, wiring mode or command, and nothing of a Run or a context."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from reflow import Flow, Run
from reflow.model.names import FailureClass, Fingerprint, Mode, TaskState
from reflow.plugins import registry
from reflow.worker.context import Context

PAGE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"guide.md has no section {title!r}"
    return found[1]


def words(text: str) -> set[str]:
    """Return the words in code, as far as they are on one line."""
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"[\w-]+", code)}


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_keywords_of_job() -> None:
    overload = inspect.getsource(Flow.job)  # the implementation takes **options: what it documents is what there is
    documented = set(re.findall(r"^        (\w+(?:, \w+)*) : ", overload, re.M))
    names = {name for line in documented for name in line.split(", ")} - {"array"}  # array_job, on the page
    assert len(names) > 15
    assert names <= words(section("Tasks") + section("Failures and retries"))


def test_words_of_the_vocabulary() -> None:
    failures = section("Failures and retries")
    assert {one.value for one in FailureClass} <= words(failures)
    assert all(one.value in failures for one in TaskState if one.ended)
    assert {one.value for one in Fingerprint} <= words(section("Files"))
    modes = {one.value for one in Mode} - {Mode.FLATTEN.value}
    assert all(mode in section("Wiring") for mode in modes)
    assert "gather and flatten" in section("Wiring")


def test_what_a_run_and_a_context_offer() -> None:
    reading = words(section("Reading results"))
    assert public(Run) <= reading
    told = words(section("Parameters"))
    assert public(Context) | {"run_id", "task", "index", "attempt", "cpus", "mem"} <= told


def test_commands() -> None:
    hidden = {"config", "plugins"}  # configuration.md and plugins.md have them
    assert {entry.name for entry in registry(()).commands()} - hidden <= words(section("A pipeline"))


@pytest.mark.parametrize("word", ["open", "scratch"])
def test_words_are_found_in_code_only(word: str) -> None:
    assert word not in words(f"a {word} door")
    assert word in words(f"call `reflow.{word}()`")
