"""Graphs as text."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reflow.cli.graph import mermaid, tree


def task(name: str, *depends: tuple[str, str | None], array: bool = False) -> dict[str, Any]:
    return {"name": name, "array": array, "depends": [{"task": up, "mode": mode} for up, mode in depends]}


CLIMATE = {
    "workflow": "climate",
    "tasks": [
        task("discover"),
        task("box"),
        task("mean", ("discover", "fan-out"), ("box", "broadcast"), array=True),
        task("trend", ("mean", "gather"), ("box", "direct"), ("mean", "gather")),
        task("tidy", ("discover", None)),
    ],
}


def test_a_tree_has_a_line_for_each_task() -> None:
    assert tree(CLIMATE) == [
        "climate",
        "├── discover",
        "│   └── tidy  ← after discover",
        "└── box",
        "    └── mean[]  ← fan-out discover, broadcast box",
        "        └── trend  ← gather mean, direct box",
    ]


def test_a_tree_in_ascii() -> None:
    assert tree(CLIMATE, ascii_only=True)[2:4] == ["|   `-- tidy  <- after discover", "`-- box"]


def test_an_empty_graph() -> None:
    assert tree({"workflow": "w\n", "tasks": []}) == ["w\\n"]


def test_a_long_chain_is_no_recursion() -> None:
    tasks = [task("t0"), *(task(f"t{n}", (f"t{n - 1}", "direct")) for n in range(1, 3000))]
    assert len(tree({"workflow": "w", "tasks": tasks})) == 3001


@given(st.lists(st.lists(st.integers(0, 20), max_size=4), max_size=15))
def test_every_task_stands_in_the_tree_once(links: list[list[int]]) -> None:
    tasks = [task(f"t{n};", *((f"t{up};", "direct") for up in ups if up < n)) for n, ups in enumerate(links)]
    lines = tree({"workflow": "w", "tasks": tasks}, ascii_only=True)
    names = [line.split("-- ")[1].split(";")[0] for line in lines[1:]]
    assert sorted(names) == sorted(f"t{n}" for n in range(len(links)))


def test_mermaid() -> None:
    assert mermaid(CLIMATE) == [
        "flowchart TD",
        '  t0["discover"]',
        '  t1["box"]',
        '  t2[["mean"]]',
        '  t3["trend"]',
        '  t4["tidy"]',
        "  t0 -->|fan-out| t2",
        "  t1 -->|broadcast| t2",
        "  t2 -->|gather| t3",
        "  t1 -->|direct| t3",
        "  t0 -.->|after| t4",
    ]


def test_mermaid_escapes_what_would_end_a_label() -> None:
    lines = mermaid({"workflow": "w", "tasks": [task('a"]; b')]})
    assert lines[1] == '  t0["a#34;#93;#59; b"]'


def test_two_ways_between_two_tasks_are_one_arrow() -> None:
    graph = {"workflow": "w", "tasks": [task("a"), task("b", ("a", "direct"), ("a", None))]}
    assert mermaid(graph)[-1] == "  t0 -->|direct + after| t1"
    assert tree(graph)[-1] == "    └── b  ← direct + after a"
