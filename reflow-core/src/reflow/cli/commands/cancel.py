"""``cancel``: end a run, or some of its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from .. import render
from ..options import JsonOption, RunArgument, RunOption, StoreOption, TaskOption, chosen_tasks
from ..session import Session
from ..summary import put_said

if TYPE_CHECKING:
    from ...run.drive.pool import Progress


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
    told: set[str] = set()

    def show(event: Progress) -> None:
        if event.message:
            told.add(event.message)
            render.say(event.message)

    done = [found.cancel(task=name, elements=elements, on_progress=show) for name, elements in wanted]
    put_said(done, told, as_json=as_json)
