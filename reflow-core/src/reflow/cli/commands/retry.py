"""``retry``: run again what failed, was cancelled or skipped."""

from __future__ import annotations

import typer

from .. import render
from ..options import (
    JsonOption,
    QueueOption,
    RunArgument,
    RunOption,
    SetOption,
    StoreOption,
    TaskOption,
    all_overrides,
    chosen_tasks,
)
from ..progress import watching
from ..session import Session
from ..summary import show_end


def command(
    ctx: typer.Context,
    run: RunArgument = None,
    run_id: RunOption = None,
    task: TaskOption = None,
    overrides: SetOption = None,
    queue: QueueOption = None,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run again what failed, was cancelled or skipped, with today's code."""
    wanted = chosen_tasks(task)
    session = Session.of(ctx)
    found = session.find(run, run_id, store_path, required=True)
    with watching() as progress:
        done = [
            found.retry(name, elements, overrides=all_overrides(overrides, queue), on_progress=progress)
            for name, elements in wanted
        ]
    if as_json:
        render.put_json(done)
    else:
        for what in done:
            render.put(render.clean(what["said"]))
    show_end(session, found)
