"""All that a plugin imports: the hooks' marker and entries, the contracts, the values, and helpers.

A plugin is a distribution with an entry point in the group ``reflow.plugins``
whose value is a module of functions marked with `hookimpl`. ``docs/plugins.md``
builds one step by step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from .batch.runner import Completed, Runner
from .errors import CodecError, ConfigError, DataError, ExecutorError, PluginError, ReflowError, UsageError
from .hookspecs import CacheBackendEntry, CommandEntry, ExecutorEntry, NotifierEntry, Setting, hookimpl
from .model.cache import CacheBackend, CacheEntry
from .model.job import Executor, Job, JobRef, JobState, JobStatus, Limits, Submission
from .model.names import FailureClass
from .model.notice import Notice, Notifier, Occasion, occasions
from .model.ranges import from_ranges, to_ranges
from .model.resources import Resources
from .model.task import JSON

if TYPE_CHECKING:
    from .batch.command import CommandExecutor
    from .batch.dialect import (
        Call,
        Dialect,
        Row,
        Site,
        Words,
        ceiling,
        clock,
        given,
        indices,
        layout,
        local_time,
        per_node,
        places,
    )
    from .batch.ends import cancelled, exited, failed, held, pending, running, signalled, succeeded, unknown
    from .batch.options import SCRIPT, WORKER, Cell, built, emulated, flag, names, refused
    from .batch.preview import Preview
    from .batch.quoting import quote
    from .batch.script import outliving
    from .batch.verbatim import long_option

#: what only schedulers need, imported when it is asked for: each command reads the plugins' hooks, not their dialects
_BATCH = {
    "CommandExecutor": "command",
    "Preview": "preview",
    "Call": "dialect",
    "Dialect": "dialect",
    "Row": "dialect",
    "Site": "dialect",
    "Words": "dialect",
    "cancelled": "ends",
    "ceiling": "dialect",
    "clock": "dialect",
    "exited": "ends",
    "failed": "ends",
    "given": "dialect",
    "held": "ends",
    "indices": "dialect",
    "layout": "dialect",
    "local_time": "dialect",
    "long_option": "verbatim",
    "pending": "ends",
    "per_node": "dialect",
    "places": "dialect",
    "running": "ends",
    "signalled": "ends",
    "succeeded": "ends",
    "unknown": "ends",
    "Cell": "options",
    "SCRIPT": "options",
    "WORKER": "options",
    "built": "options",
    "emulated": "options",
    "flag": "options",
    "names": "options",
    "refused": "options",
    "quote": "quoting",
    "outliving": "script",
}


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Where a plugin's object is created: handed to ``create(settings, context)``.

    Attributes
    ----------
    environ : mapping of str to str
        The process's environment variables.
    runner : Runner, optional
        Runs programs, with a time-out, in a small environment; None where nothing may be run.
    store : str
        Absolute path of the user's store (registry and cache).
    cwd : str
        Absolute path of the directory of submission.
    config : mapping
        All configured values, by section.
    run_id : str
        The run that it is created for; "" where there is none.
    trusted : frozenset of int
        User ids whose files are believed: this user's, root's, those of ``[run] trusted_owners``; empty: not known.
    trusted_groups : frozenset of int
        Group ids whose members may write them: those of ``[run] trusted_groups``.
    """

    environ: Mapping[str, str] = {}
    runner: Runner | None = None
    store: str = ""
    cwd: str = "/"
    config: Mapping[str, JSON] = {}
    run_id: str = ""
    trusted: frozenset[int] = frozenset()
    trusted_groups: frozenset[int] = frozenset()


def __getattr__(name: str) -> object:
    if name not in _BATCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"reflow.batch.{_BATCH[name]}"), name)
    globals()[name] = found
    return found


__all__ = [
    "JSON",
    "SCRIPT",
    "WORKER",
    "CacheBackend",
    "CacheBackendEntry",
    "CacheEntry",
    "Call",
    "Cell",
    "CodecError",
    "CommandEntry",
    "CommandExecutor",
    "Completed",
    "ConfigError",
    "Context",
    "DataError",
    "Dialect",
    "Executor",
    "ExecutorEntry",
    "ExecutorError",
    "FailureClass",
    "Job",
    "JobRef",
    "JobState",
    "JobStatus",
    "Limits",
    "Notice",
    "Notifier",
    "NotifierEntry",
    "Occasion",
    "PluginError",
    "Preview",
    "ReflowError",
    "Resources",
    "Row",
    "Runner",
    "Setting",
    "Site",
    "Submission",
    "UsageError",
    "Words",
    "built",
    "cancelled",
    "ceiling",
    "clock",
    "emulated",
    "exited",
    "failed",
    "flag",
    "from_ranges",
    "given",
    "held",
    "hookimpl",
    "indices",
    "layout",
    "local_time",
    "long_option",
    "names",
    "occasions",
    "outliving",
    "pending",
    "per_node",
    "places",
    "quote",
    "refused",
    "running",
    "signalled",
    "succeeded",
    "to_ranges",
    "unknown",
]
