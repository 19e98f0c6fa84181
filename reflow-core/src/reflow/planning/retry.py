"""Whether, when and with what a failed element is tried again."""

from __future__ import annotations

import math

import msgspec

from ..model.names import FINAL, FailureClass
from ..model.resources import Resources
from ..model.retry import Retry
from ..model.state import INFRASTRUCTURE, Tries

#: attempts that a failure of the machine, not of the task, does not use up
INFRASTRUCTURE_BUDGET = 3
LAUNCH_BUDGET = 1

#: longest wait before an attempt, however it has grown, in seconds: a year
_LONGEST_WAIT = 366 * 86400.0


def wait_before(retry: Retry, cls: FailureClass, tries: Tries) -> float | None:
    """Seconds before the next attempt; None where there is none.

    Parameters
    ----------
    retry : Retry
        The task's policy.
    cls : FailureClass
        How the last attempt failed.
    tries : Tries
        How many attempts failed so far, the last one counted.
    """
    if cls in FINAL:
        return None
    if cls is FailureClass.REQUEUED:
        return 0.0 if tries.requeued <= retry.requeues else None
    if cls in INFRASTRUCTURE:
        used, budget = tries.infrastructure, _lowered(INFRASTRUCTURE_BUDGET, retry)
    elif cls is FailureClass.LAUNCH:
        used, budget = tries.launch, _lowered(LAUNCH_BUDGET, retry)
    else:
        used, budget = tries.own, retry.max
    if used > budget:
        return None
    try:
        return min(_LONGEST_WAIT, float(retry.delay * float(retry.backoff) ** (used - 1)))
    except OverflowError:
        return _LONGEST_WAIT if retry.delay else 0.0


def _lowered(budget: int, retry: Retry) -> int:
    return budget if retry.infrastructure is None else min(budget, retry.infrastructure)


def scale(retry: Retry, cls: FailureClass, asked: Resources) -> Resources:
    """What the next attempt asks for after a failure of that class.

    Only what was asked for can be scaled: a site's default is not known here.
    """
    factor = retry.on.get(cls)
    if factor is None:
        return asked
    mem, time = asked.mem, asked.time
    if mem is not None and factor.mem != 1.0:
        mem = math.ceil(mem * factor.mem)
        mem = mem if retry.max_mem is None else max(asked.mem or 0, min(mem, retry.max_mem))
    if time is not None and factor.time != 1.0:
        time = math.ceil(time * factor.time)
        time = time if retry.max_time is None else max(asked.time or 0, min(time, retry.max_time))
    return msgspec.structs.replace(asked, mem=mem, time=time)
