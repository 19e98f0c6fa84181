"""A command: its parameters are the function's, as typer reads them."""

from __future__ import annotations

from typing import Annotated

import typer


def where(run: Annotated[str, typer.Argument(help="Run id, a unique beginning of one, or latest.")] = "latest") -> None:
    """Print the directory of a run."""
    from reflow import Run

    typer.echo(Run.open(run).run_dir)
