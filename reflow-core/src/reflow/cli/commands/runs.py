"""``runs``: all runs."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import render
from ..options import JsonOption, StoreOption
from ..session import Session


def command(
    ctx: typer.Context,
    workflow: Annotated[
        str | None, typer.Option("--workflow", metavar="NAME", help="Runs of this workflow only.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="List so many, the newest.")] = 50,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest first."""
    session = Session.of(ctx)
    known = [run for run in session.runs(store_path) if workflow is None or run["workflow"] == workflow]
    shown = known[:limit]
    if as_json:
        render.put_json(shown)
        return
    if not known:
        render.say("no runs yet")
        return
    render.table(
        ["RUN_ID", "STATE", "CREATED", "DIRECTORY"],
        [[run["run_id"], run["status"], render.moment(run["created"]), run["run_dir"]] for run in shown],
    )
    if len(known) > limit:
        render.say(f"{render.plural(len(known) - limit, 'older run')} not shown; --limit {len(known)} shows all")
