"""The LSF executor for reflow, as a plugin: IBM Spectrum LSF and OpenLava."""

from __future__ import annotations

from collections.abc import Sequence

from reflow.plugin import ExecutorEntry, Setting, hookimpl


@hookimpl
def reflow_executors() -> Sequence[ExecutorEntry]:
    """The LSF family."""
    programs = ("bsub", "bjobs", "bkill", "bparams", "lsid")
    reserved = "what memory is reserved for: each task (RESOURCE_RESERVE_PER_TASK; asked where not given), or each host"
    limited = "whether -M limits each process: a task's share of the memory is asked for then"
    unit = "LSF_UNIT_FOR_LIMITS of the site; read from lsf.conf where not given"
    return (
        ExecutorEntry(
            name="lsf",
            aliases=("bsub",),
            summary="IBM Spectrum LSF or OpenLava, whichever bsub says it is",
            target="reflow_lsf.dialect:LSFExecutor",
            settings=(
                *(Setting(name=name, type="path", help=f"path of {name}; found on PATH") for name in programs),
                Setting(name="unit", choices=("KB", "MB", "GB", "TB"), help=unit),
                Setting(name="mem_per", choices=("task", "host"), help=reserved),
                Setting(name="limit_per", choices=("process",), help=limited),
            ),
            detect=("bsub", "bjobs"),
            exports="LSFExecutor",
        ),
    )
