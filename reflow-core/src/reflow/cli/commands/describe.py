"""``describe``: a workflow or a run as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import render
from ..options import RunOption, StoreOption, SubjectArgument
from ..scripts import subject
from ..session import Session


def command(
    ctx: typer.Context,
    target: SubjectArgument = None,
    run_id: RunOption = None,
    store_path: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> None:
    """Describe a workflow, its parameters and tasks, or a run, as JSON."""
    render.put_json(subject(Session.of(ctx), target, run_id, store_path).describe())
