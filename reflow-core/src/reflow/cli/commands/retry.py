"""``retry``: run again what failed, was cancelled or skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

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
from ..summary import interruptible, put_said, show_end

if TYPE_CHECKING:
    from ...run.drive.pool import Progress


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
    with watching() as progress, interruptible(session, lambda: session.named(found.run_id, found.root)):

        def show(event: Progress) -> None:
            told.add(event.message)
            progress(event)

        done = [
            found.retry(name, elements, overrides=all_overrides(overrides, queue), on_progress=show)
            for name, elements in wanted
        ]
    put_said(done, told, as_json=as_json)
    show_end(session, found)
