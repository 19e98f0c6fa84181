"""What a task can ask of the element it runs as."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..model import layout
from .durable import make_directories

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TaskInterrupted(BaseException):
    """Raised inside a task when its job is about to end: cancelled, or at its walltime.

    It derives from BaseException, so that ``except Exception`` in a task does
    not swallow it: catch it by name to save what can be saved, then let it go.
    """


class Requeue(BaseException):
    """Raised by a task that wants to go on in a new attempt: ``raise reflow.Requeue("epoch 40 of 100 is saved")``.

    The new attempt is queued like any other, and counts as no failure. What was
    saved in `checkpoint_dir` is there again. Like `TaskInterrupted` it derives
    from BaseException, so that ``except Exception`` does not swallow it.

    Parameters
    ----------
    reason : str, optional
        Shown to whoever looks at the run.
    """


class Context:
    """The element that is running.

    Attributes
    ----------
    run_id : str
        The run.
    task : str
        The task's full name.
    index : int
        The element's index; 0 in a single task.
    attempt : int
        1 for the first.
    cpus : int
        CPU cores it may use.
    mem : int or None
        Bytes of memory it asked for; None where it did not.
    restarts : int
        How often the scheduler has started this same attempt before, by itself: after
        a node failed, or where somebody requeued the job.
    """

    def __init__(
        self,
        *,
        root: str,
        run_id: str,
        task: str,
        index: int,
        attempt: int,
        cpus: int,
        mem: int | None,
        restarts: int = 0,
        deadline: float | None = None,
        mark: Callable[[int], str] = lambda index: "",
    ) -> None:
        self.run_id = run_id
        self.task = task
        self.index = index
        self.attempt = attempt
        self.cpus = cpus
        self.mem = mem
        self.restarts = restarts
        self._root = root
        self._deadline = deadline
        self._mark = mark

    @property
    def scratch(self) -> Path:
        """A directory of this element's own, the same in every attempt; made when first asked for."""
        from pathlib import Path

        path = layout.scratch(self._root, self.task, self.index)
        make_directories(path)
        return Path(path)

    @property
    def checkpoint_dir(self) -> Path:
        """Where this element keeps what a later attempt can go on from; made when first asked for."""
        from pathlib import Path

        path = layout.checkpoint(self._root, self.task, self.index, self._mark(self.index))
        make_directories(path)
        return Path(path)

    def time_left(self) -> float | None:
        """Seconds until the walltime, counted from the job's start; None where none was asked for."""
        return None if self._deadline is None else self._deadline - time.monotonic()


_current: Context | None = None


def enter(context: Context | None) -> None:
    """Make `context` the running element's."""
    global _current
    _current = context


def context() -> Context:
    """The element that is running.

    Raises
    ------
    UsageError
        Called outside a task.
    """
    if _current is None:
        raise UsageError(
            "reflow.context() was called outside a running task",
            hint="call it in the body of a task; a function that is tested by itself needs no context",
        )
    return _current


def time_left() -> float | None:
    """Seconds until the walltime of the element that is running.

    Returns
    -------
    float or None
        Counted from the job's start, less than 0 once it is over; None where
        no walltime was asked for, and outside a task.
    """
    return None if _current is None else _current.time_left()


def checkpoint_dir() -> Path:
    """A directory in which the running element keeps what a later attempt can go on from.

    It lies in the run directory, is made when first asked for, and is the same
    in every attempt of the element, `reflow retry` included, as long as the
    element's values are the same: with others it is another, empty one. Nothing
    of it enters the identity of the result.

    Raises
    ------
    UsageError
        Called outside a task.
    """
    return context().checkpoint_dir
