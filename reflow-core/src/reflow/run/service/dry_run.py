"""What a run would do: nothing is written, submitted or looked up."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ...batch.command import CommandExecutor
from ...batch.script import render
from ...config import Config
from ...errors import UsageError
from ...model import layout
from ...model.definition import Definition
from ...model.job import Executor, JobRef
from ...model.names import RunState
from ...model.terminal import cleaned_for
from ...planning.graph import dag
from ...planning.tags import new_tag
from ..engine.engine import is_pool
from ..jobs.factory import WAKE_UP, Jobs
from .api import Run


def rehearse(
    definition: Definition, executor: Executor, config: Config, inherited: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The steps of a run, in order.

    Parameters
    ----------
    definition : Definition
        The run, as it would be.
    executor : Executor
        What would run its jobs.
    config : Config
        Its configuration.
    inherited : mapping
        Variables of the submission that no job may show.

    Returns
    -------
    list of dict
        For each task ``task``, ``array``, ``after`` (tasks that it waits for)
        and ``note``; where a scheduler's commands run it, ``script`` and
        ``command`` too, and a last step for the job that goes on with the run.
        How many elements an array has is not known before its upstream tasks
        have ended: its job is shown with one.
    """
    jobs = Jobs(layout.root(definition.run_dir, definition.run_id), definition, config, inherited)
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
            job, spec = jobs.draft(task)
            preview = executor.preview(job, render(jobs.body(task, spec)))
            step |= {"script": preview.script, "command": preview.command}
        elif is_pool(executor):
            step["note"] = step["note"] or "runs in this process's own workers"
        steps.append(step)
    if isinstance(executor, CommandExecutor) and config.get("dispatch.chain"):
        wake = jobs.wake(new_tag(bytes(8)), [JobRef("JOB_ID")], None)
        preview = executor.preview(wake, render(jobs.wake_body(wake.tag)))
        note = "one for each group of jobs that something waits for: goes on with the run"
        steps.append({"task": WAKE_UP, "array": False, "after": [], "note": note})
        steps[-1] |= {"script": preview.script, "command": preview.command}
    return steps


def as_text(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Steps for a person to read: each script, then the command that would submit it."""
    for step in steps:
        after = f", after {', '.join(step['after'])}" if step["after"] else ""
        note = f" ({step['note']})" if step["note"] else ""
        yield f"# {step['task']}{after}{note}"
        if "command" in step:
            yield step["script"].rstrip("\n")
            yield f"$ {step['command']}\n"


class Rehearsal(Run):
    """A run that was only rehearsed: what `Workflow.submit` returns where the mode is ``dry-run``.

    It is PENDING and stays so; there is nothing to wait for, to read or to cancel.

    Attributes
    ----------
    steps : list of dict
        What would be done, as from `rehearse`.
    """

    def __init__(self, root: str, definition: Definition, steps: list[dict[str, Any]]) -> None:
        super().__init__(root, definition)
        self.steps = steps

    def wait(self, timeout: float | None = None, interval: float = 0.5) -> RunState:
        """Nothing will happen: PENDING, at once."""
        return self.state

    def drive(self, **_: Any) -> RunState:
        """Refused."""
        self._refuse()

    def _command(self, verb: str, *_: Any) -> dict[str, Any]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"there is no run {self.run_id}: it was only rehearsed", hint="submit it without the mode dry-run"
        )


def show(steps: Sequence[Mapping[str, Any]]) -> None:
    """Print steps on stdout, for who submits from Python."""
    for line in as_text(steps):
        print(cleaned_for(sys.stdout, line))
