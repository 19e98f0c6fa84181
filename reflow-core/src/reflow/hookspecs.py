"""The four hooks, and the entries they return.

Every hook collects: each plugin's answer is a sequence of entries, small frozen
values that say what there is without importing it. What an entry's ``target``
(``package.module:object``) names is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pluggy

from .model.task import JSON

#: name of the pluggy project; a plugin's functions are marked with `reflow.plugin.hookimpl`
PROJECT = "reflow"
#: entry-point group; the value of an entry point is a module of hook implementations
GROUP = "reflow.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the configuration table that belongs to an entry.

    Attributes
    ----------
    name : str
        The key, as written in the file: ``lower_case``.
    type : str
        ``str``, ``int``, ``float``, ``bool``, ``path``, ``mem`` (bytes, written ``"16G"``),
        ``time`` (seconds, written ``"01:00:00"``), ``list[str]`` or ``dict[str, str]``.
    default : JSON
        Value where nothing is configured; None: not given.
    help : str
        One line, shown in the example file and the documentation.
    choices : tuple of str
        The only values allowed; empty: any.
    secret : bool
        Whether the value is hidden wherever configuration is shown.
    """

    name: str
    type: str = "str"
    default: JSON = None
    help: str = ""
    choices: tuple[str, ...] = ()
    secret: bool = False


class ExecutorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An executor.

    Attributes
    ----------
    name : str
        What it is chosen by: ``--executor slurm``, and its table ``[executor.slurm]``.
    target : str
        ``package.module:Class``, with ``create(settings, context) -> Executor``.
    aliases : tuple of str
        Other names it answers to.
    summary : str
        One line.
    settings : tuple of Setting
        The keys of ``[executor.NAME]``.
    detect : tuple of str
        Programs which, when all are found on PATH, tell that the scheduler is there;
        empty: it is never chosen by itself.
    exports : str, optional
        Name under which ``from reflow import NAME`` gives the target.
    """

    name: str
    target: str
    aliases: tuple[str, ...] = ()
    summary: str = ""
    settings: tuple[Setting, ...] = ()
    detect: tuple[str, ...] = ()
    exports: str | None = None


class CacheBackendEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A cache backend, chosen by ``[cache] backend``.

    Attributes
    ----------
    name : str
        What it is chosen by; its table is ``[cache.NAME]``.
    target : str
        ``package.module:Class``, with ``create(settings, context) -> CacheBackend``.
    summary : str
        One line.
    settings : tuple of Setting
        The keys of ``[cache.NAME]``.
    """

    name: str
    target: str
    summary: str = ""
    settings: tuple[Setting, ...] = ()


class NotifierEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A way to tell people how a run fares.

    Attributes
    ----------
    name : str
        What it is chosen by; its table is ``[notifications.NAME]``.
    target : str
        ``package.module:Class``, with ``create(settings, context) -> Notifier``.
    summary : str
        One line.
    settings : tuple of Setting
        The keys of ``[notifications.NAME]``.
    """

    name: str
    target: str
    summary: str = ""
    settings: tuple[Setting, ...] = ()


class CommandEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A command of ``reflow`` and of every pipeline's own command line (`Workflow.cli`).

    Attributes
    ----------
    name : str
        What is typed.
    target : str
        ``package.module:function``; the function's parameters are the command's, as typer reads them.
    summary : str
        One line, shown by ``--help`` without importing the target.
    scopes : tuple of str
        Where it appears: ``"reflow"``, ``"workflow"`` (a pipeline's own command line), or both.
    """

    name: str
    target: str
    summary: str = ""
    scopes: tuple[str, ...] = ("reflow", "workflow")


@hookspec
def reflow_executors() -> Sequence[ExecutorEntry]:
    """What can run jobs."""
    return ()


@hookspec
def reflow_cache_backends() -> Sequence[CacheBackendEntry]:
    """Where results can be kept between runs."""
    return ()


@hookspec
def reflow_notifiers() -> Sequence[NotifierEntry]:
    """Ways to tell people how a run fares."""
    return ()


@hookspec
def reflow_commands() -> Sequence[CommandEntry]:
    """Commands of the command line."""
    return ()
