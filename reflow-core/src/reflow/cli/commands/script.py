"""``script``: what was submitted."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import render
from ..options import ElementArgument, JsonOption, RunOption, StoreOption, one_of_a_run
from ..session import Session


def command(
    ctx: typer.Context,
    words: ElementArgument = None,
    run_id: RunOption = None,
    raw: Annotated[bool, typer.Option("--raw", help="Let control sequences act on the terminal.")] = False,
    path: Annotated[bool, typer.Option("--path", help="Print where the script is, not what it says.")] = False,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the script by which a task, or one element of an array task, was submitted last."""
    run, task, index = one_of_a_run(Session.of(ctx), "script", words, run_id, store_path)
    found = run.script(task, index)
    if as_json:
        render.put_json({"run_id": run.run_id, "index": index, **found})
    elif path:
        render.put(found["path"])
    else:
        render.Verbatim(raw=raw).put(found["script"].encode("utf-8", "surrogateescape"))
