"""``drive``: advance a run from here."""

from __future__ import annotations

from typing import Annotated

import typer

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
    with (
        watching() as progress,
        interruptible(session, lambda: session.named(found.run_id, found.root), lambda: found.chained),
    ):
        found.drive(once=once, on_progress=progress)
    if as_json:
        render.put_json(found.status()["run"])
    show_end(session, found)
