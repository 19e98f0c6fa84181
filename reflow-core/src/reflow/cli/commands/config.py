"""``config``: where the configuration lies, what holds, and an example of it."""

from __future__ import annotations

import os
from typing import Annotated

import click
import typer

from ...config import Config, Row, config_path, load_config, write_example_config
from ...model.task import JSON
from ...plugins import registry
from .. import render
from ..group import typed
from ..options import JsonOption
from ..session import Session

Project = Annotated[
    str | None,
    typer.Option(
        "--project",
        metavar="PATH",
        help="A pipeline's script, its directory, or a configuration file; its reflow.toml counts, too. "
        "The working directory by default.",
    ),
]


def _load(ctx: typer.Context, project: str | None) -> Config:
    return load_config(project or Session.of(ctx).project, tables=lambda names: registry(names).settings())


def path(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Print where the user's configuration file is, whether it exists or not."""
    found = config_path()
    if as_json:
        render.put_json({"path": str(found), "exists": found.exists()})
        return
    render.put(found)
    if not found.exists():
        render.say(f"it does not exist yet; `{Session.of(ctx).command('config', 'init')}` writes an example")


def show(
    ctx: typer.Context,
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="[KEY|SECTION]", show_default=False, help="This key, or this section: 'cache.policy', 'executor'."
        ),
    ] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    project: Project = None,
    as_json: JsonOption = False,
) -> None:
    """Show the configuration that holds here, all layers merged."""
    config = _load(ctx, project)
    rows = [row for row in config.rows() if key is None or row.key == key or row.key.startswith(f"{key}.")]
    if not rows and key is not None:
        config.origin(key)  # there is none: it says what was meant
    for warning in config.warnings:
        render.complain("warning", warning)
    if as_json:
        render.put_json([_row(config, row) for row in rows])
        return
    columns = ["KEY", "VALUE", *(["ORIGIN"] if origin else [])]
    render.table(columns, [[row.key, row.value, str(row.origin)][: len(columns)] for row in rows])


def _row(config: Config, row: Row) -> dict[str, JSON]:
    return {
        "key": row.key,
        "value": row.value if row.secret else config.get(row.key),
        "secret": row.secret,
        "layer": row.origin.layer,
        "origin": str(row.origin),
    }


def init(
    ctx: typer.Context,
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", show_default=False, help="Where; the user's configuration file by default."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an example of the configuration in which every key is explained and nothing is set."""
    tables = registry(Session.of(ctx).disabled).settings()
    written = write_example_config(os.path.abspath(file) if file else None, overwrite=force, tables=tables)
    if as_json:
        render.put_json({"path": str(written)})
    else:
        render.put(written)


command = click.Group(
    "config",
    commands=[typed(function, function.__name__) for function in (path, show, init)],
    help="Show where the configuration lies and what holds, or write an example of it.",
)
