"""A task: what its decorator was given, how it is wired, and its frozen form in ``run.json``."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .names import Fingerprint, Mode, Source
from .resources import Resources
from .retry import Retry
from .schema import Schema

JSON = Any  # a tree of dict, list, str, int, float, bool and None


class Where(msgspec.Struct, frozen=True):
    """A place in the user's code."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class JobConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What ``job(...)`` was given. None, or empty: not given."""

    resources: Resources = Resources()
    array: bool = False
    array_parallelism: int | None = None
    after: tuple[str, ...] = ()
    cache: bool | str = True
    version: str = "1"
    verify: bool | None = None
    fresh: bool = False
    retry: Retry | None = None
    on_error: str | None = None
    max_failures: int | float | None = None
    #: canonical option name -> value; None or False removes one set by configuration
    options: Mapping[str, JSON] = {}
    native: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    modules: tuple[str, ...] = ()
    setup: str = ""
    fingerprint: Fingerprint | None = None


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a task, wired.

    ``default`` is encoded JSON text: of a plain parameter its value, of a
    parameter its default (None: required).
    """

    name: str
    source: Source
    schema: Schema
    key: str = ""
    steps: tuple[str, ...] = ()
    mode: Mode | None = None
    default: str | None = None
    fingerprint: Fingerprint | None = None
    allow_failed: bool = False
    help: str = ""
    short: str | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as a run keeps it: plain data, all layers of configuration merged."""

    name: str
    array: bool
    inputs: tuple[Input, ...]
    #: what the function returns; an array task's element
    returns: Schema
    after: tuple[str, ...] = ()
    #: digest of the user's own code that the function reaches, "" where there is none
    code: str = ""
    #: why there is none, a sentence
    code_problem: str = ""
    #: digest of the variables, modules and setup that the decorator sets, "" for none
    env_digest: str = ""
    #: variables of that code that count by value, ``module:name`` -> digest of the value, as at submit
    values: Mapping[str, str] = {}
    #: versions of the installed packages that it imports, as text
    packages: str = ""
    #: versions of those that count (``[cache] packages``)
    counted: Mapping[str, str] = {}
    version: str = "1"
    cache: bool | str = True
    verify: bool = True
    #: whether each element has a process of its own
    fresh: bool = False
    fingerprint: Fingerprint = Fingerprint.STAT
    retry: Retry = Retry()
    #: "stop": too many failures of this task end the run; "continue": they end the task
    on_error: str = "continue"
    #: how many elements may fail, or what share of them; None: any number, or with "stop" none
    max_failures: int | float | None = None
    resources: Resources = Resources()
    array_parallelism: int | None = None
    options: Mapping[str, JSON] = {}
    native: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    modules: tuple[str, ...] = ()
    setup: str = ""
    where: Where = Where()

    @property
    def upstream(self) -> tuple[str, ...]:
        """Names of the tasks this one waits for, each once, in order."""
        steps = [step for wired in self.inputs for step in wired.steps]
        return tuple(dict.fromkeys([*steps, *self.after]))


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A task as its author wrote it: name, function, configuration and wiring."""

    name: str
    function: Callable[..., Any]
    config: JobConfig
    inputs: tuple[Input, ...]
    returns: Schema
    #: resolved Python types by parameter name, and of the return value
    types: Mapping[str, Any]
    return_type: Any
    after: tuple[str, ...] = ()
    where: Where = Where()
