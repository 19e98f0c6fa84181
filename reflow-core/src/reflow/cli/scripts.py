"""``pipeline.py`` or ``pipeline.py:wf``: importing the workflow that a person names on the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import UsageError
from ..model.definition import Entry
from ..worker.load import flows_of, module_name

if TYPE_CHECKING:
    from ..authoring import Flow
    from .session import Session


def looks_like_script(text: str) -> bool:
    """Whether `text` names a script, rather than a run."""
    file, _ = _parts(text)
    return file.endswith(".py") or os.path.isfile(file)


def load(text: str) -> Flow:
    """Import the workflow of ``FILE`` or ``FILE:VARIABLE``.

    Raises
    ------
    UsageError
        If there is no such file or variable, or no workflow, or more than one.
    ScriptError
        If the script raises when it is imported.
    """
    file, variable = _parts(text)
    path = os.path.abspath(os.path.expanduser(file))
    if not os.path.isfile(path):
        what = "is a directory" if os.path.isdir(path) else "does not exist"
        raise UsageError(
            f"script {file!r} {what}", hint="name a file that makes a Workflow: pipeline.py or pipeline.py:wf"
        )
    from ..run.definition.scripts import import_script

    flows = flows_of(import_script(Entry(file=path, module=module_name(path), path=(os.path.dirname(path),)), file))
    if variable:
        if variable not in flows:
            known = f"it has {', '.join(flows)}" if flows else "it has none"
            raise UsageError(f"{file} has no workflow {variable!r}", hint=f"{known}; a Workflow is a module's variable")
        return flows[variable]
    if not flows:
        raise UsageError(f"{file} has no workflow", hint="write `wf = Workflow('NAME')` at the top level of the script")
    if len(flows) > 1:
        raise UsageError(
            f"{file} has {len(flows)} workflows: {', '.join(flows)}", hint=f"name one: {file}:{next(iter(flows))}"
        )
    return next(iter(flows.values()))


def _parts(text: str) -> tuple[str, str]:
    """File and variable of ``FILE`` or ``FILE:VARIABLE``."""
    file, colon, variable = text.rpartition(":")
    if colon and variable.isidentifier() and not os.path.exists(text):
        return file, variable
    return text, ""


class Subject(Protocol):
    """What can be drawn and described: a run, or a workflow, which is a root `Flow`."""

    def dag(self) -> dict[str, Any]:
        """The graph of tasks, as plain data."""

    def describe(self) -> dict[str, Any]:
        """Everything about it, as plain data."""


def subject(session: Session, target: str | None, run_id: str | None, store_path: str | None) -> Subject:
    """What `dag` and `describe` are asked about: a run, or a workflow: a script's, or this command line's own.

    Raises
    ------
    UsageError
        If nothing is named where something must be.
    """
    if target is None and run_id is None:
        if session.flow is not None:
            return cast("Subject", session.flow)
        raise UsageError("name a script or a run", hint="such as pipeline.py, or latest")
    if session.flow is None and target is not None and looks_like_script(target):
        return cast("Subject", load(target))
    return session.find(target, run_id, store_path)
