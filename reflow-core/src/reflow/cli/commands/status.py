"""``status``: how a run fares."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import render
from ..options import JsonOption, RunArgument, RunOption, StoreOption
from ..session import Session
from ..summary import failures, not_kept

_COUNTS = ("PENDING", "QUEUED", "RUNNING", "SUCCESS", "FAILED", "CANCELLED", "SKIPPED")


def command(
    ctx: typer.Context,
    run: RunArgument = None,
    run_id: RunOption = None,
    elements: Annotated[bool, typer.Option("--elements", help="List every element of every task.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the scheduler and go on with the run first.")] = False,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a run fares: the latest where none is named."""
    session = Session.of(ctx)
    found = session.find(run, run_id, store_path)
    status = found.status(elements=elements, refresh=refresh)
    if as_json:
        render.put_json(status)
        return
    about = status["run"]
    render.facts(
        {
            "run": about["run_id"],
            "state": about["status"],
            "reason": about.get("reason"),
            "workflow": about["workflow"],
            "directory": about["run_dir"],
            "moved from": about.get("moved_from"),
            "executor": about.get("executor"),
            "created": render.moment(about.get("created")),
            "worked": render.duration(about.get("duration")),
            "idle": render.duration(idle if (idle := about.get("idle")) and idle >= 1 else None),
        }
    )
    counted = [state for state in _COUNTS if any(counts.get(state) for counts in status["summary"].values())]
    cached = any(counts.get("cached") for counts in status["summary"].values())
    render.put()
    render.table(
        ["TASK", "STATE", "TOTAL", *counted, *(["cached"] if cached else []), "TIME"],
        [
            [
                task["name"],
                task["state"],
                "?" if counts["total"] is None else counts["total"],
                *(counts.get(state) or "" for state in counted),
                *([counts.get("cached") or ""] if cached else []),
                render.duration(task.get("duration")),
            ]
            for task in status["tasks"]
            for counts in [status["summary"][task["name"]]]
        ],
        right=["TOTAL", *counted, "cached", "TIME"],
    )
    for task in status["tasks"]:
        if task["reason"] and (task["array"] or task["state"] != "FAILED"):  # else it is among the failures below
            render.put(render.clean(f"{task['name']} {task['state']}: {task['reason']}"))
    for line in not_kept(status):
        render.put(line)
    if elements:
        render.put()
        render.table(
            ["ELEMENT", "STATE", "ATTEMPT", "HOST", "TIME", "REASON"],
            [
                [
                    render.element(row["task"], row["index"]),
                    row["state"],
                    row.get("attempt"),
                    row.get("host"),
                    render.duration(row["ended"] - row["started"] if row.get("ended") and row.get("started") else None),
                    "cached" if row.get("cached") else row.get("reason") or row.get("class"),
                ]
                for row in status["elements"]
            ],
            right=["ATTEMPT", "TIME"],
        )
    block = failures(session, status)
    if block:
        render.put()
        for line in block:
            render.put(line)
