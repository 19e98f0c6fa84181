"""What a run would do: nothing is written, submitted or looked up."""

from __future__ import annotations

from typing import Any

from ..batch.command import CommandExecutor
from ..batch.script import render
from ..model import layout
from ..planning.graph import dag
from ..planning.plan import Submit
from ..planning.tags import new_tag
from .engine import is_pool
from .jobs import Jobs
from .submit import Prepared


def rehearse(made: Prepared) -> list[dict[str, Any]]:
    """The steps of a run, in order.

    Parameters
    ----------
    made : Prepared
        From `reflow.run.submit.check`.

    Returns
    -------
    list of dict
        For each task ``task``, ``array``, ``after`` (tasks that it waits for)
        and ``note``; where a scheduler's commands run it, ``script`` and
        ``command`` too. How many elements an array has is not known before its
        upstream tasks have ended: its job is shown with one.
    """
    definition, executor = made.definition, made.executor
    root = layout.root(definition.run_dir, definition.run_id)
    jobs = Jobs(root, definition, made.config, made.secrets.inherited)
    edges = {task["name"]: task["depends"] for task in dag(definition.workflow, definition.tasks)["tasks"]}
    steps: list[dict[str, Any]] = []
    for task in definition.tasks:
        step: dict[str, Any] = {
            "task": task.name,
            "array": task.array,
            "after": list(dict.fromkeys(edge["task"] for edge in edges[task.name])),
            "note": "one job for each item that its upstream tasks return" if task.array else "",
        }
        if isinstance(executor, CommandExecutor):
            tag = new_tag(task.name.encode().ljust(8, b"\0"))
            spec = jobs.spec(Submit(task.name, [0], 1, 0, task.resources), tag, task, {}, 1)
            preview = executor.preview(jobs.job(task, spec, 1), render(jobs.body(task, spec)))
            step |= {"script": preview.script, "command": preview.command}
        elif is_pool(executor):
            step["note"] = step["note"] or "runs in this process's own workers"
        steps.append(step)
    return steps
