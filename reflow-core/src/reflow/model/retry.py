"""How often, and how, a failed element is tried again."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .names import FailureClass


class Scale(msgspec.Struct, frozen=True):
    """Ask for more at the next attempt.

    Parameters
    ----------
    mem, time : float
        Factors on the memory and the walltime of the attempt that failed.
    """

    mem: float = 1.0
    time: float = 1.0


class Retry(msgspec.Struct, frozen=True):
    """How a task's failures are answered.

    Parameters
    ----------
    max : int
        Further attempts after error, exit, oom or timeout.
    on : mapping of failure class to Scale
        What the next attempt asks for after a failure of that class.
    delay : float
        Seconds before the next attempt.
    backoff : float
        Factor on the delay from one attempt to the next.
    max_mem, max_time : int, optional
        Ceilings for scaled memory (bytes) and walltime (seconds).
    infrastructure : int, optional
        Budget for preempted, node_fail and lost (3 where None) and launch
        (1 where None).
    """

    max: int = 0
    on: Mapping[FailureClass, Scale] = {}
    delay: float = 0.0
    backoff: float = 1.0
    max_mem: int | None = None
    max_time: int | None = None
    infrastructure: int | None = None
