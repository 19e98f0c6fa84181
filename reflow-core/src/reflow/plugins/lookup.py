"""What is installed, by name."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..batch.programs import find_program
from ..errors import PluginError, ReflowError, UsageError
from ..plugin import (
    JSON,
    CacheBackend,
    CacheBackendEntry,
    CommandEntry,
    Context,
    Executor,
    ExecutorEntry,
    Notifier,
    NotifierEntry,
    Setting,
)
from .discovery import FAULTS, HOOKS, Entry, Plugin, Problem, discover, one_line
from .installed import normal
from .known import BY_NAME, KNOWN
from .rival import refuse_rival

if TYPE_CHECKING:
    from ..config.schema import Tables

__all__ = ["DISABLED", "Problem", "Registry", "UnknownName", "registry"]

#: environment variable: plugins or distributions to leave out, between commas
DISABLED = "REFLOW_PLUGINS_DISABLED"

_NOUNS = {
    "reflow_executors": "executor",
    "reflow_cache_backends": "cache backend",
    "reflow_notifiers": "notifier",
    "reflow_commands": "command",
}
_METHODS = {
    "reflow_executors": ("submit", "query", "find", "cancel"),
    "reflow_cache_backends": ("lookup", "history", "publish", "close"),
    "reflow_notifiers": ("notify",),
}
#: an entry's section in the configuration
_SECTIONS = {
    "reflow_executors": "executor",
    "reflow_cache_backends": "cache",
    "reflow_notifiers": "notifications",
}


class UnknownName(UsageError, PluginError):
    """No plugin that is installed, enabled and whole provides what was asked for."""


class _Question(msgspec.Struct, frozen=True):
    """A name, and what it is asked for as."""

    hook: str
    name: str
    scope: str | None = None
    exported: bool = False

    def __str__(self) -> str:
        return f"public name {self.name!r}" if self.exported else f"{_NOUNS[self.hook]} {self.name!r}"

    def names(self, entry: Entry) -> tuple[str, ...]:
        """What an entry answers to, when asked so."""
        if isinstance(entry, ExecutorEntry):
            if self.exported:
                return (entry.exports,) if entry.exports else ()
            return (entry.name, *entry.aliases)
        if isinstance(entry, CommandEntry) and self.scope not in (None, *entry.scopes):
            return ()
        return (entry.name,)


class Registry:
    """Looks up what plugins provide. Nothing but their hook modules is imported before an object is asked for.

    Parameters
    ----------
    plugins : sequence of Plugin
        In the order in which they are listed.
    warnings : sequence of str
        What people should hear of what was asked for.
    """

    def __init__(self, plugins: Collection[Plugin], warnings: Collection[str] = ()) -> None:
        self.plugins = tuple(plugins)
        self.warnings = tuple(warnings)

    # -- what there is ------------------------------------------------------------

    def executors(self) -> tuple[ExecutorEntry, ...]:
        """All executors."""
        return cast("tuple[ExecutorEntry, ...]", self._all("reflow_executors"))

    def cache_backends(self) -> tuple[CacheBackendEntry, ...]:
        """All cache backends."""
        return cast("tuple[CacheBackendEntry, ...]", self._all("reflow_cache_backends"))

    def notifiers(self) -> tuple[NotifierEntry, ...]:
        """All notifiers."""
        return cast("tuple[NotifierEntry, ...]", self._all("reflow_notifiers"))

    def commands(self, scope: str | None = None) -> tuple[CommandEntry, ...]:
        """All commands, or those of one scope, ``"reflow"`` or ``"workflow"``; reflow's own first."""
        entries = cast("tuple[CommandEntry, ...]", self._all("reflow_commands"))
        return tuple(entry for entry in entries if scope is None or scope in entry.scopes)

    def settings(self) -> Tables:
        """The configuration table of every entry that has one: ``"executor.slurm"`` -> its settings."""
        from ..config.schema import Tables

        tables: dict[str, dict[str, Setting]] = {}
        for hook, section in _SECTIONS.items():
            for entry in self._all(hook):
                table = tables.setdefault(f"{section}.{entry.name}", {})
                # Where two plugins share a name, the keys of both are known: only its use is an error.
                for setting in cast("ExecutorEntry", entry).settings:
                    table.setdefault(setting.name, setting)
        found = Tables({name: tuple(table.values()) for name, table in tables.items()})
        found.warnings = self.warnings
        return found

    def detect(self, environ: Mapping[str, str]) -> tuple[ExecutorEntry, ...]:
        """The executors whose programs are all found on ``PATH`` of `environ`."""
        path = environ.get("PATH", "")
        return tuple(
            entry
            for entry in self.executors()
            if entry.detect and all(find_program(program, path) for program in entry.detect)
        )

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with each plugin; every hook is asked."""
        for hook in HOOKS:
            self._all(hook)
        return tuple(problem for plugin in self.plugins for problem in plugin.problems)

    def describe(self) -> list[dict[str, JSON]]:
        """Everything about every plugin, and about this project's plugins that are not installed, as plain data.

        Each has ``name``, ``distribution``, ``version``, ``module``, ``builtin``, ``status`` (``ok``, ``broken``,
        ``disabled`` or ``missing``), ``disabled_by``, ``install``, ``problems`` (``stage``, ``error``), and for
        ``executors``, ``cache_backends``, ``notifiers`` and ``commands`` a list of ``name``, ``summary``,
        ``aliases``, ``exports``, ``detect``, ``target`` and ``conflicts`` (other plugins that provide the name).
        """
        self.problems()
        rows = [self._row(plugin) for plugin in self.plugins]
        installed = {normal(plugin.distribution) for plugin in self.plugins}
        rows += [
            {
                "name": known.extra,
                "distribution": known.distribution,
                "status": "missing",
                "install": known.install,
                "executors": [{"name": known.names[0], "aliases": list(known.names[1:]), "exports": known.exports}],
            }
            for known in KNOWN
            if known.distribution not in installed
        ]
        return rows

    # -- one of them ----------------------------------------------------------------

    def executor(self, name: str) -> Any:
        """The class of an executor, by name or alias.

        Raises
        ------
        UnknownName
            Where nothing answers to the name.
        PluginError
            Where two plugins do, or the one that does is broken.
        """
        return self._object("reflow_executors", name)

    def cache_backend(self, name: str) -> Any:
        """The class of a cache backend; errors as for `executor`."""
        return self._object("reflow_cache_backends", name)

    def notifier(self, name: str) -> Any:
        """The class of a notifier; errors as for `executor`."""
        return self._object("reflow_notifiers", name)

    def command(self, name: str, scope: str) -> Any:
        """The function of a command in one scope; errors as for `executor`."""
        return self._object("reflow_commands", name, scope=scope)

    def executor_entry(self, name: str) -> ExecutorEntry:
        """The entry of an executor, by name or alias; errors as for `executor`, nothing imported."""
        return cast("ExecutorEntry", self._single(_Question("reflow_executors", name))[1])

    def create_executor(self, name: str, settings: Mapping[str, JSON], context: Context) -> Executor:
        """An executor, made with ``create(settings, context)``; errors as for `executor`."""
        return cast("Executor", self._create("reflow_executors", name, settings, context))

    def create_cache_backend(self, name: str, settings: Mapping[str, JSON], context: Context) -> CacheBackend:
        """A cache backend, made with ``create(settings, context)``; errors as for `executor`."""
        return cast("CacheBackend", self._create("reflow_cache_backends", name, settings, context))

    def create_notifier(self, name: str, settings: Mapping[str, JSON], context: Context) -> Notifier:
        """A notifier, made with ``create(settings, context)``; errors as for `executor`."""
        return cast("Notifier", self._create("reflow_notifiers", name, settings, context))

    def export(self, name: str) -> Any:
        """What ``from reflow import NAME`` gives; errors as for `executor`."""
        plugin, entry = self._single(_Question("reflow_executors", name, exported=True))
        return self._load(plugin, entry, "executor")

    def exports(self) -> tuple[str, ...]:
        """The public names that plugins provide."""
        return tuple(entry.exports for entry in self.executors() if entry.exports)

    # -- how ------------------------------------------------------------------------

    def _pairs(self, hook: str) -> list[tuple[Plugin, Entry]]:
        return [(plugin, entry) for plugin in self.plugins for entry in plugin.answer(hook)]

    def _all(self, hook: str) -> tuple[Entry, ...]:
        return tuple(entry for _, entry in self._pairs(hook))

    def _single(self, question: _Question) -> tuple[Plugin, Entry]:
        matches = [pair for pair in self._pairs(question.hook) if question.name in question.names(pair[1])]
        if not matches:
            raise self._missing(question)
        if len(matches) > 1:
            who = " and ".join(str(plugin) for plugin, _ in matches)
            other = next((plugin for plugin, _ in reversed(matches) if not plugin.builtin), matches[-1][0])
            raise PluginError(
                f"two plugins provide the {question}: {who}",
                hint=f"Disable one of them: [plugins] disabled = ['{other.name}'], or {DISABLED}={other.name}",
            )
        return matches[0]

    def _missing(self, question: _Question) -> PluginError:
        name = normal(question.name)
        known = BY_NAME.get(question.name) if question.hook == "reflow_executors" else None
        related = [
            plugin
            for plugin in self.plugins
            if name in (normal(plugin.name), normal(plugin.distribution))
            or (known and normal(plugin.distribution) == known.distribution)
        ]
        for plugin in related:
            if plugin.disabled_by:
                return UnknownName(
                    f"the {question} is not available: plugin {plugin} is disabled by {plugin.disabled_by}"
                )
            if plugin.problems:
                return plugin.error()
        if known and related:
            return UnknownName(
                f"the {question} is not in plugin {related[0]}, though it should be",
                hint=f"Run: pip install --upgrade {known.distribution}",
            )
        if known:
            return UnknownName(
                f"the {question} is in the plugin package {known.distribution}, which is not installed",
                hint=f"Run: {known.install}",
            )
        return UnknownName(f"there is no {question}", hint=self._advice(question))

    def _advice(self, question: _Question) -> str:
        from difflib import get_close_matches

        from ..config.schema import DRY_RUN

        names = [name for entry in self._all(question.hook) for name in question.names(entry)]
        if question.hook == "reflow_executors" and not question.exported:
            names.append(DRY_RUN)
        options = [*names, *BY_NAME] if question.hook == "reflow_executors" else names
        close = get_close_matches(question.name.lower(), options, n=1)
        listed = f"There are: {', '.join(sorted(names))}." if names else "There are none."
        advice = [f"Did you mean {close[0]!r}?" if close else listed]
        broken = [str(plugin) for plugin in self.plugins if plugin.problems]
        if broken:
            advice.append(f"Broken plugins, one of which may have it: {', '.join(broken)}; see 'reflow plugins'.")
        return " ".join(advice)

    def _load(self, plugin: Plugin, entry: Entry, noun: str) -> Any:
        module, _, attributes = entry.target.partition(":")
        try:
            found: Any = import_module(module)
            for attribute in attributes.split("."):
                found = getattr(found, attribute)
        except FAULTS as error:
            raise PluginError(
                f"the {noun} {entry.name!r} of plugin {plugin} cannot be loaded from {entry.target}: {one_line(error)}"
            ) from error
        return found

    def _object(self, hook: str, name: str, scope: str | None = None) -> Any:
        plugin, entry = self._single(_Question(hook, name, scope=scope))
        return self._load(plugin, entry, _NOUNS[hook])

    def _create(self, hook: str, name: str, settings: Mapping[str, JSON], context: Context) -> object:
        plugin, entry = self._single(_Question(hook, name))
        noun = _NOUNS[hook]
        target = self._load(plugin, entry, noun)
        what = f"the {noun} {entry.name!r} of plugin {plugin}"
        try:
            made: object = target.create(settings, context)
        except ReflowError:
            raise
        except FAULTS as error:
            raise PluginError(f"{what} cannot be created: {one_line(error)}") from error
        # Not isinstance of the protocol: that would evaluate properties, which may ask a scheduler.
        lacking = [method for method in _METHODS[hook] if not callable(getattr(type(made), method, None))]
        if lacking:
            raise PluginError(f"{what} is no {noun}: {type(made).__name__} has no {', '.join(lacking)}")
        return made

    def _row(self, plugin: Plugin) -> dict[str, JSON]:
        row: dict[str, JSON] = {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "module": plugin.module,
            "builtin": plugin.builtin,
            "status": "disabled" if plugin.disabled_by else "broken" if plugin.problems else "ok",
            "disabled_by": plugin.disabled_by,
            "install": None,
            "problems": [{"stage": problem.stage, "error": problem.error} for problem in plugin.problems],
        }
        for hook in HOOKS:
            row[hook.removeprefix("reflow_")] = [self._entry_row(plugin, hook, entry) for entry in plugin.answer(hook)]
        return row

    def _entry_row(self, plugin: Plugin, hook: str, entry: Entry) -> dict[str, JSON]:
        scopes = getattr(entry, "scopes", (None,))
        questions = [_Question(hook, entry.name, scope=scope) for scope in scopes]
        mine = {(question.scope, name) for question in questions for name in question.names(entry)}
        conflicts = {
            other.distribution
            for other, candidate in self._pairs(hook)
            for question in questions
            if candidate is not entry and any((question.scope, name) in mine for name in question.names(candidate))
        }
        return {
            "name": entry.name,
            "summary": entry.summary,
            "aliases": list(getattr(entry, "aliases", ())),
            "exports": getattr(entry, "exports", None),
            "detect": list(getattr(entry, "detect", ())),
            "target": entry.target,
            "conflicts": sorted(conflicts),
        }


def registry(disabled: Collection[str] = ()) -> Registry:
    """What is installed and enabled; scanned once per process and set of disabled names.

    Parameters
    ----------
    disabled : collection of str
        Names of plugins or of their distributions to leave out, from the configuration;
        those in the environment variable ``REFLOW_PLUGINS_DISABLED`` are left out as well.

    Raises
    ------
    UsageError
        Where reflow-hpc is installed in the same environment.
    """
    named = frozenset(normal(name) for name in disabled)
    return _registry(named, os.environ.get(DISABLED, ""))


@lru_cache(maxsize=8)
def _registry(configured: frozenset[str], environment: str) -> Registry:
    refuse_rival()
    reasons = dict.fromkeys(configured, "the configuration ([plugins] disabled)")
    # The configuration's layers hold what the variable says, too: it is to be changed where it is said.
    reasons |= {normal(name.strip()): DISABLED for name in environment.split(",") if name.strip()}
    plugins = discover(reasons)
    return Registry(plugins, _strangers(reasons, plugins))


def _strangers(disabled: Mapping[str, str], plugins: Collection[Plugin]) -> list[str]:
    """What is to be said of names that are disabled, and neither installed nor of this project."""
    known = {normal(name) for plugin in plugins for name in (plugin.name, plugin.distribution)}
    known |= {name for plugin in KNOWN for name in (plugin.extra, plugin.distribution)}
    strange = {name: by for name, by in disabled.items() if name not in known}
    if not strange:
        return []
    from ..config.values import suggest

    return [
        " ".join(filter(None, (f"{by} names {name!r}, which is no plugin.", suggest(name, sorted(known)))))
        for name, by in sorted(strange.items())
    ]
