"""reflow-hpc owns the import name ``reflow`` too: where both are installed, files of one replace the other's."""

from __future__ import annotations

from ..errors import UsageError
from .installed import installed

RIVAL = "reflow-hpc"


def refuse_rival() -> None:
    """Raise where reflow-hpc is installed beside reflow.

    Raises
    ------
    UsageError
        With the line that uninstalls it.
    """
    found = next(installed(RIVAL), None)
    if found is None:
        return
    raise UsageError(
        f"{RIVAL} {found.version} is installed in this environment, and its import name is 'reflow' as well",
        hint=f"Run: pip uninstall {RIVAL} && pip install --force-reinstall --no-deps reflow-core",
    )
