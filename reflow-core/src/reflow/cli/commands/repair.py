"""``repair``: put damaged files of runs, or the registry and the cache, in order."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from ...errors import UsageError
from .. import render
from ..options import JsonOption, RunOption, StoreOption


def command(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN_DIR|RUN_ID",
            show_default=False,
            help="Run directory, run id, a unique beginning of one, or 'latest'; with --registry, directories.",
        ),
    ] = None,
    run_id: RunOption = None,
    registry: Annotated[
        bool,
        typer.Option("--registry", help="Enter all runs below these directories in the registry and the cache again."),
    ] = False,
    store_path: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild what was damaged or lost of a run, from whatever else of it is there.

    Damaged files are kept beside the new ones. The exit code is 1 where something could not be mended.
    """
    from ...run.recovery.repair import Rebuilt, Repaired, rebuild, repair, roots

    wanted = [*(run or ()), *([run_id] if run_id is not None else [])]
    if not wanted:
        what = "which directories?" if registry else "which run?"
        raise UsageError(what, hint="name a directory" + ("" if registry else ", or a run by its id"))
    reports: list[Repaired | Rebuilt] = []
    if registry:
        reports.append(rebuild(wanted, store_path))
    else:
        reports += [repair(root, render.say) for ref in wanted for root in roots(ref, store_path)]
    if as_json:
        render.put_json([msgspec.to_builtins(report) for report in reports])
    else:
        for report in reports:
            _show(report)
    if any(report.problems for report in reports):
        raise typer.Exit(1)


def _show(report: object) -> None:
    from ...run.recovery.repair import Rebuilt, Repaired

    assert isinstance(report, Rebuilt | Repaired)
    subject = f"run {report.run_id}" if isinstance(report, Repaired) else report.store
    if not (report.done or report.problems):
        render.put(f"{subject}: nothing to repair")
    for line in report.done:
        render.put(f"{subject}: {render.clean(line)}")
    for path in report.backups:
        render.put(f"{subject}: kept {render.clean(path)}")
    for line in report.problems:
        render.complain("problem", f"{subject}: {line}")
