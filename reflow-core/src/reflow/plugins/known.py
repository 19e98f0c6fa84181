"""Plugins that belong to this project: who asks for one that is not installed is told how to get it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin package of this project.

    Attributes
    ----------
    extra : str
        Its extra of reflow-core, and its plugin name.
    names : tuple of str
        The executor's name and aliases.
    exports : str
        The public class name.
    """

    extra: str
    names: tuple[str, ...]
    exports: str

    @property
    def distribution(self) -> str:
        """The distribution's name."""
        return f"reflow-{self.extra}"

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install 'reflow-core[{self.extra}]'"


KNOWN: tuple[Known, ...] = (
    Known(extra="slurm", names=("slurm", "sbatch"), exports="SlurmExecutor"),
    Known(extra="pbs", names=("pbs", "torque", "qsub-pbs"), exports="PBSExecutor"),
    Known(extra="lsf", names=("lsf", "bsub"), exports="LSFExecutor"),
    Known(extra="sge", names=("sge", "uge", "qsub-sge"), exports="SGEExecutor"),
    Known(extra="flux", names=("flux",), exports="FluxExecutor"),
)

#: by executor name, alias and public class name
BY_NAME: Mapping[str, Known] = {name: known for known in KNOWN for name in (*known.names, known.exports)}
