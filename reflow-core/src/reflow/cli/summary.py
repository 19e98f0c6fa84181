"""A run in words: what `status`, and `run` at its end, say of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from ..errors import ReflowError
from . import render
from .boundary import INTERRUPTED

if TYPE_CHECKING:
    from ..run.service.api import Run
    from .session import Session


def failures(session: Session, status: Mapping[str, Any]) -> list[str]:
    """What went wrong and what can be typed next, as lines; none where nothing is to be done."""
    run_id = session.named(status["run"]["run_id"], status["run"].get("root"))
    commands = []
    if status["failures"]:
        first = status["failures"][0]
        commands.append(session.command("logs", run_id, render.element(first["task"], first["index"])))
    if status["run"]["status"] in ("FAILED", "CANCELLED"):
        commands.append(session.command("retry", run_id))
    total = sum(counts.get("FAILED", 0) for counts in status["summary"].values())
    return render.failure_block(status["failures"], total, commands)


def not_kept(status: Mapping[str, Any]) -> list[str]:
    """Return which results are not kept for later runs: a line for each reason."""
    arrays = {task["name"] for task in status["tasks"] if task["array"]}
    reasons: dict[str, list[str]] = {}
    for one in status["run"]["uncached"]:
        name = f"{one['task']}[{one['elements']}]" if one["task"] in arrays else one["task"]
        reasons.setdefault(one["reason"], []).append(name)
    return [render.clean(f"not kept for later runs: {', '.join(names)}: {why}") for why, names in reasons.items()]


def show_end(session: Session, run: Run) -> None:
    """Say on stderr how a run ended, or that it goes on.

    Raises
    ------
    typer.Exit
        With 1 if it failed, 130 if it was cancelled, which is how Ctrl-C ends a run here.
    """
    status = run.status()
    about = status["run"]
    lines = failures(session, status)
    if lines:
        render.say("\n".join(["", *lines]))
    why = f": {about['reason']}" if about["reason"] else ""
    render.say(f"run {about['run_id']} {about['status']}{_times(about)}{why}")
    code = {"FAILED": 1, "CANCELLED": INTERRUPTED}.get(about["status"])
    if code is not None:
        raise typer.Exit(code)


def _times(about: Mapping[str, Any]) -> str:
    """For how long a run that has ended has worked, and for how long it has not."""
    worked, idle = about.get("duration"), about.get("idle")
    if not about["ended"] or worked is None:
        return ""
    if not worked:
        return f" after {render.duration(idle)}" if idle is not None else ""
    return f" after {render.duration(worked)}" + (f", idle {render.duration(idle)}" if idle and idle >= 1 else "")


def put_said(done: Sequence[Mapping[str, Any]], told: Collection[str], *, as_json: bool) -> None:
    """Print what commands answered; what was `told` meanwhile is not printed twice in one place."""
    if as_json:
        render.put_json(list(done))
        return
    for what in done:
        if what["said"] not in told or not (sys.stdout.isatty() or _is_one_place()):
            render.put(render.clean(what["said"]))


def _is_one_place() -> bool:
    """Return whether standard output and standard error go to the same file or pipe."""
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (OSError, ValueError):
        return False


@contextmanager
def interruptible(
    session: Session, run_id: Callable[[], str], chained: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Say what becomes of the run, if there is one already, on Ctrl-C, and where the disk is full or away.

    Parameters
    ----------
    session : Session
        How commands are typed here.
    run_id : callable
        The run's id; "" as long as there is none.
    chained : callable
        Whether it goes on by itself.

    Raises
    ------
    ReflowError
        What the system could not do, and how the run goes on.
    """
    try:
        yield
    except OSError as error:
        if not run_id() or isinstance(error, BrokenPipeError):
            raise
        about = f"{error.filename!r}: " if error.filename is not None else ""
        raise ReflowError(
            f"run {run_id()} is left as it stands: {about}{error.strerror or error}",
            hint=f"once that is mended, `{session.command('drive', run_id())}` goes on with it",
        ) from error
    except KeyboardInterrupt:
        if run_id() and not chained():
            render.say(f"run {run_id()} stands as it was left, and nothing drives it now;")
            render.say(f"`{session.command('drive', run_id())}` continues it")
        elif run_id():
            render.say(
                f"run {run_id()} goes on without this terminal; `{session.command('status', run_id())}` shows it,"
            )
            render.say(f"`{session.command('drive', run_id())}` advances it where compute nodes cannot")
        raise
