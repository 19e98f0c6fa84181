"""Which of the reports that come from outside count: of a worker that was given up, none may."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ..record import Finished, Started
from .states import ACTIVE, PENDING, QUEUED, SUCCEEDED


class Verdict(Enum):
    """What becomes of a report."""

    ACCEPTED = "accepted"
    #: no such task or element
    UNKNOWN = "unknown"
    #: of another attempt than the current one: its worker was given up
    STALE = "stale attempt"
    #: a success is recorded, or the start was reported before
    DUPLICATE = "duplicate"
    #: the element has started over, and may not have the same inputs again
    RESTARTED = "restarted"
    #: a failure of an attempt whose end is recorded
    ENDED = "ended before"


def admit(record: Finished | Started, status: Sequence[int], attempts: Sequence[int], *, is_open: bool) -> Verdict:
    """Decide whether a worker's report counts.

    Parameters
    ----------
    record : Finished or Started
        The report.
    status, attempts : sequence of int
        State and current attempt of each element of the task that it names; empty where there is no such task.
    is_open : bool
        Whether the task's inputs are known.
    """
    if not 0 <= record.i < len(status):
        return Verdict.UNKNOWN
    if attempts[record.i] != record.a:
        return Verdict.STALE
    before = status[record.i]
    if isinstance(record, Started):
        return Verdict.ACCEPTED if before == QUEUED else Verdict.DUPLICATE
    if before in SUCCEEDED:
        return Verdict.DUPLICATE
    if before == PENDING and not is_open:
        return Verdict.RESTARTED
    return Verdict.ACCEPTED if before in ACTIVE or not record.f else Verdict.ENDED
