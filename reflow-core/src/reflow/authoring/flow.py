"""Flow: where tasks are registered. Defining is cheap; nothing is resolved or checked before `compile`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import msgspec

from reflow.model.task import JSON, Where

if TYPE_CHECKING:
    from datetime import timedelta
    from types import FrameType

    from reflow.model.names import Fingerprint
    from reflow.model.retry import Retry

    from .compile import Compiled
    from .markers import FingerprintName

F = TypeVar("F", bound=Callable[..., Any])


class Step(msgspec.Struct, frozen=True, eq=False):
    """A function as it was registered, with what its decorator was given.

    Attributes
    ----------
    name : str
        The task's name inside its Flow.
    function : callable
        As decorated, unchanged.
    options : mapping
        Keywords of ``job(...)`` that were given, unread.
    names : mapping
        What the annotations' names mean where the function was defined
        inside another function.
    where : Where
        The function's place in the user's code.
    """

    name: str
    function: Callable[..., Any]
    options: Mapping[str, Any]
    names: Mapping[str, Any]
    where: Where

    @property
    def array(self) -> bool:
        """Whether it is an array task."""
        return bool(self.options.get("array", False))


class Include(msgspec.Struct, frozen=True, eq=False):
    """A Flow inside another one, under a prefix, with what binds its open inputs."""

    flow: Flow
    prefix: str | None
    inputs: Mapping[str, str | Sequence[str]]
    where: Where

    @property
    def place(self) -> tuple[str | None, str]:
        """What tells it from other includes: its prefix, or without one the flow's name."""
        return self.prefix, "" if self.prefix else getattr(self.flow, "name", "")


