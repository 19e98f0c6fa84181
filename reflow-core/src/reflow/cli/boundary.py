"""Where errors end: one message on stderr, a hint, an exit code, and no traceback unless asked for."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import ReflowError
from .render import complain, say

if TYPE_CHECKING:
    from .session import Session

#: what a shell reports for a process that SIGINT, or SIGPIPE, has ended
INTERRUPTED = 130
BROKEN_PIPE = 141


def guarded(session: Session, work: Callable[[], int]) -> int:
    """Run `work` and turn whatever it raises into a message and an exit code.

    Returns
    -------
    int
        What `work` returned; 1 for a failure, 2 for wrong usage, 130 after
        Ctrl-C, 141 where the reader of stdout has gone.
    """
    try:
        code = work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _interrupted(session)
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except Exception as error:  # the boundary: nothing passes it as a traceback
        code = _report(error, session)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk: the interpreter would try again at exit, and complain in its own words
            _drop_stdout()
    return code


def _report(error: Exception, session: Session) -> int:
    import click

    if isinstance(error, click.Abort):
        return _interrupted(session)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(error.ctx.get_help())
        return error.exit_code
    if session.debug:
        traceback.print_exception(error)
    if isinstance(error, ReflowError):
        complain("error", error.message)
        if error.hint:
            complain("hint", error.hint)
        return error.exit_code
    if isinstance(error, click.ClickException):
        complain("error", error.format_message())
        context = getattr(error, "ctx", None)
        if context is not None:
            complain("hint", f"`{context.command_path} --help` says what is expected")
        return error.exit_code
    if isinstance(error, OSError):
        about = f"{error.filename!r}: " if error.filename is not None else ""
        complain("error", f"{about}{error.strerror or error}")
        if not session.debug:
            complain("hint", "--debug shows where it came from")
        return 1
    complain("error", f"unexpected {type(error).__name__}: {error}")
    if not session.debug:
        kept = _keep(error)
        complain("hint", f"this is a mistake in reflow or in a plugin; {kept}--debug shows the traceback")
    return 1


def _interrupted(session: Session) -> int:
    if session.debug:
        traceback.print_exc()
    complain("error", "interrupted")
    return INTERRUPTED


def _keep(error: Exception) -> str:
    """Write the traceback to a file of its own; say where, or nothing where none can be written."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile("w", prefix="reflow-", suffix=".txt", delete=False, errors="replace") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return ""
    return f"the traceback is in {file.name}, and "


def _drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at exit finds no broken pipe."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
