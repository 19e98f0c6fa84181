"""Which of several instances of a scheduler a run is on: a job's number means another job to another instance."""

from __future__ import annotations

from collections.abc import Mapping

from .dialect import Dialect

#: a job of reflow's own has this variable: whatever it reaches is the scheduler that runs it
_INSIDE = "REFLOW_JOB_ID"


def recorded(speaks: Dialect, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that say, at submission, which instance is meant.

    Parameters
    ----------
    speaks : Dialect
        The scheduler.
    environ : mapping
        The environment at submission.
    """
    return {name: environ[name] for name in (*speaks.address, *speaks.configured) if environ.get(name)}


def addressed(speaks: Dialect, record: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables by which a command reaches the instance that was recorded; None: it is not to be set.

    A file of configuration lies where each host has it: a job's own place for
    it counts there, and elsewhere a place that was not recorded is left alone.

    Parameters
    ----------
    speaks : Dialect
        The scheduler.
    record : mapping
        From `recorded`.
    environ : mapping
        The environment at hand.
    """
    inside = _INSIDE in environ
    variables: dict[str, str | None] = {
        name: value for name, value in record.items() if name in speaks.address or not (inside and environ.get(name))
    }
    if not inside:
        variables |= {name: None for name in speaks.address if name not in record and name in environ}
    return variables


def trusted(speaks: Dialect, instance: str, environ: Mapping[str, str]) -> bool:
    """Whether this process runs in a job of the instance, so that nobody has to ask which one answers.

    Parameters
    ----------
    speaks : Dialect
        The scheduler.
    instance : str
        The name of the run's instance.
    environ : mapping
        The environment at hand.
    """
    return _INSIDE in environ and environ.get(speaks.inside, instance) == instance
