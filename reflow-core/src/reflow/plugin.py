"""All that a plugin imports: the hooks' marker and entries, the contracts, the values, and helpers.

A plugin is a distribution with an entry point in the group ``reflow.plugins``
whose value is a module of functions marked with `hookimpl`. ``docs/plugins.md``
builds one step by step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import CodecError, ConfigError, DataError, ExecutorError, PluginError, ReflowError, UsageError
from .hookspecs import CacheBackendEntry, CommandEntry, ExecutorEntry, NotifierEntry, Setting, hookimpl
from .model.cache import CacheBackend, CacheEntry
from .model.job import Executor, Job, JobRef, JobState, JobStatus, Limits, Submission
from .model.names import FailureClass
from .model.notice import Notice, Notifier, Occasion, occasions
from .model.resources import Resources
from .model.task import JSON


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
    """

    environ: Mapping[str, str] = {}
    runner: Any = None
    store: str = ""
    cwd: str = "/"
    config: Mapping[str, JSON] = {}


__all__ = [
    "JSON",
    "CacheBackend",
    "CacheBackendEntry",
    "CacheEntry",
    "CodecError",
    "CommandEntry",
    "ConfigError",
    "Context",
    "DataError",
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
    "ReflowError",
    "Resources",
    "Setting",
    "Submission",
    "UsageError",
    "hookimpl",
    "occasions",
]
