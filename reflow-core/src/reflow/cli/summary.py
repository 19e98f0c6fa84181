"""A run in words: what `status`, and `run` at its end, say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import render

if TYPE_CHECKING:
    from ..run.api import Run
    from .session import Session


def next_commands(session: Session, status: Mapping[str, Any]) -> dict[str, str]:
    """What can be typed next, by purpose; empty where nothing is to be done."""
    run_id = status["run"]["run_id"]
    commands: dict[str, str] = {}
    if status["failures"]:
        first = status["failures"][0]
        commands["log"] = session.command("logs", run_id, render.element(first["task"], first.get("index")))
    if status["run"]["status"] in ("FAILED", "CANCELLED"):
        commands["run what failed again"] = session.command("retry", run_id)
    return commands


def show_end(session: Session, run: Run) -> bool:
    """Say on stderr how a run ended.

    Returns
    -------
    bool
        Whether it succeeded, or goes on.
    """
    status = run.status()
    state = status["run"]["status"]
    if state in ("FAILED", "CANCELLED"):
        render.say()
        for line in render.failure_block(status["failures"], next_commands(session, status)):
            render.say(line)
        reason = status["run"].get("reason")
        render.say(f"run {run.run_id} {state}{f': {reason}' if reason else ''}")
        return False
    ended = status["run"].get("ended")
    took = f" after {render.duration(ended - status['run']['created'])}" if ended else ""
    render.say(f"run {run.run_id} {state}{took}")
    return True
