"""The small environment in which a scheduler's commands run.

A job inherits the environment of the command that submits it on some schedulers
(Slurm, LSF, Flux), and reflow itself may run inside a job. So only what the
command needs passes: a job's own variables, and whatever else happens to be set,
never do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

#: what any program needs: who and where the user is, the language, where programs, libraries and tickets are
_PERSON = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ", "KRB5CCNAME")

#: what the commands of a scheduler need to find it
_SCHEDULERS = (
    # Slurm
    "SLURM_CONF",
    "SLURM_CONF_SERVER",
    "SLURM_CLUSTERS",
    "SLURM_JWT",
    # PBS and Torque
    "PBS_CONF_FILE",
    "PBS_DEFAULT",
    "PBS_SERVER",
    "PBS_EXEC",
    "PBS_LEAF_NAME",
    "PBS_PRIMARY",
    "PBS_SECONDARY",
    "PBS_BATCH_SERVICE_PORT",
    # Grid Engine
    "SGE_ROOT",
    "SGE_CELL",
    "SGE_CLUSTER_NAME",
    "SGE_QMASTER_PORT",
    "SGE_EXECD_PORT",
    # LSF and OpenLava
    "LSF_ENVDIR",
    "LSF_SERVERDIR",
    "LSF_BINDIR",
    "LSF_LIBDIR",
    "LSF_CONFDIR",
    "LSF_TOP",
    "XLSF_UIDDIR",
    "EGO_TOP",
    "EGO_CONFDIR",
    "EGO_BINDIR",
    "EGO_LIBDIR",
    "EGO_SERVERDIR",
    # Flux
    "FLUX_URI",
    "FLUX_CONNECTOR_PATH",
    "FLUX_EXEC_PATH",
    "FLUX_MODULE_PATH",
    "FLUX_PMI_LIBRARY_PATH",
)

ALLOWED = frozenset(_PERSON + _SCHEDULERS)


def scrub(environ: Mapping[str, str], keep: Collection[str] = ()) -> dict[str, str]:
    """What of an environment passes on to a command.

    Parameters
    ----------
    environ : mapping of str to str
        The environment at hand.
    keep : collection of str
        Further names that pass, as a site may need them.
    """
    return {name: value for name, value in environ.items() if name in ALLOWED or name.startswith("LC_") or name in keep}
