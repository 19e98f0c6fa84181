"""A workflow's graph as text: a tree for a terminal, Mermaid for a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .render import clean

#: how `Run.dag` and `reflow.planning` describe a graph: {"workflow": str, "tasks": [{"name", "array",
#: "depends": [{"task", "mode"}]}]}, tasks in topological order; mode None: ordered by `after`
Graph = Mapping[str, Any]


def _edges(task: Mapping[str, Any]) -> dict[str, list[str]]:
    """Upstream tasks of a task, each once, with the ways in which they reach it."""
    edges: dict[str, list[str]] = {}
    for edge in task["depends"]:
        modes = edges.setdefault(edge["task"], [])
        mode = edge["mode"] or "after"
        if mode not in modes:
            modes.append(mode)
    return edges


def _label(task: Mapping[str, Any]) -> str:
    return clean(task["name"]) + ("[]" if task["array"] else "")


def tree(graph: Graph, *, ascii_only: bool = False) -> list[str]:
    """One line a task, below the last of the tasks that it waits for; what else it waits for stands behind it.

    Parameters
    ----------
    graph : Graph
        Tasks in topological order.
    ascii_only : bool
        Draw the branches with ASCII characters.
    """
    tee, corner, bar, blank = ("|-- ", "`-- ", "|   ", "    ") if ascii_only else ("├── ", "└── ", "│   ", "    ")
    arrow = "<-" if ascii_only else "←"
    children: dict[str | None, list[Mapping[str, Any]]] = {}
    order = {task["name"]: place for place, task in enumerate(graph["tasks"])}
    for task in graph["tasks"]:
        upstream = list(_edges(task))
        parent = max(upstream, key=order.__getitem__) if upstream else None
        children.setdefault(parent, []).append(task)

    lines = [clean(graph["workflow"])]
    # A stack, not recursion: a chain of tasks may be longer than Python's stack is deep.
    stack = [(task, "", task is children[None][-1]) for task in reversed(children.get(None, []))]
    while stack:
        task, indent, last = stack.pop()
        waits = ", ".join(f"{' + '.join(modes)} {clean(name)}" for name, modes in _edges(task).items())
        lines.append(f"{indent}{corner if last else tee}{_label(task)}{f'  {arrow} {waits}' if waits else ''}")
        below = children.get(task["name"], [])
        stack += [(child, indent + (blank if last else bar), child is below[-1]) for child in reversed(below)]
    return lines


def mermaid(graph: Graph) -> list[str]:
    """The graph as a Mermaid flowchart; arrays are drawn with double sides, `after` with a dotted line."""
    ids = {task["name"]: f"t{place}" for place, task in enumerate(graph["tasks"])}
    lines = ["flowchart TD"]
    for task in graph["tasks"]:
        left, right = ("[[", "]]") if task["array"] else ("[", "]")
        lines.append(f"  {ids[task['name']]}{left}{_quoted(clean(task['name']))}{right}")
    for task in graph["tasks"]:
        for upstream, modes in _edges(task).items():
            arrow = "-.->" if modes == ["after"] else "-->"
            lines.append(f"  {ids[upstream]} {arrow}|{' + '.join(modes)}| {ids[task['name']]}")
    return lines


def _quoted(text: str) -> str:
    return '"' + "".join(c if c.isalnum() or c in " ._-" else f"#{ord(c)};" for c in text) + '"'
