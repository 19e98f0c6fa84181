"""Options and arguments that several commands take, and how what was typed is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import RunNotFound, UsageError
from ..model.ranges import from_ranges

if TYPE_CHECKING:
    from ..run.service.api import Run
    from .session import Session

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN_ID]",
        show_default=False,
        help="Run id, a unique beginning of one, 'latest', or a run directory.",
    ),
]
SubjectArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[SCRIPT|RUN_ID]",
        show_default=False,
        help="A script (FILE, or FILE:VARIABLE where it makes several workflows), or a run.",
    ),
]
ElementArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN_ID] TASK[INDEX]", help="The run (the latest by default), and whose.", show_default=False
    ),
]
RunOption = Annotated[
    str | None, typer.Option("--run-id", metavar="RUN_ID", help="The run, instead of the argument RUN_ID.")
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store-path",
        metavar="DIR",
        help="Where runs are registered and results cached, instead of REFLOW_STORE_PATH or the user's data directory.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TaskOption = Annotated[
    list[str] | None,
    typer.Option("--task", metavar="TASK", help="This task only, or these elements of it: 'NAME[3,7-9]'; repeatable."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TASK.KEY=VALUE", help="Change a task's setting, as in compute.mem=64G; repeatable."),
]
QueueOption = Annotated[str | None, typer.Option("--queue", metavar="NAME", help="Queue, or partition, of every task.")]

_TASK = re.compile(r"(?P<name>.*?)(?:\[(?P<indices>[^\[\]]*)\])?", re.DOTALL)


def parse_task(text: str) -> tuple[str, Sequence[int] | None]:
    """Read ``NAME`` or ``NAME[3,7-9]``.

    Returns
    -------
    tuple of str and sequence of int
        The task's name, and the indices, None where none are given.

    Raises
    ------
    UsageError
        If what stands in the brackets is no list of indices.
    """
    match = _TASK.fullmatch(text)
    name, indices = (match["name"], match["indices"]) if match else (text, None)
    if indices is None:
        return name, None
    try:
        found = from_ranges(re.sub(r"\s", "", indices))
    except ValueError:
        found = ()
    if not found:
        raise UsageError(f"{text!r} does not name elements of a task", hint="write indices like this: 'NAME[3,7-9]'")
    return name, found


def chosen_tasks(texts: list[str] | None) -> list[tuple[str | None, Sequence[int] | None]]:
    """What ``--task``, repeated, chooses: tasks with indices or None; all tasks where it is not given."""
    return [parse_task(text) for text in texts] if texts else [(None, None)]


def one_element(text: str) -> tuple[str, int | None]:
    """Read ``NAME`` or ``NAME[3]``.

    Raises
    ------
    UsageError
        If more than one index is given.
    """
    name, indices = parse_task(text)
    if indices is not None and len(indices) != 1:
        raise UsageError(f"{text!r} names {len(indices)} elements", hint="name one, like this: 'NAME[3]'")
    return name, indices[0] if indices else None


def one_of_a_run(
    session: Session, command: str, words: Sequence[str] | None, run_id: str | None, store_path: str | None
) -> tuple[Run, str, int | None]:
    """What ``[RUN_ID] TASK[INDEX]`` names: the run, the task, and the index or None.

    Raises
    ------
    UsageError
        If no task is named, or more than one.
    RunNotFound
        If there is no such run.
    """
    *before, target = words or [""]
    if not target or len(before) > 1:
        raise UsageError("name one task", hint=f"like this: {session.command(command, 'latest', 'TASK[0]')}")
    try:
        run = session.find(before[0] if before else None, run_id, store_path)
    except RunNotFound:
        if not before:
            raise
        # The other way round is as easy to read, and as easily typed.
        try:
            run = session.find(target, run_id, store_path)
        except RunNotFound:
            run = session.find(before[0], run_id, store_path)
        target = before[0]
    return run, *one_element(target)


def all_overrides(given: list[str] | None, queue: str | None) -> list[str]:
    """What ``--queue`` and ``--set`` change, in the words of ``--set``; what names a task wins."""
    return [*([f"*.queue={queue}"] if queue is not None else []), *(given or ())]