class Flow:
    """A reusable set of tasks.

    Parameters
    ----------
    name : str
        What it is called in messages; a workflow's runs and cached results carry it.

    Attributes
    ----------
    module : str
        Name of the module that created it.
    file : str or None
        That module's file; None in a notebook or an interactive session.
    items : list
        Tasks (`Step`) and included flows (`Include`), in the order of definition.
    """

    #: whether it can be run by itself: a `Workflow`
    root: bool = False

    def __init__(self, name: str) -> None:
        self.name = name  # checked by compile(), like all that is written here
        frame = sys._getframe(1)
        # A subclass's __init__, here or in the user's code, is not where the flow is made.
        while frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is self and frame.f_back is not None:
            frame = frame.f_back
        self.module: str = frame.f_globals.get("__name__", "__main__")
        self.file: str | None = frame.f_globals.get("__file__")
        self.where = Where(frame.f_code.co_filename, frame.f_lineno)
        self.items: list[Step | Include] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @overload
    def job(self, name: F, /) -> F: ...

    @overload
    def job(
        self,
        name: str | None = None,
        *,
        cpus: int | None = None,
        time: str | float | timedelta | None = None,
        mem: str | int | None = None,
        gpus: int | None = None,
        nodes: int | None = None,
        tasks: int | None = None,
        array: bool = False,
        array_parallelism: int | None = None,
        after: Sequence[str] = (),
        cache: bool | Literal["portable"] = True,
        version: str | int = "1",
        verify: bool | None = None,
        fresh: bool = False,
        retries: int | Retry = 0,
        on_error: Literal["continue", "stop"] | None = None,
        max_failures: int | float | None = None,
        submit_options: Mapping[str, JSON] = ...,
        native: Sequence[str] = (),
        env: Mapping[str, str] = ...,
        modules: Sequence[str] = (),
        setup: str = "",
        fingerprint: Fingerprint | FingerprintName | None = None,
        **scheduler_options: JSON,
    ) -> Callable[[F], F]: ...

    def job(self, name: Any = None, **options: Any) -> Any:
        """Register the decorated function as a task; the function itself is returned unchanged.

        Parameters
        ----------
        name : str, optional
            The task's name; by default the function's.
        cpus, nodes, tasks, gpus : int, optional
            CPU cores for each MPI task, nodes, MPI tasks in total, GPUs for
            each node. Not given: configuration decides, else one cpu; ``None`` or
            ``False``, where it is written, takes back what configuration sets.
        time : str, int, float or timedelta, optional
            Walltime: ``"02:00:00"``, ``"1-00:00:00"``, ``"90m"``, or seconds.
        mem : str or int, optional
            Memory for each node: ``"16G"``, ``"500M"``, or bytes.
        array : bool
            One element for each item that a `Result` parameter brings.
        array_parallelism : int, optional
            How many elements may run at once.
        after : sequence of str
            Tasks that must have ended well before this one starts.
        cache : bool or "portable"
            Whether results are reused; ``"portable"``: whatever the run directory.
        version : str or int
            Change it to make cached results of this task stale.
        verify : bool, optional
            Whether output files are checked to be unchanged before reuse.
        fresh : bool
            Whether each element has a process of its own, also where workers stay warm.
        retries : int or Retry
            Further attempts after a failure.
        on_error : {"continue", "stop"}, optional
            What a failure of the task means for the rest of the run: nothing,
            but for what depends on it, or its end.
        max_failures : int or float, optional
            How many elements of an array may fail, or what share of them
            (between 0 and 1), before what is left of it is cancelled, with
            ``on_error="stop"`` the whole run.
        submit_options : mapping
            Scheduler options whose names are no Python identifiers.
        native : sequence of str
            Arguments for the submit command, verbatim.
        env : mapping
            Environment variables of the task.
        modules : sequence of str
            Environment modules to load.
        setup : str
            Shell lines to run before the task.
        fingerprint : {"stat", "content", "name"}, optional
            What of a file counts when looking for cached results.
        **scheduler_options
            ``queue=`` (or ``partition=``), ``account=``, ``qos=``, ..., and the
            scheduler's own option names; a list repeats the flag, True gives it
            no value, None or False removes one that configuration sets.

        Returns
        -------
        callable
            The decorator (or, written ``@flow.job`` without brackets, the function).
        """
        if callable(name):
            return self._add(None, name, {}, sys._getframe(1))
        return lambda function: self._add(name, function, options, sys._getframe(1))

    @overload
    def array_job(self, name: F, /) -> F: ...

    @overload
    def array_job(self, name: str | None = None, **options: Any) -> Callable[[F], F]: ...

    def array_job(self, name: Any = None, **options: Any) -> Any:
        """Register an array task: `job` with ``array=True``."""
        if callable(name):
            return self._add(None, name, {"array": True}, sys._getframe(1))
        if "array" in options:
            raise TypeError("array_job() takes no array=; it is always an array")
        return self.job(name, array=True, **options)

    def include(
        self, flow: Flow, prefix: str | None = None, inputs: Mapping[str, str | Sequence[str]] | None = None
    ) -> None:
        """Take another flow's tasks in, as they are when this flow is compiled.

        Parameters
        ----------
        flow : Flow
            Whose tasks; a flow may be included several times, under different prefixes.
        prefix : str, optional
            ``prefix="pre"`` calls its task ``download`` ``pre.download``. The
            flow's own references follow. Without a prefix its tasks stand
            beside this flow's, and may refer to them by name.
        inputs : mapping of str to str or sequence of str, optional
            Binds what the flow leaves open to tasks of this flow. A key is
            the name of an open step (one that a `Result` of the flow refers
            to and the flow does not have), of a parameter with an open
            `Result`, or of a `Param`, which then is no parameter of the run any
            more; ``"task.name"`` means one task's parameter alone. Several
            tasks are concatenated as by ``Result(steps=[...])``.
        """
        frame = sys._getframe(1)
        where = Where(frame.f_code.co_filename, frame.f_lineno)
        include = Include(flow, prefix, {} if inputs is None else inputs, where)
        self._put(include, [item for item in self.items if isinstance(item, Include) and item.place == include.place])

    @property
    def tasks(self) -> dict[str, Step]:
        """Every task by its full name (``pre.download``), included flows' too, in the order of definition."""
        found: dict[str, Step] = {}
        self._collect("", found, ())
        return found

    def compile(self) -> Compiled:
        """Check everything and wire the tasks.

        Raises
        ------
        WorkflowError
            With every mistake found, each with its place.
        """
        from .compile import compile_flow

        return compile_flow(self)

    def validate(self) -> None:
        """Raise WorkflowError with every mistake, if there is one."""
        self.compile()

    def _add(self, name: str | None, function: F, options: dict[str, Any], frame: FrameType) -> F:
        code = getattr(unwrap(function), "__code__", None)
        where = (
            Where(frame.f_code.co_filename, frame.f_lineno)
            if code is None
            else Where(code.co_filename, code.co_firstlineno)
        )
        names: Mapping[str, Any] = {}
        if frame.f_locals is not frame.f_globals:
            names = _mentioned(function, frame.f_locals)
        if name is None:
            name = getattr(function, "__name__", type(function).__name__)
        step = Step(name, function, options, names, where)
        self._put(step, [item for item in self.items if isinstance(item, Step) and item.name == name])
        return function

    def _put(self, new: Step | Include, like: Sequence[Step | Include]) -> None:
        """Add an item. A notebook's cell that is run again replaces what it defined the first time."""
        if self.file is None and like:
            self.items[self.items.index(like[0])] = new
        else:
            self.items.append(new)

    def _collect(self, prefix: str, found: dict[str, Step], inside: tuple[Flow, ...]) -> None:
        for item in self.items:
            if isinstance(item, Step):
                found.setdefault(f"{prefix}{item.name}", item)
            elif item.flow is not self and item.flow not in inside:  # a circle is told by compile()
                item.flow._collect(f"{prefix}{item.prefix}." if item.prefix else prefix, found, (*inside, self))


def _mentioned(function: Callable[..., Any], scope: Mapping[str, Any]) -> dict[str, Any]:
    """Those local names that the function's annotations mention: all of `scope` would be kept alive."""
    import re

    from .hints import written

    try:
        texts = [value if isinstance(value, str) else repr(value) for value in written(function).values()]
    except Exception:  # a mistake in them is an error of compile()
        return {}
    words = {word for text in texts for word in re.findall(r"[^\W\d]\w*", text)}
    return {word: scope[word] for word in words if word in scope}


def unwrap(function: Any) -> Any:
    """The function inside wrappers that name it, as by `functools.wraps`.

    `inspect` has the same; importing that takes longer than all of reflow, and every worker would pay for it.

    Raises
    ------
    ValueError
        They go round in a circle.
    """
    seen = {id(function)}
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
        if id(function) in seen:
            raise ValueError(f"{function!r} wraps itself")
        seen.add(id(function))
    return function
