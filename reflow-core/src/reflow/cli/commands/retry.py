"""``retry``: run again what failed, was cancelled or skipped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

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
from ..summary import interruptible, show_end

if TYPE_CHECKING:
    from ...run.drive import Progress


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
    told: set[str] = set()
    with watching() as progress, interruptible(session, lambda: found.run_id):

        def show(event: Progress) -> None:
            told.add(event.message)
            progress(event)

        done = [
            found.retry(name, elements, overrides=all_overrides(overrides, queue), on_progress=show)
            for name, elements in wanted
        ]
    if as_json:
        render.put_json(done)
    else:
        for what in done:
            if what["said"] not in told or not sys.stdout.isatty():  # nothing is read twice on a terminal
                render.put(render.clean(what["said"]))
    show_end(session, found)
