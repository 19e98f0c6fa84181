"""``explain``: why each element was computed or taken from the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from ...model.ranges import to_ranges
from .. import render
from ..options import JsonOption, RunArgument, RunOption, StoreOption, one_element
from ..session import Session


def command(
    ctx: typer.Context,
    run: RunArgument = None,
    run_id: RunOption = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK[INDEX]", help="This task only, or this element of it.")
    ] = None,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say of each element why it was computed, or taken from the cache."""
    name, index = one_element(task) if task is not None else (None, None)
    rows = Session.of(ctx).find(run, run_id, store_path).explain(name)
    if index is not None:
        rows = [row for row in rows if row["index"] == index]
    if as_json:
        render.put_json(rows)
        return
    alike: dict[tuple[str, str, str], list[int | None]] = {}
    for row in rows:
        alike.setdefault((row["task"], row["decision"], row["reason"]), []).append(row["index"])
    render.table(
        ["ELEMENT", "DECISION", "REASON"],
        [
            [
                name if indices == [None] else f"{name}[{to_ranges(i for i in indices if i is not None)}]",
                decision,
                reason,
            ]
            for (name, decision, reason), indices in alike.items()
        ],
    )
