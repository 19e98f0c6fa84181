"""`retry` goes on with today's code, and today's interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ...authoring.flow import Flow
from ...batch.script import INHERITED, inherited
from ...config import Config, load_config
from ...config.overrides import hidden
from ...errors import UsageError
from ...model import layout
from ...model.definition import Definition, Entry
from ...model.job import BOUNDS
from ...plugins import registry as plugin_registry
from ...worker.opener import read_regular
from ..definition.create import write_generation
from ..definition.imported_modules import Code, unchanged
from ..definition.load import load_secrets
from ..definition.open import config_of, executor_of
from ..definition.scripts import ScriptError
from ..jobs.factory import Jobs
from .today import today, today_of


def refresh(
    definition: Definition,
    root: str,
    session: Callable[[], Flow],
    overrides: Mapping[str, Any] | Sequence[str],
    notes: list[str],
) -> int:
    """Freeze today's script as the next code generation, if anything differs from the current one.

    Parameters
    ----------
    definition : Definition
        Of the current generation.
    root : str
        The run's root directory.
    session : callable
        Returns the workflow as it is in memory, for one that cannot be imported.
    overrides : mapping or sequence of str
        What this retry changes.
    notes : list of str
        Gets sentences for who asked.

    Returns
    -------
    int
        The generation to use.

    Raises
    ------
    UsageError
        The run cannot go on with today's code.
    ScriptError
        Today's script has changed, and cannot be imported.
    """
    current, entry = definition.generation, definition.entry
    if entry.importable and not os.path.isfile(entry.file):
        notes.append(f"{entry.file} is gone: the run goes on with the code as it was submitted")
        require_python(definition)
        return current
    same = not overrides and (not entry.importable or (_is_frozen(root, current, entry) and unchanged(definition)))
    config = config_of(definition, root)
    secrets = load_secrets(root, definition)
    if "inherited" in secrets.lost:
        given_now = inherited(os.environ, tuple(config.get("executor.inherit_env") or ()))
        unseen_now = {name: value for name, value in given_now.items() if name not in INHERITED}
        secrets = msgspec.structs.replace(secrets, inherited=unseen_now)
    public, secret = hidden(overrides)
    shown = (*definition.overrides, public) if public else definition.overrides
    unseen = (*secrets.overrides, secret) if secret else secrets.overrides
    python = _python_of_today(definition)
    try:
        if entry.importable:
            found = today(definition, root, (*shown, *unseen))
        else:
            found = today_of(definition, root, session(), (*shown, *unseen))
    except ScriptError as error:
        if not same:
            raise
        # What is frozen may well run where it is to run.
        notes.append(f"{error.message}; it has not changed, and the run goes on with the code it has")
        require_python(definition)
        return current
    # The same text may mean something else now: what the script takes from the environment is part of its code.
    same = same and found.code.digests == Code(modules=definition.modules).digests
    same = same and found.code.script in ("", entry.digest)
    same = same and found.tasks == definition.tasks and found.env == secrets.env and not secrets.lost
    if same and python == definition.python:
        return current
    if found.changes:
        raise UsageError(
            f"{entry.file} has changed too much for run {definition.run_id} to go on: {'; '.join(found.changes)}",
            hint="submit a new run: what has not changed is taken from the cache",
        )
    notes += found.notes
    if python != definition.python:
        notes.append(f"{python} runs the tasks from now on; until now {definition.python} did")
    Jobs(root, definition, config, {}).examine(executor_of(definition, root), found.tasks)
    following = msgspec.structs.replace(
        definition,
        generation=current + 1,
        entry=msgspec.structs.replace(entry, digest=found.code.script or entry.digest),
        tasks=found.tasks,
        overrides=shown,
        modules=found.code.modules,
        own=found.code.own,
        written=found.code.written,
        parameters=found.parameters,
        python=python,
    )
    secrets = msgspec.structs.replace(secrets, env=found.env, overrides=unseen, lost=())
    write_generation(root, following, secrets, entry.file if entry.importable else "", definition)
    return current + 1


def require_python(definition: Definition) -> None:
    """Make sure that the interpreter of a code generation is there; inline runs need none.

    Raises
    ------
    UsageError
        It is gone.
    """
    if definition.executor != "inline":
        _require(definition.python, "`reflow retry` uses today's")


def bounds_of_today(definition: Definition) -> dict[str, int]:
    """Bounds on arrays and submissions that are configured today, for a retry; 0: one that was, and is not any more."""
    if definition.executor == "inline":
        return {}
    project = os.path.dirname(definition.entry.file)
    today = load_config(project, tables=lambda disabled: plugin_registry(disabled).settings())
    then = Config.from_json(definition.config)
    found = {name: (today.get(f"executor.{name}"), then.get(f"executor.{name}")) for name in BOUNDS}
    return {name: int(now or 0) for name, (now, before) in found.items() if now is not None or before is not None}


def _python_of_today(definition: Definition) -> str:
    """The interpreter for a run's tasks from now on: the configured one, else this process's.

    Raises
    ------
    UsageError
        It is gone.
    """
    if definition.executor == "inline":
        return definition.python
    project = os.path.dirname(definition.entry.file)
    today = load_config(project, tables=lambda disabled: plugin_registry(disabled).settings())
    configured = today.origin("executor.python").layer != "built-in"
    python = str(today.get("executor.python")) if configured else sys.executable or definition.python
    if not configured and _is_same_python(python, definition.python):
        return definition.python
    _require(python, "[executor] python, or REFLOW_PYTHON, names another one")
    return python


def _is_same_python(one: str, other: str) -> bool:
    """Return whether two paths are names of one interpreter in one environment, such as python and python3.11."""
    try:
        return os.path.samefile(one, other) and os.path.samefile(os.path.dirname(one), os.path.dirname(other))
    except OSError:
        return False


def _require(python: str, hint: str) -> None:
    if os.sep in python and not os.access(python, os.X_OK):
        raise UsageError(f"the interpreter {python} is gone", hint=hint)


def _is_frozen(root: str, generation: int, entry: Entry) -> bool:
    """Whether a generation's copy of the script is what the script is today."""
    try:
        return read_regular(entry.file, follow=True) == read_regular(layout.frozen(root, generation, entry.file))
    except FileNotFoundError:
        return False
