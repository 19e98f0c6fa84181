"""Today's code of a run, as `retry` freezes it: imported by an interpreter of its own.

The process that asks may be a notebook, or a service with workflows of its own: a script that is imported there a
second time would replace its modules, and would run with the modules that were imported before.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence

import msgspec

from ... import errors
from ...authoring.flow import Flow
from ...errors import ReflowError
from ...model.codec import codec_of
from ...model.definition import Definition
from ...model.names import Source
from ...model.python import program
from ...model.task import JSON, Task
from ...model.terminal import cleaned_for
from ...planning.graph import difference
from ...worker.load import Unguarded, flow_of
from ..definition.freeze import analyse_tasks, encode_parameters, environments, freeze_tasks
from ..definition.imported_modules import Code, own_modules
from ..definition.open import config_of
from ..definition.scripts import ScriptError, import_script


class Today(msgspec.Struct, frozen=True, kw_only=True):
    """A run's tasks as today's code makes them.

    Attributes
    ----------
    tasks : tuple of Task
        Merged with the run's configuration, without their environments.
    env : mapping
        Environment variables of the tasks that have some.
    changes : tuple of str
        Why the run cannot go on with them, a sentence each; `parameters` is empty then.
    parameters : mapping of str to Raw
        The run's parameters, those that are new with their defaults.
    notes : tuple of str
        Sentences for who asked.
    code : Code
        The user's own modules, as this interpreter has found them.
    """

    tasks: tuple[Task, ...]
    env: Mapping[str, Mapping[str, str]] = {}
    changes: tuple[str, ...] = ()
    parameters: Mapping[str, msgspec.Raw] = {}
    notes: tuple[str, ...] = ()
    code: Code = Code()


class _Question(msgspec.Struct, frozen=True):
    root: str
    definition: Definition
    overrides: tuple[JSON, ...]


class _Problem(msgspec.Struct, frozen=True):
    """An error on its way to the process that asked."""

    kind: str
    message: str
    hint: str | None
    trace: str

    def error(self) -> ReflowError:
        """Return the error; its traceback is its cause, as text."""
        kinds: dict[str, type[ReflowError]] = {**vars(errors), "ScriptError": ScriptError, "Unguarded": Unguarded}
        kind = kinds.get(self.kind, ReflowError)
        error = kind.__new__(kind)
        ReflowError.__init__(error, self.message, hint=self.hint)
        error.__cause__ = _Elsewhere(self.trace)
        return error


class _Elsewhere(Exception):
    """A traceback of another process."""


class _Answer(msgspec.Struct, frozen=True):
    today: Today | None = None
    problem: _Problem | None = None


def today(definition: Definition, root: str, overrides: Sequence[JSON]) -> Today:
    """Import a run's script as it is today, in a fresh interpreter, and return what it makes of the run's tasks.

    What the script prints goes to standard error. Nothing of this process changes.

    Parameters
    ----------
    definition : Definition
        Of the run's current code generation.
    root : str
        The run's root directory.
    overrides : sequence
        All that was given with ``--set``.

    Raises
    ------
    ScriptError
        The script raises, or ends the process, when it is imported.
    UsageError
        It runs its workflow, or holds it no more.
    """
    from ...process.answer import answer

    python = sys.executable or definition.python
    question = msgspec.json.encode(_Question(root, definition, tuple(overrides)))
    try:
        code, raw, said = answer(program(python, "from reflow.run.service.today import serve; serve()"), question)
    except OSError as error:
        raise ReflowError(f"the interpreter {python} cannot be started: {error.strerror}") from error
    if said:
        print(cleaned_for(sys.stderr, said), end="", file=sys.stderr)
    try:
        found = msgspec.json.decode(raw, type=_Answer)
    except msgspec.MsgspecError:
        raise ScriptError(
            f"{definition.entry.file} ended the process when it was imported (exit code {code})",
            hint="`python -i` on it shows where",
        ) from None
    if found.problem is not None:
        raise found.problem.error()
    assert found.today is not None
    return found.today


def today_of(definition: Definition, root: str, flow: Flow, overrides: Sequence[JSON]) -> Today:
    """Return what a workflow in memory makes of a run's tasks.

    Parameters
    ----------
    definition : Definition
        Of the run's current code generation.
    root : str
        The run's root directory.
    flow : Flow
        The workflow as it is today.
    overrides : sequence
        All that was given with ``--set``.
    """
    from ...config.overrides import parse_overrides

    compiled = flow.compile()
    names = [task.name for task in compiled.tasks]
    changes = [one for given in overrides for one in parse_overrides(given, tasks=names)]
    analysis = analyse_tasks(compiled, definition.entry)
    whole = freeze_tasks(compiled, config_of(definition, root), changes, analysis)
    tasks = tuple(msgspec.structs.replace(task, env={}) for task in whole)
    kept = {key: raw for key, raw in definition.parameters.items() if key in compiled.parameters}
    told = difference(definition.tasks, tasks)
    told += [f"parameter {key} is gone" for key in definition.parameters if key not in kept]
    told += [
        f"parameter {key} is new, and has no default"
        for key, one in compiled.parameters.items()
        if key not in kept and one.default is None
    ]
    env = environments(whole)
    if told:
        return Today(tasks=tasks, env=env, changes=tuple(told))
    inputs = [one for task in definition.tasks for one in task.inputs]
    before = {one.key: one.default for one in inputs if one.source is Source.PARAM}
    notes = [
        f"{key} stays {bytes(raw).decode()}, as submitted; its default is {compiled.parameters[key].default} now"
        for key, raw in kept.items()
        if compiled.parameters[key].default not in (None, before.get(key), bytes(raw).decode())
    ]
    given = {key: codec_of(compiled.parameters[key].type).decode(bytes(raw)) for key, raw in kept.items()}
    parameters = encode_parameters(compiled.parameters, given, definition.cwd)
    code = own_modules(definition.entry, analysis)
    return Today(tasks=tasks, env=env, parameters=parameters, notes=tuple(notes), code=code)


def serve() -> None:
    """Answer the question on standard input, once; what the script prints goes to standard error."""
    output = os.dup(1)
    os.dup2(2, 1)
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=_Question)
    try:
        found = _Answer(today=_import(question))
    except ReflowError as error:
        trace = "".join(traceback.format_exception(error))
        found = _Answer(problem=_Problem(type(error).__name__, error.message, error.hint, trace))
    with open(output, "wb") as stream:
        stream.write(msgspec.json.encode(found))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # neither threads nor exit handlers of the script are waited for


def _import(question: _Question) -> Today:
    entry = question.definition.entry
    return today_of(question.definition, question.root, flow_of(import_script(entry), entry), question.overrides)
