"""Names that the command line and `Workflow.submit` keep for themselves."""

from __future__ import annotations

#: keywords of ``submit`` and options of the command line, as Python identifiers
RESERVED = frozenset(
    {
        "config",
        "debug",
        "dry_run",
        "elements",
        "executor",
        "force",
        "force_task",
        "force_tasks",
        "format",
        "help",
        "index",
        "json",
        "max_workers",
        "no_verify",
        "overrides",
        "param",
        "params",
        "queue",
        "refresh",
        "run_dir",
        "run_id",
        "self",
        "set",
        "store_path",
        "task",
        "tasks",
        "verify",
        "version",
        "wait",
        "workflow",
    }
)

#: one-letter options that are taken
RESERVED_SHORT = frozenset({"-h"})
