"""Words that appear in files, on the command line and in the API alike."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class RunState(str, Enum):
    """Where a run stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (RunState.SUCCESS, RunState.FAILED, RunState.CANCELLED)


class TaskState(str, Enum):
    """Where an element of a task stands; a single task has one element."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the element by itself."""
        return self in (TaskState.SUCCESS, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED)


class FailureClass(str, Enum):
    """Why an element failed."""

    ERROR = "error"
    EXIT = "exit"
    OOM = "oom"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAIL = "node_fail"
    CANCELLED = "cancelled"
    LAUNCH = "launch"
    LOST = "lost"
    #: other elements of the run have written the same file
    CONFLICT = "conflict"
    #: an input file was not what the task that made it had left
    CHANGED = "changed"
    #: it raised `Requeue`: no failure, but an end of an attempt like the others
    REQUEUED = "requeued"


#: how the reason begins of what its scheduler would refuse, or hold for ever, each time that it is sent
NEVER = "can never run"


def explains(new: str, old: str) -> bool:
    """Whether a failure class, as text ("" where none is known), tells more than what was known before.

    Accounting may be slow to tell why: until then a job that ran out of memory was killed by a signal.
    """
    return bool(new) and new != old and old in ("", FailureClass.EXIT.value)


#: classes of which no new attempt comes: it would end no better
FINAL = frozenset({FailureClass.CANCELLED, FailureClass.CONFLICT, FailureClass.CHANGED})


class Mode(str, Enum):
    """How an upstream result reaches a parameter."""

    DIRECT = "direct"
    FANOUT = "fan-out"
    BROADCAST = "broadcast"
    GATHER = "gather"
    FLATTEN = "gather-flatten"
    CHAIN = "chain"
    CHAIN_FLATTEN = "chain-flatten"

    @property
    def spreads(self) -> bool:
        """Whether each element of the array receives a value of its own."""
        return self in (Mode.FANOUT, Mode.CHAIN, Mode.CHAIN_FLATTEN)


class Source(str, Enum):
    """Where a parameter's value comes from."""

    PARAM = "param"
    RESULT = "result"
    RUN_DIR = "run_dir"
    PLAIN = "plain"


class Fingerprint(str, Enum):
    """What of a file counts when deciding whether it has changed."""

    STAT = "stat"
    CONTENT = "content"
    NAME = "name"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'compute'?"`` where one of the known names is close to a mistyped one, else ``""``."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
