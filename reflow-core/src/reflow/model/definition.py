"""A run's frozen definition: ``run.json``."""

from collections.abc import Mapping

import msgspec

from .record import SCHEMA
from .task import JSON, Task


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """How to import the workflow.

    Attributes
    ----------
    file : str
        The script as its user has it; `__file__` of the module in workers.
    module : str
        Name under which it is imported, with its package where it has one.
    variable : str
        Module-level name of the workflow; "" for one that cannot be
        imported (inline executor only).
    path : tuple of str
        What the script's own start put at the head of ``sys.path``.
    digest : str
        SHA-256 of the script as it was frozen; "" where it was not, or by a version that did not note it.
    own, foreign : tuple of str
        Modules that are the user's own, or are not, wherever they lie (``[cache] own`` and ``foreign``).
    """

    file: str = ""
    module: str = ""
    variable: str = ""
    path: tuple[str, ...] = ()
    digest: str = ""
    own: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    #: SHA-256 of the compiled script beside it; "" where there is none
    compiled: str = ""

    @property
    def importable(self) -> bool:
        """Whether another process can import it: it is in no notebook, and in no function."""
        return bool(self.file and self.variable)


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """One of the user's own modules, as it was frozen; an extension module is only compared.

    Attributes
    ----------
    file : str
        Where it was, an absolute path.
    digest : str
        SHA-256 of its source.
    package : bool
        Whether it is a package.
    compiled : str
        SHA-256 of its compiled code; "" where there is none.
    """

    file: str
    digest: str
    package: bool = False
    compiled: str = ""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was decided at submit."""

    schema: int = SCHEMA
    version: str = ""
    run_id: str
    workflow: str
    created: float
    run_dir: str
    cwd: str
    entry: Entry
    generation: int = 1
    tasks: tuple[Task, ...]
    parameters: Mapping[str, msgspec.Raw] = {}
    executor: str
    settings: Mapping[str, JSON] = {}
    config: Mapping[str, JSON] = {}
    store: str = ""
    python: str = ""
    #: variables of the submission that every job is given
    environment: Mapping[str, str] = {}
    user: str = ""
    host: str = ""
    #: what was given with ``--set``, at submit and at each retry
    overrides: tuple[JSON, ...] = ()
    force: bool = False
    force_tasks: tuple[str, ...] = ()
    verify: bool = True
    #: the user's own modules that the script reaches, by name
    modules: Mapping[str, Module] = {}
    #: directories in which modules are the user's own
    own: tuple[str, ...] = ()
    #: names that own code rebinds or changes, of other modules too, as ``module:name``
    written: tuple[str, ...] = ()
    #: what ``secrets.json`` holds beside it: ``config``, ``inherited``, ``overrides``, and ``env.TASK``
    private: tuple[str, ...] = ()

    def task(self, name: str) -> Task:
        """The task of that name."""
        return next(task for task in self.tasks if task.name == name)
