"""The HTCondor executor for reflow, as a plugin."""

from __future__ import annotations

from collections.abc import Sequence

from reflow.plugin import ExecutorEntry, Setting, hookimpl


@hookimpl
def reflow_executors() -> Sequence[ExecutorEntry]:
    """Return the entry of HTCondor."""
    programs = ("condor_submit", "condor_q", "condor_history", "condor_rm", "condor_config_val")
    return [
        ExecutorEntry(
            name="htcondor",
            aliases=("condor",),
            target="reflow_htcondor.dialect:HTCondorExecutor",
            summary="HTCondor, on a pool whose machines share a file system",
            settings=tuple(Setting(name=name, type="path", help=f"path of {name}; found on PATH") for name in programs),
            detect=("condor_submit", "condor_q"),
            exports="HTCondorExecutor",
        )
    ]
