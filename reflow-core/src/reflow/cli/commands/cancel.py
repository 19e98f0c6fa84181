"""``cancel``: end a run, or some of its tasks."""

from __future__ import annotations

import typer

from .. import render
from ..options import JsonOption, RunArgument, RunOption, StoreOption, TaskOption, chosen_tasks
from ..session import Session


def command(
    ctx: typer.Context,
    run: RunArgument = None,
    run_id: RunOption = None,
    task: TaskOption = None,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a run and its jobs, or some of its tasks and what depends on them."""
    wanted = chosen_tasks(task)
    found = Session.of(ctx).find(run, run_id, store_path, required=True)
    done = [found.cancel(task=name, elements=elements) for name, elements in wanted]
    if as_json:
        render.put_json(done)
        return
    for what in done:
        render.put(render.clean(what["said"]))
