"""A run in words."""

from __future__ import annotations

from reflow.cli.summary import not_kept


def test_results_that_are_not_kept_are_named_once_for_each_reason() -> None:
    tasks = [{"name": "one", "array": False}, {"name": "many", "array": True}, {"name": "other", "array": False}]
    uncached = [
        {"task": "one", "elements": "0", "reason": "it reads the clock"},
        {"task": "many", "elements": "0,4-7", "reason": "it reads the clock"},
        {"task": "other", "elements": "0", "reason": "its source is gone"},
    ]
    assert not_kept({"tasks": tasks, "run": {"uncached": uncached}}) == [
        "not kept for later runs: one, many[0,4-7]: it reads the clock",
        "not kept for later runs: other: its source is gone",
    ]
    assert not_kept({"tasks": tasks, "run": {"uncached": []}}) == []
