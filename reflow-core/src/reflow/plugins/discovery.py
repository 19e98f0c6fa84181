"""Plugins as found: entry points read, nothing imported until a hook is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import msgspec
import pluggy

from .. import __version__, hookspecs
from ..errors import PluginError
from ..hookspecs import GROUP, PROJECT, CacheBackendEntry, CommandEntry, ExecutorEntry, NotifierEntry
from .installed import entries, installed, normal

Entry = ExecutorEntry | CacheBackendEntry | NotifierEntry | CommandEntry

#: what each hook's answer is made of
HOOKS: dict[str, type[Entry]] = {
    "reflow_executors": ExecutorEntry,
    "reflow_cache_backends": CacheBackendEntry,
    "reflow_notifiers": NotifierEntry,
    "reflow_commands": CommandEntry,
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

#: a plugin's mistakes; SystemExit because a module may call sys.exit() when imported
FAULTS = (Exception, SystemExit)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a plugin.

    Attributes
    ----------
    plugin, distribution, version : str
        Whose fault it is.
    stage : str
        ``metadata``, ``import``, ``hooks`` (their names or arguments), or the hook that was called.
    error : str
        One line: the exception's class and message.
    exception : BaseException, optional
        The exception itself.
    """

    plugin: str
    distribution: str
    version: str
    stage: str
    error: str
    exception: Any = None

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} ({self.distribution} {self.version}) is broken, {self.stage}: {self.error}"


def one_line(error: BaseException) -> str:
    """An exception's class and message, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Plugin:
    """One plugin: an entry point, imported when first asked, each call guarded.

    A manager of its own keeps its mistakes, in signatures or calls, to itself.

    Parameters
    ----------
    name, module : str
        The entry point's name and value.
    distribution, version : str
        Where it comes from.
    builtin : bool
        Whether it is a part of reflow.
    disabled_by : str, optional
        What disabled it; a disabled plugin is never imported and answers nothing.
    """

    def __init__(
        self,
        name: str,
        module: str,
        distribution: str,
        version: str,
        *,
        builtin: bool = False,
        disabled_by: str | None = None,
    ) -> None:
        self.name = name
        self.module = module
        self.distribution = distribution
        self.version = version
        self.builtin = builtin
        self.disabled_by = disabled_by
        self.problems: list[Problem] = []
        self._answers: dict[str, tuple[Entry, ...]] = {}

    def __str__(self) -> str:
        return f"{self.name!r} ({self.distribution} {self.version})"

    def fault(self, stage: str, error: BaseException) -> None:
        """Note a problem."""
        self.problems.append(
            Problem(
                plugin=self.name,
                distribution=self.distribution,
                version=self.version,
                stage=stage,
                error=one_line(error),
                exception=error,
            )
        )

    def error(self) -> PluginError:
        """The first of its problems, to be raised."""
        problem = self.problems[0]
        error = PluginError(str(problem), hint=f"Repair it, or disable it: REFLOW_PLUGINS_DISABLED={self.name}")
        error.__cause__ = problem.exception
        return error

    def answer(self, hook: str) -> tuple[Entry, ...]:
        """Its entries for one hook; none where it has no such hook, is disabled, or is broken."""
        if hook not in self._answers:
            self._answers[hook] = self._ask(hook)
        return self._answers[hook]

    def _ask(self, hook: str) -> tuple[Entry, ...]:
        manager = self._manager
        if manager is None:
            return ()
        try:
            answers = getattr(manager.hook, hook)()
            return tuple(_checked(entry, HOOKS[hook]) for answer in answers for entry in _entries(answer))
        except FAULTS as error:
            self.fault(hook, error)
            return ()

    @cached_property
    def _manager(self) -> pluggy.PluginManager | None:
        if self.disabled_by is not None or self.problems:
            return None
        stage = "import"
        try:
            module = import_module(self.module)
            stage = "hooks"
            manager = pluggy.PluginManager(PROJECT)
            manager.add_hookspecs(hookspecs)
            # What the module has defined: pluggy reads each name in dir(), which would import what it offers lazily.
            manager.register(SimpleNamespace(**vars(module)), self.name)
            _check_names(manager, self.module)
        except FAULTS as error:
            self.fault(stage, error)
            return None
        return manager


def _check_names(manager: pluggy.PluginManager, module: str) -> None:
    """Refuse hooks that there are not; as `check_pending`, whose message holds all that the module has defined."""
    for name, hook in vars(manager.hook).items():
        if name.startswith("_") or hook.has_spec():
            continue
        if not all(implementation.optionalhook for implementation in hook.get_hookimpls()):
            from ..config.values import suggest

            advice = suggest(name, HOOKS) or f"There are {', '.join(HOOKS)}."
            raise NameError(f"unknown hook {name!r} in {module}. {advice}")


def _entries(answer: object) -> Sequence[object]:
    if isinstance(answer, (str, bytes, msgspec.Struct)):
        raise TypeError(f"the hook must return a sequence of entries, not {type(answer).__name__}")
    return list(answer)  # type: ignore[call-overload, no-any-return]


def _checked(entry: object, kind: type[Entry]) -> Entry:
    if not isinstance(entry, kind):
        raise TypeError(f"the hook must return {kind.__name__} objects, not {type(entry).__name__}")
    # A Struct does not look at what it is given; a round trip through plain data does.
    checked = msgspec.convert(msgspec.to_builtins(entry), kind)
    names = [checked.name]
    if isinstance(checked, ExecutorEntry):
        names += checked.aliases
        # `reflow.__getattr__` asks the plugins for such names only, so that no other name costs a search for plugins.
        public = checked.exports
        if public is not None and not (public.isidentifier() and public.endswith("Executor")):
            raise ValueError(f"executor {checked.name!r} exports {public!r}, not a name that ends in 'Executor'")
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for {kind.__name__}: letters, digits, '.', '_' and '-' only")
    if not _TARGET.fullmatch(checked.target):
        raise ValueError(f"{kind.__name__} {checked.name!r} has target {checked.target!r}, not 'package.module:object'")
    return checked


def discover(disabled: dict[str, str]) -> list[Plugin]:
    """All plugins: reflow's own first, then by name.

    Parameters
    ----------
    disabled : mapping of str to str
        Normalised names of plugins or distributions -> what disabled them.

    Notes
    -----
    A malformed file costs its own distribution only. Of two with one name, the
    first on ``sys.path`` counts, as it does for imports.
    """
    found = [Plugin("reflow", "reflow.plugins.builtin", "reflow-core", __version__, builtin=True)]
    found += sorted(_installed(disabled), key=lambda plugin: (plugin.name, plugin.distribution))
    return found


def _installed(disabled: dict[str, str]) -> Iterator[Plugin]:
    seen: set[str] = set()
    for distribution in installed():
        if GROUP not in distribution.entry_points:
            continue
        name, version = distribution.name, distribution.version
        if normal(name) in seen:
            continue
        seen.add(normal(name))

        def plugin(entry: str, module: str, name: str = name, version: str = version) -> Plugin:
            by = disabled.get(normal(entry)) or disabled.get(normal(name))
            return Plugin(entry, module, name, version, disabled_by=by)

        try:
            found = entries(distribution.entry_points, GROUP)
        except ValueError as error:
            broken = plugin(name, "")
            broken.fault("metadata", error)
            yield broken
        else:
            for entry, value in found:
                yield plugin(entry, value)
