"""docs/glossary.md has every state, failure class, report and event, each with one meaning, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from reflow.model import record
from reflow.model.lifecycle import states
from reflow.model.names import FailureClass, RunState, TaskState

PAGE = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")


def table(title: str) -> list[list[str]]:
    """Return the rows of the table in a section, cell by cell, without its head."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found
    return rows_of(found[1].partition("\n\nThe table of transitions")[0])


def rows_of(text: str) -> list[list[str]]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip("` ") for cell in row] for row in rows[2:]]


def tags(union: Any) -> list[str]:
    return [kind.__struct_config__.tag for kind in get_args(union)]


def words(kind: Any) -> list[str]:
    return [one.value for one in kind]


@pytest.mark.parametrize(
    ("title", "known"),
    [
        ("States", words(TaskState)),
        ("Failure classes", words(FailureClass)),
        ("Reports", tags(record.Mail)),
        ("Events", tags(record.Event)),
    ],
)
def test_a_table_has_what_the_code_has(title: str, known: list[str]) -> None:
    assert sorted(row[0] for row in table(title)) == sorted(known)


def test_inner_states_are_named_with_the_state_that_is_shown() -> None:
    rows = rows_of(PAGE.partition("The table of transitions")[2].partition("`STALLED`")[0])
    shown = dict(zip(states.NAMES, states.SHOWN, strict=True))
    assert {row[0]: row[1] for row in rows} == {
        name: state.value for name, state in shown.items() if name not in words(TaskState)
    }


def test_the_states_of_a_run_are_marked() -> None:
    assert {row[0] for row in table("States") if row[1] == "yes"} == set(words(RunState))


@pytest.mark.parametrize("title", ["Terms", "States", "Failure classes", "Reports", "Events"])
def test_each_word_has_one_meaning(title: str) -> None:
    rows = table(title)
    assert len({row[0] for row in rows}) == len(rows)
    assert all(row[-1] for row in rows)
