"""States of an element, as codes: a run may have a million of them."""

from __future__ import annotations

from ..names import TaskState

# fmt: off
(
    PENDING, QUEUED, RUNNING, SUCCESS, FAILED, CANCELLED, SKIPPED, CACHED,
    # An attempt has failed, or has asked for another one, and it is not decided yet whether there is one.
    RETRY_PENDING, REQUEUE_PENDING,
) = range(10)
# fmt: on

#: the name of each code
NAMES = (
    "PENDING",
    "QUEUED",
    "RUNNING",
    "SUCCESS",
    "FAILED",
    "CANCELLED",
    "SKIPPED",
    "CACHED",
    "RETRY_PENDING",
    "REQUEUE_PENDING",
)

#: what a user reads for each code; a cached element is SUCCESS with a flag
SHOWN = (
    TaskState.PENDING,
    TaskState.QUEUED,
    TaskState.RUNNING,
    TaskState.SUCCESS,
    TaskState.FAILED,
    TaskState.CANCELLED,
    TaskState.SKIPPED,
    TaskState.SUCCESS,
    TaskState.FAILED,
    TaskState.PENDING,
)

#: an attempt is queued or runs
ACTIVE = (QUEUED, RUNNING)
#: there is a result
SUCCEEDED = (SUCCESS, CACHED)
#: an attempt has ended, and the next step is not decided
UNDECIDED = (RETRY_PENDING, REQUEUE_PENDING)
