"""``results``: what a task returned, from the records alone."""

from __future__ import annotations

import json

import typer

from ...errors import NotReady
from .. import render
from ..options import ElementArgument, JsonOption, RunOption, StoreOption, one_of_a_run
from ..session import Session


def command(
    ctx: typer.Context,
    words: ElementArgument = None,
    run_id: RunOption = None,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a task, or one element of an array task, returned; nothing of the pipeline is imported for it."""
    run, task, index = one_of_a_run(Session.of(ctx), "results", words, run_id, store_path)
    rows = run.plain_results(task, index)
    if len(rows) == 1 and (index is not None or rows[0]["index"] is None) and "result" not in rows[0]:
        row = rows[0]
        why = f": {row['reason']}" if row["reason"] else ""
        raise NotReady(f"there is no result of {render.element(task, row['index'])}: it is {row['state']}{why}")
    if as_json:
        render.put_json(rows)
        return
    for row in rows:
        name = render.element(row["task"], row["index"])
        if "result" in row:
            render.put(f"{name}  {json.dumps(row['result'])}")
        else:
            render.put(render.clean(f"{name}  {row['state']}{row['reason'] and ': '}{row['reason']}"))
