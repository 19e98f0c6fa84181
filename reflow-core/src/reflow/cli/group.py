"""The command group: commands are listed from the registry's entries and imported when they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import typer
from typer.core import TyperCommand

from ..errors import PluginError
from ..hookspecs import CommandEntry
from .decisions import log_decisions
from .session import Session


def _show_tracebacks(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    session = ctx.find_object(Session)
    if value and session is not None and not session.debug:
        session.debug = True
        ctx.call_on_close(log_decisions())


def _version_option(version: str) -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            print(f"reflow {version}")
            ctx.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help="Show the version of reflow and exit.",
    )


def debug_option() -> click.Option:
    """``--debug``, which every command takes, wherever it stands."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=_show_tracebacks,
        help="Log decisions; show tracebacks of errors.",
    )


def typed(function: Callable[..., Any], name: str, *, cls: type[TyperCommand] | None = None) -> click.Command:
    """The click command of a function whose parameters are written as typer reads them."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=cls, short_help=(function.__doc__ or "").partition("\n")[0] or None)(function)
    return typer.main.get_command(app)


class Commands(click.Group):
    """A group that knows its commands by name and summary until one is called.

    Parameters
    ----------
    entries : mapping of str to CommandEntry
        The commands, in the order in which they are listed.
    load : callable
        Imports the target of the entry of that name.
    notes : sequence of str
        Lines below the list of commands.
    version : str
        What ``--version`` says.
    """

    def __init__(
        self,
        name: str,
        entries: Mapping[str, CommandEntry],
        load: Callable[[str], object],
        *,
        help: str,  # noqa: A002 - click's own word
        notes: Sequence[str] = (),
        version: str = "",
    ) -> None:
        super().__init__(
            name,
            help=help,
            params=[_version_option(version), debug_option()],
            no_args_is_help=True,
            subcommand_metavar="COMMAND [ARGS]...",
        )
        self._entries = entries
        self._load = load
        self._notes = notes

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, without importing any."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Import a command.

        Raises
        ------
        UnknownName
            Where there is none of that name: with what was meant.
        PluginError
            Where it cannot be imported, or two plugins have it.
        """
        if cmd_name not in self.commands:
            target = self._load(cmd_name)
            self.add_command(as_command(target, self._entries[cmd_name]), cmd_name)
        return self.commands[cmd_name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begin with."""
        return args[0], self.get_command(ctx, args[0]), args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from their summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._entries.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the notes."""
        if self._notes:
            formatter.write_paragraph()
            for note in self._notes:
                formatter.write_text(note)


def as_command(target: object, entry: CommandEntry) -> click.Command:
    """The click command that a command's target stands for: a function, a typer application or a click command."""
    if isinstance(target, typer.Typer):
        command = typer.main.get_command(target)
    elif isinstance(target, click.Command):
        command = target
    elif callable(target):
        command = typed(target, entry.name)
    else:
        raise PluginError(f"command {entry.name!r}: {entry.target} is a {type(target).__name__}, not a function")
    command.name = entry.name
    for leaf in _leaves(command):
        if not any(parameter.name == "debug" for parameter in leaf.params):
            leaf.params.append(debug_option())
    if command.help is None:
        command.help = entry.summary
    return command


def _leaves(command: click.Command) -> list[click.Command]:
    return list(command.commands.values()) if isinstance(command, click.Group) else [command]


def invoke(group: click.Group, session: Session, argv: Sequence[str]) -> int:
    """Parse `argv` and run the command that it names.

    Returns
    -------
    int
        The exit code a command asked for, or 0.
    """
    try:
        with group.make_context(session.prog, list(argv), obj=session, help_option_names=["-h", "--help"]) as ctx:
            group.invoke(ctx)
    except click.exceptions.Exit as asked:
        return asked.exit_code
    return 0
