"""``logs``: what a task printed."""

from __future__ import annotations

import codecs
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from ...errors import Stalled
from ...model.names import TaskState
from ...worker.opener import open_regular
from .. import render
from ..options import ElementArgument, JsonOption, RunOption, StoreOption, one_of_a_run
from ..session import Session

if TYPE_CHECKING:
    from ...run.service.api import Run

#: seconds between two looks at a log that grows, and between two looks at the run's state
_GROWS, _STATE = 0.25, 2.0

#: looks at a run's state that find nobody driving it, before its log is no longer waited for
_STALLED_LOOKS = 5

#: bytes of a log that are held at a time
_BLOCK = 1 << 18


def command(
    ctx: typer.Context,
    words: ElementArgument = None,
    run_id: RunOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until the task has ended.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", metavar="N", min=0, help="Begin with the last N lines.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Let control sequences act on the terminal.")] = False,
    path: Annotated[bool, typer.Option("--path", help="Print where the log is, not what it says.")] = False,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the log of a task, or of one element of an array task."""
    session = Session.of(ctx)
    run, task, index = one_of_a_run(session, "logs", words, run_id, store_path)
    if follow:
        _follow(run, task, index, render.Verbatim(raw=raw), tail)
    elif path:
        render.put(run.log_path(task, index))
    else:
        try:
            log = _open(run.log_path(task, index))
        except FileNotFoundError:
            run.logs(task, index)  # says why there is none; where there is none to be had, it is empty
            log = open(os.devnull, "rb")  # noqa: SIM115 - closed below
        with log:
            _skip(log, tail)
            if as_json:
                _put_json(log, {"run_id": run.run_id, "task": task, "index": index})
            else:
                _copy(log, render.Verbatim(raw=raw))


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    return open(open_regular(os.fspath(path)), "rb", buffering=0)


def _blocks(log: BinaryIO) -> Iterator[bytes]:
    """What a log has from where it stands to its end as it is now."""
    left = os.fstat(log.fileno()).st_size - log.tell()
    while left > 0 and (block := log.read(min(_BLOCK, left))):
        left -= len(block)
        yield block


def _copy(log: BinaryIO, printed: render.Verbatim) -> None:
    """Copy the rest of a log to stdout."""
    for block in _blocks(log):
        printed.put(block)


def _put_json(log: BinaryIO, about: Mapping[str, object]) -> None:
    """Print a JSON object with the rest of a log, as ``render.put_json`` would, a block at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    sys.stdout.write(json.dumps(about, indent=2)[:-2] + ',\n  "log": "')
    for block in _blocks(log):
        sys.stdout.write(json.dumps(decoder.decode(block))[1:-1])
    sys.stdout.write(json.dumps(decoder.decode(b"", final=True))[1:-1] + '"\n}\n')


def _skip(log: BinaryIO, tail: int | None) -> None:
    """Go to where the last lines of a log begin; None: all of them."""
    if tail is None:
        return
    position = end = log.seek(0, os.SEEK_END)
    # The end of the last line begins no further one.
    wanted, first = tail, True
    while position > 0:
        begin = max(0, position - _BLOCK)
        log.seek(begin)
        block = log.read(position - begin)
        if first and block.endswith(b"\n"):
            wanted += 1
        first = False
        found = block.count(b"\n")
        if found >= wanted:
            at = len(block)
            for _ in range(wanted):
                at = block.rindex(b"\n", 0, at)
            log.seek(min(end, begin + at + 1))
            return
        wanted -= found
        position = begin
    log.seek(0 if tail else end)


def _follow(run: Run, task: str, index: int | None, printed: render.Verbatim, tail: int | None = None) -> None:
    """Print a log as it grows, until its task has ended.

    Raises
    ------
    Stalled
        It will not end by itself.
    """
    position, stalled = -1, 0
    looked, ended, reason = float("-inf"), False, ""
    while True:
        if time.monotonic() - looked >= _STATE:
            told, looked = run.status(elements=True), time.monotonic()
            ended = _ended(told, task, index)
            stalled = stalled + 1 if told["run"]["status"] == "STALLED" else 0
            reason = told["run"].get("reason", "")
        # The state is asked before the file is read: what was written before the end is never missed.
        position = _print_from(run.log_path(task, index), position, printed, tail)
        if ended:
            if position < 0:
                run.logs(task, index)  # says why there is none
            return
        if stalled >= _STALLED_LOOKS:
            raise Stalled(f"nothing more will be written: {reason}")
        time.sleep(_GROWS)


def _print_from(path: str | os.PathLike[str], position: int, printed: render.Verbatim, tail: int | None) -> int:
    """Copy what a file has from `position` on to stdout; return how far, -1 while there is no file."""
    try:
        log = _open(path)
    except FileNotFoundError:
        return position
    with log:
        if position < 0:
            _skip(log, tail)
        else:
            log.seek(position)
        _copy(log, printed)
        return log.tell()


def _ended(status: Mapping[str, Any], task: str, index: int | None) -> bool:
    """Whether nothing more will be written; an element that there is not is none that will write."""
    wanted = [row for row in status["elements"] if row["task"] == task and (index is None or row["index"] == index)]
    if wanted:
        return all(TaskState(row["state"]).ended for row in wanted)
    return all(
        row["size"] is not None or TaskState(row["state"]).ended for row in status["tasks"] if row["name"] == task
    )
