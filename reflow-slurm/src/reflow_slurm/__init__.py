"""The Slurm executor for reflow, as a plugin."""

from __future__ import annotations

from collections.abc import Sequence

from reflow.plugin import ExecutorEntry, Setting, hookimpl


@hookimpl
def reflow_executors() -> Sequence[ExecutorEntry]:
    """Slurm."""
    programs = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sacctmgr")
    return (
        ExecutorEntry(
            name="slurm",
            aliases=("sbatch",),
            summary="Slurm, by sbatch, squeue and sacct",
            target="reflow_slurm.dialect:SlurmExecutor",
            settings=tuple(Setting(name=name, type="path", help=f"path of {name}; found on PATH") for name in programs),
            detect=("sbatch", "squeue"),
            exports="SlurmExecutor",
        ),
    )
