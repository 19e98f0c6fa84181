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
    from ...run.service.api import runs as all_runs
    from ...store.registry import REPAIR

    session = Session.of(ctx)
    own = session.flow.name if session.flow is not None else None
    # One more than is shown tells whether there are older ones.
    foreign = own is not None and workflow not in (None, own)
    known = [] if foreign else all_runs(store_path, workflow=own or workflow, limit=limit + 1)
    shown = known[:limit]
    if as_json:
        render.put_json(shown)
        return
    if foreign:
        render.say(f"runs of workflow {own!r} only are listed here; `reflow runs` lists all")
        return
    if not known:
        render.say("no runs yet" if workflow is None else _none(workflow, store_path))
        return
    render.table(
        ["RUN_ID", "STATE", "CREATED", "DIRECTORY"],
        [[run["run_id"], run["status"], render.moment(run["created"]), run["run_dir"]] for run in shown],
    )
    unread = {run["run_id"]: run["problem"] for run in shown if run["status"] == "unreadable"}
    for run_id, problem in unread.items():
        render.complain("warning", f"{run_id}: {problem}")
    if any(problem.endswith("is damaged") for problem in unread.values()):
        render.complain("hint", REPAIR)
    if len(known) > limit:
        render.say(f"older runs are not shown; --limit {2 * limit} shows more")


def _none(workflow: str, store_path: str | None) -> str:
    from ...model.names import did_you_mean
    from ...run.definition.trust import policy
    from ...store.paths import store_path as find_store
    from ...store.registry import Registry

    known = {run.workflow for run in Registry(find_store(override=store_path), policy).listing()}
    return f"no run of workflow {workflow!r}{did_you_mean(workflow, known)}"
