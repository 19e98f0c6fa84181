"""A workflow's graph as plain data, for people and programs to look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ..model.names import Mode, Source
from ..model.schema import Schema, describe
from ..model.task import Input, Task, TaskSpec


def dag(workflow: str, tasks: Iterable[Task | TaskSpec]) -> dict[str, Any]:
    """The graph: ``{"workflow", "tasks": [{"name", "array", "depends": [{"task", "mode"}]}]}``.

    Tasks stand in topological order; ``mode`` is None where a task is only
    ordered after another.
    """
    return {
        "workflow": workflow,
        "tasks": [{"name": task.name, "array": _array(task), "depends": _depends(task)} for task in tasks],
    }


def describe_tasks(tasks: Iterable[Task | TaskSpec]) -> list[dict[str, Any]]:
    """What each task takes, returns, asks for and waits for."""
    return [
        {
            "name": task.name,
            "array": _array(task),
            "where": str(task.where),
            "inputs": [_input(wired) for wired in task.inputs],
            "returns": describe(task.returns),
            "depends": _depends(task),
            **_settings(task),
        }
        for task in tasks
    ]


def _array(task: Task | TaskSpec) -> bool:
    return task.array if isinstance(task, Task) else task.config.array


def _depends(task: Task | TaskSpec) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = []
    for wired in task.inputs:
        mode = wired.mode.value if wired.mode is not None else None
        found.extend({"task": step, "mode": mode} for step in wired.steps)
    found.extend({"task": step, "mode": None} for step in task.after)
    return found


def _input(wired: Input) -> dict[str, Any]:
    told: dict[str, Any] = {"name": wired.name, "source": wired.source.value, "type": describe(wired.schema)}
    if wired.source is Source.PARAM:
        told["parameter"] = wired.key
    if wired.steps:
        told["steps"] = list(wired.steps)
    if isinstance(wired.mode, Mode):
        told["mode"] = wired.mode.value
    return told


def _settings(task: Task | TaskSpec) -> dict[str, Any]:
    if isinstance(task, Task):
        settings = task
        told: dict[str, Any] = {"code": task.code, "verify": task.verify, "fingerprint": task.fingerprint.value}
    else:
        settings = task.config  # type: ignore[assignment]
        told = {}
    resources = msgspec.to_builtins(settings.resources)
    return {
        **told,
        "version": settings.version,
        "cache": settings.cache,
        "resources": {name: value for name, value in resources.items() if value is not None},
        "array_parallelism": settings.array_parallelism,
        "options": dict(settings.options),
        "native": list(settings.native),
        "modules": list(settings.modules),
        "setup": settings.setup,
        "env": sorted(settings.env),
    }


def shape(tasks: Iterable[Task]) -> dict[str, tuple[bool, Schema, tuple[Any, ...], tuple[str, ...]]]:
    """What must not change between the code generations of one run, by task."""
    return {
        task.name: (
            task.array,
            task.returns,
            tuple(
                (wired.name, wired.source, wired.schema, wired.key, wired.steps, wired.mode) for wired in task.inputs
            ),
            task.after,
        )
        for task in tasks
    }


def difference(before: Iterable[Task], now: Iterable[Task]) -> list[str]:
    """In what two definitions of a workflow differ in shape, a sentence each."""
    old, new = shape(before), shape(now)
    told = [f"task {name} is gone" for name in old if name not in new]
    told += [f"task {name} is new" for name in new if name not in old]
    for name in old:
        if name not in new or old[name] == new[name]:
            continue
        for what, was, has in zip(
            ("array or not", "its result's type", "its inputs", "its order"), old[name], new[name], strict=True
        ):
            if was != has:
                told.append(f"task {name}: {what} changed")
    return told
