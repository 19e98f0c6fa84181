"""Where the command line begins: ``reflow``, ``python -m reflow`` and `Workflow.cli`.

Nothing heavy is imported before it is known what is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .. import __version__

if TYPE_CHECKING:
    import click

    from ..authoring import Flow
    from .session import Session

_HELP = "Run typed Python functions as a pipeline, here or through a batch scheduler, and look after its runs."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``reflow`` command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the program's name; those of this process where not given.

    Returns
    -------
    int
        The exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words == ["--version"]:  # answered at once: nothing is imported for it
        print(f"reflow {__version__}")
        return 0
    from .session import Session, own_name

    return _run(Session(own_name()), words)


def workflow_app(flow: Flow) -> Callable[[Sequence[str] | None], int]:
    """The command line of one workflow: the same commands, for its tasks and its runs.

    Parameters
    ----------
    flow : Flow
        The workflow.

    Returns
    -------
    callable
        Takes the words after the program's name (None: those of this process) and returns the exit code, as `main`.
    """

    def app(argv: Sequence[str] | None = None) -> int:
        from .session import Session, own_name

        return _run(Session(own_name(), flow), sys.argv[1:] if argv is None else list(argv))

    return app


def _run(session: Session, words: Sequence[str]) -> int:
    from .boundary import guarded

    _open_streams()

    def work() -> int:
        from .group import invoke

        return invoke(group(session), session, words)

    return guarded(session, work)


def _open_streams() -> None:
    """Where a stream is closed (``>&-``, some daemons' children), what is said goes nowhere, rather than into a file.

    The lowest free descriptor is the next that is opened, be it 1 or 2.
    """
    if sys.stdout is not None and sys.stderr is not None and sys.stdin is not None:
        return
    import os

    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(file)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as this process


def group(session: Session) -> click.Group:
    """The commands of a session: reflow's, and those of every plugin that is whole and enabled."""
    from ..plugins import registry
    from .group import Commands

    scope = "reflow" if session.flow is None else "workflow"
    plugins = registry(session.disabled)
    entries = {entry.name: entry for entry in reversed(plugins.commands(scope))}
    notes = [
        f"Plugin {plugin} is broken and left out; `reflow plugins` says why."
        for plugin in plugins.plugins
        if plugin.problems
    ]
    return Commands(
        session.prog,
        dict(reversed(entries.items())),
        lambda name: plugins.command(name, scope),
        help=_HELP if session.flow is None else f"Run workflow {session.flow.name!r}, and look after its runs.",
        notes=notes,
        version=__version__,
    )
