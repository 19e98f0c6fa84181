"""The hooks: small entries, so that listing what is installed imports nothing else of this package."""

from __future__ import annotations

from collections.abc import Sequence

from reflow.plugin import CacheBackendEntry, CommandEntry, ExecutorEntry, NotifierEntry, Setting, hookimpl


@hookimpl
def reflow_executors() -> Sequence[ExecutorEntry]:
    """Jobs as background processes of this machine."""
    return [
        ExecutorEntry(
            name="background",
            aliases=("nohup",),
            target="reflow_example.executor:BackgroundExecutor",
            summary="background processes that outlive the terminal",
            settings=(Setting(name="directory", type="path", help="where jobs are kept; default: in the store"),),
            exports="BackgroundExecutor",
        )
    ]


@hookimpl
def reflow_cache_backends() -> Sequence[CacheBackendEntry]:
    """Results in one text file."""
    return [
        CacheBackendEntry(
            name="textfile",
            target="reflow_example.cache:TextFileCache",
            summary="one line of JSON for each result",
            settings=(Setting(name="file", type="path", help="the file; default: in the store"),),
        )
    ]


@hookimpl
def reflow_notifiers() -> Sequence[NotifierEntry]:
    """Messages in a file."""
    return [
        NotifierEntry(
            name="journal",
            target="reflow_example.notifier:Journal",
            summary="appends each message to a file",
            settings=(Setting(name="file", type="path", help="the file; default: in the store"),),
        )
    ]


@hookimpl
def reflow_commands() -> Sequence[CommandEntry]:
    """``reflow where``, and ``python pipeline.py where``."""
    return [
        CommandEntry(name="where", target="reflow_example.command:where", summary="print the directory of a run"),
    ]
