"""``events``: the journal of a run as a story."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from ...model.story import named
from .. import render
from ..options import RunArgument, RunOption, StoreOption, parse_task
from ..session import Session

#: columns that the name of an element has at most before the sentence is moved to the right
_NAME = 24


def command(
    ctx: typer.Context,
    run: RunArgument = None,
    element: Annotated[
        str | None,
        typer.Argument(metavar="[TASK[INDEX]]", show_default=False, help="Events of this task or element only."),
    ] = None,
    run_id: RunOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until the run has ended.")] = False,
    store_path: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object on each line.")] = False,
) -> None:
    """Print what a run's journal records, one line for each event: time, element, and what happened."""
    if run_id is not None and element is None:
        run, element = None, run
    task, indices = (None, None) if element is None else parse_task(element)
    for event in Session.of(ctx).find(run, run_id, store_path).events(task, indices, follow=follow):
        if as_json:
            sys.stdout.write(json.dumps(event) + "\n")
        else:
            name = named(event["task"], event["elements"]) if event["task"] else ""
            render.put(render.clean(f"{render.moment(event['at']) or '':19}  {name:{_NAME}}  {event['text']}"))
        if follow:
            sys.stdout.flush()
