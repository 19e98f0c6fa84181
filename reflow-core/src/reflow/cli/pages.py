"""``docs/cli.md``: every command with its arguments and options, from the commands themselves.

``python -m reflow.cli.pages > docs/cli.md`` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from ..hookspecs import CommandEntry
from ..plugins.builtin import reflow_commands
from .group import as_command

_HEAD = """# The command line

This page is generated from the commands (`python -m reflow.cli.pages > docs/cli.md`); `--help` says the same.

There are two ways in, with the same commands. `reflow` knows every run; `python pipeline.py`, where the script ends
with `wf.cli()`, knows the runs of its own workflow, and its `submit` and `run` need no SCRIPT. Plugins may add
commands to both: `reflow --help` lists them.

- **A run** is named by its id, a unique beginning of it, `latest`, or its run directory; as argument or with
  `--run-id`. What only looks takes the latest where none is named; `cancel`, `retry` and `drive` want it named, and
  `reflow dag` and `reflow describe` a run or a script.
- **A task** is named as in the script, with its prefixes: `pre.download`; elements of an array task as
  `'download[3]'` or `'download[3,7-9]'` (quoted: brackets mean something to the shell).
- **Data** goes to stdout, everything else (progress, hints, errors) to stderr. `--json` prints data for programs.
  Tables fold to the width of the terminal (`COLUMNS`, 80 where there is none), never cut; `NO_COLOR` is respected.
- **Exit codes**: 0; 1 for a failure, of a run too; 2 for wrong usage, before anything is written; 130 after Ctrl-C, or
  where the run was cancelled; 141 where the reader of stdout has gone.
- **Errors** are one message and a hint. `--debug`, which every command takes, shows the traceback, and prints the
  engine's decisions as they are made: polls, submissions, retries, takeovers, cache verdicts and advances. In Python
  they are messages of `logging.getLogger("reflow")` at level `DEBUG`; `reflow events` shows those of earlier processes.

## Parameters

`submit` and `run` have an option for each `Param` of the workflow: `--year`, or `--pre-ingest-chunk` where it is
local to the task `pre.ingest`. With `reflow`, they come after the script: `reflow submit pipeline.py --year 2000`.

| annotation | what is typed |
|---|---|
| `int`, `float`, `str`, `Path`, `Decimal`, `UUID` | as it is: `--year 2000` |
| `bool` | `--check` or `--no-check` |
| `Literal`, `Enum` | one of the choices; of an Enum the member's name, or its value |
| `datetime`, `date`, `time` | ISO 8601: `2025-03-01`, `2025-03-01T12:00:00Z` |
| `timedelta` | `90m`, `02:00:00`, `1-00:00:00`, or a number of seconds |
| `list[T]`, `set[T]`, `tuple[T, ...]` | the option several times, or a JSON list: `--year 2000 --year '[2001, 2002]'` |
| `dict`, dataclass, `NamedTuple`, `TypedDict`, `tuple[A, B]` | JSON: `--box '{"south": 50, "north": 60}'` |
| `A \\| B`, `Optional[A]` | as the first that fits, `str` last; `none` where that is no text of another member |

`--param KEY=VALUE` sets a parameter by its key, written the same. `--param @FILE` reads a JSON object of parameters
from a file (`@-`: from stdin), which is the way for values that are too long for a command line.
"""


def page() -> str:
    """The text of the page."""
    return "\n".join([_HEAD, *_lines(reflow_commands())])


def _lines(entries: Sequence[CommandEntry]) -> Iterator[str]:
    from importlib import import_module

    for entry in entries:
        module, _, name = entry.target.partition(":")
        command = as_command(getattr(import_module(module), name), entry)
        if isinstance(command, click.Group):
            yield f"## {entry.name}\n\n{command.help}\n"
            for leaf in command.commands.values():
                yield from _command(leaf, f"reflow {entry.name} {leaf.name}", "###")
        else:
            yield from _command(command, f"reflow {entry.name}", "##")


def _command(command: click.Command, path: str, level: str) -> Iterator[str]:
    """One command: how it is called, what for, and what it takes."""
    context = click.Context(command, info_name=path)
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    words = " ".join([path, *(param.make_metavar(context) for param in arguments), "[OPTIONS]"])
    yield f"{level} {path.removeprefix('reflow ')}\n\n    {words}\n\n{command.help}\n"
    yield "| | |\n|---|---|"
    for param in command.params:
        record = param.get_help_record(context)
        if record is not None and param.name != "debug":
            names, text = (cell.replace("|", "\\|") for cell in record)
            yield f"| `{names}` | {text} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
