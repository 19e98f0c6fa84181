"""The Grid Engine executor for reflow, as a plugin."""

from __future__ import annotations

from collections.abc import Sequence

from reflow.plugin import ExecutorEntry, Setting, hookimpl


@hookimpl
def reflow_executors() -> Sequence[ExecutorEntry]:
    """Grid Engine, whoever it is from."""
    programs = ("qsub", "qstat", "qacct", "qdel", "qconf")
    return (
        ExecutorEntry(
            name="sge",
            aliases=("uge", "qsub-sge"),
            summary="Grid Engine (SGE, SoGE, Univa, Altair), by qsub, qstat and qacct",
            target="reflow_sge.dialect:SGEExecutor",
            settings=(
                *(Setting(name=name, type="path", help=f"path of {name}; found on PATH") for name in programs),
                Setting(name="pe", help="parallel environment of jobs with several slots; found where it is clear"),
                Setting(name="mem_resource", help="resource by which memory is asked for; found where it is clear"),
                Setting(name="gpu_resource", help="resource by which GPUs are asked for; gpu where not given"),
            ),
            detect=("qsub", "qconf"),
            exports="SGEExecutor",
        ),
    )
