"""The one table of what an event makes of an element, by the state in which it finds it.

`State` asks it for every element of every event, whether the event was just decided or is read back from the journal.
An event that the table forbids is a mistake in reflow: it raises `InvalidTransition` in tests; elsewhere it is skipped
for that element, and `status` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..names import FailureClass
from .states import (
    CACHED,
    CANCELLED,
    FAILED,
    NAMES,
    PENDING,
    QUEUED,
    REQUEUE_PENDING,
    RETRY_PENDING,
    RUNNING,
    SKIPPED,
    SUCCESS,
)

#: in the place of a state: the event must not come
FORBIDDEN = 255


class Change(NamedTuple):
    """What one kind of event does.

    Attributes
    ----------
    event : str
        The event, with the condition under which it has this effect.
    after : bytes
        The state after it for each state before it, or `FORBIDDEN`.
    usual : int
        The one state to which it leads, also behind damage in the journal; `FORBIDDEN` where it depends.
    """

    event: str
    after: bytes
    usual: int


def _change(event: str, table: Mapping[int, int]) -> Change:
    found = set(table.values())
    usual = found.pop() if len(found) == 1 else FORBIDDEN
    return Change(event, bytes(table.get(code, FORBIDDEN) for code in range(len(NAMES))), usual)


_EVERY = range(len(NAMES))

SKIP = _change("Expanded, skipped", {PENDING: SKIPPED, SKIPPED: SKIPPED})
HIT = _change("Hit", {PENDING: CACHED})
INTEND = _change("Intent", {PENDING: QUEUED})
START = _change("Started", {QUEUED: RUNNING})
#: a late success of the current attempt counts, whatever was decided in the meantime
SUCCEED = _change("Finished, success", {code: SUCCESS for code in _EVERY if code not in (SUCCESS, CACHED)})
FAIL = _change("Finished or Failed", {PENDING: RETRY_PENDING, QUEUED: RETRY_PENDING, RUNNING: RETRY_PENDING})
#: the only failure of what has succeeded: another element has written the same file
CONFLICT = _change("Failed, conflict", dict.fromkeys((PENDING, QUEUED, RUNNING, SUCCESS, CACHED), RETRY_PENDING))
REQUEUE = _change("Finished or Failed, requeued", {QUEUED: REQUEUE_PENDING, RUNNING: REQUEUE_PENDING})
CANCEL = _change("Finished or Failed, cancelled", {PENDING: CANCELLED, QUEUED: CANCELLED, RUNNING: CANCELLED})
RETURN = _change("Requeued or Voided", {PENDING: PENDING, QUEUED: PENDING, RUNNING: PENDING})
RETRY = _change("Again", {RETRY_PENDING: PENDING, REQUEUE_PENDING: PENDING})
SETTLE = _change("Settled", {RETRY_PENDING: FAILED, REQUEUE_PENDING: FAILED})._replace(usual=FORBIDDEN)
#: elements that run, or have ended, are left to their executor's answer
DROP = _change(
    "Cancelled",
    {code: code for code in _EVERY} | {PENDING: CANCELLED, RETRY_PENDING: FAILED, REQUEUE_PENDING: CANCELLED},
)
RESET = _change("Reset", dict.fromkeys(_EVERY, PENDING))

CHANGES = (SKIP, HIT, INTEND, START, SUCCEED, FAIL, CONFLICT, REQUEUE, CANCEL, RETURN, RETRY, SETTLE, DROP, RESET)

#: what a failure of a class does; `FAIL` for all others
_OF_CLASS = {FailureClass.REQUEUED: REQUEUE, FailureClass.CANCELLED: CANCEL, FailureClass.CONFLICT: CONFLICT}


def failing(cls: FailureClass) -> Change:
    """Return what a failure of a class does."""
    return _OF_CLASS.get(cls, FAIL)


class InvalidTransition(Exception):
    """An event came that the table forbids.

    Attributes
    ----------
    element : str
        The element, as ``fit[3]``.
    event : str
        The event.
    before : str
        The state in which it found the element.
    story : tuple of str
        What has happened to the element so far, where it was recorded.
    """

    def __init__(self, element: str, event: str, before: str, story: tuple[str, ...] = ()) -> None:
        self.element = element
        self.event = event
        self.before = before
        self.story = story
        so_far = f"; so far: {', '.join(story)}" if story else ""
        super().__init__(f"{element} is {before}, and {event!r} cannot follow{so_far}")


#: whether a forbidden event raises; only tests set the variable
STRICT = "_REFLOW_STRICT_TRANSITIONS"


def is_strict() -> bool:
    """Return whether a forbidden event raises, and elements' stories are recorded for that."""
    return bool(os.environ.get(STRICT))


def edges() -> Iterator[tuple[str, str, str]]:
    """Yield state before, state after and event of each transition that changes the state."""
    for change in CHANGES:
        for before, after in enumerate(change.after):
            if after not in (FORBIDDEN, before):
                yield NAMES[before], NAMES[after], change.event


def diagram() -> str:
    """Return the states and their transitions as a Mermaid state diagram."""
    events: dict[tuple[str, str], list[str]] = {}
    for before, after, event in edges():
        events.setdefault((before, after), []).append(event)
    ways = {pair: " / ".join(names) for pair, names in events.items()}
    lines = [f"    {before} --> {after}: {names}" for (before, after), names in ways.items() if names != "Reset"]
    return "\n".join(["stateDiagram-v2", "    [*] --> PENDING", *lines])
