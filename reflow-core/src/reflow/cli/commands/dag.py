"""``dag``: the graph of tasks."""

from __future__ import annotations

import sys
from enum import Enum
from typing import Annotated

import typer

from .. import graph, render
from ..options import RunOption, StoreOption, SubjectArgument
from ..scripts import subject
from ..session import Session


class Format(str, Enum):
    """How the graph is written."""

    text = "text"
    mermaid = "mermaid"
    json = "json"


def command(
    ctx: typer.Context,
    target: SubjectArgument = None,
    run_id: RunOption = None,
    form: Annotated[Format, typer.Option("--format", help="How the graph is written.")] = Format.text,
    store_path: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Show the graph of tasks of a workflow or of a run."""
    found = subject(Session.of(ctx), target, run_id, store_path).dag()
    if as_json or form is Format.json:
        render.put_json(found)
    elif form is Format.mermaid:
        render.put("\n".join(graph.mermaid(found)))
    else:
        encoding = sys.stdout.encoding or "ascii"
        render.put("\n".join(graph.tree(found, ascii_only="utf" not in encoding.lower())))
