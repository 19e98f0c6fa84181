"""``drive``: advance a run from here."""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import UsageError
from ...run.chain import advance, foreground
from ...run.drive import drive, executor_of
from ...run.engine import is_pool
from .. import render
from ..options import JsonOption, RunArgument, RunOption, StoreOption
from ..progress import watching
from ..session import Session
from ..summary import interruptible, show_end


def command(
    ctx: typer.Context,
    run: RunArgument = None,
    run_id: RunOption = None,
    once: Annotated[bool, typer.Option("--once", help="One step only, as from cron.")] = False,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Advance a run from here, without wake-up jobs, until it ends."""
    session = Session.of(ctx)
    found = session.find(run, run_id, store_path, required=True)
    executor = executor_of(found.definition, found.root)
    with watching() as progress, interruptible(session, lambda: found.run_id):
        if not is_pool(executor):
            if once:
                advance(found.root, executor, chain=False, on_progress=progress)
            else:
                foreground(found.root, executor, chain=False, on_progress=progress)
        elif once:
            raise UsageError("a local run cannot be driven by steps", hint="leave --once out")
        elif drive(found.root, executor, progress) is None:
            render.say(f"run {found.run_id} is driven by another process")
    if as_json:
        render.put_json(found.status()["run"])
    show_end(session, found)
