"""The PBS executors for reflow, as a plugin: OpenPBS, PBS Professional and Torque."""

from __future__ import annotations

from collections.abc import Sequence

from reflow.plugin import ExecutorEntry, Setting, hookimpl


@hookimpl
def reflow_executors() -> Sequence[ExecutorEntry]:
    """The PBS family; `qsub` alone does not tell it from Grid Engine, so `pbsnodes` has to be there as well."""
    programs = ("qsub", "qstat", "qdel", "qmgr")
    paths = tuple(Setting(name=name, type="path", help=f"path of {name}; found on PATH") for name in programs)
    which = "option for arrays: -J, or -t for Torque; the programs are asked where not given"
    return (
        ExecutorEntry(
            name="pbs",
            aliases=("qsub-pbs",),
            summary="OpenPBS, PBS Professional or Torque, whichever its programs say they are",
            target="reflow_pbs.dialect:PBSExecutor",
            settings=(*paths, Setting(name="array_flag", choices=("-J", "-t"), help=which)),
            detect=("qsub", "pbsnodes"),
            exports="PBSExecutor",
        ),
        ExecutorEntry(
            name="torque",
            summary="Torque, without asking its programs",
            target="reflow_pbs.dialect:TorqueExecutor",
            settings=paths,
        ),
    )
