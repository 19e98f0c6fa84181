"""What a submit or a retry changes of single tasks: ``--set compute.mem=64G``, ``--queue gpu``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from ..authoring.settings import slip
from ..errors import ConfigError
from ..model.options import canonical
from ..model.task import JSON, JobConfig
from .schema import RESOURCES, Key
from .values import Place, Wrong, parse, parse_entry, removes, resource, scalar, suggest

#: what ``job(...)`` takes that is part of the workflow's meaning, and can be changed in the script only
_FREE = {"array_parallelism", "native", "modules", "setup"}
_FIXED = (frozenset(JobConfig.__struct_fields__) | {"retries"}) - _FREE
_HINT = "Write TASK.KEY=VALUE, such as compute.mem=64G, or *.queue=long for all tasks."


class Override(msgspec.Struct, frozen=True):
    """One change.

    Attributes
    ----------
    task : str
        Name of the task; ``*`` in it stands for anything.
    key : str
        A resource, a scheduler option under its canonical name, ``array_parallelism``,
        ``modules``, ``native``, ``setup`` or ``env.NAME``.
    value : JSON
        Of the key's type; None or False removes what configuration and decorator say.
    """

    task: str
    key: str
    value: JSON

    @property
    def general(self) -> bool:
        """Whether it may concern several tasks; what names a task wins over it."""
        return "*" in self.task

    def concerns(self, task: str) -> bool:
        """Whether it changes this task."""
        if not self.general:
            return self.task == task
        from fnmatch import fnmatchcase

        return fnmatchcase(task, self.task)


def parse_override(text: str, *, tasks: Collection[str] = ()) -> Override:
    """Read ``TASK.KEY=VALUE``.

    Parameters
    ----------
    text : str
        Such as ``compute.mem=64G``. A task's name may hold dots, and ``*``. The value
        ``none`` (or nothing) removes the key; ``true`` gives a flag.
    tasks : collection of str
        The names there are; empty: not checked.

    Raises
    ------
    ConfigError
        Where the form, the task, the key or the value is wrong.
    """
    target, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"override {text!r} has no value", hint=_HINT)
    # A variable's value may be a secret: no message repeats it.
    return _override(target.strip(), value, tasks, f"{target}=..." if ".env" in target else text)


def parse_overrides(
    given: Mapping[str, JSON] | Iterable[str], *, queue: str | None = None, tasks: Collection[str] = ()
) -> tuple[Override, ...]:
    """Read all overrides of one command.

    Parameters
    ----------
    given : mapping or iterable of str
        ``{"compute.mem": "64G", "compute.cpus": 8}`` or ``["compute.mem=64G"]``.
    queue : str, optional
        ``--queue``: the queue of every task that no override names.
    tasks : collection of str
        The names there are; empty: not checked.

    Returns
    -------
    tuple of Override
        In the order given; later ones win, and those that name a task win over general ones.
    """
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        found = [_override(target, value, tasks, target) for target, value in given.items()]
    else:
        found = [parse_override(text, tasks=tasks) for text in given]
    first = [Override("*", "queue", scalar(queue) and queue)] if queue is not None else []
    return (*first, *found)


def hidden(given: Mapping[str, JSON] | Iterable[str]) -> tuple[JSON, JSON]:
    """Part overrides into what everybody may see and what may be secret, the tasks' variables.

    Parameters
    ----------
    given : mapping or iterable of str
        As for `parse_overrides`, which takes each of the two again.
    """
    if isinstance(given, Mapping):
        secret = {target: value for target, value in given.items() if _variable(target)}
        return {target: value for target, value in given.items() if target not in secret}, secret
    texts = [given] if isinstance(given, str) else list(given)
    return [text for text in texts if not _variable(text)], [text for text in texts if _variable(text)]


def _variable(text: str) -> bool:
    target = text.partition("=")[0].strip()
    return target.rpartition(".")[0].endswith(".env")


def apply(overrides: Sequence[Override], task: str) -> dict[str, JSON]:
    """What the overrides say of one task, by key."""
    mine = [override for override in overrides if override.concerns(task)]
    return {override.key: override.value for override in sorted(mine, key=lambda one: not one.general)}


def _override(target: str, value: JSON, tasks: Collection[str], text: str) -> Override:
    task, key = _split(target, tasks, text)
    try:
        return Override(task, key, _value(key, value))
    except Wrong as wrong:
        raise ConfigError(f"override {text!r}: {key} {wrong.message}", hint=wrong.hint) from None


def _split(target: str, tasks: Collection[str], text: str) -> tuple[str, str]:
    """Task and key of ``pre.download.mem`` or ``compute.env.NAME``."""
    head, dot, key = target.rpartition(".")
    if not dot or not head or not key:
        raise ConfigError(f"override {text!r} names no task and key", hint=_HINT)
    outer, _, middle = head.rpartition(".")
    if outer and middle == "env" and head not in tasks:
        head, key = outer, f"env.{key}"
    else:
        key = canonical(key)
    if key in _FIXED:
        hint = "Write env.NAME." if key == "env" else "Change it in the script: it is part of the task."
        raise ConfigError(f"override {text!r}: {key} cannot be changed here", hint=hint)
    if tasks and not any(Override(head, key, None).concerns(task) for task in tasks):
        hint = suggest(head, tasks) or f"The tasks are {', '.join(tasks)}."
        raise ConfigError(f"override {text!r}: there is no task {head!r}", hint=hint)
    meant = slip(key)
    if meant:
        raise ConfigError(f"override {text!r}: there is no key {key!r}{meant}", hint=_HINT)
    return head, key


def _value(key: str, value: JSON) -> JSON:
    """The value as its key has it; text is read by the key's type."""
    text = isinstance(value, str)
    if key in RESOURCES:
        return resource(key, value, text=True)
    if removes(value, text=True):
        return None
    if key == "array_parallelism":
        return resource("cpus", value, text=True)
    if key in ("modules", "native"):
        if text and key == "native":
            from shlex import split

            try:
                return split(value)
            except ValueError as error:
                raise Wrong(f"cannot be split into arguments: {error}") from None
        return parse(_LIST, value, _TEXT)
    if key == "setup" or key.startswith("env."):
        return parse(_STRING, str(value) if isinstance(value, (int, float)) else value, _TEXT)
    return parse_entry(_OPTIONS, key, scalar(value) if text else value)[1]


_TEXT = Place("/", {}, text=True)
_LIST = Key(name="list", type="list[str]")
_STRING = Key(name="string")
_OPTIONS = Key(name="options", type="options")
