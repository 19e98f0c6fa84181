"""The Flux executor for reflow, as a plugin."""

from __future__ import annotations

from collections.abc import Sequence

from reflow.plugin import ExecutorEntry, Setting, hookimpl


@hookimpl
def reflow_executors() -> Sequence[ExecutorEntry]:
    """Flux."""
    return (
        ExecutorEntry(
            name="flux",
            summary="Flux, by flux submit and flux jobs",
            target="reflow_flux.dialect:FluxExecutor",
            settings=(
                Setting(name="flux", type="path", help="path of flux; found on PATH"),
                Setting(name="uri", help="FLUX_URI of the instance; that of the submission where not given"),
            ),
            detect=("flux",),
            exports="FluxExecutor",
        ),
    )
