"""Names that the command line and `Workflow.submit` keep for themselves."""

from __future__ import annotations

#: keywords of ``submit`` and options of the command line, as Python identifiers
RESERVED = frozenset(
    {
        "config",
        "debug",
        "dry_run",
        "executor",
        "force",
        "force_task",
        "force_tasks",
        "help",
        "json",
        "max_workers",
        "no_verify",
        "no_wait",
        "on_created",
        "on_progress",
        "overrides",
        "param",
        "queue",
        "run_dir",
        "run_id",
        "self",
        "set",
        "store_path",
        "task",
        "verify",
        "wait",
    }
)

#: one-letter options that are taken
RESERVED_SHORT = frozenset({"-h"})
