"""The warning before a walltime is over: ``INT@60``."""

from __future__ import annotations

import re
import signal

from reflow.errors import UsageError

from .names import did_you_mean
from .units import parse_time

#: signals that may warn: programs can handle them, and they mean nothing else to an interpreter
WARNINGS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM", "SIGURG", "SIGXCPU")

_HINT = "write the signal and how long before the walltime is over, such as signal='INT@60' or 'TERM@2m'"


def parse_signal(value: object) -> tuple[str, int]:
    """Read a warning.

    Parameters
    ----------
    value : str
        ``"INT@60"``: name or number of a signal, and seconds, or a duration
        with its unit. A prefix as Slurm has them (``"B:INT@60"``) changes nothing:
        the task and all processes below it are warned.

    Returns
    -------
    tuple of str and int
        ``("SIGINT", 60)``.

    Raises
    ------
    UsageError
        Where it cannot be read.
    """
    match = (
        re.fullmatch(r"\s*(?:[BRbr]{1,2}:)?\s*([^@\s]*)\s*(?:@\s*(.*?))?\s*", value) if isinstance(value, str) else None
    )
    if match is None or not match[1]:
        raise UsageError(f"signal={value!r} is no warning", hint=_HINT)
    word, ahead = match[1].upper(), match[2]
    if word.isdecimal():
        name = next((one for one in WARNINGS if getattr(signal, one) == int(word)), "")
    else:
        name = word if word.startswith("SIG") else f"SIG{word}"
    if name not in WARNINGS:
        short = [one.removeprefix("SIG") for one in WARNINGS]
        close = did_you_mean(word.removeprefix("SIG"), short)
        raise UsageError(
            f"signal={value!r}: {match[1]!r} is no signal that can warn{close}", hint=f"there are {', '.join(short)}"
        )
    if not ahead:
        raise UsageError(f"signal={value!r} does not say when", hint=_HINT)
    try:
        seconds = int(ahead) if ahead.isdecimal() and ahead.isascii() else parse_time(ahead)
    except UsageError as error:
        raise UsageError(f"signal={value!r}: {error.message}", hint=_HINT) from None
    if seconds <= 0:
        raise UsageError(f"signal={value!r}: it has to come at least a second before the walltime is over", hint=_HINT)
    return name, seconds
