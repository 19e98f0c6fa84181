"""Importing a user's script in the process of a command, which survives whatever the script does."""

from __future__ import annotations

import contextlib
import sys
import traceback
from types import ModuleType

from ...errors import ReflowError
from ...model.definition import Entry
from ...worker.load import Unguarded, load_module


class ScriptError(ReflowError):
    """A script raised when it was imported."""


def import_script(entry: Entry, shown: str = "") -> ModuleType:
    """Import the script of `entry` as it is today; what it prints goes to stderr.

    Parameters
    ----------
    entry : Entry
        What to import.
    shown : str
        The script as its user wrote it; its full path where not given.

    Raises
    ------
    ScriptError
        It raises, or ends the process, when it is imported.
    Unguarded
        It runs its workflow.
    """
    shown = shown or entry.file
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a script prints when it is imported is no data of ours
            return load_module(entry)
    except Unguarded:
        raise
    except Exception as error:
        if isinstance(error, ReflowError) and isinstance(error.__cause__, SystemExit):
            raise ScriptError(error.message, hint=error.hint) from error
        said = "".join(traceback.format_exception_only(type(error), error)).strip()
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == entry.file]
        where = f"{shown}:{lines[-1]}" if lines else shown
        raise ScriptError(f"{where} cannot be imported: {said}", hint="--debug shows the traceback") from error
