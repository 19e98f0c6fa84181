"""``logs``: what a task printed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import Stalled
from ...model.names import TaskState
from ...worker.opener import open_regular
from .. import render
from ..options import ElementArgument, JsonOption, RunOption, StoreOption, one_of_a_run
from ..session import Session

if TYPE_CHECKING:
    from ...run.api import Run

#: bytes of a log read at a time
_PIECE = 1 << 20

#: seconds between two looks at a log that grows, and between two looks at the run's state
_GROWS, _STATE = 0.25, 2.0

#: looks at a run's state that find nobody driving it, before its log is no longer waited for
_STALLED_LOOKS = 5


def command(
    ctx: typer.Context,
    words: ElementArgument = None,
    run_id: RunOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until the task has ended.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Let control sequences act on the terminal.")] = False,
    path: Annotated[bool, typer.Option("--path", help="Print where the log is, not what it says.")] = False,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the log of a task, or of one element of an array task."""
    session = Session.of(ctx)
    run, task, index = one_of_a_run(session, "logs", words, run_id, store_path)
    if follow:
        _follow(run, task, index, render.Verbatim(raw=raw))
    elif path:
        render.put(run.log_path(task, index))
    elif as_json:
        render.put_json({"run_id": run.run_id, "task": task, "index": index, "log": run.logs(task, index)})
    else:
        if not _print_from(run.log_path(task, index), 0, render.Verbatim(raw=raw)):
            run.logs(task, index)  # says why there is none


def _follow(run: Run, task: str, index: int | None, printed: render.Verbatim) -> None:
    """Print a log as it grows, until its task has ended.

    Raises
    ------
    Stalled
        It will not end by itself.
    """
    path = run.log_path(task, index)
    position = stalled = 0
    looked, ended, reason = float("-inf"), False, ""
    while True:
        if time.monotonic() - looked >= _STATE:
            told, looked = run.status(elements=True), time.monotonic()
            ended = _ended(told, task, index)
            stalled = stalled + 1 if told["run"]["status"] == "STALLED" else 0
            reason = told["run"].get("reason", "")
        # The state is asked before the file is read: what was written before the end is never missed.
        position += _print_from(path, position, printed)
        if ended:
            if not os.path.exists(path):
                run.logs(task, index)  # says why there is none
            return
        if stalled >= _STALLED_LOOKS:
            raise Stalled(f"nothing more will be written: {reason}")
        time.sleep(_GROWS)


def _print_from(path: str | os.PathLike[str], position: int, printed: render.Verbatim) -> int:
    """Copy what a file has from `position` on to stdout; return its length, 0 while there is no file."""
    try:
        log = open_regular(os.fspath(path))
    except FileNotFoundError:
        return 0
    length = 0
    try:
        while piece := os.pread(log, _PIECE, position + length):
            printed.put(piece)
            length += len(piece)
    finally:
        os.close(log)
    return length


def _ended(status: Mapping[str, Any], task: str, index: int | None) -> bool:
    """Whether nothing more will be written; an element that there is not is none that will write."""
    wanted = [row for row in status["elements"] if row["task"] == task and (index is None or row["index"] == index)]
    if wanted:
        return all(TaskState(row["state"]).ended for row in wanted)
    return all(
        row["size"] is not None or TaskState(row["state"]).ended for row in status["tasks"] if row["name"] == task
    )
